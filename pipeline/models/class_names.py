"""The names of a model's classes, and which of them are meant by what people type: by synonyms and kinds too, where they are ImageNet's.

A kind is an ancestor of classes in WordNet, such as "corgi", "dog" or "bird". Importing this is quick; the tables are read when they are
asked for.
"""

from __future__ import annotations

import csv
import difflib
import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import CommandError, ModelError
from pipeline.records import ClassGroup, ClassName

MatchStage = Literal["index", "wnid", "label", "name", "word", "kind", "part"]
FOUND_BY: Mapping[MatchStage, str] = {
    "index": "the index",
    "wnid": "the WordNet id",
    "label": "the label",
    "name": "a name",
    "word": "a word of a name",
    "kind": "a word of a kind's name",
    "part": "a part of a name",
}

# What people say, and WordNet does not, or only in another sense: our own words, which come before its own.
_ALSO: Mapping[str, tuple[str, ...]] = {
    "n00007846": ("people",),
    "n00017222": ("plant",),  # what grows, not where things are made
    "n01514668": ("rooster",),
    "n01627424": ("amphibian",),  # frogs, not vehicles
    "n02084071": ("puppy",),
    "n02121620": ("kitten",),
    "n02402425": ("cow",),
    "n02992529": ("cell phone", "smartphone"),
    "n03800933": ("instrument",),  # of music
    "n04026417": ("handbag",),
    "n04070727": ("fridge",),
    "n04120489": ("sneaker",),
    "n04404412": ("TV", "TV set", "television set"),
    "n04447861": ("toilet",),
    "n04553703": ("sink",),
}
# Words that mean several of WordNet's kinds at once.
_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "bike": ("n02834778", "n03790512", "n03791053"),  # bicycles, motorcycles, motor scooters
    "chicken": ("n01514668", "n01514859"),
    "food": ("n00021265", "n07555863"),
    "footwear": ("n03380867", "n03381126"),
    "helmet": ("n03513137", "n03513376"),
    "lamp": ("n03636248", "n03636649"),
    "motorbike": ("n03790512", "n03791053"),
    "motorcycle": ("n03790512", "n03791053"),
    "table": ("n04379243", "n04379964"),
}


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a query found at one stage. Several groups where nothing joins what it names, as a bird and a machine."""

    stage: MatchStage
    groups: tuple[ClassGroup, ...]


# ------------------------------------------------------------------------------------------------ tables


@functools.cache
def imagenet_classes() -> tuple[ClassName, ...]:
    """The 1000 classes of ImageNet-1k in the order of every model trained on it. No two labels are equal, in any case."""
    return tuple(ClassName(index=int(row["index"]), wnid=row["wnid"], label=row["label"]) for row in _rows("imagenet_classes.csv"))


def read_labels(path: Path) -> tuple[ClassName, ...]:
    """Class names from a file: one a line, or a JSON object of index -> [wnid, name] as Keras' imagenet_class_index.json has it.

    Raises ModelError when it is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            table = json.loads(text)
            return tuple(ClassName(index=i, wnid=table[str(i)][0], label=table[str(i)][1]) for i in range(len(table)))
    except OSError as error:
        raise ModelError(f"--labels {path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f'--labels {path}: neither names, one a line, nor JSON like {{"0": ["n01440764", "tench"], ...}}') from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(ClassName(index=i, wnid=None, label=line) for i, line in enumerate(lines))


def _rows(file: str) -> list[dict[str, str]]:
    with files("pipeline.models").joinpath("data", file).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


@dataclass(frozen=True, kw_only=True)
class _WordNet:
    """The part of WordNet that lies above the classes of ImageNet, by wnid.

    `names` and `senses` (of a name, by its `_key`; the most frequent first) are of classes and kinds. `ancestors` has those of each class,
    from near to far, and `members` the classes below each. `groups` leads from every ancestor to the nearest one that joins the same
    classes, which is the class itself where it is only one; ancestors of more than half of the classes say nothing, and are left out.
    """

    names: Mapping[str, tuple[str, ...]]
    senses: Mapping[str, tuple[str, ...]]
    ancestors: Mapping[str, tuple[str, ...]]
    members: Mapping[str, frozenset[str]]
    groups: Mapping[str, str]


@functools.cache
def _wordnet() -> _WordNet:
    names: dict[str, tuple[str, ...]] = {}
    senses: dict[str, list[tuple[int, str]]] = {}
    parents: dict[str, list[str]] = {}
    for row in _rows("wordnet.csv"):
        wnid, ours = row["wnid"], _ALSO.get(row["wnid"], ())
        numbered = [*(name.partition("#") for name in row["names"].split("|")), *((name, "#", "0") for name in ours)]
        names[wnid], parents[wnid] = tuple(dict.fromkeys(name for name, _, _ in numbered)), row["parents"].split()
        for name, _, sense in numbered:
            senses.setdefault(_key(name), []).append((int(sense or 1), wnid))
    classes = [name.wnid or "" for name in imagenet_classes()]
    ancestors = {wnid: _above(wnid, parents) for wnid in classes}
    members: dict[str, set[str]] = {}
    for wnid, above in ancestors.items():
        for ancestor in above:
            members.setdefault(ancestor, set()).add(wnid)
    joined = {ancestor: frozenset(below) for ancestor, below in members.items() if len(below) <= len(classes) / 2}
    nearest: dict[frozenset[str], str] = {frozenset((wnid,)): wnid for wnid in classes}
    for ancestor in itertools.chain.from_iterable(ancestors.values()):
        if ancestor in joined:
            nearest.setdefault(joined[ancestor], ancestor)
    return _WordNet(
        names=names,
        senses={key: tuple(dict.fromkeys(wnid for _, wnid in sorted(found))) for key, found in senses.items()},
        ancestors=ancestors,
        members=joined,
        groups={ancestor: nearest[below] for ancestor, below in joined.items()},
    )


def _above(wnid: str, parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All ancestors, from near to far."""
    found: dict[str, None] = {}
    row: Iterable[str] = parents[wnid]
    while row := [each for each in row if each not in found]:
        found |= dict.fromkeys(row)
        row = itertools.chain.from_iterable(parents[each] for each in row)
    return tuple(found)


# ------------------------------------------------------------------------------------------------ what is meant


def find_target_class(wanted: str, classes: Sequence[ClassName]) -> ClassGroup:
    """The class or kind that `--target` names: by index, wnid, a whole name or a whole word of one; any case, singular or plural.

    Raises CommandError when there is none, with the nearest names (a part of a word is more often a slip than a wish), or when it names
    several that nothing joins.
    """
    if _is_index(wanted.strip()) and int(wanted) >= len(classes):
        raise CommandError(f"--target {wanted}: the model has {len(classes)} classes, 0 to {len(classes) - 1}")
    found = next(find_matches(wanted, classes), None)
    if found is None or found.stage == "part":
        near = nearest_labels(wanted, classes)
        hint = f"near to it: {', '.join(near)}" if near else "give a class name, wnid or index"
        raise CommandError(f"--target {wanted}: the model has no such class", remedy=hint)
    if len(found.groups) > 1:
        several = [f"{group.label}: {_identity(group)}" for group in found.groups]
        more = f" and {len(several) - 8} more" if len(several) > 8 else ""
        what = "have this word in their names" if found.stage in ("word", "kind") else "have this name"
        raise CommandError(f"--target {wanted}: several classes {what}", remedy=f"give one by its id: {', '.join(several[:8])}{more}")
    return found.groups[0]


def _identity(group: ClassGroup) -> str:
    index = str(group.members[0])
    return f"{group.wnid} ({index})" if group.wnid and len(group.members) == 1 else group.wnid or index


def _is_index(wanted: str) -> bool:
    return wanted.isascii() and wanted.isdecimal()


def find_matches(query: str, classes: Sequence[ClassName], *, indices: bool = True) -> Iterator[Match]:
    """What a query finds among classes, stage by stage, the surest first: who is content takes the first and leaves the others.

    `classes` have their places as index.

    1. An index, unless these are not `indices` that anyone knows. 2. The wnid of a class or a kind. 3. A label. 4. A name of classes or
    of a kind; where it has several senses, by their frequency. 5. A whole word, or several in a row, of classes' names. 6. The same of
    kinds' names. 7. A part of a label or name.
    Spaces, underscores, hyphens and case do not matter, and from the third stage on a plural is taken for its singular too.
    """
    query = query.strip()
    if indices and _is_index(query):
        if int(query) < len(classes):
            yield Match(stage="index", groups=(_single(classes[int(query)]),))
        return
    for stage, found in _Search(query, classes).stages() if query else ():
        if found:
            yield Match(stage=stage, groups=found)


def list_classes(classes: Sequence[ClassName], word: str | None) -> dict[str, Any]:
    """The classes, or those that a word finds and how it does, for a table or JSON. Raises CommandError when it finds none."""
    match = None if word is None else next(find_matches(word, classes), None)
    if word is not None and match is None:
        near = nearest_labels(word, classes)
        hint = f"near to it: {', '.join(near)}" if near else "`visualize models classes` lists all"
        raise CommandError(f"{word}: no class or kind has that name", remedy=hint)
    groups = () if match is None else match.groups
    shown = range(len(classes)) if match is None else sorted({index for group in groups for index in group.members})
    return {
        "query": word,
        "stage": match and match.stage,
        "groups": [{"label": group.label, "wnid": group.wnid, "members": list(group.members)} for group in groups],
        "classes": [_describe(classes[index]) for index in shown],
    }


def _describe(name: ClassName) -> dict[str, Any]:
    others = [other for other in synonyms(name) if other != name.label]
    return {"index": name.index, "wnid": name.wnid, "label": name.label, "synonyms": others}


def find_kinds(classes: Sequence[ClassName]) -> tuple[ClassGroup, ...]:
    """The kinds that join several classes of ImageNet, with those of their members that are among these classes, by their index."""
    net, by_wnid = _wordnet(), _by_wnid(classes)
    kinds = dict.fromkeys(net.groups[a] for wnid in by_wnid for a in net.ancestors.get(wnid, ()) if a in net.groups)
    return tuple(_kind(wnid, by_wnid) for wnid in kinds if wnid in net.members)


def synonyms(name: ClassName) -> tuple[str, ...]:
    """The names of a class, its label's own the first; none where it is not ImageNet's."""
    return _wordnet().names.get(name.wnid, ()) if name.wnid else ()


def labels_of(name: ClassName) -> tuple[str, ...]:
    """The label of a class, and the one that it shares with others, or did, where words were put behind it to tell them apart."""
    return (name.label, *synonyms(name)[:1])


def find_classes(wanted: str, classes: Sequence[ClassName]) -> list[ClassName]:
    """The classes of that label, as it is written, else of that wnid or label (any case; spaces and underscores alike).

    "cardigan" is the garment and "Cardigan" the dog, though both have words behind that now. Several where it belongs to several.
    """
    as_written = [name for name in classes if name.label == wanted] or [name for name in classes if wanted in labels_of(name)]
    return as_written or [name for name in classes if _plain(wanted) in (name.wnid, *map(_plain, labels_of(name)))]


def nearest_labels(wanted: str, classes: Sequence[ClassName]) -> list[str]:
    """Labels that hold what is wanted, and names that are spelled much like it: of a class that has another label with that behind it."""
    key = _key(wanted)
    inside = [name.label for name in classes if key and key in _key(name.label)][:4]
    shown: dict[str, str] = {}
    for group in find_kinds(classes):
        shown |= {_key(name): name for name in _wordnet().names[group.wnid or ""]}
    for name in classes:
        shown |= {_key(other): f"{other} ({name.label})" for other in synonyms(name)}
    shown |= {_key(name.label): name.label for name in classes}
    near = [shown[each] for each in difflib.get_close_matches(key, shown, n=4, cutoff=0.6)]
    return list(dict.fromkeys(inside + near))


class _Search:
    """One query among classes. `forms` are the ways to read it, as it is and in the singular."""

    def __init__(self, query: str, classes: Sequence[ClassName]) -> None:
        self._query, self._classes, self._by_wnid = query, classes, _by_wnid(classes)
        self._net = _wordnet() if self._by_wnid else None  # a model of its own words needs no table
        self._forms = _forms(_key(query))

    def stages(self) -> Iterator[tuple[MatchStage, tuple[ClassGroup, ...]]]:
        yield "wnid", self._wnid(self._query.casefold())
        yield "label", self._labels()
        yield from (("name", found) for found in self._named())
        yield "word", self._words()
        yield "kind", self._kinds()
        yield "part", self._parts()

    def _wnid(self, wnid: str) -> tuple[ClassGroup, ...]:
        if wnid in self._by_wnid:
            return tuple(_single(self._classes[index]) for index in self._by_wnid[wnid])
        group = self._net.groups.get(wnid) if self._net else None
        return () if group is None else self._group(group)

    def _group(self, wnid: str) -> tuple[ClassGroup, ...]:
        """Of a class or kind, if there is anything of it among the classes."""
        if wnid in self._by_wnid:
            return self._wnid(wnid)
        kind = _kind(wnid, self._by_wnid)
        return (kind,) if kind.members else ()

    def _labels(self) -> tuple[ClassGroup, ...]:
        plain = [name for name in self._classes if _plain(name.label) == _plain(self._query)]
        for form in () if plain else self._forms:
            plain = plain or [name for name in self._classes if _key(name.label) == form]
        return tuple(map(_single, plain))

    def _named(self) -> Iterator[tuple[ClassGroup, ...]]:
        """The classes of that name together, if they come first, and one by one the kinds."""
        if self._net is None:
            return
        for form in self._forms:
            if form in _TOGETHER:
                yield self._together(_TOGETHER[form])
            senses = [wnid for wnid in self._net.senses.get(form, ()) if wnid in self._net.groups or wnid in self._by_wnid]
            named = [index for wnid in senses for index in self._by_wnid.get(wnid, ())]
            classes_first = bool(senses) and senses[0] in self._by_wnid
            if classes_first:
                yield self._joined(named)
            for wnid in senses:
                if wnid not in self._by_wnid:
                    yield self._group(self._net.groups[wnid])
                elif not classes_first:
                    yield self._wnid(wnid)

    def _together(self, wnids: Sequence[str]) -> tuple[ClassGroup, ...]:
        members = {index for wnid in wnids for group in self._group(wnid) for index in group.members}
        return (ClassGroup(label=self._query, wnid=None, members=tuple(sorted(members))),) if members else ()

    def _words(self) -> tuple[ClassGroup, ...]:
        return self._joined([name.index for name in self._classes if any(map(self._has_word, self._names(name)))])

    def _kinds(self) -> tuple[ClassGroup, ...]:
        net = self._net
        if net is None:
            return ()
        found = {net.groups[wnid] for wnid in net.members if any(self._has_word(_key(name)) for name in net.names[wnid])}
        if len(found) == 1:
            return self._group(found.pop())
        return self._joined(sorted({index for wnid in found for group in self._group(wnid) for index in group.members}))

    def _parts(self) -> tuple[ClassGroup, ...]:
        wanted = self._forms[0] or _plain(self._query)
        return tuple(_single(name) for name in self._classes if any(wanted in each for each in self._names(name)))

    def _names(self, name: ClassName) -> Iterator[str]:
        return map(_key, (name.label, *synonyms(name)))

    def _has_word(self, key: str) -> bool:
        return any(f" {form} " in f" {key} " for form in self._forms if form)

    def _joined(self, members: Sequence[int]) -> tuple[ClassGroup, ...]:
        """These classes as one group under the query's own word; one by one, where they are ImageNet's and no kind joins them."""
        names = [self._classes[index] for index in members]
        above = [self._net.ancestors.get(name.wnid or "", ()) if self._net else () for name in names]
        common = set.intersection(*map(set, above)) if above else set()
        if len(names) < 2 or not (self._net is None or common & set(self._net.groups)):
            return tuple(map(_single, names))
        return (ClassGroup(label=self._query, wnid=None, members=tuple(sorted(members))),)


def _by_wnid(classes: Sequence[ClassName]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, name in enumerate(classes):
        if name.wnid:
            found.setdefault(name.wnid, []).append(index)
    return found


def _single(name: ClassName) -> ClassGroup:
    return ClassGroup(label=name.label, wnid=name.wnid, members=(name.index,))


def _kind(wnid: str, by_wnid: Mapping[str, Sequence[int]]) -> ClassGroup:
    net = _wordnet()
    members = sorted(index for below in net.members[wnid] for index in by_wnid.get(below, ()))
    return ClassGroup(label=net.names[wnid][0], wnid=wnid, members=tuple(members))


def _plain(label: str) -> str:
    return label.replace("_", " ").casefold().strip()


def _key(name: str) -> str:
    """Words alone: "Shih-Tzu" is "shih tzu", "carpenter's kit" is "carpenters kit"."""
    return " ".join(re.findall(r"[^\W_]+", name.casefold().replace("'", "").replace("’", "")))


def _forms(key: str) -> list[str]:
    """A key, and what it would be in the singular: "dogs" is "dog", "foxes" "fox", "puppies" "puppy", "wolves" "wolf"."""
    endings = (("ves", "f"), ("ves", "fe"), ("ies", "y"), ("es", ""), ("s", ""))
    singular = [key.removesuffix(end) + other for end, other in endings if key.endswith(end) and len(key) > len(end) + 1]
    return [key, *(form for form in singular if not key.endswith("ss"))]
