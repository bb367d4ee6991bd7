"""Overnight over an archive: finds what is there, keeps the ledger, hands out one job at a time, and says what became of each.

No TensorFlow here: that is the workers'. One thread does all of it, in a loop; listing the archive goes on between other things, so that
work starts before the listing ends.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.batch import archive, archive_page
from pipeline.batch.archive import Request
from pipeline.batch.messages import ORDERS, Advanced, Broken, Event, Executor, Lost, Ready, Result, Setup, Task
from pipeline.batch.scanning import exact_copies, walk
from pipeline.batch.scanning.walk import PassedOver
from pipeline.batch.store import job_store
from pipeline.batch.store.job_store import Entry, Lease, Ledger, RunRow, Standing, State
from pipeline.errors import CommandError, HeatreelError, InputError, OutputError
from pipeline.explain import segment_journal
from pipeline.files import atomic, processes
from pipeline.files.processes import Process
from pipeline.records import Found, Outcome

BACKOFF_SECONDS = (10.0, 60.0)  # before the second and the third try
BUSY_SECONDS = 5.0
BEAT_SECONDS = 2.0
SHOW_SECONDS = 0.5
PUBLISH_SECONDS = 30.0
SILENCE_SECONDS = 60.0  # a run on another host that gives no sign of life for so long is dead
LISTED_AT_ONCE = 200
ALIKE_TO_STOP = 20
MOST_CHANGES = 10  # of a source while it is read, in one run


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How it stands, for whoever looks on. `left` counts files found so far, `frames_left` is an estimate; None: not known yet."""

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


# ------------------------------------------------------------------------------------------------ the run


def run(
    request: Request, *, open_engine: Callable[[Setup, Path], Executor], watcher: Watcher, stopping: Callable[[], bool] = lambda: False
) -> Summary:
    """Work until nothing is left to do, or `stopping` says so: then what is begun comes to an end, or to the next segment's.

    Raises CommandError and ModelError for what no file could cure, OutputError when the output folder or the ledger cannot be written.
    """
    started = time.monotonic()
    paths = walk.expand(request.sources)
    archive.check_apart(paths, request.output)
    output = archive.prepare(request)
    file = archive.ledger_file(output, request.rules.shard)
    with job_store.open_ledger(file, exclusive=archive.on_network(output)) as book:
        root = archive.root_of(book, paths)
        settings = book.settings(request.settings)
        number = book.begin_run(settings=settings, command=request.command, version=version("heatreel"), process=Process.here())
        _check_alone(book, number, settings, watcher)
        book.set_meta("root", str(root))
        log = archive.home(output) / "logs" / f"run-{'' if request.rules.shard is None else f'{request.rules.shard[0]}-'}{number:06d}.log"
        with _Log(log) as notes:
            notes.write(request.command)
            batch = _Batch(request, output, paths, root, book, number, settings, watcher, notes)
            code = 1
            try:
                if batch.finds_work(stopping):
                    with _opened(open_engine, request.setup, log) as engine:
                        batch.work(engine, stopping)
                batch.look_for_copies(stopping)
                code = batch.exit_code
            finally:
                with suppress(OutputError):
                    book.end_run(number, code)
            batch.summary.log, batch.summary.seconds = log, time.monotonic() - started
            return batch.close()


@contextmanager
def _opened(open_engine: Callable[[Setup, Path], Executor], setup: Setup, log: Path) -> Iterator[Executor]:
    engine = open_engine(setup, log)
    try:
        yield engine
    finally:
        engine.close()


def _check_alone(book: Ledger, number: int, settings: int, watcher: Watcher) -> None:
    """Two runs may share the work, but not if they want different things of it: then the one that began first has it."""
    for other in book.live_runs():
        if other.run < number and other.settings != settings and _lives(book, other, watcher):
            book.end_run(number, 1)
            raise OutputError(
                f"{book.path.parent.parent}: another run with other options is at work on it (process {other.process.pid} on "
                f"{other.process.host})",
                remedy="wait for it, stop it, or name another --output",
            )


def _lives(book: Ledger, run: RunRow, watcher: Watcher) -> bool:
    """Of another host's, or of a container's that is gone, nothing tells but its heartbeat."""
    running = processes.is_running(run.process)
    if running is not None:
        return running
    watcher.said(f"another run with other options has begun on {run.process.host}; waiting up to {SILENCE_SECONDS:g} s for a sign of life")
    deadline = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 2)
        beat = next((other.beat for other in book.live_runs() if other.run == run.run), None)
        if beat != run.beat:
            return beat is not None
    return False


class _Log:
    """The run's log: a line for each thing that happened, with its time, and for failures all that is known."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Log:
        self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()

    def write(self, text: str, details: str = "") -> None:
        with suppress(OSError):  # a full disk is told otherwise
            self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self._file.writelines(f"    {line}\n" for line in details.splitlines())


@dataclass
class _Held:
    """An order that a worker has."""

    claim: Lease
    order: Task
    frames_done: int = 0
    frames_total: int | None = None
    advanced: float = 0.0  # when its worker last told of it


class _Batch:
    """One run: the loop, and what it must remember."""

    def __init__(
        self,
        request: Request,
        output: Path,
        paths: Sequence[Path],
        root: Path,
        book: Ledger,
        number: int,
        settings: int,
        watcher: Watcher,
        log: _Log,
    ) -> None:
        self._request, self._output, self._paths, self._root, self._book, self._log = request, output, paths, root, book, log
        self._number, self._settings, self._watcher = number, settings, watcher
        self.summary = Summary()
        self._exists = archive.exists_in(output)
        self._held: dict[str, _Held] = {}
        self._hands: list[dict[str, None]] = []  # the tokens that each worker holds, in order
        self._owners: list[Process | None] = []
        self._seen_beats: dict[int, tuple[int, float]] = {}
        self._alike: set[str] = set()
        self._changes: Counter[bytes] = Counter()
        self._taken = 0
        self._full_since_free: int | None = None
        self._estimate = _Estimate()
        self._copies = exact_copies.Copies(book, root=root, settings=settings, run=number, exists=self._exists)
        self._listing: Iterator[Found | PassedOver | None] | None = None
        self._looking: Iterator[None] | None = None
        self._unentered: list[Entry] = []
        self._unsettled: deque[Callable[[], None]] = deque()
        self._counts: Mapping[State, int] = {}
        self._shown = self._sized = self._published = 0.0
        self._unpublished = ""

    # -------------------------------------------------------------------------------------------- the loop

    def finds_work(self, stopping: Callable[[], bool]) -> bool:
        """Look through the archive until there is something to do: for nothing no worker is opened."""
        listing = walk.discover(self._paths, root=self._root, output=self._output, rules=self._request.rules)
        self._listing = self._copies.marked(listing) if self._request.dedupe else listing
        self._keep_house()
        found = not self._is_over(listed=True)
        while self._listing is not None and not found and not stopping():
            found = self._list()
        self.summary.stopped = stopping()
        return not self.summary.stopped and not self._is_over()

    @property
    def exit_code(self) -> int:
        if self.summary.stopped:
            return 130
        return int(bool(self.summary.given_up or self._book.counts(self._settings)["failed"]))

    def work(self, engine: Executor, stopping: Callable[[], bool]) -> None:
        self._hands = [{} for _ in range(engine.count)]
        self._owners = [None] * engine.count
        draining, next_beat = False, 0.0
        while True:
            if stopping() and not draining:
                draining = self.summary.stopped = True
                self._say("stopping: what is begun comes to an end, long videos behind their next segment; once more stops at once")
                engine.drain()
            if time.monotonic() >= next_beat:
                self._keep_house()
                next_beat = time.monotonic() + BEAT_SECONDS
            if not draining and not self.summary.given_up:
                self._list()
                self._hand_out(engine)
            elif not self._held:
                return
            if self._is_over():
                return
            self._show()
            self._look_on()
            for event in engine.events(0.02 if self._listing is not None or self._looking is not None else 0.3):
                self._take(engine, event)

    def _is_over(self, *, listed: bool = False) -> bool:
        """Whether nothing is left to do; with `listed`, of what is known so far."""
        if (self._listing is not None and not listed) or self._held or self._unsettled:
            return False
        if self._at_limit():
            return not self._book.has_begun(self._settings)
        self._counts = self._book.counts(self._settings)
        return not any(self._counts[state] for state in job_store.LEFT)

    def _at_limit(self) -> bool:
        return self._request.limit is not None and self._taken >= self._request.limit

    def _list(self) -> bool:
        """Enter the next of what is found, and say whether some is to do; what finds no room in the ledger stays for the next time."""
        if self._listing is None or self._full_since_free is not None:
            return False
        standings: list[Standing] = []
        taken = LISTED_AT_ONCE if self._unentered else 0
        for found in itertools.islice(self._listing, LISTED_AT_ONCE - taken):
            taken += 1
            if found is None:  # a file is being read to see whether it is a copy, and there are other things to do
                taken = LISTED_AT_ONCE
                break
            if isinstance(found, PassedOver):
                self.summary.passed_over.append(found)
                self._log.write(f"passed over {found.path}: {found.reason}")
            else:
                self.summary.found += 1
                self._unentered.append(archive.entry_of(found, self._request.options))
        with self._waiting_for_room():
            again = self._request.retry_failed
            standings = self._book.enter(
                self._unentered, run=self._number, settings=self._settings, exists=self._exists, retry_failed=again
            )
            self._unentered = []
            self._copies.entered()
            self.summary.done_before += standings.count("done")
        if taken < LISTED_AT_ONCE and not self._unentered:
            self._listing = None
            self._close_listing()
        return not {"done", "failed", "copy"}.issuperset(standings)

    def _look_on(self) -> None:
        """One step of looking for copies among what is entered, behind the listing."""
        if self._looking is None:
            return
        try:
            next(self._looking)
        except StopIteration:
            self._looking = None

    def look_for_copies(self, stopping: Callable[[], bool]) -> None:
        """Look through the rest, and count them."""
        next_beat = time.monotonic() + BEAT_SECONDS
        while self._looking is not None and not (stopping() or self.summary.given_up):
            self._look_on()
            if time.monotonic() >= next_beat:
                self._keep_house()
                next_beat = time.monotonic() + BEAT_SECONDS
        self.summary.deduped = self._request.dedupe
        self.summary.copies = self._book.counts(self._settings)["copy"] if self._request.dedupe else self._copies.count()

    def _close_listing(self) -> None:
        below = archive.listed_below(self._paths, self._root, self._request.rules)
        if below:
            self.summary.missing = self._book.close_listing(run=self._number, settings=self._settings, below=[*below])
            for row in self._book.jobs(["missing"], self._settings):
                segment_journal.discard(self._output / os.fsdecode(row.output))
        self._sized = 0.0
        self._looking = self._copies.look()

    def _keep_house(self) -> None:
        """What is due from time to time: a sign of life, what others have left lying, pauses that are over, room on the disk."""
        with self._waiting_for_room():
            self._book.beat(self._number, {token: (held.frames_done, held.frames_total) for token, held in self._held.items()})
            for lost in self._book.recover(self._is_dead):
                self._log.write(f"{os.fsdecode(lost.relative)}: taken over from a run that has died")
                with suppress(OSError):
                    atomic.remove_leftovers((self._output / os.fsdecode(lost.output)).parent)
            self._book.wake(run=self._number, monotonic=time.monotonic())
            self._count()
            self._publish()
        if self._full_since_free is not None:
            usage = shutil.disk_usage(self._output)
            if usage.free - self._full_since_free >= min(64 << 20, usage.total // 100):
                self._full_since_free = None
                self._say("there is room again: going on")
        while self._unsettled and self._full_since_free is None:
            with self._waiting_for_room():
                self._unsettled[0]()
                self._unsettled.popleft()

    def _count(self) -> None:
        """How it stands; rarely where that takes long, as it does with millions."""
        started = time.monotonic()
        if started < self._sized:
            return
        self._counts, self._estimate.sizes = self._book.counts(self._settings), self._book.sizes(self._settings)
        self._sized = started + 50 * (time.monotonic() - started)

    def _publish(self, *, last: bool = False) -> None:
        """Write the archive's page anew, now and then: the longer that takes, the more rarely. Somebody else's is left alone."""
        started, page, known = time.monotonic(), archive_page.file_of(self._output), self._book.meta("page")
        settled = not self.summary.ended and (not last or (page.exists() and known == "final"))
        if not self._request.options.report or settled or (started < self._published and not last):
            return
        try:
            self._write_gallery(known is not None, last=last)
        except OutputError as error:  # the work goes on without it
            if str(error) != self._unpublished:  # it is tried again and again
                self._log.write(f"the archive's page is not written: {error}")
            self._unpublished = str(error)
        self._published = time.monotonic() + max(PUBLISH_SECONDS, 50 * (time.monotonic() - started))

    def _write_gallery(self, ours: bool, *, last: bool) -> None:
        page = archive_page.file_of(self._output)
        with archive.other_shards(self._book.path) as others:
            ours |= any(other.meta("page") for other in others)
            if page.exists() and not ours and not self._request.options.overwrite:
                raise OutputError(f"{page}: exists already", remedy="--overwrite replaces it")
            self._book.set_meta("page", "final" if last else "at work")
            shards = [(self._book, self._settings), *((other, other.newest_settings) for other in others)]
            archive_page.write_gallery(shards, self._output, refreshed=f"{time.strftime('%Y-%m-%d %H:%M')}{'' if last else ', at work'}")

    def _page(self) -> Path | None:
        with suppress(OutputError), archive.other_shards(self._book.path) as others:  # one of which somebody may keep to himself
            return archive_page.own_page((self._book, *others), self._output)
        return archive_page.own_page([self._book], self._output)

    def _is_dead(self, process: Process, number: int, beat: int) -> bool:
        if number == self._number:
            return False  # of one's own workers the engine tells
        running = processes.is_running(process)
        if running is not None:
            return not running
        before, since = self._seen_beats.get(number, (-1, 0.0))
        if beat != before:
            self._seen_beats[number] = beat, time.monotonic()
            return False
        return time.monotonic() - since > SILENCE_SECONDS

    # -------------------------------------------------------------------------------------------- handing out

    def _hand_out(self, engine: Executor) -> None:
        """Fill every hand; what has crashed a worker before gets one to itself, so that nothing else is lost with it."""
        for ahead in range(ORDERS):
            for worker, (owner, hand) in enumerate(zip(self._owners, self._hands, strict=True)):
                if owner is None or len(hand) != ahead or self._full_since_free is not None:
                    continue
                if any(self._held[token].claim.crashes for token in hand):
                    continue
                with self._waiting_for_room():
                    if not self._fill(engine, worker, owner):
                        return

    def _fill(self, engine: Executor, worker: int, owner: Process) -> bool:
        """Give a worker one more order, passing over what must not be made; False when there is none."""
        deadline = time.monotonic() + BEAT_SECONDS
        only = {"alone": not self._hands[worker], "begun": self._at_limit()}
        while not self.summary.given_up and time.monotonic() < deadline:
            claim = self._book.claim(run=self._number, settings=self._settings, owner=owner, exists=self._taken_name, **only)
            if claim is None:
                return False
            if self._give(engine, worker, claim):
                return True
            only["begun"] = self._at_limit()
        return True

    def _give(self, engine: Executor, worker: int, claim: Lease) -> bool:
        order = self._order(claim)
        if claim.first and claim.part < 0:
            self._taken += 1
        if not claim.owned and not self._request.options.overwrite:
            there = next((path for path in self._files(claim.output) if path is not None and os.path.lexists(path)), order.output)
            text = f"{there}: exists already, and was not made from this archive"
            error = OutputError(text, remedy="add --overwrite to replace it, or move it away")
            self._failed(claim, Result(token=claim.token, how="error", error_class="OutputError", error=str(error), final=True), order)
            return False
        self._held[claim.token] = _Held(claim, order)
        self._hands[worker][claim.token] = None
        engine.give(worker, order)
        return True

    def _order(self, claim: Lease) -> Task:
        relative = os.fsdecode(claim.relative)
        found = Found(
            path=self._root / relative, relative=claim.relative, kind=claim.kind, size_bytes=claim.size_bytes, mtime_ns=claim.mtime_ns
        )
        output, maps, predictions, _ = self._files(claim.output)
        is_video = claim.kind == "video"
        return Task(
            token=claim.token,
            found=found,
            output=output,
            overwrite=True,
            maps=maps,
            predictions=predictions if is_video else None,
            receipt=archive.receipt_of(self._book, self._output, claim.job) if is_video else None,
            poster=archive.poster_of(self._book, self._output, claim.job) if self._request.options.report else None,
            command=self._request.command,
            part=claim.part,
            parts=claim.parts,
            whole=claim.whole,
            spent_seconds=self._spent_seconds(claim),
        )

    def _spent_seconds(self, claim: Lease) -> float:
        """What the parts of a video took that is to be joined."""
        made = self._book.parts(claim) if claim.parts else ()
        return float(sum(row.outcome["elapsed_seconds"] for row in made if row.outcome))

    def _files(self, relative: bytes) -> tuple[Path, Path | None, Path | None, Path | None]:
        """An output, its raw maps, and what goes with it if it is a video's: predictions, and a page."""
        output, maps, form = self._output / os.fsdecode(relative), self._request.maps, self._request.predictions
        return (
            output,
            None if maps is None else maps.absolute() / os.fsdecode(relative + b".npz"),
            None if form == "none" else output.with_name(f"{output.stem}.{form}"),
            atomic.page_of(output) if self._request.options.report else None,
        )

    def _taken_name(self, relative: bytes) -> bool:
        """Whether one of the files of an output is there already."""
        return any(path is not None and os.path.lexists(path) for path in self._files(relative))

    # -------------------------------------------------------------------------------------------- what comes back

    def _take(self, engine: Executor, event: Event) -> None:
        if isinstance(event, Ready):
            self._estimate.begin()
            self._owners[event.worker] = Process.here() if event.pid is None else _process(event.pid)
        elif isinstance(event, Advanced):
            held = self._held.get(event.token)
            if held is not None:
                held.frames_done, held.frames_total, held.advanced = event.frames_done, event.frames_total, time.monotonic()
        elif isinstance(event, Broken):
            raise CommandError(event.error) if event.exit_code == 2 else HeatreelError(event.error)
        elif isinstance(event, Lost):
            self._lose(event)
        elif event.result.token in self._held:
            held = self._held.pop(event.result.token)
            self._hands[event.worker].pop(event.result.token, None)
            self._for_sure(functools.partial(self._settle, held, event.result))

    def _lose(self, event: Lost) -> None:
        tokens, self._hands[event.worker], self._owners[event.worker] = list(self._hands[event.worker]), {}, None
        self._say(f"worker {event.worker + 1} has died: {event.reason}; another takes its place")
        for token in tokens:
            held = self._held.pop(token)
            self._sweep(held.order)
            text = f"{held.order.found.path}: the worker died while it was at it: {event.reason}"
            if event.blameless or self.summary.stopped:
                self._for_sure(functools.partial(self._book.fail, held.claim, charge=None, how="interrupted"))
            else:
                result = Result(token=token, how="error", error_class="WorkerDied", error=text)
                self._for_sure(functools.partial(self._failed, held.claim, result, held.order, charge="crash"))

    def _sweep(self, order: Task) -> None:
        """Remove what a dead worker was writing for an order."""
        for folder in {path.parent for path in (order.output, order.predictions, order.maps, order.receipt) if path is not None}:
            with suppress(OSError):
                atomic.remove_leftovers(folder)

    def _settle(self, held: _Held, result: Result) -> None:
        """Write into the ledger what became of an order."""
        claim, order = held.claim, held.order
        if result.how == "done":
            self._done(claim, order, result)
        elif result.how == "part":
            self._book.finish(claim, outcome=result.outcome, stretches=(), frames=result.frames)
            self._estimate.add(result.frames)
        elif result.how == "parts":
            self._book.split(claim, result.bounds)
            self._log.write(f"{order.found.path}: is long and made in {len(result.bounds)} parts")
        elif result.how == "seam":
            self._book.give_up_splitting(claim)
            self._log.write(f"{result.error}; it is made in one go")
        elif result.how == "changed":
            self._changed(claim, order)
        elif result.how == "busy":
            self._book.fail(claim, charge=None, how="busy", ready_after=time.monotonic() + BUSY_SECONDS)
        elif result.how == "stopped":
            self._book.fail(claim, charge=None, how="stopped")
        elif result.how == "full":
            self._book.fail(claim, charge=None, how="disk full")
            self._pause(result.error)
        else:
            self._failed(claim, result, order)

    def _done(self, claim: Lease, order: Task, result: Result) -> None:
        failed = result.outcome.get("error")
        finished = self._book.finish(
            claim, outcome=result.outcome, stretches=result.stretches, kinds=result.kinds, frames=result.frames, error=failed
        )
        if not finished:
            return
        if order.receipt is not None:
            order.receipt.unlink(missing_ok=True)
        self.summary.ended += 1
        self._estimate.add(0 if claim.parts else result.frames)
        self._alike.add("")  # it has an output, so not all is in vain
        if failed is None:
            self.summary.done += 1
        self._log.write(f"{'partly done' if failed else 'done'} {order.found.path} -> {order.output}", str(failed or ""))
        self._watcher.finished(result.outcome, name=os.fsdecode(claim.relative))

    def _changed(self, claim: Lease, order: Task) -> None:
        try:
            now = order.found.path.stat()
        except OSError as error:
            text = f"{order.found.path}: cannot be read any more: {error.strerror or error}"
            self._failed(claim, Result(token=claim.token, how="error", error_class="InputError", error=text, final=True), order)
            return
        self._changes[claim.relative] += 1
        if self._changes[claim.relative] >= MOST_CHANGES:
            restless = InputError(
                f"{order.found.path}: was changed at each of {MOST_CHANGES} attempts", remedy="is it still being written?"
            )
            self._failed(claim, Result(token=claim.token, how="error", error_class="InputError", error=str(restless), final=True), order)
            return
        self._log.write(f"{order.found.path}: was changed while it was read; it is taken up again")
        self._book.change(claim, size_bytes=now.st_size, mtime_ns=now.st_mtime_ns, ready_after=time.monotonic() + BUSY_SECONDS)

    def _failed(self, claim: Lease, result: Result, order: Task, *, charge: Literal["error", "crash"] = "error") -> None:
        tries = claim.crashes if charge == "crash" else claim.errors
        if not os.path.lexists(order.found.path):
            self._book.free_copies(claim)
        state = self._book.fail(
            claim,
            error_class=result.error_class,
            error_text=result.error,
            charge=charge,
            final=result.final,
            ready_after=time.monotonic() + BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)],
            how=charge,
            made=self._taken_name(claim.output),
        )
        self._log.write(f"{'failed' if state == 'failed' else 'to be tried again'}: {result.error}", result.details)
        if state != "failed":
            return
        if charge == "crash" or not os.path.lexists(order.found.path):  # else whoever was at it has tidied up, and kept what is of use
            self._clear(order)
        self.summary.ended += 1
        model, method = Path(self._request.choice.model).name, self._request.options.method
        outcome = Outcome(input=order.found.path, model=model, method=method, error=result.error).as_json()
        self._watcher.finished(outcome, name=os.fsdecode(claim.relative))
        self._judge(result, order)

    def _clear(self, order: Task) -> None:
        """Remove what the dead have left of an input that is given up."""
        self._sweep(order)
        segment_journal.discard(order.output)

    def _judge(self, result: Result, order: Task) -> None:
        """When the first twenty all fail alike, it is not the files."""
        text = re.sub(r"\d+", "#", result.error.replace(str(order.found.path), "").replace(str(order.output), ""))
        self._alike.add(f"{result.error_class}: {text}")
        if self.summary.ended == ALIKE_TO_STOP and len(self._alike) == 1:
            self.summary.given_up = f"the first {ALIKE_TO_STOP} inputs have all failed alike, so the rest is left as it is: {result.error}"
            self._say(self.summary.given_up)

    # -------------------------------------------------------------------------------------------- room

    def _pause(self, why: str) -> None:
        if self._full_since_free is None:
            self._full_since_free = shutil.disk_usage(self._output).free
            self._say(f"paused, for the disk is full ({why}); make room, and it goes on by itself")

    def _for_sure(self, change: Callable[[], Any]) -> None:
        """A change of the ledger that must not get lost: it is made as soon as there is room for it."""
        with self._waiting_for_room():
            change()
            return
        self._unsettled.append(change)

    @contextmanager
    def _waiting_for_room(self) -> Iterator[None]:
        """Around a change of the ledger: when the disk has no room for it, the run pauses. What follows in the block is left out."""
        try:
            yield
        except OutputError as error:
            if not job_store.is_full(error):
                raise
            self._pause(str(error))

    # -------------------------------------------------------------------------------------------- telling

    def _say(self, text: str) -> None:
        self._log.write(text)
        self._watcher.said(text)

    def _show(self) -> None:
        if time.monotonic() >= self._shown:
            self._shown = time.monotonic() + SHOW_SECONDS
            self._watcher.overview(self._overview())

    def _overview(self) -> Overview:
        counts = self._counts or self._book.counts(self._settings)
        held = [max((self._held[token] for token in hand), key=lambda h: h.advanced, default=None) for hand in self._hands]
        frames_left, seconds_left = self._estimate.left(list(self._held.values()))
        return Overview(
            done=counts["done"],
            failed=counts["failed"],
            left=sum(counts[state] for state in job_store.LEFT),
            listing=self._listing is not None,
            frames_done=self._estimate.frames_done + sum(h.frames_done for h in self._held.values()),
            frames_left=frames_left,
            seconds_left=seconds_left,
            workers=[
                ("loading the model", 0, None) if owner is None else None if h is None else (_title(h), h.frames_done, h.frames_total)
                for owner, h in zip(self._owners, held, strict=True)
            ],
            paused=None if self._full_since_free is None else "the disk is full",
        )

    def close(self) -> Summary:
        """The summary, with all that has failed, in this run or before."""
        counts = self._book.counts(self._settings)
        self.summary.left = sum(counts[state] for state in job_store.LEFT)
        self._sweep_receipts()
        with self._waiting_for_room():
            self._publish(last=True)
        self.summary.page = self._page()
        for row in self._book.jobs(["failed"], self._settings):
            self.summary.failures.append((str(self._root / os.fsdecode(row.relative)), row.error_text or ""))
        return self.summary

    def _sweep_receipts(self) -> None:
        """Remove those that nobody will ask for: of jobs that are at an end, which a kill has left, or a source that is gone."""
        any_receipt = archive.receipt_of(self._book, self._output, "*")
        for receipt in any_receipt.parent.glob(any_receipt.name):
            number = receipt.stem.rpartition("-")[2]
            if number.isdecimal() and self._book.is_over(int(number)):
                receipt.unlink(missing_ok=True)


def _title(held: _Held) -> str:
    part = "" if held.claim.part < 0 else f", part {held.claim.part + 1}"
    return f"{held.order.found.path.name}{part}"


def _process(pid: int) -> Process:
    try:
        return Process.of(pid)
    except ProcessLookupError:  # it has died just now, and that will be told
        return Process.here()


class _Estimate:
    """How many frames, and how much time, are left: by the frames in a byte of the videos that are done, and the frames in a second."""

    def __init__(self) -> None:
        self.sizes: Mapping[Literal["video", "image"], job_store.Sizes] = {}
        self.frames_done = 0
        self._began: float | None = None

    def begin(self) -> None:
        """A worker is ready; what it took to get there says nothing of what is left."""
        self._began = self._began or time.monotonic()

    def add(self, frames: int) -> None:
        self.frames_done += frames

    def left(self, held: Sequence[_Held]) -> tuple[int | None, float | None]:
        """Frames and seconds; None where nothing is known yet. Of videos in the making their headers say how many frames they have."""
        images, videos = self.sizes.get("image", job_store.Sizes()), self.sizes.get("video", job_store.Sizes())
        known = [h for h in held if h.frames_total]
        wholes = sum(h.order.found.size_bytes for h in known if h.claim.part < 0)
        bytes_left = max(0, videos.bytes_left - wholes) if videos.files_left else 0
        if bytes_left and not (videos.bytes_done and videos.frames_done):
            return None, None
        frames = images.files_left + sum(max(0, (h.frames_total or 0) - h.frames_done) for h in known)
        if bytes_left:
            frames += round(bytes_left * videos.frames_done / videos.bytes_done)
        done = self.frames_done + sum(h.frames_done for h in held)
        if not done or self._began is None:
            return frames, None
        return frames, frames * (time.monotonic() - self._began) / done
