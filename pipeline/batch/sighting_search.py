"""Where in an archive something was seen, from the index that a batch keeps."""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import media
from pipeline.batch import archive_layout
from pipeline.batch.store.row_records import HitRow
from pipeline.batch.store.store_reader import StoreReader, open_reader
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.files import atomic_write, check_output, identify_files
from pipeline.models import find_kinds, find_matches, imagenet_classes, labels_of
from pipeline.records import ClassGroup, ClassName
from pipeline.results import PAUSE_WITH_CUT_SECONDS, SHOWN_SCORE

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
    """Where what the query means was seen, in the stores of all shards, the best first.

    What it means is told by `class_names.find_matches`: the first stage of which something is in the index is the answer. Of a kind it is
    when the scores of its classes came to SHOWN_SCORE together; of classes under one name, and in inputs whose record has no kinds, the
    stretches of the classes, those that overlap or follow within a second as one.

    Raises CommandError for a query without a letter, InputError where no batch has been.
    """
    if not query.strip() or limit < 1:
        raise CommandError(f"--limit {limit}: less than 1" if query.strip() else "QUERY: nothing to look for")
    with ExitStack() as stack:
        stores = [stack.enter_context(open_reader(file)) for file in archive_layout.find_store_files(output)]
        index = _Index(stores, output)
        for match in find_matches(query, index.classes, indices=False):
            groups = [group for group in match.groups if index.has(group)]
            if groups:
                found = [hit for group in groups for hit in index.hits(group, min_score, min_seconds, limit)]
                return [index.place(hit) for hit in sorted(found, key=index.order)[:limit]]
    return []


class _FoundHit(NamedTuple):
    """A hit in the store of that number, and the name of what was looked for."""

    number: int
    hit: HitRow
    label: str


class _Index:
    """What the stores have seen. `classes` are all of ImageNet's where one of them was seen, and the others by their labels."""

    def __init__(self, stores: Sequence[StoreReader], output: Path) -> None:
        self._stores, self._output = stores, output
        self._roots = [archive_layout.read_root(store) for store in stores]
        seen = [store.seen.classes() for store in stores]
        known = {name.wnid: name for name in imagenet_classes()}
        self.classes = list(known.values()) if any(wnid in known for rows in seen for _, wnid, _ in rows) else []
        self._ids: dict[int, list[tuple[int, int]]] = {}  # for each class the numbers of stores, and its ids in them
        others: dict[tuple[str | None, str], int] = {}
        for number, rows in enumerate(seen):
            for class_id, wnid, label in rows:
                name = known.get(wnid)
                if name is not None and label in labels_of(name):
                    place = name.index
                else:
                    place = others.setdefault((wnid, label), len(self.classes))
                    if place == len(self.classes):
                        self.classes.append(ClassName(index=place, wnid=wnid, label=label))
                self._ids.setdefault(place, []).append((number, class_id))

    def has(self, group: ClassGroup) -> bool:
        kinds = self._kinds(group)
        return any(place in self._ids for place in group.members) or any(
            store.seen.has_kind(wnid) for wnid in kinds for store in self._stores
        )

    def hits(self, group: ClassGroup, min_score: float, min_seconds: float, limit: int) -> list[_FoundHit]:
        found = []
        for number, store in enumerate(self._stores):
            ids = [class_id for place in group.members for shard, class_id in self._ids.get(place, ()) if shard == number]
            if len(group.members) == 1:
                seen = [hit for i in ids for hit in store.seen.class_hits(i, min_score=min_score, min_seconds=min_seconds, limit=limit)]
            else:
                seen = self._together(store, group, ids, min_score, min_seconds, limit)
            found += [_FoundHit(number, hit, group.label) for hit in seen]
        return found

    def _together(
        self, store: StoreReader, group: ClassGroup, ids: Sequence[int], min_score: float, min_seconds: float, limit: int
    ) -> list[HitRow]:
        if group.wnid is None:
            recorded, rest = [], store.seen.hits_of_any(ids, self._kinds(group))
        else:
            recorded = store.seen.kind_hits(group.wnid, min_score=min_score, min_seconds=min_seconds, limit=limit)
            rest = store.seen.hits_of_any(ids, (), without=group.wnid)
        least = max(min_score, SHOWN_SCORE)  # a picture's classes are there with less
        return recorded + [hit for hit in join_hits(rest) if hit.score >= least and hit.end_seconds - hit.start_seconds >= min_seconds]

    def _kinds(self, group: ClassGroup) -> list[str]:
        """The wnids of all kinds that have only classes of the group; of a kind it is itself enough."""
        if group.wnid is not None or len(group.members) == 1:
            return [group.wnid] if group.wnid is not None else []
        members = set(group.members)
        return [kind.wnid for kind in find_kinds(self.classes) if kind.wnid is not None and members.issuperset(kind.members)]

    def order(self, found: _FoundHit) -> tuple[float, Path, float]:
        return -found.hit.score, self._roots[found.number] / os.fsdecode(found.hit.relative), found.hit.start_seconds

    def place(self, found: _FoundHit) -> Hit:
        hit, root = found.hit, self._roots[found.number]
        return Hit(
            input=root / os.fsdecode(hit.relative),
            output=self._output / os.fsdecode(hit.output),
            label=found.label,
            start_seconds=hit.start_seconds,
            end_seconds=hit.end_seconds,
            score=hit.score,
            output_begins_seconds=hit.output_begins_seconds,
            copies=[root / os.fsdecode(copy) for copy in self._stores[found.number].copies.copies_of(hit.relative)],
        )


def join_hits(hits: Sequence[HitRow]) -> list[HitRow]:
    """Hits in order of output and begin. Those of one output that overlap, or follow in the shorter pause, are one with the best score."""
    found: list[HitRow] = []
    for hit in hits:
        last = found[-1] if found else None
        if last is not None and last.output == hit.output and hit.start_seconds - last.end_seconds <= PAUSE_WITH_CUT_SECONDS:
            found[-1] = replace(last, end_seconds=max(last.end_seconds, hit.end_seconds), score=max(last.score, hit.score))
        else:
            found.append(hit)
    return found


class Clip(NamedTuple):
    """A hit's own file; `made` is False where an earlier search left the very same."""

    path: Path
    made: bool


class _KeptClip(Exception):
    """Out of `whole` without a new file."""


def cut_clip(hit: Hit, folder: Path, *, overwrite: bool) -> Clip | None:
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
    check_output(clip, sources=identify_files([hit.output]), overwrite=overwrite or there)
    try:
        with atomic_write(clip, overwrite=overwrite) as temporary:
            media.cut_clip(hit.output, *hit.within_output, temporary)
            if there:
                if filecmp.cmp(clip, temporary, shallow=False):
                    raise _KeptClip
                raise OutputError(f"{clip}: exists already, and shows something else than this hit", remedy="add --overwrite to replace it")
    except _KeptClip:
        return Clip(clip, made=False)
    return Clip(clip, made=True)
