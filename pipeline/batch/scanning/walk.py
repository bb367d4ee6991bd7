"""What is in an archive: from what the user names to every picture and video below it, found while the folders are walked."""

# A Path for each name would cost more than the walk itself, so names stay text until they are handed on.
# ruff: noqa: PTH100, PTH112, PTH114, PTH116, PTH118, PTH120, PTH122, PTH207

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipeline.errors import CommandError
from pipeline.files import file_types
from pipeline.files.file_types import JPEG_STREAM_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.records import Found, natural_key

_MEDIA_SUFFIXES = frozenset((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
# Their containers can hold video, and then it is the cover.
_AUDIO_SUFFIXES = frozenset(
    (".mp3", ".wav", ".flac", ".m4a", ".m4b", ".aac", ".oga", ".opus", ".wma", ".mka", ".aif", ".aiff", ".ac3", ".dts")
)
_SOURCE_CODE_SUFFIXES = (".ts", ".mts")  # TypeScript, where they are texts
_RAW_SUFFIXES = frozenset(
    (".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f")
)
# By their first bytes they are pictures and videos, and yet not what is meant.
_NOT_TAKEN = {
    **dict.fromkeys(_RAW_SUFFIXES, "a camera's raw picture, which is not read here"),
    **dict.fromkeys((".part", ".partial", ".crdownload"), "an unfinished download"),
    ".thm": "a camera's thumbnail of another file",
}
_OUTPUT_MARK = "_output"
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII)
_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_NON_FILES = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """Something that looks like an input but is not taken, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which inputs are wanted: patterns on the path below the root, a largest size, and (K, N) for the Kth part of N."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_size_bytes: int | None = None
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for option, patterns in (("--include", self.include), ("--exclude", self.exclude)):
            if isinstance(patterns, str) or not all(pattern.strip("/") for pattern in patterns):
                raise CommandError(f"{option} {patterns!r}: not a list of patterns such as *.mp4 or 2019/*")
        if self.max_size_bytes is not None and self.max_size_bytes < 1:
            raise CommandError(f"--max-size {self.max_size_bytes}: not more than 0")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise CommandError(f"--shard {self.shard[0]}/{self.shard[1]}: not K/N with K from 1 to N")


def parse_size(text: str) -> int:
    """Bytes of "500M", "2 GB", "1.5GiB" or "1000": k, M, G and T are powers of 1000, KiB to TiB of 1024. Raises CommandError."""
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match:
        number, unit, binary = match.groups()
        size = int(Fraction(number) * (1024 if binary else 1000) ** (" kmgt".index(unit.lower()) if unit else 0))
    if size < 1:
        raise CommandError(f"--max-size {text}: not a size such as 500M, 2G or 1.5GiB")
    return size


def parse_shard(text: str) -> tuple[int, int]:
    """(K, N) of "K/N". Raises CommandError."""
    match = _SHARD.fullmatch(text.strip())
    if not match:
        raise CommandError(f"--shard {text}: not K/N, such as 2/4 for the second of four parts")
    shard = int(match[1]), int(match[2])
    Rules(shard=shard)
    return shard


# ------------------------------------------------------------------------------------------------ what the user names


def expand(arguments: Sequence[str]) -> list[Path]:
    """Files and folders as they are, patterns that are no such path, and `@list.txt`, a file with one path a line ("@-": stdin).

    Raises CommandError for a path that is missing, a pattern that nothing matches, a list without paths, and for nothing at all.
    """
    paths: list[Path] = []
    for argument in arguments:
        if argument.startswith("@"):
            paths.extend(_listed(argument))
        elif _why_missing(argument) is not None and glob.has_magic(argument) and not file_types.why_no_file(argument):
            paths.extend(_matching(argument))
        else:
            paths.append(_there(argument))
    if not paths:
        raise CommandError("no sources", remedy="name files, folders, patterns, or @list.txt")
    return paths


def _why_missing(path: str) -> str | None:
    if not path:
        return "an empty name"  # a shell's unset variable; to Path it would be the current folder
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "no such file or folder"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _there(path: str, *, within: str = "") -> Path:
    why = _why_missing(path)
    if why is not None:
        why = file_types.why_no_file(path) or why
        raise CommandError(f"{within}{path or repr(path)}: {why}")
    return Path(path)


def _listed(argument: str) -> list[Path]:
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
    return [_there(os.fsdecode(line), within=f"{argument}, line {number}: ") for number, line in wanted]


def _matching(pattern: str) -> list[Path]:
    found = _recursively(pattern) if "**" in pattern.split("/") else glob.glob(pattern)
    if not found:
        raise CommandError(f"{pattern}: nothing matches")
    return [Path(name) for name in _in_order(found)]


def _recursively(pattern: str) -> list[str]:
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
            listing = _list(folder or ".")
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


def _in_order(names: Iterable[str]) -> list[str]:
    """In natural order, the same whatever order they came in."""
    return sorted(names, key=lambda name: (natural_key(name), name))


def common_root(paths: Sequence[Path]) -> Path:
    """The folder below which outputs mirror the tree: the deepest that holds all sources, or is the only one. Absolute, links kept."""
    tops = [absolute(path) for path in paths]
    return Path(os.path.commonpath([top if os.path.isdir(top) else os.path.dirname(top) for top in tops]))


def absolute(path: Path) -> str:
    """The path from the top, without "..", which the shell takes off the text and the system off the folder that a link leads to."""
    plain = os.path.abspath(path)
    if ".." not in path.parts:
        return plain
    try:
        return plain if os.path.samestat(os.lstat(plain), os.lstat(path)) else os.path.realpath(path)
    except OSError:
        return os.path.realpath(path)


# ------------------------------------------------------------------------------------------------ the walk


def discover(paths: Sequence[Path], *, root: Path, output: Path, rules: Rules) -> Iterator[Found | PassedOver]:
    """Every picture and video at and below `paths`, each real file once, as the folders are walked; `root` is their common_root.

    First the files among `paths`, then the folders; all in natural order, a folder's files before its subfolders. The paths are
    absolute. What is hidden, within `output`, or the output of an earlier run beside its input is left out.
    """
    walk = _Walk(root=absolute(root), output=os.path.realpath(output), rules=rules)
    tops = _in_order({absolute(path) for path in paths})
    folders = [top for top in tops if os.path.isdir(top)]
    files = [top for top in tops if not os.path.isdir(top)]
    for top in (*folders, *(name for name in files if not os.path.islink(name))):
        walk.places.setdefault(os.path.realpath(top), walk.below_root(top))
    named = set(files)
    for top in files:
        yield from walk.named_file(top, named)
    for top in folders:
        yield from walk.folder(top)


@dataclass(frozen=True)
class _Listing:
    """The names in one folder that are not hidden, in natural order.

    `alike` has those that differ from another one in their suffix and in case alone; `sources_of` the names from which an earlier
    run may have made one that ends in _output.
    """

    files: Sequence[str]
    folders: Sequence[str]
    alike: dict[str, list[str]]
    sources_of: dict[str, list[str]]


@dataclass
class _Walk:
    """What has to be remembered from one folder to the next. `places` tells where real files and folders stand below the root."""

    root: str
    output: str
    rules: Rules
    places: dict[str, str] = field(default_factory=dict)
    folders_seen: set[tuple[int, int]] = field(default_factory=set)
    taken: set[tuple[int, int]] = field(default_factory=set)
    listings: dict[str, _Listing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.include = [_compiled(pattern + "*" * pattern.endswith("/")) for pattern in self.rules.include]
        self.exclude = [_compiled(pattern) for pattern in self.rules.exclude]

    # what is wanted

    def below_root(self, path: str) -> str:
        if path == self.root:
            return ""
        prefix = self.root.rstrip("/") + "/"
        if not path.startswith(prefix):
            raise ValueError(f"{path} is not below {self.root}")
        return path[len(prefix) :]

    def excluded(self, relative: str) -> bool:
        return bool(relative) and any(pattern.match(relative) for pattern in self.exclude)

    def wanted(self, relative: str) -> bool:
        included = not self.include or any(pattern.match(relative) for pattern in self.include)
        return included and not self.excluded(relative)

    def wanted_with_parents(self, relative: str, *, is_folder: bool) -> bool:
        parents = [relative[:at] for at, letter in enumerate(relative) if letter == "/"]
        return not any(map(self.excluded, parents)) and (not self.excluded(relative) if is_folder else self.wanted(relative))

    def in_shard(self, relative: str) -> bool:
        if self.rules.shard is None:
            return True
        part, parts = self.rules.shard
        return int(hashlib.sha256(os.fsencode(relative)).hexdigest()[:16], 16) % parts == part - 1

    def in_output(self, real: str) -> bool:
        return real == self.output or real.startswith(self.output.rstrip("/") + "/")

    def reached_otherwise(self, real: str, *, is_folder: bool) -> bool:
        """Whether the walk comes to a link's target where it really is: below a folder that is walked, not hidden, and wanted."""
        above, rest = real, ""
        while True:
            place = self.places.get(above)
            if place is not None and "/." not in rest:
                return self.wanted_with_parents((place + rest).lstrip("/"), is_folder=is_folder)
            if above == "/":
                return False
            above = above.rpartition("/")[0] or "/"
            rest = real[len(above.rstrip("/")) :]

    # folders

    def folder(self, top: str) -> Iterator[Found | PassedOver]:
        if self.in_output(os.path.realpath(top)) or not self.wanted_with_parents(self.below_root(top), is_folder=True):
            return
        # A stack, not recursion: trees are deeper than Python's calls may be.
        stack: list[Iterator[tuple[str, str]]] = [iter([(top, os.path.realpath(top))])]
        while stack:
            path, real = next(stack[-1], ("", ""))
            if not path:
                stack.pop()
                continue
            try:
                listing = self.entered(path)
            except (FileNotFoundError, NotADirectoryError):  # gone since its parent was listed
                continue
            except OSError as error:
                yield from self.passed_over(path, f"the folder cannot be read: {error.strerror or error}")
                continue
            if listing is not None:
                for name in listing.files:
                    yield from self.listed_file(path, name, listing)
                stack.append(self.subfolders(path, real, listing.folders))

    def entered(self, path: str) -> _Listing | None:
        """What is in the folder; None if it was walked before, by another way."""
        info = os.stat(path)
        if (info.st_dev, info.st_ino) in self.folders_seen:
            return None
        self.folders_seen.add((info.st_dev, info.st_ino))
        return _list(path)

    def subfolders(self, path: str, real: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The path as it is walked and the real one of those to be walked."""
        for name in names:
            below = _joined(path, name)
            if self.excluded(self.below_root(below)):
                continue
            beneath = _joined(real, name)
            if os.path.islink(below):
                beneath = os.path.realpath(below)
                if self.reached_otherwise(beneath, is_folder=True):
                    continue
                self.places.setdefault(beneath, self.below_root(below))
            if not self.in_output(beneath):
                yield below, beneath

    # files

    def named_file(self, path: str, named: set[str]) -> Iterator[Found | PassedOver]:
        """A file that the user named, which may be hidden."""
        if not self.wanted_with_parents(self.below_root(path), is_folder=False) or self.in_output(os.path.realpath(path)):
            return
        folder, _, name = path.rpartition("/")
        listing = self.listed_once(folder or "/")
        if any(_joined(folder, source) in named for source in self.sources_of(folder, name, listing)):
            return
        yield from self.file(path, listing, named=True)

    def listed_once(self, folder: str) -> _Listing:
        if folder not in self.listings:
            if len(self.listings) >= 8:
                del self.listings[next(iter(self.listings))]
            try:
                self.listings[folder] = _list(folder)
            except OSError:
                self.listings[folder] = _Listing((), (), {}, {})
        return self.listings[folder]

    def listed_file(self, folder: str, name: str, listing: _Listing) -> Iterator[Found | PassedOver]:
        path = _joined(folder, name)
        if self.wanted(self.below_root(path)) and not any(self.sources_of(folder, name, listing)):
            yield from self.file(path, listing)

    def sources_of(self, folder: str, name: str, listing: _Listing) -> Iterator[str]:
        """The inputs beside it from which an earlier run may have made this file."""
        return (source for source in listing.sources_of.get(name, ()) if _is_input(_joined(folder, source)))

    def file(self, path: str, listing: _Listing, *, named: bool = False) -> Iterator[Found | PassedOver]:
        suffix = _suffix(path)
        told = named or suffix in _MEDIA_SUFFIXES  # whether to say why it is not taken
        try:
            info = os.lstat(path)
            linked = stat.S_ISLNK(info.st_mode)
            if linked:
                real, info = os.path.realpath(path, strict=True), os.stat(path)
                if self.in_output(real) or self.reached_otherwise(real, is_folder=False):
                    return
        except (FileNotFoundError, NotADirectoryError):
            if told and os.path.islink(path):
                yield from self.passed_over(path, "a symbolic link that leads nowhere")
            return
        except OSError as error:
            if told:
                yield from self.passed_over(path, f"cannot be looked at: {error.strerror or error}")
            return
        if not stat.S_ISREG(info.st_mode):
            kind = _NON_FILES.get(stat.S_IFMT(info.st_mode))
            if told and kind:
                yield from self.passed_over(path, f"{kind}, not a file")
            return
        yield from self.regular_file(path, info, listing, once=linked or named or info.st_nlink > 1)

    def regular_file(self, path: str, info: os.stat_result, listing: _Listing, *, once: bool) -> Iterator[Found | PassedOver]:
        """`once` says that the file may be come upon again under another name."""
        relative = self.below_root(path)
        if not once and not self.in_shard(relative):  # before the file is opened
            return
        suffix = _suffix(path)
        kind = _kind(path, suffix, info.st_size)
        if kind is None and suffix not in _RAW_SUFFIXES:
            return
        identity = info.st_dev, info.st_ino
        if identity in self.taken:
            return
        if once:
            self.taken.add(identity)
        limit = self.rules.max_size_bytes
        if kind is None or suffix in _NOT_TAKEN:
            yield from self.passed_over(path, _NOT_TAKEN[suffix])
        elif limit is not None and info.st_size > limit:
            yield from self.passed_over(path, f"larger than --max-size {_size(limit)}: {_size(info.st_size, than=limit)}")
        elif self.in_shard(relative):
            yield Found(
                path=Path(path),
                relative=os.fsencode(relative),
                kind=kind,
                size_bytes=info.st_size,
                mtime_ns=info.st_mtime_ns,
                clashes=_clashes(path, listing),
            )

    def passed_over(self, path: str, reason: str) -> Iterator[PassedOver]:
        """Said by one of the shards."""
        if self.in_shard(self.below_root(path)):
            yield PassedOver(path=Path(path), reason=reason)


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _compiled(pattern: str) -> re.Pattern[str]:
    """On the whole path, or on the name if there is no slash in the pattern; **/ stands for any folders, or none."""
    whole = "/" in pattern.rstrip("/")
    pattern = pattern.removeprefix("./").strip("/")
    expression = "(?:.*/)?".join(fnmatch.translate(part)[:-2] for part in pattern.split("**/"))  # without its \Z
    return re.compile(rf"{'' if whole else '(?:.*/)?'}{expression}\Z", re.IGNORECASE | re.DOTALL)


def _list(folder: str) -> _Listing:
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if _leads_to_folder(entry) else files).append(entry.name)
    first: dict[str, str] = {}
    alike: dict[str, list[str]] = {}
    for name in files:
        stem = _stem(name).casefold()
        if first.setdefault(stem, name) is not name:
            alike.setdefault(stem, [first[stem]]).append(name)
    outputs = [name for name in files if _stem(name).endswith(_OUTPUT_MARK)]
    names = set(files) if outputs else set()
    sources_of = {}
    for output in outputs:
        stem = _stem(output).removesuffix(_OUTPUT_MARK)
        beside = alike.get(stem.casefold()) or [first.get(stem.casefold(), "")]
        sources_of[output] = [name for name in beside if name and _stem(name) == stem] + [stem] * (stem in names)
    return _Listing(_in_order(files), _in_order(folders), alike, sources_of)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where one may not look
        return False


def _clashes(path: str, listing: _Listing) -> bool:
    folder, _, name = path.rpartition("/")
    return any(other != name and _is_input(_joined(folder, other)) for other in listing.alike.get(_stem(name).casefold(), ()))


def _is_input(path: str) -> bool:
    suffix = _suffix(path)
    if suffix in _MEDIA_SUFFIXES and suffix not in _SOURCE_CODE_SUFFIXES:
        return True
    try:
        info = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and suffix not in _NOT_TAKEN and _kind(path, suffix, info.st_size) is not None


def _kind(path: str, suffix: str, size_bytes: int) -> Literal["video", "image"] | None:
    """What the content says, or else the suffix; of a file that is empty or may not be read, the suffix alone."""
    if suffix in _AUDIO_SUFFIXES:
        return None
    said, text = None, False
    if size_bytes:
        try:
            # Not to wait for a writer, should it have become a named pipe.
            with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                said = file_types.kind_by_content(file, size_bytes=size_bytes)
                if said is None and suffix in _SOURCE_CODE_SUFFIXES:
                    file.seek(0)
                    text = file_types.is_text(file.read(file_types.HEAD_BYTES))
        except OSError:
            pass
    if said is not None:  # a bare stream of JPEGs begins as a JPEG does
        return "video" if suffix in JPEG_STREAM_SUFFIXES else said
    if text or suffix not in _MEDIA_SUFFIXES:
        return None
    return "video" if suffix in VIDEO_SUFFIXES else "image"


def _size(size_bytes: int, *, than: int | None = None) -> str:
    """Three digits, or all where these would not tell it from another."""
    power = next((power for power in (4, 3, 2, 1) if size_bytes >= 1000**power), 0)
    text = f"{size_bytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
    return f"{size_bytes} bytes" if than is not None and text == _size(than) else text
