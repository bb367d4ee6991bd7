"""The store of an archive: which source is to become which output, who is at it, and what came of it. One SQLite file.

A job is one source with one settings. Its life, each arrow one transaction:

    ready -> running -> done
             running -> waiting -> ready      an error, to be tried again after a pause
             running -> failed                the third error, the third crash, or an error that cannot heal
             running -> split -> ready        a long video: its parts are jobs of their own, and the last one done calls for the joining
    any but done -> missing                   its source is gone
    any but running -> stale                  its source has a job of newer settings
    done, failed, missing, stale -> ready     the source or the settings changed, the output was deleted, or the user asks for it
    any but done and running -> copy          its source is an exact copy of another one, whose job stands for both
    copy -> ready                             that other source has changed or gone, or the user wants copies made

Wall-clock times are stored to be shown, never to be compared. Paths are BLOBs, the bytes of the file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.batch.store.copy_index import Digests
from pipeline.batch.store.database import Database, open_database
from pipeline.batch.store.leases import Leases
from pipeline.batch.store.row_records import storable
from pipeline.batch.store.runs import Runs
from pipeline.batch.store.source_entries import Entries
from pipeline.batch.store.store_reader import StoreReader, settings_hash


class Store(StoreReader):
    """A store that may be written, too. Only open_store makes one; several threads may share it.

    Written by subject: `runs`, `entries` (what a listing brings), `leases` (jobs and what comes of them), and `digests` (of contents).
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.runs = Runs(database)
        self.entries = Entries(database)
        self.leases = Leases(database)
        self.digests = Digests(database)

    def set_meta(self, key: str, value: str) -> None:
        """The value may be a path that is no UTF-8."""
        kept = value if value == storable(value) else os.fsencode(value)
        with self._database.writing() as db:
            db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, kept))

    def add_settings(self, canonical: str) -> int:
        """The id of these settings, given as canonical JSON; the same text has the same id for ever."""
        digest = settings_hash(canonical)
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO settings (hash, canonical) VALUES (?, ?)", (digest, storable(canonical)))
            return int(db.execute("SELECT id FROM settings WHERE hash = ?", (digest,)).fetchone()[0])


@contextmanager
def open_store(path: Path, *, exclusive: bool = False) -> Iterator[Store]:
    """The store in that file, which is made, or brought to this version.

    `exclusive` keeps everyone else out until the block ends, readers too, and needs no memory shared between processes: for network file
    systems. Otherwise any number of processes of one host may have it open.

    Raises OutputError when it is no ledger, of a newer version, held by another, or cannot be read or written; then, and from every
    method, its `__cause__` is the error of sqlite3.
    """
    with open_database(path, exclusive=exclusive) as database:
        yield Store(database)
