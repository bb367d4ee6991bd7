"""One SQLite file, opened to be written or only read: transactions, locks, and SQLite's errors as OutputError."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.batch.store import schema
from pipeline.errors import OutputError, is_disk_full
from pipeline.files import find_disk_full

_OPENING_SECONDS, _BUSY_SECONDS = 5.0, 30.0  # how long another's transaction is waited for
CHUNK_ROWS = 1000  # of a long list that are read at once


class Database:
    """A connection that several threads may share; only open_database makes one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block, or nothing where it raises."""
        with self._lock, _raise_output_errors(self.path), transaction(self._connection):
            yield self._connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _raise_output_errors(self.path):
            yield self._connection

    def read(self, query: str, *values: object) -> list[Any]:
        """All rows of a query."""
        with self.reading() as db:
            return db.execute(query, values).fetchall()

    def is_of(self, version: int) -> bool:
        """Whether the file is of that version or a later one."""
        with self.reading() as db:
            return schema.format_version(db) >= version


@contextmanager
def open_database(path: Path, *, exclusive: bool = False, read_only: bool = False) -> Iterator[Database]:
    """The file, made or brought to this version unless it is only to be read; as open_store and open_reader say."""
    with _raise_output_errors(path):
        connection = _connect(path, read_only=read_only)
    try:
        with _raise_output_errors(path):
            _prepare(connection, path, exclusive=exclusive, read_only=read_only)
        yield Database(path, connection)
    finally:
        connection.close()


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: then it helps to make room, and nothing is wrong with the store or the source."""
    if is_disk_full(error):
        return True
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
            return True
        error = error.__cause__
    return False


@contextmanager
def _raise_output_errors(path: Path) -> Iterator[None]:
    """What SQLite says, as an OutputError."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the upper bits say more of the same
        refused = find_disk_full(path.parent) if code == sqlite3.SQLITE_IOERR else None  # so SQLite calls a quota that is used up
        if refused is not None or is_full(error):
            cause = refused or error
            raise OutputError(f"{path}: cannot be written: the disk is full", remedy="make room; nothing recorded is lost") from cause
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutputError(f"{path}: another run holds it", remedy="wait for that run, or stop it") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise OutputError(f"{path}: is not a ledger, or damaged: {error}", remedy="move it away to begin a new one") from error
        raise OutputError(f"{path}: cannot be used as a ledger: {error}") from error


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if read_only and not path.is_file():
        raise OutputError(f"{path}: no such ledger")
    address = path.absolute().as_uri()
    if read_only:
        # SQLite cannot share a file of a read-only disk with writers; there it is told that there are none.
        # Elsewhere it may write what it needs meanwhile, and takes it away: a reader that must not leaves its log lying.
        fixed = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
        writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
        address += "?immutable=1" if fixed else "?mode=rw" if writable else "?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=_OPENING_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _prepare(db: sqlite3.Connection, path: Path, *, exclusive: bool, read_only: bool) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA cache_size = -32768")  # KiB
    if read_only:
        db.execute("PRAGMA query_only = ON")
    if exclusive:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # before the first look into the file, or it asks for shared memory
    schema.check_format(db, path, read_only=read_only)
    if exclusive:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")  # in this mode the lock stays
    elif not read_only:
        _share(db)
        db.execute("PRAGMA synchronous = NORMAL")  # power failing may cost the last records, never the store: sqlite.org/wal.html
    if not read_only and not schema.is_current(db):
        with transaction(db):
            schema.migrate(db, path)
    db.execute(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000)}")


def _share(db: sqlite3.Connection) -> None:
    """Write-ahead logging, kept in the file. Where several make one file at once, SQLite does not wait here as it does elsewhere."""
    deadline = time.monotonic() + _OPENING_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing where it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it already
            db.execute("ROLLBACK")
        raise
