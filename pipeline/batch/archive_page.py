"""The page of an archive, OUT/index.html: how its batch stands, what has failed and why, and what is to be seen where."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.batch import archive
from pipeline.batch.store.job_store import LEFT, JobRow, Ledger
from pipeline.files.atomic import page_of
from pipeline.records import ClassName, Prediction
from pipeline.reports import html

MOST_ITEMS = 10_000  # that a browser shows and searches with ease


def write_gallery(shards: Sequence[tuple[Ledger, int]], output: Path, *, refreshed: str) -> None:
    """Write it anew, from the ledgers of all shards, each with the settings that count. Raises OutputError."""
    html.write_archive_page(file_of(output), gallery(shards, output, refreshed=refreshed), overwrite=True)


def file_of(output: Path) -> Path:
    return output / "index.html"


def own_page(books: Iterable[Ledger], output: Path) -> Path | None:
    """The page, where it is there and one of the archive's ledgers knows of it; None where it is somebody else's."""
    page = file_of(output)
    return page if any(book.meta("page") for book in books) and page.exists() else None


def gallery(shards: Sequence[tuple[Ledger, int]], output: Path, *, refreshed: str) -> html.ArchivePage:
    """At most MOST_ITEMS inputs of each ledger are shown, failures before others; the counts are of all."""
    counts = dict.fromkeys(("done", "failed", "to do", "missing"), 0)
    items: list[html.ArchiveItem] = []
    root = Path()
    for book, number in shards:
        root = archive.known_root(book)
        states = book.counts(number)
        for state, count in states.items():
            name = "to do" if state in LEFT else state
            if name in counts:
                counts[name] += count
            elif state == "copy" and count:
                counts["exact copies"] = counts.get("exact copies", 0) + count
        rows = list(itertools.islice(book.jobs(["failed", "done"], number), MOST_ITEMS))
        seen = book.best_seen([row.job for row in rows])
        items += [_item(row, book, root, output, [html.Sighting(*best) for best in seen.get(row.job, [])]) for row in rows]
    return html.ArchivePage(title=root.name or str(root), counts=counts, refreshed=refreshed, items=items)


def _item(row: JobRow, book: Ledger, root: Path, output: Path, seen: Sequence[html.Sighting]) -> html.ArchiveItem:
    made = row.outcome or {}
    file, poster = Path(os.fsdecode(row.output)), archive.poster_of(book, output, row.job).relative_to(output)
    page = page_of(file)
    return html.ArchiveItem(
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
