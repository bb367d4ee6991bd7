"""What is in one folder: the names that are not hidden, and which of them go together."""

# A Path for each name would cost more than the walk itself, so names stay text until they are handed on.
# ruff: noqa: PTH122

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.records import natural_key

_OUTPUT_MARK = "_output"


@dataclass(frozen=True)
class FolderListing:
    """The names in one folder that are not hidden, in natural order.

    `alike` has those that differ from another one in their suffix and in case alone; `sources_of` the names from which an earlier
    run may have made one that ends in _output.
    """

    files: Sequence[str]
    folders: Sequence[str]
    alike: dict[str, list[str]]
    sources_of: dict[str, list[str]]


def list_folder(folder: str) -> FolderListing:
    """Raises OSError where it cannot be listed."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if _leads_to_folder(entry) else files).append(entry.name)
    first: dict[str, str] = {}
    alike: dict[str, list[str]] = {}
    for name in files:
        stem = stem_of(name).casefold()
        if first.setdefault(stem, name) is not name:
            alike.setdefault(stem, [first[stem]]).append(name)
    outputs = [name for name in files if stem_of(name).endswith(_OUTPUT_MARK)]
    names = set(files) if outputs else set()
    sources_of = {}
    for output in outputs:
        stem = stem_of(output).removesuffix(_OUTPUT_MARK)
        beside = alike.get(stem.casefold()) or [first.get(stem.casefold(), "")]
        sources_of[output] = [name for name in beside if name and stem_of(name) == stem] + [stem] * (stem in names)
    return FolderListing(sort_naturally(files), sort_naturally(folders), alike, sources_of)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where one may not look
        return False


def sort_naturally(names: Iterable[str]) -> list[str]:
    """In natural order, the same whatever order they came in."""
    return sorted(names, key=lambda name: (natural_key(name), name))


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def stem_of(name: str) -> str:
    """A name without its last suffix."""
    return os.path.splitext(name)[0]
