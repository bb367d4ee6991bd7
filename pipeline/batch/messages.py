"""What a batch and its workers say to one another. Plain records: they travel between processes, and between machines.

A worker is opened with a Setup, is given Tasks, and answers each with a Result; the other events tell of the worker itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.options import ModelChoice, Options
from pipeline.records import Found, KindInterval, LabelInterval

TASKS_AT_ONCE = 2  # that a worker holds: while its network works for one, the next is opened, and the one before is joined and read back

How = Literal["done", "part", "parts", "seam", "error", "changed", "busy", "full", "stopped", "died", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long is waited for what, in seconds; only tests ask for others."""

    backoff_seconds: tuple[float, ...] = (10.0, 60.0)  # before the second and the third try
    busy_seconds: float = 5.0  # before a source is looked at again that another process is making, or that has just been changed
    beat_seconds: float = 2.0  # between two signs of life of a run
    show_seconds: float = 0.5  # between two overviews for whoever looks on
    publish_seconds: float = 30.0  # between two pages of the archive, at least
    silence_seconds: float = 60.0  # a run on another host that gives no sign of life for so long is dead
    progress_seconds: float = 0.5  # a worker on this machine tells its progress no oftener
    ray_progress_seconds: float = 1.0  # how often a worker of a Ray cluster is asked for its progress
    ray_look_seconds: float = 0.5  # how often one that is gone is looked for
    ray_lost_seconds: float = 60.0  # Ray declares a node dead after 5 x 3 seconds of silence; by then only a process is lost


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every worker is opened with. `settings` is the hash of all that changes pixels, `cores` how many it may use (None: all)."""

    choice: ModelChoice
    options: Options
    settings: str
    device: str = "auto"
    cores: int | None = None
    timings: Timings = Timings()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing for a worker to do.

    `part` is the part of a long video to be made, from 0, and None for the whole; with `parts` that many finished ones are joined.
    `undivided` says that the video is not to be made in parts. `spent_seconds` is what its finished parts took. `receipt` is where the
    worker notes a finished video, before that has its name. With a `poster`, a small picture of the output, a video also gets a page;
    `command` is shown there.
    """

    token: str
    found: Found
    output: Path
    overwrite: bool
    maps: Path | None = None
    predictions: Path | None = None
    receipt: Path | None = None
    poster: Path | None = None
    command: str = ""
    part: int | None = None
    parts: int | None = None
    undivided: bool = False
    spent_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a task.

    "done" has the outcome (which may say that the source is damaged), and what was seen. "part": one part is made; "parts": the video
    is to be made in parts with these `bounds`, in seconds; "seam": its parts do not meet. "error" could be made good by trying again
    unless it is `final`; "changed": the source is not what was found; "busy": another process is making it; "full": the disk; "stopped":
    as was wished. Where the worker itself is gone, the batch says for it that it "died", or was "interrupted" by no fault of the task.
    """

    token: str
    how: How
    outcome: Mapping[str, Any] = field(default_factory=dict)
    intervals: Sequence[LabelInterval] = ()
    kinds: Sequence[KindInterval] = ()
    frames: int = 0
    bounds: Sequence[tuple[float, float | None]] = ()
    error_class: str = ""
    error: str = ""
    details: str = ""
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has its model and can be given a task; `pid` where it is a process of this machine."""

    worker: int
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """How far a worker has come with a task."""

    worker: int
    token: str
    frames_done: int
    frames_total: int | None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker has died and another takes its place. `blameless` says that it was not the task's doing, as when a machine is lost."""

    worker: int
    reason: str
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A worker cannot be opened at all, and none could: the command is wrong (exit code 2), or the machine."""

    worker: int
    error: str
    exit_code: int


Event = Ready | Advanced | Result | Lost | Broken


class Executor(Protocol):
    """Workers, numbered from 0, that hold up to TASKS_AT_ONCE each. Where they are is the executor's affair."""

    count: int

    def give(self, worker: int, task: Task) -> None: ...

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits for something at most that long."""

    def drain(self) -> None:
        """Let every worker stop behind its next segment."""

    def close(self) -> None:
        """End all workers where they stand."""
