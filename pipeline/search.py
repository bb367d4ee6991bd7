"""Where in an archive something was seen, from the index that a batch keeps."""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import archive, ledger, movie
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.outputs import check_output, identified, whole

PLAYERS = {"mpv": "--start={:.3f}", "ffplay": "-ss {:.3f}", "vlc": "--start-time={:.3f}"}


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A stretch of a video in which something was seen, or a picture (of 0 seconds). `score` is the best of its frames.

    Times are the source's; the output's are less by `output_begins_seconds`, where it shows a range of it. `copies` are other inputs of
    the same content, in whose place this one was made.
    """

    input: Path
    output: Path
    label: str
    start_seconds: float
    end_seconds: float
    score: float
    output_begins_seconds: float = 0.0
    copies: Sequence[Path] = ()

    @property
    def within_output(self) -> tuple[float, float]:
        """Begin and end in the output's own time."""
        return max(0.0, self.start_seconds - self.output_begins_seconds), self.end_seconds - self.output_begins_seconds

    @property
    def is_picture(self) -> bool:
        return self.end_seconds <= self.start_seconds

    @property
    def command(self) -> str:
        """Opens the output there, in the first of PLAYERS that is on PATH; for a picture its path alone."""
        player = next((name for name in PLAYERS if shutil.which(name)), next(iter(PLAYERS)))
        path = shlex.quote(str(self.output))
        return path if self.is_picture else f"{player} {PLAYERS[player].format(self.within_output[0])} {path}"

    def as_json(self) -> dict[str, Any]:
        return {
            "input": str(self.input),
            "label": self.label,
            "start_seconds": round(self.start_seconds, 6),
            "end_seconds": round(self.end_seconds, 6),
            "score": round(self.score, 6),
            "output": str(self.output),
            **({"copies": [str(path) for path in self.copies]} if self.copies else {}),
        }


def search(output: Path, query: str, *, min_score: float = 0.0, min_seconds: float = 0.0, limit: int = 20) -> list[Hit]:
    """The stretches whose label contains the query, in any case, or whose wnid it is; of all shards together, the best first.

    Raises CommandError for a query without a letter, InputError where no batch has been.
    """
    wanted = query.strip().casefold()
    if not wanted or limit < 1:
        raise CommandError(f"--limit {limit}: less than 1" if wanted else "QUERY: nothing to look for")
    hits: list[Hit] = []
    for file in archive.known_ledgers(output):
        with ledger.open_ledger(file, read_only=True) as book:
            root = archive.known_root(book)
            for number, wnid, label in book.classes():
                if wanted in label.casefold() or wanted == (wnid or "").casefold():
                    found = book.seen(number, min_score=min_score, min_seconds=min_seconds, limit=limit)
                    hits += [_placed(hit, root, output, book.copies_of(hit.relative)) for hit in found]
    return sorted(hits, key=lambda hit: (-hit.score, hit.input, hit.start_seconds))[:limit]


def _placed(hit: ledger.Hit, root: Path, output: Path, copies: Sequence[bytes]) -> Hit:
    return Hit(
        input=root / os.fsdecode(hit.relative),
        output=output / os.fsdecode(hit.output),
        label=hit.label,
        start_seconds=hit.start_seconds,
        end_seconds=hit.end_seconds,
        score=hit.score,
        output_begins_seconds=hit.output_begins_seconds,
        copies=[root / os.fsdecode(copy) for copy in copies],
    )


class Clip(NamedTuple):
    """A hit's own file; `made` is False where an earlier search left the very same."""

    path: Path
    made: bool


class _Kept(Exception):
    """Out of `whole` without a new file."""


def cut(hit: Hit, folder: Path, *, overwrite: bool) -> Clip | None:
    """Copy a hit's stretch out of the output's video into a folder; None for a picture.

    It begins with the last picture before the hit that can be shown without others. Where the clip exists it is cut once more and compared:
    the same bytes are the same hit. Raises InputError when the output is gone, OutputError when another file has the clip's name or it
    cannot be written, ToolError when ffmpeg fails.
    """
    if hit.is_picture:
        return None
    if not hit.output.exists():
        raise InputError(f"{hit.output}: is not there any more", remedy="run the batch again")
    clip = folder / f"{hit.output.stem}_{hit.label.replace(os.sep, ' ')}_{hit.start_seconds:.3f}{hit.output.suffix}"
    there = os.path.lexists(clip) and not overwrite
    check_output(clip, sources=identified([hit.output]), overwrite=overwrite or there)
    try:
        with whole(clip, overwrite=overwrite) as temporary:
            movie.cut(hit.output, *hit.within_output, temporary)
            if there:
                if filecmp.cmp(clip, temporary, shallow=False):
                    raise _Kept
                raise OutputError(f"{clip}: exists already, and shows something else than this hit", remedy="add --overwrite to replace it")
    except _Kept:
        return Clip(clip, made=False)
    return Clip(clip, made=True)
