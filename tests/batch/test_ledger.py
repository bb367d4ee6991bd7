"""The ledger: each job once, nothing recorded without its output, and a file that outlives whatever kills its writers."""

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

from pipeline.batch.store import job_store
from pipeline.batch.store.job_store import Entry, Lease, Ledger, Standing, State, open_ledger
from pipeline.errors import OutputError
from pipeline.files.processes import Process, is_running
from pipeline.records import ClassName, Found, KindInterval, LabelInterval

ROOT = Path(__file__).parents[2]
HERE = Process.here()
DEAD = replace(HERE, started=HERE.started - 1)  # our number, given to an earlier process
CAT = ClassName(index=281, wnid="n02123045", label="tabby")
DOG = ClassName(index=3, wnid=None, label="dog")


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

    book: Ledger
    settings: int
    run: int
    there: set[bytes] = field(default_factory=set)

    def enter(self, *entries: Entry, settings: int | None = None, run: int | None = None, retry: bool = False) -> list[Standing]:
        chosen = self.settings if settings is None else settings
        looked = [self.book.look(entry, settings=chosen, exists=self.there.__contains__, retry_failed=retry) for entry in entries]
        given = {"run": run or self.run, "settings": chosen, "exists": self.there.__contains__, "retry_failed": retry}
        entered = self.book.enter(entries, **given)
        assert looked == entered  # the dry run told the truth
        return entered

    def claim(self, *, settings: int | None = None, owner: Process = HERE, run: int | None = None) -> Lease:
        claim = self.ask(settings=settings, owner=owner, run=run)
        assert claim is not None
        return claim

    def ask(self, *, settings: int | None = None, owner: Process = HERE, run: int | None = None) -> Lease | None:
        chosen = self.settings if settings is None else settings
        return self.book.claim(run=run or self.run, settings=chosen, owner=owner, exists=self.there.__contains__)

    def finish(self, claim: Lease, *stretches: LabelInterval, frames: int = 5) -> bool:
        self.there.add(claim.output)
        return self.book.finish(claim, outcome={"of": os.fsdecode(claim.relative)}, stretches=stretches, frames=frames)

    def make(self, *entries: Entry) -> None:
        self.enter(*entries)
        for _ in entries:
            assert self.finish(self.claim())

    def fail(self, claim: Lease, charge: Any = "error", **more: Any) -> State | None:
        return self.book.fail(claim, error_class="InputError", error_text="torn", charge=charge, how="failed", **more)

    def states(self, settings: int | None = None) -> dict[str, int]:
        return {state: count for state, count in self.book.counts(settings).items() if count}

    def sql(self, query: str, *values: Any) -> list[Any]:
        """By a connection of its own, so only what is committed."""
        with contextlib.closing(sqlite3.connect(self.book.path)) as other:
            return other.execute(query, values).fetchall()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def archive(place: Path) -> Iterator[Archive]:
    with open_ledger(place) as book:
        yield begin(book)
    assert intact(place)


def begin(book: Ledger, canonical: str = '{"a": 1}', process: Process = HERE) -> Archive:
    settings = book.settings(canonical)
    return Archive(book, settings, book.begin_run(settings=settings, command="batch", version="1", process=process))


def intact(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and not db.execute("PRAGMA foreign_key_check").fetchall()


# ------------------------------------------------------------------------------------------------ processes


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
    assert archive.book.stretches(first.job) and next(archive.book.jobs()).outcome == {"of": "a"}  # until there is better
    again = archive.claim()
    assert (again.job, again.owned, again.attempt, again.output) == (first.job, True, 2, first.output)
    assert {"size_bytes": again.size_bytes, "mtime_ns": again.mtime_ns}.items() >= difference.items()
    assert archive.finish(again, stretch(DOG, 0, 2, 0.7)) and [s.name.label for s in archive.book.stretches(first.job)] == ["dog"]
    assert archive.enter(entry("a", **difference)) == ["done"]


def test_a_source_that_changed_while_it_was_read(archive: Archive) -> None:
    """Found by a listing, or by who reads it: no record of the old one, nothing charged, and the next claim knows the new one."""
    archive.enter(entry("a"))
    claim = archive.claim()
    assert archive.enter(entry("a", size_bytes=11)) == ["pending"] and not archive.finish(claim)
    claim = archive.claim()
    assert claim.size_bytes == 11 and archive.states() == {"running": 1}
    assert archive.book.change(claim, size_bytes=12, mtime_ns=5) and not archive.book.change(claim, size_bytes=13, mtime_ns=5)
    claim = archive.claim()
    assert (claim.size_bytes, claim.mtime_ns, claim.attempt) == (12, 5, 3)
    assert archive.book.change(claim, size_bytes=13, mtime_ns=5, ready_after=8.0) and archive.states() == {"waiting": 1}
    assert archive.book.wake(run=archive.run, monotonic=8.0) is None and archive.finish(archive.claim())
    assert [(row.errors, row.crashes, row.outcome) for row in archive.book.jobs()] == [(0, 0, {"of": "a"})]
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
    [row] = archive.book.jobs()
    assert (row.errors, row.error_text, row.state) == (0, None, "done")


def test_other_settings_make_another_job_and_supersede_the_old(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    archive.finish(old, stretch(CAT, 0, 1, 0.5))
    archive.enter(entry("b"))
    other = archive.book.settings('{"a": 2}')
    assert other != archive.settings and archive.book.settings('{"a": 2}') == other
    assert archive.enter(entry("a"), entry("b"), entry("c"), settings=other) == ["changed", "changed", "new"]
    assert archive.states(archive.settings) == {"stale": 2} and archive.states(other) == {"ready": 3}
    new = archive.claim(settings=other)
    assert new.job != old.job and (new.output, new.owned) == (old.output, True)  # ours, to be replaced
    assert archive.book.stretches(old.job)
    assert archive.finish(new, stretch(DOG, 0, 1, 0.9)) and not archive.book.stretches(old.job)
    assert archive.enter(entry("a")) == ["changed"]  # and back
    assert archive.states(other) == {"ready": 2, "stale": 1} and archive.claim().job == old.job


def test_a_running_job_of_other_settings_is_left_to_finish(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    other = archive.book.settings("{}")
    assert archive.enter(entry("a"), settings=other) == ["changed"] and archive.states() == {"running": 1}
    new = archive.claim(settings=other)
    assert archive.finish(new, stretch(DOG, 0, 1, 0.9)) and archive.finish(old, stretch(CAT, 0, 1, 0.9))
    assert archive.states() == {"done": 1} and archive.states(other) == {"stale": 1}  # whose file was written last
    assert archive.sql("SELECT job FROM stretch") == [(old.job,)]


def test_names(archive: Archive) -> None:
    """The best that no other source has; a source keeps its name as long as the suffix may stay."""
    names = ["x.mp4", "x.mov.mp4", "x.1.mp4"]
    archive.make(entry("x.mov", *names), entry("x.avi", "x.mp4", "x.avi.mp4"), entry("X.mov", *names))
    assert [row.output for row in archive.book.jobs()] == [b"x.mp4", b"x.avi.mp4", b"x.mov.mp4"]
    other = archive.book.settings("{}")
    archive.enter(entry("x.avi", "x.mp4", "x.avi.mp4"), entry("x.mov", "x.webm"), entry("X.mov", "y.mp4"), settings=other)
    assert [row.output for row in archive.book.jobs(settings=other)] == [b"x.avi.mp4", b"x.webm", b"x.mov.mp4"]
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
    assert [row.relative for row in archive.book.jobs(["done"])] == [folder + b"/\xff\xfe\n.mp4" for folder in folders]
    archive.enter(entry(b"caf\xe9"))
    claim = archive.claim()
    text = f"{os.fsdecode(claim.relative)}: torn"
    assert archive.book.fail(claim, error_class="InputError", error_text=text, charge="error", final=True, how="failed") == "failed"
    [row] = archive.book.jobs(["failed"])
    assert row.error_text == "caf\\udce9: torn" and row.relative == b"caf\xe9"
    archive.book.set_meta("root", os.fsdecode(b"/caf\xe9"))
    assert archive.book.settings(os.fsdecode(b"\xe9")) != archive.book.settings(os.fsdecode(b"\xea"))
    archive.make(entry(b"\xe9"))
    outcomes = [row.outcome for row in archive.book.jobs(["done"])]
    assert outcomes[-1] == {"of": "\udce9"}


def test_sources_that_are_gone(archive: Archive) -> None:
    archive.make(entry("kept/done"))
    given = [entry(name) for name in ("a/x", "a/y/z", "ab", "b", "a!", "a0", "a")]
    archive.enter(*given)
    archive.fail(archive.claim(), final=True)  # a/x
    running = archive.claim()
    assert running.relative == b"a/y/z"
    later = archive.book.begin_run(settings=archive.settings, command="batch", version="1", process=HERE)
    archive.enter(entry("b"), run=later)
    close: Callable[..., int] = archive.book.close_listing

    def missing() -> set[bytes]:
        return {row.relative for row in archive.book.jobs(["missing"])}

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
    archive.book.beat(archive.run, {claim.token: (3, 9), "unknown": (1, 1)})
    [row] = archive.book.jobs(["running"])
    assert (row.frames_done, row.frames_total) == (3, 9) and archive.book.live_runs()[0].beat == 1
    assert archive.finish(claim, *seen, frames=8)
    assert [replace(s, name=replace(s.name, index=0)) for s in archive.book.stretches(claim.job)] == [
        replace(s, name=replace(s.name, index=0)) for s in seen
    ]
    assert archive.sql("SELECT wnid, label FROM class ORDER BY id") == [("n02123045", "tabby"), (None, "dog")]
    best = "SELECT best_score FROM stretch JOIN class ON class.id = class WHERE label = 'tabby' ORDER BY best_score DESC"
    assert archive.sql(best) == [(0.75,), (0.5,)]
    [row] = archive.book.jobs(["done"])
    assert (row.frames_done, row.frames_total, row.outcome, row.attempts) == (8, 8, {"of": "a"}, 1)
    sizes = archive.book.sizes()
    assert (sizes["video"].files_done, sizes["video"].frames_done, sizes["image"].files_left, sizes["image"].bytes_left) == (1, 8, 1, 10)


def test_kinds_are_recorded_beside_the_classes(archive: Archive) -> None:
    """Who shows what was seen sees classes alone; a better record takes the place of both."""
    archive.enter(entry("a"))
    claim, seen = archive.claim(), [stretch(CAT, 0, 1, 0.5)]
    kinds = [kind("n02121620", 0, 3, 0.6), kind("n02121620", 5, 6, 0.9), kind("n00015388", 0, 9, 0.95)]
    archive.there.add(claim.output)
    assert archive.book.finish(claim, outcome={}, stretches=seen, kinds=kinds, frames=1)
    anything = {"min_score": 0.0, "min_seconds": 0.0, "limit": 9}
    assert [s.name.label for s in archive.book.stretches(claim.job)] == ["tabby"] == [label for _, _, label in archive.book.classes()]
    assert [label for label, _, _ in archive.book.best_seen([claim.job])[claim.job]] == ["tabby"]
    hits = [(hit.start_seconds, hit.end_seconds, hit.score) for hit in archive.book.kind_seen("n02121620", **anything)]
    assert hits == [(5, 6, 0.9), (0, 3, 0.6)] and archive.book.has_kind("n00015388") and not archive.book.has_kind("n02084071")
    assert [hit.start_seconds for hit in archive.book.kind_seen("n02121620", **{**anything, "min_seconds": 2.0})] == [0]
    assert [hit.start_seconds for hit in archive.book.kind_seen("n02121620", **{**anything, "limit": 1})] == [5]
    [(cat, _, _)] = archive.book.classes()
    assert archive.book.seen_together([cat], [], without="n02121620") == [] and len(archive.book.seen_together([cat], [])) == 1
    assert archive.enter(entry("a", size_bytes=11)) == ["changed"] and archive.finish(archive.claim(), stretch(DOG, 0, 2, 0.7))
    assert archive.sql("SELECT * FROM kind_stretch") == [] and [label for _, _, label in archive.book.classes()] == ["dog"]


def test_older_settings_kinds_go_with_their_stretches(archive: Archive) -> None:
    archive.enter(entry("a"))
    old = archive.claim()
    assert archive.book.finish(old, outcome={}, stretches=(), kinds=[kind("n02121620", 0, 3, 0.6)], frames=1)
    newer = archive.book.settings("newer")
    archive.enter(entry("a"), settings=newer)
    assert archive.book.has_kind("n02121620") and archive.finish(archive.claim(settings=newer)) and not archive.book.has_kind("n02121620")


def test_a_record_that_breaks_off_is_none(archive: Archive) -> None:
    archive.enter(entry("a"))
    claim = archive.claim()
    torn = replace(stretch(CAT, 0, 1, 0.5), frames=None)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="cannot be used as a ledger: NOT NULL") as caught:
        archive.finish(claim, stretch(DOG, 0, 1, 0.5), torn)
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError) and not job_store.is_full(caught.value)
    [row] = archive.book.jobs()
    assert (
        row.state == "running" and row.outcome is None and archive.sql("SELECT * FROM stretch UNION SELECT *, 1, 1, 1, 1 FROM class") == []
    )
    assert archive.finish(claim)


def test_a_late_finisher_changes_nothing(archive: Archive) -> None:
    archive.enter(entry("a"))
    late = archive.claim()
    [lost] = archive.book.recover(lambda *_: True)
    assert (lost.job, lost.token, lost.output) == (late.job, late.token, late.output)
    now = archive.claim()
    before = archive.sql("SELECT * FROM job"), archive.sql("SELECT * FROM attempt"), archive.sql("SELECT * FROM stretch")
    book = archive.book
    assert not archive.finish(late, stretch(CAT, 0, 1, 0.5)) and archive.fail(late) is None and archive.fail(late, final=True) is None
    assert not book.split(late, [(0, None)]) and not book.give_up_splitting(late) and not book.change(late, size_bytes=1, mtime_ns=1)
    book.beat(archive.run, {late.token: (99, 99)})
    assert (archive.sql("SELECT * FROM job"), archive.sql("SELECT * FROM attempt"), archive.sql("SELECT * FROM stretch")) == before
    assert archive.finish(now) and not archive.finish(now) and archive.fail(now) is None and archive.states() == {"done": 1}


def test_errors_and_crashes_are_counted_apart(archive: Archive) -> None:
    archive.enter(entry("a"))
    became = [archive.fail(archive.claim(), charge) for charge in ("error", "crash", None, "error", "crash", None, None, "crash")]
    assert became == ["ready"] * 7 + ["failed"]
    [row] = archive.book.jobs(["failed"])
    assert (row.errors, row.crashes, row.attempts, row.error_class, row.error_text) == (2, 3, 8, "InputError", "torn")
    assert archive.sql("SELECT count(*), count(ended_at), min(how) FROM attempt") == [(8, 8, "failed")]


def test_pauses_are_by_the_clock_of_the_run(archive: Archive) -> None:
    archive.enter(entry("a"), entry("b"), entry("c"))
    assert [archive.fail(archive.claim(), ready_after=after) for after in (50.0, 20.0)] == ["waiting", "waiting"]
    assert archive.claim().relative == b"c" and archive.ask() is None
    wake: Callable[..., float | None] = archive.book.wake
    assert wake(run=archive.run, monotonic=19.9) == 20.0 and archive.ask() is None
    assert wake(run=archive.run, monotonic=20.0) == 50.0 and archive.claim().relative == b"b"
    assert wake(run=archive.run + 1, monotonic=99.0) is None and archive.states() == {"running": 2, "waiting": 1}
    assert wake(run=archive.run, monotonic=51.0) is None and archive.claim().relative == b"a"


@pytest.mark.parametrize("ends", ["killed", "ended", "recovered"])
def test_what_a_dead_run_has_left_waiting_is_ready(archive: Archive, ends: str) -> None:
    """By the clock of another boot it might wait for ever."""
    begun = {"settings": archive.settings, "command": "batch", "version": "1"}
    run = archive.book.begin_run(**begun, process=DEAD if ends == "killed" else HERE)  # type: ignore[arg-type]
    archive.enter(entry("a"), entry("b"))
    archive.fail(archive.claim(run=run), ready_after=1e9)
    archive.fail(archive.claim(), ready_after=1e9)
    assert archive.states() == {"waiting": 2}
    if ends == "ended":
        archive.book.end_run(run, 1)
    elif ends == "recovered":
        archive.book.recover(lambda _, which, __: which == run)
    archive.book.begin_run(**begun, process=HERE)  # type: ignore[arg-type]
    assert archive.states() == {"ready": 1, "waiting": 1} and archive.claim().relative == b"a"


def test_nothing_depends_on_the_clock(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes back by a century at every look."""
    years = itertools.count(3000, -100)
    monkeypatch.setattr(job_store, "_now", lambda: f"{next(years):+05d}-01-01T00:00:00+00:00")
    archive.make(entry("a"), entry("b"))
    assert archive.enter(entry("a"), entry("b"), entry("c")) == ["done", "done", "new"]
    assert archive.fail(archive.claim(), ready_after=1.0) == "waiting"
    archive.book.wake(run=archive.run, monotonic=1.0)
    archive.claim(owner=DEAD)
    assert len(archive.book.recover(lambda owner, *_: not is_running(owner))) == 1 and archive.finish(archive.claim())
    archive.book.end_run(archive.run, 0)
    assert archive.states() == {"done": 3} and archive.book.live_runs() == []


# ------------------------------------------------------------------------------------------------ parts


def parts_of(archive: Archive, *bounds: tuple[float, float | None]) -> list[Lease]:
    """A video of that many parts, each claimed; another file is ready."""
    archive.enter(entry("long"), entry("other"))
    assert archive.book.split(archive.claim(), bounds) and archive.states() == {"split": 1, "ready": 1}
    return [archive.claim() for _ in bounds]


def test_a_long_video_is_split_and_joined(archive: Archive) -> None:
    parts = parts_of(archive, (0, 60), (60, 120), (120, None))
    assert [(p.part, p.begin_seconds, p.end_seconds, p.relative, p.parts) for p in parts] == [
        (0, 0, 60, b"long", 0),
        (1, 60, 120, b"long", 0),
        (2, 120, None, b"long", 0),
    ]
    assert archive.enter(entry("long")) == ["pending"] and archive.claim().relative == b"other"
    assert archive.finish(parts[2], frames=3) and archive.finish(parts[0], frames=1) and archive.ask() is None
    assert [row.part for row in archive.book.jobs(["done"], parts=True)] == [0, 2]
    assert archive.finish(parts[1], stretch(CAT, 60, 61, 0.5), frames=2)
    archive.enter(entry("third"))
    whole = archive.claim()  # before what was entered, so that room is made
    assert (whole.relative, whole.part, whole.parts, whole.whole, whole.attempt, whole.owned) == (b"long", -1, 3, False, 2, True)
    assert [(row.part, row.frames_done, row.outcome) for row in archive.book.parts(whole)] == [(n, n + 1, {"of": "long"}) for n in range(3)]
    assert archive.fail(whole, charge="error") == "ready"  # the joining failed: the parts are still there
    whole = archive.claim()
    assert whole.parts == 3 and archive.finish(whole, stretch(CAT, 0, 130, 0.5))
    assert archive.book.parts(whole) == [] and archive.sql("SELECT job FROM stretch") == [(whole.job,)]
    assert archive.states() == {"running": 1, "ready": 1, "done": 1}
    assert not list(archive.book.jobs(parts=True)) and archive.book.sizes()["video"].files_done == 1


def test_a_part_that_fails_fails_its_whole(archive: Archive) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.fail(first, charge="crash", ready_after=1.0) == "waiting" and archive.states() == {"split": 1, "ready": 1}
    archive.book.wake(run=archive.run, monotonic=1.0)
    assert archive.fail(archive.claim(), charge="crash") == "ready" and archive.fail(archive.claim(), charge="crash") == "failed"
    [row] = archive.book.jobs(["failed"])
    assert (row.relative, row.part, row.error_text, row.crashes) == (b"long", -1, "torn", 3)
    assert not archive.finish(second) and archive.claim().relative == b"other" and archive.ask() is None
    assert archive.enter(entry("long"), retry=True) == ["pending"] and archive.claim().parts == 0
    assert archive.sql("SELECT count(*) FROM attempt WHERE how = 'superseded' AND ended_at IS NOT NULL") == [(1,)]


def test_splitting_is_given_up(archive: Archive) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.book.give_up_splitting(second) and not archive.finish(first)
    whole = archive.claim()
    assert whole.whole and whole.parts == 0 and whole.relative == b"long" and archive.finish(whole)
    assert archive.enter(entry("long", size_bytes=11)) == ["changed"]
    again = archive.claim()
    assert again.relative == b"long" and not again.whole  # another source, another try
    with pytest.raises(ValueError, match="cannot be split"):
        archive.book.split(whole, [])


@pytest.mark.parametrize("how", ["changed", "told", "settings", "gone"])
def test_parts_of_what_is_superseded_are_dropped(archive: Archive, how: str) -> None:
    first, second = parts_of(archive, (0, 60), (60, None))
    assert archive.finish(first)
    other = archive.book.settings("{}")
    if how == "changed":
        assert archive.enter(entry("long", size_bytes=11)) == ["changed"]
    elif how == "told":
        assert archive.book.change(second, size_bytes=11, mtime_ns=1)
    elif how == "settings":
        assert archive.enter(entry("long"), settings=other) == ["changed"]
    else:
        later = archive.book.begin_run(settings=archive.settings, command="batch", version="1", process=HERE)
        assert archive.book.close_listing(run=later, settings=archive.settings, below=[b"long"]) == 1
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
    assert (again.relative, again.parts, again.size_bytes) == (b"long", 0, 11)
    assert archive.enter(entry("long", size_bytes=12)) == ["pending"] and not archive.book.split(again, [(0, 60), (60, None)])
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
    book, settings, name = archive.book, chance.choice([1, 2]), chance.choice("abcd")
    what = chance.choice(["enter", "claim", "claim", *["finish"] * 3, "fail", "split", "give up", "change", "recover", "gone", "wake"])
    if what == "enter":
        sizes[name] += chance.random() < 0.1
        if chance.random() < 0.1:
            archive.there.discard(os.fsencode(name) + b".out.mp4")
        archive.enter(entry(name, size_bytes=sizes[name]), settings=settings, retry=chance.random() < 0.5)
    elif what == "claim":
        claims += filter(None, [archive.ask(settings=settings)])
    elif what == "recover":
        book.recover(lambda *_: chance.random() < 0.1)
        archive.run = book.begin_run(settings=settings, command="batch", version="1", process=HERE)
    elif what == "gone":
        book.close_listing(run=archive.run, settings=settings, below=[os.fsencode(name)])
    elif what == "wake":
        book.wake(run=archive.run, monotonic=2.0)
    elif claims:
        happen_to(archive, chance, chance.choice(claims[-6:]), what, sizes)


def happen_to(archive: Archive, chance: random.Random, claim: Lease, what: str, sizes: dict[str, int]) -> None:
    pause: float | None = chance.choice([None, 1.0])
    if what == "finish":
        archive.finish(claim)
    elif what == "fail":
        archive.fail(claim, chance.choice(["error", "crash", None]), ready_after=pause, final=chance.random() < 0.1)
    elif what == "split" and claim.part < 0 and not claim.parts:
        archive.book.split(claim, [(0, 1), (1, 2), (2, None)][: chance.randint(1, 3)])
    elif what == "give up" and chance.random() < 0.3:
        archive.book.give_up_splitting(claim)
    elif what == "change" and chance.random() < 0.3:
        archive.book.change(claim, size_bytes=sizes[os.fsdecode(claim.relative)], mtime_ns=1, ready_after=pause)


def test_whatever_happens(archive: Archive) -> None:
    """What must never be is not, whatever happens in whatever order; and in the end no file is stuck."""
    chance, claims, sizes = random.Random(3), list[Lease](), dict.fromkeys("abcd", 10)
    assert archive.book.settings("{}") == 2
    been: set[str] = set()
    for step in range(3000):
        happen(archive, chance, sizes, claims)
        been |= {row[0] for row in archive.book._read("SELECT DISTINCT state FROM job")}
        assert not {why for why, query in NEVER.items() if archive.book._read(query)}, step
    assert been == {"ready", "running", "waiting", "split", "done", "failed", "missing", "stale"}
    for run in archive.book.live_runs():
        archive.book.end_run(run.run, 0)
    for settings in (1, 2):
        while claim := archive.ask(settings=settings):
            archive.finish(claim)
        assert set(archive.states(settings)) <= {"done", "failed", "missing", "stale"}


# ------------------------------------------------------------------------------------------------ who is dead


def test_what_the_dead_were_at_is_ready_and_costs_nothing(archive: Archive) -> None:
    archive.enter(*(entry(name) for name in "abcd"))
    dead_run = archive.book.begin_run(settings=archive.settings, command="batch", version="1", process=DEAD)
    archive.claim()
    archive.claim(owner=DEAD)
    archive.claim(owner=replace(HERE, host="elsewhere"))
    archive.claim(run=dead_run)  # its worker has outlived the run, and may still be writing
    archive.book.beat(archive.run, {})
    asked: list[tuple[int, int]] = []

    def is_dead(process: Process, run: int, beat: int) -> bool:
        asked.append((run, beat))
        return is_running(process) is False

    assert [(each.relative, each.run) for each in archive.book.recover(is_dead)] == [(b"b", archive.run)]
    assert set(asked) == {(archive.run, 1), (dead_run, 0)} and archive.book.recover(is_dead) == []
    assert [run.run for run in archive.book.live_runs()] == [archive.run, dead_run]
    lost = archive.book.recover(lambda process, run, _: run == dead_run)
    assert [(each.relative, each.run) for each in lost] == [(b"d", dead_run)]
    assert [run.run for run in archive.book.live_runs()] == [archive.run]
    assert archive.book.recover(is_dead) == [] and archive.states() == {"ready": 2, "running": 2}
    assert {(row.errors, row.crashes) for row in archive.book.jobs()} == {(0, 0)}
    assert archive.sql("SELECT count(*) FROM attempt WHERE how = 'interrupted'") == [(2,)]
    archive.book.end_run(archive.run, 130)
    assert archive.states() == {"ready": 4} and archive.sql("SELECT exit_code FROM run ORDER BY id") == [(130,), (None,)]


WORKER = """
import sys
import time
from pathlib import Path
from pipeline.batch.store.job_store import open_ledger
from pipeline.files.processes import Process
from pipeline.records import ClassName, LabelInterval
owner, done = Process.here(), []
name = ClassName(index=0, wnid=None, label="x")
seen = LabelInterval(name=name, start_seconds=0, end_seconds=1, frames=3, mean_score=0.2, best_score=0.4)
print("here", flush=True)
input()
with open_ledger(Path(sys.argv[1]), exclusive=sys.argv[2] == "exclusive") as book:
    print("open", flush=True)
    if sys.argv[2] == "together":
        input()
    while claim := book.claim(run=1, settings=1, owner=owner, exists=lambda _: False):
        time.sleep(0.001)  # some work; else the first of them may leave the others no moment
        assert book.finish(claim, outcome={"by": owner.pid}, stretches=[seen], frames=1)
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


def test_many_claim_and_each_job_is_claimed_once(place: Path) -> None:
    names = [f"{number:04d}" for number in range(600)]
    with open_ledger(place) as book:
        begin(book).enter(*map(entry, names))
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
            archive.book.beat(archive.run, {claim.token: (1, 2)})
            assert archive.finish(claim)

    threads = [threading.Thread(target=at_work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [b"%03d" % number for number in range(100)] and archive.states() == {"done": 100}


@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_a_kill_at_any_moment_leaves_an_intact_ledger(place: Path, mode: str) -> None:
    with open_ledger(place) as book:
        begin(book).enter(*(entry(f"{number:05d}") for number in range(5000)))
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
    with open_ledger(place) as book:
        before = book.counts()
        lost = book.recover(lambda process, run, _: process != HERE and is_running(process) is False)
        assert before["running"] == len(lost) <= 6 and before["done"] > 0
        assert book.counts() == {**before, "running": 0, "ready": before["ready"] + len(lost)}


def test_no_statement_walks_through_a_table(archive: Archive) -> None:
    """What is quick with three rows must be quick with a million: all that is done is done once, and each plan is asked for."""
    said: list[str] = []
    archive.book._db.set_trace_callback(said.append)
    archive.book.begin_run(settings=archive.settings, command="batch", version="1", process=HERE)
    parts = parts_of(archive, (0, 60), (60, None))
    for part in parts:
        archive.finish(part, stretch(CAT, 0, 1, 0.5))
    archive.finish(archive.claim(), stretch(DOG, 0, 1, 0.5))
    archive.fail(archive.claim(), ready_after=1.0)
    archive.book.wake(run=archive.run, monotonic=2.0)
    archive.book.beat(archive.run, {archive.claim().token: (1, 1)})
    archive.book.recover(lambda owner, *_: owner == HERE)
    archive.enter(entry("long", size_bytes=11), settings=archive.book.settings("{}"))
    archive.book.change(archive.claim(), size_bytes=1, mtime_ns=1)
    claim = archive.claim()
    archive.book.parts(claim)
    archive.book.stretches(claim.job)
    archive.book.give_up_splitting(claim)
    archive.book.close_listing(run=9, settings=archive.settings, below=[b""])
    archive.book.counts()
    for states, kept in itertools.product((None, ["done"], ["failed"]), (False, True)):
        list(archive.book.jobs(states, parts=kept))
    archive.book._db.set_trace_callback(None)
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


def test_a_ledger_is_made_by_many_at_once(place: Path) -> None:
    assert [ends(process) for process in workers(4, place)] == [[]] * 4 and intact(place)
    together = threading.Barrier(8)

    def make(path: Path) -> str:
        together.wait()
        with open_ledger(path) as book:
            book.set_meta("a", "b")
            return book.meta("a") or ""

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            assert list(pool.map(make, [place.with_name(f"{number}")] * 8)) == ["b"] * 8


def test_a_writer_who_holds_it_for_a_moment_is_waited_for(place: Path) -> None:
    """From now on the file is to be shared, for which it must be free for a moment, and there SQLite does not wait by itself."""
    with open_ledger(place, exclusive=True) as book:
        book.set_meta("a", "b")
    with contextlib.closing(sqlite3.connect(place, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.1, other.execute, ["COMMIT"])
        timer.start()
        try:
            with open_ledger(place) as book:
                assert book.meta("a") == "b"
        finally:
            timer.join()


def test_a_reader_does_not_disturb_a_writer(archive: Archive) -> None:
    archive.make(entry("a"))
    with open_ledger(archive.book.path, read_only=True) as reader:
        assert reader.counts()["done"] == 1
        archive.enter(entry("b"))
        assert reader.counts()["ready"] == 1 and [row.relative for row in reader.jobs()] == [b"a", b"b"]
        assert reader.look(entry("a"), settings=archive.settings, exists=lambda _: False) == "restored"
        with pytest.raises(OutputError, match="cannot be used as a ledger: attempt to write a readonly database"):
            reader.set_meta("a", "b")
    assert archive.book.meta("a") is None


def test_one_that_holds_it_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_store, "_OPENING_SECONDS", 0.05)
    with open_ledger(place, exclusive=True) as book:
        archive = begin(book)
        archive.make(entry("a"))
        for others in ({}, {"exclusive": True}, {"read_only": True}):
            with pytest.raises(OutputError, match="another run holds it") as caught, open_ledger(place, **others):
                pass
            assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert not [*place.parent.glob("*-shm"), *place.parent.glob("*-wal")]  # no memory is shared
    with open_ledger(place) as book:
        assert book.counts()["done"] == 1
        with pytest.raises(OutputError, match="another run holds it"), open_ledger(place, exclusive=True):
            pass
    with open_ledger(place, exclusive=True) as book:
        assert book.counts()["done"] == 1 and book.recover(lambda *_: True) == []
        assert not [*place.parent.glob("*-shm"), *place.parent.glob("*-wal")]
    assert intact(place)


def test_waiting_for_another_has_an_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_store, "_BUSY_SECONDS", 0.05)
    with open_ledger(archive.book.path) as book, contextlib.closing(sqlite3.connect(book.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="another run holds it"):
            book.set_meta("a", "b")
        other.execute("COMMIT")
        book.set_meta("a", "b")
        assert archive.book.meta("a") == "b"


def test_versions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one is brought on, in one step or not at all; a newer one is refused, and one too old to be read as it is."""
    ours = job_store._MIGRATIONS
    now = len(ours)
    with open_ledger(place) as book:
        begin(book).make(entry("a"))
    added = "ALTER TABLE job ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'; UPDATE job SET colour = 'red'"
    monkeypatch.setattr(job_store, "_MIGRATIONS", (*ours, f"{added}; INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(OutputError, match="no such table: nowhere"), open_ledger(place):
        pass

    def look(query: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(place)) as db:
            return db.execute(query).fetchall()

    assert look("PRAGMA user_version") == [(now,)] and "colour" not in [row[1] for row in look("PRAGMA table_info(job)")]
    monkeypatch.setattr(job_store, "_MIGRATIONS", (*ours, added))
    monkeypatch.setattr(job_store, "_OLDEST_READ", now + 1)
    with pytest.raises(OutputError, match=f"of version {now}, and this program reads {now + 1}"), open_ledger(place, read_only=True):
        pass
    with open_ledger(place) as book:
        assert book.counts()["done"] == 1
    assert look("PRAGMA user_version") == [(now + 1,)] and look("SELECT colour FROM job") == [("red",)]
    monkeypatch.setattr(job_store, "_MIGRATIONS", ours)
    for read_only in (False, True):
        with (
            pytest.raises(OutputError, match=f"of version {now + 1}, and this program knows {now}"),
            open_ledger(place, read_only=read_only),
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
    with open_ledger(place) as book:
        archive = begin(book)
        archive.enter(entry("a"), entry("b"))
        archive.finish(archive.claim(), stretch(CAT, 0, 1, 0.5))
    as_at_first(place)
    with open_ledger(place, read_only=True) as book:
        [(cat, _, _)] = book.classes()
        assert book.counts()["done"] == 1 and len(book.seen_together([cat], ["n02121620"], without="n02121620")) == 1
        assert list(book.copies()) == book.copies_of(b"a") == [] and book.known_copy(b"a", settings=1) is None
        assert book.look(entry("a"), settings=1, exists=lambda _: True) == "done" and len(list(book.jobs())) == 2
        assert not book.has_kind("n02121620") and book.kind_seen("n02121620", min_score=0, min_seconds=0, limit=9) == []
    with open_ledger(place) as book:
        assert book.counts()["done"] == 1 and book.recover(lambda *_: True) == []
        archive = begin(book)
        archive.book.finish(archive.claim(), outcome={}, stretches=(), kinds=[kind("n02121620", 0, 2, 0.6)], frames=1)
        assert book.has_kind("n02121620")


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
        with pytest.raises(OutputError, match=told), open_ledger(path, read_only=read_only):
            pass
    assert (garbage.read_bytes(), foreign.read_bytes()) == before and not (tmp_path / "none").exists()
    with open_ledger(empty) as book:  # as a run that was killed at once leaves it
        assert book.counts()["ready"] == 0


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
        with open_ledger(place, exclusive=exclusive) as book:
            archive = begin(book)
            number = 0
            with pytest.raises(OutputError, match=r"ledger\.sqlite: cannot be written: the disk is full; make room") as caught:
                for number in itertools.count():
                    archive.enter(*(entry(f"{number:05d}/{n}", size_bytes=number) for n in range(50)))
            assert job_store.is_full(caught.value) and isinstance(caught.value.__cause__, sqlite3.OperationalError) and number > 5
            assert sum(book.counts().values()) == number * 50  # it still reads
            remount("size=5m")
            archive.enter(*(entry(f"{number:05d}/{n}") for n in range(50)))  # and goes on where room is made
            assert book.counts()["ready"] == number * 50 + 50
        assert intact(place)


def test_no_room_from_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 8192):
        with pytest.raises(OutputError, match="the disk is full") as caught, open_ledger(tmp_path / "small" / "ledger.sqlite"):
            pass
        assert job_store.is_full(caught.value)


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4 << 20) as remount:
        place = tmp_path / "small" / "ledger.sqlite"
        with open_ledger(place) as book:
            begin(book).make(entry("a"))
        remount("ro")
        with open_ledger(place, read_only=True) as book:
            assert book.counts()["done"] == 1
        with pytest.raises(OutputError, match=r"readonly|unable to open"), open_ledger(place) as book:
            book.set_meta("a", "b")
