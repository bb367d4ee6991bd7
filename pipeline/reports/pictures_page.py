"""The page of a set of pictures: each beside its heatmap, with its best classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.records import Prediction, printable
from pipeline.reports.templating import LabelNumbers, embed_data, picture_address, write_page


@dataclass(frozen=True, kw_only=True)
class PictureItem:
    """One picture: the original and its heatmap as JPEG or as a path relative to the page; None where there is none."""

    name: str
    original: str | bytes | None
    heat: str | bytes | None
    top: Sequence[Prediction] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class PicturesPage:
    """What a page of a set of pictures shows; `facts` as they are: settings, the model, versions, the command."""

    title: str
    items: Sequence[PictureItem]
    facts: Mapping[str, str]


def write_pictures_page(path: Path, page: PicturesPage, *, overwrite: bool) -> None:
    """Write the page of a set of pictures. Raises OutputError as `atomic_write` does."""
    labels = LabelNumbers()
    tops = [[[labels.number(p.name.label), round(p.score, 6)] for p in item.top] for item in page.items]
    items = [
        {
            "name": printable(item.name),
            "original": picture_address(item.original),
            "heat": picture_address(item.heat),
            "top": item.top,
            "error": item.error,
        }
        for item in page.items
    ]
    write_page(path, "pictures", overwrite=overwrite, page=page, items=items, data=embed_data({"labels": labels.texts, "items": tops}))
