"""The page of a video (`--report`): player, timeline, what was seen when; and its timeline as a file of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.files import atomic_write
from pipeline.records import ClassName, LabelInterval, Thumbnail, printable
from pipeline.reports import timeline
from pipeline.reports.templating import embed_data, embed_picture, load_templates, quote_path, write_page
from pipeline.reports.timeline import chart_note


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
    intervals: Sequence[LabelInterval] = ()
    cuts_seconds: Sequence[float] = ()
    thumbnails: Sequence[Thumbnail] = ()
    facts: Mapping[str, str]
    warnings: Sequence[str] = ()


def write_video_page(path: Path, page: VideoPage, *, overwrite: bool) -> None:
    """Write the page of a video. Raises OutputError as `atomic_write` does."""
    chart = _build_timeline(page)
    write_page(
        path,
        "video",
        overwrite=overwrite,
        page=page,
        chart=chart,
        legend=_legend(page, chart),
        cuts=_cuts_path(page, chart),
        video=quote_path(page.video),
        thumbnails=[
            {
                "seconds": max(0.0, shot.time_seconds - page.begins_seconds),
                "address": embed_picture(shot.jpeg),
                "width": shot.width_px,
                "height": shot.height_px,
            }
            for shot in page.thumbnails
        ],
        data=embed_data(_video_data(page, chart)),
        arrays={name: _pack(array) for name, array in _arrays(page).items()},
    )


def _video_data(page: VideoPage, chart: timeline.Timeline) -> dict[str, Any]:
    used = sorted({int(i) for i in np.unique(page.indices)} | {interval.name.index for interval in page.intervals})
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
            for s in page.intervals
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


def _pack(array: Array) -> dict[str, str]:
    return {"type": array.dtype.str[1:], "base64": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}


def _build_timeline(page: VideoPage) -> timeline.Timeline:
    times = page.times_seconds - page.begins_seconds
    return timeline.build_timeline(times, page.indices, page.scores, duration_seconds=page.duration_seconds)


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


def write_timeline(path: Path, page: VideoPage, *, overwrite: bool) -> None:
    """The chart of a video's page as .svg, or as .png with two pixels for each of the SVG's; the suffix chooses.

    Raises CommandError for another suffix, OutputError as `atomic_write` does.
    """
    chart, suffix = _build_timeline(page), path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise CommandError(f"{path}: a chart is .svg or .png")
    legend = _legend(page, chart)
    with atomic_write(path, overwrite=overwrite) as temporary:
        if suffix == ".svg":
            text = load_templates().get_template("timeline.svg.j2")
            drawn = text.render(
                page=page, chart=chart, legend=legend, cuts=_cuts_path(page, chart), layout=timeline, note=chart_note(chart)
            )
            temporary.write_text(drawn, encoding="utf-8")
            return
        cuts = [cut - page.begins_seconds for cut in page.cuts_seconds]
        labels = [entry["label"] for entry in legend]
        picture = timeline.draw_timeline(chart, title=printable(page.title), labels=labels, note=chart_note(chart), cuts_seconds=cuts)
        picture.save(temporary, "PNG", optimize=True)
