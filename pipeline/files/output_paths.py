"""Where outputs lie: their names, and whether they may be written, asked before any work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import CommandError, OutputError, write_error

FileId = tuple[int, int]


def identify_files(paths: Iterable[Path]) -> frozenset[FileId]:
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
        raise write_error(output, error, remedy="name another file with --output") from error
    # A missing folder will be made, below the nearest one that is there.
    folder = next(parent for parent in output.absolute().parents if parent.exists() or parent.is_symlink())
    if not folder.is_dir():
        raise OutputError(f"{output}: {folder} is not a folder")
    if not _is_writable(folder):
        raise OutputError(f"{output}: the folder {folder} is not writable", remedy="name another place with --output")
    if output.is_dir():
        raise OutputError(f"{output}: is a folder", remedy="name a file")
    if identify_files([output]) & sources:
        raise OutputError(f"{output}: is the input itself", remedy="name another file with --output")
    if os.path.lexists(output) and not overwrite:
        raise OutputError(f"{output}: exists already", remedy=remedy)


def _is_writable(folder: Path) -> bool:
    # Root may write where the mode says no; a read-only file system says no to root as well.
    return os.access(folder, os.W_OK | os.X_OK)


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
    named = [_name_output(path, output, path.stem, suffix) for path, suffix in paths]
    times = Counter(named)
    unique = [
        name if times[name] == 1 else _name_output(path, output, path.name, suffix)
        for name, (path, suffix) in zip(named, paths, strict=True)
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


def _name_output(path: Path, folder: Path | None, stem: str, suffix: str) -> Path:
    return (folder or path.parent) / f"{stem}_output{suffix}"
