"""Outputs appear whole or not at all: a temporary name in the same folder, flushed to disk, then renamed."""

from __future__ import annotations

import functools
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import OutputError, report_write_errors
from pipeline.files import processes


@contextmanager
def atomic_write(output: Path, *, overwrite: bool, folder: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; it gets the name `output` when the block ends well, and is removed when it does not.

    It lies beside the output, or in a `folder` of the same file system. What killed runs have left
    in its folder is removed.

    Raises OutputError when `output` has appeared meanwhile and `overwrite` is off, or when the disk refuses.
    """
    # Hidden, and with the same suffix, which tells encoders and image writers the format.
    stem = os.fsencode(output.stem)[:100].decode(errors="ignore")  # a name holds 255 bytes, and a letter takes up to four
    temporary = (folder or output.parent) / f".{stem}.{_host()}-{os.getpid()}-{next(_numbers)}.part{output.suffix}"
    try:
        with report_write_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            if output.parent not in _swept:  # once is enough: what dies while this process lives is somebody's to tell, who sweeps then
                remove_leftovers(output.parent)
                _swept.add(output.parent)
            yield temporary
            flush(temporary)
            if overwrite:
                temporary.replace(output)
            else:
                _rename_to_new(temporary, output)
            flush(output.parent)
    finally:
        temporary.unlink(missing_ok=True)


_numbers = itertools.count()  # threads of one process may write two names that begin alike
_swept: set[Path] = set()
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-\d+\.part(\.[^.]*)?", re.DOTALL)


@functools.cache
def _host() -> str:
    return f"{zlib.crc32(processes.host().encode()):08x}"


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this host were writing in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name) if entry.name.startswith(".") else None
            if found and found[1] == _host() and not _is_running(int(found[2])):
                Path(entry.path).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def flush(path: Path) -> None:
    """Return when the disk has the content of a file, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_to_new(temporary: Path, output: Path) -> None:
    try:
        os.link(temporary, output)  # unlike a rename, a link never replaces what another process has just written
    except FileExistsError:
        raise OutputError(f"{output}: appeared while it was being made", remedy="add --overwrite to replace it") from None
    except OSError:  # a file system without hard links
        temporary.replace(output)
