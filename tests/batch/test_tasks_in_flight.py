"""What is handed out, and room on the disk: the small parts of the loop."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pipeline.batch.disk_gate import ENOUGH_BYTES, DiskGate
from pipeline.batch.messages import Advanced, Task
from pipeline.batch.progress import Estimate, make_overview
from pipeline.batch.store.row_records import Lease, Sizes
from pipeline.batch.tasks_in_flight import InFlight
from pipeline.errors import OutputError
from pipeline.files.processes import Process
from pipeline.records import Found

HERE = Process.here()
COUNTS: Any = dict.fromkeys(("ready", "running", "waiting", "split", "done", "failed", "missing", "stale", "copy"), 1)


def handed_out(token: str, *, crashes: int = 0, part: int | None = None, size_bytes: int = 10) -> tuple[Lease, Task]:
    found = Found(path=Path(f"/in/{token}.mp4"), relative=token.encode(), kind="video", size_bytes=size_bytes, mtime_ns=1)
    lease = Lease(
        job=1,
        token=token,
        attempt=1,
        first=True,
        errors=0,
        crashes=crashes,
        relative=found.relative,
        kind="video",
        size_bytes=size_bytes,
        mtime_ns=1,
        output=b"o",
        owned=True,
        part=part,
        begin_seconds=None,
        end_seconds=None,
        parts=None,
        undivided=False,
    )
    return lease, Task(token=token, found=found, output=Path("/out/o"), overwrite=True, part=part)


# ------------------------------------------------------------------------------------------------ what is handed out


def test_a_worker_takes_two_and_what_has_crashed_one_is_alone() -> None:
    flight = InFlight(2)
    assert not flight.takes_more(0, 0)  # it loads its model
    flight.make_ready(0, HERE)
    assert flight.takes_more(0, 0) and not flight.takes_more(0, 1) and not flight.takes_more(1, 0)
    flight.add(0, *handed_out("a"))
    assert not flight.takes_more(0, 0) and flight.takes_more(0, 1)
    flight.add(0, *handed_out("b"))
    assert [attempt.lease.token for attempt in flight.held_by(0)] == ["a", "b"] and not flight.takes_more(0, 1)
    flight.make_ready(1, HERE)
    flight.add(1, *handed_out("c", crashes=1))
    assert not flight.takes_more(1, 1) and len(flight) == 3


def test_what_has_ended_or_is_lost_is_nobody_s_any_more() -> None:
    flight = InFlight(1)
    flight.make_ready(0, HERE)
    for token in "abc":
        flight.add(0, *handed_out(token))
    ended = flight.take("b")
    assert ended is not None and ended.task.token == "b" and flight.take("b") is None
    assert [attempt.task.token for attempt in flight.lose(0)] == ["a", "c"] and len(flight) == 0 and flight.owners == [None]
    assert flight.take("a") is None and flight.lose(0) == []  # a late result counts no more


def test_how_it_stands() -> None:
    """The overview, by hand: 100 bytes of done videos had 50 frames, so 40 bytes that are left and not begun have 20.

    A part says nothing of how much of its file is begun.
    """
    flight, estimate = InFlight(3), Estimate()
    flight.make_ready(0, HERE)
    flight.make_ready(1, HERE)
    flight.add(0, *handed_out("a"))
    flight.add(0, *handed_out("b", part=1))
    flight.advance(Advanced(worker=0, token="a", frames_done=4, frames_total=10), 1.0)
    flight.advance(Advanced(worker=0, token="b", frames_done=1, frames_total=3), 2.0)
    flight.advance(Advanced(worker=0, token="nobody's", frames_done=9, frames_total=9), 3.0)
    assert flight.count_frames() == {"a": (4, 10), "b": (1, 3)}
    assert make_overview(COUNTS, flight, estimate, listing=True, is_full=False).frames_left == 8  # what is in the making
    estimate.sizes = {
        "video": Sizes(files_done=1, bytes_done=100, frames_done=50, files_left=3, bytes_left=50),
        "image": Sizes(files_left=7),
    }
    estimate.add(50)
    shown = make_overview(COUNTS, flight, estimate, listing=False, is_full=True)
    assert (shown.left, shown.done, shown.failed, shown.listing, shown.paused) == (4, 1, 1, False, "the disk is full")
    assert (shown.frames_done, shown.frames_left, shown.seconds_left) == (55, 7 + 8 + 20, None)  # no worker has begun
    assert list(shown.workers) == [("b.mp4, part 2", 1, 3), None, ("loading the model", 0, None)]
    estimate.begin()
    assert make_overview(COUNTS, flight, estimate, listing=False, is_full=True).seconds_left is not None


# ------------------------------------------------------------------------------------------------ room on the disk

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the system says is free of a terabyte."""
    free = {"bytes": 0}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free["bytes"]))
    return free


def no_room() -> None:
    raise OutputError("ledger: cannot be written") from OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_closes_the_gate_until_there_is_room(tmp_path: Path, disk: dict[str, int]) -> None:
    said: list[str] = []
    written: list[str] = []
    gate = DiskGate(tmp_path, said.append)
    with gate.guard():
        no_room()
    assert not gate.is_open and said == ["paused, for the disk is full (ledger: cannot be written); make room, and it goes on by itself"]
    gate.close("again")
    disk["bytes"] = ENOUGH_BYTES - 1
    gate.look()
    assert not gate.is_open and len(said) == 1
    disk["bytes"] = ENOUGH_BYTES
    gate.look()
    assert gate.is_open and said[1:] == ["there is room again: going on"]
    with pytest.raises(OutputError, match="not a ledger"), gate.guard():
        raise OutputError("not a ledger")
    gate.make_sure(lambda: written.append("at once"))
    assert written == ["at once"] and not gate.has_waiting


def test_what_must_be_written_waits_for_room_in_its_order(tmp_path: Path, disk: dict[str, int]) -> None:
    written: list[str] = []
    gate = DiskGate(tmp_path, lambda _: None)

    def write(text: str) -> None:
        if not disk["bytes"]:
            no_room()
        written.append(text)

    gate.make_sure(lambda: write("first"))
    gate.make_sure(lambda: write("second"))
    gate.look()
    assert written == [] and gate.has_waiting and not gate.is_open
    disk["bytes"] = ENOUGH_BYTES
    gate.look()
    assert written == ["first", "second"] and not gate.has_waiting and gate.is_open
