"""Damaged media by the hundred (fuzzing.py): no traceback, no hang, no gigabytes, nothing left behind, and what is said is what is there.

`HEATREEL_FUZZ_SEEDS=5000:6000 pytest -m slow tests/test_fuzz.py` runs others. A failure names its cases; see fuzzing.py to make one again.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support import fuzzing

from pipeline.media import frame_reader, muxer, probing

pytestmark = pytest.mark.media

ROOT = Path(__file__).parents[2]
Line = dict[str, Any]

SECONDS_TO_START = 120.0
GRACE_SECONDS = 30.0  # behind the worker's own watchdog, for one that is stuck in native code
# The first six have found faults; the others are a kind of file each.
FIXED = (316, 2329, 2440, 2624, 3051, 20892, 9, 28, 36, 44, 52, 58)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    fuzzing.make(folder)
    return folder


def fuzz(clips: Path, work: Path, seeds: Sequence[int]) -> list[Line]:
    """What each case came to. A worker that dies, or has to be killed, costs the case that it was at, and another goes on behind it."""
    done: list[Line] = []
    while left := seeds[len(done) :]:
        lines = list(_work(clips, work / f"from{len(done)}", left))
        results = [line for line in lines if "problems" in line]
        done += results
        if len(results) < len(left):
            begun = [line for line in lines if "case" in line]
            assert begun, f"the worker does not start: {lines}"
            problem = f"the worker died: {lines[-1].get('ended', '')}"
            done.append({"seed": left[len(results)], "problems": [problem], "seconds": 0.0, "peak_mib": 0, "case": begun[-1]["case"]})
    return done


def _work(clips: Path, work: Path, seeds: Sequence[int]) -> Iterator[Line]:
    """The lines that a worker prints, and a last one with how it ended where that was not well."""
    work.mkdir(parents=True)
    command = [sys.executable, "-m", "support.fuzzing", str(clips), str(work), *map(str, seeds)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with (work / "stderr").open("w+b") as stderr:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment, start_new_session=True)
        try:
            yield from _lines_of(worker)
            code: int | str = worker.wait(timeout=GRACE_SECONDS)
        except (queue.Empty, subprocess.TimeoutExpired):
            code = "killed, as it hung"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        if code != 0:
            yield {"ended": f"{code}\n{(work / 'stderr').read_text(errors='replace')[-6000:]}"}


def _lines_of(worker: subprocess.Popen[bytes]) -> Iterator[Line]:
    """Raises queue.Empty when none comes for too long."""
    waiting: queue.Queue[bytes] = queue.Queue()
    assert worker.stdout is not None
    pipe = worker.stdout

    def read() -> None:
        with pipe:
            for line in pipe:
                waiting.put(line)
        waiting.put(b"")

    threading.Thread(target=read, daemon=True).start()
    patience = SECONDS_TO_START
    while line := waiting.get(timeout=patience):
        yield {"seed": None, **json.loads(line)}
        patience = fuzzing.SECONDS_A_CASE + GRACE_SECONDS


def check(clips: Path, results: Sequence[Line]) -> None:
    wrong = [line for line in results if line["problems"]]
    told = [f"{fuzzing.case(line['seed'], clips)}:\n  " + "\n  ".join(line["problems"]) for line in wrong]
    peak, longest = max(line["peak_mib"] for line in results), max(line["seconds"] for line in results)
    print(f"{len(results)} cases, {sum(line['seconds'] for line in results):.0f} s, the longest {longest} s, at most {peak} MiB")
    assert not wrong, f"{len(wrong)} of {len(results)} cases:\n" + "\n".join(told)


@pytest.mark.slow
def test_damaged_files(clips: Path, tmp_path: Path) -> None:
    check(clips, fuzz(clips, tmp_path, FIXED))


@pytest.mark.slow
def test_hundreds_of_damaged_files(clips: Path, tmp_path: Path) -> None:
    first, last = map(int, os.environ.get("HEATREEL_FUZZ_SEEDS", "1000:1320").split(":"))
    check(clips, fuzz(clips, tmp_path, range(first, last)))


# ------------------------------------------------------------------------------------------------ faults that were found


def with_time(clip: Path, target: Path, number: int, milliseconds: int) -> Path:
    """A Matroska file with one block's time changed: 16 bits behind the number of the track."""
    with av.open(str(clip)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
    content = bytearray(clip.read_bytes())
    assert packet.pos is not None and packet.pts is not None
    at = content.index(b"\x81" + struct.pack(">h", packet.pts), packet.pos) + 1
    content[at : at + 2] = struct.pack(">h", packet.pts + milliseconds)
    target.write_bytes(content)
    return target


def test_one_time_far_ahead_does_not_squeeze_what_follows(clips: Path, tmp_path: Path) -> None:
    damaged = probing.probe(with_time(clips / "gray10.mkv", tmp_path / "ahead.mkv", 8, 20_000))
    with frame_reader.read_frames(damaged) as frames:
        times = [frame.time_seconds for frame in frames]
        assert frames.leaps == 1
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=1e-3)


def test_a_leap_of_days_is_closed(clips: Path, tmp_path: Path) -> None:
    late = 3 * 24 * 3600 * 1000
    with av.open(str(clips / "duplicate.mkv")) as given, av.open(str(tmp_path / "leap.mkv"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.pts is not None:
                packet.pts = packet.dts = packet.pts + late * (number >= 10)
                packet.stream = stream
                made.mux(packet)
    with frame_reader.read_frames(probing.probe(tmp_path / "leap.mkv")) as frames:
        times = [frame.time_seconds for frame in frames]
        assert frames.leaps == 1 and len(times) == 20
    np.testing.assert_allclose(np.diff(times)[8:], 1 / 25, atol=1e-3)


def test_a_file_of_which_nothing_is_taken_stays_an_input(clips: Path, tmp_path: Path) -> None:
    """Without sound and subtitles its tags and chapters are still to be had."""
    source = probing.probe(clips / "tracks.mkv")
    options, streams = muxer._take_streams(
        muxer.SourceTracks(source=source, audio="none", subtitles=False), source, tmp_path / "out.mp4", Fraction(0), Fraction(0)
    )
    assert streams and "an" in options
