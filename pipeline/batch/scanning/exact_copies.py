"""Exact copies in an archive, by size, ends and SHA-256: found while it is listed, or behind that, in small steps beside other work."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

from pipeline.batch.scanning.folder_walk import PassedOver
from pipeline.batch.store.database import is_full
from pipeline.batch.store.job_store import Store
from pipeline.errors import OutputError
from pipeline.records import Found

STEP_BYTES = 8 << 20
END_BYTES = 64 << 10  # of the beginning and of the end: cameras that fill their files up make all of them as large
STEP_SECONDS = 0.1  # so long whoever has other things to do is kept waiting


class CopyFinder:
    """Of the files of one run. Of a file whose size another one has the ends are read, and the whole where another one has those too.

    Each is read once: the store keeps what came of that.
    """

    def __init__(self, store: Store, *, root: Path, settings: int, run: int, exists: Callable[[bytes], bool]) -> None:
        self._store, self._root, self._settings, self._run, self._exists = store, root, settings, run, exists
        self._fresh: dict[int, list[Found]] = {}  # by size what is marked and may not stand in the store yet
        self._ends_read: set[int] = set()  # sizes of which the ends of all that stood in the store are read
        self._stepped = time.monotonic()

    def mark(self, listing: Iterable[Found | PassedOver]) -> Iterator[Found | PassedOver | None]:
        """The same, where a file is an exact copy of one before it with `copy_of`; None now and then, while files are read.

        Whatever is marked has to be entered into the store, in this order; then `confirm_entered` is to be called.
        """
        for found in listing:
            if isinstance(found, PassedOver) or not found.size_bytes:
                yield found
                continue
            if found.size_bytes in self._fresh or self._store.digests.shares_size(found):
                yield from self._read_ends(found.size_bytes)
                found = replace(found, ends=(yield from self._ends(found)))
                digest = (yield from self._digest(found)) if self._is_alike(found) else None
                found = replace(found, sha256=digest)
                if digest is not None:
                    yield from self._read_others(found)
                    found = replace(found, copy_of=self._find_original(found, digest))
            self._fresh.setdefault(found.size_bytes, []).append(found)
            yield found

    def confirm_entered(self) -> None:
        """All that was marked stands in the store now."""
        for found in (each for same in self._fresh.values() for each in same):
            if found.ends is not None:
                self._remember(found, found.ends, of="ends")
            if found.sha256 is not None:
                self._remember(found, found.sha256)
        self._fresh.clear()

    def read_rest(self) -> Iterator[None]:
        """Behind a listing: read what may be a copy and was not read yet."""
        for found in self._store.digests.without_ends(run=self._run, above_bytes=2 * END_BYTES):
            yield from self._ends(self._with_path(found))
        for found in self._store.digests.without_digest(run=self._run, above_bytes=2 * END_BYTES):
            yield from self._digest(self._with_path(found))

    def count(self) -> int:
        """How many of the files that this run has found, and read, are exact copies of others."""
        return self._store.digests.count_copies(run=self._run)

    def _is_alike(self, found: Found) -> bool:
        """Whether another file may have the content of this one, by what is known of their ends."""
        if found.size_bytes <= 2 * END_BYTES:
            return True
        same = self._fresh.get(found.size_bytes, ())
        return found.ends is not None and (
            any(each.ends == found.ends for each in same) or self._store.digests.shares_ends(found, found.ends)
        )

    def _read_ends(self, size_bytes: int) -> Generator[None]:
        """Of all others that are as large."""
        if size_bytes not in self._ends_read:  # those of that size that come after are read as they come
            self._ends_read.add(size_bytes)
            for found in self._store.digests.without_ends(size_bytes=size_bytes, above_bytes=2 * END_BYTES):
                yield from self._ends(self._with_path(found))
        same = self._fresh.get(size_bytes, [])
        for place, each in enumerate(same):
            same[place] = replace(each, ends=(yield from self._ends(each)))

    def _read_others(self, found: Found) -> Generator[None]:
        """All others that are as large and have the same ends."""
        for other in self._store.digests.without_digest(like=found, above_bytes=2 * END_BYTES):
            yield from self._digest(self._with_path(other))
        same = self._fresh.get(found.size_bytes, [])
        for place, each in enumerate(same):
            if each.sha256 is None and each.ends == found.ends:
                same[place] = replace(each, sha256=(yield from self._digest(each)))

    def _find_original(self, found: Found, digest: bytes) -> bytes | None:
        """The path below the root of the file that is made in place of this one, None where it is to be made itself."""
        for original, output in self._store.digests.originals(found, digest, settings=self._settings):
            if (output is None or self._exists(output)) and _is_unchanged(self._with_path(original)):
                return original.relative
        same = (each for each in self._fresh.get(found.size_bytes, ()) if (each.sha256, each.kind) == (digest, found.kind))
        return next((each.relative for each in same if each.copy_of is None), None)

    def _with_path(self, found: Found) -> Found:
        return replace(found, path=self._root / os.fsdecode(found.relative))

    def _digest(self, found: Found) -> Generator[None, None, bytes | None]:
        """What is known, or what comes of reading it; None where it cannot be read or is not what was found any more."""
        known = found.sha256 or self._store.digests.find(found)
        return known or (yield from self._read(found, "sha256", lambda file: iter(lambda: file.read(STEP_BYTES), b"")))

    def _ends(self, found: Found) -> Generator[None, None, bytes | None]:
        """The same of the ends alone; None, too, for a file that is little more than these."""
        if found.size_bytes <= 2 * END_BYTES:
            return None
        known = found.ends or self._store.digests.find(found, of="ends")
        return known or (yield from self._read(found, "ends", _ends_in))

    def _read(
        self, found: Found, of: Literal["sha256", "ends"], pieces: Callable[[BinaryIO], Iterator[bytes]]
    ) -> Generator[None, None, bytes | None]:
        digest = hashlib.sha256()
        try:
            if not _is_unchanged(found):  # which also tells a named pipe
                return None
            with found.path.open("rb") as file:
                for piece in pieces(file):
                    digest.update(piece)
                    if time.monotonic() - self._stepped > STEP_SECONDS:
                        yield
                        self._stepped = time.monotonic()
        except OSError:
            return None
        if not _is_unchanged(found):
            return None
        self._remember(found, digest.digest(), of=of)
        return digest.digest()

    def _remember(self, found: Found, digest: bytes, *, of: Literal["sha256", "ends"] = "sha256") -> None:
        try:
            self._store.digests.write(found, digest, of=of)
        except OutputError as error:
            if not is_full(error):
                raise  # without room the file is read once more another time


def _ends_in(file: BinaryIO) -> Iterator[bytes]:
    yield file.read(END_BYTES)
    file.seek(-END_BYTES, os.SEEK_END)
    yield file.read(END_BYTES)


def _is_unchanged(found: Found) -> bool:
    try:
        now = found.path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (found.size_bytes, found.mtime_ns)
