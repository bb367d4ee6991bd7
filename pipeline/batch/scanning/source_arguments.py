"""What the user names as sources: files, folders, patterns and lists become paths."""

# A Path for each name would cost more than the walk itself, so names stay text until they are handed on.
# ruff: noqa: PTH100, PTH112, PTH114, PTH118, PTH120, PTH207

from __future__ import annotations

import fnmatch
import glob
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.batch.scanning.folder_entries import list_folder, sort_naturally
from pipeline.errors import CommandError
from pipeline.files import explain_no_file


def expand_sources(arguments: Sequence[str]) -> list[Path]:
    """Files and folders as they are, patterns that are no such path, and `@list.txt`, a file with one path a line ("@-": stdin).

    Raises CommandError for a path that is missing, a pattern that nothing matches, a list without paths, and for nothing at all.
    """
    paths: list[Path] = []
    for argument in arguments:
        if argument.startswith("@"):
            paths.extend(_read_list(argument))
        elif _explain_missing(argument) is not None and glob.has_magic(argument) and not explain_no_file(argument):
            paths.extend(_match_pattern(argument))
        else:
            paths.append(_check_exists(argument))
    if not paths:
        raise CommandError("no sources", remedy="name files, folders, patterns, or @list.txt")
    return paths


def _explain_missing(path: str) -> str | None:
    if not path:
        return "an empty name"  # a shell's unset variable; to Path it would be the current folder
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "no such file or folder"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _check_exists(path: str, *, within: str = "") -> Path:
    why = _explain_missing(path)
    if why is not None:
        why = explain_no_file(path) or why
        raise CommandError(f"{within}{path or repr(path)}: {why}")
    return Path(path)


def _read_list(argument: str) -> list[Path]:
    name = argument[1:]
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        remedy = f"for a file of that name give ./{argument}" if os.path.lexists(argument) else ""
        raise CommandError(f"{argument}: the list cannot be read: {error.strerror or error}", remedy=remedy) from error
    if b"\0" in data:
        raise CommandError(f"{argument}: has zero bytes in it", remedy="a list has one path a line, as the file system writes it")
    lines = [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    wanted = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith(b"#")]
    if not wanted:
        raise CommandError(f"{argument}: the list has no paths in it")
    return [_check_exists(os.fsdecode(line), within=f"{argument}, line {number}: ") for number, line in wanted]


def _match_pattern(pattern: str) -> list[Path]:
    found = _match_recursively(pattern) if "**" in pattern.split("/") else glob.glob(pattern)
    if not found:
        raise CommandError(f"{pattern}: nothing matches")
    return [Path(name) for name in sort_naturally(found)]


def _match_recursively(pattern: str) -> list[str]:
    """What a pattern with ** matches, hidden names left out. It goes through no symbolic link: glob's would, in circles."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else "")
    wanted = [part for part in parts[first:] if part]
    found = [base] if base and _fits([], wanted) else []
    waiting: list[tuple[str, list[str]]] = [(base, [])]
    while waiting:
        folder, below = waiting.pop()
        with suppress(OSError):
            listing = list_folder(folder or ".")
            inner = [(os.path.join(folder, name), [*below, name]) for name in (*listing.files, *listing.folders)]
            found.extend(path for path, names in inner if _fits(names, wanted))
            waiting.extend((path, names) for path, names in inner[len(listing.files) :] if not os.path.islink(path))
    return found


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, ** any number of them."""
    if "**" not in pattern:
        return len(parts) == len(pattern) and all(map(fnmatch.fnmatchcase, parts, pattern))
    at = pattern.index("**")
    rest = pattern[at + 1 :]
    if not _fits(parts[:at], pattern[:at]):
        return False
    ends = range(at, len(parts) + 1) if "**" in rest else range(max(at, len(parts) - len(rest)), len(parts) + 1)[:1]
    return any(_fits(parts[end:], rest) for end in ends)


def find_common_root(paths: Sequence[Path]) -> Path:
    """The folder below which outputs mirror the tree: the deepest that holds all sources, or is the only one. Absolute, links kept."""
    tops = [make_absolute(path) for path in paths]
    return Path(os.path.commonpath([top if os.path.isdir(top) else os.path.dirname(top) for top in tops]))


def make_absolute(path: Path) -> str:
    """The path from the top, without "..", which the shell takes off the text and the system off the folder that a link leads to."""
    plain = os.path.abspath(path)
    if ".." not in path.parts:
        return plain
    try:
        return plain if os.path.samestat(os.lstat(plain), os.lstat(path)) else os.path.realpath(path)
    except OSError:
        return os.path.realpath(path)
