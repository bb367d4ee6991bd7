"""A folder that one run at a time works in: a lock of the system's on a file in it, gone when the process is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import BusyError, report_write_errors

LOCK_NAME = "lock"


@contextmanager
def lock_folder(folder: Path, output: Path) -> Iterator[None]:
    """A folder of what an output is made of, made where it is missing, with no other run in it while the block lasts.

    Raises BusyError when another run is at work on the same output, OutputError when the folder cannot be made; both name `output`.
    """
    with report_write_errors(output):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take_lock(descriptor):
            raise BusyError(f"{output}: another run is making it at this moment", remedy="wait for it, or name another output")
        yield
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0  # else the run that held it has just removed it
