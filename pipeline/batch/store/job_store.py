"""The ledger of an archive: which source is to become which output, who is at it, and what came of it. One SQLite file.

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

Whoever claims a job gets a token with it, and whatever he says later counts only while the token is the job's. Wall-clock times are
stored to be shown, never to be compared. Paths are BLOBs, the bytes of the file system.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, overload

from pipeline.errors import OutputError, is_disk_full
from pipeline.files.processes import Process, is_running
from pipeline.records import ClassName, Found, KindInterval, LabelInterval

State = Literal["ready", "running", "waiting", "split", "done", "failed", "missing", "stale", "copy"]
LEFT: tuple[State, ...] = ("ready", "running", "waiting", "split")  # what is not at its end
Standing = Literal["new", "changed", "restored", "done", "pending", "failed", "copy"]
Charge = Literal["error", "crash"]

MOST_TRIES = 3  # errors and crashes are counted apart
WHOLE = -1  # the `part` of a job that is no part
_JOINING, _PART, _FILE = -2, -1, 0  # priorities, the lowest first: what is nearly done makes room on the disk
_OPENING_SECONDS, _BUSY_SECONDS = 5.0, 30.0  # how long another's transaction is waited for
_APPLICATION = 0x4852454C  # "HREL", in the file's header
_CHUNK = 1000  # rows of a listing that are read at once

# The partial indexes stay small however many jobs are done, and what a transition touches is in two of them at most. A plain index on
# the state makes a claim sort all that is ready: benchmarks/ledger.py.
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, canonical TEXT NOT NULL);
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT, settings INTEGER NOT NULL REFERENCES settings, command TEXT NOT NULL, version TEXT NOT NULL,
    host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL, started INTEGER NOT NULL, beat INTEGER NOT NULL DEFAULT 0,
    begun_at TEXT NOT NULL, ended_at TEXT, exit_code INTEGER
);
CREATE TABLE source (
    id INTEGER PRIMARY KEY, relative BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    mtime_ns TEXT NOT NULL, -- text, for 64 bits end in the year 2262, and a file may be dated later
    seen_run INTEGER NOT NULL
);
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL REFERENCES source, settings INTEGER NOT NULL REFERENCES settings,
    part INTEGER NOT NULL DEFAULT -1, begin_seconds REAL, end_seconds REAL, undivided INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0, output BLOB NOT NULL, owned INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'ready', attempts INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0, token TEXT, run INTEGER, owner_host TEXT, owner_boot TEXT, owner_pid INTEGER,
    owner_started INTEGER, ready_after REAL, frames_done INTEGER NOT NULL DEFAULT 0, frames_total INTEGER,
    error_class TEXT, error_text TEXT, finished_at TEXT, outcome TEXT,
    UNIQUE (source, settings, part)
);
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, job INTEGER NOT NULL, run INTEGER NOT NULL, token TEXT NOT NULL, begun_at TEXT NOT NULL, ended_at TEXT,
    how TEXT, error_class TEXT, error_text TEXT
);
CREATE TABLE class (id INTEGER PRIMARY KEY, wnid TEXT, label TEXT NOT NULL);
CREATE TABLE stretch (
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE, class INTEGER NOT NULL REFERENCES class, start_seconds REAL NOT NULL,
    end_seconds REAL NOT NULL, frames INTEGER NOT NULL, mean_score REAL NOT NULL, best_score REAL NOT NULL
);
CREATE INDEX job_ready ON job (settings, priority, id) WHERE state = 'ready';
CREATE INDEX job_running ON job (run) WHERE state = 'running';
CREATE INDEX job_waiting ON job (run, ready_after) WHERE state = 'waiting';
CREATE UNIQUE INDEX job_token ON job (token) WHERE token IS NOT NULL;
CREATE INDEX job_standing ON job (settings, state) WHERE part = -1;
CREATE INDEX job_part ON job (settings, state) WHERE part >= 0;
CREATE INDEX job_output ON job (output);
CREATE INDEX attempt_open ON attempt (token) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX class_name ON class (ifnull(wnid, ''), label);
CREATE INDEX stretch_job ON stretch (job);
CREATE INDEX stretch_class ON stretch (class, best_score DESC)
"""

_COPIES = """
ALTER TABLE source ADD COLUMN sha256 BLOB;
ALTER TABLE job ADD COLUMN copy_of INTEGER REFERENCES source;
CREATE INDEX source_content ON source (size_bytes, sha256);
CREATE INDEX job_copy ON job (copy_of) WHERE copy_of NOT NULL
"""
# Apart from classes: only a search asks for kinds, and whoever shows what was seen need not leave them out.
_KINDS = """
CREATE TABLE kind_stretch (
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE, wnid TEXT NOT NULL, start_seconds REAL NOT NULL, end_seconds REAL NOT NULL,
    best_score REAL NOT NULL
);
CREATE INDEX kind_stretch_job ON kind_stretch (job);
CREATE INDEX kind_stretch_kind ON kind_stretch (wnid, best_score DESC)
"""
# A digest of the beginning and the end of a source: most that are as large as another one differ there, and are not read further.
_ENDS = """
ALTER TABLE source ADD COLUMN ends BLOB;
CREATE INDEX source_ends ON source (size_bytes, ends) WHERE ends NOT NULL
"""
# Each brings a ledger from the version that is its place in this list to the next one; a new ledger goes through all of them.
_MIGRATIONS: tuple[str, ...] = (_SCHEMA, _COPIES, _KINDS, _ENDS)
_WITH_COPIES, _WITH_KINDS = 2, 3  # the first versions that have them
_OLDEST_READ = 1  # the oldest that may be read as it is: what it has not is not asked of it

_CLAIMED = ("job", "relative", "kind", "size_bytes", "output", "part", "begin_seconds", "end_seconds", "errors", "crashes")
_CLAIM = """
SELECT job.id AS job, source, relative, kind, size_bytes, mtime_ns, output, owned, part, begin_seconds, end_seconds, undivided, attempts,
    run, errors, crashes
FROM job INDEXED BY job_ready JOIN source ON source.id = source
WHERE state = 'ready' AND settings = ? AND (? OR crashes = 0) AND (? OR run NOT NULL OR part >= 0) ORDER BY priority, job.id LIMIT 1
"""
_ROW = """
SELECT job.id AS job, relative, kind, size_bytes, output, state, part, attempts, errors, crashes, error_class, error_text,
    frames_done, frames_total, finished_at, outcome
"""

_HIT = (
    "SELECT relative, output, s.start_seconds, s.end_seconds, best_score AS score, "
    "ifnull(json_extract(canonical, '$.start_seconds'), 0) AS output_begins_seconds"
)
_WHERE_IT_IS = "JOIN job ON job.id = s.job JOIN source ON source.id = source JOIN settings ON settings.id = settings"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A source that was found. `outputs` are the names it may get, relative to the output folder, the best first; the last one is unique
    by how it is made."""

    found: Found
    outputs: Sequence[bytes]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One attempt at a job, the how manieth of them in `attempt`.

    `first`: nothing was begun of it since it was entered. `owned`: what is at `output` is ours, and may be replaced. `part` counts from
    0, and is -1 for a whole; `begin_seconds` and `end_seconds` are a part's bounds (None: the end). `parts` is how many finished parts
    wait to be joined, 0 if none. `whole`: the splitting was given up, it is to be done in one go. `errors` and `crashes` count those of
    earlier attempts.
    """

    job: int
    token: str
    attempt: int
    first: bool
    errors: int
    crashes: int
    relative: bytes
    kind: Literal["video", "image"]
    size_bytes: int
    mtime_ns: int
    output: bytes
    owned: bool
    part: int
    begin_seconds: float | None
    end_seconds: float | None
    parts: int
    whole: bool


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run that has not ended, or died without a word. `beat` counts its heartbeats; `begun_at` is to be shown only."""

    run: int
    settings: int
    command: str
    version: str
    process: Process
    beat: int
    begun_at: str


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as it stands. `finished_at` is to be shown only; `outcome` is what `finish` was given."""

    job: int
    relative: bytes
    kind: Literal["video", "image"]
    size_bytes: int
    output: bytes
    state: State
    part: int
    attempts: int
    errors: int
    crashes: int
    error_class: str | None
    error_text: str | None
    frames_done: int
    frames_total: int | None
    finished_at: str | None
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A job whose worker or driver has died; what it wrote under its temporary name may be removed."""

    job: int
    run: int
    token: str
    relative: bytes
    output: bytes
    part: int


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A stretch of a video, or a picture (0 seconds long), in which a class or kind was seen; `score` is the best of its frames.

    Times are the source's; the output begins at `output_begins_seconds` of them.
    """

    relative: bytes
    output: bytes
    start_seconds: float
    end_seconds: float
    score: float
    output_begins_seconds: float


@dataclass(frozen=True, kw_only=True)
class CopyRow:
    """A source that is an exact copy, and how the job of the one that is made in its place, `original`, stands."""

    relative: bytes
    original: bytes
    output: bytes
    state: State
    error_text: str | None
    made: bool


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of one kind is done and how much is still to do: files, bytes of their sources, frames written."""

    files_done: int = 0
    bytes_done: int = 0
    frames_done: int = 0
    files_left: int = 0
    bytes_left: int = 0


# ------------------------------------------------------------------------------------------------ opening


@contextmanager
def open_ledger(path: Path, *, exclusive: bool = False, read_only: bool = False) -> Iterator[Ledger]:
    """The ledger in that file, which is made, or brought to this version, unless it is only to be read.

    `exclusive` keeps everyone else out until the block ends, readers too, and needs no memory shared between processes: for network file
    systems. Otherwise any number of processes of one host may have it open. One Ledger may be used by several threads.

    Raises OutputError when it is no ledger, of a newer version, held by another, or cannot be read or written; then, and from every
    method, its `__cause__` is the error of sqlite3.
    """
    with _told(path):
        connection = _connect(path, read_only=read_only)
    try:
        with _told(path):
            _prepare(connection, path, exclusive=exclusive, read_only=read_only)
        yield Ledger(path, connection)
    finally:
        connection.close()


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error: then it helps to make room, and nothing is wrong with the ledger or the source."""
    if is_disk_full(error):
        return True
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
            return True
        error = error.__cause__
    return False


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says, as an OutputError."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the upper bits say more of the same
        if is_full(error):
            raise OutputError(f"{path}: cannot be written: the disk is full", remedy="make room; nothing recorded is lost") from error
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
    _check(db, path, read_only=read_only)
    if exclusive:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")  # in this mode the lock stays
    elif not read_only:
        _share(db)
        db.execute("PRAGMA synchronous = NORMAL")  # power failing may cost the last records, never the ledger: sqlite.org/wal.html
    if not read_only:
        _migrate(db, path)
    db.execute(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000)}")


def _share(db: sqlite3.Connection) -> None:
    """Write-ahead logging, kept in the file. Where several make one ledger at once, SQLite does not wait here as it does elsewhere."""
    deadline = time.monotonic() + _OPENING_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _check(db: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    """Refuse what is not ours to write into."""
    version, newest = _version(db), len(_MIGRATIONS)
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (tables or read_only) and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise OutputError(f"{path}: is not a ledger, but another program's database", remedy="name another output folder")
    if version > newest:
        raise OutputError(f"{path}: is a ledger of version {version}, and this program knows {newest}", remedy="use a newer heatreel")
    if read_only and version < _OLDEST_READ:
        raise OutputError(f"{path}: is a ledger of version {version}, and this program reads {newest}", remedy="run a batch on it once")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    if _version(db) == len(_MIGRATIONS):
        return
    with _transaction(db):
        _check(db, path, read_only=False)  # once more: another run may have been quicker
        for version in range(_version(db), len(_MIGRATIONS)):
            for statement in _MIGRATIONS[version].split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        db.execute(f"PRAGMA application_id = {_APPLICATION}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it already
            db.execute("ROLLBACK")
        raise


# ------------------------------------------------------------------------------------------------ the ledger


class Ledger:
    """Only `open_ledger` makes one. Each method is one transaction, and raises OutputError when the file refuses."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._lock = threading.RLock()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(self.path), _transaction(self._db):
            yield self._db

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock, _told(self.path):
            return self._db.execute(query, values).fetchall()

    # -------------------------------------------------------------------------------------------- what it is about

    def meta(self, key: str) -> str | None:
        rows = self._read("SELECT value FROM meta WHERE key = ?", key)
        value = rows[0][0] if rows else None
        return os.fsdecode(value) if isinstance(value, bytes) else value

    def set_meta(self, key: str, value: str) -> None:
        """The value may be a path that is no UTF-8."""
        kept = value if value == _text(value) else os.fsencode(value)
        with self._writing() as db:
            db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, kept))

    def settings(self, canonical: str) -> int:
        """The id of these settings, given as canonical JSON; the same text has the same id for ever."""
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO settings (hash, canonical) VALUES (?, ?)", (digest, _text(canonical)))
            return int(db.execute("SELECT id FROM settings WHERE hash = ?", (digest,)).fetchone()[0])

    def settings_id(self, canonical: str) -> int:
        """As `settings`, changing nothing; 0, which no settings have, where these were never seen."""
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        rows = self._read("SELECT id FROM settings WHERE hash = ?", digest)
        return int(rows[0][0]) if rows else 0

    @property
    def newest_settings(self) -> int:
        """Those of the run that began last; 0 before the first."""
        return self._chosen(None)

    # -------------------------------------------------------------------------------------------- runs

    def begin_run(self, *, settings: int, command: str, version: str, process: Process) -> int:
        """The id of a new run. Jobs that dead runs of this host have left waiting are ready from now on: their clock is gone."""
        with self._writing() as db:
            for earlier in _live_runs(db):
                if is_running(earlier.process) is False:
                    _stop_waiting(db, earlier.run)
            cursor = db.execute(
                "INSERT INTO run (settings, command, version, host, boot, pid, started, begun_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (settings, _text(command), version, process.host, process.boot, process.pid, process.started, _now()),
            )
            return int(cursor.lastrowid or 0)

    def end_run(self, run: int, exit_code: int) -> None:
        """What it still has running or waiting is ready again."""
        with self._writing() as db:
            _end(db, run, exit_code)

    def live_runs(self) -> list[RunRow]:
        """Those that have not ended, the oldest first; a killed one is among them until `recover`."""
        with self._lock, _told(self.path):
            return _live_runs(self._db)

    def beat(self, run: int, frames: Mapping[str, tuple[int, int | None]]) -> None:
        """A sign of life, with the frames done and expected of jobs at work, by their tokens; unknown tokens change nothing."""
        with self._writing() as db:
            db.execute("UPDATE run SET beat = beat + 1 WHERE id = ?", (run,))
            db.executemany(
                "UPDATE job SET frames_done = ?, frames_total = ? WHERE token = ?",
                [(done, total, token) for token, (done, total) in frames.items()],
            )

    def recover(self, is_dead: Callable[[Process, int, int], bool]) -> list[Lost]:
        """Make ready, uncharged, what dead workers were at, and end the dead runs.

        `is_dead` gets a process, the run it works for, and that run's heartbeat; it is asked for each run that has not ended, and for
        the worker of each of their running jobs. A worker may outlive its run by a moment: until it is dead its job is nobody else's,
        for two would write under one name; and a run is ended when none of its workers lives.
        """
        with self._writing() as db:
            lost = []
            for run in _live_runs(db):
                lost += _release(db, run.run, lambda owner, run=run: is_dead(owner, run.run, run.beat))  # type: ignore[misc]
                at_work = db.execute("SELECT 1 FROM job INDEXED BY job_running WHERE state = 'running' AND run = ?", (run.run,)).fetchone()
                if at_work is None and is_dead(run.process, run.run, run.beat):
                    lost += _end(db, run.run, None)
            return lost

    # -------------------------------------------------------------------------------------------- what is to do

    def enter(
        self, entries: Sequence[Entry], *, run: int, settings: int, exists: Callable[[bytes], bool], retry_failed: bool = False
    ) -> list[Standing]:
        """Record what was found, in one transaction, and say how each stands; `exists` is asked for the outputs of what is done.

        "new" and "changed" (the source, or its settings) and "restored" (the output was deleted) are ready from now on; "pending" was to
        do already, or is being done. A failed one stays so, but with `retry_failed` it is "pending" again with nothing charged. What
        is the "copy" of another source, which stands in the ledger or before it among the entries, is not made, unless it was already.

        A source keeps the name of an output that it has, as long as the suffix is among those of the candidates; otherwise it gets the
        first candidate that is no other source's. Raises OutputError when there is none.
        """
        with self._writing() as db:
            return [_enter(db, entry, run, settings, exists, retry_failed) for entry in entries]

    def look(self, entry: Entry, *, settings: int, exists: Callable[[bytes], bool], retry_failed: bool = False) -> Standing:
        """What `enter` would say; changes nothing."""
        with self._lock, _told(self.path):
            known = _known(self._db, entry.found.relative)
            jobs = _wholes(self._db, known[0]) if known else []
            return _standing(known, jobs, _checked(self._db, entry.found, settings), settings, exists, retry_failed)

    def close_listing(self, *, run: int, settings: int, below: Sequence[bytes]) -> int:
        """After a complete listing: jobs that are not done, and whose source neither this run nor a later one has seen, become missing.

        Only sources below one of these folders, or that are one of these paths, are meant; b"" is everything. Returns how many.
        """
        folders = {folder.rstrip(b"/") for folder in below}
        unseen = (
            "SELECT job.id, source, relative FROM job INDEXED BY job_standing JOIN source ON source.id = source "
            "WHERE settings = ? AND part = -1 AND state IN ('ready', 'waiting', 'split', 'failed', 'copy') AND seen_run < ?"
        )
        with self._writing() as db:
            rows = [row for row in db.execute(unseen, (settings, run)) if lies_below(row[2], folders)]
            for job, source, _ in rows:
                _drop_parts(db, source, settings)
                db.execute("UPDATE job SET state = 'missing', ready_after = NULL WHERE id = ?", (job,))
            return len(rows)

    def claim(
        self, *, run: int, settings: int, owner: Process, exists: Callable[[bytes], bool], alone: bool = True, begun: bool = False
    ) -> Lease | None:
        """The next job that is ready, now running: what is to be joined first, then parts, then files as they were entered.

        None when none is ready. `owner` is the process that will do it; unless it does that `alone`, what has crashed a worker before
        is left out. `begun` takes only what was begun before.
        """
        with self._writing() as db:
            row = db.execute(_CLAIM, (settings, alone, not begun)).fetchone()
            if row is None:
                return None
            token, attempt = secrets.token_hex(12), row["attempts"] + 1
            owned = bool(row["owned"]) or not exists(row["output"])
            db.execute(
                "UPDATE job SET state = 'running', token = ?, run = ?, owner_host = ?, owner_boot = ?, owner_pid = ?, owner_started = ?, "
                "attempts = ?, owned = ?, frames_done = 0, frames_total = NULL WHERE id = ?",
                (token, run, owner.host, owner.boot, owner.pid, owner.started, attempt, owned, row["job"]),
            )
            db.execute("INSERT INTO attempt (job, run, token, begun_at) VALUES (?, ?, ?, ?)", (row["job"], run, token, _now()))
            parts = _count_parts(db, row["source"], settings, done=True) if row["part"] == WHOLE else 0
            values = {key: row[key] for key in _CLAIMED}
            values |= {"first": row["run"] is None, "whole": bool(row["undivided"]), "mtime_ns": int(row["mtime_ns"])}
            return Lease(token=token, attempt=attempt, owned=owned, parts=parts, **values)

    def wake(self, *, run: int, monotonic: float) -> float | None:
        """Jobs of this run whose pause is over become ready. Returns when the next pause ends, by the same clock; None if there is none."""
        due = "SELECT min(ready_after) FROM job INDEXED BY job_waiting WHERE state = 'waiting' AND run = ?"
        next_one = self._read(due, run)[0][0]
        if next_one is None or next_one > monotonic:
            return next_one  # type: ignore[no-any-return]
        with self._writing() as db:
            _stop_waiting(db, run, until=monotonic)
        return self._read(due, run)[0][0]  # type: ignore[no-any-return]

    # -------------------------------------------------------------------------------------------- what came of it

    def has_begun(self, settings: int) -> bool:
        """Whether something that was begun is not at its end."""
        query = (
            "SELECT 1 FROM job INDEXED BY job_standing WHERE settings = ? AND part = -1 "
            "AND state IN ('ready', 'running', 'waiting', 'split') AND run NOT NULL LIMIT 1"
        )
        return bool(self._read(query, settings))

    def finish(
        self,
        claim: Lease,
        *,
        outcome: Mapping[str, Any],
        stretches: Sequence[LabelInterval],
        frames: int,
        kinds: Sequence[KindInterval] = (),
        error: str | None = None,
    ) -> bool:
        """Done: the outcome, the stretches of classes and kinds, and the state, all or nothing. The output must be on disk already.

        With an `error` it has failed for good, and yet has an output: of a damaged source, what could be made of it.

        For a part too; when it is the last one, the whole is ready to be joined, and when that is done the parts are forgotten.

        False when the job is no longer this claim's, and nothing changes; or when the source was meanwhile found changed, and the job is
        ready again.
        """
        with self._writing() as db:
            held = _held(db, claim)
            if held is None or _is_outdated(db, claim):
                return False
            source, settings = held
            _leave(db, claim, "failed" if error else "done", how="done in part" if error else "done")
            db.execute(
                "UPDATE job SET outcome = ?, frames_done = ?, frames_total = ?, finished_at = ?, error_class = ?, error_text = ? "
                "WHERE id = ?",
                (json.dumps(outcome), frames, frames, _now(), "damaged" if error else None, _text(error), claim.job),
            )
            _write_stretches(db, claim.job, stretches, kinds)
            if claim.part != WHOLE:
                _join_if_last(db, source, settings)
            else:
                _drop_parts(db, source, settings)
                _supersede(db, source, claim.job)
            return True

    def fail(
        self,
        claim: Lease,
        *,
        error_class: str | None = None,
        error_text: str | None = None,
        charge: Charge | None,
        final: bool = False,
        ready_after: float | None = None,
        how: str,
        made: bool = True,
    ) -> State | None:
        """It did not come to an end. Returns what the job is now; None when it is no longer this claim's, and nothing changes.

        With a charge the third of its kind, or a `final` one, makes it "failed"; and a part that fails fails its whole, with its error.
        Otherwise it is "waiting" until `ready_after` by the driver's monotonic clock, in seconds, or "ready". `how` goes into the record
        of attempts. Where nothing was `made`, what is found at the output from now on is not ours.
        """
        with self._writing() as db:
            held = _held(db, claim)
            if held is None:
                return None
            if charge is not None:
                column = "errors" if charge == "error" else "crashes"
                db.execute(f"UPDATE job SET {column} = {column} + 1 WHERE id = ?", (claim.job,))
            errors, crashes = db.execute("SELECT errors, crashes FROM job WHERE id = ?", (claim.job,)).fetchone()
            failed = final or (charge is not None and max(errors, crashes) >= MOST_TRIES)
            state: State = "failed" if failed else "ready" if ready_after is None else "waiting"
            told = (_text(error_class), _text(error_text))
            _leave(db, claim, state, how=how, told=told, ready_after=None if failed else ready_after)
            update = (
                "UPDATE job SET error_class = ?, error_text = ?, owned = owned AND ? WHERE source = ? AND settings = ? AND part IN (?, -1)"
            )
            db.execute(update, (*told, made, *held, claim.part))
            if failed and claim.part != WHOLE:
                db.execute(
                    "UPDATE job SET state = 'failed', error_class = ?, error_text = ?, errors = ?, crashes = ? "
                    "WHERE source = ? AND settings = ? AND part = -1",
                    (*told, errors, crashes, *held),
                )
            if failed:
                _drop_parts(db, *held)
            return state

    def change(self, claim: Lease, *, size_bytes: int, mtime_ns: int, ready_after: float | None = None) -> bool:
        """The source is another one than was claimed: the whole is ready again, or waiting as in `fail`, with nothing charged."""
        with self._writing() as db:
            held = _held(db, claim)
            if held is None:
                return False
            source, settings = held
            run = db.execute("SELECT run FROM job WHERE id = ?", (claim.job,)).fetchone()[0]
            db.execute(
                "UPDATE source SET size_bytes = ?, mtime_ns = ?, sha256 = NULL, ends = NULL WHERE id = ?",
                (size_bytes, str(mtime_ns), source),
            )
            _free_copies(db, source)
            _leave(db, claim, "ready", how="changed")
            _drop_parts(db, source, settings)
            db.execute(
                "UPDATE job SET state = ?, ready_after = ?, run = ?, priority = ?, undivided = 0 "
                "WHERE source = ? AND settings = ? AND part = -1",
                ("ready" if ready_after is None else "waiting", ready_after, run, _FILE, source, settings),
            )
            return True

    # -------------------------------------------------------------------------------------------- copies

    def shares_size(self, found: Found) -> bool:
        """Whether another source is as large."""
        query = "SELECT 1 FROM source WHERE size_bytes = ? AND relative <> ? LIMIT 1"
        return bool(self._read(query, found.size_bytes, found.relative))

    def shares_ends(self, found: Found, ends: bytes) -> bool:
        """Whether another source is as large, and has that digest of its ends."""
        query = "SELECT 1 FROM source WHERE size_bytes = ? AND ends = ? AND relative <> ? LIMIT 1"
        return bool(self._read(query, found.size_bytes, ends, found.relative))

    def digest(self, found: Found, *, of: Literal["sha256", "ends"] = "sha256") -> bytes | None:
        """The SHA-256 of a source, or of its ends, as long as it is what it was."""
        rows = self._read(
            f"SELECT {of} FROM source WHERE relative = ? AND size_bytes = ? AND mtime_ns = ?",
            *(found.relative, found.size_bytes, str(found.mtime_ns)),
        )
        return rows[0][0] if rows else None

    def set_digest(self, found: Found, digest: bytes, *, of: Literal["sha256", "ends"] = "sha256") -> None:
        """Changes nothing where the source is not known, or as another one."""
        with self._writing() as db:
            db.execute(
                f"UPDATE source SET {of} = ? WHERE relative = ? AND size_bytes = ? AND mtime_ns = ?",
                (digest, found.relative, found.size_bytes, str(found.mtime_ns)),
            )

    def endless(self, *, above_bytes: int, size_bytes: int | None = None, run: int = 0) -> Iterator[Found]:
        """Sources without a digest of their ends, which are larger than `above_bytes`; else as `undigested`."""
        return self._without("ends", f"s.size_bytes > {above_bytes}", size_bytes, run)

    def undigested(self, *, above_bytes: int, like: Found | None = None, run: int = 0) -> Iterator[Found]:
        """Sources without a digest, as large as one and with its ends or as large as any other, which that run or a later one has seen.

        Of what is larger than `above_bytes` only those whose ends another one has, too. Their `path` is the one below the root.
        """
        if like is not None:
            ends = () if like.ends is None else (like.ends,)
            return self._without("sha256", "s.ends = ?" if ends else "s.ends IS NULL", like.size_bytes, run, *ends)
        alike = "EXISTS (SELECT 1 FROM source AS o WHERE o.size_bytes = s.size_bytes AND o.ends = s.ends AND o.id <> s.id)"
        return self._without("sha256", f"(s.size_bytes <= {above_bytes} OR {alike})", None, run)

    def _without(self, column: str, condition: str, size_bytes: int | None, run: int, *values: bytes) -> Iterator[Found]:
        shared = "EXISTS (SELECT 1 FROM source AS o WHERE o.size_bytes = s.size_bytes AND o.id <> s.id AND o.seen_run >= ?)"
        only, of = ("s.size_bytes = ?", size_bytes) if size_bytes is not None else (f"s.size_bytes > 0 AND {shared}", run)
        query = (
            f"SELECT id, relative, kind, size_bytes, mtime_ns FROM source AS s WHERE {column} IS NULL AND seen_run >= ? AND {only} "
            f"AND {condition} AND s.id > ? ORDER BY s.id LIMIT {_CHUNK}"
        )
        last = 0
        while rows := self._read(query, run, of, *values, last):
            for _, relative, kind, size, mtime_ns in rows:
                path = Path(os.fsdecode(relative))
                yield Found(path=path, relative=relative, kind=kind, size_bytes=size, mtime_ns=int(mtime_ns))
            last = rows[-1][0]

    def originals(self, found: Found, sha256: bytes, *, settings: int) -> list[tuple[Found, bytes | None]]:
        """Sources of the same content and kind that are to be made or are made, what is done first, and then with its output."""
        rows = self._read(
            "SELECT relative, mtime_ns, state = 'done' AS done, output FROM source JOIN job ON source = source.id "
            "WHERE size_bytes = ? AND sha256 = ? AND kind = ? AND relative <> ? AND settings = ? AND part = -1 "
            "AND state NOT IN ('copy', 'missing', 'stale') ORDER BY done DESC, job.id",
            *(found.size_bytes, sha256, found.kind, found.relative, settings),
        )
        return [
            (replace(found, relative=relative, mtime_ns=int(mtime_ns)), output if done else None)
            for relative, mtime_ns, done, output in rows
        ]

    def free_copies(self, claim: Lease) -> None:
        """The source of a claim is gone: the first of its copies is made in its place."""
        with self._writing() as db:
            known = _known(db, claim.relative)
            if known is not None:
                _free_copies(db, known["id"])

    def count_copies(self, *, run: int) -> int:
        """Of the sources that this run or a later one has seen, how many have the content of another one."""
        rows = self._read(
            "SELECT ifnull(sum(alike - 1), 0) FROM (SELECT count(*) AS alike FROM source WHERE sha256 NOT NULL AND seen_run >= ? "
            "GROUP BY size_bytes, sha256, kind)",
            run,
        )
        return int(rows[0][0])

    def known_copy(self, relative: bytes, *, settings: int) -> bytes | None:
        """The source that is made in place of this one, None where it is made itself."""
        if not self._is_of(_WITH_COPIES):
            return None
        rows = self._read(
            "SELECT source.relative FROM source AS copied JOIN job ON job.source = copied.id JOIN source ON source.id = copy_of "
            "WHERE copied.relative = ? AND settings = ? AND part = -1 AND state = 'copy'",
            *(relative, settings),
        )
        return rows[0][0] if rows else None

    def copies(self, settings: int | None = None) -> Iterator[CopyRow]:
        """What is not made because another one is; settings as in `counts`."""
        if not self._is_of(_WITH_COPIES):
            return
        query = (
            "SELECT job.id AS id, copied.relative AS relative, source.relative AS original, made.output AS output, made.state AS state, "
            "made.error_text AS error_text, made.outcome NOT NULL AS made "
            "FROM job INDEXED BY job_standing JOIN source AS copied ON copied.id = job.source JOIN source ON source.id = job.copy_of "
            "JOIN job AS made ON made.source = job.copy_of AND made.settings = job.settings AND made.part = -1 "
            f"WHERE job.part = -1 AND job.settings = ? AND job.state = 'copy' AND job.id > ? ORDER BY job.id LIMIT {_CHUNK}"
        )
        settings, last = self._chosen(settings), 0
        while rows := self._read(query, settings, last):
            for row in map(dict, rows):
                last = row.pop("id")
                yield CopyRow(**{**row, "made": bool(row["made"])})

    def copies_of(self, relative: bytes) -> list[bytes]:
        """The sources in whose place this one is made."""
        if not self._is_of(_WITH_COPIES):
            return []
        rows = self._read(
            "SELECT copied.relative FROM source JOIN job ON copy_of = source.id JOIN source AS copied ON copied.id = job.source "
            "WHERE source.relative = ? AND state = 'copy' ORDER BY copied.relative",
            relative,
        )
        return [row[0] for row in rows]

    # -------------------------------------------------------------------------------------------- parts

    def split(self, claim: Lease, bounds: Sequence[tuple[float, float | None]]) -> bool:
        """A whole becomes parts from bound to bound, in seconds (None: the end), which are ready before other files.

        False as in `finish`. Raises ValueError without bounds, and for a part.
        """
        if not bounds or claim.part != WHOLE:
            raise ValueError(f"part {claim.part} cannot be split into {len(bounds)}")
        with self._writing() as db:
            held = _held(db, claim)
            if held is None or _is_outdated(db, claim):
                return False
            _leave(db, claim, "split", how="split")
            _drop_parts(db, *held)
            db.executemany(
                "INSERT INTO job (source, settings, output, owned, part, begin_seconds, end_seconds, priority) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*held, claim.output, claim.owned, part, begin, end, _PART) for part, (begin, end) in enumerate(bounds)],
            )
            return True

    def give_up_splitting(self, claim: Lease) -> bool:
        """By the claim of a part, or of the whole when its parts cannot be joined: the whole is ready, to be done in one go."""
        with self._writing() as db:
            held = _held(db, claim)
            if held is None:
                return False
            _leave(db, claim, "ready", how="not to be split")
            _drop_parts(db, *held)
            db.execute(
                "UPDATE job SET state = 'ready', undivided = 1, priority = ? WHERE source = ? AND settings = ? AND part = -1",
                (_PART, *held),
            )
            return True

    def parts(self, claim: Lease) -> list[JobRow]:
        """The parts of a claimed whole, in their order."""
        rows = self._read(
            f"{_ROW} FROM job JOIN source ON source.id = source WHERE part >= 0 AND (source, settings) = "
            "(SELECT source, settings FROM job WHERE id = ?) ORDER BY part",
            claim.job,
        )
        return [_job_row(row) for row in rows]

    # -------------------------------------------------------------------------------------------- looking

    def counts(self, settings: int | None = None) -> Mapping[State, int]:
        """How many files are in each state; by default for the settings of the newest run."""
        found = dict(
            self._read(
                "SELECT state, count(*) FROM job INDEXED BY job_standing WHERE part = -1 AND settings = ? GROUP BY state",
                self._chosen(settings),
            )
        )
        return {state: found.get(state, 0) for state in get_args(State)}

    def jobs(self, states: Sequence[State] | None = None, settings: int | None = None, *, parts: bool = False) -> Iterator[JobRow]:
        """Files as they were entered, or state by state; with `parts` the parts of files, state by state. Settings as in `counts`.

        It is read by and by, each job as it stands then: one that changes its state meanwhile may come twice, or not at all.
        """
        settings = self._chosen(settings)
        if states is None and not parts:
            yield from self._listed("job NOT INDEXED", "part = -1 AND settings = ?", settings)
            return
        table = "job INDEXED BY job_part" if parts else "job INDEXED BY job_standing"
        only = f"part {'>= 0' if parts else '= -1'} AND settings = ? AND state = ?"
        for state in get_args(State) if states is None else states:
            yield from self._listed(table, only, settings, state)

    def _listed(self, table: str, only: str, *values: object) -> Iterator[JobRow]:
        query = f"{_ROW} FROM {table} JOIN source ON source.id = source WHERE {only} AND job.id > ? ORDER BY job.id LIMIT {_CHUNK}"
        last = 0
        while rows := self._read(query, *values, last):
            yield from map(_job_row, rows)
            last = rows[-1]["job"]

    def is_over(self, job: int) -> bool:
        """Whether nobody is at that job, or will be unless it is entered anew."""
        rows = self._read("SELECT 1 FROM job WHERE id = ? AND state IN ('ready', 'running', 'waiting', 'split')", job)
        return not rows

    def sizes(self, settings: int | None = None) -> Mapping[Literal["video", "image"], Sizes]:
        """By kind, what is done and what is left, for an estimate of the time; one pass over all jobs, so not for every second."""
        rows = self._read(
            "SELECT kind, state = 'done', count(*), sum(size_bytes), sum(frames_done) FROM job JOIN source ON source.id = source "
            "WHERE settings = ? AND part = -1 AND state IN ('done', 'ready', 'running', 'waiting', 'split') GROUP BY 1, 2",
            self._chosen(settings),
        )
        fields: dict[Literal["video", "image"], dict[str, int]] = {"video": {}, "image": {}}
        for kind, done, files, size_bytes, frames in rows:
            if done:
                fields[kind] |= {"files_done": files, "bytes_done": size_bytes, "frames_done": frames}
            else:
                fields[kind] |= {"files_left": files, "bytes_left": size_bytes}
        return {kind: Sizes(**values) for kind, values in fields.items()}

    def stretches(self, job: int) -> list[LabelInterval]:
        """What was seen in a job's video, from the first to the last; the index of a class is not stored, and is its id here."""
        rows = self._read(
            "SELECT class.id, wnid, label, start_seconds, end_seconds, frames, mean_score, best_score "
            "FROM stretch JOIN class ON class.id = class WHERE job = ? ORDER BY start_seconds, stretch.rowid",
            job,
        )
        found = []
        for row in map(dict, rows):
            name = ClassName(index=row.pop("id"), wnid=row.pop("wnid"), label=row.pop("label"))
            found.append(LabelInterval(name=name, **row))
        return found

    def classes(self) -> list[tuple[int, str | None, str]]:
        """Id, wnid and label of each class that is seen somewhere."""
        seen = "EXISTS (SELECT 1 FROM stretch INDEXED BY stretch_class WHERE class = class.id)"
        return [tuple(row) for row in self._read(f"SELECT id, wnid, label FROM class WHERE {seen}")]

    def has_kind(self, wnid: str) -> bool:
        """Whether a kind is seen somewhere."""
        return self._has_kinds and bool(self._read("SELECT 1 FROM kind_stretch WHERE wnid = ? LIMIT 1", wnid))

    @property
    def _has_kinds(self) -> bool:
        return self._is_of(_WITH_KINDS)

    def _is_of(self, version: int) -> bool:
        """Whether the file is of that version or a later one."""
        with self._lock, _told(self.path):
            return _version(self._db) >= version

    def best_seen(self, jobs: Sequence[int]) -> dict[int, list[tuple[str, float, float]]]:
        """For each of these jobs and each class that was seen in it, the best first: label, and begin and score of its best stretch.

        The begin is by the output's time, in seconds.
        """
        found: dict[int, list[tuple[str, float, float]]] = {}
        for begin in range(0, len(jobs), _CHUNK):
            chunk = jobs[begin : begin + _CHUNK]
            rows = self._read(
                "SELECT job, label, stretch.start_seconds - ifnull(json_extract(canonical, '$.start_seconds'), 0), max(best_score) AS best "
                "FROM stretch JOIN class ON class.id = class JOIN job ON job.id = job JOIN settings ON settings.id = settings "
                f"WHERE job IN ({', '.join('?' * len(chunk))}) GROUP BY job, class ORDER BY job, best DESC",
                *chunk,
            )
            for job, label, start, best in rows:
                found.setdefault(job, []).append((label, max(0.0, start), best))
        return found

    def seen(self, class_id: int, *, min_score: float, min_seconds: float, limit: int) -> list[Hit]:
        """Where a class was seen, the best first; not where it is being looked at anew."""
        return self._best("stretch", "class", class_id, min_score, min_seconds, limit)

    def kind_seen(self, wnid: str, *, min_score: float, min_seconds: float, limit: int) -> list[Hit]:
        """Where a kind was seen, as `seen` has it of classes."""
        return self._best("kind_stretch", "kind", wnid, min_score, min_seconds, limit) if self._has_kinds else []

    def _best(self, table: str, by: str, which: int | str, min_score: float, min_seconds: float, limit: int) -> list[Hit]:
        column = "wnid" if by == "kind" else by
        rows = self._read(
            f"{_HIT} FROM {table} AS s INDEXED BY {table}_{by} {_WHERE_IT_IS} "
            f"WHERE s.{column} = ? AND best_score >= ? AND s.end_seconds - s.start_seconds >= ? AND state IN ('done', 'failed') "
            "ORDER BY best_score DESC LIMIT ?",
            *(which, min_score, min_seconds, limit),
        )
        return [Hit(**row) for row in map(dict, rows)]

    def seen_together(self, class_ids: Sequence[int], wnids: Sequence[str], *, without: str | None = None) -> list[Hit]:
        """Where any of these classes or kinds was seen, by input and begin; not in inputs that have a record of the kind `without`."""
        tables = [("stretch", "class", class_ids), *([("kind_stretch", "wnid", wnids)] if self._has_kinds else [])]
        noted = "AND s.job NOT IN (SELECT job FROM kind_stretch WHERE wnid = ?)" if without and self._has_kinds else ""
        found: list[Hit] = []
        for table, column, which in tables:
            for begin in range(0, len(which), _CHUNK):
                chunk = which[begin : begin + _CHUNK]
                rows = self._read(
                    f"{_HIT} FROM {table} AS s {_WHERE_IT_IS} "
                    f"WHERE s.{column} IN ({', '.join('?' * len(chunk))}) AND state IN ('done', 'failed') {noted}",
                    *chunk,
                    *([without] if noted else []),
                )
                found += [Hit(**row) for row in map(dict, rows)]
        return sorted(found, key=lambda hit: (hit.relative, hit.output, hit.start_seconds))

    def _chosen(self, settings: int | None) -> int:
        if settings is None:
            rows = self._read("SELECT settings FROM run ORDER BY id DESC LIMIT 1")
            return int(rows[0][0]) if rows else 0
        return settings


# ------------------------------------------------------------------------------------------------ inside a transaction


@dataclass(frozen=True)
class _Whole:
    """A job of a source, as `enter` needs to know it."""

    id: int
    settings: int
    state: State
    output: bytes
    owned: bool


def _known(db: sqlite3.Connection, relative: bytes) -> Any:
    """Id, size and time of a source, None when it was never seen."""
    return db.execute("SELECT id, size_bytes, mtime_ns FROM source WHERE relative = ?", (relative,)).fetchone()


def _same_file(known: Any, seen: Found | Lease) -> bool:
    return (known["size_bytes"], int(known["mtime_ns"])) == (seen.size_bytes, seen.mtime_ns)


def _wholes(db: sqlite3.Connection, source: int) -> list[_Whole]:
    """The newest first."""
    rows = db.execute("SELECT id, settings, state, output, owned FROM job WHERE source = ? AND part = -1 ORDER BY id DESC", (source,))
    return [_Whole(*row) for row in rows]


_STANDINGS: Mapping[State, Standing] = {"done": "restored", "stale": "changed", "missing": "new", "copy": "new"}


def _standing(
    known: Any, jobs: Sequence[_Whole], found: Found, settings: int, exists: Callable[[bytes], bool], retry_failed: bool
) -> Standing:
    job = next((job for job in jobs if job.settings == settings), None)
    if job is not None and job.state == "running":
        return "pending"
    state = job.state if job is not None and _same_file(known, found) else None
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
    known = _known(db, entry.found.relative)
    jobs = _wholes(db, known[0]) if known else []
    original = _checked(db, entry.found, settings).copy_of
    standing = _standing(known, jobs, replace(entry.found, copy_of=original), settings, exists, retry_failed)
    source = _see(db, entry.found, run, None if known is None else known[0])
    job = next((job for job in jobs if job.settings == settings), None)
    if known and not _same_file(known, entry.found):
        _free_copies(db, source)
        for each in jobs:
            _drop_parts(db, source, each.settings)  # of running ones too, lest parts of the old file be joined to parts of the new one
    for other in jobs:
        if other is not job and other.state not in ("running", "stale"):
            _drop_parts(db, source, other.settings)
            db.execute("UPDATE job SET state = 'stale', ready_after = NULL WHERE id = ?", (other.id,))
    if job is None:
        output = _name(db, entry, source, jobs)
        owned = any(other.owned for other in jobs if other.output == output)
        db.execute("INSERT INTO job (source, settings, output, owned) VALUES (?, ?, ?, ?)", (source, settings, output, owned))
    elif standing == "copy":
        _drop_parts(db, source, settings)
    elif standing in ("new", "changed", "restored") or (standing == "pending" and job.state == "failed"):
        owned = any(other.owned for other in jobs if other.output == job.output)
        db.execute(
            "UPDATE job SET state = 'ready', owned = ?, priority = ?, undivided = 0, errors = 0, crashes = 0, error_class = NULL, "
            "error_text = NULL, ready_after = NULL, run = NULL, copy_of = NULL WHERE id = ?",
            (owned, _FILE, job.id),
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


def _checked(db: sqlite3.Connection, found: Found, settings: int) -> Found:
    """The same, not a copy if that other source is not made: two that were copies of one another would both be left out."""
    made = (
        "SELECT 1 FROM source JOIN job ON source = source.id WHERE relative = ? AND settings = ? AND part = -1 "
        "AND state NOT IN ('copy', 'missing', 'stale')"
    )
    if found.copy_of is None or db.execute(made, (found.copy_of, settings)).fetchone():
        return found
    return replace(found, copy_of=None)


def _free_copies(db: sqlite3.Connection, original: int) -> None:
    """A source is no longer made in place of its copies: the first of them is, from now on."""
    query = "SELECT id, source, settings FROM job WHERE copy_of = ? AND state = 'copy' ORDER BY id"
    first: dict[int, int] = {}
    for job, source, settings in db.execute(query, (original,)).fetchall():
        if settings in first:
            db.execute("UPDATE job SET copy_of = ? WHERE id = ?", (first[settings], job))
        else:
            first[settings] = source
            db.execute("UPDATE job SET state = 'ready', copy_of = NULL, priority = ?, run = NULL WHERE id = ?", (_FILE, job))


def _see(db: sqlite3.Connection, found: Found, run: int, source: int | None) -> int:
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


def _name(db: sqlite3.Connection, entry: Entry, source: int, jobs: Sequence[_Whole]) -> bytes:
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


def lies_below(relative: bytes, folders: set[bytes]) -> bool:
    """Whether it is one of them, or one of its own folders is."""
    ancestors = (relative[:end] for end, byte in enumerate(relative) if byte == ord("/"))
    return b"" in folders or relative in folders or any(ancestor in folders for ancestor in ancestors)


def _held(db: sqlite3.Connection, claim: Lease) -> tuple[int, int] | None:
    """Source and settings of a job that is still this claim's."""
    row = db.execute("SELECT source, settings FROM job WHERE id = ? AND token = ?", (claim.job, claim.token)).fetchone()
    return None if row is None else (row[0], row[1])


def _is_outdated(db: sqlite3.Connection, claim: Lease) -> bool:
    """Whether the source was found changed since it was claimed; then its job is ready again. Parts have been dropped at that moment."""
    if _same_file(_known(db, claim.relative), claim):
        return False
    _leave(db, claim, "ready", how="changed")
    return True


def _leave(
    db: sqlite3.Connection,
    claim: Lease | Lost,
    state: State,
    *,
    how: str,
    told: tuple[str | None, str | None] = (None, None),
    ready_after: float | None = None,
) -> None:
    """End an attempt: the job is no one's any more."""
    db.execute("UPDATE job SET state = ?, token = NULL, ready_after = ? WHERE id = ?", (state, ready_after, claim.job))
    _end_attempt(db, claim.token, how, told)


def _end_attempt(db: sqlite3.Connection, token: str, how: str, told: tuple[str | None, str | None] = (None, None)) -> None:
    update = "UPDATE attempt SET ended_at = ?, how = ?, error_class = ?, error_text = ? WHERE token = ? AND ended_at IS NULL"
    db.execute(update, (_now(), how, *told, token))


def _count_parts(db: sqlite3.Connection, source: int, settings: int, *, done: bool) -> int:
    query = f"SELECT count(*) FROM job WHERE source = ? AND settings = ? AND part >= 0 AND state {'=' if done else '<>'} 'done'"
    return int(db.execute(query, (source, settings)).fetchone()[0])


def _join_if_last(db: sqlite3.Connection, source: int, settings: int) -> None:
    if not _count_parts(db, source, settings, done=False):
        update = "UPDATE job SET state = 'ready', priority = ? WHERE source = ? AND settings = ? AND part = -1 AND state = 'split'"
        db.execute(update, (_JOINING, source, settings))


def _drop_parts(db: sqlite3.Connection, source: int, settings: int) -> None:
    """Who is still at one of them is fenced out."""
    parts = "FROM job WHERE source = ? AND settings = ? AND part >= 0"
    for (token,) in db.execute(f"SELECT token {parts} AND token IS NOT NULL", (source, settings)).fetchall():
        _end_attempt(db, token, "superseded")
    db.execute(f"DELETE {parts}", (source, settings))


def _supersede(db: sqlite3.Connection, source: int, job: int) -> None:
    """The source's other jobs have nothing to show any more."""
    others = "source = ? AND id <> ? AND part = -1"
    db.execute(f"UPDATE job SET state = 'stale' WHERE {others} AND state = 'done'", (source, job))
    for table in ("stretch", "kind_stretch"):
        db.execute(f"DELETE FROM {table} WHERE job IN (SELECT id FROM job WHERE {others} AND state = 'stale')", (source, job))


def _write_stretches(db: sqlite3.Connection, job: int, stretches: Sequence[LabelInterval], kinds: Sequence[KindInterval]) -> None:
    for table in ("stretch", "kind_stretch"):
        db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))
    classes: dict[ClassName, int] = {}
    for stretch in stretches:
        if stretch.name not in classes:
            name = (_text(stretch.name.wnid), _text(stretch.name.label))
            db.execute("INSERT OR IGNORE INTO class (wnid, label) VALUES (?, ?)", name)
            row = db.execute("SELECT id FROM class WHERE ifnull(wnid, '') = ifnull(?, '') AND label = ?", name).fetchone()
            classes[stretch.name] = row[0]
    db.executemany(
        "INSERT INTO stretch VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(job, classes[s.name], s.start_seconds, s.end_seconds, s.frames, s.mean_score, s.best_score) for s in stretches],
    )
    db.executemany(
        "INSERT INTO kind_stretch VALUES (?, ?, ?, ?, ?)", [(job, s.wnid, s.start_seconds, s.end_seconds, s.best_score) for s in kinds]
    )


def _live_runs(db: sqlite3.Connection) -> list[RunRow]:
    rows = db.execute(
        "SELECT host, boot, pid, started, id AS run, settings, command, version, beat, begun_at FROM run WHERE ended_at IS NULL ORDER BY id"
    )
    runs = []
    for row in map(dict, rows):
        process = Process(**{key: row.pop(key) for key in ("host", "boot", "pid", "started")})
        runs.append(RunRow(process=process, **row))
    return runs


def _stop_waiting(db: sqlite3.Connection, run: int, *, until: float = float("inf")) -> None:
    db.execute(
        "UPDATE job INDEXED BY job_waiting SET state = 'ready', ready_after = NULL "
        "WHERE state = 'waiting' AND run = ? AND ready_after <= ?",
        (run, until),
    )


def _release(db: sqlite3.Connection, run: int, is_dead: Callable[[Process], bool]) -> list[Lost]:
    rows = db.execute(
        "SELECT owner_host, owner_boot, owner_pid, owner_started, job.id, token, relative, output, part "
        "FROM job INDEXED BY job_running JOIN source ON source.id = source WHERE state = 'running' AND run = ?",
        (run,),
    ).fetchall()
    lost = [
        Lost(job=job, run=run, token=token, relative=relative, output=output, part=part)
        for host, boot, pid, started, job, token, relative, output, part in rows
        if is_dead(Process(host=host, boot=boot, pid=pid, started=started))
    ]
    for each in lost:
        _leave(db, each, "ready", how="interrupted")
    return lost


def _end(db: sqlite3.Connection, run: int, exit_code: int | None) -> list[Lost]:
    db.execute("UPDATE run SET ended_at = ?, exit_code = ? WHERE id = ?", (_now(), exit_code, run))
    _stop_waiting(db, run)
    return _release(db, run, lambda _: True)


def _job_row(row: sqlite3.Row) -> JobRow:
    values = dict(row)
    outcome = values.pop("outcome")
    return JobRow(**values, outcome=None if outcome is None else json.loads(outcome))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@overload
def _text(text: str) -> str: ...


@overload
def _text(text: None) -> None: ...


def _text(text: str | None) -> str | None:
    """A file's name within a message may be no UTF-8, which SQLite's text must be."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
