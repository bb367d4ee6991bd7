"""Archives of small pictures, and a batch over them."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.batch.messages import Timings
from support import clips
from support.commands import Ended, call, end, start

QUICK = ["--segment-seconds", "0.4", "--preset", "ultrafast", "--every", "3", "--workers", "1"]


def begin(*arguments: object, cwd: Path, code: str = "", timings: Timings | None = None, **environment: str) -> subprocess.Popen[str]:
    """A batch in a process of its own; `code` is run there first, and its pauses are those of `timings`."""
    if timings is not None:
        code += (
            "import functools\nfrom pipeline.batch import scheduler\nfrom pipeline.batch.messages import Timings\n"
            f"scheduler.run = functools.partial(scheduler.run, timings={timings!r})\n"
        )
    return start("batch", *QUICK, *arguments, cwd=cwd, code=code, **environment)


def run_batch(
    *arguments: object, cwd: Path, code: str = "", timings: Timings | None = None, seconds: float = 180, **environment: str
) -> Ended:
    return end(begin(*arguments, cwd=cwd, code=code, timings=timings, **environment), seconds=seconds)


def call_batch(*arguments: object, cwd: Path) -> Ended:
    """A batch within this process, for what ends before there are workers: refusals and dry runs."""
    return call("batch", *QUICK, *arguments, cwd=cwd)


def picture(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(clips.picture(number, 96, 64)).save(path)
    return path


def ledger_of(out: Path) -> Path:
    return out / ".heatreel" / "ledger.sqlite"


def sql(out: Path, query: str, *values: Any, ledger: Path | None = None) -> list[Any]:
    with contextlib.closing(sqlite3.connect(ledger or ledger_of(out), timeout=30)) as connection:
        return connection.execute(query, values).fetchall()


def states(out: Path) -> dict[str, str]:
    """Of the newest job of each source."""
    query = "SELECT relative, state FROM job JOIN source ON source.id = source WHERE part = -1 ORDER BY job.id"
    return {os.fsdecode(relative): state for relative, state in sql(out, query)}


def status(out: Path, *options: str) -> Any:
    """The JSON object that `visualize status` prints."""
    ended = call("status", out, "--json", *options, cwd=out.parent)
    assert ended.code == 0 and ended.err == "", ended.err
    return json.loads(ended.out)


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in it, with what changes when anything is written."""
    found = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        # SQLite has a log beside the ledger while it is read, so that folder is touched.
        found[str(path.relative_to(folder))] = (info.st_ino, info.st_size, 0 if path.name == ".heatreel" else info.st_mtime_ns)
    return found
