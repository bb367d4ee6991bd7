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

from pipeline.errors import OutputError, report_write_errors, write_error
from pipeline.files import processes


class PendingFile:
    """A file written under a temporary name in the output's folder, or in a `folder` of the same file system.

    Write to `path` in a `with` block: it is removed where the block fails, and stays where it ends well, until `commit` gives it the name
    `output` or `discard` removes it. What killed runs have left in the output's folder is removed first.

    Raises OutputError when the disk refuses, in the block too.
    """

    def __init__(self, output: Path, *, overwrite: bool, folder: Path | None = None) -> None:
        # Hidden, and with the same suffix, which tells encoders and image writers the format.
        stem = os.fsencode(output.stem)[:100].decode(errors="ignore")  # a name holds 255 bytes, and a letter takes up to four
        self.output, self._overwrite = output, overwrite
        self.path = (folder or output.parent) / f".{stem}.{_host()}-{os.getpid()}-{next(_numbers)}.part{output.suffix}"

    def __enter__(self) -> PendingFile:
        with report_write_errors(self.output):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            # Once is enough: what dies while this process lives is somebody's to tell, who sweeps then.
            if self.output.parent not in _swept:
                remove_leftovers(self.output.parent)
                _swept.add(self.output.parent)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self.discard()
        if isinstance(error, OSError):
            raise write_error(self.output, error) from error

    def commit(self) -> None:
        """Flush the file to disk, then rename it. Raises OutputError when `output` has appeared meanwhile and `overwrite` is off."""
        try:
            with report_write_errors(self.output):
                flush(self.path)
                if self._overwrite:
                    self.path.replace(self.output)
                else:
                    _rename_to_new(self.path, self.output)
                flush(self.output.parent)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the temporary file, where there is one."""
        self.path.unlink(missing_ok=True)


@contextmanager
def atomic_write(output: Path, *, overwrite: bool, folder: Path | None = None) -> Iterator[Path]:
    """A temporary path to write to; it gets the name `output` when the block ends well, and is removed when it does not.

    It lies as PendingFile says. Raises OutputError when `output` has appeared meanwhile and `overwrite` is off, or when the disk refuses.
    """
    with PendingFile(output, overwrite=overwrite, folder=folder) as pending:
        yield pending.path
        pending.commit()


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
