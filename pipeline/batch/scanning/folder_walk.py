"""Every picture and video of an archive, found while the folders are walked."""

# A Path for each name would cost more than the walk itself, so names stay text until they are handed on.
# ruff: noqa: PTH112, PTH114, PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.batch.scanning.folder_entries import FolderListing, join, list_folder, sort_naturally, stem_of
from pipeline.batch.scanning.inclusion_rules import Rules, Selection, format_size
from pipeline.batch.scanning.media_files import MEDIA_SUFFIXES, NOT_TAKEN, RAW_SUFFIXES, detect_kind, is_input, suffix_of
from pipeline.batch.scanning.source_arguments import make_absolute
from pipeline.records import Found

_NON_FILES = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """Something that looks like an input but is not taken, and why."""

    path: Path
    reason: str


def discover(paths: Sequence[Path], *, root: Path, output: Path, rules: Rules) -> Iterator[Found | PassedOver]:
    """Every picture and video at and below `paths`, each real file once, as the folders are walked; `root` is their common_root.

    First the files among `paths`, then the folders; all in natural order, a folder's files before its subfolders. The paths are
    absolute. What is hidden, within `output`, or the output of an earlier run beside its input is left out.
    """
    walk = _Walk(selection=Selection(rules, make_absolute(root)), output=os.path.realpath(output))
    tops = sort_naturally({make_absolute(path) for path in paths})
    folders = [top for top in tops if os.path.isdir(top)]
    files = [top for top in tops if not os.path.isdir(top)]
    for top in (*folders, *(name for name in files if not os.path.islink(name))):
        walk.places.setdefault(os.path.realpath(top), walk.selection.below_root(top))
    named = set(files)
    for top in files:
        yield from walk.walk_named_file(top, named)
    for top in folders:
        yield from walk.walk_folder(top)


@dataclass
class _Walk:
    """What has to be remembered from one folder to the next. `places` tells where real files and folders stand below the root."""

    output: str
    selection: Selection
    places: dict[str, str] = field(default_factory=dict)
    folders_seen: set[tuple[int, int]] = field(default_factory=set)
    taken: set[tuple[int, int]] = field(default_factory=set)
    listings: dict[str, FolderListing] = field(default_factory=dict)

    def is_in_output(self, real: str) -> bool:
        return real == self.output or real.startswith(self.output.rstrip("/") + "/")

    def is_reached_otherwise(self, real: str, *, is_folder: bool) -> bool:
        """Whether the walk comes to a link's target where it really is: below a folder that is walked, not hidden, and wanted."""
        above, rest = real, ""
        while True:
            place = self.places.get(above)
            if place is not None and "/." not in rest:
                return self.selection.wants_with_parents((place + rest).lstrip("/"), is_folder=is_folder)
            if above == "/":
                return False
            above = above.rpartition("/")[0] or "/"
            rest = real[len(above.rstrip("/")) :]

    # folders

    def walk_folder(self, top: str) -> Iterator[Found | PassedOver]:
        """What is wanted below a folder."""
        wanted = self.selection.wants_with_parents(self.selection.below_root(top), is_folder=True)
        if not wanted or self.is_in_output(os.path.realpath(top)):
            return
        # A stack, not recursion: trees are deeper than Python's calls may be.
        stack: list[Iterator[tuple[str, str]]] = [iter([(top, os.path.realpath(top))])]
        while stack:
            path, real = next(stack[-1], ("", ""))
            if not path:
                stack.pop()
                continue
            try:
                listing = self.enter(path)
            except (FileNotFoundError, NotADirectoryError):  # gone since its parent was listed
                continue
            except OSError as error:
                yield from self.pass_over(path, f"the folder cannot be read: {error.strerror or error}")
                continue
            if listing is not None:
                for name in listing.files:
                    yield from self.walk_listed_file(path, name, listing)
                stack.append(self.list_subfolders(path, real, listing.folders))

    def enter(self, path: str) -> FolderListing | None:
        """What is in the folder; None if it was walked before, by another way."""
        info = os.stat(path)
        if (info.st_dev, info.st_ino) in self.folders_seen:
            return None
        self.folders_seen.add((info.st_dev, info.st_ino))
        return list_folder(path)

    def list_subfolders(self, path: str, real: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The path as it is walked and the real one of those to be walked."""
        for name in names:
            below = join(path, name)
            if self.selection.excludes(self.selection.below_root(below)):
                continue
            beneath = join(real, name)
            if os.path.islink(below):
                beneath = os.path.realpath(below)
                if self.is_reached_otherwise(beneath, is_folder=True):
                    continue
                self.places.setdefault(beneath, self.selection.below_root(below))
            if not self.is_in_output(beneath):
                yield below, beneath

    # files

    def walk_named_file(self, path: str, named: set[str]) -> Iterator[Found | PassedOver]:
        """A file that the user named, which may be hidden."""
        wanted = self.selection.wants_with_parents(self.selection.below_root(path), is_folder=False)
        if not wanted or self.is_in_output(os.path.realpath(path)):
            return
        folder, _, name = path.rpartition("/")
        listing = self.list_once(folder or "/")
        if any(join(folder, source) in named for source in self.sources_of(folder, name, listing)):
            return
        yield from self.walk_file(path, listing, named=True)

    def list_once(self, folder: str) -> FolderListing:
        if folder not in self.listings:
            if len(self.listings) >= 8:
                del self.listings[next(iter(self.listings))]
            try:
                self.listings[folder] = list_folder(folder)
            except OSError:
                self.listings[folder] = FolderListing((), (), {}, {})
        return self.listings[folder]

    def walk_listed_file(self, folder: str, name: str, listing: FolderListing) -> Iterator[Found | PassedOver]:
        path = join(folder, name)
        if self.selection.wants(self.selection.below_root(path)) and not any(self.sources_of(folder, name, listing)):
            yield from self.walk_file(path, listing)

    def sources_of(self, folder: str, name: str, listing: FolderListing) -> Iterator[str]:
        """The inputs beside it from which an earlier run may have made this file."""
        return (source for source in listing.sources_of.get(name, ()) if is_input(join(folder, source)))

    def walk_file(self, path: str, listing: FolderListing, *, named: bool = False) -> Iterator[Found | PassedOver]:
        suffix = suffix_of(path)
        is_told = named or suffix in MEDIA_SUFFIXES  # whether to say why it is not taken
        try:
            info = os.lstat(path)
            linked = stat.S_ISLNK(info.st_mode)
            if linked:
                real, info = os.path.realpath(path, strict=True), os.stat(path)
                if self.is_in_output(real) or self.is_reached_otherwise(real, is_folder=False):
                    return
        except (FileNotFoundError, NotADirectoryError):
            if is_told and os.path.islink(path):
                yield from self.pass_over(path, "a symbolic link that leads nowhere")
            return
        except OSError as error:
            if is_told:
                yield from self.pass_over(path, f"cannot be looked at: {error.strerror or error}")
            return
        if not stat.S_ISREG(info.st_mode):
            kind = _NON_FILES.get(stat.S_IFMT(info.st_mode))
            if is_told and kind:
                yield from self.pass_over(path, f"{kind}, not a file")
            return
        yield from self.walk_regular_file(path, info, listing, once=linked or named or info.st_nlink > 1)

    def walk_regular_file(self, path: str, info: os.stat_result, listing: FolderListing, *, once: bool) -> Iterator[Found | PassedOver]:
        """`once` says that the file may be come upon again under another name."""
        relative = self.selection.below_root(path)
        if not once and not self.selection.has_in_shard(relative):  # before the file is opened
            return
        suffix = suffix_of(path)
        kind = detect_kind(path, suffix, info.st_size)
        if kind is None and suffix not in RAW_SUFFIXES:
            return
        identity = info.st_dev, info.st_ino
        if identity in self.taken:
            return
        if once:
            self.taken.add(identity)
        limit = self.selection.rules.max_size_bytes
        if kind is None or suffix in NOT_TAKEN:
            yield from self.pass_over(path, NOT_TAKEN[suffix])
        elif limit is not None and info.st_size > limit:
            yield from self.pass_over(path, f"larger than --max-size {format_size(limit)}: {format_size(info.st_size, than=limit)}")
        elif self.selection.has_in_shard(relative):
            yield Found(
                path=Path(path),
                relative=os.fsencode(relative),
                kind=kind,
                size_bytes=info.st_size,
                mtime_ns=info.st_mtime_ns,
                clashes=_clashes(path, listing),
            )

    def pass_over(self, path: str, reason: str) -> Iterator[PassedOver]:
        """Said by one of the shards."""
        if self.selection.has_in_shard(self.selection.below_root(path)):
            yield PassedOver(path=Path(path), reason=reason)


def _clashes(path: str, listing: FolderListing) -> bool:
    folder, _, name = path.rpartition("/")
    return any(other != name and is_input(join(folder, other)) for other in listing.alike.get(stem_of(name).casefold(), ()))
