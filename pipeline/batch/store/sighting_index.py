"""What was seen where: the classes and kinds of all jobs, as `visualize search` and the archive's page ask for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from pipeline.batch.store.database import CHUNK_ROWS, Database
from pipeline.batch.store.row_records import HitRow, storable
from pipeline.batch.store.schema import WITH_KINDS
from pipeline.records import ClassName, KindInterval, LabelInterval

_HIT = (
    "SELECT relative, output, s.start_seconds, s.end_seconds, best_score AS score, "
    "ifnull(json_extract(canonical, '$.start_seconds'), 0) AS output_begins_seconds"
)
_WHERE_IT_IS = "JOIN job ON job.id = s.job JOIN source ON source.id = source JOIN settings ON settings.id = settings"


class SeenIndex:
    """Read only. Times are in seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intervals_of(self, job: int) -> list[LabelInterval]:
        """What was seen in a job's video, from the first to the last; the index of a class is not stored, and is its id here."""
        rows = self._database.read(
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
        return [tuple(row) for row in self._database.read(f"SELECT id, wnid, label FROM class WHERE {seen}")]

    def has_kind(self, wnid: str) -> bool:
        """Whether a kind is seen somewhere."""
        return self._has_kinds and bool(self._database.read("SELECT 1 FROM kind_stretch WHERE wnid = ? LIMIT 1", wnid))

    @property
    def _has_kinds(self) -> bool:
        return self._database.is_of(WITH_KINDS)

    def best_of_jobs(self, jobs: Sequence[int]) -> dict[int, list[tuple[str, float, float]]]:
        """For each of these jobs and each class that was seen in it, the best first: label, and begin and score of its best stretch.

        The begin is by the output's time, in seconds.
        """
        found: dict[int, list[tuple[str, float, float]]] = {}
        for begin in range(0, len(jobs), CHUNK_ROWS):
            chunk = jobs[begin : begin + CHUNK_ROWS]
            rows = self._database.read(
                "SELECT job, label, stretch.start_seconds - ifnull(json_extract(canonical, '$.start_seconds'), 0), max(best_score) AS best "
                "FROM stretch JOIN class ON class.id = class JOIN job ON job.id = job JOIN settings ON settings.id = settings "
                f"WHERE job IN ({', '.join('?' * len(chunk))}) GROUP BY job, class ORDER BY job, best DESC",
                *chunk,
            )
            for job, label, start, best in rows:
                found.setdefault(job, []).append((label, max(0.0, start), best))
        return found

    def class_hits(self, class_id: int, *, min_score: float, min_seconds: float, limit: int) -> list[HitRow]:
        """Where a class was seen, the best first; not where it is being looked at anew."""
        return self._best("stretch", "class", class_id, min_score, min_seconds, limit)

    def kind_hits(self, wnid: str, *, min_score: float, min_seconds: float, limit: int) -> list[HitRow]:
        """Where a kind was seen, as `class_hits` has it of classes."""
        return self._best("kind_stretch", "kind", wnid, min_score, min_seconds, limit) if self._has_kinds else []

    def _best(self, table: str, by: str, which: int | str, min_score: float, min_seconds: float, limit: int) -> list[HitRow]:
        column = "wnid" if by == "kind" else by
        rows = self._database.read(
            f"{_HIT} FROM {table} AS s INDEXED BY {table}_{by} {_WHERE_IT_IS} "
            f"WHERE s.{column} = ? AND best_score >= ? AND s.end_seconds - s.start_seconds >= ? AND state IN ('done', 'failed') "
            "ORDER BY best_score DESC LIMIT ?",
            *(which, min_score, min_seconds, limit),
        )
        return [HitRow(**row) for row in map(dict, rows)]

    def hits_of_any(self, class_ids: Sequence[int], wnids: Sequence[str], *, without: str | None = None) -> list[HitRow]:
        """Where any of these classes or kinds was seen, by input and begin; not in inputs that have a record of the kind `without`."""
        tables = [("stretch", "class", class_ids), *([("kind_stretch", "wnid", wnids)] if self._has_kinds else [])]
        noted = "AND s.job NOT IN (SELECT job FROM kind_stretch WHERE wnid = ?)" if without and self._has_kinds else ""
        found: list[HitRow] = []
        for table, column, which in tables:
            for begin in range(0, len(which), CHUNK_ROWS):
                chunk = which[begin : begin + CHUNK_ROWS]
                rows = self._database.read(
                    f"{_HIT} FROM {table} AS s {_WHERE_IT_IS} "
                    f"WHERE s.{column} IN ({', '.join('?' * len(chunk))}) AND state IN ('done', 'failed') {noted}",
                    *chunk,
                    *([without] if noted else []),
                )
                found += [HitRow(**row) for row in map(dict, rows)]
        return sorted(found, key=lambda hit: (hit.relative, hit.output, hit.start_seconds))


def write_intervals(db: sqlite3.Connection, job: int, intervals: Sequence[LabelInterval], kinds: Sequence[KindInterval]) -> None:
    """What was seen in a job's output, in place of what was written before; inside a transaction."""
    for table in ("stretch", "kind_stretch"):
        db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))
    classes: dict[ClassName, int] = {}
    for interval in intervals:
        if interval.name not in classes:
            name = (storable(interval.name.wnid), storable(interval.name.label))
            db.execute("INSERT OR IGNORE INTO class (wnid, label) VALUES (?, ?)", name)
            row = db.execute("SELECT id FROM class WHERE ifnull(wnid, '') = ifnull(?, '') AND label = ?", name).fetchone()
            classes[interval.name] = row[0]
    db.executemany(
        "INSERT INTO stretch VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(job, classes[s.name], s.start_seconds, s.end_seconds, s.frames, s.mean_score, s.best_score) for s in intervals],
    )
    db.executemany(
        "INSERT INTO kind_stretch VALUES (?, ?, ?, ?, ?)", [(job, s.wnid, s.start_seconds, s.end_seconds, s.best_score) for s in kinds]
    )
