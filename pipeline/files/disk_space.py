"""Whether a folder's disk has room, found by writing: what is free says nothing of a quota."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pipeline.errors import is_disk_full

TRIED_BYTES = 1 << 16


def find_disk_full(folder: Path) -> OSError | None:
    """The system's refusal to write 64 KiB more into a folder for want of room or quota; None where it writes them. Leaves nothing behind.

    Random bytes, so that a file system that compresses or leaves out zeros needs the room too.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error if is_disk_full(error) else None
    return None
