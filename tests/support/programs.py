"""Which programs a test starts, so that its marks say so.

`watch_programs` listens to the interpreter (PEP 578) and puts the mark of every program that is started into a set. conftest.py
compares that set with the marks of each test.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableSet, Sequence
from pathlib import Path
from typing import Any

BROWSERS = ("chrom", "google-chrome")
ASKED_ABOUT_ITSELF = {"-version", "-filters"}  # once in a process, by whichever test is the first


def mark_of(executable: str, arguments: Sequence[str]) -> str | None:
    """The mark of a test that starts this: "process", "media" or "browser"; None where it takes no time to speak of."""
    name = Path(executable).name
    if name.startswith(("ffmpeg", "ffprobe")):
        return None if ASKED_ABOUT_ITSELF & set(arguments) else "media"
    if name.startswith(BROWSERS):
        return "browser"
    line = " ".join(arguments)  # of a shell, what it is told to do
    if name.startswith(("python", "visualize")) or sys.executable in line or "visualize " in line:
        return "process"
    return None


def watch_programs(started: MutableSet[str]) -> None:
    """From now on the mark of every program that this process starts is added to the set."""

    def note(event: str, given: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            executable, arguments, *_ = given
            words = [arguments] if isinstance(arguments, str | bytes | Path) else list(arguments)
            line = [os.fsdecode(word) for word in words]
            if mark := mark_of(os.fsdecode(executable or line[0]), line):
                started.add(mark)

    sys.addaudithook(note)
