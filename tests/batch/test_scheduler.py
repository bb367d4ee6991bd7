"""Overnight over an archive: real processes, killed, starved and lied to. Nothing is lost, nothing done twice, nothing left lying."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import clips
from support.archives import QUICK, begin, call_batch, ledger_of, picture, run_batch, sql, states, status, tree
from support.commands import ENCODER, ROOT, Ended, call, end, names, small_disk, until, wrapper

from pipeline.batch import messages
from pipeline.batch.executors import task_worker
from pipeline.errors import ChangedError
from pipeline.explain import image_job
from pipeline.explain.job_planning import plan_task
from pipeline.models import class_names
from pipeline.options import Options
from pipeline.records import Found, KindInterval, LabelInterval
from pipeline.results import label_intervals
from pipeline.results.label_intervals import PAUSE_SECONDS

AT_ONCE = messages.Timings(backoff_seconds=(0.1, 0.1), busy_seconds=0.2)
SOON_STALLED = "from pipeline.media import ffmpeg_process as f\nf.DEFAULT_STALL_LIMITS = f.StallLimits(idle_seconds=2.0)\n"
# Hours go back at every look at the clock.
CLOCK_BACK = """
import datetime, itertools, time
from pipeline.batch.store import row_records
hours = itertools.count()
class Back(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.datetime(2001, 1, 1, tzinfo=zone) - datetime.timedelta(hours=next(hours))
row_records.datetime = Back
time.time = lambda: 1e9 - 3600.0 * next(hours)
"""


# ------------------------------------------------------------------------------------------------ tools


def everywhere(folder: Path, code: str) -> str:
    """A PYTHONPATH with which that code is run in the workers, too."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return f"{folder}:{ROOT}"


def clip(path: Path, frames: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return clips.write_clip(path, clips.constant(frames))


def broken(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 500)
    return path


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def soon(out: Path, query: str) -> list[Any]:
    """The rows, none as long as there is no ledger."""
    with contextlib.suppress(sqlite3.OperationalError):
        return sql(out, query) if ledger_of(out).exists() else []
    return []


def outputs(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file() and ".heatreel" not in path.parts)


def check_order(out: Path, *ledgers: Path) -> None:
    """Each done once, by the ledger's own record, and nothing lying about."""
    for ledger in ledgers or (ledger_of(out),):
        twice = "SELECT job, count(*) FROM attempt WHERE how IN ('done', 'done in part') GROUP BY job HAVING count(*) > 1"
        assert sql(out, twice, ledger=ledger) == []
        assert sql(out, "SELECT * FROM attempt WHERE ended_at IS NULL", ledger=ledger) == []
        assert sql(out, "SELECT * FROM run WHERE ended_at IS NULL", ledger=ledger) == []
        assert sql(out, "PRAGMA integrity_check", ledger=ledger) == [("ok",)]
        done = "SELECT job.id FROM job WHERE state = 'done' AND NOT EXISTS (SELECT 1 FROM attempt WHERE job = job.id AND how = 'done')"
        assert sql(out, done, ledger=ledger) == []
    hidden = [path for path in out.rglob(".*") if path != out / ".heatreel"]
    assert hidden == [] and list((out / ".heatreel" / "receipts").iterdir()) == []


def check_whole(out: Path, archive: Path) -> None:
    """Every output of the ledger's that is done opens, and has all frames of its source."""
    query = "SELECT relative, kind, output FROM job JOIN source ON source.id = source WHERE part = -1 AND state = 'done'"
    for relative, kind, output in sql(out, query):
        source, made = archive / os.fsdecode(relative), out / os.fsdecode(output)
        if kind == "video":
            assert frames_in(made) == frames_in(source), made
            assert made.with_suffix(".parquet").exists()
        else:
            with Image.open(made) as opened:
                opened.load()


def workers_of(driver: int) -> list[int]:
    """The processes in which it has the work done, their numbers by /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == driver and fields[0] != b"Z" and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def kill_driver(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()


def segments_in(folder: Path) -> int:
    """Of all journals below it."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in folder.rglob("journal.jsonl"))


def counting(folder: Path) -> tuple[str, Path]:
    """A PATH on which every encoder of a segment is counted in the file that comes with it."""
    log = folder / "encoders"
    log.touch()
    return wrapper(folder, ENCODER, does=f'echo x >> "{log}"'), log


# ------------------------------------------------------------------------------------------------ one night


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all kinds, names of any bytes, two that are broken, one whose output's place is taken, one long enough for parts."""
    top = tmp_path_factory.mktemp("night") / "archive"
    for number in range(3):
        picture(top / f"p{number}.png", number)
    picture(top / "2019" / "a b\nc.jpg", 4)
    picture(top / "2019" / os.fsdecode(b"\xff\xfe.png"), 5)
    picture(top / "2019" / "taken.png", 6)
    clip(top / "2019" / "June" / "short.mp4", 25)
    shutil.copy2(top / "p0.png", top / "2019" / "same.png")
    shutil.copy2(top / "p0.png", top / "2019" / "same.PNG")
    clip(top / "long.mp4", 230)
    broken(top / "bad.jpg")
    (top / "2019" / "torn.mp4").write_bytes((top / "long.mp4").read_bytes()[:1000])
    (top / "notes.txt").write_text("no picture")
    return top


@pytest.fixture(scope="module")
def made(archive: Path) -> Ended:
    """The archive's first night, its output within it."""
    out = archive / "out"
    (out / "2019").mkdir(parents=True)
    (out / "2019" / "taken_output.png").write_text("somebody's")
    return run_batch(".", "-o", "out", "--json", "--save-maps", "out/maps", cwd=archive, timings=AT_ONCE)


FAILED = {
    "bad.jpg": "damaged",
    "2019/torn.mp4": "",
    "2019/taken.png": "exists already, and was not made from this archive; add --overwrite",
}


@pytest.mark.process
def test_a_night(archive: Path, made: Ended) -> None:
    out = archive / "out"
    told = [json.loads(line) for line in made.out.splitlines()]
    assert made.code == 1 and len(told) == 12
    assert len({each["input"] for each in told}) == 12 and {each["input"] for each in told if each["error"]} == {
        str(archive / name) for name in FAILED
    }
    last = made.err.splitlines()[-3:]
    assert all(line.startswith("error: ") for line in last) and "error: " not in "".join(made.err.splitlines()[:-3])
    for name, why in FAILED.items():
        [line] = [line for line in last if name in line]
        assert why in line and line.count(name) <= 2
    assert (out / "2019" / "taken_output.png").read_text() == "somebody's"
    expected = ["2019/a b\nc_output.jpg", "2019/same.PNG_output.PNG", "2019/same.png_output.png", "2019/taken_output.png"]
    expected += [os.fsdecode(b"2019/\xff\xfe_output.png"), "2019/June/short_output.mp4", "2019/June/short_output.parquet"]
    expected += ["index.html", "2019/June/short_output.html", "long_output.html"]
    expected += ["long_output.mp4", "long_output.parquet", *(f"p{number}_output.png" for number in range(3))]
    found = [str(path.relative_to(out)) for path in outputs(out)]
    maps = [name for name in found if name.startswith("maps/")]
    assert sorted(set(found) - set(maps)) == sorted(expected)
    assert sorted(maps) == sorted(f"maps/{e}.npz" for e in expected if not e.endswith((".parquet", ".html")) and "taken" not in e)
    check_order(out)
    check_whole(out, archive)
    assert [each["parts"] for each in told if "parts" in each] == [2]


@pytest.mark.process
def test_each_input_has_one_short_line(made: Ended) -> None:
    lines = made.err.splitlines()
    [picture] = [line for line in lines if line.startswith("p0.png: ")]
    [video] = [line for line in lines if line.startswith("2019/June/short.mp4: ")]
    assert re.fullmatch(r"p0\.png: .+ <?\d+% \(\d+\.\d s\)", picture) and re.search(r"% \(\d+ frames, [\d.]+ a second\)$", video)
    assert {"outputs: out", "raw maps: out/maps", "page: out/index.html"} <= set(lines) and ", 3 failed; the log is " in made.err


@pytest.mark.process
def test_raw_maps_have_every_frame(archive: Path, made: Ended) -> None:
    with np.load(archive / "out" / "maps" / "long_output.mp4.npz") as saved:
        assert saved["maps"].shape[0] == len(saved["time_seconds"]) >= 230 / 3
        assert saved["maps"].dtype == np.float32 and np.all(np.diff(saved["time_seconds"]) > 0)


def stretches_of(rows: Sequence[dict[str, Any]], end_seconds: float) -> list[tuple[Any, ...]]:
    """From the rows of a predictions file, one class after the other: (label, from, to, frames, mean, best)."""
    times = sorted({row["time_seconds"] for row in rows})
    ends = dict(zip(times, [*times[1:], end_seconds], strict=True))
    found = []
    for label in {row["label"] for row in rows}:
        mine = sorted(
            (r for r in rows if r["label"] == label and r["score"] >= label_intervals.SHOWN_SCORE), key=lambda r: r["time_seconds"]
        )
        groups: list[list[dict[str, Any]]] = [mine[:1]] if mine else []
        for before, row in pairwise(mine):
            if row["time_seconds"] - ends[before["time_seconds"]] > PAUSE_SECONDS:
                groups.append([])
            groups[-1].append(row)
        for group in groups:
            scores = [row["score"] for row in group]
            first, last = group[0]["time_seconds"], ends[group[-1]["time_seconds"]]
            found.append((label, first, last, len(group), sum(scores) / len(scores), max(scores)))
    return sorted(found)


@pytest.mark.process
@pytest.mark.parametrize("name", ["long", "2019/June/short"])
def test_the_index_agrees_with_the_predictions(archive: Path, made: Ended, name: str) -> None:
    out = archive / "out"
    rows = pq.read_table(out / f"{name}_output.parquet").to_pylist()
    [told] = [each for each in map(json.loads, made.out.splitlines()) if each["input"] == str(archive / f"{name}.mp4")]
    by_file = stretches_of(rows, told["duration_seconds"])
    query = (
        "SELECT label, start_seconds, stretch.end_seconds, frames, mean_score, best_score FROM stretch JOIN class ON class.id = class "
        "JOIN job ON job.id = job JOIN source ON source.id = source WHERE relative = ? ORDER BY 1, 2"
    )
    in_ledger = sql(out, query, os.fsencode(f"{name}.mp4"))
    assert by_file and [row[0] for row in in_ledger] == [row[0] for row in by_file]
    assert np.allclose([row[1:] for row in in_ledger], [row[1:] for row in by_file], atol=2e-6)


@pytest.mark.process
def test_the_index_has_every_kind_of_what_was_seen(archive: Path, made: Ended) -> None:
    """A class of 5 % makes each of its kinds one, so its stretches lie within theirs, in pictures, videos, and videos made in parts."""
    out, where = archive / "out", "JOIN job ON job.id = job JOIN source ON source.id = source"
    shown = f"SELECT relative, wnid, start_seconds, stretch.end_seconds, best_score FROM stretch JOIN class ON class.id = class {where}"
    kinds = sql(out, f"SELECT relative, wnid, start_seconds, kind_stretch.end_seconds, best_score FROM kind_stretch {where}")
    classes = class_names.imagenet_classes()
    known = {group.wnid: {classes[index].wnid for index in group.members} for group in class_names.find_kinds(classes)}
    seen = [row for row in sql(out, shown) if row[4] >= label_intervals.SHOWN_SCORE]
    count = 0
    for file, wnid, first, last, score in seen:
        for kind in (kind for kind, below in known.items() if wnid in below):
            within = [row for row in kinds if row[0] == file and row[1] == kind and row[2] <= first and row[3] >= last]
            assert len(within) == 1 and within[0][4] >= score - 1e-6, (file, wnid, kind)
            count += 1
    assert {os.fsdecode(row[0]) for row in seen} >= {"long.mp4", "p0.png", "2019/June/short.mp4"} and count > 20


def test_a_receipt_tells_what_was_seen(tmp_path: Path) -> None:
    """Classes and kinds alike; one of a program that knew no kinds has none."""
    output, receipt = tmp_path / "a_output.mp4", tmp_path / "receipt.json"
    output.write_bytes(b"a video")
    found = Found(path=tmp_path / "a.mp4", relative=b"a.mp4", kind="video", size_bytes=1, mtime_ns=2)
    order = messages.Task(token="t", found=found, output=output, overwrite=False, receipt=receipt)
    times: Any = {"start_seconds": 1.0, "end_seconds": 2.5, "frames": 3, "mean_score": 0.25, "best_score": 0.5}
    seen = [LabelInterval(name=class_names.imagenet_classes()[263], **times)]
    result = messages.Result(token="t", how="done", intervals=seen, kinds=[KindInterval(wnid="n02112826", **times)], frames=3)
    task_worker._write_receipt(receipt, result, "settings", found, output)
    told = task_worker._read_receipt(order, "settings")
    assert told is not None and told.intervals == seen and told.kinds == result.kinds and told.frames == 3
    assert task_worker._read_receipt(order, "others") is None
    value = json.loads(receipt.read_text())
    assert {"stretches", "kinds", "frames", "how"} <= value["result"].keys()  # as every earlier program wrote them
    del value["result"]["kinds"]
    receipt.write_text(json.dumps(value))
    before = task_worker._read_receipt(order, "settings")
    assert before is not None and before.intervals == seen and list(before.kinds) == []


@pytest.mark.media
@pytest.mark.process
def test_the_second_time_nothing_is_done(archive: Path, made: Ended) -> None:
    out = archive / "out"
    before = {path: path.stat().st_mtime_ns for path in outputs(out)}
    started = time.monotonic()
    ended = call_batch(".", "-o", "out", "--save-maps", "out/maps", cwd=archive)
    assert time.monotonic() - started < 5 and ended.code == 1 and "nothing to do" in ended.err
    assert len([line for line in ended.err.splitlines() if line.startswith("error: ")]) == 3
    assert {path: path.stat().st_mtime_ns for path in outputs(out)} == before


@pytest.mark.process
def test_looking_writes_nothing(archive: Path, made: Ended) -> None:
    """A dry run and status: at a ledger that is there, and where there is none; and the truth of both."""
    out = archive / "out"
    before = tree(archive)
    dry = call_batch(".", "-o", "out", "--save-maps", "out/maps", "--dry-run", "--json", cwd=archive)
    standing = {each["input"]: each["state"] for each in map(json.loads, dry.out.splitlines())}
    assert dry.code == 0 and list(standing.values()).count("done") == 9
    assert {name for name, state in standing.items() if state == "failed"} == set(FAILED)
    only = call_batch("2019", "-o", "out", "--save-maps", "out/maps", "--dry-run", "--include", "*.mp4", cwd=archive)
    assert only.err.splitlines()[-1] == "1 failed, 1 done", only.out  # what was not looked for is not missing
    told = status(out)
    assert {key: told[key] for key in ("total", "done", "failed", "running", "pending", "missing")} == {
        "total": 12, "done": 9, "failed": 3, "running": 0, "pending": 0, "missing": 0
    }  # fmt: skip
    assert {job["input"] for job in told["jobs"]} == {str(archive / name) for name in standing}
    for job in told["jobs"]:
        assert (job["output"] is not None and Path(job["output"]).exists()) == (job["state"] == "done")
        assert (job["error"] is not None) == (job["state"] == "failed")
    plain = call("status", "out", cwd=archive)
    assert plain.code == 0 and plain.out.splitlines()[1] == "no run is at work" and plain.out.count("failed: ") == 3
    fresh = call_batch("2019", "-o", "other", "--dry-run", cwd=archive)
    assert fresh.code == 0 and fresh.err.splitlines()[-1] == "7 new"
    assert tree(archive) == before


@pytest.mark.media
@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["out", "-o", "out"], 2, "--output out: the sources lie in it"),
        ([".", "-o", "."], 2, "--output .: the sources lie in it"),
        (["nope", "-o", "o"], 2, "nope: no such file or folder"),
        ([".", "-o", "out", "--shard", "1/2"], 2, "is not divided"),
        (["..", "-o", "out"], 2, "the output holds what was made of"),
        ([".", "-o", "o", "--limit", "0"], 2, "--limit 0"),
        ([".", "-o", "o", "--predictions", "xml"], 2, "--predictions xml"),
        ([".", "-o", "o", "--engine", "abacus"], 2, "--engine abacus"),
        ([".", "-o", "p0.png"], 1, "p0.png is not a folder"),
    ],
)
def test_what_cannot_go_well_is_refused(archive: Path, made: Ended, arguments: list[str], code: int, told: str) -> None:
    before = tree(archive)
    ended = call_batch(*arguments, cwd=archive)
    assert (ended.code, told in ended.last) == (code, True), ended.err
    changed = {name for name, value in tree(archive).items() if before.get(name) != value}
    assert all(name.startswith("out/.heatreel") for name in changed)


def test_no_batch_has_no_status(tmp_path: Path) -> None:
    ended = call("status", tmp_path, "--json", cwd=tmp_path)
    assert ended.code == 1 and "no batch has been here" in ended.last and ended.out == ""


# ------------------------------------------------------------------------------------------------ killed drivers


def dying(moment: str) -> str:
    """Code after which the driver kills itself before, or after, a finished video is written into the ledger."""
    is_video = "isinstance(change, Finished) and lease.kind == 'video' and lease.part is None"
    die = f"if {is_video}: os.kill(os.getpid(), signal.SIGKILL)"
    before, after = (die, "pass") if moment == "before" else ("pass", die)
    return (
        "from pipeline.batch.store.attempt_outcomes import Finished\nfrom pipeline.batch.store.leases import Leases\nreal = Leases.settle\n"
        f"def settle(self, lease, change, **named):\n    {before}\n    state = real(self, lease, change, **named)\n"
        f"    {after}\n    return state\nLeases.settle = settle\n"
    )


@pytest.mark.slow
def test_a_killed_driver_costs_one_segment(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Killed in the midst; again between the rename and the record; again behind the record. The clock goes back meanwhile."""
    given, out = tmp_path / "given", tmp_path / "out"
    clip(given / "a.mp4", 190)  # 19 segments; one of 20 would be made in parts
    picture(given / "p.png")
    path, encoders = counting(tmp_path_factory.mktemp("bin"))
    process = begin("given", "-o", "out", cwd=tmp_path, PATH=path)
    until(lambda: segments_in(out) >= 3, process)
    told = status(out)
    assert (
        told["running"] >= 1
        and not (out / "a_output.mp4").exists()
        and told["total"] == 2
        and told["done"] + told["running"] + told["pending"] == 2
    )
    assert told["jobs"][0]["state"] == "running"
    kill_driver(process)
    before = tree(given)
    told = status(out)
    assert (told["running"], told["pending"] + told["done"], told["failed"]) == (0, 2, 0)
    assert run_batch("given", "-o", "out", cwd=tmp_path, code=CLOCK_BACK + dying("before"), PATH=path).code == -signal.SIGKILL
    made = (out / "a_output.mp4").stat()
    (out / ".a_output.mp4.heatreel").mkdir(exist_ok=True)  # as it is left where the kill comes before its removal
    encoded = encoders.read_text().count("x")
    assert 19 <= encoded <= 20, "at most one segment is rendered again"
    assert states(out)["a.mp4"] == "running" and names(out / ".heatreel" / "receipts") != []
    ended = run_batch("given", "-o", "out", "--json", cwd=tmp_path, code=CLOCK_BACK + dying("after"), PATH=path)
    assert ended.code == -signal.SIGKILL and states(out)["a.mp4"] == "done"
    ended = run_batch("given", "-o", "out", "--json", cwd=tmp_path, code=CLOCK_BACK, PATH=path)
    assert ended.code == 0, ended.err
    assert encoders.read_text().count("x") == encoded and (out / "a_output.mp4").stat() == made
    check_order(out)
    check_whole(out, given)
    assert sql(out, "SELECT sum(errors), sum(crashes) FROM job") == [(0, 0)] and tree(given) == before


@pytest.mark.slow
def test_a_signal_drains_and_a_second_one_stops(tmp_path: Path) -> None:
    """SIGTERM lets the segment come to its end; an ignored SIGINT is no signal; the second SIGINT ends it at once."""
    given, out = tmp_path / "given", tmp_path / "out"
    clip(given / "a.mp4", 60)
    clip(given / "b.mp4", 60)
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = begin("given", "-o", "out", cwd=tmp_path, code=ignored)
    until(lambda: segments_in(out) >= 1, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    ended = end(process, seconds=20)
    assert ended.code == 143 and "the same command goes on from there" in ended.last and "stopping: " in ended.err, ended.err
    ended_how = dict(sql(out, "SELECT how, count(*) FROM attempt GROUP BY how"))
    told = status(out)
    # The second may have had its turn at the network while the first was painted; then it stops behind a segment, too.
    assert ended_how.get("stopped", 0) >= 1 and told["done"] <= 1 and segments_in(out) < 2 * 6
    assert (told["running"], told["failed"], told["pending"]) == (0, 0, 2 - told["done"])
    kept = segments_in(out)
    process = begin("given", "-o", "out", cwd=tmp_path)
    until(lambda: segments_in(out) > kept or (out / "a_output.mp4").exists(), process)
    process.send_signal(signal.SIGINT)
    until(lambda: process.send_signal(signal.SIGINT) or process.poll() is not None or time.sleep(0.05))
    assert end(process, seconds=5).code == 130
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert ended.code == 0
    check_order(out)
    check_whole(out, given)
    assert sql(out, "SELECT sum(errors), sum(crashes) FROM job") == [(0, 0)]


# ------------------------------------------------------------------------------------------------ killed workers, bad children


@pytest.mark.slow
def test_poison_takes_no_neighbour_with_it(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One input kills its worker each time, one its ffmpeg; one finds no encoder, at one the decoder stands still. Others are done."""
    given, out, bin_folder = tmp_path / "given", tmp_path / "out", tmp_path_factory.mktemp("bin")
    for name in ("a", "poison", "b", "killed", "refused", "still", "z"):
        clip(given / f"{name}.mp4", 20)
    for number in range(3):
        picture(given / f"p{number}.png", number)
    cases = {
        "poison": "kill -9 $PPID; exit 1",
        "killed": "kill -9 $$",
        "refused": "echo no licence for this decoder >&2; exit 1",
        "still": "kill -STOP $$",
    }
    does = "".join(f'*"{name}.mp4"*pipe:1*) {what};; ' for name, what in cases.items())
    path = wrapper(bin_folder, "never", does=f"true;; {does} *never*) true")
    late = everywhere(tmp_path_factory.mktemp("late") / "site", SOON_STALLED)
    ended = run_batch("given", "-o", "out", cwd=tmp_path, timings=AT_ONCE, PATH=path, PYTHONPATH=late, seconds=240)
    assert ended.code == 1, ended.err
    standing = states(out)
    assert {name for name, state in standing.items() if state == "failed"} == {f"{name}.mp4" for name in cases}
    assert set(standing.values()) == {"done", "failed"} and len(standing) == 10
    charged = {
        os.fsdecode(name): (errors, crashes)
        for name, errors, crashes in sql(out, "SELECT relative, errors, crashes FROM job JOIN source ON source.id = source")
    }
    assert charged.pop("poison.mp4") == (0, 3)
    assert [charged[f"{name}.mp4"][0] for name in ("killed", "refused", "still")] == [3] * 3
    assert all(crashes <= 1 for _, crashes in charged.values()), charged  # what waited at the same worker, once
    assert sum(errors for errors, _ in charged.values()) == 9
    last = ended.err.splitlines()[-4:]
    told = {"poison": "killed by signal 9", "killed": "was killed", "refused": "no licence for this decoder", "still": "did nothing for 2"}
    for name, why in told.items():
        assert [line for line in last if f"{name}.mp4" in line and why in line and line.startswith("error: ")], ended.err
    [log] = (out / ".heatreel" / "logs").iterdir()
    assert "    no licence for this decoder" in log.read_text() and log.read_text().count("to be tried again") >= 8
    check_order(out)
    check_whole(out, given)
    ended = run_batch("given", "-o", "out", "--retry-failed", cwd=tmp_path)
    assert ended.code == 0 and set(states(out).values()) == {"done"}
    check_order(out)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    picture(given / "p.png")
    process = begin("given", "-o", "out", cwd=tmp_path)
    [pid] = until(lambda: workers_of(process.pid), process)
    os.kill(pid, signal.SIGKILL)
    [other] = until(lambda: set(workers_of(process.pid)) - {pid}, process)
    assert other != pid
    ended = end(process)
    assert ended.code == 0 and states(out) == {"p.png": "done"}, ended.err
    check_order(out)


@pytest.mark.slow
def test_workers_that_never_come_up(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It ends with a reason, and the archive is as it was: nothing is charged."""
    given, out = tmp_path / "given", tmp_path / "out"
    picture(given / "p.png")
    site = everywhere(tmp_path_factory.mktemp("late") / "site", "import sys, os\nif 'spawn_main' in str(sys.orig_argv): os._exit(3)\n")
    ended = run_batch("given", "-o", "out", cwd=tmp_path, PYTHONPATH=site)
    assert ended.code == 1 and "the worker died while it loaded its model: it ended with exit code 3" in ended.last
    assert states(out) == {"p.png": "ready"} and sql(out, "SELECT exit_code FROM run") == [(1,)]


# ------------------------------------------------------------------------------------------------ full disks


@pytest.mark.slow
def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """First there is no room for the ledger, then none for a video; each time it says so, and goes on when there is."""
    given, small = tmp_path / "given", tmp_path / "small"
    for number in range(4):
        picture(given / f"p{number}.png", number)
    clip(given / "v.mp4", 60)
    with small_disk(small, 40 << 20):
        out, filler = small / "out", small / "filler"
        process = begin("given", "-o", "small/out", "--crf", "0", cwd=tmp_path)
        until(lambda: soon(out, "SELECT * FROM job"), process)
        fill(filler, leave_bytes=0)
        until(lambda: said(out, "paused, for the disk is full"), process)
        time.sleep(3)
        assert process.poll() is None and not said(out, "there is room again")
        free(filler, 700_000)
        until(lambda: said(out, "there is room again"), process)
        until(lambda: said(out, "paused, for the disk is full") > 1, process)
        assert process.poll() is None and sql(out, "PRAGMA integrity_check") == [("ok",)]
        filler.unlink()
        ended = end(process)
        assert ended.code == 0 and set(states(out).values()) == {"done"}, ended.err
        assert ended.err.count("make room, and it goes on by itself") >= 2
        check_order(out)
        check_whole(out, given)
        assert sql(out, "SELECT sum(errors), sum(crashes) FROM job") == [(0, 0)]


def fill(filler: Path, *, leave_bytes: int) -> None:
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    free(filler, leave_bytes)


def free(filler: Path, count: int) -> None:
    os.truncate(filler, filler.stat().st_size - count)


def said(out: Path, text: str) -> int:
    return sum(log.read_text().count(text) for log in (out / ".heatreel" / "logs").iterdir())


@pytest.mark.slow
def test_too_little_room_to_begin(tmp_path: Path) -> None:
    picture(tmp_path / "given" / "p.png")
    with small_disk(tmp_path / "small", 8 << 20):
        ended = run_batch("given", "-o", "small/out", cwd=tmp_path)
        assert ended.code == 1 and "small/out: only " in ended.last and "MB are free; make room" in ended.last


# ------------------------------------------------------------------------------------------------ sources that change


@pytest.mark.slow
def test_sources_that_change_meanwhile(tmp_path: Path) -> None:
    """One is replaced while it is read, one while it waits; one is written on, one is deleted. No output is of two files."""
    given, out = tmp_path / "given", tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        clip(given / f"{name}.mp4", 60)
    clip(tmp_path / "other.mp4", 35)
    process = begin("given", "-o", "out", "--json", cwd=tmp_path, timings=AT_ONCE)
    until(lambda: segments_in(out) >= 2, process)
    shutil.copy(tmp_path / "other.mp4", tmp_path / "new.mp4")
    (tmp_path / "new.mp4").replace(given / "a.mp4")
    shutil.copy(tmp_path / "other.mp4", given / "c.mp4")  # in its place, while it waits
    (given / "d.mp4").unlink()
    ended = end(process)
    assert ended.code == 1 and "d.mp4: cannot be read any more" in ended.last, ended.err
    assert [frames_in(out / f"{name}_output.mp4") for name in "abc"] == [35, 60, 35]
    assert sql(out, "SELECT sum(errors), sum(crashes) FROM job WHERE state = 'done'") == [(0, 0)]
    assert said(out, "a.mp4: was changed while it was read") == 1
    assert {json.loads(line)["input"]: json.loads(line)["frames"] for line in ended.out.splitlines()} == {
        str(given / f"{name}.mp4"): frames for name, frames in zip("abcd", (35, 60, 35, 0), strict=True)
    }
    check_order(out)
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert ended.code == 0 and "1 are not there any more" in ended.err and states(out)["d.mp4"] == "missing"
    assert status(out)["missing"] == 1
    check_order(out)


def test_a_picture_that_changes_while_it_is_read(tmp_path: Path, open_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "p.png")
    real = image_job.images.read_partial_image

    def read(given: Path, **more: Any) -> Any:
        read_picture = real(given, **more)
        os.utime(given, ns=(5, 5))
        return read_picture

    options = Options()
    job = plan_task(path, kind="image", output=tmp_path / "out.png", maps=None, options=options)
    info = path.stat()
    found = Found(path=path, relative=b"p.png", kind="image", size_bytes=info.st_size, mtime_ns=info.st_mtime_ns)
    monkeypatch.setattr(image_job.images, "read_partial_image", read)
    with pytest.raises(ChangedError, match=r"p\.png: changed while it was read"):
        image_job.visualize_image(job, open_session())
    assert names(tmp_path) == ["p.png"]
    order = messages.Task(token="t", found=found, output=tmp_path / "out.png", overwrite=True)
    monkeypatch.setattr(image_job.images, "read_partial_image", real)
    path.write_bytes(path.read_bytes()[:100])  # it is being written, and for the moment damaged
    made = task_worker.Worker.__new__(task_worker.Worker)
    made.session, made._settings = open_session(), ""
    monkeypatch.setattr(task_worker, "_check_as_found", skip_first(task_worker._check_as_found))
    assert made.do(order, progress=lambda _: None, stopping=lambda: False).how == "changed"


def skip_first(real: Any) -> Any:
    calls = iter([None])
    return lambda found: next(calls, found) and real(found)


# ------------------------------------------------------------------------------------------------ several runs


@pytest.mark.slow
def test_two_runs_share_the_work_and_a_third_wants_something_else(tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    for number in range(4):
        clip(given / f"v{number}.mp4", 20 if number else 200)
    processes = [begin("given", "-o", "out", "--json", cwd=tmp_path) for _ in range(2)]
    until(lambda: len(soon(out, "SELECT * FROM run")) == 2, processes[0])
    other = run_batch("given", "-o", "out", "--method", "hirescam", cwd=tmp_path)
    assert other.code == 1 and "another run with other options is at work on it (process " in other.last
    assert any(f"process {process.pid} on" in other.last for process in processes)
    ended = [end(process) for process in processes]
    assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
    told = [json.loads(line)["input"] for each in ended for line in each.out.splitlines()]
    assert sorted(told) == [str(given / f"v{number}.mp4") for number in range(4)]
    assert len(sql(out, "SELECT DISTINCT run FROM attempt WHERE how = 'done'")) == 2
    check_order(out)
    check_whole(out, given)
    # A run on another host, in a container that is gone: nobody sees it die, but it gives no sign of life.
    with contextlib.closing(sqlite3.connect(ledger_of(out), isolation_level=None)) as db:
        db.execute("INSERT INTO run SELECT 99, settings, '', '', 'gone', '', 1, 1, 7, '', NULL, NULL FROM run LIMIT 1")
    timings = messages.Timings(silence_seconds=3.0)
    waited = run_batch("given", "-o", "out", "--method", "hirescam", "--limit", "1", cwd=tmp_path, timings=timings)
    assert waited.code == 0 and "waiting up to 3 s for a sign of life" in waited.err and "1 done in" in waited.err
    assert "3 are left" in waited.err


@pytest.mark.slow
def test_shards(tmp_path: Path) -> None:
    """Two at once in one output, killed where a video has its name and no record: the receipts of one are not the other's."""
    given, out = tmp_path / "given", tmp_path / "out"
    for number in range(8):
        picture(given / f"p{number}.png", number)
        clip(given / f"v{number}.mp4", 10)
    shards = [begin("given", "-o", "out", "--shard", f"{k}/2", cwd=tmp_path, code=dying("before")) for k in (1, 2)]
    assert [end(shard).code for shard in shards] == [-signal.SIGKILL] * 2
    # A worker holds two videos, and its second may have come as far by then.
    receipts = [name for name in names(out / ".heatreel" / "receipts") if not name.startswith(".")]  # one may have been half written
    assert {name[: len("ledger-1")] for name in receipts} == {"ledger-1", "ledger-2"}, receipts
    killed = {path: path.stat() for path in out.glob("*.mp4")}
    assert 2 <= len(killed) <= len(receipts) <= 4
    shards = [begin("given", "-o", "out", "--shard", f"{k}/2", "--json", cwd=tmp_path) for k in (1, 2)]
    ended = [end(shard) for shard in shards]
    assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
    assert {path: path.stat() for path in killed} == killed
    told = status(out)
    assert (told["total"], told["done"], len(told["jobs"])) == (16, 16, 16)
    assert {job["input"] for job in told["jobs"]} == {str(path) for path in given.iterdir()}
    ledgers = [out / ".heatreel" / f"ledger-{k}-of-2.sqlite" for k in (1, 2)]
    mine, theirs = ({name for (name,) in sql(out, "SELECT relative FROM source", ledger=ledger)} for ledger in ledgers)
    assert not mine & theirs and len(mine | theirs) == 16 and mine and theirs
    check_order(out, *ledgers)
    whole = run_batch("given", "-o", "out", cwd=tmp_path)
    assert whole.code == 2 and "its work is divided by 2" in whole.last


# ------------------------------------------------------------------------------------------------ what the user wants


@pytest.mark.slow
def test_when_the_first_twenty_fail_alike(tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    for number in range(25):
        broken(given / f"b{number}.jpg")
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert ended.code == 1 and ended.last.startswith("error: the first 20 inputs have all failed alike"), ended.err
    failed = list(states(out).values()).count("failed")
    assert failed in (20, 21) and list(states(out).values()).count("ready") == 25 - failed  # one more was at its worker
    for number in range(0, 25, 5):
        picture(given / f"b{number}.jpg", number)
    ended = run_batch("given", "-o", "out", cwd=tmp_path)  # what was repaired is taken up without being asked for
    assert ended.code == 1 and sorted(states(out).values()) == ["done"] * 5 + ["failed"] * 20


@pytest.mark.slow
def test_a_choice_of_inputs(tmp_path: Path) -> None:
    """--include, --exclude, --max-size, --limit, lists on stdin: what is not chosen is left as it was, and is not missing."""
    given, out = tmp_path / "given", tmp_path / "out"
    for number in range(6):
        picture(given / f"p{number}.png", number)
    (given / "large.png").write_bytes((given / "p0.png").read_bytes() + bytes(200_000))
    some = ["--include", "p*", "--exclude", "p5.png"]
    ended = run_batch("given", "-o", "out", *some, "--limit", "2", cwd=tmp_path)
    assert ended.code == 0 and "2 done in" in ended.err and "3 are left" in ended.err
    assert sorted(states(out).values()) == ["done"] * 2 + ["ready"] * 3 and "large.png" not in states(out)
    ended = run_batch("given", "-o", "out", "--max-size", "100k", "--limit", "9", cwd=tmp_path)
    assert ended.code == 0 and sorted(states(out).values()) == ["done"] * 6 and "larger" in ended.err, ended.err
    for name in ("p1_output.png", "p2_output.png", "p3_output.png"):
        (out / name).unlink()
    os.utime(given / "p4.png", (1, 1))
    ended = run_batch("given", "-o", "out", "--max-size", "100k", "--limit", "1", cwd=tmp_path)  # a limit on what is done again, too
    assert ended.code == 0 and "1 done in" in ended.err and "3 are left" in ended.err, ended.err
    listed = f"{given}/p1.png\n{given}/p2.png\n{given}/p3.png\n{given}/p4.png\n"
    process = subprocess.Popen(
        ["bash", "-c", f"printf '{listed}' | {os.sys.executable} -m cli batch {' '.join(QUICK)} @- -o out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ended = end(process)
    assert ended.code == 0 and "3 done in" in ended.err and len(list(out.glob("*.png"))) == 6, ended.err
    check_order_of_content(out)


def check_order_of_content(out: Path) -> None:
    hidden = [path for path in out.rglob(".*") if path != out / ".heatreel"]
    assert hidden == [] and list((out / ".heatreel" / "receipts").iterdir()) == []
    assert sql(out, "SELECT * FROM attempt WHERE ended_at IS NULL") == []


@pytest.mark.slow
def test_what_is_done_again(tmp_path: Path) -> None:
    """A deleted output, a changed source, other options; a foreign file never, unless --overwrite says so."""
    given, out = tmp_path / "given", tmp_path / "out"
    clip(given / "v.mp4", 10)
    clip(given / "long.mp4", 201)  # in parts
    picture(given / "p.png", 1)
    broken(given / "bad.png")
    ended = run_batch("given", "-o", "out", "--predictions", "csv", cwd=tmp_path)
    assert ended.code == 1 and sorted(p.name for p in outputs(out)) == [
        "index.html", "long_output.csv", "long_output.html", "long_output.mp4", "p_output.png",
        "v_output.csv", "v_output.html", "v_output.mp4",
    ]  # fmt: skip
    before = {path.name: path.stat().st_ino for path in outputs(out)}
    # Behind a failure somebody puts a file where the output would be.
    (out / "bad_output.png").write_text("somebody's")
    picture(given / "bad.png", 2)
    (out / "p_output.png").unlink()
    clip(given / "v.mp4", 15)
    ended = run_batch("given", "-o", "out", "--predictions", "csv", "--retry-failed", cwd=tmp_path)
    assert ended.code == 1 and "bad_output.png: exists already, and was not made from this archive" in ended.last, ended.err
    assert (out / "bad_output.png").read_text() == "somebody's" and frames_in(out / "v_output.mp4") == 15
    assert (out / "p_output.png").exists() and (out / "v_output.mp4").stat().st_ino != before["v_output.mp4"]
    ended = run_batch("given", "-o", "out", "--predictions", "csv", "--retry-failed", cwd=tmp_path)
    assert ended.code == 1 and (out / "bad_output.png").read_text() == "somebody's"
    assert len((out / "v_output.csv").read_text().splitlines()) == 1 + 15 * 3
    # Other options: all is made anew, and only what was not ours is left.
    old = {path.name: path.read_bytes() for path in outputs(out)}
    dry = run_batch("given", "-o", "out", "--predictions", "jsonl", "--layout", "overlay", "--dry-run", cwd=tmp_path)
    assert dry.err.splitlines()[-1] == "4 changed"
    ended = run_batch("given", "-o", "out", "--predictions", "jsonl", "--layout", "overlay", cwd=tmp_path)
    assert ended.code == 1 and (out / "bad_output.png").read_text() == "somebody's"
    assert all((out / name).read_bytes() != old[name] for name in ("p_output.png", "v_output.mp4", "long_output.mp4"))
    rows = [json.loads(line) for line in (out / "v_output.jsonl").read_text().splitlines()]
    assert len(rows) == 15 * 3 and {row["rank"] for row in rows} == {1, 2, 3}
    told = status(out)
    assert (told["total"], told["done"], told["failed"]) == (4, 3, 1)
    ended = run_batch("given", "-o", "out", "--predictions", "none", "--layout", "overlay", "--overwrite", "--retry-failed", cwd=tmp_path)
    assert ended.code == 0 and (out / "bad_output.png").read_bytes() != b"somebody's", ended.err
    Image.open(out / "bad_output.png").close()
    check_order_of_content(out)


@pytest.mark.slow
def test_what_goes_with_an_output_is_not_replaced_either(tmp_path: Path) -> None:
    """Somebody's table where the predictions would be, and somebody's page: they stay as they are, and the rest is done."""
    given, out = tmp_path / "given", tmp_path / "out"
    clip(given / "v.mp4", 10)
    picture(given / "p.png", 1)
    out.mkdir()
    for name in ("v_output.parquet", "index.html"):
        (out / name).write_text("somebody's")
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert ended.code == 1 and "v_output.parquet: exists already, and was not made from this archive" in ended.last, ended.err
    assert (out / "p_output.png").exists() and not (out / "v_output.mp4").exists()
    assert {(out / name).read_text() for name in ("v_output.parquet", "index.html")} == {"somebody's"}
    assert said(out, "index.html: exists already") == 1
    ended = run_batch("given", "-o", "out", "--overwrite", "--retry-failed", cwd=tmp_path)
    assert ended.code == 0 and frames_in(out / "v_output.mp4") == 10
    assert (out / "v_output.parquet").read_bytes()[:4] == b"PAR1" and "v.mp4" in (out / "index.html").read_text()


@pytest.mark.slow
def test_many_foreign_files_are_told_of_quickly(tmp_path: Path) -> None:
    """Some inputs are done first, so that it does not stop behind twenty."""
    given, out = tmp_path / "given", tmp_path / "out"
    out.mkdir()
    for number in range(60):
        picture(given / f"p{number}.png", number)
        if number >= 10:
            (out / f"p{number}_output.png").write_text("somebody's")
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert ended.code == 1 and ended.err.count("error: ") == 50 and sorted(states(out).values()) == ["done"] * 10 + ["failed"] * 50
    times = [line[:19] for path in (out / ".heatreel" / "logs").iterdir() for line in path.read_text().splitlines() if "failed: " in line]
    first, last = (time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S")) for text in (times[0], times[-1]))
    assert last - first <= 6
    assert sum(path.read_bytes() == b"somebody's" for path in out.glob("*.png")) == 50


# ------------------------------------------------------------------------------------------------ at length


@pytest.mark.slow
def test_two_hundred_small_files_twice(tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    for number in range(170):
        picture(given / f"{number % 7}" / f"p{number}.{('png', 'jpg', 'webp', 'bmp')[number % 4]}", number)
    short = clip(tmp_path / "short.mp4", 6)
    (given / "clips").mkdir()
    for number in range(20):
        shutil.copy(short, given / "clips" / f"v{number}.mp4")
    for number in range(10):
        broken(given / f"{number % 3}" / f"bad{number}.jpg")
    ended = run_batch("given", "-o", "out", cwd=tmp_path, seconds=300)
    assert ended.code == 1 and ended.err.count("error: ") == 10 and "190 done in" in ended.err
    assert sorted(states(out).values()) == ["done"] * 190 + ["failed"] * 10
    check_order(out)
    check_whole(out, given)
    started = time.monotonic()
    ended = run_batch("given", "-o", "out", cwd=tmp_path)
    assert time.monotonic() - started < 5 and ended.code == 1 and "nothing to do, 190 were done before" in ended.err
    assert sql(out, "SELECT count(*) FROM attempt") == [(200,)]


def progress(out: Path) -> int:
    """Grows with every segment and every input that is done."""
    return len(soon(out, "SELECT id FROM attempt WHERE how = 'done'")) + segments_in(out)


def kill_at_random(victim: subprocess.Popen[str], chance: random.Random) -> bool:
    """The driver, with or without its workers; False if it has ended by itself."""
    if victim.poll() is not None:
        victim.communicate()
        return False
    at_work = workers_of(victim.pid) if chance.random() < 0.5 else []
    for pid in [victim.pid, *at_work]:  # were a worker the first, its driver might still charge the job for it
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    victim.communicate()
    return True


@pytest.mark.slow
def test_twenty_kills_at_random(tmp_path: Path) -> None:
    """Two drivers at once over sixty items, killed one after the other as soon as something is done, and started again."""
    seed = int(os.environ.get("BATCH_SEED") or time.time())
    chance, given, out = random.Random(seed), tmp_path / "given", tmp_path / "out"
    for number in range(34):
        picture(given / f"{number % 5}" / f"p{number}.png", number)
    for number in range(25):
        clip(given / "clips" / f"v{number}.mp4", 30 + number)
    clip(given / "long.mp4", 450)
    kills = 0
    for _ in range(13):
        before = progress(out)
        drivers = [begin("given", "-o", "out", cwd=tmp_path) for _ in range(2)]
        with contextlib.suppress(AssertionError):  # both may have ended
            until(lambda before=before: progress(out) > before, drivers[0], seconds=30)
        for driver in chance.sample(drivers, 2):
            time.sleep(chance.uniform(0, 0.3))
            kills += kill_at_random(driver, chance)
        if kills >= 24:
            break
    attempts = soon(out, "SELECT how, count(*) FROM attempt GROUP BY how")
    ended = run_batch("given", "-o", "out", cwd=tmp_path, seconds=300)
    told = f"seed {seed}, {kills} kills, {attempts}"
    print(told)
    assert ended.code == 0 and list(states(out).values()) == ["done"] * 60, (told, ended.err)
    check_order(out)
    check_whole(out, given)
    assert sql(out, "SELECT sum(errors), sum(crashes) FROM job") == [(0, 0)], told
    assert sql(out, "SELECT count(*) FROM attempt WHERE how IN ('error', 'crash')") == [(0,)], told
    assert kills >= 20, told


@pytest.mark.process
def test_the_driver_loads_no_tensorflow() -> None:
    """Faces are lazy, so that the linter of imports sees only what a module names itself: here it is loaded."""
    code = (
        "import importlib, pkgutil, sys, pipeline.batch as batch\n"
        "names = [each.name for each in pkgutil.walk_packages(batch.__path__, 'pipeline.batch.')]\n"
        "for name in names:\n"
        "    if name.split('.')[-1] not in ('task_worker', 'ray_actor'): importlib.import_module(name)\n"
        "print(len(names), 'tensorflow' in sys.modules)\n"
    )
    count, loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(count) > 30 and loaded == "False"
