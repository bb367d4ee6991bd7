"""Makes pipeline/models/data/wordnet.csv from the noun files of WordNet 3.0 python tests/support/wordnet.py /usr/share/wordnet.

A row for each of the 1000 classes of ImageNet and each of their ancestors: the wnid (the letter n and the offset in data.noun), the
names, and the wnids of the direct hypernyms. Where several of these synsets share a name, each has behind it, after a #, which of the
word's senses it is: WordNet has the most frequent first.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[2] / "pipeline" / "models" / "data"


@dataclass(frozen=True)
class Synset:
    names: list[str]
    parents: list[str]
    gloss: str


def read_synset(data: bytes, wnid: str) -> Synset:
    """Of data.noun, see wndb(5): offset, file, type, count of words in hexadecimal, words, count of pointers, pointers, gloss."""
    line = data[int(wnid[1:]) :].split(b"\n", 1)[0].decode()
    text, _, gloss = line.partition(" | ")
    fields = text.split()
    count = int(fields[3], 16)
    names = [name.replace("_", " ") for name in fields[4 : 4 + 2 * count : 2]]
    pointers = fields[5 + 2 * count :]
    parents = [f"n{pointers[n + 1]}" for n in range(0, len(pointers), 4) if pointers[n] in ("@", "@i")]
    return Synset(names, parents, gloss.strip())


def read_senses(index: str) -> dict[str, list[str]]:
    """The wnids of each word, the most frequent sense first."""
    rows = (line.split() for line in index.splitlines() if not line.startswith(" "))
    return {row[0]: [f"n{offset}" for offset in row[-int(row[2]) :]] for row in rows}


def main(wordnet: Path) -> None:
    data = (wordnet / "data.noun").read_bytes()
    senses = read_senses((wordnet / "index.noun").read_text())
    with (DATA / "imagenet_classes.csv").open() as file:
        wanted = [row["wnid"] for row in csv.DictReader(file)]
    found: dict[str, Synset] = {}
    while wanted:
        wnid = wanted.pop(0)
        if wnid not in found:
            found[wnid] = read_synset(data, wnid)
            wanted += found[wnid].parents
    shared = Counter(name.casefold() for synset in found.values() for name in set(map(str.casefold, synset.names)))

    def numbered(name: str, wnid: str) -> str:
        if shared[name.casefold()] == 1:
            return name
        return f"{name}#{senses[name.casefold().replace(' ', '_')].index(wnid) + 1}"

    with (DATA / "wordnet.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("wnid", "names", "parents"))
        for wnid, synset in found.items():
            writer.writerow((wnid, "|".join(numbered(name, wnid) for name in synset.names), " ".join(synset.parents)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
