"""What a listing of the archive brings: each source is entered with its job, and what is gone becomes missing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.batch.store import transaction_steps
from pipeline.batch.store.database import Database
from pipeline.batch.store.row_records import Entry, Standing, State
from pipeline.errors import OutputError
from pipeline.records import Found


class Entries:
    """Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, entries: Sequence[Entry], *, run: int, settings: int, exists: Callable[[bytes], bool], retry_failed: bool = False
    ) -> list[Standing]:
        """Record what was found, in one transaction, and say how each stands; `exists` is asked for the outputs of what is done.

        "new" and "changed" (the source, or its settings) and "restored" (the output was deleted) are ready from now on; "pending" was to
        do already, or is being done. A failed one stays so, but with `retry_failed` it is "pending" again with nothing charged. What
        is the "copy" of another source, which stands in the store or before it among the entries, is not made, unless it was already.

        A source keeps the name of an output that it has, as long as the suffix is among those of the candidates; otherwise it gets the
        first candidate that is no other source's. Raises OutputError when there is none.
        """
        with self._database.writing() as db:
            return [_enter(db, entry, run, settings, exists, retry_failed) for entry in entries]

    def close_listing(self, *, run: int, settings: int, below: Sequence[bytes]) -> int:
        """After a complete listing: jobs that are not done, and whose source neither this run nor a later one has seen, become missing.

        Only sources below one of these folders, or that are one of these paths, are meant; b"" is everything. Returns how many.
        """
        folders = {folder.rstrip(b"/") for folder in below}
        unseen = (
            "SELECT job.id, source, relative FROM job INDEXED BY job_standing JOIN source ON source.id = source "
            "WHERE settings = ? AND part = -1 AND state IN ('ready', 'waiting', 'split', 'failed', 'copy') AND seen_run < ?"
        )
        with self._database.writing() as db:
            rows = [row for row in db.execute(unseen, (settings, run)) if lies_below(row[2], folders)]
            for job, source, _ in rows:
                transaction_steps.drop_parts(db, source, settings)
                db.execute("UPDATE job SET state = 'missing', ready_after = NULL WHERE id = ?", (job,))
            return len(rows)


def lies_below(relative: bytes, folders: set[bytes]) -> bool:
    """Whether it is one of them, or one of its own folders is."""
    ancestors = (relative[:end] for end, byte in enumerate(relative) if byte == ord("/"))
    return b"" in folders or relative in folders or any(ancestor in folders for ancestor in ancestors)


# ------------------------------------------------------------------------------------------------ inside a transaction


@dataclass(frozen=True)
class _WholeJob:
    """A job of a source, as Entries.add needs to know it."""

    id: int
    settings: int
    state: State
    output: bytes
    owned: bool


def find_standing(
    db: sqlite3.Connection, entry: Entry, *, settings: int | None, exists: Callable[[bytes], bool], retry_failed: bool
) -> Standing:
    """What Entries.add would say of an entry; changes nothing."""
    known = transaction_steps.find_source(db, entry.found.relative)
    jobs = _list_whole_jobs(db, known[0]) if known else []
    return _decide_standing(known, jobs, _clear_unmade_original(db, entry.found, settings), settings, exists, retry_failed)


_STANDINGS: Mapping[State, Standing] = {"done": "restored", "stale": "changed", "missing": "new", "copy": "new"}


def _list_whole_jobs(db: sqlite3.Connection, source: int) -> list[_WholeJob]:
    """The newest first."""
    rows = db.execute("SELECT id, settings, state, output, owned FROM job WHERE source = ? AND part = -1 ORDER BY id DESC", (source,))
    return [_WholeJob(*row) for row in rows]


def _decide_standing(
    known: Any, jobs: Sequence[_WholeJob], found: Found, settings: int | None, exists: Callable[[bytes], bool], retry_failed: bool
) -> Standing:
    job = next((job for job in jobs if job.settings == settings), None)
    if job is not None and job.state == "running":
        return "pending"
    state = job.state if job is not None and transaction_steps.same_file(known, found) else None
    if job is not None and state == "done" and exists(job.output):
        return "done"
    if state == "failed" and not retry_failed:
        return "failed"
    if found.copy_of is not None and state != "split":
        return "copy"
    if state is None:
        return "changed" if jobs else "new"
    return _STANDINGS.get(state, "pending")


def _enter(db: sqlite3.Connection, entry: Entry, run: int, settings: int, exists: Callable[[bytes], bool], retry_failed: bool) -> Standing:
    known = transaction_steps.find_source(db, entry.found.relative)
    jobs = _list_whole_jobs(db, known[0]) if known else []
    original = _clear_unmade_original(db, entry.found, settings).copy_of
    standing = _decide_standing(known, jobs, replace(entry.found, copy_of=original), settings, exists, retry_failed)
    source = _write_source(db, entry.found, run, None if known is None else known[0])
    job = next((job for job in jobs if job.settings == settings), None)
    if known and not transaction_steps.same_file(known, entry.found):
        transaction_steps.free_copies(db, source)
        for each in jobs:
            transaction_steps.drop_parts(
                db, source, each.settings
            )  # of running ones too, lest parts of the old file be joined to parts of the new one
    for other in jobs:
        if other is not job and other.state not in ("running", "stale"):
            transaction_steps.drop_parts(db, source, other.settings)
            db.execute("UPDATE job SET state = 'stale', ready_after = NULL WHERE id = ?", (other.id,))
    if job is None:
        output = _choose_output(db, entry, source, jobs)
        owned = any(other.owned for other in jobs if other.output == output)
        db.execute("INSERT INTO job (source, settings, output, owned) VALUES (?, ?, ?, ?)", (source, settings, output, owned))
    elif standing == "copy":
        transaction_steps.drop_parts(db, source, settings)
    elif standing in ("new", "changed", "restored") or (standing == "pending" and job.state == "failed"):
        owned = any(other.owned for other in jobs if other.output == job.output)
        db.execute(
            "UPDATE job SET state = 'ready', owned = ?, priority = ?, undivided = 0, errors = 0, crashes = 0, error_class = NULL, "
            "error_text = NULL, ready_after = NULL, run = NULL, copy_of = NULL WHERE id = ?",
            (owned, transaction_steps.FILE, job.id),
        )
    if standing == "copy":
        db.execute(
            "UPDATE job SET state = 'copy', copy_of = (SELECT id FROM source WHERE relative = ?), ready_after = NULL, outcome = NULL, "
            "error_class = NULL, error_text = NULL WHERE source = ? AND settings = ? AND part = -1",
            (original, source, settings),
        )
        # What was a copy of this one is a copy of the other one.
        again = "UPDATE job SET copy_of = (SELECT id FROM source WHERE relative = ?) WHERE copy_of = ? AND settings = ? AND state = 'copy'"
        db.execute(again, (original, source, settings))
    return standing


def _clear_unmade_original(db: sqlite3.Connection, found: Found, settings: int | None) -> Found:
    """The same, not a copy if that other source is not made: two that were copies of one another would both be left out."""
    made = (
        "SELECT 1 FROM source JOIN job ON source = source.id WHERE relative = ? AND settings = ? AND part = -1 "
        "AND state NOT IN ('copy', 'missing', 'stale')"
    )
    if found.copy_of is None or db.execute(made, (found.copy_of, settings)).fetchone():
        return found
    return replace(found, copy_of=None)


def _write_source(db: sqlite3.Connection, found: Found, run: int, source: int | None) -> int:
    values = (found.kind, found.size_bytes, str(found.mtime_ns), found.sha256)
    if source is None:
        insert = "INSERT INTO source (kind, size_bytes, mtime_ns, sha256, seen_run, relative) VALUES (?, ?, ?, ?, ?, ?)"
        return int(db.execute(insert, (*values, run, found.relative)).lastrowid or 0)
    db.execute(
        "UPDATE source SET kind = ?1, size_bytes = ?2, mtime_ns = ?3, "
        "sha256 = CASE WHEN size_bytes = ?2 AND mtime_ns = ?3 THEN ifnull(?4, sha256) ELSE ?4 END, "
        "ends = CASE WHEN size_bytes = ?2 AND mtime_ns = ?3 THEN ends END, "
        "seen_run = max(seen_run, ?5) WHERE id = ?6",
        (*values, run, source),
    )
    return source


def _choose_output(db: sqlite3.Connection, entry: Entry, source: int, jobs: Sequence[_WholeJob]) -> bytes:
    suffixes = {_suffix(output) for output in entry.outputs}
    for job in jobs:
        if _suffix(job.output) in suffixes:
            return job.output
    for output in entry.outputs:
        if not db.execute("SELECT 1 FROM job WHERE output = ? AND source <> ? LIMIT 1", (output, source)).fetchone():
            return output
    raise OutputError(f"{os.fsdecode(entry.found.relative)}: another source has the name {os.fsdecode(entry.outputs[-1])} already")


def _suffix(name: bytes) -> str:
    return Path(os.fsdecode(name)).suffix
