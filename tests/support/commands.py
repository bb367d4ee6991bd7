"""The command as a process: started, watched, stopped. And within the test's own process, where that is enough."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CommandError
from pipeline.media import ffmpeg_process
from support.command_tree import root_command

ROOT = Path(__file__).parents[2]


def start(*arguments: object, cwd: Path, code: str = "", **environment: str) -> subprocess.Popen[str]:
    """The command in a group of its own; `code` is run before it, in the same process."""
    program = ["-c", f"import os, signal, sys, cli\n{code}\ncli.main()"] if code else ["-m", "cli"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return (self.err.splitlines() or [""])[-1]


def end(process: subprocess.Popen[str], *, seconds: float = 90) -> Ended:
    """Wait for it. Whatever went wrong, a user never sees a traceback."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in err and "fault of the program" not in err, err
    return Ended(code=process.returncode, out=out, err=err)


def run(*arguments: object, cwd: Path, code: str = "", **environment: str) -> Ended:
    return end(start(*arguments, cwd=cwd, code=code, **environment))


def call(*arguments: object, cwd: Path) -> Ended:
    """The command within this process, for what ends before a model is loaded: wrong options, refusals, lists.

    It takes milliseconds where a process takes half a second. What belongs to the process (working directory, streams, signals) is
    as before afterwards. Whatever went wrong, a user never sees a traceback.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True) for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    given, sys.argv = sys.argv, ["visualize", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                root_command().main(sys.argv[1:], prog_name="visualize")
            except CommandError as error:  # as `cli.main` says it
                print(f"error: {error}", file=err)
                code = error.exit_code
            except SystemExit as finished:
                code = finished.code
    finally:
        sys.argv = given
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    told = [stream.buffer.getvalue().decode(errors="surrogateescape") for stream in (out, err)]  # type: ignore[attr-defined]
    assert "Traceback" not in told[1] and "fault of the program" not in told[1], told[1]
    return Ended(code=int(code or 0), out=told[0], err=told[1])  # type: ignore[call-overload]


IN_TURN = """
import json, sys
from support.commands import call
for arguments in json.load(sys.stdin):
    print(json.dumps([call(*arguments, cwd=".").code, "tensorflow" in sys.modules]))
"""


def exit_codes_without_tensorflow(calls: Sequence[Sequence[str]], *, cwd: Path) -> list[int]:
    """The exit codes of commands that one fresh process calls one after the other; none of them may load TensorFlow."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command, given = [sys.executable, "-c", IN_TURN], json.dumps(calls)
    done = subprocess.run(command, cwd=cwd, env=environment, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [arguments for arguments, (_, loaded) in zip(calls, answers, strict=True) if loaded] == []
    return [code for code, _ in answers]


def until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None, *, seconds: float = 60) -> Any:
    """What the condition gave when it came true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    return found


DECODER, ENCODER = "pipe:1", "pipe:0"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wrapper(folder: Path, word: str, *, does: str) -> str:
    """A PATH on which ffmpeg does something else where its command line has that word."""
    script = folder / "ffmpeg"
    script.write_text(f'#!/bin/sh\ncase "$*" in *"{word}"*) {does};; esac\nexec "{ffmpeg_process.ffmpeg_path()}" "$@"\n')
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int, *options: str) -> Iterator[Callable[[str], None]]:
    """A file system of that size; what is yielded mounts it anew with other options, such as "size=9m"."""
    folder.mkdir()
    given = ",".join([f"size={size_bytes}", *options])
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", given, "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk is refused here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True) and None
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


COMMAND = Path(sys.executable).parent / "visualize"


def visualize(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
