"""The installed console command, as a user runs it: fresh processes, real files, exit codes of the contract."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import COMMAND, call, exit_codes_without_tensorflow, visualize
from support.decoding import decoded
from support.jobs import job_for

from pipeline.console import outcome_printing
from pipeline.console.terminal import Terminal
from pipeline.errors import CommandError, OutputError
from pipeline.explain import demo_clip, image_job, job_planning
from pipeline.media import images
from pipeline.options import Options

Clip = Callable[[str], Path]


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    Image.fromarray(demo_clip.read_photograph("chelsea.png")).save(tmp_path / "cat.jpg", quality=95)
    return tmp_path / "cat.jpg"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.process
def test_help_is_quick_and_loads_none_of_the_heavy_packages(tmp_path: Path) -> None:
    code = (
        "import sys, cli\n"
        "for arguments in (['--help'], ['video', '--help'], ['video', '--help-all'], ['models'], ['models', 'classes', 'cat']):\n"
        "    try: cli.app(arguments)\n"
        "    except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'numpy', 'av', 'PIL', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("--save-maps") == 1  # what few people ask for is in the whole help alone


@pytest.mark.process
def test_version_is_the_distributions(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert visualize("--version", cwd=tmp_path).stdout.strip() == f"visualize {version('heatreel')}"


def test_the_result_line_names_scores_as_the_label_in_the_picture_does(
    cat: Path, tmp_path: Path, open_session: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, _ = image_job.visualize_image(job_for(cat, tmp_path / "out.jpg", top_k=1000), open_session(top_k=1000))
    outcome_printing.report(Terminal(as_json=False, quiet=False, verbose=False), outcome)
    shown = re.findall(r" (<?\d+%)(?:,|$)", capsys.readouterr().err.strip())
    assert len(shown) == 1000
    assert shown[-1] == "<1%" and "0%" not in shown  # of a thousand softmax scores none is nothing, and most are under a hundredth


@pytest.mark.process
def test_pictures_good_and_bad_in_one_call(cat: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    shutil.copy(cat, tmp_path / "second.jpg")
    result = visualize("image", cat.name, "missing.jpg", "text.jpg", "second.jpg", "--json", "-k", 2, cwd=tmp_path)
    outcomes = {outcome["input"]: outcome for outcome in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1 and set(outcomes) == {"cat.jpg", "missing.jpg", "text.jpg", "second.jpg"}
    for name in ("cat.jpg", "second.jpg"):
        good = outcomes[name]
        assert good["output"] == f"{name[:-4]}_output.jpg" and (tmp_path / good["output"]).exists() and good["error"] is None
        assert (good["model"], good["method"], good["frames"], good["duration_seconds"]) == ("efficientnet_lite0", "gradcam", 1, None)
        assert len(good["top"]) == 2 and "cat" in good["top"][0]["label"] and set(good["top"][0]) == {"index", "wnid", "label", "score"}
        assert good["warnings"] == [] and good["elapsed_seconds"] > 0
    assert outcomes["missing.jpg"]["output"] is None and "no such file" in outcomes["missing.jpg"]["error"]
    summary, *errors = result.stderr.splitlines()[-3:]
    assert summary == "2 pictures done, 2 failed" and outcomes["cat.jpg"]["targets"] == []
    assert errors[0].startswith("error: missing.jpg: no such file") and errors[1] == "error: text.jpg: is text, not a picture"
    assert "Traceback" not in result.stderr and "oneDNN" not in result.stderr


@pytest.mark.process
def test_a_video_through_the_command(clip: Clip, tmp_path: Path) -> None:
    shutil.copy(clip("variable.mp4"), tmp_path / "clip.mp4")
    arguments = [
        "clip.mp4",
        "--predictions",
        "p.csv",
        "--save-maps",
        "m.npz",
        "--target",
        "banana",
        "--target",
        "954",
        "--layout",
        "stacked",
    ]
    result = visualize("video", *arguments, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    [outcome] = map(json.loads, result.stdout.splitlines())
    times, _ = decoded(tmp_path / "clip.mp4")
    new_times, pictures = decoded(tmp_path / "clip_output.mp4")
    np.testing.assert_allclose(new_times, times, atol=1.1e-3)
    assert outcome["frames"] == 30 and outcome["duration_seconds"] == pytest.approx(times[-1] + 1 / 14, abs=0.05)
    assert pictures[0].shape == (3 * 144, 256)  # the source and one panel for each target
    saved = np.load(tmp_path / "m.npz")
    assert saved["maps"].shape == (30, 2, 8, 14)
    assert [(each["index"], each["label"]) for each in outcome["targets"]] == [(954, "banana")] * 2
    np.testing.assert_allclose([each["score"] for each in outcome["targets"]], saved["scores"].mean(axis=0), atol=1e-6)
    said = result.stderr.splitlines()
    assert said[0].startswith("clip.mp4 -> clip_output.mp4 (30 frames in ") and "s): banana " in said[0]
    assert said[1:] == ["predictions: p.csv", "raw maps: m.npz"]
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 1 + 30 * 3
    assert files(tmp_path) == ["clip.mp4", "clip_output.mp4", "m.npz", "p.csv"]


@pytest.mark.slow
def test_a_terminal_sees_a_bar_with_frames_rate_and_time_left(clip: Clip, tmp_path: Path) -> None:
    shutil.copy(clip("late_audio.mp4"), tmp_path / "clip.mp4")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        [COMMAND, "video", "clip.mp4"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the terminal hangs up when the command has ended
            while part := os.read(ours, 4096):
                seen += part
        assert process.stdout is not None and process.stdout.read() == b""
    os.close(ours)
    bars = [line for line in seen.decode().split("\r") if "frames/s" in line]
    assert process.returncode == 0 and bars, seen
    assert re.search(r"clip\.mp4: +\d+%\|.*\| \d+/50 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ frames/s, joining\]", bars[-1]), bars[-1]
    assert "loading the model efficientnet_lite0 ..." in seen.decode().partition("frames/s")[0]
    assert "clip.mp4 -> clip_output.mp4 (50 frames in" in seen.decode().splitlines()[-1]


@pytest.mark.process
def test_several_videos_go_to_a_folder_with_their_data(clip: Clip, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(clip("single.mp4"), tmp_path / name)
    result = visualize("video", "one.mp4", "two.mp4", "-o", "out", "--save-maps", "maps", "--predictions", "p.jsonl", cwd=tmp_path)
    assert result.returncode == 0 and result.stdout == ""
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["input"] for row in rows] == ["one.mp4"] * 3 + ["two.mp4"] * 3
    expected = ["maps", "maps/one.npz", "maps/two.npz", "one.mp4", "out", "out/one_output.mp4", "out/two_output.mp4", "p.jsonl", "two.mp4"]
    assert files(tmp_path) == expected


REFUSED: list[tuple[list[str], int, str]] = [
    (["image", "cat.jpg", "--target", "crane"], 2, "several classes have this name"),
    (["image", "cat.jpg", "--target", "roster"], 2, "no such class; near to it: rooster (cock)"),
    (["image", "cat.jpg", "--target", "tabbi"], 2, "no such class; near to it: tabby"),
    (["image", "cat.jpg", "--model", "nonet"], 2, "--model nonet: no such model"),
    (["image", "cat.jpg", "--colormap", "pink2"], 2, "--colormap pink2: unknown"),
    (["image", "cat.jpg", "--layout", "spiral"], 2, "--layout spiral: not one of side-by-side"),
    (["image", "cat.jpg", "--label", "middle"], 2, "--label middle: not one of top-left, top-right, bottom-left, bottom-right, none"),
    (["video", "cat.jpg", "--scale", "both"], 2, "--scale both: not one of frame, shared"),
    (["batch", "cat.jpg", "-o", "out", "--label", "none", "--scale", "x"], 2, "--scale x: not one of frame, shared"),
    (["image", "cat.jpg", "--alpha", "1.5"], 2, "--alpha 1.5: not between 0 and 1"),
    (["image", "cat.jpg", "--no-such-option"], 2, "No such option"),
    (["image", "cat.jpg", "--alpha", "0.2", "--alpha", "0.3"], 2, "error: --alpha: given 2 times; it may be given once"),
    (["image", "cat.jpg", "nope.jpg", "--open"], 2, "--open: 2 outputs, and no page; add --report"),
    (
        ["image", "cat.jpg", "https://example.org/a.jpg", "-o", "cat.jpg/out"],
        1,
        "https://example.org/a.jpg: is an address; download it",
    ),
    (["rtsp://camera/1"], 1, "error: rtsp://camera/1: is the address of a stream"),
    (["kat.jpg"], 1, "error: kat.jpg: no such file"),
    (["predict", "kat.jpg"], 1, "error: kat.jpg: no such file"),
    (["kitchen"], 2, "No such command 'kitchen'"),
    (["image", "cat.jpg", "-o", "cat.mp4"], 2, "pictures are written as"),
    (["image", "cat.jpg", "--predictions", "p.txt"], 2, "not .csv, .jsonl or .parquet"),
    (["image", "cat.jpg", "-o", "cat.jpg"], 1, "is the input itself"),
    (["image", "nope.jpg"], 1, "error: nope.jpg: no such file"),
    (["video", "cat.jpg", "--start", "1:2:3:4"], 2, "--start 1:2:3:4: not a time"),
    (["video", "cat.jpg", "--start", "3", "--end", "2"], 2, "not after --start"),
    (["video", "cat.jpg", "--fps", "0"], 2, "--fps 0: not a rate"),
    (["video", "cat.jpg", "--batch-size", "²"], 2, "--batch-size ²: not a number or auto"),
    (["video", "cat.jpg", "--preset", "warp"], 2, "no encoder for codec auto takes 640x360 here"),
    (["video", "cat.jpg", "-o", "a.webm"], 2, ".webm does not hold codec auto"),
    (["video", "nope.mp4"], 1, "error: nope.mp4: no such file"),
    (["video", "text.mp4"], 1, "error: text.mp4: is text, not a video"),
]


# A video's encoder is tried first.
MARKED = [pytest.param(*each, marks=pytest.mark.media if each[0][0] in ("video", "rtsp://camera/1") else ()) for each in REFUSED]


@pytest.mark.parametrize(("arguments", "code", "message"), MARKED)
def test_what_cannot_be_is_refused_at_once_and_nothing_is_changed(
    cat: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "text.mp4").write_text("a text named .mp4")
    before = files(tmp_path)
    ended = call(*arguments, cwd=tmp_path)
    assert ended.code == code, ended.err
    assert message in " ".join(ended.err.replace("│", " ").split())
    assert files(tmp_path) == before


@pytest.mark.process
def test_no_model_is_loaded_for_a_refusal(cat: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("a text named .mp4")
    calls = [arguments for arguments, *_ in REFUSED]
    assert exit_codes_without_tensorflow(calls, cwd=tmp_path) == [code for _, code, _ in REFUSED]


ENDING = """
import atexit, contextlib, gc, sys
sys.argv[0] = "visualize"
import cli
from pipeline.console.terminal import Terminal

class Last:
    def __del__(self): print("taken apart")

last, starts = Last(), Terminal.starting_up
@contextlib.contextmanager
def starting_up(self):
    with starts(self):
        print("imports:", gc.isenabled())
        yield
    print("afterwards:", gc.isenabled(), gc.get_freeze_count() > 300_000)
Terminal.starting_up = starting_up
atexit.register(print, "the end")
cli.main()
"""


@pytest.mark.process
def test_what_imports_make_is_neither_collected_nor_taken_apart(cat: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    command = [sys.executable, "-c", ENDING, "image", "cat.jpg", "broken.jpg", "-o", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (
        result.returncode == 1 and "broken.jpg: is text, not a picture" in result.stderr and (tmp_path / "out" / "cat_output.jpg").exists()
    )
    assert result.stdout.split("\n") == ["imports: False", "afterwards: True True", "the end", ""]


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open is what opens files on Linux")
def test_an_existing_output_is_touched_only_when_told_so(cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "cat_output.jpg"
    output.write_text("precious")
    refused = call("image", "cat.jpg", cwd=tmp_path)
    assert refused.code == 1 and "cat_output.jpg: exists already; add --overwrite" in refused.err
    assert output.read_text() == "precious"
    (tmp_path / "xdg-open").write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{tmp_path}/opened"\n')
    (tmp_path / "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    # A picture in a command's place is looked at.
    assert visualize("cat.jpg", "--overwrite", "-q", "--report", "--open", cwd=tmp_path).stderr == ""
    assert (tmp_path / "opened").read_text() == str(tmp_path / "cat_output.html") and (tmp_path / "cat_output.html").exists()
    with Image.open(output) as image:
        assert image.size == (902, 300)


@pytest.mark.process
def test_skip_existing_makes_what_is_missing_and_no_more(cat: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy(cat, tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b_output.jpg").write_text("precious")
    arguments = ("image", "in", "-o", "out", "--skip-existing", "--predictions", "p.csv", "-k", 1)
    result = visualize(*arguments, "--json", cwd=tmp_path)
    outcomes = {outcome["input"]: outcome for outcome in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 0 and "1 skipped: its output exists" in result.stderr.splitlines(), result.stderr
    assert [outcomes[f"in/{name}"]["skipped"] for name in ("a.jpg", "b.jpg", "c.jpg")] == [False, True, False]
    assert (outcomes["in/b.jpg"]["output"], outcomes["in/b.jpg"]["error"]) == ("out/b_output.jpg", None)
    assert (tmp_path / "out" / "b_output.jpg").read_text() == "precious"
    assert [line.split(",")[0] for line in (tmp_path / "p.csv").read_text().splitlines()] == ["input", "in/a.jpg", "in/c.jpg"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = call(*arguments, cwd=tmp_path)  # the table exists by now, and nobody wants to write it
    assert (again.code, again.out, again.err) == (0, "", "3 skipped: their outputs exist\n")
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(("option", "file"), [("report", "report.html"), ("predictions", "p.csv"), ("save_maps", "m/b.npz")])
def test_skip_existing_replaces_no_page_and_no_table_and_says_what_to_do(cat: Path, tmp_path: Path, option: str, file: str) -> None:
    """Made anew it would lack the pictures that are passed over, and --overwrite may not stand beside it."""
    for name in ("in/a.jpg", "in/b.jpg", "in/c.jpg", "out/a_output.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(cat, tmp_path / name)
    there = tmp_path / "out" / file
    there.parent.mkdir(exist_ok=True)
    there.write_text("precious")
    value: Any = {"report": True, "predictions": there, "save_maps": there.parent}[option]
    options = Options(**{"skip_existing": True, option: value})
    another = "" if option == "report" else ", or name another file"
    with pytest.raises(OutputError) as refused:
        plan = job_planning.plan_images([tmp_path / "in"], output=tmp_path / "out", options=options)
        raise next(each.error for each in plan if isinstance(each, job_planning.Refusal))
    assert str(refused.value) == f"{there}: exists already; move it away{another}"


@pytest.mark.media
def test_what_skip_existing_does_not_pass_over(cat: Path, tmp_path: Path) -> None:
    options = Options(skip_existing=True, report=True)
    (tmp_path / "there.mp4").touch()
    [skipped] = job_planning.plan_videos([tmp_path / "gone.mp4"], output=tmp_path / "there.mp4", options=options)
    assert skipped == job_planning.Skipped(input=tmp_path / "gone.mp4", output=tmp_path / "there.mp4")
    (tmp_path / "folder.jpg").mkdir()
    for output in (cat, tmp_path / "missing.jpg"):
        [one] = job_planning.plan_images([cat], output=output, options=options)
        assert isinstance(one, job_planning.Refusal if output == cat else job_planning.Job)  # the input itself is no output of it
    [inside] = job_planning.plan_images([cat], output=tmp_path / "folder.jpg", options=options)
    assert isinstance(inside, job_planning.Job) and inside.output == tmp_path / "folder.jpg" / "cat_output.jpg"
    with pytest.raises(CommandError, match="--skip-existing and --overwrite: one or the other"):
        Options(skip_existing=True, overwrite=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_with_nothing_half_written(tmp_path: Path, number: signal.Signals, code: int) -> None:
    demo_clip.make_clip(tmp_path / "clip.mp4", overwrite=False)
    shutil.copy(tmp_path / "clip.mp4", tmp_path / "first.mp4")
    arguments = [COMMAND, "video", "first.mp4", "clip.mp4", "--end", "2", "-o", "out"]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_for(
            lambda: (tmp_path / "out" / "first_output.mp4").exists() and any((tmp_path / "out").glob(".clip*/unfinished.mp4")), process
        )
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert "stopped; what was finished is kept" in errors and "Traceback" not in errors
    assert files(tmp_path) == ["clip.mp4", "first.mp4", "out", "out/first_output.mp4"]
    assert len(decoded(tmp_path / "out" / "first_output.mp4")[0]) == 48
    assert not ffmpegs_below(tmp_path)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def ffmpegs_below(folder: Path) -> list[str]:
    def cwd(entry: Path) -> str:
        try:
            return str((entry / "cwd").readlink())
        except OSError:
            return ""

    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and cwd(entry) == str(folder)]


@pytest.mark.slow
def test_the_demo_runs_from_nothing(tmp_path: Path) -> None:
    result = visualize("demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "heatreel_demo_output.mp4" in result.stderr.splitlines()[-1]
    photographs = {path.name: images.read_image(path).size for path in (tmp_path / "heatreel_photos").iterdir()}
    assert photographs == {"cat.jpg": (451, 300), "coffee.jpg": (600, 400), "rocket.jpg": (640, 427), "motorcycle.jpg": (741, 500)}
    times, pictures = decoded(tmp_path / "heatreel_demo_output.mp4")
    assert len(times) == 240 and times[-1] >= 8 and pictures[0].shape == (360, 1280)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "one_picture.py"
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Egyptian cat" in result.stdout.splitlines()[0] and "map 8 x 12" in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "first", "row"),
    [
        (["corgi"], "corgi (n02112826): 2 classes, found by a name", "  263  n02113023  Pembroke                Pembroke Welsh corgi"),
        (["vgg16", "crane"], "2 classes of several kinds, found by a name", "  134  n02012849  crane (bird)     crane"),
        (["954"], "banana (n07753592): one class, found by the index", "  954  n07753592  banana"),
        (["catam"], "3 classes, found by a part of a name; --target takes whole words", "  484  n02981792  catamaran"),
    ],
)
def test_classes_are_listed_by_what_a_word_finds(tmp_path: Path, arguments: list[str], first: str, row: str) -> None:
    lines = call("models", "classes", *arguments, cwd=tmp_path).out.splitlines()
    assert lines[0] == first and row in lines


def test_all_classes_are_listed_and_a_slip_is_answered(tmp_path: Path) -> None:
    listing = json.loads(call("models", "classes", "--json", cwd=tmp_path).out)
    assert (listing["model"], listing["query"], listing["stage"], listing["groups"]) == ("efficientnet_lite0", None, None, [])
    assert len(listing["classes"]) == 1000
    assert listing["classes"][263] == {"index": 263, "wnid": "n02113023", "label": "Pembroke", "synonyms": ["Pembroke Welsh corgi"]}
    slip = call("models", "classes", "roster", "--json", cwd=tmp_path)
    assert slip.code == 2 and slip.err.startswith("error: roster: no class or kind has that name; near to it: rooster (cock)")


@pytest.mark.process
def test_a_model_file_lists_its_own_classes(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]).save(
        tmp_path / "m.keras"
    )
    result = visualize("models", "classes", "m.keras", "1", cwd=tmp_path)
    assert result.stdout.splitlines() == ["class 1: one class, found by the index", "index  label", "    1  class 1"], result.stderr
    assert result.stderr == ""  # not even TensorFlow's notes


@pytest.mark.slow
def test_doctor_tells_what_is_there(tmp_path: Path) -> None:
    result = visualize("doctor", "--json", cwd=tmp_path)
    findings = json.loads(result.stdout)
    assert result.returncode == 0 and findings["encoders"]["h264"] in ("libx264", "h264_nvenc", "h264_qsv", "h264_videotoolbox")
    assert findings["weights"]["efficientnet_lite0"].endswith("sha256 as published")
    assert set(visualize("doctor", cwd=tmp_path).stdout.split()) >= {"ffmpeg", "tensorflow", "encoders", "gpu", "weights"}
