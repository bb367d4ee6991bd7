"""The runs on an archive: begun, alive, ended, and what dead ones have left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from pipeline.batch.store import transaction_steps
from pipeline.batch.store.database import Database
from pipeline.batch.store.row_records import LostJob, RunRow, storable, utc_now
from pipeline.files import Process, is_running


class Runs:
    """Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, *, settings: int, command: str, version: str, process: Process) -> int:
        """The id of a new run. Jobs that dead runs of this host have left waiting are ready from now on: their clock is gone."""
        with self._database.writing() as db:
            for earlier in list_live_runs(db):
                if is_running(earlier.process) is False:
                    stop_waiting(db, earlier.run)
            cursor = db.execute(
                "INSERT INTO run (settings, command, version, host, boot, pid, started, begun_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (settings, storable(command), version, process.host, process.boot, process.pid, process.started, utc_now()),
            )
            return int(cursor.lastrowid or 0)

    def end(self, run: int, exit_code: int) -> None:
        """What it still has running or waiting is ready again."""
        with self._database.writing() as db:
            _end_run(db, run, exit_code)

    def beat(self, run: int, frames: Mapping[str, tuple[int, int | None]]) -> None:
        """A sign of life, with the frames done and expected of jobs at work, by their tokens; unknown tokens change nothing."""
        with self._database.writing() as db:
            db.execute("UPDATE run SET beat = beat + 1 WHERE id = ?", (run,))
            db.executemany(
                "UPDATE job SET frames_done = ?, frames_total = ? WHERE token = ?",
                [(done, total, token) for token, (done, total) in frames.items()],
            )

    def recover(self, is_dead: Callable[[Process, int, int], bool]) -> list[LostJob]:
        """Make ready, uncharged, what dead workers were at, and end the dead runs.

        `is_dead` gets a process, the run it works for, and that run's heartbeat; it is asked for each run that has not ended, and for
        the worker of each of their running jobs. A worker may outlive its run by a moment: until it is dead its job is nobody else's,
        for two would write under one name; and a run is ended when none of its workers lives.
        """
        with self._database.writing() as db:
            lost = []
            for run in list_live_runs(db):
                lost += _release_jobs(db, run.run, lambda owner, run=run: is_dead(owner, run.run, run.beat))  # type: ignore[misc]
                at_work = db.execute("SELECT 1 FROM job INDEXED BY job_running WHERE state = 'running' AND run = ?", (run.run,)).fetchone()
                if at_work is None and is_dead(run.process, run.run, run.beat):
                    lost += _end_run(db, run.run, None)
            return lost


def list_live_runs(db: sqlite3.Connection) -> list[RunRow]:
    """Those that have not ended, the oldest first."""
    rows = db.execute(
        "SELECT host, boot, pid, started, id AS run, settings, command, version, beat, begun_at FROM run WHERE ended_at IS NULL ORDER BY id"
    )
    runs = []
    for row in map(dict, rows):
        process = Process(**{key: row.pop(key) for key in ("host", "boot", "pid", "started")})
        runs.append(RunRow(process=process, **row))
    return runs


def stop_waiting(db: sqlite3.Connection, run: int, *, until: float = float("inf")) -> None:
    """A run's jobs whose pause ends by then are ready."""
    db.execute(
        "UPDATE job INDEXED BY job_waiting SET state = 'ready', ready_after = NULL "
        "WHERE state = 'waiting' AND run = ? AND ready_after <= ?",
        (run, until),
    )


def _release_jobs(db: sqlite3.Connection, run: int, is_dead: Callable[[Process], bool]) -> list[LostJob]:
    rows = db.execute(
        "SELECT owner_host, owner_boot, owner_pid, owner_started, job.id, token, relative, output "
        "FROM job INDEXED BY job_running JOIN source ON source.id = source WHERE state = 'running' AND run = ?",
        (run,),
    ).fetchall()
    lost = [
        LostJob(job=job, run=run, token=token, relative=relative, output=output)
        for host, boot, pid, started, job, token, relative, output in rows
        if is_dead(Process(host=host, boot=boot, pid=pid, started=started))
    ]
    for each in lost:
        transaction_steps.leave(db, each, "ready", how="interrupted")
    return lost


def _end_run(db: sqlite3.Connection, run: int, exit_code: int | None) -> list[LostJob]:
    db.execute("UPDATE run SET ended_at = ?, exit_code = ? WHERE id = ?", (utc_now(), exit_code, run))
    stop_waiting(db, run)
    return _release_jobs(db, run, lambda _: True)
