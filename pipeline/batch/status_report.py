"""What a batch has done, is doing and has failed at, read from its stores while it runs or long after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.batch import archive_layout, page_publisher
from pipeline.batch.store.row_records import LEFT, CopyRow, JobRow, RunRow
from pipeline.batch.store.store_reader import StoreReader, open_reader
from pipeline.files import is_running


@dataclass(frozen=True, kw_only=True)
class Running:
    """An input that a worker is at; for a video that is made in parts, the frames of all of them."""

    input: str
    frames_done: int
    frames_total: int | None


@dataclass(kw_only=True)
class Status:
    """Of all shards together. `pending` counts what a dead run was at, too: the next one takes it up. `failures` hold path and reason.

    Of the inputs `copies` are exact copies of others and not made; each stands as the one that is made in its place. `page` is the
    archive's, where it has one.
    """

    done: int = 0
    failed: int = 0
    running: int = 0
    pending: int = 0
    missing: int = 0
    copies: int = 0
    runs: list[RunRow] = field(default_factory=list)
    at_work: list[Running] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    page: Path | None = None

    @property
    def total(self) -> int:
        return self.done + self.failed + self.running + self.pending

    def as_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("total", "done", "failed", "running", "pending", "missing")}
        return {**counts, "jobs": self.jobs}


def read_status(output: Path, *, every_job: bool) -> Status:
    """The status of the batch in that folder; `jobs` is filled with `every_job`. Raises InputError when there is no batch."""
    status = Status()
    for file in archive_layout.find_store_files(output):
        with open_reader(file) as store:
            _add_shard(status, store, output, every_job)
            status.page = status.page or page_publisher.find_own_page([store], output)
    return status


def _add_shard(status: Status, store: StoreReader, output: Path, every_job: bool) -> None:
    root = archive_layout.read_root(store)
    alive = [run for run in store.live_runs() if is_running(run.process) is not False]
    status.runs += alive
    counts = store.counts()
    status.done += counts["done"]
    status.failed += counts["failed"]
    status.missing += counts["missing"]
    at_work = list(_list_running(store, root)) if alive else []
    status.at_work += at_work
    status.running += len(at_work)
    status.pending += sum(counts[state] for state in LEFT) - len(at_work)
    status.failures += [(_path(root, row), row.error_text or "") for row in store.jobs(["failed"])]
    if every_job:
        names = {running.input for running in at_work}
        status.jobs += [_describe_job(row, root, output, names) for row in store.jobs() if row.state not in ("stale", "copy")]
    for copy in store.copies.rows(store.newest_settings):
        _add_copy(status, copy, root, output, every_job)


def _add_copy(status: Status, copy: CopyRow, root: Path, output: Path, every_job: bool) -> None:
    path, original = str(root / os.fsdecode(copy.relative)), str(root / os.fsdecode(copy.original))
    told = copy.state if copy.state in ("done", "failed", "missing") else "pending"
    setattr(status, told, getattr(status, told) + 1)
    status.copies += 1
    error = None if told != "failed" else f"is a copy of {original}, which has failed: {copy.error_text}"
    if told == "failed":
        status.failures.append((path, error or ""))
    if every_job:
        made = str(output / os.fsdecode(copy.output)) if copy.made and told in ("done", "failed") else None
        status.jobs.append({"input": path, "state": told, "attempts": 0, "error": error, "output": made, "copy_of": original})


def _list_running(store: StoreReader, root: Path) -> Iterator[Running]:
    parts: dict[bytes, list[JobRow]] = {}
    for row in store.jobs(parts=True):
        parts.setdefault(row.relative, []).append(row)
    for row in store.jobs(["running", "split"]):
        of_it = parts.get(row.relative, [])
        if row.state == "running":
            yield Running(input=_path(root, row), frames_done=row.frames_done, frames_total=row.frames_total)
        elif any(part.state in ("running", "done") for part in of_it):
            yield Running(input=_path(root, row), frames_done=sum(part.frames_done for part in of_it), frames_total=None)


def _path(root: Path, row: JobRow) -> str:
    return str(root / os.fsdecode(row.relative))


def _describe_job(row: JobRow, root: Path, output: Path, at_work: set[str]) -> dict[str, Any]:
    path = _path(root, row)
    state = row.state
    told = state if state in ("done", "failed", "missing") else "running" if path in at_work else "pending"
    kept = row.state == "done" or (row.outcome is not None and row.state == "failed")
    made = str(output / os.fsdecode(row.output)) if kept else None
    return {"input": path, "state": told, "attempts": row.attempts, "error": row.error_text, "output": made, "copy_of": None}
