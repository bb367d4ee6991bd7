"""What the pages of a report are tested with: made-up scores of real classes, and names that are out to harm.

`PYTHONPATH=tests python -m support.pages FOLDER` writes one page of each kind, to look at.
"""

from __future__ import annotations

import csv
import functools
import io
import sys
from collections.abc import Sequence
from fractions import Fraction
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.records import ClassName, Prediction, Thumbnail
from pipeline.reports import charts
from pipeline.reports.analysis_page import (
    AnalysisClass,
    AnalysisPage,
    AnalysisPair,
    AnalysisPicture,
    ChartPair,
    Threshold,
    write_analysis_page,
)
from pipeline.reports.archive_page import ArchiveItem, ArchivePage, Sighting, write_archive_page
from pipeline.reports.pictures_page import PictureItem, PicturesPage, write_pictures_page
from pipeline.reports.video_page import VideoPage, write_timeline, write_video_page
from pipeline.results.explanations import Explanations
from pipeline.results.label_intervals import find_label_intervals

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>alert(1)</script>",
    "\"'><svg onload=alert(1)>",
    "a\u2028b\u2029c",
    "gone\udcff\ud800",
    "\u202etxt.exe",
    "{{ 7*7 }}{% raw %}",
    "line\nbreak\ttab\x00nul\x1bescape",
    "&lt;b&gt;&amp;",
    "]]><!DOCTYPE html>",
    "javascript:alert(1)",
]


def class_names(count: int = 1000) -> list[ClassName]:
    text = files("pipeline.models").joinpath("data", "imagenet_classes.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return [ClassName(index=int(row["index"]), wnid=row["wnid"], label=row["label"]) for row in rows][:count]


def jpeg(number: int, width: int = 128, height: int = 72) -> bytes:
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([40 + x * 160 // width, 60 + y * 120 // height, np.full_like(x, number * 53 % 256)], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=80)
    return file.getvalue()


def video_page(frames: int = 750, *, rate: int = 25, seed: int = 0, classes: Sequence[ClassName] | None = None, **given: Any) -> VideoPage:
    """Scenes in each of which three or four of fourteen classes are seen, and single frames in which something else is."""
    random = np.random.default_rng(seed)
    classes = classes or class_names()
    pool = random.choice(len(classes), min(14, len(classes)), replace=False)
    begins = [0, *sorted(int(f) for f in random.choice(np.arange(1, frames), min(frames // 50 + 1, 40), replace=False))]
    track = Explanations(Path("input"), 3)
    for begin, end in zip(begins, [*begins[1:], frames], strict=True):
        seen = random.choice(pool, 4, replace=False)
        level = np.array([0.6, 0.2, 0.08, 0.03]) * random.uniform(0.5, 1, 4)
        for frame in range(begin, end):
            scores = np.full(len(classes), 1e-5, np.float32)
            scores[seen] = level * (1 + 0.15 * np.sin(frame / 17 + np.arange(4)) + random.normal(0, 0.02, 4))
            if frame % 211 == 97:
                scores[pool[frame % len(pool)]] = 0.93
            track.add(frame / rate, scores)
    state = track.state(since=0)
    given = {
        "title": "kitchen.mov",
        "video": "kitchen_output.mp4",
        "duration_seconds": frames / rate,
        "times_seconds": track.times_seconds,
        "indices": state["indices"].reshape(frames, 3),
        "scores": state["scores"].reshape(frames, 3),
        "classes": classes,
        "intervals": find_label_intervals(track, classes, last_seconds=1 / rate),
        "cuts_seconds": [begin / rate for begin in begins[1:]],
        "thumbnails": [Thumbnail(time_seconds=(n + 0.5) * frames / rate / 12, jpeg=jpeg(n), width_px=128, height_px=72) for n in range(12)],
        "facts": {
            "Model": "efficientnet_lite0",
            "Method": "gradcam",
            "Command": "visualize video kitchen.mov --report",
            "Version": "heatreel 0.1.0",
        },
        "warnings": ["the sound was transcoded to AAC"],
        **given,
    }
    return VideoPage(**given)


def predictions(number: int, classes: Sequence[ClassName], k: int = 3) -> list[Prediction]:
    return [
        Prediction(name=classes[(number * 37 + rank * 211) % len(classes)], score=(0.9 - number * 7 % 60 / 100) / (rank * 2 + 1))
        for rank in range(k)
    ]


def pictures_page(count: int = 30, **given: Any) -> PicturesPage:
    """Every second one with its pictures in the page, the others with pictures beside it; the last failed."""
    classes = class_names()
    items = [
        PictureItem(
            name=f"holiday/{number}.jpg",
            original=jpeg(number, 160, 120) if number % 2 else f"pictures/{number}.jpg",
            heat=jpeg(number + 7, 160, 120) if number % 2 else f"pictures/{number}_output.jpg",
            top=predictions(number, classes),
        )
        for number in range(count - 1)
    ]
    broken = PictureItem(name="holiday/broken.jpg", original=None, heat=None, error="ends too early: 312 of 4096 rows came")
    return PicturesPage(**{"title": "holiday", "items": [*items, broken], "facts": {"Model": "efficientnet_lite0"}, **given})


def archive_item(number: int, classes: Sequence[ClassName]) -> ArchiveItem:
    """Of five, one is a picture; of forty, one failed."""
    random = np.random.default_rng(number)
    kind, failed = ("image" if number % 5 == 3 else "video"), number % 40 == 17
    name = f"{2019 + number % 6}/trip {number % 97}/clip{number}.{'jpg' if kind == 'image' else 'mp4'}"
    if failed:
        return ArchiveItem(name=name, kind=kind, state="failed", error=f"not a {kind}: the header is damaged at byte {number}")
    seconds = round(float(random.uniform(2, 4000)), 3) if kind == "video" else None
    chosen = random.integers(len(classes), size=12 if kind == "video" else 3)
    return ArchiveItem(
        name=name,
        kind=kind,
        state="done",
        output=f"{name}_output.mp4" if kind == "video" else f"{name}_output.jpg",
        page=f"{name}_output.html" if kind == "video" else None,
        poster=f"pictures/{number % 15 * 2}.jpg" if number % 7 else None,
        duration_seconds=seconds,
        frames=round(25 * seconds) if seconds else 1,
        top=predictions(number, classes),
        seen=[
            Sighting(classes[c].label, round(float(random.uniform(0, seconds)), 3) if seconds else 0.0, float(random.uniform(0.05, 1)))
            for c in chosen
        ],
    )


def archive_page(count: int = 200, **given: Any) -> ArchivePage:
    classes = class_names()
    items = [archive_item(number, classes) for number in range(count)]
    failed = sum(item.state == "failed" for item in items)
    counts = {"done": count - failed, "failed": failed, "pending": 0}
    return ArchivePage(**{"title": "out", "counts": counts, "refreshed": "2026-03-01 12:00", "items": items, **given})


def analysis_picture(number: int, label: str, answer: str, **given: Any) -> AnalysisPicture:
    """Every fourth one without its pictures, as one that has gone meanwhile."""
    there = number % 4 != 3
    return AnalysisPicture(
        **{
            "name": f"{label}/{number}.jpg",
            "label": label,
            "answer": answer,
            "score": 0.97 - number * 13 % 60 / 100,
            "right": label == answer,
            "original": jpeg(number, 160, 120) if there else None,
            "heat": jpeg(number + 7, 160, 120) if there else None,
            **given,
        }
    )


@functools.cache
def confusion_of(number: int) -> tuple[Any, dict[str, Any]]:
    """Counts of so many classes, and their chart in both colours: Matplotlib takes a quarter of a second for it."""
    labels = [name.label for name in class_names(number)]
    counts = np.eye(number, dtype=int) * 17 + np.arange(number)[:, None] % 3
    both = (("light", charts.LIGHT_COLOURS), ("dark", charts.DARK_COLOURS))
    return counts, {name: charts.draw_confusion(counts, labels, labels, colours=colours) for name, colours in both}


def analysis_page(number: int = 4, **given: Any) -> AnalysisPage:
    labels = [name.label for name in class_names(number)]
    counts, chart = confusion_of(number)

    def group(row: int, right: bool) -> list[AnalysisPicture]:
        return [analysis_picture(row * 5 + n, labels[row], labels[row if right else (row + 1) % len(labels)]) for n in range(3)]

    pair = AnalysisPair(
        first=analysis_picture(1, labels[0], labels[0], heat=None),
        second=AnalysisPicture(name="train/3.jpg", label=labels[0], note="learned from, not in this folder"),
        note="mirrored, one was trained on, the other not",
    )
    given = {
        "title": "mine.keras on animals",
        "accuracy": 0.913,
        "interval": (0.844, 0.954),
        "top5": None,
        "count": 120,
        "calibration_error": 0.041,
        "notes": ["The figures are of 120 pictures that the model was not trained on; 480 that it was are left out of them."],
        "classes": [
            AnalysisClass(
                label=label,
                count=30,
                precision=None if row == 2 else 0.9,
                recall=0.95,
                right=group(row, True),
                least=group(row, False)[::-1],
                wrong=group(row, False),
            )
            for row, label in enumerate(labels)
        ],
        "confusion": counts.tolist() if len(labels) <= 30 else (),
        "columns": labels,
        "charts": {name: ChartPair(**chart) for name in ("confusion", "calibration", "coverage")},
        "thresholds": [
            Threshold(name="none", threshold=0.0, coverage=1.0, accuracy=0.913, wrong=10),
            Threshold(name="so that 99 % are right", threshold=None, coverage=0.0, accuracy=None, wrong=0),
        ],
        "suspects": [analysis_picture(2, labels[0], labels[1], note=f"looks like {labels[1]}, 97.0 %")],
        "suspects_count": 1,
        "pairs": [pair],
        "pairs_count": 1,
        "unreadable": [("tench/9.jpg", "the picture is damaged")],
        "warnings": ["one picture is only the first of an animation"],
        "facts": {"Model": "mine.keras", "Command": "visualize analyze mine.keras animals"},
        **given,
    }
    return AnalysisPage(**given)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text by the element that it stands in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and data.strip():
            self.text.append((self.elements[-1][0], data))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", {}))


if __name__ == "__main__":
    from support import clips

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    clips.write_clip(folder / "kitchen_output.mp4", [Fraction(n, 25) for n in range(750)])
    write_video_page(folder / "kitchen_output.html", video_page(), overwrite=True)
    for suffix in (".svg", ".png"):
        write_timeline(folder / f"kitchen_timeline{suffix}", video_page(), overwrite=True)
    (folder / "pictures").mkdir(exist_ok=True)
    for number in range(0, 30, 2):
        for end in ("", "_output"):
            (folder / "pictures" / f"{number}{end}.jpg").write_bytes(jpeg(number + 5 * bool(end), 320, 240))
    write_pictures_page(folder / "pictures.html", pictures_page(), overwrite=True)
    write_archive_page(folder / "archive.html", archive_page(), overwrite=True)
    write_analysis_page(folder / "analysis.html", analysis_page(), overwrite=True)
