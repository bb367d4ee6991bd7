"""Who is at which job: a job is leased to a worker, and what its attempt came to is written down.

Whoever leases a job gets a token with it, and whatever is written later counts only while the token is the job's.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable

from pipeline.batch.store import transaction_steps
from pipeline.batch.store.attempt_outcomes import Change, Failed, Finished, Interrupted, Retry, SourceChanged, Split, Undivided
from pipeline.batch.store.database import Database
from pipeline.batch.store.row_records import Lease, State, part_of, storable, stored_part, utc_now
from pipeline.batch.store.runs import stop_waiting
from pipeline.batch.store.sighting_index import write_intervals
from pipeline.batch.store.transaction_steps import FILE, PART
from pipeline.files import Process

_LEASED = ("job", "relative", "kind", "size_bytes", "output", "begin_seconds", "end_seconds", "errors", "crashes")
_NEXT_READY = """
SELECT job.id AS job, source, relative, kind, size_bytes, mtime_ns, output, owned, part, begin_seconds, end_seconds, undivided, attempts,
    run, errors, crashes
FROM job INDEXED BY job_ready JOIN source ON source.id = source
WHERE state = 'ready' AND settings = ? AND (? OR crashes = 0) AND (? OR run NOT NULL OR part >= 0) ORDER BY priority, job.id LIMIT 1
"""


class Leases:
    """Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self, *, run: int, settings: int, owner: Process, exists: Callable[[bytes], bool], alone: bool = True, begun: bool = False
    ) -> Lease | None:
        """The next job that is ready, now running: what is to be joined first, then parts, then files as they were entered.

        None when none is ready. `owner` is the process that will do it; unless it does that `alone`, what has crashed a worker before
        is left out. `begun` takes only what was begun before. `exists` is asked for the job's output.
        """
        with self._database.writing() as db:
            row = db.execute(_NEXT_READY, (settings, alone, not begun)).fetchone()
            if row is None:
                return None
            token, attempt = secrets.token_hex(12), row["attempts"] + 1
            owned = bool(row["owned"]) or not exists(row["output"])
            db.execute(
                "UPDATE job SET state = 'running', token = ?, run = ?, owner_host = ?, owner_boot = ?, owner_pid = ?, owner_started = ?, "
                "attempts = ?, owned = ?, frames_done = 0, frames_total = NULL WHERE id = ?",
                (token, run, owner.host, owner.boot, owner.pid, owner.started, attempt, owned, row["job"]),
            )
            db.execute("INSERT INTO attempt (job, run, token, begun_at) VALUES (?, ?, ?, ?)", (row["job"], run, token, utc_now()))
            part = part_of(row["part"])
            parts = transaction_steps.count_parts(db, row["source"], settings, done=True) if part is None else 0
            return Lease(
                token=token,
                attempt=attempt,
                first=row["run"] is None,
                owned=owned,
                mtime_ns=int(row["mtime_ns"]),
                part=part,
                parts=parts or None,
                undivided=bool(row["undivided"]),
                **{key: row[key] for key in _LEASED},
            )

    def settle(self, lease: Lease, change: Change, *, now: float, made: bool = True) -> State | None:
        """Write down what an attempt came to. Returns what the job is now, None where it is no longer this lease's and nothing changes.

        None, too, when what was finished or split is of a source that was meanwhile found changed; the job is ready again then. Pauses
        end by the driver's monotonic clock, which says `now`, in seconds. Where a failed attempt has `made` no file, what is found at
        the output from now on is not ours. Raises ValueError for a split without bounds, and of a part.
        """
        if isinstance(change, Split) and (not change.bounds or lease.part is not None):
            raise ValueError(f"part {lease.part} cannot be split into {len(change.bounds)}")
        with self._database.writing() as db:
            row = db.execute("SELECT source, settings FROM job WHERE id = ? AND token = ?", (lease.job, lease.token)).fetchone()
            if row is None:
                return None
            place = (row[0], row[1])
            match change:
                case Finished():
                    return _finish(db, lease, change, *place)
                case Split():
                    return _split(db, lease, change, *place)
                case Undivided():
                    return _give_up_splitting(db, lease, *place)
                case SourceChanged():
                    return _take_up_change(db, lease, change, *place, now=now)
                case Retry() | Failed() | Interrupted():
                    return _give_back(db, lease, change, *place, now=now, made=made)

    def free_copies(self, lease: Lease) -> None:
        """The source of a lease is gone: the first of its copies is made in its place."""
        with self._database.writing() as db:
            known = transaction_steps.find_source(db, lease.relative)
            if known is not None:
                transaction_steps.free_copies(db, known["id"])

    def wake(self, *, run: int, monotonic: float) -> float | None:
        """Jobs of this run whose pause is over become ready. Returns when the next pause ends, by the same clock; None if there is none."""
        next_one = self._next_pause(run)
        if next_one is None or next_one > monotonic:
            return next_one
        with self._database.writing() as db:
            stop_waiting(db, run, until=monotonic)
        return self._next_pause(run)

    def _next_pause(self, run: int) -> float | None:
        due = "SELECT min(ready_after) FROM job INDEXED BY job_waiting WHERE state = 'waiting' AND run = ?"
        ends: float | None = self._database.read(due, run)[0][0]
        return ends


# ------------------------------------------------------------------------------------------------ inside a transaction


def _finish(db: sqlite3.Connection, lease: Lease, change: Finished, source: int, settings: int) -> State | None:
    """The outcome, the intervals of classes and kinds, and the state, all or nothing."""
    if _is_outdated(db, lease):
        return None
    state: State = "failed" if change.error else "done"
    transaction_steps.leave(db, lease, state, how="done in part" if change.error else "done")
    db.execute(
        "UPDATE job SET outcome = ?, frames_done = ?, frames_total = ?, finished_at = ?, error_class = ?, error_text = ? WHERE id = ?",
        (
            *(json.dumps(change.outcome), change.frames, change.frames, utc_now()),
            *("damaged" if change.error else None, storable(change.error), lease.job),
        ),
    )
    write_intervals(db, lease.job, change.intervals, change.kinds)
    if lease.part is not None:
        transaction_steps.join_if_last(db, source, settings)
    else:
        transaction_steps.drop_parts(db, source, settings)
        transaction_steps.supersede(db, source, lease.job)
    return state


def _is_outdated(db: sqlite3.Connection, lease: Lease) -> bool:
    """Whether the source was found changed since it was leased; then its job is ready again. Parts have been dropped at that moment."""
    if transaction_steps.same_file(transaction_steps.find_source(db, lease.relative), lease):
        return False
    transaction_steps.leave(db, lease, "ready", how="changed")
    return True


def _split(db: sqlite3.Connection, lease: Lease, change: Split, source: int, settings: int) -> State | None:
    if _is_outdated(db, lease):
        return None
    transaction_steps.leave(db, lease, "split", how="split")
    transaction_steps.drop_parts(db, source, settings)
    db.executemany(
        "INSERT INTO job (source, settings, output, owned, part, begin_seconds, end_seconds, priority) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(source, settings, lease.output, lease.owned, part, begin, end, PART) for part, (begin, end) in enumerate(change.bounds)],
    )
    return "split"


def _give_up_splitting(db: sqlite3.Connection, lease: Lease, source: int, settings: int) -> State:
    transaction_steps.leave(db, lease, "ready", how="not to be split")
    transaction_steps.drop_parts(db, source, settings)
    update = "UPDATE job SET state = 'ready', undivided = 1, priority = ? WHERE source = ? AND settings = ? AND part = -1"
    db.execute(update, (PART, source, settings))
    return "ready"


def _take_up_change(db: sqlite3.Connection, lease: Lease, change: SourceChanged, source: int, settings: int, *, now: float) -> State:
    run = db.execute("SELECT run FROM job WHERE id = ?", (lease.job,)).fetchone()[0]
    db.execute(
        "UPDATE source SET size_bytes = ?, mtime_ns = ?, sha256 = NULL, ends = NULL WHERE id = ?",
        (change.size_bytes, str(change.mtime_ns), source),
    )
    transaction_steps.free_copies(db, source)
    transaction_steps.leave(db, lease, "ready", how="changed")
    transaction_steps.drop_parts(db, source, settings)
    state: State = "ready" if change.pause_seconds is None else "waiting"
    db.execute(
        "UPDATE job SET state = ?, ready_after = ?, run = ?, priority = ?, undivided = 0 WHERE source = ? AND settings = ? AND part = -1",
        (state, _end_of_pause(change.pause_seconds, now), run, FILE, source, settings),
    )
    return state


def _give_back(
    db: sqlite3.Connection, lease: Lease, change: Retry | Failed | Interrupted, source: int, settings: int, *, now: float, made: bool
) -> State:
    """It did not come to an end: to be tried again, or not."""
    error: tuple[str | None, str | None] = (None, None)
    if not isinstance(change, Interrupted):
        column = "errors" if change.charge == "error" else "crashes"
        db.execute(f"UPDATE job SET {column} = {column} + 1 WHERE id = ?", (lease.job,))
        error = (storable(change.error_class), storable(change.error_text))
    pause_seconds = None if isinstance(change, Failed) else change.pause_seconds
    state: State = "failed" if isinstance(change, Failed) else "ready" if pause_seconds is None else "waiting"
    how = change.how if isinstance(change, Interrupted) else change.charge
    transaction_steps.leave(db, lease, state, how=how, error=error, ready_after=_end_of_pause(pause_seconds, now))
    db.execute(
        "UPDATE job SET error_class = ?, error_text = ?, owned = owned AND ? WHERE source = ? AND settings = ? AND part IN (?, -1)",
        (*error, made, source, settings, stored_part(lease.part)),
    )
    if isinstance(change, Failed):
        _fail_whole(db, lease, error, source, settings)
    return state


def _fail_whole(db: sqlite3.Connection, lease: Lease, error: tuple[str | None, str | None], source: int, settings: int) -> None:
    if lease.part is not None:
        counts = db.execute("SELECT errors, crashes FROM job WHERE id = ?", (lease.job,)).fetchone()
        db.execute(
            "UPDATE job SET state = 'failed', error_class = ?, error_text = ?, errors = ?, crashes = ? "
            "WHERE source = ? AND settings = ? AND part = -1",
            (*error, *counts, source, settings),
        )
    transaction_steps.drop_parts(db, source, settings)


def _end_of_pause(pause_seconds: float | None, now: float) -> float | None:
    return None if pause_seconds is None else now + pause_seconds
