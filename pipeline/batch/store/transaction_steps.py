"""Steps that several transactions of the store share: each takes the connection, inside a transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from pipeline.batch.store.row_records import Lease, LostJob, State, utc_now
from pipeline.records import Found

JOINING, PART, FILE = -2, -1, 0  # priorities, the lowest first: what is nearly done makes room on the disk


def find_source(db: sqlite3.Connection, relative: bytes) -> Any:
    """Id, size and time of a source, None when it was never seen."""
    return db.execute("SELECT id, size_bytes, mtime_ns FROM source WHERE relative = ?", (relative,)).fetchone()


def same_file(known: Any, seen: Found | Lease) -> bool:
    return (known["size_bytes"], int(known["mtime_ns"])) == (seen.size_bytes, seen.mtime_ns)


def free_copies(db: sqlite3.Connection, original: int) -> None:
    """A source is no longer made in place of its copies: the first of them is, from now on."""
    query = "SELECT id, source, settings FROM job WHERE copy_of = ? AND state = 'copy' ORDER BY id"
    first: dict[int, int] = {}
    for job, source, settings in db.execute(query, (original,)).fetchall():
        if settings in first:
            db.execute("UPDATE job SET copy_of = ? WHERE id = ?", (first[settings], job))
        else:
            first[settings] = source
            db.execute("UPDATE job SET state = 'ready', copy_of = NULL, priority = ?, run = NULL WHERE id = ?", (FILE, job))


def leave(
    db: sqlite3.Connection,
    lease: Lease | LostJob,
    state: State,
    *,
    how: str,
    error: tuple[str | None, str | None] = (None, None),
    ready_after: float | None = None,
) -> None:
    """End an attempt: the job is no one's any more."""
    db.execute("UPDATE job SET state = ?, token = NULL, ready_after = ? WHERE id = ?", (state, ready_after, lease.job))
    end_attempt(db, lease.token, how, error)


def end_attempt(db: sqlite3.Connection, token: str, how: str, error: tuple[str | None, str | None] = (None, None)) -> None:
    update = "UPDATE attempt SET ended_at = ?, how = ?, error_class = ?, error_text = ? WHERE token = ? AND ended_at IS NULL"
    db.execute(update, (utc_now(), how, *error, token))


def count_parts(db: sqlite3.Connection, source: int, settings: int, *, done: bool) -> int:
    query = f"SELECT count(*) FROM job WHERE source = ? AND settings = ? AND part >= 0 AND state {'=' if done else '<>'} 'done'"
    return int(db.execute(query, (source, settings)).fetchone()[0])


def join_if_last(db: sqlite3.Connection, source: int, settings: int) -> None:
    """When all parts of a video are done, the whole is ready to be joined."""
    if not count_parts(db, source, settings, done=False):
        update = "UPDATE job SET state = 'ready', priority = ? WHERE source = ? AND settings = ? AND part = -1 AND state = 'split'"
        db.execute(update, (JOINING, source, settings))


def drop_parts(db: sqlite3.Connection, source: int, settings: int) -> None:
    """Who is still at one of them is fenced out."""
    parts = "FROM job WHERE source = ? AND settings = ? AND part >= 0"
    for (token,) in db.execute(f"SELECT token {parts} AND token IS NOT NULL", (source, settings)).fetchall():
        end_attempt(db, token, "superseded")
    db.execute(f"DELETE {parts}", (source, settings))


def supersede(db: sqlite3.Connection, source: int, job: int) -> None:
    """The source's other jobs have nothing to show any more."""
    others = "source = ? AND id <> ? AND part = -1"
    db.execute(f"UPDATE job SET state = 'stale' WHERE {others} AND state = 'done'", (source, job))
    for table in ("stretch", "kind_stretch"):
        db.execute(f"DELETE FROM {table} WHERE job IN (SELECT id FROM job WHERE {others} AND state = 'stale')", (source, job))
