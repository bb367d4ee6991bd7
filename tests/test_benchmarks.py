"""The benchmarks: what they count, and that they run. How long anything takes is not asserted."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("harness_of_benchmarks", BENCHMARKS / "harness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(names: str, changes: str, result: Path) -> dict[str, Any]:
    """What `measure.py` writes in a process of its own, where `changes` have made its inputs small; and `given`, what they noted."""
    code = f"import sys, json; sys.path.insert(0, {str(BENCHMARKS)!r}); import measure, images; given = []\n{changes}\nmeasure.main()"
    command = [sys.executable, "-c", code + "\nprint(json.dumps(given))", *names.split(), "--repeat", "1", "--json", str(result)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(result.read_text())
    return {**found, "given": json.loads(ended.stdout.splitlines()[-1])}


def test_a_ratio_is_that_of_one_round(harness: ModuleType) -> None:
    assert harness.ratios([2, 4, 9], [1, 4, 3]) == {"median": 2, "min": 1, "max": 3}  # and not 4 / 3, that of the medians
    assert harness.middle([harness.Usage(1, 9), harness.Usage(3, 7), harness.Usage(2, 8)]) == (2, 8, 0, 0)
    assert harness.Usage(5, 4, 30, 40).beyond(harness.Usage(2, 3)) == (3, 1, 0, 0)
    row = {"part": "a", "wall_s": {"median": 1.2345, "min": 1.0, "max": 123.4}, "same": {"median": 2.0, "min": 2.0, "max": 2.0}}
    assert harness.markdown([row, {"part": "b", "same": None}]).splitlines() == [
        "| part | wall_s | same |",
        "| --- | --- | --- |",
        "| a | 1.23 (1 to 123) | 2 |",
        "| b |  | unknown |",
    ]


def test_works_take_turns_in_changing_order(harness: ModuleType) -> None:
    calls: list[str] = []
    works = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    taken = harness.alternating(works, most=3, least=1, budget_seconds=60)
    assert "".join(calls) == "cbaabccbaabccba" and {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3, "c": 3}
    calls.clear()
    assert [len(seconds) for seconds in harness.alternating(works, most=9, least=2, budget_seconds=0).values()] == [2, 2, 2]
    assert len(calls) == 3 * (2 + 2)  # two rounds to warm up


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_that_of_the_process_and_of_all_its_children(harness: ModuleType) -> None:
    child = "b = b'1' * (48 << 20); import time; time.sleep(1)"
    parent = f"b = b'1' * (96 << 20); import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    usage = harness.run(sys.executable, "-c", parent, watch_memory=True, memory_bytes=1 << 20)
    bare = harness.run(sys.executable, "-c", "import time, subprocess; time.sleep(0.5)", watch_memory=True, memory_bytes=1 << 20)
    own, tree = (peak / 2**20 for peak in usage[2:])
    interpreter = bare.own_peak_bytes / 2**20
    assert 2 < interpreter < 60
    assert 96 < own - interpreter + 8 < 112  # the child's memory is not the parent's
    assert 48 < tree - own < 48 + interpreter + 8


@pytest.mark.process
def test_a_command_that_fails_is_not_measured(harness: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        harness.run(sys.executable, "-c", "import sys; sys.exit('no such thing')", memory_bytes=1 << 20)


@pytest.mark.process
def test_a_benchmark_that_is_not_there_is_named() -> None:
    ended = subprocess.run([sys.executable, BENCHMARKS / "measure.py", "speed"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "no benchmark speed; there are cost, maps, forward" in ended.stderr


@pytest.mark.slow
def test_the_cost_of_a_video_is_that_of_all_its_frames_but_the_first(tmp_path: Path) -> None:
    """The network is given as many pictures as the command; whole and floor are what their parts add up to."""
    changes = """
measure.SIZES = {"tiny": (64, 48, 10)}
made, prepared = measure.embedded, measure._prepared
def counting():
    networks = made()
    return networks._replace(forward=lambda batch: (given.append(list(batch.shape)), networks.forward(batch))[1])
def looked_at(*arguments):
    clip = prepared(*arguments)
    given.append([clip.frames, *clip.size])
    return clip
measure.embedded, measure._prepared = counting, looked_at
"""
    found = measured("cost", changes, tmp_path / "cost.json")
    clip, *batches = found["given"]
    assert clip == [10, 64, 48]
    # Twice four and two, after four, two and one to warm up; then the one that is taken off.
    assert [batch[0] for batch in batches] == [4, 2, 1, 4, 4, 2, 1] and {tuple(batch[1:]) for batch in batches} == {(256, 352, 3)}
    rows = {row["part"]: row for row in found["results"]["cost"]}
    cpu, wall = ({part: row[field]["median"] for part, row in rows.items()} for field in ("cpu_s", "wall_s"))
    parts = [cpu[part] for part in ("decode", "network", "encode")]
    assert cpu["floor"] == pytest.approx(sum(parts))
    assert wall["floor"] == pytest.approx(max(sum(parts) / found["cpus"], *(wall[part] for part in ("decode", "network", "encode"))))
    for each in (cpu, wall):
        assert each["whole/floor"] == pytest.approx(each["whole"] / each["floor"])
    assert rows["network"]["cpu_ms_a_frame"] == pytest.approx(100 * cpu["network"])


@pytest.mark.slow
def test_photographs_are_counted_beside_the_forward_pass_of_as_many(tmp_path: Path) -> None:
    changes = """
images.PHOTOGRAPHS = 37
made, files = images.embedded, images._images
def counting():
    networks = made()
    return networks._replace(forward=lambda batch: (given.append(len(batch)), networks.forward(batch))[1])
def listed(folder, output):
    usage = files(folder, output)
    given.append(f"{len(list(folder.iterdir()))} to {len(list(output.iterdir()))}")
    return usage
images.embedded, images._images = counting, listed
"""
    found = measured("photographs startup", changes, tmp_path / "photographs.json")
    assert found["given"] == [32, 5, "1 to 1", "38 to 38", 32, 5]
    rows = {row["part"]: row for row in found["results"]["photographs"]}
    whole, forward, decode = (
        row["wall_s"]["median"] for name, row in rows.items() if name.startswith(("whole beyond", "forward alone", "decode alone"))
    )
    assert rows["whole/forward (rates)"]["wall_s"]["median"] == pytest.approx(forward / whole)
    assert rows["whole/forward, decode aside"]["wall_s"]["median"] == pytest.approx(forward / (whole - decode))
    starts = {row["command"]: row for row in found["results"]["startup"]}
    assert list(starts) == ["import tensorflow", "visualize image", "visualize --help"]
    assert starts["import tensorflow"]["wall/import"] == {"median": 1, "min": 1, "max": 1}


@pytest.mark.slow
def test_a_map_benchmark_compares_the_same_pictures(tmp_path: Path) -> None:
    changes = """
made = measure.embedded
def counting():
    networks = made()
    def counted(name):
        call = getattr(networks, name)
        return lambda batch: (given.append([name, *batch.shape]), call(batch))[1]
    return networks._replace(explain=counted("explain"), forward=counted("forward"))
measure.embedded = counting
measure.of_zoo = lambda name: counting()
measure.SQUARE = (64, 64)
"""
    found = measured("maps", changes, tmp_path / "maps.json")
    calls = found["given"]
    explained, passed = ([call[1:] for call in calls if call[0] == name] for name in ("explain", "forward"))
    assert explained == passed and [32, 64, 64, 3] in passed
    for row in found["results"]["maps"]:
        low, high = row["explain/forward"]["min"], row["explain/forward"]["max"]
        assert low <= row["explain/forward"]["median"] <= high and row["calls"] >= 2
        assert row["explain_img/s"] > 0 and row["forward_img/s"] > 0
