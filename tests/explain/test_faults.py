"""What breaks on the way: kills, signals, full disks, dead children, changed sources. The truth is told, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import clips
from support.commands import DECODER, ENCODER, ROOT, Ended, call, end, names, run, small_disk, start, until, wrapper

from pipeline.errors import InputError, ToolError
from pipeline.explain import job_planning, model_session, segment_journal, video_job
from pipeline.media import ffmpeg_process
from pipeline.options import Options
from pipeline.records import Progress

pytestmark = [pytest.mark.process, pytest.mark.media]

Open = Callable[..., model_session.Session]

FRAMES = 120
QUICK = ["--segment-seconds", "0.4", "--preset", "ultrafast", "--every", "5", "--smooth", "0.5"]
QUICKLY: dict[str, Any] = {"segment_seconds": 0.4, "preset": "ultrafast", "every": 5, "smooth": 0.5}
DATA = ["--save-maps", "m.npz", "--predictions", "p.csv"]


# ------------------------------------------------------------------------------------------------ tools


def video(*arguments: object, cwd: Path, code: str = "", **environment: str) -> Ended:
    return run("video", *QUICK, *arguments, cwd=cwd, code=code, **environment)


def work(output: Path) -> Path:
    return segment_journal.folder_of(output)


def segments(output: Path) -> int:
    """How many the journal names."""
    try:
        return (work(output) / "journal.jsonl").read_bytes().count(b"\n") - 1
    except OSError:
        return 0


def ffmpegs(parent: int, word: str) -> list[int]:
    """The ffmpegs that a process has started, with that word in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == parent and fields[0] != b"Z" and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


# ------------------------------------------------------------------------------------------------ what is undisturbed


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a run leaves, to be compared with that of another: the files' bytes, but of an .npz, which holds dates, its arrays."""

    video: bytes
    maps: dict[str, Any]
    predictions: bytes

    @classmethod
    def of(cls, folder: Path) -> Made:
        with np.load(folder / "m.npz") as saved:
            maps = {key: (value.shape, value.tobytes()) for key, value in saved.items()}
        return cls(video=(folder / "out.mp4").read_bytes(), maps=maps, predictions=(folder / "p.csv").read_bytes())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "v.mp4"
    return clips.write_clip(path, clips.variable(FRAMES), audio_start=Fraction(0), audio_seconds=6)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames") / "frames"
    folder.mkdir()
    for number in range(100):
        Image.fromarray(clips.picture(number)).save(folder / f"{number}.png", compress_level=1)
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> Made:
    folder = source.parent
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=folder)
    assert ended.code == 0 and names(folder) == ["m.npz", "out.mp4", "p.csv", "v.mp4"], ended.err
    return Made.of(folder)


@pytest.fixture
def place(source: Path, tmp_path: Path) -> Path:
    shutil.copy2(source, tmp_path / "v.mp4")
    return tmp_path


def check(folder: Path, undisturbed: Made) -> None:
    assert Made.of(folder) == undisturbed
    assert names(folder) == ["m.npz", "out.mp4", "p.csv", "v.mp4"]


# ------------------------------------------------------------------------------------------------ killed


def killed(process: subprocess.Popen[str], *, only_main: bool) -> str:
    """SIGKILL, to it alone or to its ffmpegs too (which have groups of their own); returns what it had said."""
    victims = [process.pid, *([] if only_main else ffmpegs(process.pid, "ffmpeg"))]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return process.communicate()[1]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_undisturbed(place: Path, undisturbed: Made) -> None:
    chance = random.Random(1)
    for only_main in (False, True):
        process = start("video", *QUICK, "v.mp4", "-o", "out.mp4", *DATA, cwd=place)
        before = segments(place / "out.mp4")
        until(lambda before=before: segments(place / "out.mp4") > before, process)
        time.sleep(chance.uniform(0, 0.3))
        killed(process, only_main=only_main)
        assert not (place / "out.mp4").exists()
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    assert ended.code == 0 and "v.mp4: resuming at 00:00:" in ended.err, ended.err
    check(place, undisturbed)


@pytest.mark.slow
def test_a_killed_folder_of_frames_goes_on(frames: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert video(frames, "-o", "out.mp4", *DATA, cwd=tmp_path / "a").code == 0
    process = start("video", *QUICK, frames, "-o", "out.mp4", *DATA, cwd=tmp_path / "b")
    until(lambda: segments(tmp_path / "b" / "out.mp4") >= 2, process)
    killed(process, only_main=False)
    ended = video(frames, "-o", "out.mp4", *DATA, cwd=tmp_path / "b")
    assert ended.code == 0 and "resuming at" in ended.err
    assert Made.of(tmp_path / "b") == Made.of(tmp_path / "a") and names(tmp_path / "b") == ["m.npz", "out.mp4", "p.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "folder"])
def test_thirty_kills_change_nothing(tmp_path: Path, kind: str) -> None:
    chance, kills, resumed = random.Random(7), 30 if kind == "clip" else 10, 0
    options = ["--segment-seconds", "2", "--preset", "ultrafast", "--every", "3", "--smooth", "0.5", "--overwrite", *DATA]
    if kind == "clip":
        given = tmp_path / "v.mp4"
        steps = [Fraction(3003 + 700 * (n * n % 7), 90000) for n in range(1080)]
        times = [sum(steps[:n], Fraction(0)) for n in range(1080)]
        clips.write_clip(given, times, size=(128, 96), audio_start=Fraction(1, 2), audio_seconds=55)
    else:
        given = tmp_path / "given"
        given.mkdir()
        for number in range(900):
            Image.fromarray(clips.picture(number, 128, 96)).save(given / f"{number}.png", compress_level=1)
    places = [tmp_path / name for name in ("undisturbed", "disturbed")]
    for folder in places:
        folder.mkdir()
    began = time.monotonic()
    assert run("video", given, "-o", "out.mp4", *options, cwd=places[0]).code == 0
    whole = time.monotonic() - began  # a machine's own: by seconds, a fast one ends before most kills, and a slow one has nothing to resume
    undisturbed = Made.of(places[0])
    while kills > 0 or (resumed < 2 and kills > -30):
        process = start("video", given, "-o", "out.mp4", *options, cwd=places[1])
        try:
            process.communicate(timeout=chance.uniform(0.2, 1) * whole)
        except subprocess.TimeoutExpired:
            resumed += "resuming at" in killed(process, only_main=chance.random() < 0.5)
            kills -= 1
        else:
            assert process.returncode == 0
            assert Made.of(places[1]) == undisturbed and names(places[1]) == ["m.npz", "out.mp4", "p.csv"]
    ended = run("video", given, "-o", "out.mp4", *options, cwd=places[1])
    assert ended.code == 0 and resumed >= 2 and Made.of(places[1]) == undisturbed and names(places[1]) == ["m.npz", "out.mp4", "p.csv"]


KILLED_AT = {
    "a segment has its name and no line": (
        "explain.segment_journal._append",
        "'file' in given[1] and given[0].suffix == '.jsonl'",
        "before",
    ),
    "all is joined and nothing has its name": ("media.muxer.mux", "True", "after"),
    "the maps have their name": ("results.raw_maps.RawMaps.write", "True", "after"),
    "the predictions have theirs": ("results.tables.write_predictions", "True", "after"),
    "the video has its own, and the segments are there": ("files.atomic._rename_to_new", "given[1].suffix == '.mp4'", "after"),
}


def killing(place: str) -> str:
    """Code after which the command kills itself there."""
    name, condition, moment = KILLED_AT[place]
    room, module, *_ = name.split(".")
    owner, _, attribute = name.partition(".")[2].rpartition(".")
    die = f"if {condition}: os.kill(os.getpid(), signal.SIGKILL)"
    before, after = (die, "pass") if moment == "before" else ("pass", die)
    return (
        f"from pipeline.{room} import {module}\nreal = {owner}.{attribute}\n"
        f"def dying(*given, **named):\n    {before}\n    result = real(*given, **named)\n    {after}\n    return result\n"
        f"{owner}.{attribute} = dying"
    )


@pytest.mark.slow
def test_killed_wherever_something_gets_its_name(place: Path, undisturbed: Made) -> None:
    """One kill after the other at the moments between two renames; where a name is taken, --overwrite goes on all the same."""
    told = "exists already; add --overwrite"
    for moment in list(KILLED_AT):
        more = [] if not (place / "m.npz").exists() else ["--overwrite"]
        if moment.startswith("the video"):
            for name in ("m.npz", "p.csv"):
                (place / name).unlink()
            more = []
        ended = video("v.mp4", "-o", "out.mp4", *DATA, *more, cwd=place, code=killing(moment))
        assert ended.code == -signal.SIGKILL, (moment, ended.err)
        assert (place / "out.mp4").exists() == moment.startswith("the video")
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    assert ended.code == 1 and told in ended.err
    ended = video("v.mp4", "-o", "out.mp4", *DATA, "--overwrite", cwd=place)
    assert ended.code == 0 and f"{FRAMES} frames are done" in ended.err, ended.err
    check(place, undisturbed)


@pytest.mark.slow
def test_killed_while_joining(place: Path, undisturbed: Made, tmp_path_factory: pytest.TempPathFactory) -> None:
    bin_folder = tmp_path_factory.mktemp("bin")
    path = wrapper(bin_folder, "-f concat", does=f'echo $$ > "{bin_folder}/pid"; exec sleep 60')
    process = start("video", *QUICK, "v.mp4", "-o", "out.mp4", *DATA, cwd=place, PATH=path)
    until(lambda: (bin_folder / "pid").exists() and (bin_folder / "pid").read_text().endswith("\n"), process)
    killed(process, only_main=True)
    os.kill(int((bin_folder / "pid").read_text()), signal.SIGKILL)
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    assert ended.code == 0 and f"{FRAMES} frames are done" in ended.err
    check(place, undisturbed)


# ------------------------------------------------------------------------------------------------ what an earlier run left


class Enough(Exception):
    pass


def by_library(folder: Path, open_session: Open, *, stop_at: int | None = None, at: Callable[[], None] = lambda: None, **more: Any) -> str:
    """Make folder/out.mp4, or stop (or do something else) when so many frames are done; returns what was noticed."""
    made = more.pop("before_publish", lambda *_: None)
    options = {**QUICKLY, "save_maps": folder / "m.npz", **more}
    [job] = job_planning.plan_videos([folder / "v.mp4"], output=folder / "out.mp4", options=Options(**options))
    assert isinstance(job, job_planning.Job), job
    said: list[str] = []
    waiting = [at]

    def tick(progress: Progress) -> None:
        if stop_at is not None and progress.frames_done >= stop_at and waiting:
            waiting.pop()()

    video_job.visualize_video(job, open_session(**options), progress=tick, notice=said.append, before_publish=made)
    return "\n".join(said)


def stop() -> None:
    raise Enough


@pytest.fixture(scope="module")
def interrupted(source: Path, tmp_path_factory: pytest.TempPathFactory, open_session: Open) -> Path:
    """A folder where a run has stopped at two thirds."""
    folder = tmp_path_factory.mktemp("interrupted")
    shutil.copy2(source, folder / "v.mp4")
    with pytest.raises(Enough):
        by_library(folder, open_session, stop_at=2 * FRAMES // 3, at=stop)
    assert segments(folder / "out.mp4") >= 5
    return folder


@pytest.fixture
def left(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def frames_of_segments(folder: Path, count: int) -> int:
    lines = (work(folder / "out.mp4") / "journal.jsonl").read_text().splitlines()[1 : 1 + count]
    return sum(json.loads(line)["frames"] for line in lines)


def torn_line(folder: Path) -> None:
    path = work(folder / "out.mp4") / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def half_a_line_more(folder: Path) -> None:
    with (work(folder / "out.mp4") / "journal.jsonl").open("a") as file:
        file.write('{"file": "0000')


def zeros_at_the_end(folder: Path) -> None:
    """As some file systems leave it behind a power cut."""
    path = work(folder / "out.mp4") / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-30] + bytes(29) + b"\n")


def no_segment(folder: Path) -> None:
    (work(folder / "out.mp4") / "000002.mp4").unlink()


def no_state(folder: Path) -> None:
    (work(folder / "out.mp4") / "000002.npz").unlink()


def short(suffix: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = work(folder / "out.mp4") / f"000002{suffix}"
        path.write_bytes(path.read_bytes()[:-100])

    return cut


def spoilt(folder: Path) -> None:
    path = work(folder / "out.mp4") / "000002.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def garbage(folder: Path) -> None:
    (work(folder / "out.mp4") / "journal.jsonl").write_bytes(os.urandom(300))


def no_journal(folder: Path) -> None:
    (work(folder / "out.mp4") / "journal.jsonl").unlink()


def touched(folder: Path) -> None:
    os.utime(folder / "v.mp4", (1e9, 1e9))


def untouched(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "kept", "options"),
    [
        (untouched, -0, {}),
        (torn_line, -1, {}),
        (half_a_line_more, -0, {}),
        (zeros_at_the_end, -1, {}),
        (no_segment, 2, {}),
        (no_state, 2, {}),
        (short(".mp4"), 2, {}),
        (short(".npz"), 2, {}),
        (spoilt, 2, {}),
        (garbage, None, {}),
        (no_journal, None, {}),
        (touched, None, {}),
        (untouched, None, {"fresh": True}),
        (untouched, None, {"segment_seconds": 0.5}),
    ],
)
def test_what_is_left_is_taken_up_as_far_as_it_is_whole(
    left: Path, undisturbed: Made, open_session: Open, spoil: Callable[[Path], None], kept: int | None, options: dict[str, Any]
) -> None:
    count = None if kept is None else kept if kept > 0 else segments(left / "out.mp4") + kept
    expected = "" if count is None else f"{frames_of_segments(left, count)} frames are done"
    spoil(left)
    said = by_library(left, open_session, **options)
    assert said.endswith(expected) if expected else not said
    assert names(left) == ["m.npz", "out.mp4", "v.mp4"]
    with np.load(left / "m.npz") as saved:
        maps = {key: (value.shape, value.tobytes()) for key, value in saved.items()}
    if "segment_seconds" not in options:
        assert maps == undisturbed.maps and (left / "out.mp4").read_bytes() == undisturbed.video


# ------------------------------------------------------------------------------------------------ children


@pytest.mark.slow
@pytest.mark.parametrize(("word", "told"), [(DECODER, "decoding failed after"), (ENCODER, "the encoder failed after")])
def test_a_child_that_is_killed_is_told_of_and_costs_one_segment(place: Path, undisturbed: Made, word: str, told: str) -> None:
    process = start("video", *QUICK, "v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    until(lambda: segments(place / "out.mp4") >= 2, process)
    [pid] = until(lambda: ffmpegs(process.pid, word), process)
    os.kill(pid, signal.SIGKILL)
    ended = end(process)
    assert ended.code == 1 and told in ended.last and ended.last.endswith("run the same command again"), ended.err
    assert "ffmpeg was killed" in ended.last and segments(place / "out.mp4") >= 2 and not (place / "out.mp4").exists()
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    assert ended.code == 0 and "resuming at" in ended.err
    check(place, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("word", "told"), [(DECODER, "decoding failed"), (ENCODER, "the encoder failed")])
def test_a_child_that_stands_still_is_given_up(
    place: Path, open_session: Open, monkeypatch: pytest.MonkeyPatch, word: str, told: str
) -> None:
    monkeypatch.setattr(ffmpeg_process, "DEFAULT_STALL_LIMITS", ffmpeg_process.StallLimits(idle_seconds=2.0))
    stopped: list[float] = []

    def freeze() -> None:
        [pid] = until(lambda: ffmpegs(os.getpid(), word))
        os.kill(pid, signal.SIGSTOP)
        stopped.append(time.monotonic())

    with pytest.raises(ToolError, match=f"{told}.*ffmpeg did nothing for 2 seconds"):
        by_library(place, open_session, stop_at=25, at=freeze)
    assert time.monotonic() - stopped[0] < 10 and not ffmpegs(os.getpid(), word)
    assert "resuming at" in by_library(place, open_session)
    assert names(place) == ["m.npz", "out.mp4", "v.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("echo no licence for this encoder >&2; exit 1", "no licence for this encoder"),
        ("exit 0", "the encoder failed after"),
        ("cat > /dev/null; exit 0", "what was written cannot be read back"),
        ("kill -9 $$", "ffmpeg was killed"),
    ],
)
def test_an_encoder_that_refuses(place: Path, tmp_path_factory: pytest.TempPathFactory, does: str, told: str) -> None:
    path = wrapper(tmp_path_factory.mktemp("bin"), ENCODER, does=does)
    ended = video("v.mp4", "-o", "out.mp4", cwd=place, PATH=path)
    assert ended.code == 1 and told in ended.last and "out.mp4" in ended.last, ended.err
    assert names(place) == ["v.mp4"]


# ------------------------------------------------------------------------------------------------ disks


def on_a_small_disk(place: Path, size_bytes: int, video_bytes: bytes) -> Ended:
    """The command fails for want of room, and goes on where more is made; returns what the second run said."""
    with small_disk(place / "small", size_bytes) as remount:
        ended = video("v.mp4", "-o", "small/out.mp4", cwd=place)
        assert ended.code == 1 and "out.mp4" in ended.last and "space" in ended.last.lower(), ended.err
        assert names(place / "small") == [".out.mp4.heatreel"]
        remount("size=30m")
        ended = video("v.mp4", "-o", "small/out.mp4", cwd=place)
        assert ended.code == 0 and names(place / "small") == ["out.mp4"], ended.err
        assert (place / "small" / "out.mp4").read_bytes() == video_bytes
    return ended


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_middle(place: Path, undisturbed: Made) -> None:
    ended = on_a_small_disk(place, 2 << 20, undisturbed.video)
    assert "resuming at" in ended.err and f"{FRAMES} frames are done" not in ended.err


@pytest.mark.slow
def test_a_disk_that_is_full_when_all_is_joined(place: Path, undisturbed: Made, open_session: Open) -> None:
    with pytest.raises(Enough):
        by_library(place, open_session, save_maps=None, before_publish=lambda *_: stop())
    blocks = sum(-(-path.stat().st_size // 4096) for path in work(place / "out.mp4").iterdir())
    shutil.rmtree(work(place / "out.mp4"))
    ended = on_a_small_disk(place, 4096 * blocks + len(undisturbed.video) // 2, undisturbed.video)
    assert f"{FRAMES} frames are done" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.npz", "p.csv", "p.parquet"])
def test_data_that_find_no_room_cost_no_frame(place: Path, tmp_path: Path, name: str) -> None:
    option = "--save-maps" if name == "m.npz" else "--predictions"
    with small_disk(tmp_path / "small", 4096) as remount:
        ended = video("v.mp4", "-o", "out.mp4", option, f"small/{name}", cwd=place)
        assert ended.code == 1 and f"small/{name}: cannot be written" in ended.last and "No space left" in ended.last, ended.err
        assert names(tmp_path / "small") == [] and names(place) == [".out.mp4.heatreel", "small", "v.mp4"]
        remount("size=9m")
        ended = video("v.mp4", "-o", "out.mp4", option, f"small/{name}", cwd=place)
        assert ended.code == 0 and f"{FRAMES} frames are done" in ended.err, ended.err
        assert names(tmp_path / "small") == [name] and names(place) == ["out.mp4", "small", "v.mp4"]


@pytest.mark.slow
def test_maps_on_their_way_find_no_room(place: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4096):
        ended = video("v.mp4", "-o", "out.mp4", "--save-maps", "m.npz", cwd=place, TMPDIR=str(tmp_path / "small"))
    assert ended.code == 1 and "small: cannot be written: No space left" in ended.last and "TMPDIR" in ended.last, ended.err
    shutil.rmtree(work(place / "out.mp4"), ignore_errors=True)


def test_outputs_that_cannot_be(place: Path, tmp_path: Path) -> None:
    (place / "hard.mp4").hardlink_to(place / "v.mp4")
    (place / "soft.mp4").symlink_to("v.mp4")
    before = (place / "v.mp4").read_bytes()
    for name in ("hard.mp4", "soft.mp4", "v.mp4"):
        ended = call("video", *QUICK, "v.mp4", "-o", name, "--overwrite", cwd=place)
        assert ended.code == 1 and f"{name}: is the input itself" in ended.last
    with small_disk(tmp_path / "fixed", 1 << 20, "ro"):
        ended = call("video", *QUICK, "v.mp4", "-o", "fixed/out.mp4", cwd=place)
        assert ended.code == 1 and "fixed is not writable" in ended.last
    assert (place / "v.mp4").read_bytes() == before and names(place) == ["fixed", "hard.mp4", "soft.mp4", "v.mp4"]


# ------------------------------------------------------------------------------------------------ the source, and others


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy(path, other)  # the same bytes of another time
    other.replace(path)


@pytest.mark.slow
@pytest.mark.parametrize(("change", "told"), [(append, "changed while"), (replace, "changed while"), (Path.unlink, "cannot be read")])
def test_a_source_that_changes_while_it_is_read(place: Path, open_session: Open, change: Callable[[Path], None], told: str) -> None:
    source = place / "v.mp4"
    shutil.copy2(source, place / "kept")
    with pytest.raises(InputError, match=rf"v\.mp4: {told}"):
        by_library(place, open_session, stop_at=40, at=lambda: change(source))
    assert not (place / "out.mp4").exists() and not (place / "m.npz").exists()
    if not source.exists():
        shutil.copy(place / "kept", source)
    (place / "kept").unlink()
    assert by_library(place, open_session) == ""  # from the beginning: it is another source now
    assert names(place) == ["m.npz", "out.mp4", "v.mp4"]


@pytest.mark.slow
def test_two_runs_on_one_output(place: Path, undisturbed: Made) -> None:
    processes = [start("video", *QUICK, "v.mp4", "-o", "out.mp4", *DATA, cwd=place) for _ in range(2)]
    won, lost = sorted((end(process) for process in processes), key=lambda ended: ended.code)
    assert (won.code, lost.code) == (0, 1) and "another run is making it at this moment" in lost.last, lost.err
    check(place, undisturbed)


@pytest.mark.slow
def test_the_doctor_knows_what_interrupted_runs_left(left: Path) -> None:
    ended = run("doctor", "--json", cwd=left)
    found = json.loads(ended.out)["interrupted"]
    assert list(found) == [".out.mp4.heatreel"] and found[".out.mp4.heatreel"].endswith("MB kept")
    shutil.rmtree(work(left / "out.mp4"))


# ------------------------------------------------------------------------------------------------ signals and streams


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_the_same_command_goes_on(place: Path, undisturbed: Made, number: signal.Signals, code: int) -> None:
    process = start("video", *QUICK, "v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    until(lambda: segments(place / "out.mp4") >= 2, process)
    process.send_signal(number)
    ended = end(process, seconds=10)
    assert ended.code == code and ended.last.endswith("what was finished is kept; the same command goes on from there"), ended.err
    assert names(place) == [".out.mp4.heatreel", "v.mp4"] and not ffmpegs(process.pid, "ffmpeg") and segments(place / "out.mp4") >= 2
    ended = video("v.mp4", "-o", "out.mp4", *DATA, cwd=place)
    assert ended.code == 0 and "resuming at" in ended.err
    check(place, undisturbed)


def frozen(process: subprocess.Popen[str], output: Path) -> int:
    """Stop the second segment's encoder, and leave the command time to fill its pipe: then the main thread waits in C code."""
    until(lambda: segments(output) >= 1, process)
    [pid] = until(lambda: ffmpegs(process.pid, ENCODER), process)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    return int(pid)


LONG_SEGMENTS = ["--segment-seconds", "2", *QUICK[2:]]  # of 5 MB, and a pipe holds one


@pytest.mark.slow
def test_a_signal_ends_it_though_an_encoder_stands_still(place: Path) -> None:
    process = start("video", *LONG_SEGMENTS, "v.mp4", "-o", "out.mp4", cwd=place)
    pid = frozen(process, place / "out.mp4")
    process.send_signal(signal.SIGINT)
    ended = end(process, seconds=5)
    assert ended.code == 130 and ended.last.endswith("goes on from there") and not Path(f"/proc/{pid}").exists()
    shutil.rmtree(work(place / "out.mp4"))


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(place: Path) -> None:
    """What would wake the main thread at the first signal is taken away."""
    taken = "from pipeline.media import ffmpeg_process\nffmpeg_process.kill_all = lambda: None"
    process = start("video", *LONG_SEGMENTS, "v.mp4", "-o", "out.mp4", cwd=place, code=taken)
    pid = frozen(process, place / "out.mp4")
    try:
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert end(process, seconds=5).code == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(work(place / "out.mp4"))


def shell(line: str, cwd: Path) -> Ended:
    """A line of bash, where $V is the command."""
    program = f'V() {{ {sys.executable} -m cli video {" ".join(QUICK)} "$@"; }}; {line}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=90)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr and "BrokenPipe" not in done.stderr, done.stderr
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_from_the_start(place: Path, undisturbed: Made, closed: str) -> None:
    ended = shell(f"V v.mp4 -o out.mp4 --json {' '.join(DATA)} {closed}", place)
    assert ended.code == 0
    check(place, undisturbed)
    if ">&-" not in closed.replace("2>&-", ""):
        assert [json.loads(line)["output"] for line in ended.out.splitlines()] == ["out.mp4"]
    missing = shell(f"V nope.mp4 {closed}", place)
    assert missing.code == 1 and missing.out == ""


@pytest.mark.slow
def test_a_reader_that_goes_away(place: Path, undisturbed: Made) -> None:
    """All that was asked for is made, without a word; and a disk that takes no JSON is named."""
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(place / "v.mp4", place / name)
    ended = shell("V a.mp4 b.mp4 c.mp4 -o out --json | head -1; exit ${PIPESTATUS[0]}", place)
    assert ended.code == 0 and json.loads(ended.out)["input"] == "a.mp4" and "error" not in ended.err
    assert all((place / "out" / f"{name}_output.mp4").read_bytes() == undisturbed.video for name in "abc")
    ended = shell("V v.mp4 -o out.mp4 --json > /dev/full", place)
    assert ended.code == 1 and "stdout cannot be written: No space left" in ended.last and (place / "out.mp4").exists()
