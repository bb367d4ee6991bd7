"""What the store holds, read: how many jobs are in which state, and each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from pipeline.batch.store.copy_index import CopyReader
from pipeline.batch.store.database import CHUNK_ROWS, Database, open_database
from pipeline.batch.store.row_records import JOB_COLUMNS, Entry, JobRow, Lease, RunRow, Sizes, Standing, State, job_row
from pipeline.batch.store.runs import list_live_runs
from pipeline.batch.store.sighting_index import SeenIndex
from pipeline.batch.store.source_entries import find_standing
from pipeline.files import hash_bytes


class StoreReader:
    """Only open_reader makes one. Each method reads what is committed at that moment, and raises OutputError when the file refuses.

    `copies` is what is not made because another source is; `seen` the index of what was seen where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.copies = CopyReader(database)
        self.seen = SeenIndex(database)

    @property
    def path(self) -> Path:
        return self._database.path

    def meta(self, key: str) -> str | None:
        """What was kept under that key, None where nothing was: "root", the archive's folder, and "page"."""
        rows = self._database.read("SELECT value FROM meta WHERE key = ?", key)
        value = rows[0][0] if rows else None
        return os.fsdecode(value) if isinstance(value, bytes) else value

    def settings_id(self, canonical: str) -> int | None:
        """The id of these settings, given as canonical JSON; None where they were never seen."""
        rows = self._database.read("SELECT id FROM settings WHERE hash = ?", settings_hash(canonical))
        return int(rows[0][0]) if rows else None

    @property
    def newest_settings(self) -> int | None:
        """Those of the run that began last; None before the first."""
        rows = self._database.read("SELECT settings FROM run ORDER BY id DESC LIMIT 1")
        return int(rows[0][0]) if rows else None

    def live_runs(self) -> list[RunRow]:
        """Those that have not ended, the oldest first; a killed one is among them until Runs.recover."""
        with self._database.reading() as db:
            return list_live_runs(db)

    def find_standing(self, entry: Entry, *, settings: int | None, exists: Callable[[bytes], bool], retry_failed: bool = False) -> Standing:
        """What Entries.add would say of an entry; changes nothing."""
        with self._database.reading() as db:
            return find_standing(db, entry, settings=settings, exists=exists, retry_failed=retry_failed)

    def has_begun(self, settings: int) -> bool:
        """Whether something that was begun is not at its end."""
        query = (
            "SELECT 1 FROM job INDEXED BY job_standing WHERE settings = ? AND part = -1 "
            "AND state IN ('ready', 'running', 'waiting', 'split') AND run NOT NULL LIMIT 1"
        )
        return bool(self._database.read(query, settings))

    def is_over(self, job: int) -> bool:
        """Whether nobody is at that job, or will be unless it is entered anew."""
        rows = self._database.read("SELECT 1 FROM job WHERE id = ? AND state IN ('ready', 'running', 'waiting', 'split')", job)
        return not rows

    def counts(self, settings: int | None = None) -> Mapping[State, int]:
        """How many files are in each state; by default for the settings of the newest run."""
        found = dict(
            self._database.read(
                "SELECT state, count(*) FROM job INDEXED BY job_standing WHERE part = -1 AND settings = ? GROUP BY state",
                self._choose(settings),
            )
        )
        return {state: found.get(state, 0) for state in get_args(State)}

    def jobs(self, states: Sequence[State] | None = None, settings: int | None = None, *, parts: bool = False) -> Iterator[JobRow]:
        """Files as they were entered, or state by state; with `parts` the parts of files, state by state. Settings as in `counts`.

        It is read by and by, each job as it stands then: one that changes its state meanwhile may come twice, or not at all.
        """
        settings = self._choose(settings)
        if states is None and not parts:
            yield from self._list_jobs("job NOT INDEXED", "part = -1 AND settings = ?", settings)
            return
        table = "job INDEXED BY job_part" if parts else "job INDEXED BY job_standing"
        only = f"part {'>= 0' if parts else '= -1'} AND settings = ? AND state = ?"
        for state in get_args(State) if states is None else states:
            yield from self._list_jobs(table, only, settings, state)

    def _list_jobs(self, table: str, only: str, *values: object) -> Iterator[JobRow]:
        joined = f"{JOB_COLUMNS} FROM {table} JOIN source ON source.id = source"
        query = f"{joined} WHERE {only} AND job.id > ? ORDER BY job.id LIMIT {CHUNK_ROWS}"
        last = 0
        while rows := self._database.read(query, *values, last):
            yield from map(job_row, rows)
            last = rows[-1]["job"]

    def parts(self, lease: Lease) -> list[JobRow]:
        """The parts of a leased whole, in their order."""
        rows = self._database.read(
            f"{JOB_COLUMNS} FROM job JOIN source ON source.id = source WHERE part >= 0 AND (source, settings) = "
            "(SELECT source, settings FROM job WHERE id = ?) ORDER BY part",
            lease.job,
        )
        return [job_row(row) for row in rows]

    def sizes(self, settings: int | None = None) -> Mapping[Literal["video", "image"], Sizes]:
        """By kind, what is done and what is left, for an estimate of the time; one pass over all jobs, so not for every second."""
        rows = self._database.read(
            "SELECT kind, state = 'done', count(*), sum(size_bytes), sum(frames_done) FROM job JOIN source ON source.id = source "
            "WHERE settings = ? AND part = -1 AND state IN ('done', 'ready', 'running', 'waiting', 'split') GROUP BY 1, 2",
            self._choose(settings),
        )
        fields: dict[Literal["video", "image"], dict[str, int]] = {"video": {}, "image": {}}
        for kind, done, files, size_bytes, frames in rows:
            if done:
                fields[kind] |= {"files_done": files, "bytes_done": size_bytes, "frames_done": frames}
            else:
                fields[kind] |= {"files_left": files, "bytes_left": size_bytes}
        return {kind: Sizes(**values) for kind, values in fields.items()}

    def _choose(self, settings: int | None) -> int | None:
        return self.newest_settings if settings is None else settings


@contextmanager
def open_reader(path: Path) -> Iterator[StoreReader]:
    """The store in that file, while others write it or long after. Raises OutputError as open_store does."""
    with open_database(path, read_only=True) as database:
        yield StoreReader(database)


def settings_hash(canonical: str) -> str:
    """By which settings are known for ever: of the text that says them."""
    return hash_bytes(canonical.encode("utf-8", "surrogateescape"))
