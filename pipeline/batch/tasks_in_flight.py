"""What is handed out: which worker has which tasks, and how far it is with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.batch.messages import Advanced, Task
from pipeline.batch.store.row_records import Lease
from pipeline.files import Process


@dataclass
class Attempt:
    """A task that a worker has, with the lease of its job."""

    lease: Lease
    task: Task
    worker: int
    frames_done: int = 0
    frames_total: int | None = None
    advanced_seconds: float | None = None  # when its worker last told of it, by the monotonic clock

    @property
    def title(self) -> str:
        part = "" if self.lease.part is None else f", part {self.lease.part + 1}"
        return f"{self.task.found.path.name}{part}"


class InFlight:
    """Workers by number, from 0, and the attempts that each has. A worker that is not ready has no owner, and gets nothing."""

    def __init__(self, workers: int) -> None:
        self._attempts: dict[str, Attempt] = {}  # by token, in the order in which they were handed out
        self._owners: list[Process | None] = [None] * workers

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._attempts.values())

    @property
    def owners(self) -> list[Process | None]:
        """The process behind each worker; None while it loads its model."""
        return list(self._owners)

    def make_ready(self, worker: int, owner: Process) -> None:
        self._owners[worker] = owner

    def add(self, worker: int, lease: Lease, task: Task) -> None:
        self._attempts[lease.token] = Attempt(lease, task, worker)

    def take(self, token: str) -> Attempt | None:
        """Remove an attempt that has ended; None where it was nobody's any more."""
        return self._attempts.pop(token, None)

    def lose(self, worker: int) -> list[Attempt]:
        """Remove a worker's attempts, in the order in which it got them: it has died, and is ready when another has its place."""
        self._owners[worker] = None
        lost = self.held_by(worker)
        for attempt in lost:
            del self._attempts[attempt.lease.token]
        return lost

    def advance(self, event: Advanced, now: float) -> None:
        """A worker has told how far it is."""
        attempt = self._attempts.get(event.token)
        if attempt is not None:
            attempt.frames_done, attempt.frames_total, attempt.advanced_seconds = event.frames_done, event.frames_total, now

    def held_by(self, worker: int) -> list[Attempt]:
        return [attempt for attempt in self._attempts.values() if attempt.worker == worker]

    def takes_more(self, worker: int, ahead: int) -> bool:
        """Whether it is ready and has exactly `ahead` tasks; what has crashed a worker before is alone there, lest others die with it."""
        held = self.held_by(worker)
        return self._owners[worker] is not None and len(held) == ahead and not any(attempt.lease.crashes for attempt in held)

    def count_frames(self) -> Mapping[str, tuple[int, int | None]]:
        """Frames done and expected, by token."""
        return {token: (attempt.frames_done, attempt.frames_total) for token, attempt in self._attempts.items()}
