"""The store: each job once, nothing recorded without its output, and a file that outlives whatever kills its writers."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch import transitions
from pipeline.batch.messages import Result, Task, Timings
from pipeline.batch.store import database, leases, runs, schema, transaction_steps
from pipeline.batch.store.attempt_outcomes import Change, Failed, Finished, Interrupted, Retry, SourceChanged, Split, Undivided
from pipeline.batch.store.database import is_full
from pipeline.batch.store.job_store import Store, open_store
from pipeline.batch.store.row_records import Entry, Lease, Standing, State
from pipeline.batch.store.store_reader import open_reader
from pipeline.errors import OutputError
from pipeline.files.processes import Process, is_running
from pipeline.records import ClassName, Found, KindInterval, LabelInterval

ROOT = Path(__file__).parents[2]
HERE = Process.here()
DEAD = replace(HERE, started=HERE.started - 1)  # our number, given to an earlier process
CAT = ClassName(index=281, wnid="n02123045", label="tabby")
DOG = ClassName(index=3, wnid=None, label="dog")


A_TASK = Task(
    token="", found=Found(path=Path("a"), relative=b"a", kind="video", size_bytes=1, mtime_ns=1), output=Path("b"), overwrite=True
)


# ------------------------------------------------------------------------------------------------ tools


def entry(name: str | bytes, *outputs: str, size_bytes: int = 10, mtime_ns: int = 1, kind: Any = "video") -> Entry:
    relative = os.fsencode(name)
    found = Found(path=Path(os.fsdecode(relative)), relative=relative, kind=kind, size_bytes=size_bytes, mtime_ns=mtime_ns)
    return Entry(found=found, outputs=[os.fsencode(output) for output in outputs] or [relative + b".out.mp4"])


def stretch(name: ClassName, start: float, end: float, best: float) -> LabelInterval:
    return LabelInterval(name=name, start_seconds=start, end_seconds=end, frames=7, mean_score=best / 2, best_score=best)


def kind(wnid: str, start: float, end: float, best: float) -> KindInterval:
    return KindInterval(wnid=wnid, start_seconds=start, end_seconds=end, frames=7, mean_score=best / 2, best_score=best)


@dataclass
class Archive:
    """A ledger, one run on it, and the outputs that are on disk."""

    store: Store
    settings: int
    run: int
    there: set[bytes] = field(default_factory=set)

    def enter(self, *entries: Entry, settings: int | None = None, run: int | None = None, retry: bool = False) -> list[Standing]:
        chosen = self.settings if settings is None else settings
        looked = [self.store.find_standing(entry, settings=chosen, exists=self.there.__contains__, retry_failed=retry) for entry in entries]
        given = {"run": run or self.run, "settings": chosen, "exists": self.there.__contains__, "retry_failed": retry}
        entered = self.store.entries.add(entries, **given)
        assert looked == entered  # the dry run told the truth
        return entered

    def claim(self, *, settings: int | None = None, owner: Process = HERE, run: int | None = None) -> Lease:
        claim = self.ask(settings=settings, owner=owner, run=run)
        assert claim is not None
        return claim

    def ask(self, *, settings: int | None = None, owner: Process = HERE, run: int | None = None) -> Lease | None:
        chosen = self.settings if settings is None else settings
        return self.store.leases.take(run=run or self.run, settings=chosen, owner=owner, exists=self.there.__contains__)

    def settle(self, claim: Lease, change: Change) -> State | None:
        return self.store.leases.settle(claim, change, now=0.0)

    def finish(self, claim: Lease, *stretches: LabelInterval, frames: int = 5) -> State | None:
        self.there.add(claim.output)
        return self.settle(claim, Finished(outcome={"of": os.fsdecode(claim.relative)}, intervals=stretches, frames=frames))

    def split(self, claim: Lease, *bounds: tuple[float, float | None]) -> State | None:
        return self.settle(claim, Split(bounds=bounds))

    def change(self, claim: Lease, size_bytes: int, mtime_ns: int, ready_after: float | None = None) -> State | None:
        return self.settle(claim, SourceChanged(size_bytes=size_bytes, mtime_ns=mtime_ns, pause_seconds=ready_after))

    def make(self, *entries: Entry) -> None:
        self.enter(*entries)
        for _ in entries:
            assert self.finish(self.claim())

    def fail(self, claim: Lease, charge: Any = "error", *, final: bool = False, ready_after: float | None = None) -> State | None:
        """As a batch would: the third error or crash is the last."""
        if charge is None:
            return self.settle(claim, Interrupted(how="failed", pause_seconds=ready_after))
        result = Result(token="", how="error" if charge == "error" else "died", error_class="InputError", error="torn", final=final)
        tries = transitions.Tries(errors=claim.errors, crashes=claim.crashes)
        change = transitions.next_change(result, A_TASK, tries, timings=Timings())
        return self.settle(claim, replace(change, pause_seconds=ready_after) if isinstance(change, Retry) else change)

    def states(self, settings: int | None = None) -> dict[str, int]:
        return {state: count for state, count in self.store.counts(settings).items() if count}

    def sql(self, query: str, *values: Any) -> list[Any]:
        """By a connection of its own, so only what is committed."""
        with contextlib.closing(sqlite3.connect(self.store.path)) as other:
            return other.execute(query, values).fetchall()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def archive(place: Path) -> Iterator[Archive]:
    with open_store(place) as store:
        yield begin(store)
    assert intact(place)


def begin(store: Store, canonical: str = '{"a": 1}', process: Process = HERE) -> Archive:
    settings = store.add_settings(canonical)
    return Archive(store, settings, store.runs.begin(settings=settings, command="batch", version="1", process=process))


def intact(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and not db.execute("PRAGMA foreign_key_check").fetchall()


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.process
def test_a_process_is_known_by_its_start_too() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert is_running(process) and is_running(HERE) and process.started >= HERE.started
    assert is_running(replace(process, started=process.started + 1)) is False  # the number was given anew
    assert is_running(replace(process, boot="another")) is False
    assert is_running(replace(process, host="elsewhere")) is None
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_running(process) is False  # a zombie, not waited for
    with pytest.raises(ProcessLookupError):
        Process.of(child.pid)
    child.communicate()
    assert is_running(process) is False


@pytest.mark.process
def test_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.files import processes

    monkeypatch.setattr(processes, "_BOOT", Path("/nowhere"))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.boot == "" and is_running(process) and not is_running(replace(process, started=1))
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_running(process) is False
    child.communicate()
    assert is_running(process) is False


# ------------------------------------------------------------------------------------------------ entering


def test_what_is_found_is_entered_once(archive: Archive) -> None:
    assert archive.enter(entry("a"), entry("b")) == ["new", "new"] and archive.enter(entry("a"), entry("b")) == ["pending"] * 2
    archive.finish(archive.claim())
    archive.claim()
    assert archive.enter(entry("a"), entry("b"), entry("c")) == ["done", "pending", "new"]
    assert archive.states() == {"ready": 1, "running": 1, "done": 1} and archive.sql("SELECT count(*) FROM source") == [(3,)]


@pytest.mark.parametrize("difference", [{"size_bytes": 11}, {"mtime_ns": 2}, {"mtime_ns": 0}, {"mtime_ns": 2**64 + 1}])
def test_a_changed_source_is_done_again(archive: Archive, difference: dict[str, int]) -> None:
    archive.enter(entry("a"))
    first = archive.claim()
    archive.finish(first, stretch(CAT, 0, 1, 0.5))
    assert archive.enter(entry("a", **difference)) == ["changed"]
    assert archive.store.seen.intervals_of(first.job) and next(archive.store.jobs()).outcome == {"of": "a"}  # until there is better
    again = archive.claim()
    assert (again.job, again.owned, again.attempt, again.output) == (first.job, True, 2, first.output)
    assert {"size_bytes": again.size_bytes, "mtime_ns": again.mtime_ns}.items() >= difference.items()
    assert archive.finish(again, stretch(DOG, 0, 2, 0.7)) and [s.name.label for s in archive.store.seen.intervals_of(first.job)] == ["dog"]
    assert archive.enter(entry("a", **difference)) == ["done"]


def test_a_source_that_changed_while_it_was_read(archive: Archive) -> None:
    """Found by a listing, or by who reads it: no record of the old one, nothing charged, and the next claim knows the new one."""
    archive.enter(entry("a"))
    claim = archive.claim()
    assert archive.enter(entry("a", size_bytes=11)) == ["pending"] and not archive.finish(claim)
    claim = archive.claim()
    assert claim.size_bytes == 11 and archive.states() == {"running": 1}
    assert archive.change(claim, 12, 5) == "ready" and archive.change(claim, 13, 5) is None
    claim = archive.claim()
    assert (claim.size_bytes, claim.mtime_ns, claim.attempt) == (12, 5, 3)
    assert archive.change(claim, 13, 5, ready_after=8.0) == "waiting" and archive.states() == {"waiting": 1}
    assert archive.store.leases.wake(run=archive.run, monotonic=8.0) is None and archive.finish(archive.claim())
    assert [(row.errors, row.crashes, row.outcome) for row in archive.store.jobs()] == [(0, 0, {"of": "a"})]
    assert [how for (how,) in archive.sql("SELECT how FROM attempt ORDER BY id")] == ["changed", "changed", "changed", "done"]


def test_a_deleted_output_is_made_again(archive: Archive) -> None:
    archive.make(entry("a"), entry("b"))
    archive.there.discard(b"a.out.mp4")
    assert archive.enter(entry("a"), entry("b")) == ["restored", "done"]
    assert archive.claim().relative == b"a" and archive.ask() is None


def test_what_failed_is_tried_again_only_when_asked(archive: Archive) -> None:
    archive.enter(entry("a"))
    assert archive.fail(archive.claim(), final=True) == "failed"
    assert archive.enter(entry("a")) == ["failed"] and archive.ask() is None
    assert archive.enter(entry("a"), retry=True) == ["pending"]
    claim = archive.claim()
    assert [archive.fail(claim), archive.fail(archive.claim()), archive.fail(archive.claim())] == ["ready", "ready", "failed"]
    assert archive.enter(entry("a", size_bytes=11)) == ["changed"] and archive.finish(archive.claim())
    [row] = archive.store.jobs()
    assert (row.errors, row.error_text, row.state) == (0, None, "done")


def test_other_settings_make_another_job_and_supersede_the_old(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    archive.finish(old, stretch(CAT, 0, 1, 0.5))
    archive.enter(entry("b"))
    other = archive.store.add_settings('{"a": 2}')
    assert other != archive.settings and archive.store.add_settings('{"a": 2}') == other
    assert archive.enter(entry("a"), entry("b"), entry("c"), settings=other) == ["changed", "changed", "new"]
    assert archive.states(archive.settings) == {"stale": 2} and archive.states(other) == {"ready": 3}
    new = archive.claim(settings=other)
    assert new.job != old.job and (new.output, new.owned) == (old.output, True)  # ours, to be replaced
    assert archive.store.seen.intervals_of(old.job)
    assert archive.finish(new, stretch(DOG, 0, 1, 0.9)) and not archive.store.seen.intervals_of(old.job)
    assert archive.enter(entry("a")) == ["changed"]  # and back
    assert archive.states(other) == {"ready": 2, "stale": 1} and archive.claim().job == old.job


def test_a_running_job_of_other_settings_is_left_to_finish(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    other = archive.store.add_settings("{}")
    assert archive.enter(entry("a"), settings=other) == ["changed"] and archive.states() == {"running": 1}
    new = archive.claim(settings=other)
    assert archive.finish(new, stretch(DOG, 0, 1, 0.9)) and archive.finish(old, stretch(CAT, 0, 1, 0.9))
    assert archive.states() == {"done": 1} and archive.states(other) == {"stale": 1}  # whose file was written last
    assert archive.sql("SELECT job FROM stretch") == [(old.job,)]


def test_names(archive: Archive) -> None:
    """The best that no other source has; a source keeps its name as long as the suffix may stay."""
    names = ["x.mp4", "x.mov.mp4", "x.1.mp4"]
    archive.make(entry("x.mov", *names), entry("x.avi", "x.mp4", "x.avi.mp4"), entry("X.mov", *names))
    assert [row.output for row in archive.store.jobs()] == [b"x.mp4", b"x.avi.mp4", b"x.mov.mp4"]
    other = archive.store.add_settings("{}")
    archive.enter(entry("x.avi", "x.mp4", "x.avi.mp4"), entry("x.mov", "x.webm"), entry("X.mov", "y.mp4"), settings=other)
    assert [row.output for row in archive.store.jobs(settings=other)] == [b"x.avi.mp4", b"x.webm", b"x.mov.mp4"]
    assert [archive.claim(settings=other).owned for _ in range(3)] == [True, True, True]
    with pytest.raises(OutputError, match=r"x\.mkv: another source has the name x\.webm already"):
        archive.enter(entry("n"), entry("x.mkv", "x.webm"))
    assert archive.sql("SELECT count(*) FROM source WHERE relative = ?", b"n") == [(0,)]  # one transaction


def test_what_is_not_ours_is_not_ours_to_replace(archive: Archive) -> None:
    archive.there.add(b"a.out.mp4")
    archive.enter(entry("a"), entry("b"))
    theirs, ours = archive.claim(), archive.claim()
    assert not theirs.owned and ours.owned
    archive.fail(theirs, charge=None)
    archive.there.clear()
    assert archive.claim().owned
    archive.there.add(b"b.out.mp4")  # renamed, and then the power failed
    archive.fail(ours, charge=None)
    assert archive.claim().owned


def test_names_of_any_bytes(archive: Archive) -> None:
    folders = [bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
    archive.make(*(entry(folder + b"/\xff\xfe\n.mp4") for folder in folders))
    assert [row.relative for row in archive.store.jobs(["done"])] == [folder + b"/\xff\xfe\n.mp4" for folder in folders]
    archive.enter(entry(b"caf\xe9"))
    claim = archive.claim()
    text = f"{os.fsdecode(claim.relative)}: torn"
    assert archive.settle(claim, Failed(charge="error", error_class="InputError", error_text=text)) == "failed"
    [row] = archive.store.jobs(["failed"])
    assert row.error_text == "caf\\udce9: torn" and row.relative == b"caf\xe9"
    archive.store.set_meta("root", os.fsdecode(b"/caf\xe9"))
    assert archive.store.add_settings(os.fsdecode(b"\xe9")) != archive.store.add_settings(os.fsdecode(b"\xea"))
    archive.make(entry(b"\xe9"))
    outcomes = [row.outcome for row in archive.store.jobs(["done"])]
    assert outcomes[-1] == {"of": "\udce9"}


def test_sources_that_are_gone(archive: Archive) -> None:
    archive.make(entry("kept/done"))
    given = [entry(name) for name in ("a/x", "a/y/z", "ab", "b", "a!", "a0", "a")]
    archive.enter(*given)
    archive.fail(archive.claim(), final=True)  # a/x
    running = archive.claim()
    assert running.relative == b"a/y/z"
    later = archive.store.runs.begin(settings=archive.settings, command="batch", version="1", process=HERE)
    archive.enter(entry("b"), run=later)
    close: Callable[..., int] = archive.store.entries.close_listing

    def missing() -> set[bytes]:
        return {row.relative for row in archive.store.jobs(["missing"])}

    assert close(run=archive.run, settings=archive.settings, below=[b""]) == 0
    assert close(run=later, settings=archive.settings, below=[]) == 0
    assert close(run=later, settings=archive.settings, below=[b"a/", b"nothing"]) == 2 and missing() == {b"a/x", b"a"}
    assert archive.finish(running)
    archive.enter(entry("ab"), entry("b"), run=archive.run)  # what the older run sees says nothing of what the newer one saw
    assert close(run=later, settings=archive.settings, below=[b""]) == 3 and missing() == {b"a/x", b"a", b"ab", b"a!", b"a0"}
    assert archive.states() == {"ready": 1, "done": 2, "missing": 5}
    assert archive.enter(entry("a/x"), run=later) == ["new"] and archive.states()["ready"] == 2
    archive.enter(entry("a", size_bytes=11), run=archive.run)
    archive.enter(entry("ab"), run=later)
    assert close(run=later, settings=archive.settings, below=[b""]) == 1  # "a", which only the older run has seen


# ------------------------------------------------------------------------------------------------ attempts


def test_the_record_is_the_stretches_and_the_outcome(archive: Archive) -> None:
    archive.enter(entry("a"), entry("b", kind="image"))
    claim = archive.claim()
    seen = [stretch(CAT, 0, 1.5, 0.5), stretch(DOG, 0.5, 2, 0.25), stretch(CAT, 3, 4, 0.75)]
    archive.store.runs.beat(archive.run, {claim.token: (3, 9), "unknown": (1, 1)})
    [row] = archive.store.jobs(["running"])
    assert (row.frames_done, row.frames_total) == (3, 9) and archive.store.live_runs()[0].beat == 1
    assert archive.finish(claim, *seen, frames=8)
    assert [replace(s, name=replace(s.name, index=0)) for s in archive.store.seen.intervals_of(claim.job)] == [
        replace(s, name=replace(s.name, index=0)) for s in seen
    ]
    assert archive.sql("SELECT wnid, label FROM class ORDER BY id") == [("n02123045", "tabby"), (None, "dog")]
    best = "SELECT best_score FROM stretch JOIN class ON class.id = class WHERE label = 'tabby' ORDER BY best_score DESC"
    assert archive.sql(best) == [(0.75,), (0.5,)]
    [row] = archive.store.jobs(["done"])
    assert (row.frames_done, row.frames_total, row.outcome, row.attempts) == (8, 8, {"of": "a"}, 1)
    sizes = archive.store.sizes()
    assert (sizes["video"].files_done, sizes["video"].frames_done, sizes["image"].files_left, sizes["image"].bytes_left) == (1, 8, 1, 10)


def test_kinds_are_recorded_beside_the_classes(archive: Archive) -> None:
    """Who shows what was seen sees classes alone; a better record takes the place of both."""
    archive.enter(entry("a"))
    claim, seen = archive.claim(), [stretch(CAT, 0, 1, 0.5)]
    kinds = [kind("n02121620", 0, 3, 0.6), kind("n02121620", 5, 6, 0.9), kind("n00015388", 0, 9, 0.95)]
    archive.there.add(claim.output)
    assert archive.settle(claim, Finished(outcome={}, intervals=seen, kinds=kinds, frames=1)) == "done"
    anything = {"min_score": 0.0, "min_seconds": 0.0, "limit": 9}
    assert (
        [s.name.label for s in archive.store.seen.intervals_of(claim.job)]
        == ["tabby"]
        == [label for _, _, label in archive.store.seen.classes()]
    )
    assert [label for label, _, _ in archive.store.seen.best_of_jobs([claim.job])[claim.job]] == ["tabby"]
    hits = [(hit.start_seconds, hit.end_seconds, hit.score) for hit in archive.store.seen.kind_hits("n02121620", **anything)]
    assert hits == [(5, 6, 0.9), (0, 3, 0.6)] and archive.store.seen.has_kind("n00015388") and not archive.store.seen.has_kind("n02084071")
    assert [hit.start_seconds for hit in archive.store.seen.kind_hits("n02121620", **{**anything, "min_seconds": 2.0})] == [0]
    assert [hit.start_seconds for hit in archive.store.seen.kind_hits("n02121620", **{**anything, "limit": 1})] == [5]
    [(cat, _, _)] = archive.store.seen.classes()
    assert archive.store.seen.hits_of_any([cat], [], without="n02121620") == [] and len(archive.store.seen.hits_of_any([cat], [])) == 1
    assert archive.enter(entry("a", size_bytes=11)) == ["changed"] and archive.finish(archive.claim(), stretch(DOG, 0, 2, 0.7))
    assert archive.sql("SELECT * FROM kind_stretch") == [] and [label for _, _, label in archive.store.seen.classes()] == ["dog"]


def test_older_settings_kinds_go_with_their_stretches(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    assert archive.settle(old, Finished(outcome={}, kinds=[kind("n02121620", 0, 3, 0.6)], frames=1)) == "done"
    newer = archive.store.add_settings("newer")
    archive.enter(entry("a"), settings=newer)
    assert (
        archive.store.seen.has_kind("n02121620")
        and archive.finish(archive.claim(settings=newer))
        and not archive.store.seen.has_kind("n02121620")
    )


def test_a_record_that_breaks_off_is_none(archive: Archive) -> None:
    archive.enter(entry("a"))
    claim = archive.claim()
    torn = replace(stretch(CAT, 0, 1, 0.5), frames=None)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="cannot be used as a ledger: NOT NULL") as caught:
        archive.finish(claim, stretch(DOG, 0, 1, 0.5), torn)
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError) and not is_full(caught.value)
    [row] = archive.store.jobs()
    assert (
        row.state == "running" and row.outcome is None and archive.sql("SELECT * FROM stretch UNION SELECT *, 1, 1, 1, 1 FROM class") == []
    )
    assert archive.finish(claim)


def test_a_late_finisher_changes_nothing(archive: Archive) -> None:
    archive.enter(entry("a"))
    late = archive.claim()
    [lost] = archive.store.runs.recover(lambda *_: True)
    assert (lost.job, lost.token, lost.output) == (late.job, late.token, late.output)
    now = archive.claim()
    before = archive.sql("SELECT * FROM job"), archive.sql("SELECT * FROM attempt"), archive.sql("SELECT * FROM stretch")
    store = archive.store
    assert not archive.finish(late, stretch(CAT, 0, 1, 0.5)) and archive.fail(late) is None and archive.fail(late, final=True) is None
    assert archive.split(late, (0, None)) is archive.settle(late, Undivided()) is archive.change(late, 1, 1) is None
    store.runs.beat(archive.run, {late.token: (99, 99)})
    assert (archive.sql("SELECT * FROM job"), archive.sql("SELECT * FROM attempt"), archive.sql("SELECT * FROM stretch")) == before
    assert archive.finish(now) and not archive.finish(now) and archive.fail(now) is None and archive.states() == {"done": 1}


def test_errors_and_crashes_are_counted_apart(archive: Archive) -> None:
    archive.enter(entry("a"))
    became = [archive.fail(archive.claim(), charge) for charge in ("error", "crash", None, "error", "crash", None, None, "crash")]
    assert became == ["ready"] * 7 + ["failed"]
    [row] = archive.store.jobs(["failed"])
    assert (row.errors, row.crashes, row.attempts, row.error_class, row.error_text) == (2, 3, 8, "InputError", "torn")
    assert archive.sql("SELECT count(*), count(ended_at) FROM attempt") == [(8, 8)]
    hows = [how for (how,) in archive.sql("SELECT how FROM attempt ORDER BY id")]
    assert hows == ["error", "crash", "failed", "error", "crash", "failed", "failed", "crash"]


def test_pauses_are_by_the_clock_of_the_run(archive: Archive) -> None:
    archive.enter(entry("a"), entry("b"), entry("c"))
    assert [archive.fail(archive.claim(), ready_after=after) for after in (50.0, 20.0)] == ["waiting", "waiting"]
    assert archive.claim().relative == b"c" and archive.ask() is None
    wake: Callable[..., float | None] = archive.store.leases.wake
    assert wake(run=archive.run, monotonic=19.9) == 20.0 and archive.ask() is None
    assert wake(run=archive.run, monotonic=20.0) == 50.0 and archive.claim().relative == b"b"
    assert wake(run=archive.run + 1, monotonic=99.0) is None and archive.states() == {"running": 2, "waiting": 1}
    assert wake(run=archive.run, monotonic=51.0) is None and archive.claim().relative == b"a"


@pytest.mark.parametrize("ends", ["killed", "ended", "recovered"])
def test_what_a_dead_run_has_left_waiting_is_ready(archive: Archive, ends: str) -> None:
    """By the clock of another boot it might wait for ever."""
    begun = {"settings": archive.settings, "command": "batch", "version": "1"}
    run = archive.store.runs.begin(**begun, process=DEAD if ends == "killed" else HERE)  # type: ignore[arg-type]
    archive.enter(entry("a"), entry("b"))
    archive.fail(archive.claim(run=run), ready_after=1e9)
    archive.fail(archive.claim(), ready_after=1e9)
    assert archive.states() == {"waiting": 2}
    if ends == "ended":
        archive.store.runs.end(run, 1)
    elif ends == "recovered":
        archive.store.runs.recover(lambda _, which, __: which == run)
    archive.store.runs.begin(**begun, process=HERE)  # type: ignore[arg-type]
    assert archive.states() == {"ready": 1, "waiting": 1} and archive.claim().relative == b"a"


def test_nothing_depends_on_the_clock(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back by a century at every look."""
    years = itertools.count(3000, -100)
    for module in (transaction_steps, leases, runs):
        monkeypatch.setattr(module, "utc_now", lambda: f"{next(years):+05d}-01-01T00:00:00+00:00")
    archive.make(entry("a"), entry("b"))
    assert archive.enter(entry("a"), entry("b"), entry("c")) == ["done", "done", "new"]
    assert archive.fail(archive.claim(), ready_after=1.0) == "waiting"
    archive.store.leases.wake(run=archive.run, monotonic=1.0)
    archive.claim(owner=DEAD)
    assert len(archive.store.runs.recover(lambda owner, *_: not is_running(owner))) == 1 and archive.finish(archive.claim())
    archive.store.runs.end(archive.run, 0)
    assert archive.states() == {"done": 3} and archive.store.live_runs() == []


# ------------------------------------------------------------------------------------------------ parts


def parts_of(archive: Archive, *bounds: tuple[float, float | None]) -> list[Lease]:
    """A video of that many parts, each claimed; another file is ready."""
    archive.enter(entry("long"), entry("other"))
    assert archive.split(archive.claim(), *bounds) == "split" and archive.states() == {"split": 1, "ready": 1}
    return [archive.claim() for _ in bounds]


def test_a_long_video_is_split_and_joined(archive: Archive) -> None:
    parts = parts_of(archive, (0, 60), (60, 120), (120, None))
    assert [(p.part, p.begin_seconds, p.end_seconds, p.relative, p.parts) for p in parts] == [
        (0, 0, 60, b"long", None),
        (1, 60, 120, b"long", None),
        (2, 120, None, b"long", None),
    ]
    assert archive.enter(entry("long")) == ["pending"] and archive.claim().relative == b"other"
    assert archive.finish(parts[2], frames=3) and archive.finish(parts[0], frames=1) and archive.ask() is None
    assert [row.part for row in archive.store.jobs(["done"], parts=True)] == [0, 2]
    assert archive.finish(parts[1], stretch(CAT, 60, 61, 0.5), frames=2)
    archive.enter(entry("third"))
    whole = archive.claim()  # before what was entered, so that room is made
    assert (whole.relative, whole.part, whole.parts, whole.undivided, whole.attempt, whole.owned) == (b"long", None, 3, False, 2, True)
    assert [(row.part, row.frames_done, row.outcome) for row in archive.store.parts(whole)] == [
        (n, n + 1, {"of": "long"}) for n in range(3)
    ]
    assert archive.fail(whole, charge="error") == "ready"  # the joining failed: the parts are still there
    whole = archive.claim()
    assert whole.parts == 3 and archive.finish(whole, stretch(CAT, 0, 130, 0.5))
    assert archive.store.parts(whole) == [] and archive.sql("SELECT job FROM stretch") == [(whole.job,)]
    assert archive.states() == {"running": 1, "ready": 1, "done": 1}
    assert not list(archive.store.jobs(parts=True)) and archive.store.sizes()["video"].files_done == 1


def test_a_part_that_fails_fails_its_whole(archive: Archive) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.fail(first, charge="crash", ready_after=1.0) == "waiting" and archive.states() == {"split": 1, "ready": 1}
    archive.store.leases.wake(run=archive.run, monotonic=1.0)
    assert archive.fail(archive.claim(), charge="crash") == "ready" and archive.fail(archive.claim(), charge="crash") == "failed"
    [row] = archive.store.jobs(["failed"])
    assert (row.relative, row.part, row.error_text, row.crashes) == (b"long", None, "torn", 3)
    assert not archive.finish(second) and archive.claim().relative == b"other" and archive.ask() is None
    assert archive.enter(entry("long"), retry=True) == ["pending"] and archive.claim().parts is None
    assert archive.sql("SELECT count(*) FROM attempt WHERE how = 'superseded' AND ended_at IS NOT NULL") == [(1,)]


def test_splitting_is_given_up(archive: Archive) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.settle(second, Undivided()) == "ready" and not archive.finish(first)
    whole = archive.claim()
    assert whole.undivided and whole.parts is None and whole.relative == b"long" and archive.finish(whole)
    assert archive.enter(entry("long", size_bytes=11)) == ["changed"]
    again = archive.claim()
    assert again.relative == b"long" and not again.undivided  # another source, another try
    with pytest.raises(ValueError, match="cannot be split"):
        archive.split(whole)


@pytest.mark.parametrize("how", ["changed", "told", "settings", "gone"])
def test_parts_of_what_is_superseded_are_dropped(archive: Archive, how: str) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.finish(first)
    other = archive.store.add_settings("{}")
    if how == "changed":
        assert archive.enter(entry("long", size_bytes=11)) == ["changed"]
    elif how == "told":
        assert archive.change(second, 11, 1) == "ready"
    elif how == "settings":
        assert archive.enter(entry("long"), settings=other) == ["changed"]
    else:
        later = archive.store.runs.begin(settings=archive.settings, command="batch", version="1", process=HERE)
        assert archive.store.entries.close_listing(run=later, settings=archive.settings, below=[b"long"]) == 1
    assert not archive.finish(second) and archive.sql("SELECT * FROM job WHERE part >= 0") == []
    expected = {"settings": {"stale": 1, "ready": 1}, "gone": {"missing": 1, "ready": 1}}
    assert archive.states(archive.settings) == expected.get(how, {"ready": 2})


def test_parts_of_two_files_are_not_joined(archive: Archive) -> None:
    """The source changes while it is joined, and then while it is split."""
    for part in parts_of(archive, (0, 60), (60, None)):
        assert archive.finish(part)
    joining = archive.claim()
    assert joining.parts == 2 and archive.enter(entry("long", size_bytes=11)) == ["pending"]
    assert archive.fail(joining) == "ready"
    again = archive.claim()
    assert (again.relative, again.parts, again.size_bytes) == (b"long", None, 11)
    assert archive.enter(entry("long", size_bytes=12)) == ["pending"] and archive.split(again, (0, 60), (60, None)) is None
    assert archive.states() == {"ready": 2} and archive.claim().size_bytes == 12


NEVER = {
    "a token without work, or the reverse": "SELECT * FROM job WHERE (state = 'running') <> (token IS NOT NULL)",
    "a pause without an end, or the reverse": "SELECT * FROM job WHERE (state = 'waiting') <> (ready_after IS NOT NULL)",
    "an attempt without work": "SELECT * FROM attempt WHERE ended_at IS NULL AND token NOT IN (SELECT token FROM job WHERE token NOT NULL)",
    "work without an attempt": "SELECT * FROM job WHERE token NOT NULL AND token NOT IN (SELECT token FROM attempt WHERE ended_at IS NULL)",
    "parts that no one waits for, or the reverse": """
        SELECT * FROM job AS whole WHERE part = -1 AND (state = 'split') <> EXISTS (SELECT * FROM job AS piece
        WHERE piece.source = whole.source AND piece.settings = whole.settings AND piece.part >= 0 AND piece.state <> 'done')""",
    "parts without use": """
        SELECT * FROM job AS piece JOIN job AS whole ON whole.part = -1 AND piece.source = whole.source AND piece.settings = whole.settings
        WHERE piece.part >= 0 AND whole.state IN ('done', 'failed', 'missing', 'stale')""",
    "done without an outcome": "SELECT * FROM job WHERE state = 'done' AND outcome IS NULL",
    "one output for two sources": "SELECT output FROM job GROUP BY output HAVING count(DISTINCT source) > 1",
}


def happen(archive: Archive, chance: random.Random, sizes: dict[str, int], claims: list[Lease]) -> None:
    """One thing, to one of four files, by settings and by a claim drawn by lot; the claim may be out of date."""
    store, settings, name = archive.store, chance.choice([1, 2]), chance.choice("abcd")
    what = chance.choice(["enter", "claim", "claim", *["finish"] * 3, "fail", "split", "give up", "change", "recover", "gone", "wake"])
    if what == "enter":
        sizes[name] += chance.random() < 0.1
        if chance.random() < 0.1:
            archive.there.discard(os.fsencode(name) + b".out.mp4")
        archive.enter(entry(name, size_bytes=sizes[name]), settings=settings, retry=chance.random() < 0.5)
    elif what == "claim":
        claims += filter(None, [archive.ask(settings=settings)])
    elif what == "recover":
        store.runs.recover(lambda *_: chance.random() < 0.1)
        archive.run = store.runs.begin(settings=settings, command="batch", version="1", process=HERE)
    elif what == "gone":
        store.entries.close_listing(run=archive.run, settings=settings, below=[os.fsencode(name)])
    elif what == "wake":
        store.leases.wake(run=archive.run, monotonic=2.0)
    elif claims:
        happen_to(archive, chance, chance.choice(claims[-6:]), what, sizes)


def happen_to(archive: Archive, chance: random.Random, claim: Lease, what: str, sizes: dict[str, int]) -> None:
    pause: float | None = chance.choice([None, 1.0])
    if what == "finish":
        archive.finish(claim)
    elif what == "fail":
        archive.fail(claim, chance.choice(["error", "crash", None]), ready_after=pause, final=chance.random() < 0.1)
    elif what == "split" and claim.part is None and not claim.parts:
        archive.split(claim, *[(0, 1), (1, 2), (2, None)][: chance.randint(1, 3)])
    elif what == "give up" and chance.random() < 0.3:
        archive.settle(claim, Undivided())
    elif what == "change" and chance.random() < 0.3:
        archive.change(claim, sizes[os.fsdecode(claim.relative)], 1, ready_after=pause)


def test_whatever_happens(archive: Archive) -> None:
    """What must never be is not, whatever happens in whatever order; and in the end no file is stuck."""
    chance, claims, sizes = random.Random(3), list[Lease](), dict.fromkeys("abcd", 10)
    assert archive.store.add_settings("{}") == 2
    been: set[str] = set()
    for step in range(3000):
        happen(archive, chance, sizes, claims)
        been |= {row[0] for row in archive.store._database.read("SELECT DISTINCT state FROM job")}
        assert not {why for why, query in NEVER.items() if archive.store._database.read(query)}, step
    assert been == {"ready", "running", "waiting", "split", "done", "failed", "missing", "stale"}
    for run in archive.store.live_runs():
        archive.store.runs.end(run.run, 0)
    for settings in (1, 2):
        while claim := archive.ask(settings=settings):
            archive.finish(claim)
        assert set(archive.states(settings)) <= {"done", "failed", "missing", "stale"}


# ------------------------------------------------------------------------------------------------ who is dead


def test_what_the_dead_were_at_is_ready_and_costs_nothing(archive: Archive) -> None:
    archive.enter(*(entry(name) for name in "abcd"))
    dead_run = archive.store.runs.begin(settings=archive.settings, command="batch", version="1", process=DEAD)
    archive.claim()
    archive.claim(owner=DEAD)
    archive.claim(owner=replace(HERE, host="elsewhere"))
    archive.claim(run=dead_run)  # its worker has outlived the run, and may still be writing
    archive.store.runs.beat(archive.run, {})
    asked: list[tuple[int, int]] = []

    def is_dead(process: Process, run: int, beat: int) -> bool:
        asked.append((run, beat))
        return is_running(process) is False

    assert [(each.relative, each.run) for each in archive.store.runs.recover(is_dead)] == [(b"b", archive.run)]
    assert set(asked) == {(archive.run, 1), (dead_run, 0)} and archive.store.runs.recover(is_dead) == []
    assert [run.run for run in archive.store.live_runs()] == [archive.run, dead_run]
    lost = archive.store.runs.recover(lambda process, run, _: run == dead_run)
    assert [(each.relative, each.run) for each in lost] == [(b"d", dead_run)]
    assert [run.run for run in archive.store.live_runs()] == [archive.run]
    assert archive.store.runs.recover(is_dead) == [] and archive.states() == {"ready": 2, "running": 2}
    assert {(row.errors, row.crashes) for row in archive.store.jobs()} == {(0, 0)}
    assert archive.sql("SELECT count(*) FROM attempt WHERE how = 'interrupted'") == [(2,)]
    archive.store.runs.end(archive.run, 130)
    assert archive.states() == {"ready": 4} and archive.sql("SELECT exit_code FROM run ORDER BY id") == [(130,), (None,)]


WORKER = """
import sys
import time
from pathlib import Path
from pipeline.batch.store.attempt_outcomes import Finished
from pipeline.batch.store.job_store import open_store
from pipeline.files.processes import Process
from pipeline.records import ClassName, LabelInterval
owner, done = Process.here(), []
name = ClassName(index=0, wnid=None, label="x")
seen = LabelInterval(name=name, start_seconds=0, end_seconds=1, frames=3, mean_score=0.2, best_score=0.4)
print("here", flush=True)
input()
with open_store(Path(sys.argv[1]), exclusive=sys.argv[2] == "exclusive") as store:
    print("open", flush=True)
    if sys.argv[2] == "together":
        input()
    while claim := store.leases.take(run=1, settings=1, owner=owner, exists=lambda _: False):
        time.sleep(0.001)  # some work; else the first of them may leave the others no moment
        assert store.leases.settle(claim, Finished(outcome={"by": owner.pid}, intervals=[seen], frames=1), now=0.0) == "done"
        done.append(claim.relative.decode())
print(*done)
"""


def workers(count: int, place: Path, mode: str = "shared") -> list[subprocess.Popen[str]]:
    """Processes that claim and finish, each with a ledger of its own, until nothing is ready; they begin together."""
    command = [sys.executable, "-c", WORKER, str(place), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(count)]
    for process in started:
        assert process.stdout and process.stdout.readline() == "here\n"
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return started


def ends(process: subprocess.Popen[str]) -> list[str]:
    """What it has done."""
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and not err, err
    return [word for word in out.split() if word != "open"]


@pytest.mark.process
def test_many_claim_and_each_job_is_claimed_once(place: Path) -> None:
    names = [f"{number:04d}" for number in range(600)]
    with open_store(place) as store:
        begin(store).enter(*map(entry, names))
    at_work = workers(4, place, "together")
    for process in at_work:  # else one of them may be done before another has opened it
        assert process.stdout and process.stdout.readline() == "open\n"
    for process in at_work:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    done = [ends(process) for process in at_work]
    assert sorted(itertools.chain(*done)) == names and sum(map(bool, done)) > 1
    with contextlib.closing(sqlite3.connect(place)) as db:
        by = db.execute("SELECT count(*) FROM job GROUP BY json_extract(outcome, '$.by')").fetchall()
        assert sorted(count for (count,) in by) == sorted(len(names) for names in done if names)
        assert db.execute("SELECT count(*), count(DISTINCT job) FROM attempt").fetchone() == (600, 600)
    assert intact(place)


def test_several_threads_share_one_ledger(archive: Archive) -> None:
    archive.enter(*(entry(f"{number:03d}") for number in range(100)))
    claimed: list[bytes] = []

    def at_work() -> None:
        while claim := archive.ask():
            claimed.append(claim.relative)
            archive.store.runs.beat(archive.run, {claim.token: (1, 2)})
            assert archive.finish(claim)

    threads = [threading.Thread(target=at_work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [b"%03d" % number for number in range(100)] and archive.states() == {"done": 100}


@pytest.mark.process
@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_a_kill_at_any_moment_leaves_an_intact_ledger(place: Path, mode: str) -> None:
    with open_store(place) as store:
        begin(store).enter(*(entry(f"{number:05d}") for number in range(5000)))
    moments = random.Random(5)
    for _ in range(6):
        [process] = workers(1, place, mode)
        assert process.stdout and process.stdout.readline() == "open\n"
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        with contextlib.closing(sqlite3.connect(place)) as db:
            done = db.execute("SELECT count(*) FROM job WHERE state = 'done' AND outcome IS NOT NULL").fetchone()
            assert done == db.execute("SELECT count(*) FROM job JOIN stretch ON job = id").fetchone()  # all or nothing
            assert done == db.execute("SELECT count(*) FROM attempt WHERE how = 'done'").fetchone()
        assert intact(place)
    with open_store(place) as store:
        before = store.counts()
        lost = store.runs.recover(lambda process, run, _: process != HERE and is_running(process) is False)
        assert before["running"] == len(lost) <= 6 and before["done"] > 0
        assert store.counts() == {**before, "running": 0, "ready": before["ready"] + len(lost)}


def test_no_statement_walks_through_a_table(archive: Archive) -> None:
    """What is quick with three rows must be quick with a million: all that is done is done once, and each plan is asked for."""
    said: list[str] = []
    archive.store._database._connection.set_trace_callback(said.append)
    archive.store.runs.begin(settings=archive.settings, command="batch", version="1", process=HERE)
    parts = parts_of(archive, (0, 60), (60, None))
    for part in parts:
        archive.finish(part, stretch(CAT, 0, 1, 0.5))
    archive.finish(archive.claim(), stretch(DOG, 0, 1, 0.5))
    archive.fail(archive.claim(), ready_after=1.0)
    archive.store.leases.wake(run=archive.run, monotonic=2.0)
    archive.store.runs.beat(archive.run, {archive.claim().token: (1, 1)})
    archive.store.runs.recover(lambda owner, *_: owner == HERE)
    archive.enter(entry("long", size_bytes=11), settings=archive.store.add_settings("{}"))
    archive.change(archive.claim(), 1, 1)
    claim = archive.claim()
    archive.store.parts(claim)
    archive.store.seen.intervals_of(claim.job)
    archive.settle(claim, Undivided())
    archive.store.entries.close_listing(run=9, settings=archive.settings, below=[b""])
    archive.store.counts()
    for states, kept in itertools.product((None, ["done"], ["failed"]), (False, True)):
        list(archive.store.jobs(states, parts=kept))
    archive.store._database._connection.set_trace_callback(None)
    statements = {statement for statement in said if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")}
    walks = {
        (step[3], statement)
        for statement in statements
        for step in archive.sql(f"EXPLAIN QUERY PLAN {statement}".replace(" Inf", " 9e999"))
    }
    marks = ("SCAN", "(rowid>", "TEMP B-TREE")
    walks = {(step, statement) for step, statement in walks if any(mark in step for mark in marks)}
    # Runs are few, the jobs, parts and stretches of one source too, and a list of all files is one of all files.
    few = ("job NOT INDEXED JOIN source ON source.id = source WHERE part = -1", "WHERE source = ", "WHERE job = ", "(source, settings) = ")
    walked = {step for step, statement in walks if not any(part in statement for part in few)}
    assert len(statements) > 40 and walked == {"SCAN run"}, walks


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.process
def test_a_ledger_is_made_by_many_at_once(place: Path) -> None:
    assert [ends(process) for process in workers(4, place)] == [[]] * 4 and intact(place)
    together = threading.Barrier(8)

    def make(path: Path) -> str:
        together.wait()
        with open_store(path) as store:
            store.set_meta("a", "b")
            return store.meta("a") or ""

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            assert list(pool.map(make, [place.with_name(f"{number}")] * 8)) == ["b"] * 8


def test_a_writer_who_holds_it_for_a_moment_is_waited_for(place: Path) -> None:
    """From now on the file is to be shared, for which it must be free for a moment, and there SQLite does not wait by itself."""
    with open_store(place, exclusive=True) as store:
        store.set_meta("a", "b")
    with contextlib.closing(sqlite3.connect(place, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.1, other.execute, ["COMMIT"])
        timer.start()
        try:
            with open_store(place) as store:
                assert store.meta("a") == "b"
        finally:
            timer.join()


def test_a_reader_does_not_disturb_a_writer(archive: Archive) -> None:
    archive.make(entry("a"))
    with open_reader(archive.store.path) as reader:
        assert reader.counts()["done"] == 1
        archive.enter(entry("b"))
        assert reader.counts()["ready"] == 1 and [row.relative for row in reader.jobs()] == [b"a", b"b"]
        assert reader.find_standing(entry("a"), settings=archive.settings, exists=lambda _: False) == "restored"
        with pytest.raises(OutputError, match="cannot be used as a ledger: attempt to write a readonly database"):
            Store(reader._database).set_meta("a", "b")
    assert archive.store.meta("a") is None


def test_one_that_holds_it_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_OPENING_SECONDS", 0.05)
    with open_store(place, exclusive=True) as store:
        archive = begin(store)
        archive.make(entry("a"))
        for opens in (open_store(place), open_store(place, exclusive=True), open_reader(place)):
            with pytest.raises(OutputError, match="another run holds it") as caught, opens:
                pass
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert not [*place.parent.glob("*-shm"), *place.parent.glob("*-wal")]  # no memory is shared
    with open_store(place) as store:
        assert store.counts()["done"] == 1
        with pytest.raises(OutputError, match="another run holds it"), open_store(place, exclusive=True):
            pass
    with open_store(place, exclusive=True) as store:
        assert store.counts()["done"] == 1 and store.runs.recover(lambda *_: True) == []
        assert not [*place.parent.glob("*-shm"), *place.parent.glob("*-wal")]
    assert intact(place)


def test_waiting_for_another_has_an_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    with open_store(archive.store.path) as store, contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="another run holds it"):
            store.set_meta("a", "b")
        other.execute("COMMIT")
        store.set_meta("a", "b")
        assert archive.store.meta("a") == "b"


def test_versions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one is brought on, in one step or not at all; a newer one is refused, and one too old to be read as it is."""
    ours = schema._MIGRATIONS
    now = len(ours)
    with open_store(place) as store:
        begin(store).make(entry("a"))
    added = "ALTER TABLE job ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'; UPDATE job SET colour = 'red'"
    monkeypatch.setattr(schema, "_MIGRATIONS", (*ours, f"{added}; INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(OutputError, match="no such table: nowhere"), open_store(place):
        pass

    def look(query: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(place)) as db:
            return db.execute(query).fetchall()

    assert look("PRAGMA user_version") == [(now,)] and "colour" not in [row[1] for row in look("PRAGMA table_info(job)")]
    monkeypatch.setattr(schema, "_MIGRATIONS", (*ours, added))
    monkeypatch.setattr(schema, "_OLDEST_READ", now + 1)
    with pytest.raises(OutputError, match=f"of version {now}, and this program reads {now + 1}"), open_reader(place):
        pass
    with open_store(place) as store:
        assert store.counts()["done"] == 1
    assert look("PRAGMA user_version") == [(now + 1,)] and look("SELECT colour FROM job") == [("red",)]
    monkeypatch.setattr(schema, "_MIGRATIONS", ours)
    for opens in (open_store, open_reader):
        with (
            pytest.raises(OutputError, match=f"of version {now + 1}, and this program knows {now}"),
            opens(place),
        ):
            pass


def as_at_first(place: Path) -> None:
    """Make a ledger what it was in version 1."""
    with contextlib.closing(sqlite3.connect(place)) as db:
        db.executescript(
            "DROP TABLE kind_stretch; DROP INDEX job_copy; DROP INDEX source_content; ALTER TABLE job DROP COLUMN copy_of; "
            "DROP INDEX source_ends; ALTER TABLE source DROP COLUMN ends; ALTER TABLE source DROP COLUMN sha256; PRAGMA user_version = 1"
        )


def test_a_ledger_of_the_first_version_is_read_as_it_is_and_gets_what_it_has_not_when_it_is_written(place: Path) -> None:
    with open_store(place) as store:
        archive = begin(store)
        archive.enter(entry("a"), entry("b"))
        archive.finish(archive.claim(), stretch(CAT, 0, 1, 0.5))
    as_at_first(place)
    with open_reader(place) as store:
        [(cat, _, _)] = store.seen.classes()
        assert store.counts()["done"] == 1 and len(store.seen.hits_of_any([cat], ["n02121620"], without="n02121620")) == 1
        assert list(store.copies.rows(1)) == store.copies.copies_of(b"a") == [] and store.copies.original_of(b"a", settings=1) is None
        assert store.find_standing(entry("a"), settings=1, exists=lambda _: True) == "done" and len(list(store.jobs())) == 2
        assert not store.seen.has_kind("n02121620") and store.seen.kind_hits("n02121620", min_score=0, min_seconds=0, limit=9) == []
    with open_store(place) as store:
        assert store.counts()["done"] == 1 and store.runs.recover(lambda *_: True) == []
        archive = begin(store)
        archive.settle(archive.claim(), Finished(outcome={}, kinds=[kind("n02121620", 0, 2, 0.6)], frames=1))
        assert store.seen.has_kind("n02121620")


def test_what_is_no_ledger(tmp_path: Path) -> None:
    garbage, foreign, empty, folder = (tmp_path / name for name in ("garbage", "foreign", "empty", "folder"))
    garbage.write_bytes(random.Random(1).randbytes(9000))
    empty.touch()
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE job (id)")
    before = garbage.read_bytes(), foreign.read_bytes()
    cases: Sequence[tuple[Path, bool, str]] = (
        (garbage, False, "garbage: is not a ledger, or damaged"),
        (garbage, True, "garbage: is not a ledger, or damaged"),
        (foreign, False, "foreign: is not a ledger, but another program's"),
        (empty, True, "empty: is not a ledger"),
        (tmp_path / "none", True, "none: no such ledger"),
        (folder, False, "folder: cannot be used as a ledger: unable to open"),
        (tmp_path / "no" / "where", False, "where: cannot be used as a ledger: unable to open"),
    )
    for path, read_only, told in cases:
        with pytest.raises(OutputError, match=told), (open_reader if read_only else open_store)(path):
            pass
    assert (garbage.read_bytes(), foreign.read_bytes()) == before and not (tmp_path / "none").exists()
    with open_store(empty) as store:  # as a run that was killed at once leaves it
        assert store.counts()["ready"] == 0


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Callable[[str], None]]:
    """A file system of that size; what is yielded mounts it anew with other options, such as "size=9m"."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk is refused here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True) and None
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_full_disk(tmp_path: Path, exclusive: bool) -> None:
    with small_disk(tmp_path / "small", 512 << 10) as remount:
        place = tmp_path / "small" / "ledger.sqlite"
        with open_store(place, exclusive=exclusive) as store:
            archive = begin(store)
            number = 0
            with pytest.raises(OutputError, match=r"ledger\.sqlite: cannot be written: the disk is full; make room") as caught:
                for number in itertools.count():
                    archive.enter(*(entry(f"{number:05d}/{n}", size_bytes=number) for n in range(50)))
            assert is_full(caught.value) and isinstance(caught.value.__cause__, sqlite3.OperationalError) and number > 5
            assert sum(store.counts().values()) == number * 50  # it still reads
            remount("size=5m")
            archive.enter(*(entry(f"{number:05d}/{n}") for n in range(50)))  # and goes on where room is made
            assert store.counts()["ready"] == number * 50 + 50
        assert intact(place)


def test_no_room_from_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 8192):
        with pytest.raises(OutputError, match="the disk is full") as caught, open_store(tmp_path / "small" / "ledger.sqlite"):
            pass
        assert is_full(caught.value)


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path: Path) -> None:
    """SQLite calls it an I/O error (os_unix.c asks for ENOSPC alone), so the system is asked again."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    report = database._raise_output_errors
    with small_disk(tmp_path / "small", 8192):
        told = r"ledger\.sqlite: cannot be written: the disk is full"
        with pytest.raises(OutputError, match=told) as caught, report(tmp_path / "small" / "ledger.sqlite"):
            raise error
        assert is_full(caught.value)
    with pytest.raises(OutputError, match="disk I/O error") as caught, report(tmp_path / "ledger.sqlite"):
        raise error  # where there is room, the disk is damaged
    assert not is_full(caught.value)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4 << 20) as remount:
        place = tmp_path / "small" / "ledger.sqlite"
        with open_store(place) as store:
            begin(store).make(entry("a"))
        remount("ro")
        with open_reader(place) as store:
            assert store.counts()["done"] == 1
        with pytest.raises(OutputError, match=r"readonly|unable to open"), open_store(place) as store:
            store.set_meta("a", "b")
