"""What is due beside the work: signs of life, and what other runs on the same archive have left, counts and the archive's page."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.batch.batch_run import BatchRun
from pipeline.batch.disk_gate import DiskGate
from pipeline.batch.page_publisher import PagePublisher
from pipeline.batch.progress import Estimate, RunLog, Summary
from pipeline.batch.store.row_records import RunRow, State
from pipeline.batch.tasks_in_flight import InFlight
from pipeline.errors import OutputError
from pipeline.files import Process, is_running, remove_leftovers


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
    running = is_running(other.process)
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
                remove_leftovers((self._run.output / os.fsdecode(lost.output)).parent)

    def _is_dead(self, process: Process, number: int, beat: int) -> bool:
        if number == self._run.number:
            return False  # of one's own workers the executor tells
        running = is_running(process)
        if running is not None:
            return not running
        known = self._beats.get(number)
        if known is None or beat != known[0]:
            self._beats[number] = beat, time.monotonic()
            return False
        return time.monotonic() - known[1] > self._run.timings.silence_seconds


class Housekeeper:
    """What is due from time to time: a sign of life, what others have left lying, pauses that are over, counts, the archive's page."""

    def __init__(self, run: BatchRun, gate: DiskGate, log: RunLog, summary: Summary, estimate: Estimate) -> None:
        self._run, self._gate, self._summary, self._estimate = run, gate, summary, estimate
        self._neighbours, self._page = Neighbours(run, log), PagePublisher(run, log)
        self._counts: Mapping[State, int] | None = None
        self._count_due_seconds = self._due_seconds = 0.0  # by the monotonic clock

    def keep_if_due(self, in_flight: InFlight) -> None:
        """Once a beat; `in_flight` says how far each task is."""
        if time.monotonic() >= self._due_seconds:
            self.keep(in_flight)
            self.wait_a_beat()

    def wait_a_beat(self) -> None:
        """Nothing is due before that."""
        self._due_seconds = time.monotonic() + self._run.timings.beat_seconds

    def keep(self, in_flight: InFlight) -> None:
        """Now. Where the disk is full, the rest is left for the next time."""
        run = self._run
        with self._gate.guard():
            run.store.runs.beat(run.number, in_flight.count_frames())
            self._neighbours.recover()
            run.store.leases.wake(run=run.number, monotonic=time.monotonic())
            self._count_rarely()
            self._page.publish(ended=self._summary.ended)
        self._gate.look()

    def publish_last(self) -> Path | None:
        """The archive's page as it stays, where it has one."""
        with self._gate.guard():
            self._page.publish(ended=self._summary.ended, last=True)
        return self._page.find_page()

    def count(self) -> Mapping[State, int]:
        """How many files are in each state, now."""
        self._counts = self._run.store.counts(self._run.settings)
        return self._counts

    def last_counts(self) -> Mapping[State, int]:
        """As they were when they were last counted."""
        return self.count() if self._counts is None else self._counts

    def count_soon(self) -> None:
        """With the next housekeeping, however long it takes: much has been found."""
        self._count_due_seconds = 0.0

    def _count_rarely(self) -> None:
        """How it stands; rarely where that takes long, as it does with millions."""
        started = time.monotonic()
        if started >= self._count_due_seconds:
            self.count()
            self._estimate.sizes = self._run.store.sizes(self._run.settings)
            self._count_due_seconds = started + 50 * (time.monotonic() - started)
