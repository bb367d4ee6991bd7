"""Room on the disk: while there is none a run pauses, and what must be written down waits."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.batch.store.database import is_full
from pipeline.errors import OutputError

ENOUGH_BYTES = 64 << 20  # more room than when it was full, or a hundredth of the disk, and the run goes on


class DiskGate:
    """Open while the disk of `folder` has room; `say` is told when it closes and opens."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._free_when_closed: int | None = None
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def is_open(self) -> bool:
        return self._free_when_closed is None

    @property
    def has_waiting(self) -> bool:
        """Whether a change of the store waits for room."""
        return bool(self._waiting)

    def close(self, why: str) -> None:
        """There is no room; `why` is the error that said so."""
        if self._free_when_closed is None:
            self._free_when_closed = shutil.disk_usage(self._folder).free
            self._say(f"paused, for the disk is full ({why}); make room, and it goes on by itself")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around a change of the store: when the disk has no room for it, the gate closes. What follows in the block is left out."""
        try:
            yield
        except OutputError as error:
            if not is_full(error):
                raise
            self.close(str(error))

    def make_sure(self, change: Callable[[], None]) -> None:
        """A change of the store that must not get lost: it is made as soon as there is room for it."""
        with self.guard():
            change()
            return
        self._waiting.append(change)

    def look(self) -> None:
        """Open where room was made, and make the changes that wait."""
        if self._free_when_closed is not None:
            usage = shutil.disk_usage(self._folder)
            if usage.free - self._free_when_closed >= min(ENOUGH_BYTES, usage.total // 100):
                self._free_when_closed = None
                self._say("there is room again: going on")
        while self._waiting and self.is_open:
            with self.guard():
                self._waiting[0]()
                self._waiting.popleft()
