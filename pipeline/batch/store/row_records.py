"""What is read from the store and written into it: one record for each kind of row."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, overload

from pipeline.files import Process
from pipeline.records import Found

State = Literal["ready", "running", "waiting", "split", "done", "failed", "missing", "stale", "copy"]
LEFT: tuple[State, ...] = ("ready", "running", "waiting", "split")  # what is not at its end
Standing = Literal["new", "changed", "restored", "done", "pending", "failed", "copy"]

_WHOLE = -1  # the `part` of a job that is no part, in the file


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A source that was found. `outputs` are the names it may get, relative to the output folder, the best first; the last one is unique
    by how it is made."""

    found: Found
    outputs: Sequence[bytes]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One attempt at a job. `attempt` counts them from 1; `errors` and `crashes` count how many of those before ended so.

    `first`: nothing was begun of it since it was entered. `owned`: what is at `output` is ours, and may be replaced. `part` counts from
    0, and is None for a whole; `begin_seconds` and `end_seconds` are a part's bounds (None: the end). `parts` is how many finished parts
    wait to be joined, None if none. `undivided`: the splitting was given up, it is to be done in one go.
    """

    job: int
    token: str
    attempt: int
    first: bool
    errors: int
    crashes: int
    relative: bytes
    kind: Literal["video", "image"]
    size_bytes: int
    mtime_ns: int
    output: bytes
    owned: bool
    part: int | None
    begin_seconds: float | None
    end_seconds: float | None
    parts: int | None
    undivided: bool


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run that has not ended, or died without a word. `beat` counts its heartbeats; `begun_at` is to be shown only."""

    run: int
    settings: int
    command: str
    version: str
    process: Process
    beat: int
    begun_at: str


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as it stands. `part` counts from 0, and is None for a whole.

    `finished_at` is to be shown only; `outcome` is what Finished held.
    """

    job: int
    relative: bytes
    kind: Literal["video", "image"]
    size_bytes: int
    output: bytes
    state: State
    part: int | None
    attempts: int
    errors: int
    crashes: int
    error_class: str | None
    error_text: str | None
    frames_done: int
    frames_total: int | None
    finished_at: str | None
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class LostJob:
    """A job whose worker or driver has died; what it wrote under its temporary name may be removed."""

    job: int
    run: int
    token: str
    relative: bytes
    output: bytes


@dataclass(frozen=True, kw_only=True)
class HitRow:
    """A stretch of a video, or a picture (0 seconds long), in which a class or kind was seen; `score` is the best of its frames.

    Times are the source's; the output begins at `output_begins_seconds` of them.
    """

    relative: bytes
    output: bytes
    start_seconds: float
    end_seconds: float
    score: float
    output_begins_seconds: float


@dataclass(frozen=True, kw_only=True)
class CopyRow:
    """A source that is an exact copy, and how the job of the one that is made in its place, `original`, stands."""

    relative: bytes
    original: bytes
    output: bytes
    state: State
    error_text: str | None
    made: bool


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of one kind is done and how much is still to do: files, bytes of their sources, frames written."""

    files_done: int = 0
    bytes_done: int = 0
    frames_done: int = 0
    files_left: int = 0
    bytes_left: int = 0


# ------------------------------------------------------------------------------------------------ between a record and the file


def part_of(stored: int) -> int | None:
    """The part that a column holds: from 0, None for a whole."""
    return None if stored == _WHOLE else stored


def stored_part(part: int | None) -> int:
    return _WHOLE if part is None else part


JOB_COLUMNS = """
SELECT job.id AS job, relative, kind, size_bytes, output, state, part, attempts, errors, crashes, error_class, error_text,
    frames_done, frames_total, finished_at, outcome
"""


def job_row(row: sqlite3.Row) -> JobRow:
    """The record of a row with JOB_COLUMNS."""
    values = dict(row)
    outcome = values.pop("outcome")
    return JobRow(**{**values, "part": part_of(values["part"])}, outcome=None if outcome is None else json.loads(outcome))


def utc_now() -> str:
    """To be shown, never to be compared."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@overload
def storable(text: str) -> str: ...


@overload
def storable(text: None) -> None: ...


def storable(text: str | None) -> str | None:
    """A file's name within a message may be no UTF-8, which SQLite's text must be."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
