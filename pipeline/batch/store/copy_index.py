"""Exact copies in the store: the digests of sources, and which of them is made in place of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipeline.batch.store.database import CHUNK_ROWS, Database
from pipeline.batch.store.row_records import CopyRow
from pipeline.batch.store.schema import WITH_COPIES
from pipeline.records import Found


class CopyReader:
    """What is not made because another one is; nothing, in a file of a version that knew no copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def original_of(self, relative: bytes, *, settings: int) -> bytes | None:
        """The source that is made in place of this one, None where it is made itself."""
        if not self._database.is_of(WITH_COPIES):
            return None
        rows = self._database.read(
            "SELECT source.relative FROM source AS copied JOIN job ON job.source = copied.id JOIN source ON source.id = copy_of "
            "WHERE copied.relative = ? AND settings = ? AND part = -1 AND state = 'copy'",
            *(relative, settings),
        )
        return rows[0][0] if rows else None

    def rows(self, settings: int | None) -> Iterator[CopyRow]:
        """What is not made because another one is."""
        if not self._database.is_of(WITH_COPIES):
            return
        query = (
            "SELECT job.id AS id, copied.relative AS relative, source.relative AS original, made.output AS output, made.state AS state, "
            "made.error_text AS error_text, made.outcome NOT NULL AS made "
            "FROM job INDEXED BY job_standing JOIN source AS copied ON copied.id = job.source JOIN source ON source.id = job.copy_of "
            "JOIN job AS made ON made.source = job.copy_of AND made.settings = job.settings AND made.part = -1 "
            f"WHERE job.part = -1 AND job.settings = ? AND job.state = 'copy' AND job.id > ? ORDER BY job.id LIMIT {CHUNK_ROWS}"
        )
        last = 0
        while rows := self._database.read(query, settings, last):
            for row in map(dict, rows):
                last = row.pop("id")
                yield CopyRow(**{**row, "made": bool(row["made"])})

    def copies_of(self, relative: bytes) -> list[bytes]:
        """The sources in whose place this one is made."""
        if not self._database.is_of(WITH_COPIES):
            return []
        rows = self._database.read(
            "SELECT copied.relative FROM source JOIN job ON copy_of = source.id JOIN source AS copied ON copied.id = job.source "
            "WHERE source.relative = ? AND state = 'copy' ORDER BY copied.relative",
            relative,
        )
        return [row[0] for row in rows]


class Digests:
    """Of the sources' contents, by which copies are found. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def shares_size(self, found: Found) -> bool:
        """Whether another source is as large."""
        query = "SELECT 1 FROM source WHERE size_bytes = ? AND relative <> ? LIMIT 1"
        return bool(self._database.read(query, found.size_bytes, found.relative))

    def shares_ends(self, found: Found, ends: bytes) -> bool:
        """Whether another source is as large, and has that digest of its ends."""
        query = "SELECT 1 FROM source WHERE size_bytes = ? AND ends = ? AND relative <> ? LIMIT 1"
        return bool(self._database.read(query, found.size_bytes, ends, found.relative))

    def find(self, found: Found, *, of: Literal["sha256", "ends"] = "sha256") -> bytes | None:
        """The SHA-256 of a source, or of its ends, as long as it is what it was."""
        rows = self._database.read(
            f"SELECT {of} FROM source WHERE relative = ? AND size_bytes = ? AND mtime_ns = ?",
            *(found.relative, found.size_bytes, str(found.mtime_ns)),
        )
        return rows[0][0] if rows else None

    def write(self, found: Found, digest: bytes, *, of: Literal["sha256", "ends"] = "sha256") -> None:
        """Changes nothing where the source is not known, or as another one."""
        with self._database.writing() as db:
            db.execute(
                f"UPDATE source SET {of} = ? WHERE relative = ? AND size_bytes = ? AND mtime_ns = ?",
                (digest, found.relative, found.size_bytes, str(found.mtime_ns)),
            )

    def without_ends(self, *, above_bytes: int, size_bytes: int | None = None, run: int | None = None) -> Iterator[Found]:
        """Sources without a digest of their ends, which are larger than `above_bytes`; else as `without_digest`."""
        return self._without("ends", f"s.size_bytes > {above_bytes}", size_bytes, run)

    def without_digest(self, *, above_bytes: int, like: Found | None = None, run: int | None = None) -> Iterator[Found]:
        """Sources without a digest, as large as one and with its ends or as large as any other, which that run or a later one has seen.

        Of what is larger than `above_bytes` only those whose ends another one has, too. Their `path` is the one below the root.
        """
        if like is not None:
            ends = () if like.ends is None else (like.ends,)
            return self._without("sha256", "s.ends = ?" if ends else "s.ends IS NULL", like.size_bytes, run, *ends)
        alike = "EXISTS (SELECT 1 FROM source AS o WHERE o.size_bytes = s.size_bytes AND o.ends = s.ends AND o.id <> s.id)"
        return self._without("sha256", f"(s.size_bytes <= {above_bytes} OR {alike})", None, run)

    def _without(self, column: str, condition: str, size_bytes: int | None, run: int | None, *values: bytes) -> Iterator[Found]:
        shared = "EXISTS (SELECT 1 FROM source AS o WHERE o.size_bytes = s.size_bytes AND o.id <> s.id AND o.seen_run >= ?)"
        only, of = ("s.size_bytes = ?", size_bytes) if size_bytes is not None else (f"s.size_bytes > 0 AND {shared}", run or 0)
        query = (
            f"SELECT id, relative, kind, size_bytes, mtime_ns FROM source AS s WHERE {column} IS NULL AND seen_run >= ? AND {only} "
            f"AND {condition} AND s.id > ? ORDER BY s.id LIMIT {CHUNK_ROWS}"
        )
        last = 0
        while rows := self._database.read(query, run or 0, of, *values, last):
            for _, relative, kind, size, mtime_ns in rows:
                path = Path(os.fsdecode(relative))
                yield Found(path=path, relative=relative, kind=kind, size_bytes=size, mtime_ns=int(mtime_ns))
            last = rows[-1][0]

    def originals(self, found: Found, sha256: bytes, *, settings: int) -> list[tuple[Found, bytes | None]]:
        """Sources of the same content and kind that are to be made or are made, what is done first, and then with its output."""
        rows = self._database.read(
            "SELECT relative, mtime_ns, state = 'done' AS done, output FROM source JOIN job ON source = source.id "
            "WHERE size_bytes = ? AND sha256 = ? AND kind = ? AND relative <> ? AND settings = ? AND part = -1 "
            "AND state NOT IN ('copy', 'missing', 'stale') ORDER BY done DESC, job.id",
            *(found.size_bytes, sha256, found.kind, found.relative, settings),
        )
        return [
            (replace(found, relative=relative, mtime_ns=int(mtime_ns)), output if done else None)
            for relative, mtime_ns, done, output in rows
        ]

    def count_copies(self, *, run: int) -> int:
        """Of the sources that this run or a later one has seen, how many have the content of another one."""
        rows = self._database.read(
            "SELECT ifnull(sum(alike - 1), 0) FROM (SELECT count(*) AS alike FROM source WHERE sha256 NOT NULL AND seen_run >= ? "
            "GROUP BY size_bytes, sha256, kind)",
            run,
        )
        return int(rows[0][0])
