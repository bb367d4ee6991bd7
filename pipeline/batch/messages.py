"""What a batch and its workers say to one another. Plain records: they travel between processes, and between machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.options import ModelChoice, Options
from pipeline.records import Found, KindInterval, LabelInterval

ORDERS = 2  # that a worker holds: while its network works for one, the next is opened, and the one before is joined and read back

How = Literal["done", "part", "parts", "seam", "error", "changed", "busy", "full", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every worker is opened with. `settings` is the hash of all that changes pixels, `cores` how many it may use (None: all)."""

    choice: ModelChoice
    options: Options
    settings: str
    device: str = "auto"
    cores: int | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing for a worker to do.

    `part` is the part of a long video to be made, -1 for the whole; with `parts` the finished ones are joined. `whole` says that the
    video is not to be made in parts. `spent_seconds` is what its finished parts took. `receipt` is where the worker notes a finished
    video, before that has its name. With a `poster`, a small picture of the output, a video also gets a page; `command` is shown there.
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
    part: int = -1
    parts: int = 0
    whole: bool = False
    spent_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of an order.

    "done" has the outcome (which may say that the source is damaged), and what was seen. "part": one part is made; "parts": the video
    is to be made in parts with these `bounds`, in seconds; "seam": its parts do not meet. "error" could be made good by trying again
    unless it is `final`; "changed": the source is not what was found; "busy": another process is making it; "full": the disk; "stopped":
    as was wished.
    """

    token: str
    how: How
    outcome: Mapping[str, Any] = field(default_factory=dict)
    stretches: Sequence[LabelInterval] = ()
    kinds: Sequence[KindInterval] = ()
    frames: int = 0
    bounds: Sequence[tuple[float, float | None]] = ()
    error_class: str = ""
    error: str = ""
    details: str = ""
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has its model and can be given an order; `pid` where it is a process of this machine."""

    worker: int
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Advanced:
    worker: int
    token: str
    frames_done: int
    frames_total: int | None


@dataclass(frozen=True, kw_only=True)
class Ended:
    worker: int
    result: Result


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A worker has died and another takes its place. `blameless` says that it was not the order's doing, as when a machine is lost."""

    worker: int
    reason: str
    blameless: bool = False


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A worker cannot be opened at all, and none could: the command is wrong (exit code 2), or the machine."""

    worker: int
    error: str
    exit_code: int


Event = Ready | Advanced | Ended | Lost | Broken


class Executor(Protocol):
    """Workers, numbered from 0, that hold up to ORDERS each. Where they are is the engine's affair."""

    count: int

    def give(self, worker: int, order: Task) -> None: ...

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits for something at most that long."""

    def drain(self) -> None:
        """Let every worker stop behind its next segment."""

    def close(self) -> None:
        """End all workers where they stand."""
