"""What an attempt at a job can come to, one record for each; Leases.settle writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.records import KindInterval, LabelInterval

Charge = Literal["error", "crash"]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Done; the output must be on the disk already. With an `error` it has failed for good, and yet has an output: of a damaged source.

    For a part too; with the last one the whole is ready to be joined. `outcome` is the JSON object of an input.
    """

    outcome: Mapping[str, Any]
    frames: int
    intervals: Sequence[LabelInterval] = ()
    kinds: Sequence[KindInterval] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """A long video becomes parts from bound to bound, in seconds (None: the end), which are ready before other files."""

    bounds: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class Undivided:
    """By a part, or by the whole when its parts cannot be joined: the whole is ready, to be done in one go."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceChanged:
    """The source is another one than was leased: the whole is to be done from the start, with nothing charged.

    `pause_seconds` None: ready at once, as in the records below.
    """

    size_bytes: int
    mtime_ns: int
    pause_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Retry:
    """An error or a crash, charged to the job, which is to be tried again after a pause."""

    charge: Charge
    error_class: str
    error_text: str
    pause_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The last error or crash: the job has failed, and a part that fails fails its whole."""

    charge: Charge
    error_class: str
    error_text: str


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """Nothing is charged: it was stopped, or something else stood in the way. `how` goes into the record of attempts."""

    how: str
    pause_seconds: float | None = None


Change = Finished | Split | Undivided | SourceChanged | Retry | Failed | Interrupted
