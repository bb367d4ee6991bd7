"""Pages and sheets beside results: the page of a video, of a set of pictures, the contact sheet, the grid of predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from pipeline import reports
from pipeline.arrays import Array
from pipeline.explain.model_session import Session
from pipeline.explain.prediction_job import InputPrediction
from pipeline.files import atomic_write, page_of, pictures_page_of
from pipeline.media import ffmpeg_version, images
from pipeline.options import Options
from pipeline.records import Outcome, clock, percent, printable
from pipeline.rendering import draw_contact_sheet
from pipeline.reports import PictureItem, PicturesPage, VideoPage, write_timeline, write_video_page
from pipeline.results import Explanations, find_label_intervals

MAX_EMBEDDED = 300  # pictures; more would make a page of many megabytes, and are linked instead
_BLANK = np.full((240, 320, 3), 40, np.uint8)  # in place of a picture that could not be read
_SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")


def write_video_extras(outcome: Outcome, track: Explanations, session: Session, *, command: str, overwrite: bool) -> None:
    """Write what the options ask for beside a video: its page, the timeline, the contact sheet. Raises OutputError."""
    options = session.options
    page = build_video_page(outcome, track, session, command=command)
    if options.report and outcome.output is not None:
        write_video_page(page_of(outcome.output), page, overwrite=overwrite)
    if options.timeline is not None:
        write_timeline(options.timeline, page, overwrite=overwrite)
    if options.contact_sheet is not None:
        write_contact_sheet(options.contact_sheet, track, session, overwrite=overwrite)


def write_prediction_grid(path: Path, predictions: Sequence[Sequence[InputPrediction]], *, overwrite: bool) -> None:
    """A picture of all inputs with the best label and score under each; one sequence for each model, in the same order of inputs.

    Raises OutputError.
    """
    pictures, texts = [], []
    for of_input in zip(*predictions, strict=True):
        pictures.append(next((each.thumbnail for each in of_input if each.thumbnail is not None), _BLANK))
        lines = [_prediction_line(each.outcome, name_model=len(predictions) > 1) for each in of_input]
        texts.append([printable(of_input[0].outcome.input.name), *lines])
    write_picture_grid(path, pictures, texts, overwrite=overwrite)


def _prediction_line(outcome: Outcome, *, name_model: bool) -> str:
    best = f"{outcome.top[0].name.label} {percent(outcome.top[0].score)}" if outcome.top else "failed"
    return f"{outcome.model}: {best}" if name_model else best


def write_picture_grid(path: Path, pictures: Sequence[Array], texts: Sequence[Sequence[str]], *, overwrite: bool) -> None:
    """Pictures, RGB uint8 (height, width, 3), with lines of text under each, as one picture. Raises OutputError."""
    grid = draw_contact_sheet(pictures, texts)
    with atomic_write(path, overwrite=overwrite) as temporary:
        images.save_image(np.ascontiguousarray(grid.transpose(2, 0, 1)), temporary)


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
        original, heat = _link_files(outcome, page.parent) if len(results) > MAX_EMBEDDED else _embed_thumbnails(track)
        items.append(PictureItem(name=outcome.input.name, original=original, heat=heat, top=outcome.top, error=outcome.error))
    known = describe_run(first, options, command)
    shown = {name: known[name] for name in ("Model", "Map", "Fit", "Versions", "Command")}
    title = first.input.name if len(results) == 1 else f"{len(results)} pictures"
    reports.write_pictures_page(page, PicturesPage(title=title, items=items, facts=shown), overwrite=overwrite)
    return page


def _embed_thumbnails(track: Explanations | None) -> tuple[bytes | None, bytes | None]:
    """The small picture and its heat, as visualize_image leaves them."""
    return (track.thumbnails[1].jpeg, track.thumbnails[2].jpeg) if track else (None, None)


def _link_files(outcome: Outcome, folder: Path) -> tuple[str | None, str | None]:
    """The files themselves, by relative path, where a browser shows them."""
    paths = [path if path is not None and path.suffix.lower() in _SHOWN_BY_BROWSERS else None for path in (outcome.input, outcome.output)]
    original, heat = (None if path is None else os.path.relpath(path, folder) for path in paths)
    return (original, heat) if outcome.output is not None else (None, None)


def build_video_page(outcome: Outcome, track: Explanations, session: Session, *, command: str) -> VideoPage:
    """The record of a video's page; `command` is what was typed."""
    assert outcome.output is not None and outcome.duration_seconds is not None, "a video that is made"
    indices, scores = track.top
    options, classes = session.options, session.classifier.classes
    return VideoPage(
        title=outcome.input.name,
        video=outcome.output.name,
        duration_seconds=outcome.duration_seconds,
        begins_seconds=track.first_seconds if options.start_seconds or options.end_seconds else min(0.0, track.first_seconds),
        times_seconds=track.times_seconds,
        indices=indices,
        scores=scores,
        classes=classes,
        intervals=find_label_intervals(track, classes, last_seconds=track.last_frame_seconds(outcome.duration_seconds)),
        cuts_seconds=track.cuts_seconds,
        thumbnails=track.thumbnails,
        facts=describe_run(outcome, options, command),
        warnings=outcome.warnings if outcome.error is None else (*outcome.warnings, outcome.error),
    )


def describe_run(outcome: Outcome, options: Options, command: str) -> Mapping[str, str]:
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
        "Versions": f"heatreel {version('heatreel')}, TensorFlow {version('tensorflow')}, ffmpeg {ffmpeg_version()}",
        "Command": command,
    }
