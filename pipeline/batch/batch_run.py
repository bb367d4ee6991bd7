"""One run on an archive: what was asked for, where things are, and the task that a lease becomes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.batch import archive_layout
from pipeline.batch.archive_layout import Request
from pipeline.batch.messages import Task, Timings
from pipeline.batch.store.job_store import Store
from pipeline.batch.store.row_records import Lease
from pipeline.errors import OutputError
from pipeline.explain import discard
from pipeline.files import page_of, remove_leftovers
from pipeline.records import Found


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """An output, and what may go with it; None for what is not made."""

    output: Path
    maps: Path | None
    predictions: Path | None
    page: Path | None

    def __iter__(self) -> Iterator[Path]:
        """Those that are made."""
        return (path for path in (self.output, self.maps, self.predictions, self.page) if path is not None)


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """`number` is the run's in the store, `settings` those that it works for; `paths` are the sources, `root` is what holds them all."""

    request: Request
    output: Path
    paths: tuple[Path, ...]
    root: Path
    store: Store
    number: int
    settings: int
    timings: Timings

    def files_of(self, relative: bytes) -> OutputFiles:
        """The files of an output, by its path below the output folder."""
        output, maps, form = self.output / os.fsdecode(relative), self.request.maps, self.request.predictions
        return OutputFiles(
            output=output,
            maps=None if maps is None else maps.absolute() / os.fsdecode(relative + b".npz"),
            predictions=None if form == "none" else output.with_name(f"{output.stem}.{form}"),
            page=page_of(output) if self.request.options.report else None,
        )

    def is_taken(self, relative: bytes) -> bool:
        """Whether one of the files of an output is there already."""
        return any(os.path.lexists(path) for path in self.files_of(relative))

    def is_output_there(self, relative: bytes) -> bool:
        return os.path.lexists(self.output / os.fsdecode(relative))

    def foreign_file_error(self, lease: Lease) -> OutputError | None:
        """Why an output must not be made: a file that is not the archive's has its name."""
        if lease.owned or self.request.options.overwrite:
            return None
        files = self.files_of(lease.output)
        there = next((path for path in files if os.path.lexists(path)), files.output)
        text = f"{there}: exists already, and was not made from this archive"
        return OutputError(text, remedy="add --overwrite to replace it, or move it away")

    def task_of(self, lease: Lease) -> Task:
        """What a worker is to do for a lease."""
        found = Found(
            path=self.root / os.fsdecode(lease.relative),
            relative=lease.relative,
            kind=lease.kind,
            size_bytes=lease.size_bytes,
            mtime_ns=lease.mtime_ns,
        )
        files, is_video = self.files_of(lease.output), lease.kind == "video"
        return Task(
            token=lease.token,
            found=found,
            output=files.output,
            overwrite=True,
            maps=files.maps,
            predictions=files.predictions if is_video else None,
            receipt=archive_layout.receipt_file(self.store, self.output, lease.job) if is_video else None,
            poster=archive_layout.poster_file(self.store, self.output, lease.job) if self.request.options.report else None,
            command=self.request.command,
            part=lease.part,
            parts=lease.parts,
            undivided=lease.undivided,
            spent_seconds=self._spent_seconds(lease),
        )

    def _spent_seconds(self, lease: Lease) -> float:
        """What the parts of a video took that is to be joined."""
        made = self.store.parts(lease) if lease.parts else ()
        return float(sum(row.outcome["elapsed_seconds"] for row in made if row.outcome))

    def sweep_receipts(self) -> None:
        """Remove those that nobody will ask for: of jobs that are at an end, which a kill has left, or a source that is gone."""
        any_receipt = archive_layout.receipt_file(self.store, self.output, "*")
        for receipt in any_receipt.parent.glob(any_receipt.name):
            number = receipt.stem.rpartition("-")[2]
            if number.isdecimal() and self.store.is_over(int(number)):
                receipt.unlink(missing_ok=True)


def sweep_leftovers(task: Task) -> None:
    """Remove what a dead worker was writing for a task."""
    for folder in {path.parent for path in (task.output, task.predictions, task.maps, task.receipt) if path is not None}:
        with suppress(OSError):
            remove_leftovers(folder)


def clear_task(task: Task) -> None:
    """Remove all that the dead have left of an input that is given up, its finished segments too."""
    sweep_leftovers(task)
    discard(task.output)
