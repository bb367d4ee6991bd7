"""A run over an archive, unattended: hands out one task at a time, and writes down what became of each.

No TensorFlow here: that is the workers'. One thread does all of it, in a loop; listing the archive goes on between other things, so that
work starts before the listing ends.
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from pipeline.batch import archive_layout
from pipeline.batch.archive_layout import Request
from pipeline.batch.batch_run import BatchRun, clear_task, sweep_leftovers
from pipeline.batch.disk_gate import DiskGate
from pipeline.batch.messages import TASKS_AT_ONCE, Advanced, Broken, Event, Executor, Lost, Ready, Result, Setup, Timings
from pipeline.batch.progress import Estimate, RunLog, Summary, Watcher, announce, make_overview
from pipeline.batch.run_housekeeping import Housekeeper, check_alone
from pipeline.batch.scanning import source_arguments
from pipeline.batch.scanning.stepwise_listing import Listing
from pipeline.batch.store.attempt_outcomes import Failed, Finished, Retry
from pipeline.batch.store.job_store import open_store
from pipeline.batch.store.row_records import LEFT, Lease, State
from pipeline.batch.tasks_in_flight import Attempt, InFlight
from pipeline.batch.transitions import SourceNow, Tries, Unreadable, describe_change, failure_pattern, next_change, result_of_loss
from pipeline.errors import CommandError, HeatreelError, OutputError
from pipeline.files import Process
from pipeline.records import Outcome

ALIKE_TO_STOP = 20
STOPPING = "stopping: what is begun comes to an end, long videos behind their next segment; once more stops at once"


def run(
    request: Request,
    *,
    open_executor: Callable[[Setup, Path], Executor],
    watcher: Watcher,
    stopping: Callable[[], bool] = lambda: False,
    timings: Timings | None = None,
) -> Summary:
    """Work until nothing is left to do, or `stopping` says so: then what is begun comes to an end, or to the next segment's.

    Raises CommandError and ModelError for what no file could cure, OutputError when the output folder or the store cannot be written.
    """
    started, timings = time.monotonic(), timings or Timings()
    paths = source_arguments.expand_sources(request.sources)
    archive_layout.check_apart(paths, request.output)
    output = archive_layout.prepare_output(request)
    file = archive_layout.store_file(output, request.rules.shard)
    with open_store(file, exclusive=archive_layout.is_on_network(output)) as store:
        root = archive_layout.choose_root(store, paths)
        settings = store.add_settings(request.settings)
        number = store.runs.begin(settings=settings, command=request.command, version=version("heatreel"), process=Process.here())
        this = BatchRun(
            request=request,
            output=output,
            paths=tuple(paths),
            root=root,
            store=store,
            number=number,
            settings=settings,
            timings=timings,
        )
        check_alone(this, watcher.said)
        store.set_meta("root", str(root))
        with RunLog(archive_layout.log_file(output, request.rules.shard, number)) as log:
            log.write(request.command)
            summary = _work_through(this, open_executor, watcher, log, stopping)
        summary.seconds = time.monotonic() - started
        return summary


def _work_through(
    run: BatchRun, open_executor: Callable[[Setup, Path], Executor], watcher: Watcher, log: RunLog, stopping: Callable[[], bool]
) -> Summary:
    """One run, from the listing to the summary; it is ended in the store however it ends."""
    scheduler = Scheduler(run, watcher, log)
    code = 1
    try:
        if scheduler.find_work(stopping):
            with _running_executor(open_executor, replace(run.request.setup, timings=run.timings), log.path) as executor:
                scheduler.work(executor, stopping)
        scheduler.look_for_copies(stopping)
        code = _choose_exit_code(scheduler.summary, run.store.counts(run.settings))
    finally:
        with suppress(OutputError):
            run.store.runs.end(run.number, code)
    return scheduler.close()


def _choose_exit_code(summary: Summary, counts: Mapping[State, int]) -> int:
    if summary.stopped:
        return 130
    return int(bool(summary.given_up or counts["failed"]))


@contextmanager
def _running_executor(open_executor: Callable[[Setup, Path], Executor], setup: Setup, log: Path) -> Iterator[Executor]:
    executor = open_executor(setup, log)
    try:
        yield executor
    finally:
        executor.close()


class Scheduler:
    """The loop of one run."""

    def __init__(self, run: BatchRun, watcher: Watcher, log: RunLog) -> None:
        self._run, self._watcher = run, watcher
        self._say = functools.partial(announce, log, watcher)
        self.summary = Summary(log=log.path)
        self._gate = DiskGate(run.output, self._say)
        self._listing = Listing(run, self._gate, log, self.summary)
        self._estimate = Estimate()
        self._settler = Settler(run, self._gate, log, watcher, self.summary, self._estimate)
        self._in_flight = InFlight(0)
        self._house = Housekeeper(run, self._gate, log, self.summary, self._estimate)
        self._begun = 0  # files of which nothing was begun before this run
        self._show_due_seconds = 0.0

    def find_work(self, stopping: Callable[[], bool]) -> bool:
        """Look through the archive until there is something to do: for nothing no worker is opened."""
        self._house.keep(self._in_flight)
        found = not self._is_over(of_what_is_listed=True)
        while self._listing.is_open and not found and not stopping():
            found = self._list()
        self.summary.stopped = stopping()
        return not self.summary.stopped and not self._is_over()

    def work(self, executor: Executor, stopping: Callable[[], bool]) -> None:
        """Hand out what is to do and take what comes back, until nothing is left."""
        self._in_flight = InFlight(executor.count)
        while True:
            if stopping() and not self.summary.stopped:
                self.summary.stopped = True
                self._say(STOPPING)
                executor.drain()
            self._house.keep_if_due(self._in_flight)
            if not (self.summary.stopped or self.summary.given_up):
                self._list()
                self._hand_out(executor)
            elif not len(self._in_flight):
                return
            if self._is_over():
                return
            self._show()
            self._listing.look_for_copies()
            is_reading = self._listing.is_open or self._listing.is_looking
            for event in executor.events(0.02 if is_reading else 0.3):
                self._take_event(event)

    def look_for_copies(self, stopping: Callable[[], bool]) -> None:
        """Look through the rest, and count them."""
        self._house.wait_a_beat()
        while self._listing.is_looking and not (stopping() or self.summary.given_up):
            self._listing.look_for_copies()
            self._house.keep_if_due(self._in_flight)
        self.summary.deduped = self._run.request.dedupe
        self.summary.copies = self._listing.count_copies()

    def close(self) -> Summary:
        """The summary, with all that has failed, in this run or before."""
        store, settings = self._run.store, self._run.settings
        counts = store.counts(settings)
        self.summary.left = sum(counts[state] for state in LEFT)
        self._run.sweep_receipts()
        self.summary.page = self._house.publish_last()
        for row in store.jobs(["failed"], settings):
            self.summary.failures.append((str(self._run.root / os.fsdecode(row.relative)), row.error_text or ""))
        return self.summary

    def _list(self) -> bool:
        """One step of the listing; whether there is something to do."""
        was_open = self._listing.is_open
        has_work = self._listing.step()
        if was_open and not self._listing.is_open:
            self._house.count_soon()
        return has_work

    def _is_over(self, *, of_what_is_listed: bool = False) -> bool:
        """Whether nothing is left to do; if so asked, of what is known so far."""
        if (self._listing.is_open and not of_what_is_listed) or len(self._in_flight) or self._gate.has_waiting:
            return False
        if self._is_at_limit():
            return not self._run.store.has_begun(self._run.settings)
        counts = self._house.count()
        return not any(counts[state] for state in LEFT)

    def _is_at_limit(self) -> bool:
        return self._run.request.limit is not None and self._begun >= self._run.request.limit

    # -------------------------------------------------------------------------------------------- handing out

    def _hand_out(self, executor: Executor) -> None:
        """Give every worker as many tasks as it takes, first to those that have none."""
        for ahead in range(TASKS_AT_ONCE):
            for worker in range(executor.count):
                if self._gate.is_open and self._in_flight.takes_more(worker, ahead):
                    with self._gate.guard():
                        if not self._fill(executor, worker):
                            return

    def _fill(self, executor: Executor, worker: int) -> bool:
        """Give a worker one more task, passing over what must not be made; False when there is none."""
        run, owner = self._run, self._in_flight.owners[worker]
        alone, begun = not self._in_flight.held_by(worker), self._is_at_limit()
        deadline = time.monotonic() + run.timings.beat_seconds
        while owner is not None and not self.summary.given_up and time.monotonic() < deadline:
            lease = run.store.leases.take(run=run.number, settings=run.settings, owner=owner, exists=run.is_taken, alone=alone, begun=begun)
            if lease is None:
                return False
            if self._give(executor, worker, lease):
                return True
            begun = self._is_at_limit()
        return True

    def _give(self, executor: Executor, worker: int, lease: Lease) -> bool:
        task = self._run.task_of(lease)
        if lease.first and lease.part is None:
            self._begun += 1
        error = self._run.foreign_file_error(lease)
        if error is not None:
            result = Result(token=lease.token, how="error", error_class="OutputError", error=str(error), final=True)
            self._settler.settle(Attempt(lease, task, worker), result)
            return False
        self._in_flight.add(worker, lease, task)
        executor.give(worker, task)
        return True

    # -------------------------------------------------------------------------------------------- what comes back

    def _take_event(self, event: Event) -> None:
        match event:
            case Ready():
                self._estimate.begin()
                self._in_flight.make_ready(event.worker, Process.here() if event.pid is None else _find_process(event.pid))
            case Advanced():
                self._in_flight.advance(event, time.monotonic())
            case Broken():
                raise CommandError(event.error) if event.exit_code == 2 else HeatreelError(event.error)
            case Lost():
                self._lose(event)
            case Result():
                attempt = self._in_flight.take(event.token)
                if attempt is not None:
                    self._gate.make_sure(functools.partial(self._settler.settle, attempt, event))

    def _lose(self, event: Lost) -> None:
        attempts = self._in_flight.lose(event.worker)
        self._say(f"worker {event.worker + 1} has died: {event.reason}; another takes its place")
        for attempt in attempts:
            sweep_leftovers(attempt.task)
            result = result_of_loss(event, attempt.task, stopping=self.summary.stopped)
            self._gate.make_sure(functools.partial(self._settler.settle, attempt, result))

    def _show(self) -> None:
        if time.monotonic() >= self._show_due_seconds:
            self._show_due_seconds = time.monotonic() + self._run.timings.show_seconds
            self._watcher.overview(
                make_overview(
                    self._house.last_counts(),
                    self._in_flight,
                    self._estimate,
                    listing=self._listing.is_open,
                    is_full=not self._gate.is_open,
                )
            )


def _find_process(pid: int) -> Process:
    try:
        return Process.of(pid)
    except ProcessLookupError:  # it has died just now, and that will be told
        return Process.here()


class Settler:
    """Writes down what became of an attempt, and tells it."""

    def __init__(self, run: BatchRun, gate: DiskGate, log: RunLog, watcher: Watcher, summary: Summary, estimate: Estimate) -> None:
        self._run, self._gate, self._log, self._watcher = run, gate, log, watcher
        self._summary, self._estimate = summary, estimate
        self._changes: Counter[bytes] = Counter()  # of each source while it was read
        self._patterns: set[str] = set()  # how the first inputs have failed; "" for one that has an output

    def settle(self, attempt: Attempt, result: Result) -> None:
        """From a result to the store. Raises OutputError where the store has no room for it."""
        lease, task = attempt.lease, attempt.task
        tries = Tries(errors=lease.errors, crashes=lease.crashes, changes=self._changes[lease.relative])
        source = None
        if result.how == "changed":
            source = _look_at_source(task.found.path)
            self._changes[lease.relative] += isinstance(source, SourceNow)
        change = next_change(result, task, tries, source=source, timings=self._run.timings)
        made = True
        if isinstance(change, Retry | Failed):
            made = self._run.is_taken(lease.output)
            if not os.path.lexists(task.found.path):
                self._run.store.leases.free_copies(lease)
        state = self._run.store.leases.settle(lease, change, now=time.monotonic(), made=made)
        if isinstance(change, Finished):
            self._after_finish(attempt, change, state)
        line = describe_change(change, result, task, state)
        if line is not None:
            self._log.write(*line)
        if isinstance(change, Finished) and task.part is None and state is not None:
            self._watcher.finished(change.outcome, name=os.fsdecode(lease.relative))
        if isinstance(change, Failed) and state == "failed":
            self._after_failure(attempt, change)
        if result.how == "full":
            self._gate.close(result.error)

    def _after_finish(self, attempt: Attempt, change: Finished, state: State | None) -> None:
        task = attempt.task
        if task.part is not None:
            self._estimate.add(change.frames)
        elif state is not None:
            if task.receipt is not None:
                task.receipt.unlink(missing_ok=True)
            self._summary.ended += 1
            self._estimate.add(0 if task.parts else change.frames)
            self._patterns.add("")  # it has an output, so not all is in vain
            self._summary.done += change.error is None

    def _after_failure(self, attempt: Attempt, change: Failed) -> None:
        task, request = attempt.task, self._run.request
        if change.charge == "crash" or not os.path.lexists(task.found.path):
            clear_task(task)  # else whoever was at it has tidied up, and kept what is of use
        self._summary.ended += 1
        model, method = Path(request.choice.model).name, request.options.method
        outcome = Outcome(input=task.found.path, model=model, method=method, error=change.error_text).as_json()
        self._watcher.finished(outcome, name=os.fsdecode(attempt.lease.relative))
        self._patterns.add(failure_pattern(change, task))
        if self._summary.ended == ALIKE_TO_STOP and len(self._patterns) == 1:  # then it is not the files
            text = f"the first {ALIKE_TO_STOP} inputs have all failed alike, so the rest is left as it is: {change.error_text}"
            self._summary.given_up = text
            announce(self._log, self._watcher, text)


def _look_at_source(path: Path) -> SourceNow | Unreadable:
    try:
        now = path.stat()
    except OSError as error:
        return Unreadable(reason=str(error.strerror or error))
    return SourceNow(size_bytes=now.st_size, mtime_ns=now.st_mtime_ns)
