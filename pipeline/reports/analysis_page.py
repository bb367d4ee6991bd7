"""The page of an analysis: where a model errs, with charts and example pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.reports.templating import embed_picture, picture_address, write_page


@dataclass(frozen=True, kw_only=True)
class AnalysisPicture:
    """One picture: its label, the answer with its score (None where it got none), and as PictureItem has them the original and the heat."""

    name: str
    label: str
    answer: str | None = None
    score: float = 0.0
    right: bool = False
    original: str | bytes | None = None
    heat: str | bytes | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisClass:
    """One class; precision and recall are None where they are not defined."""

    label: str
    count: int
    precision: float | None
    recall: float | None
    right: Sequence[AnalysisPicture] = ()
    least: Sequence[AnalysisPicture] = ()
    wrong: Sequence[AnalysisPicture] = ()


@dataclass(frozen=True, kw_only=True)
class AnalysisPair:
    """Two pictures that show nearly the same, and what is to be said of them."""

    first: AnalysisPicture
    second: AnalysisPicture
    note: str


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What is left with a threshold; `threshold` None where none does what is wanted, `accuracy` None where nothing is left."""

    name: str
    threshold: float | None
    coverage: float
    accuracy: float | None
    wrong: int


@dataclass(frozen=True, kw_only=True)
class ChartPair:
    """PNG for a light page and for a dark one."""

    light: bytes
    dark: bytes


@dataclass(frozen=True, kw_only=True)
class AnalysisPage:
    """What a page of an analysis shows. `top5` is None where it says nothing.

    `confusion` has a row for each of `classes` and a column for each of `columns`, or no rows where there are too many. `charts` are named
    confusion, calibration and coverage. Of suspects and pairs there may be more than are shown.
    """

    title: str
    accuracy: float
    interval: tuple[float, float]
    top5: float | None
    count: int
    calibration_error: float
    notes: Sequence[str]
    classes: Sequence[AnalysisClass]
    confusion: Sequence[Sequence[int]]
    columns: Sequence[str]
    charts: Mapping[str, ChartPair]
    thresholds: Sequence[Threshold]
    suspects: Sequence[AnalysisPicture]
    suspects_count: int
    pairs: Sequence[AnalysisPair]
    pairs_count: int
    unreadable: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    facts: Mapping[str, str]


def write_analysis_page(path: Path, page: AnalysisPage, *, overwrite: bool) -> None:
    """Write the page of an analysis. Raises OutputError as `atomic_write` does."""
    charts = {
        name: {
            "light": embed_picture(chart.light, "png"),
            "dark": embed_picture(chart.dark, "png"),
            "width": int.from_bytes(chart.light[16:20], "big") // 2,  # of the PNG's header
            "height": int.from_bytes(chart.light[20:24], "big") // 2,
        }
        for name, chart in page.charts.items()
    }
    write_page(path, "analysis", overwrite=overwrite, page=page, charts=charts, address=picture_address)
