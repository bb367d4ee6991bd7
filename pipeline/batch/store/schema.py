"""The store's tables, and how a file of an older version gets what it has not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pipeline.errors import OutputError

_APPLICATION = 0x4852454C  # "HREL", in the file's header

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
# Each brings a file from the version that is its place in this list to the next one; a new one goes through all of them.
_MIGRATIONS: tuple[str, ...] = (_SCHEMA, _COPIES, _KINDS, _ENDS)
WITH_COPIES, WITH_KINDS = 2, 3  # the first versions that have them
_OLDEST_READ = 1  # the oldest that may be read as it is: what it has not is not asked of it


def check_format(db: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    """Raise OutputError for a file that is another program's, too new, or too old to be read as it is."""
    version, newest = format_version(db), len(_MIGRATIONS)
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (tables or read_only) and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise OutputError(f"{path}: is not a ledger, but another program's database", remedy="name another output folder")
    if version > newest:
        raise OutputError(f"{path}: is a ledger of version {version}, and this program knows {newest}", remedy="use a newer heatreel")
    if read_only and version < _OLDEST_READ:
        raise OutputError(f"{path}: is a ledger of version {version}, and this program reads {newest}", remedy="run a batch on it once")


def format_version(db: sqlite3.Connection) -> int:
    """The file's version; 0 for a new one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def is_current(db: sqlite3.Connection) -> bool:
    """Whether the file has the tables of this program's version."""
    return format_version(db) == len(_MIGRATIONS)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this program's version, inside a transaction of the caller's. Raises OutputError as check_format does."""
    check_format(db, path, read_only=False)  # once more: another run may have been quicker
    for version in range(format_version(db), len(_MIGRATIONS)):
        for statement in _MIGRATIONS[version].split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
