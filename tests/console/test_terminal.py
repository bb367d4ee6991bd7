"""What a command says while it works and when it ends: the real display, on a terminal and without one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from pipeline.batch.progress import Summary
from pipeline.batch.status_report import Status
from pipeline.console import outcome_printing, result_lines
from pipeline.console.commands import archive
from pipeline.console.progress_displays import BatchDisplay
from pipeline.console.terminal import Terminal, show_log
from pipeline.records import ClassGroup, ClassName, Outcome, Prediction, Progress, TargetScore

BANANA = Prediction(name=ClassName(index=954, wnid="n07753592", label="banana"), score=0.031)
OF_BANANA = TargetScore(name=ClassGroup(label="banana", wnid="n07753592", members=(954,)), score=0.031)
OF_CORGIS = TargetScore(name=ClassGroup(label="corgi", wnid="n02112826", members=(263, 264)), score=0.9)
CORGI = Prediction(name=ClassName(index=263, wnid="n02113023", label="Pembroke"), score=0.512)


def terminal(*, quiet: bool = False, verbose: bool = False) -> Terminal:
    return Terminal(as_json=False, quiet=quiet, verbose=verbose)


def outcome(name: str, *, error: str | None = None, **more: Any) -> Outcome:
    output = None if error else Path(f"{name}_output.jpg")
    return Outcome(input=Path(f"{name}.jpg"), model="m", method="gradcam", output=output, frames=1, error=error, **more)


@contextlib.contextmanager
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """stderr is a terminal of 60 columns; what it was told is in the list afterwards."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    monkeypatch.setenv("COLUMNS", "60")
    told: list[str] = []
    with os.fdopen(theirs, "w", buffering=1) as stream, contextlib.redirect_stderr(stream):
        yield told
    seen = b""
    with contextlib.suppress(OSError):  # the terminal hangs up
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    told.append(seen.decode().replace("\r\n", "\n"))


# ------------------------------------------------------------------------------------------------ while it works


def test_what_goes_on_is_said_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    with screen(monkeypatch) as told:
        with terminal().passing("loading the model m"):
            pass
        shows = terminal()
        with shows.passing("loading " + "x" * 100):
            shows.say("a line that stays")
        with terminal(quiet=True).passing("loading"):
            pass
    gone, cut = "\r\x1b[K", "loading " + "x" * 51
    assert told == [f"{gone}loading the model m ...{gone}{gone}{cut}{gone}a line that stays\n{gone}{cut}{gone}"]


@pytest.mark.parametrize(("options", "said"), [({}, ""), ({"verbose": True}, "loading ...\n"), ({"quiet": True}, "")])
def test_a_pipe_gets_no_line_that_goes_away(options: dict[str, bool], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with terminal(**options).passing("loading"):
        pass
    assert capsys.readouterr() == ("", said)


def test_many_passes_have_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    made, shows = 100, terminal()
    with screen(monkeypatch) as told, shows.passes("scorecam: dog.jpg", 640, lambda: made) as tick:
        made += 320
        deadline = time.monotonic() + 10
        while shows._bar.n < 320 and time.monotonic() < deadline:
            time.sleep(0.01)
        tick(Progress(input=Path("a"), frames_done=8, frames_total=9))
        tick(Progress(input=Path("a"), frames_done=9, frames_total=9, joining=True))
    assert "scorecam: dog.jpg:  50%" in told[0] and "320/640" in told[0] and "8 frames" in told[0] and "joining" in told[0]


def test_joining_is_said_behind_the_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    job: Any = SimpleNamespace(is_still=False, input=Path("clip.mp4"))
    with screen(monkeypatch) as told, terminal().bar(job, 0, 1) as tick:
        tick(Progress(input=job.input, frames_done=50, frames_total=50))
        tick(Progress(input=job.input, frames_done=50, frames_total=50, joining=True))
    assert "50/50" in told[0] and "joining" in told[0].partition("50/50")[2]


# ------------------------------------------------------------------------------------------------ at the end


def test_what_was_asked_for_is_said_first_with_its_score(capsys: pytest.CaptureFixture[str]) -> None:
    outcome_printing.report(terminal(), outcome("dog", top=[CORGI], targets=[OF_BANANA]))
    outcome_printing.report(terminal(), outcome("dog", top=[CORGI]))
    assert capsys.readouterr().err.splitlines() == [
        "dog.jpg -> dog_output.jpg: banana 3%; Pembroke 51%",
        "dog.jpg -> dog_output.jpg: Pembroke 51%",
    ]
    assert outcome("dog", targets=[OF_BANANA]).as_json()["targets"] == [
        {"index": 954, "wnid": "n07753592", "label": "banana", "score": 0.031}
    ]
    assert outcome("dog", targets=[OF_CORGIS]).as_json()["targets"] == [
        {"index": None, "wnid": "n02112826", "label": "corgi", "score": 0.9}
    ]


def test_all_that_was_made_is_named_before_the_failures(capsys: pytest.CaptureFixture[str]) -> None:
    maps = [("raw maps", Path(f"maps/{number}.npz")) for number in range(6)]
    outcomes = [outcome("a"), outcome("b", error="b.jpg: broken"), outcome("c"), outcome("d", error="d.jpg: gone")]
    with pytest.raises(typer.Exit) as ended:
        outcome_printing.finish(terminal(), outcomes, files=[("page", Path("report.html")), *maps], noun="pictures")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err.splitlines() == [
        "page: report.html",
        "raw maps: 6 files in maps",
        "2 pictures done, 2 failed",
        "error: b.jpg: broken",
        "error: d.jpg: gone",
    ]
    outcome_printing.finish(terminal(), [outcome("a")], files=[("table", Path("t.csv")), *maps[:2]])
    assert capsys.readouterr().err.splitlines() == ["table: t.csv", "raw maps: maps/0.npz", "raw maps: maps/1.npz"]
    outcome_printing.finish(terminal(), [outcome("a")], files=[("page", Path(f"{number % 3}/{number}.html")) for number in range(6)])
    assert capsys.readouterr().err.splitlines() == ["page: 6 files in 3 folders"]
    outcome_printing.finish(terminal(quiet=True), [outcome("a"), outcome("c")], files=maps)
    assert capsys.readouterr() == ("", "")


def test_a_batch_says_one_short_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    shows = BatchDisplay(terminal())
    still = outcome("/archive/2019/dog", top=[CORGI, BANANA], elapsed_seconds=0.234).as_json()
    film = {**still, "duration_seconds": 11.4, "frames": 341, "elapsed_seconds": 12.5, "targets": [BANANA.as_json()]}
    shows.finished(still, name="2019/dog.jpg")
    shows.finished(film, name="kitchen.mov")
    shows.finished({**still, "error": "2019/dog.jpg: broken"}, name="2019/dog.jpg")
    assert capsys.readouterr().err.splitlines() == [
        "2019/dog.jpg: Pembroke 51% (0.2 s)",
        "kitchen.mov: banana 3%; Pembroke 51% (341 frames, 27.3 a second)",
        "failed: 2019/dog.jpg: broken",
    ]


def test_a_batch_ends_with_its_page_and_its_failures(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(found=14, ended=14, done=12, failures=[("a", "a: broken"), ("b", "no")], seconds=34.0, log=Path("log"))
    with pytest.raises(typer.Exit):
        archive.finish_archive(terminal(), summary, files=[("outputs", Path("out")), ("page", Path("out/index.html"))])
    assert capsys.readouterr().err.splitlines() == [
        "12 done in 34.0 s, 2 failed; the log is log",
        "outputs: out",
        "page: out/index.html",
        "error: a: broken",
        "error: b: no",
    ]
    archive.finish_archive(terminal(), Summary(found=1, ended=1, done=1, seconds=1.0, log=Path("log")))
    assert capsys.readouterr().err.splitlines() == ["1 done in 1.0 s; the log is log"]


def test_status_names_the_page_where_there_is_one() -> None:
    assert "page" not in "".join(result_lines.status_lines(Path("out"), Status()))
    assert result_lines.status_lines(Path("out"), Status(page=Path("out/index.html")))[-1] == "page: out/index.html"


def test_one_copy_and_several(capsys: pytest.CaptureFixture[str]) -> None:
    for count, said in ((1, "1 file is an exact copy of another; --dedupe"), (2, "2 files are exact copies of others; --dedupe")):
        archive.finish_archive(terminal(), Summary(found=3, ended=3, done=3, copies=count))
        assert said in capsys.readouterr().err
        of_them = said.removeprefix(f"{count} ").replace("files", "file").removeprefix("file ").partition(";")[0]
        assert result_lines.status_lines(Path("out"), Status(copies=count))[0].endswith(f"; {count} of them {of_them}")


# ------------------------------------------------------------------------------------------------ opening


def opener(folder: Path, text: str) -> None:
    program = folder / ("open" if sys.platform == "darwin" else "xdg-open")
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_what_is_to_be_opened_goes_to_the_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opener(tmp_path, f'echo "$1" >> "{tmp_path}/opened"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    outcome_printing.finish(terminal(), [outcome("a")], opens=[Path(f"{number}.html") for number in range(6)])
    assert (tmp_path / "opened").read_text().split() == [str(tmp_path / f"{number}.html") for number in range(4)]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fails", [True, False])
def test_where_nothing_opens_files_a_line_says_so(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if fails:
        opener(tmp_path, "exit 3")  # as xdg-open without a desktop
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    outcome_printing.open_files(terminal(), [Path("page.html")])
    assert capsys.readouterr().err == "nothing here opens page.html: open it yourself\n"


# ------------------------------------------------------------------------------------------------ what the library logs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ["warning: the disk is slow"]),
        ({"verbose": True}, ["warning: the disk is slow", "a note\\x07"]),
        ({"quiet": True}, []),
    ],
)
def test_what_the_library_logs_is_a_line(options: dict[str, bool], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pipeline.somewhere")
    with show_log(terminal(**options)):
        logger.warning("the disk is %s", "slow")
        logger.info("a note\a")
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in said))
    assert logging.getLogger("pipeline").handlers == [] and logging.getLogger("pipeline").level == logging.NOTSET
