"""Other runs on the same archive: whether they live, what dead ones have left, and that none wants something else of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from pipeline.batch.batch_run import BatchRun
from pipeline.batch.progress import RunLog
from pipeline.batch.store.rows import RunRow
from pipeline.errors import OutputError
from pipeline.files import atomic, processes
from pipeline.files.processes import Process


def check_alone(run: BatchRun, say: Callable[[str], None]) -> None:
    """Two runs may share the work, but not if they want different things of it: then the one that began first has it.

    Raises OutputError where that is another one; this run is ended then.
    """
    store = run.store
    for other in store.live_runs():
        if other.run < run.number and other.settings != run.settings and _lives(run, other, say):
            store.runs.end(run.number, 1)
            raise OutputError(
                f"{store.path.parent.parent}: another run with other options is at work on it (process {other.process.pid} on "
                f"{other.process.host})",
                remedy="wait for it, stop it, or name another --output",
            )


def _lives(run: BatchRun, other: RunRow, say: Callable[[str], None]) -> bool:
    """Of another host's, or of a container's that is gone, nothing tells but its heartbeat."""
    running = processes.is_running(other.process)
    if running is not None:
        return running
    silence_seconds = run.timings.silence_seconds
    say(f"another run with other options has begun on {other.process.host}; waiting up to {silence_seconds:g} s for a sign of life")
    deadline = time.monotonic() + silence_seconds
    while time.monotonic() < deadline:
        time.sleep(run.timings.beat_seconds / 2)
        beat = next((each.beat for each in run.store.live_runs() if each.run == other.run), None)
        if beat != other.beat:
            return beat is not None
    return False


class Neighbours:
    """The runs beside one's own, as they were last seen."""

    def __init__(self, run: BatchRun, log: RunLog) -> None:
        self._run, self._log = run, log
        self._beats: dict[int, tuple[int, float]] = {}  # of each run its last heartbeat, and when that was first seen

    def recover(self) -> None:
        """Make ready what dead runs were at, and remove what they were writing."""
        for lost in self._run.store.runs.recover(self._is_dead):
            self._log.write(f"{os.fsdecode(lost.relative)}: taken over from a run that has died")
            with suppress(OSError):
                atomic.remove_leftovers((self._run.output / os.fsdecode(lost.output)).parent)

    def _is_dead(self, process: Process, number: int, beat: int) -> bool:
        if number == self._run.number:
            return False  # of one's own workers the executor tells
        running = processes.is_running(process)
        if running is not None:
            return not running
        known = self._beats.get(number)
        if known is None or beat != known[0]:
            self._beats[number] = beat, time.monotonic()
            return False
        return time.monotonic() - known[1] > self._run.timings.silence_seconds
