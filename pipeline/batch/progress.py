"""What a run tells: to whoever looks on, in its log, and at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.batch.scanning.folder_walk import PassedOver
from pipeline.batch.store.row_records import LEFT, Sizes, State
from pipeline.batch.tasks_in_flight import InFlight


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How it stands, for whoever looks on. `left` counts files found so far, `frames_left` is an estimate; None: not known yet.

    For each worker `workers` has a title, and the frames done and expected; None for one that has nothing to do.
    """

    done: int
    failed: int
    left: int
    listing: bool
    frames_done: int
    frames_left: int | None
    seconds_left: float | None
    workers: Sequence[tuple[str, int, int | None] | None]
    paused: str | None


class Watcher(Protocol):
    """Whoever looks on, such as a terminal."""

    def said(self, text: str) -> None:
        """Something that the user should know now."""

    def finished(self, outcome: Mapping[str, Any], *, name: str = "") -> None:
        """The JSON object of an input that is done or has failed for good; `name` is its path below the archive's root."""

    def overview(self, overview: Overview) -> None:
        """Called a few times a second."""


@dataclass(kw_only=True)
class Summary:
    """What one run has done. `failures` holds paths with their reasons, those of earlier runs too.

    `copies` is how many of the files are exact copies of others, or if `deduped` how many are not made for that. `page` is the archive's,
    where it has one.
    """

    found: int = 0
    ended: int = 0
    done: int = 0
    done_before: int = 0
    missing: int = 0
    copies: int = 0
    deduped: bool = False
    failures: list[tuple[str, str]] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    stopped: bool = False
    given_up: str = ""
    left: int = 0
    seconds: float = 0.0
    log: Path | None = None
    page: Path | None = None


class RunLog:
    """The run's log: a line for each thing that happened, with its time, and for failures all that is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> RunLog:
        self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()

    def write(self, text: str, details: str = "") -> None:
        """One line with the time, and the lines of `details` below it."""
        with suppress(OSError):  # a full disk is told otherwise
            self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self._file.writelines(f"    {line}\n" for line in details.splitlines())


def announce(log: RunLog, watcher: Watcher, text: str) -> None:
    """Something that the user should know now, and that stays in the log."""
    log.write(text)
    watcher.said(text)


class Estimate:
    """How many frames, and how much time, are left: by the frames in a byte of the videos that are done, and the frames in a second."""

    def __init__(self) -> None:
        self.sizes: Mapping[Literal["video", "image"], Sizes] = {}
        self.frames_done = 0
        self._began_seconds: float | None = None

    def begin(self) -> None:
        """A worker is ready; what it took to get there says nothing of what is left."""
        self._began_seconds = self._began_seconds or time.monotonic()

    def add(self, frames: int) -> None:
        self.frames_done += frames

    def left(self, in_flight: InFlight) -> tuple[int | None, float | None]:
        """Frames and seconds; None where nothing is known yet. Of videos in the making their headers say how many frames they have."""
        images, videos = self.sizes.get("image", Sizes()), self.sizes.get("video", Sizes())
        known = [attempt for attempt in in_flight if attempt.frames_total]
        wholes = sum(attempt.task.found.size_bytes for attempt in known if attempt.lease.part is None)
        bytes_left = max(0, videos.bytes_left - wholes) if videos.files_left else 0
        if bytes_left and not (videos.bytes_done and videos.frames_done):
            return None, None
        frames = images.files_left + sum(max(0, (attempt.frames_total or 0) - attempt.frames_done) for attempt in known)
        if bytes_left:
            frames += round(bytes_left * videos.frames_done / videos.bytes_done)
        done = self.frames_done + sum(attempt.frames_done for attempt in in_flight)
        if not done or self._began_seconds is None:
            return frames, None
        return frames, frames * (time.monotonic() - self._began_seconds) / done


def make_overview(counts: Mapping[State, int], in_flight: InFlight, estimate: Estimate, *, listing: bool, is_full: bool) -> Overview:
    """How it stands now; `counts` are the files in each state."""
    frames_left, seconds_left = estimate.left(in_flight)
    return Overview(
        done=counts["done"],
        failed=counts["failed"],
        left=sum(counts[state] for state in LEFT),
        listing=listing,
        frames_done=estimate.frames_done + sum(attempt.frames_done for attempt in in_flight),
        frames_left=frames_left,
        seconds_left=seconds_left,
        workers=_describe_workers(in_flight),
        paused="the disk is full" if is_full else None,
    )


def _describe_workers(in_flight: InFlight) -> list[tuple[str, int, int | None] | None]:
    """Of the tasks of each the one that came on last."""
    shown: list[tuple[str, int, int | None] | None] = []
    for worker, owner in enumerate(in_flight.owners):
        attempt = max(in_flight.held_by(worker), key=lambda attempt: attempt.advanced_seconds or 0.0, default=None)
        if owner is None:
            shown.append(("loading the model", 0, None))
        else:
            shown.append(None if attempt is None else (attempt.title, attempt.frames_done, attempt.frames_total))
    return shown
