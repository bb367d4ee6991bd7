"""Pages that people look at: of one video, of a set of pictures, of a whole archive; made of what the others have kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from pipeline.explain.predicting import write_picture_grid
from pipeline.explain.sessions import Session
from pipeline.files.atomic import page_of, pictures_page_of
from pipeline.media import ffmpeg_process
from pipeline.options import Options
from pipeline.records import Outcome, clock, percent
from pipeline.reports import html
from pipeline.results.explanations import Explanations

MOST_EMBEDDED = 300  # pictures; more would make a page of many megabytes, and are linked instead
_SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")


def write(outcome: Outcome, track: Explanations, session: Session, *, command: str, overwrite: bool) -> None:
    """All that the options ask for beside a video: its page, the chart, the contact sheet. Raises OutputError."""
    options = session.options
    page = video_page(outcome, track, session, command=command)
    if options.report and outcome.output is not None:
        html.write_video_page(page_of(outcome.output), page, overwrite=overwrite)
    if options.timeline is not None:
        html.write_timeline(options.timeline, page, overwrite=overwrite)
    if options.contact_sheet is not None:
        write_contact_sheet(options.contact_sheet, track, session, overwrite=overwrite)


def write_contact_sheet(path: Path, track: Explanations, session: Session, *, overwrite: bool) -> None:
    """The thumbnails in rows, each with its time and what its title says."""
    pictures, texts, target = [], [], session.targets[0] if session.targets else None
    indices, scores = track.shown
    for thumbnail in track.thumbnails:
        frame = int(np.searchsorted(track.times_seconds, thumbnail.time_seconds))
        bgr = cv2.imdecode(np.frombuffer(thumbnail.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None, "it was encoded here"
        pictures.append(bgr[..., ::-1])
        label = target.label if target else session.classifier.classes[indices[frame]].label
        texts.append([clock(thumbnail.time_seconds), f"{label} {percent(scores[frame])}"])
    write_picture_grid(path, pictures, texts, overwrite=overwrite)


def write_pictures_page(
    results: Sequence[tuple[Outcome, Explanations | None]], options: Options, *, command: str, overwrite: bool
) -> Path | None:
    """The page of a set of pictures, beside the first that was made; None where none was. Raises OutputError."""
    first = next((outcome for outcome, _ in results if outcome.output is not None), None)
    if first is None or first.output is None:
        return None
    page = pictures_page_of(first.output, count=len(results))
    items = []
    for outcome, track in results:
        original, heat = _linked(outcome, page.parent) if len(results) > MOST_EMBEDDED else _embedded(track)
        items.append(html.PictureItem(name=outcome.input.name, original=original, heat=heat, top=outcome.top, error=outcome.error))
    known = facts(first, options, command)
    shown = {name: known[name] for name in ("Model", "Map", "Fit", "Versions", "Command")}
    title = first.input.name if len(results) == 1 else f"{len(results)} pictures"
    html.write_pictures_page(page, html.PicturesPage(title=title, items=items, facts=shown), overwrite=overwrite)
    return page


def _embedded(track: Explanations | None) -> tuple[bytes | None, bytes | None]:
    """The small picture and its heat, as visualize_image leaves them."""
    return (track.thumbnails[1].jpeg, track.thumbnails[2].jpeg) if track else (None, None)


def _linked(outcome: Outcome, folder: Path) -> tuple[str | None, str | None]:
    """The files themselves, by relative path, where a browser shows them."""
    paths = [path if path is not None and path.suffix.lower() in _SHOWN_BY_BROWSERS else None for path in (outcome.input, outcome.output)]
    original, heat = (None if path is None else os.path.relpath(path, folder) for path in paths)
    return (original, heat) if outcome.output is not None else (None, None)


def video_page(outcome: Outcome, track: Explanations, session: Session, *, command: str) -> html.VideoPage:
    assert outcome.output is not None and outcome.duration_seconds is not None, "a video that is made"
    indices, scores = track.top
    options, classes = session.options, session.classifier.classes
    return html.VideoPage(
        title=outcome.input.name,
        video=outcome.output.name,
        duration_seconds=outcome.duration_seconds,
        begins_seconds=track.first_seconds if options.start_seconds or options.end_seconds else min(0.0, track.first_seconds),
        times_seconds=track.times_seconds,
        indices=indices,
        scores=scores,
        classes=classes,
        stretches=track.stretches(classes, last_seconds=track.last_frame_seconds(outcome.duration_seconds)),
        cuts_seconds=track.cuts_seconds,
        thumbnails=track.thumbnails,
        facts=facts(outcome, options, command),
        warnings=outcome.warnings if outcome.error is None else (*outcome.warnings, outcome.error),
    )


def facts(outcome: Outcome, options: Options, command: str) -> Mapping[str, str]:
    """What the result depends on, in words."""
    size = "" if options.short_side_px is None else f", short side {options.short_side_px} pixels"
    return {
        "Source": str(outcome.input),
        "Model": outcome.model,
        "Map": options.method,
        "Frames": f"{outcome.frames}" + ("" if options.every == 1 else f", the network saw every {options.every}th"),
        "Fit": f"{options.fit}{size}",
        "Explained": ", ".join(options.targets) or "the top prediction of each frame",
        "Smoothing": f"{options.smooth:g}",
        "Versions": f"heatreel {version('heatreel')}, TensorFlow {version('tensorflow')}, ffmpeg {ffmpeg_process.ffmpeg_version()}",
        "Command": command,
    }
