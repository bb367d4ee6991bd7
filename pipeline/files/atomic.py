"""Outputs appear whole or not at all: a temporary name in the same folder, flushed to disk, then renamed."""

from __future__ import annotations

import functools
import itertools
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import CommandError, OutputError
from pipeline.files import processes

FileId = tuple[int, int]


def identified(paths: Iterable[Path]) -> frozenset[FileId]:
    """What files are, by whatever name or link they are reached: device and inode. What is not there, or cannot be asked, is left out."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


REPLACE = "add --overwrite to replace it, or name another file with --output"


def check_output(output: Path, *, sources: frozenset[FileId], overwrite: bool, remedy: str = REPLACE) -> None:
    """Refuse, before any work, an output that must not or cannot be written. Changes nothing on disk.

    `remedy` is what to do where it exists.

    Raises OutputError when it exists (without `overwrite`), is one of the sources (by hard or symbolic link too), or lies in a
    folder that is missing or not writable.
    """
    try:
        os.lstat(output)
    except (FileNotFoundError, NotADirectoryError):  # the second is said better below
        pass
    except (OSError, ValueError) as error:  # above all a name that "_output" has made too long
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"{output}: cannot be written: {why}", remedy="name another file with --output") from error
    # A missing folder will be made, below the nearest one that is there.
    folder = next(parent for parent in output.absolute().parents if parent.exists() or parent.is_symlink())
    if not folder.is_dir():
        raise OutputError(f"{output}: {folder} is not a folder")
    if not _writable(folder):
        raise OutputError(f"{output}: the folder {folder} is not writable", remedy="name another place with --output")
    if output.is_dir():
        raise OutputError(f"{output}: is a folder", remedy="name a file")
    if identified([output]) & sources:
        raise OutputError(f"{output}: is the input itself", remedy="name another file with --output")
    if os.path.lexists(output) and not overwrite:
        raise OutputError(f"{output}: exists already", remedy=remedy)


def _writable(folder: Path) -> bool:
    # Root may write where the mode says no; a read-only file system says no to root as well.
    return os.access(folder, os.W_OK | os.X_OK)


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
        with self._as_output_error():
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
            raise self._error(error) from error

    def commit(self) -> None:
        """Flush the file to disk, then rename it. Raises OutputError when `output` has appeared meanwhile and `overwrite` is off."""
        try:
            with self._as_output_error():
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
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self.output}: cannot be written: {error.strerror or error}")


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


def name_outputs(inputs: Sequence[Path], *, output: Path | None, suffixes: Sequence[str]) -> list[Path]:
    """The output path of each input; `suffixes` has one entry for each, such as ".mp4".

    With no `output`, `NAME_output.SUFFIX` beside the input; with one input, the file `output` unless that is a folder or ends in a
    separator; with several, files in the folder `output`. Where two inputs would get one name, both keep their own suffix.

    Raises CommandError when several inputs are to go to one file, and when two would get one name even so.
    """
    is_folder = output is not None and (len(inputs) > 1 or output.is_dir() or str(output).endswith(os.sep))
    if output is not None and not is_folder:
        return [output]
    if output is not None and not output.is_dir() and (output.exists() or output.suffix in suffixes):
        raise CommandError(f"--output {output}: several inputs need a folder, and this is a file")
    paths = list(zip(inputs, suffixes, strict=True))
    named = [_beside(path, output, path.stem, suffix) for path, suffix in paths]
    times = Counter(named)
    unique = [
        name if times[name] == 1 else _beside(path, output, path.name, suffix) for name, (path, suffix) in zip(named, paths, strict=True)
    ]
    for name, count in Counter(unique).items():
        if count > 1:
            raise CommandError(f"{name}: several inputs would be written to this name", remedy="give each input once")
    return unique


def page_of(output: Path) -> Path:
    """Where the page of a video lies: beside it."""
    return output.with_suffix(".html")


def pictures_page_of(output: Path, *, count: int) -> Path:
    """Where the page of a set of pictures lies, of which this is the first output."""
    return page_of(output) if count == 1 else output.with_name("report.html")


def _beside(path: Path, folder: Path | None, stem: str, suffix: str) -> Path:
    return (folder or path.parent) / f"{stem}_output{suffix}"
