"""The journal of finished segments: what an interrupted run of a video leaves behind, and the next run goes on from.

Both lie in one hidden folder beside the output, `.NAME.heatreel`; where a video is made in parts, each has a folder of its own in it. The
journal's first line is the identity of the work: the source's size and time of change, and every setting that changes pixels. Each
further line is a segment, written only after its file was flushed to disk and renamed. A run that is killed at any moment leaves whole
segments, and at most one that no line names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import OutputError, report_write_errors
from pipeline.files import LOCK_NAME, checksum_file, flush, hash_bytes, hash_json, lock_folder

SUFFIX = ".heatreel"
STRAIGHTENED = "source.nut"  # the source with its times put right, where that was needed
_JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One finished segment: its file, its frames by number and time, and what the decoder had complained of until then.

    `checksum` is that of the last source frame; `first_pts` and `last_pts` count ticks of `time_base` seconds ("1/90000"). `follows` is the
    time and the checksum of the frame before a part's first one. `parts`, the CRC-32 of each file by its suffix, are filled in by
    `Journal.add`.
    """

    file: str
    frames: int
    time_base: str
    first_pts: int
    last_pts: int
    checksum: int
    problems: int = 0
    problem: str = ""
    follows: tuple[int, int] | None = None
    parts: Mapping[str, int] = field(default_factory=dict)


class StoredSegment(NamedTuple):
    """A finished segment and its video file; its state lies beside it, as .npz."""

    path: Path
    segment: Segment


class Journal:
    """The finished segments of one output, in order, and the folder where they lie. Only `open_journal` makes one."""

    def __init__(self, folder: Path, segments: list[Segment]) -> None:
        self.folder = folder
        self.segments = segments

    @property
    def frames(self) -> int:
        """How many frames all finished segments have together."""
        return sum(segment.frames for segment in self.segments)

    @property
    def stored(self) -> list[StoredSegment]:
        """The finished segments, in order, with their files."""
        return [StoredSegment(self.folder / segment.file, segment) for segment in self.segments]

    def unfinished(self, suffix: str) -> Path:
        """Where a part of the next segment is written, until `add` gives it its name."""
        return self.folder / f"unfinished{suffix}"

    def next_name(self, suffix: str) -> str:
        """The file name that the next segment will have."""
        return f"{len(self.segments):06d}{suffix}"

    def add(self, segment: Segment, *written: Path) -> None:
        """Give the parts of a segment its name, each with its own suffix, and then write its line. Raises OutputError."""
        with report_write_errors(self.folder):
            segment = replace(segment, parts={path.suffix: checksum_file(path) for path in written})
            for path in written:
                flush(path)
                path.replace((self.folder / segment.file).with_suffix(path.suffix))
            flush(self.folder)
            _append(self.folder / _JOURNAL, asdict(segment))
        self.segments.append(segment)


@contextmanager
def open_journal(
    output: Path, identity: Mapping[str, Any], *, fresh: bool = False, part: int | None = None, joining: int = 0
) -> Iterator[Journal]:
    """The journal of an output; what an earlier run of another identity left is discarded, with `fresh` whatever is there.

    When the block ends well the folder is removed; when it does not, the folder stays if it holds a segment. The journal of a `part`
    stays in any case: the whole that it is joined to, of `joining` parts, removes it with its own.

    Raises BusyError when another run is at work on the same output, OutputError when the folder cannot be made.
    """
    folder = folder_of(output) if part is None else folder_of(output) / _part_name(part)
    parts = {_part_name(number) for number in range(joining)}
    done = False
    with lock_folder(folder, output):
        journal = Journal(folder, [] if fresh else _read(folder, hash_json(identity)))
        try:
            _tidy(folder, hash_json(identity), journal.segments, parts)
            yield journal
            done = True
        finally:
            if _is_of_no_more_use(journal, done=done, part=part, joining=joining):
                shutil.rmtree(folder, ignore_errors=True)


def _is_of_no_more_use(journal: Journal, *, done: bool, part: int | None, joining: int) -> bool:
    return (done and part is None) or not (journal.segments or joining)


def _part_name(number: int) -> str:
    return f"part{number:05d}"  # letters and digits alone: ffmpeg's list of files takes nothing else as safe


def discard(output: Path) -> None:
    """Remove what interrupted runs have left for an output, unless one is at work on it."""
    if not folder_of(output).is_dir():
        return
    with suppress(OutputError), open_journal(output, {}, fresh=True):
        pass


def folder_of(output: Path) -> Path:
    """The hidden folder that belongs to an output; long names are cut, and told apart by their hash."""
    name = output.name
    if len(os.fsencode(name)) > 200:
        name = f"{os.fsencode(name)[:100].decode(errors='ignore')}-{hash_bytes(os.fsencode(name))[:16]}"
    return output.absolute().with_name(f".{name}{SUFFIX}")


def leftovers(folder: Path) -> list[Path]:
    """Folders of interrupted runs in a folder and in those directly below it."""
    return sorted(path for pattern in (f".*{SUFFIX}", f"*/.*{SUFFIX}") for path in folder.glob(pattern) if path.is_dir())


def _is_whole(folder: Path, segment: Segment) -> bool:
    """Whether the files are there as they were written; a disk that was torn from its power may have other contents in them."""
    try:
        return bool(segment.parts) and all(checksum_file((folder / segment.file).with_suffix(s)) == crc for s, crc in segment.parts.items())
    except OSError:
        return False


def _tidy(folder: Path, digest: str, segments: list[Segment], parts: set[str]) -> None:
    """Remove what no line names, and write the journal anew without a torn last line."""
    stems = {Path(segment.file).stem for segment in segments}
    kept = {LOCK_NAME, _JOURNAL} | ({STRAIGHTENED} if segments else set()) | parts
    with report_write_errors(folder):
        for path in folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)
            elif path.name not in kept and path.stem not in stems:
                path.unlink()
        renewed = folder / "journal.new"
        for line in ({"identity": digest}, *map(asdict, segments)):
            _append(renewed, line)
        renewed.replace(folder / _JOURNAL)
        flush(folder)


def _append(journal: Path, value: Mapping[str, Any]) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(value) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(folder: Path, digest: str) -> list[Segment]:
    """The segments of an earlier run of the same identity that are really there; a torn last line ends the list."""
    try:
        first, *rest = (folder / _JOURNAL).read_bytes().split(b"\n")[:-1]
        if json.loads(first) != {"identity": digest}:
            return []
    except (OSError, ValueError):
        return []
    segments: list[Segment] = []
    for line in rest:
        try:
            segment = Segment(**json.loads(line))
        except (ValueError, TypeError):
            break
        if not _is_whole(folder, segment):
            break
        segments.append(segment)
    return segments
