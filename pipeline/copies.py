"""Exact copies in an archive, by size and SHA-256: found while it is listed, or behind that, in small steps beside other work."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline import ledger
from pipeline.discovery import PassedOver
from pipeline.errors import OutputError
from pipeline.ledger import Ledger
from pipeline.records import Found

STEP_BYTES = 8 << 20
STEP_SECONDS = 0.1  # so long whoever has other things to do is kept waiting


class Copies:
    """Of the files of one run. Only a file whose size another one has is read for it, once: the ledger keeps what came of that."""

    def __init__(self, book: Ledger, *, root: Path, settings: int, run: int, exists: Callable[[bytes], bool]) -> None:
        self._book, self._root, self._settings, self._run, self._exists = book, root, settings, run, exists
        self._fresh: dict[int, list[Found]] = {}  # by size what is marked and may not stand in the ledger yet
        self._stepped = time.monotonic()

    def marked(self, listing: Iterable[Found | PassedOver]) -> Iterator[Found | PassedOver | None]:
        """The same, where a file is an exact copy of one before it with `copy_of`; None now and then, while files are read.

        Whatever is marked has to be entered into the ledger, in this order; then `entered` is to be called.
        """
        for found in listing:
            if isinstance(found, PassedOver) or not found.size_bytes:
                yield found
                continue
            if found.size_bytes in self._fresh or self._book.shares_size(found):
                digest = yield from self._digest(found)
                found = replace(found, sha256=digest)
                if digest is not None:
                    yield from self._read_others(found.size_bytes)
                    found = replace(found, copy_of=self._original(found, digest))
            self._fresh.setdefault(found.size_bytes, []).append(found)
            yield found

    def entered(self) -> None:
        """All that was marked stands in the ledger now."""
        for found in (each for same in self._fresh.values() for each in same):
            if found.sha256 is not None:
                self._remember(found, found.sha256)
        self._fresh.clear()

    def look(self) -> Iterator[None]:
        """Behind a listing: read what may be a copy and was not read yet."""
        for found in self._book.undigested(run=self._run):
            yield from self._digest(self._placed(found))

    def count(self) -> int:
        """How many of the files that this run has found, and read, are exact copies of others."""
        return self._book.count_copies(run=self._run)

    def _read_others(self, size_bytes: int) -> Generator[None]:
        for found in self._book.undigested(size_bytes=size_bytes):
            yield from self._digest(self._placed(found))
        same = self._fresh.get(size_bytes, [])
        for place, each in enumerate(same):
            if each.sha256 is None:
                digest = yield from self._digest(each)
                same[place] = replace(each, sha256=digest)

    def _original(self, found: Found, digest: bytes) -> bytes | None:
        """The path below the root of the file that is made in place of this one, None where it is to be made itself."""
        for original, output in self._book.originals(found, digest, settings=self._settings):
            if (output is None or self._exists(output)) and _is_unchanged(self._placed(original)):
                return original.relative
        same = (each for each in self._fresh.get(found.size_bytes, ()) if (each.sha256, each.kind) == (digest, found.kind))
        return next((each.relative for each in same if each.copy_of is None), None)

    def _placed(self, found: Found) -> Found:
        return replace(found, path=self._root / os.fsdecode(found.relative))

    def _digest(self, found: Found) -> Generator[None, None, bytes | None]:
        """What is known, or what comes of reading it; None where it cannot be read or is not what was found any more."""
        known = found.sha256 or self._book.digest(found)
        if known is not None:
            return known
        digest = hashlib.sha256()
        try:
            if not _is_unchanged(found):  # which also tells a named pipe
                return None
            with found.path.open("rb", buffering=0) as file:
                while piece := file.read(STEP_BYTES):
                    digest.update(piece)
                    if time.monotonic() - self._stepped > STEP_SECONDS:
                        yield
                        self._stepped = time.monotonic()
        except OSError:
            return None
        if not _is_unchanged(found):
            return None
        self._remember(found, digest.digest())
        return digest.digest()

    def _remember(self, found: Found, digest: bytes) -> None:
        try:
            self._book.set_digest(found, digest)
        except OutputError as error:
            if not ledger.is_full(error):
                raise  # without room the file is read once more another time


def _is_unchanged(found: Found) -> bool:
    try:
        now = found.path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (found.size_bytes, found.mtime_ns)
