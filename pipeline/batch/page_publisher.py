"""The page of an archive, OUT/index.html: how its batch stands, what has failed and why, and what is to be seen where."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.batch import archive_layout
from pipeline.batch.batch_run import BatchRun
from pipeline.batch.progress import RunLog
from pipeline.batch.store.row_records import LEFT, JobRow
from pipeline.batch.store.store_reader import StoreReader
from pipeline.errors import OutputError
from pipeline.files import page_of
from pipeline.records import ClassName, Prediction
from pipeline.reports import ArchiveItem, ArchivePage, Sighting, write_archive_page

MOST_ITEMS = 10_000  # that a browser shows and searches with ease


class PagePublisher:
    """Writes the page anew while a run is at work: the longer that takes, the more rarely. Somebody else's page is left alone."""

    def __init__(self, run: BatchRun, log: RunLog) -> None:
        self._run, self._log = run, log
        self._due_seconds = 0.0  # by the monotonic clock
        self._last_error = ""

    def publish(self, *, ended: int, last: bool = False) -> None:
        """`ended` is how many inputs this run has done or failed; the `last` page says nothing of work that goes on."""
        started, page, known = time.monotonic(), page_file(self._run.output), self._run.store.meta("page")
        settled = not ended and (not last or (page.exists() and known == "final"))
        if not self._run.request.options.report or settled or (started < self._due_seconds and not last):
            return
        try:
            self._write(known is not None, last=last)
        except OutputError as error:  # the work goes on without it
            if str(error) != self._last_error:  # it is tried again and again
                self._log.write(f"the archive's page is not written: {error}")
            self._last_error = str(error)
        self._due_seconds = time.monotonic() + max(self._run.timings.publish_seconds, 50 * (time.monotonic() - started))

    def _write(self, is_ours: bool, *, last: bool) -> None:
        store, output = self._run.store, self._run.output
        page = page_file(output)
        with archive_layout.open_other_shards(store.path) as others:
            is_ours |= any(other.meta("page") for other in others)
            if page.exists() and not is_ours and not self._run.request.options.overwrite:
                raise OutputError(f"{page}: exists already", remedy="--overwrite replaces it")
            store.set_meta("page", "final" if last else "at work")
            shards = [(store, self._run.settings), *((other, other.newest_settings) for other in others)]
            write_gallery(shards, output, refreshed=f"{time.strftime('%Y-%m-%d %H:%M')}{'' if last else ', at work'}")

    def find_page(self) -> Path | None:
        """The archive's page, where it has one that any of its shards knows of."""
        store, output = self._run.store, self._run.output
        with suppress(OutputError), archive_layout.open_other_shards(store.path) as others:  # one of which somebody may keep to himself
            return find_own_page((store, *others), output)
        return find_own_page([store], output)


def write_gallery(shards: Sequence[tuple[StoreReader, int | None]], output: Path, *, refreshed: str) -> None:
    """Write it anew, from the stores of all shards, each with the settings that count. Raises OutputError."""
    write_archive_page(page_file(output), make_gallery(shards, output, refreshed=refreshed), overwrite=True)


def page_file(output: Path) -> Path:
    return output / "index.html"


def find_own_page(stores: Iterable[StoreReader], output: Path) -> Path | None:
    """The page, where it is there and one of the archive's stores knows of it; None where it is somebody else's."""
    page = page_file(output)
    return page if any(store.meta("page") for store in stores) and page.exists() else None


def make_gallery(shards: Sequence[tuple[StoreReader, int | None]], output: Path, *, refreshed: str) -> ArchivePage:
    """At most MOST_ITEMS inputs of each store are shown, failures before others; the counts are of all."""
    counts = dict.fromkeys(("done", "failed", "to do", "missing"), 0)
    items: list[ArchiveItem] = []
    root = Path()
    for store, number in shards:
        root = archive_layout.read_root(store)
        states = store.counts(number)
        for state, count in states.items():
            name = "to do" if state in LEFT else state
            if name in counts:
                counts[name] += count
            elif state == "copy" and count:
                counts["exact copies"] = counts.get("exact copies", 0) + count
        rows = list(itertools.islice(store.jobs(["failed", "done"], number), MOST_ITEMS))
        seen = store.seen.best_of_jobs([row.job for row in rows])
        items += [_item(row, store, root, output, [Sighting(*best) for best in seen.get(row.job, [])]) for row in rows]
    return ArchivePage(title=root.name or str(root), counts=counts, refreshed=refreshed, items=items)


def _item(row: JobRow, store: StoreReader, root: Path, output: Path, seen: Sequence[Sighting]) -> ArchiveItem:
    made = row.outcome or {}
    file, poster = Path(os.fsdecode(row.output)), archive_layout.poster_file(store, output, row.job).relative_to(output)
    page = page_of(file)
    return ArchiveItem(
        name=os.fsdecode(row.relative),
        kind=row.kind,
        state=row.state,
        output=str(file) if row.outcome is not None else None,
        page=str(page) if row.kind == "video" and (output / page).exists() else None,
        poster=str(poster) if (output / poster).exists() else None,
        duration_seconds=made.get("duration_seconds"),
        frames=row.frames_done,
        top=[
            Prediction(name=ClassName(index=each["index"], wnid=each["wnid"], label=each["label"]), score=each["score"])
            for each in made.get("top", ())
        ],
        seen=seen,
        error=(row.error_text or "").removeprefix(f"{root / os.fsdecode(row.relative)}: ") or None,
    )
