"""The page of an archive: all inputs with their state, and a search over what was seen in them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.records import Prediction, natural_key, printable
from pipeline.reports.templating import LabelNumbers, embed_data, quote_path, write_page


class Sighting(NamedTuple):
    """That a class was seen in an input from a time on, in the output's seconds (0 for a picture)."""

    label: str
    start_seconds: float
    best_score: float


@dataclass(frozen=True, kw_only=True)
class ArchiveItem:
    """One input of an archive and what became of it; `output`, `page` and `poster` are paths relative to the archive's page.

    `kind` is "video" or "image", `state` as `visualize status` names it.
    """

    name: str
    kind: str
    state: str
    output: str | None = None
    page: str | None = None
    poster: str | None = None
    duration_seconds: float | None = None
    frames: int = 0
    top: Sequence[Prediction] = ()
    seen: Sequence[Sighting] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ArchivePage:
    """`counts` and `refreshed` are shown as they are."""

    title: str
    counts: Mapping[str, int]
    refreshed: str
    items: Sequence[ArchiveItem]


def write_archive_page(path: Path, page: ArchivePage, *, overwrite: bool) -> None:
    """Write the page of an archive. Raises OutputError as `atomic_write` does."""
    failed = [item for item in page.items if item.error is not None]
    write_page(path, "archive", overwrite=overwrite, page=page, failed=failed, data=embed_data(_archive_data(page.items)))


def _archive_data(items: Sequence[ArchiveItem]) -> dict[str, Any]:
    """Rows in the order of the fields in archive.js."""
    labels = LabelNumbers()
    by_name = sorted(range(len(items)), key=lambda number: natural_key(items[number].name))
    places = dict(zip(by_name, itertools.count(), strict=False))
    rows = [
        [
            printable(item.name),
            item.kind,
            item.state,
            *(None if path is None else quote_path(path) for path in (item.output, item.page, item.poster)),
            None if item.duration_seconds is None else round(item.duration_seconds, 3),
            item.frames,
            [[labels.number(prediction.name.label), round(prediction.score, 4)] for prediction in item.top],
            [[labels.number(label), round(start, 6), round(score, 4)] for label, start, score in item.seen],
            places[number],
            None if item.error is None else printable(item.error),
        ]
        for number, item in enumerate(items)
    ]
    return {"labels": labels.texts, "items": rows}
