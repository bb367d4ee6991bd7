"""Exact copies in an archive: which they are, that one of them is made, and that nothing is left out when that one goes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.archives import call_batch, picture, run_batch, states, status, tree
from support.commands import call

from pipeline.batch import archive_layout, sighting_search, status_report as standing
from pipeline.batch.scanning import exact_copies, folder_walk
from pipeline.batch.scanning.inclusion_rules import Rules
from pipeline.batch.store.attempt_outcomes import Failed, Finished, Retry, SourceChanged
from pipeline.batch.store.job_store import Store, open_store
from pipeline.files.processes import Process
from pipeline.options import Options
from pipeline.records import ClassName, Found, LabelInterval

TABBY = ClassName(index=281, wnid="n02123045", label="tabby")
A, B = b"\xff\xd8\xff" + b"a" * 40, b"\xff\xd8\xff" + b"b" * 40


@dataclass
class Night:
    """An archive in `given` and its ledger, gone through as a batch does, but for the pictures: an output is a file with a word in it."""

    place: Path
    store: Store

    def write(self, **files: bytes) -> None:
        for name, content in files.items():
            path = self.place / "given" / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def list(self, *, dedupe: bool = True, settings: str = "{}", at_once: int = 100) -> dict[str, str]:
        """What a run finds, each with its standing; entered so many at once."""
        number, root = self.store.add_settings(settings), self.place / "given"
        self.run = self.store.runs.begin(settings=number, command="", version="", process=Process.here())
        self.store.set_meta("root", str(root))
        self.settings = number
        exists = archive_layout.make_exists(self.place / "out")
        self.copies = exact_copies.CopyFinder(self.store, root=root, settings=number, run=self.run, exists=exists)
        listing = folder_walk.discover([root], root=root, output=self.place / "out", rules=Rules())
        waiting: list[Found] = []
        found: dict[str, str] = {}

        def enter() -> None:
            entries = [archive_layout.make_entry(each, Options()) for each in waiting]
            standings = self.store.entries.add(entries, run=self.run, settings=number, exists=exists)
            found.update({os.fsdecode(each.relative): said for each, said in zip(waiting, standings, strict=True)})
            self.copies.confirm_entered()
            waiting.clear()

        for each in self.copies.mark(listing) if dedupe else listing:
            if isinstance(each, Found):
                waiting.append(each)
            if each is None or len(waiting) == at_once:
                enter()
        enter()
        self.store.entries.close_listing(run=self.run, settings=number, below=[b""])
        for _ in self.copies.read_rest():
            pass
        return found

    def make(self) -> list[str]:
        """Everything that is to do, and what that was."""
        made = []
        while lease := self.store.leases.take(run=self.run, settings=self.settings, owner=Process.here(), exists=lambda _: False):
            made.append(os.fsdecode(lease.relative))
            (self.place / "out" / os.fsdecode(lease.output)).parent.mkdir(parents=True, exist_ok=True)
            (self.place / "out" / os.fsdecode(lease.output)).write_text("made")
            seen = LabelInterval(name=TABBY, start_seconds=0, end_seconds=0, frames=1, mean_score=0.5, best_score=0.5)
            assert self.store.leases.settle(lease, Finished(outcome={}, intervals=[seen], frames=1), now=0.0) == "done"
        self.store.runs.end(self.run, 0)
        return made


@pytest.fixture
def a_night(tmp_path: Path) -> Iterator[Night]:
    file = archive_layout.store_file(tmp_path / "out", None)
    file.parent.mkdir(parents=True)
    with open_store(file) as store:
        yield Night(tmp_path, store)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_the_first_of_some_copies_is_made_and_stands_for_all(a_night: Night, tmp_path: Path, at_once: int) -> None:
    a_night.write(a_jpg=A, b_jpg=B, c_jpg=A, sub__d_jpg=A, e_png=A[:-1], sub__f_jpg=B)
    assert a_night.list(at_once=at_once) == {
        "a.jpg": "new",
        "b.jpg": "new",
        "e.png": "new",
        "c.jpg": "copy",
        "sub/d.jpg": "copy",
        "sub/f.jpg": "copy",
    }
    assert a_night.copies.count() == 3
    told = {job["input"].removeprefix(f"{tmp_path}/given/"): job for job in standing.read_status(tmp_path / "out", every_job=True).jobs}
    assert (told["c.jpg"]["state"], told["c.jpg"]["copy_of"], told["a.jpg"]["copy_of"]) == ("pending", f"{tmp_path}/given/a.jpg", None)
    assert sorted(a_night.make()) == ["a.jpg", "b.jpg", "e.png"]
    found = standing.read_status(tmp_path / "out", every_job=True)
    assert (found.total, found.done, found.pending, found.copies) == (6, 6, 0, 3)
    told = {job["input"].removeprefix(f"{tmp_path}/given/"): job for job in found.jobs}
    assert told["sub/f.jpg"] == {
        "input": f"{tmp_path}/given/sub/f.jpg",
        "state": "done",
        "attempts": 0,
        "error": None,
        "output": f"{tmp_path}/out/b_output.jpg",
        "copy_of": f"{tmp_path}/given/b.jpg",
    }
    hits = {hit.input.name: [path.name for path in hit.copies] for hit in sighting_search.search(tmp_path / "out", "tabby")}
    assert hits == {"a.jpg": ["c.jpg", "d.jpg"], "b.jpg": ["f.jpg"], "e.png": []}
    again = a_night.list(at_once=at_once)
    assert set(again.values()) == {"done", "copy"} and a_night.make() == []


def test_each_file_is_read_once_and_only_where_another_is_as_large(a_night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counted:
        def __init__(self) -> None:
            self.real = hashlib.sha256()
            read.append(0)

        def update(self, piece: bytes) -> None:
            self.real.update(piece)

        def digest(self) -> bytes:
            return self.real.digest()

    monkeypatch.setattr(exact_copies, "hashlib", SimpleNamespace(sha256=Counted))
    a_night.write(a_jpg=A, b_jpg=B, c_jpg=A, alone_jpg=A * 2, empty_jpg=b"", nil_jpg=b"")
    for dedupe in (False, True, False):
        a_night.list(dedupe=dedupe)
        assert len(read) == 3 and a_night.copies.count() == 1
    a_night.write(c_jpg=B)  # as large as before
    os.utime(a_night.place / "given" / "c.jpg", ns=(7, 7))
    assert a_night.list()["c.jpg"] == "copy" and len(read) == 4
    assert a_night.store.copies.original_of(b"c.jpg", settings=a_night.settings) == b"b.jpg"


@pytest.mark.parametrize("dedupe", [True, False])
@pytest.mark.parametrize("at_once", [1, 100])
def test_of_large_files_only_those_with_the_same_ends_are_read_wholly(
    a_night: Night, monkeypatch: pytest.MonkeyPatch, dedupe: bool, at_once: int
) -> None:
    """Five files of one size: two differ at an end; of three whose ends agree one has another middle."""
    monkeypatch.setattr(exact_copies, "END_BYTES", 16)
    read: dict[str, int] = {}
    real = exact_copies.CopyFinder._read

    def counted(self: exact_copies.CopyFinder, found: Found, of: Any, pieces: Any) -> Any:
        read[f"{found.path.name} {of}"] = read.get(f"{found.path.name} {of}", 0) + 1
        return real(self, found, of, pieces)

    monkeypatch.setattr(exact_copies.CopyFinder, "_read", counted)
    x = b"\xff\xd8\xff" + b"x" * 61
    a_night.write(a_jpg=x, b_jpg=x[:-1] + b"y", c_jpg=x, d_jpg=x[:3] + b"y" + x[4:], e_jpg=x[:20] + b"y" + x[21:])
    found = a_night.list(dedupe=dedupe, at_once=at_once)
    assert {name for name, standing in found.items() if standing == "copy"} == ({"c.jpg"} if dedupe else set())
    expected = {f"{name}.jpg ends": 1 for name in "abcde"} | {f"{name}.jpg sha256": 1 for name in "ace"}
    assert read == expected and a_night.copies.count() == 1
    a_night.list(dedupe=dedupe, at_once=at_once)
    assert read == expected  # the store keeps it
    a_night.write(b_jpg=x)
    os.utime(a_night.place / "given" / "b.jpg", ns=(7, 7))
    a_night.list(dedupe=dedupe, at_once=at_once)
    assert read == {**expected, "b.jpg ends": 2, "b.jpg sha256": 1} and a_night.copies.count() == 2


def test_a_copy_is_made_when_its_original_changes_or_goes(a_night: Night, tmp_path: Path) -> None:
    given = tmp_path / "given"
    a_night.write(a_jpg=A, b_jpg=A, c_jpg=A)
    a_night.list()
    assert a_night.make() == ["a.jpg"]
    a_night.write(a_jpg=B)
    os.utime(given / "a.jpg", ns=(5, 5))
    assert a_night.list() == {"a.jpg": "changed", "b.jpg": "pending", "c.jpg": "copy"}
    assert a_night.make() == ["a.jpg", "b.jpg"]
    (given / "b.jpg").unlink()  # it is done, and would go on standing for c
    assert a_night.list() == {"a.jpg": "done", "c.jpg": "new"}
    assert a_night.make() == ["c.jpg"]
    (given / "c.jpg").rename(given / "0.jpg")
    assert a_night.list() == {"0.jpg": "new", "a.jpg": "done"}


def test_an_original_that_changes_while_it_is_made_sets_its_copies_free(a_night: Night) -> None:
    a_night.write(a_jpg=A, b_jpg=A, c_jpg=A)
    a_night.list()
    lease = a_night.store.leases.take(run=a_night.run, settings=a_night.settings, owner=Process.here(), exists=lambda _: False)
    assert lease is not None and lease.relative == b"a.jpg"
    assert a_night.store.leases.settle(lease, SourceChanged(size_bytes=1, mtime_ns=1), now=0.0) == "ready"
    assert a_night.store.counts()["copy"] == 1 and a_night.store.copies.original_of(b"c.jpg", settings=a_night.settings) == b"b.jpg"
    assert a_night.make() == ["a.jpg", "b.jpg"]
    assert a_night.list() == {"a.jpg": "copy", "b.jpg": "done", "c.jpg": "copy"}  # a is what it was after all, and b was made of that
    assert a_night.make() == []


@pytest.mark.parametrize("at_once", [1, 100])
def test_two_that_wait_are_never_copies_of_one_another(a_night: Night, at_once: int) -> None:
    """Both were to be made before anyone asked for --dedupe; one still is."""
    a_night.write(a_jpg=A, b_jpg=A)
    assert set(a_night.list(dedupe=False).values()) == {"new"}
    for _ in range(2):
        assert sorted(a_night.list(at_once=at_once).values()) == ["copy", "pending"]
    a_night.write(c_jpg=A)
    assert sorted(a_night.list(at_once=at_once).values()) == ["copy", "copy", "pending"]
    (a_night.place / "given" / "c.jpg").unlink()
    assert a_night.list(dedupe=False) in ({"a.jpg": "new", "b.jpg": "pending"}, {"a.jpg": "pending", "b.jpg": "new"})
    assert a_night.make() == ["a.jpg", "b.jpg"]
    assert set(a_night.list().values()) == {"done"}  # what is made stays


def test_what_is_done_stands_for_a_copy_that_sorts_before_it(a_night: Night, tmp_path: Path) -> None:
    a_night.write(b_jpg=A)
    a_night.list()
    assert a_night.make() == ["b.jpg"]
    a_night.write(a_jpg=A)
    assert a_night.list() == {"a.jpg": "copy", "b.jpg": "done"}
    (tmp_path / "out" / "b_output.jpg").unlink()
    assert a_night.list() == {"a.jpg": "new", "b.jpg": "copy"}  # one of the two, whichever
    assert a_night.list(settings='{"other": 1}') == {"a.jpg": "changed", "b.jpg": "copy"}


def test_a_copy_of_what_is_tried_again_has_no_error(a_night: Night, tmp_path: Path) -> None:
    a_night.write(a_jpg=A, b_jpg=A)
    a_night.list()
    lease = a_night.store.leases.take(run=a_night.run, settings=a_night.settings, owner=Process.here(), exists=lambda _: False)
    assert lease is not None
    retry = Retry(charge="error", error_class="MemoryError", error_text="memory ran out", pause_seconds=1e12)
    a_night.store.leases.settle(lease, retry, now=0.0)
    told = {Path(job["input"]).name: job for job in standing.read_status(tmp_path / "out", every_job=True).jobs}
    assert {name: (job["state"], job["error"]) for name, job in told.items()} == {
        "a.jpg": ("pending", "memory ran out"),
        "b.jpg": ("pending", None),
    }


def test_a_copy_of_what_fails_says_so_and_one_that_goes_is_missing(a_night: Night, tmp_path: Path) -> None:
    a_night.write(a_jpg=A, b_jpg=A, c_jpg=A)
    a_night.list()
    lease = a_night.store.leases.take(run=a_night.run, settings=a_night.settings, owner=Process.here(), exists=lambda _: False)
    assert lease is not None
    a_night.store.leases.settle(lease, Failed(charge="error", error_class="InputError", error_text="torn"), now=0.0)
    (tmp_path / "given" / "c.jpg").unlink()
    assert a_night.list() == {"a.jpg": "failed", "b.jpg": "copy"}
    found = standing.read_status(tmp_path / "out", every_job=False)
    given = tmp_path / "given"
    assert found.failures == [(f"{given}/a.jpg", "torn"), (f"{given}/b.jpg", f"is a copy of {given}/a.jpg, which has failed: torn")]
    assert (found.failed, found.missing, found.copies) == (2, 1, 1)
    (tmp_path / "given" / "a.jpg").unlink()
    a_night.store.leases.free_copies(lease)
    assert a_night.make() == ["b.jpg"]


@pytest.mark.slow
def test_a_batch_points_copies_out_and_makes_one_of_them_with_dedupe(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        picture(tmp_path / "given" / name)
    picture(tmp_path / "given" / "other.png", 1)
    ended = run_batch("given", "-o", "out", "--no-report", cwd=tmp_path)
    assert ended.code == 0 and "2 files are exact copies of others; --dedupe makes each once" in ended.err.splitlines(), ended.err
    assert status(tmp_path / "out")["done"] == 4 and len(list((tmp_path / "out").rglob("*_output.png"))) == 4
    ended = run_batch("given", "-o", "once", "--dedupe", "--no-report", cwd=tmp_path)
    assert ended.code == 0 and "2 files are exact copies of others and not made again" in ended.err.splitlines(), ended.err
    assert "2 done in" in ended.err and states(tmp_path / "once")["b.png"] == "copy"
    assert sorted(path.name for path in (tmp_path / "once").rglob("*_output.png")) == ["a_output.png", "other_output.png"]
    before = tree(tmp_path / "once")
    assert "; 2 of them are exact copies of others" in call("status", "once", cwd=tmp_path).out
    dry = call_batch("given", "-o", "once", "--dedupe", "--no-report", "--dry-run", "--json", cwd=tmp_path)
    assert {line["input"]: line["state"] for line in map(json.loads, dry.out.splitlines())}["sub/c.png"] == "copy"
    assert tree(tmp_path / "once") == before
