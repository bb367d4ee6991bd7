"""Pages that people look at: of a video, of a set of pictures, of an archive; and a video's chart as a file of its own.

A page is one HTML file. It carries its style, its script and its data, asks no address for anything but the pictures and the video
beside it, and says so to the browser (a Content-Security-Policy that allows its own style and script by their hashes). Whatever comes
from files, such as names and labels, is text: escaped in markup, and in data without a "<".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.files.atomic import atomic_write
from pipeline.records import ClassName, LabelInterval, Prediction, Thumbnail, natural_key, printable
from pipeline.reports import timeline


@dataclass(frozen=True, kw_only=True)
class VideoPage:
    """What a page of a video shows.

    `video` is the output's file, relative to the page. All times are the source's; the page shows the output's, which are less by
    `begins_seconds`, as its player does. The top k of each frame are `times_seconds` float64 (frames,), `indices` int32 (frames, k)
    into `classes`, and `scores` float32 (frames, k). `facts` are shown as they are: settings, the model, versions, the command.
    """

    title: str
    video: str
    duration_seconds: float
    begins_seconds: float = 0.0
    times_seconds: Array
    indices: Array
    scores: Array
    classes: Sequence[ClassName]
    stretches: Sequence[LabelInterval] = ()
    cuts_seconds: Sequence[float] = ()
    thumbnails: Sequence[Thumbnail] = ()
    facts: Mapping[str, str]
    warnings: Sequence[str] = ()


def write_video_page(path: Path, page: VideoPage, *, overwrite: bool) -> None:
    """Write the page of a video. Raises OutputError as `outputs.whole` does."""
    chart = _chart_of(page)
    _write_page(
        path,
        "video",
        overwrite=overwrite,
        page=page,
        chart=chart,
        legend=_legend(page, chart),
        cuts=_cuts_path(page, chart),
        video=_address(page.video),
        thumbnails=[
            {
                "seconds": max(0.0, shot.time_seconds - page.begins_seconds),
                "address": _embedded(shot.jpeg),
                "width": shot.width_px,
                "height": shot.height_px,
            }
            for shot in page.thumbnails
        ],
        data=_data(_video_data(page, chart)),
        arrays={name: _packed(array) for name, array in _arrays(page).items()},
    )


def _video_data(page: VideoPage, chart: timeline.Timeline) -> dict[str, Any]:
    used = sorted({int(i) for i in np.unique(page.indices)} | {stretch.name.index for stretch in page.stretches})
    names = {name.index: name for name in page.classes}
    return {
        "name": printable(page.title),
        "begins": page.begins_seconds,
        "span": chart.span_seconds,
        "frames": int(page.indices.shape[0]),
        "ranks": int(page.indices.shape[1]),
        "classes": {str(i): [names[i].label, names[i].wnid or ""] for i in used},
        "stretches": [
            [s.start_seconds - page.begins_seconds, s.end_seconds - page.begins_seconds, s.name.index, s.mean_score, s.best_score]
            for s in page.stretches
        ],
    }


def _arrays(page: VideoPage) -> dict[str, Array]:
    """As they are embedded, little-endian; a class takes two bytes where that is enough."""
    short = not page.indices.size or (page.indices.min() >= 0 and page.indices.max() < 1 << 16)
    return {
        "times": page.times_seconds.astype("<f8"),
        "indices": page.indices.astype("<u2" if short else "<i4"),
        "scores": page.scores.astype("<f4"),
    }


def _packed(array: Array) -> dict[str, str]:
    return {"type": array.dtype.str[1:], "base64": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}


# ------------------------------------------------------------------------------------------------ the chart


def _chart_of(page: VideoPage) -> timeline.Timeline:
    times = page.times_seconds - page.begins_seconds
    return timeline.timeline(times, page.indices, page.scores, duration_seconds=page.duration_seconds)


def _legend(page: VideoPage, chart: timeline.Timeline) -> list[dict[str, Any]]:
    """What a template needs of each ribbon."""
    names = {name.index: printable(name.label) for name in page.classes}
    return [
        {
            "label": "other classes" if ribbon.index is None else names[ribbon.index],
            "share": ribbon.share,
            "colour": timeline.colour_of(ribbon, number),
            "bottom": timeline.bottom_px(number),
            "mean": timeline.ribbon_path(ribbon.mean, full_score=chart.full_score, bottom_px=timeline.bottom_px(number)),
            "peak": timeline.ribbon_path(ribbon.peak, full_score=chart.full_score, bottom_px=timeline.bottom_px(number)),
        }
        for number, ribbon in enumerate(chart.ribbons)
    ]


def _cuts_path(page: VideoPage, chart: timeline.Timeline) -> str:
    cuts = (cut - page.begins_seconds for cut in page.cuts_seconds)
    return timeline.marks_path(cuts, span_seconds=chart.span_seconds, top_px=0, bottom_px=8)


def chart_note(chart: timeline.Timeline) -> str:
    return f"Height is the score, full height {100 * chart.full_score:.0f} %. Solid: mean over time; pale: highest frame."


def write_timeline(path: Path, page: VideoPage, *, overwrite: bool) -> None:
    """The chart of a video's page as .svg, or as .png with two pixels for each of the SVG's; the suffix chooses.

    Raises CommandError for another suffix, OutputError as `outputs.whole` does.
    """
    chart, suffix = _chart_of(page), path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise CommandError(f"{path}: a chart is .svg or .png")
    legend = _legend(page, chart)
    with atomic_write(path, overwrite=overwrite) as temporary:
        if suffix == ".svg":
            text = _templates().get_template("timeline.svg.j2")
            drawn = text.render(
                page=page, chart=chart, legend=legend, cuts=_cuts_path(page, chart), layout=timeline, note=chart_note(chart)
            )
            temporary.write_text(drawn, encoding="utf-8")
            return
        cuts = [cut - page.begins_seconds for cut in page.cuts_seconds]
        labels = [entry["label"] for entry in legend]
        picture = timeline.draw(chart, title=printable(page.title), labels=labels, note=chart_note(chart), cuts_seconds=cuts)
        picture.save(temporary, "PNG", optimize=True)


# ------------------------------------------------------------------------------------------------ pictures


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
    title: str
    items: Sequence[PictureItem]
    facts: Mapping[str, str]


def write_pictures_page(path: Path, page: PicturesPage, *, overwrite: bool) -> None:
    """Write the page of a set of pictures. Raises OutputError as `outputs.whole` does."""
    labels = _Labels()
    tops = [[[labels.number(p.name.label), round(p.score, 6)] for p in item.top] for item in page.items]
    items = [
        {
            "name": printable(item.name),
            "original": _picture_address(item.original),
            "heat": _picture_address(item.heat),
            "top": item.top,
            "error": item.error,
        }
        for item in page.items
    ]
    _write_page(path, "pictures", overwrite=overwrite, page=page, items=items, data=_data({"labels": labels.texts, "items": tops}))


def _picture_address(picture: str | bytes | None) -> str | None:
    return _embedded(picture) if isinstance(picture, bytes) else None if picture is None else _address(picture)


class _Labels:
    """Numbers for labels, in the order in which they come: an archive names each of them thousands of times."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, label: str) -> int:
        return self._numbers.setdefault(printable(label), len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)


# ------------------------------------------------------------------------------------------------ an archive


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
    """Write the page of an archive. Raises OutputError as `outputs.whole` does."""
    failed = [item for item in page.items if item.error is not None]
    _write_page(path, "archive", overwrite=overwrite, page=page, failed=failed, data=_data(_archive_data(page.items)))


def _archive_data(items: Sequence[ArchiveItem]) -> dict[str, Any]:
    """Rows in the order of the fields in archive.js."""
    labels = _Labels()
    by_name = sorted(range(len(items)), key=lambda number: natural_key(items[number].name))
    places = dict(zip(by_name, itertools.count(), strict=False))
    rows = [
        [
            printable(item.name),
            item.kind,
            item.state,
            *(None if path is None else _address(path) for path in (item.output, item.page, item.poster)),
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


# ------------------------------------------------------------------------------------------------ where a model errs


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
class Chart:
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
    charts: Mapping[str, Chart]
    thresholds: Sequence[Threshold]
    suspects: Sequence[AnalysisPicture]
    suspects_count: int
    pairs: Sequence[AnalysisPair]
    pairs_count: int
    unreadable: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    facts: Mapping[str, str]


def write_analysis_page(path: Path, page: AnalysisPage, *, overwrite: bool) -> None:
    """Write the page of an analysis. Raises OutputError as `outputs.whole` does."""
    charts = {
        name: {
            "light": _embedded(chart.light, "png"),
            "dark": _embedded(chart.dark, "png"),
            "width": int.from_bytes(chart.light[16:20], "big") // 2,  # of the PNG's header
            "height": int.from_bytes(chart.light[20:24], "big") // 2,
        }
        for name, chart in page.charts.items()
    }
    _write_page(path, "analysis", overwrite=overwrite, page=page, charts=charts, address=_picture_address)


# ------------------------------------------------------------------------------------------------ from records to markup


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("pipeline.reports", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": printable, "percent": _percent, "clock": timeline.tick_text}
    return environment


def _write_page(path: Path, kind: str, *, overwrite: bool, **content: Any) -> None:
    style, script = _own("page.css"), _own("page.js") + _own(f"{kind}.js")
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data: 'self' file:",
            "media-src 'self' file:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = _templates().get_template(f"{kind}.html.j2")
    html = template.render(
        policy=policy,
        style=Markup(style),  # our own files
        script=Markup(script),
        layout=timeline,
        chart_note=chart_note,
        **content,
    )
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _own(name: str) -> str:
    return files("pipeline.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(content: Any) -> Markup:
    """JSON for a script element: only ASCII, and nothing in it that could end the element or begin a comment."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _address(relative: str) -> str:
    """A path relative to the page as a URL; bytes that are no UTF-8 are surrogates in a str, and themselves in a URL."""
    return quote(os.fsencode(relative), safe="/")


def _embedded(picture: bytes, kind: str = "jpeg") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"
