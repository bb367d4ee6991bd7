"""The command as a process: started, watched, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.media import ffmpeg_process

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
