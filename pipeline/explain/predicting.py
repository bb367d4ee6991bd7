"""Predictions alone: pictures are read ahead by threads, and go through the network in batches of one size as frames of a video do."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import batching
from pipeline.errors import HeatreelError
from pipeline.explain.planning import Job
from pipeline.files.atomic import atomic_write
from pipeline.media import frame_reader, images, integrity, resizing
from pipeline.records import Geometry, Outcome, VideoSource, percent, printable
from pipeline.rendering import contact_sheet
from pipeline.results.explanations import Explanations, top_predictions

THUMBNAIL_PX = 320


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model says of one input, and a small RGB picture of the input for the grid (None where it failed)."""

    outcome: Outcome
    thumbnail: Array | None


def predict(
    jobs: Sequence[Job],
    *,
    name: str,
    score: Callable[[Array], Array],
    geometry: Callable[[int, int], Geometry],
    classes: Sequence[Any],
    top_k: int,
    batch_size: int,
    every: int = 1,
    max_megapixels: float | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """One answer for each job, in order; a job that fails has its error in the outcome.

    `score` maps pictures uint8 (batch, height, width, 3) to probabilities (batch, classes), for several threads at once; `geometry`
    fits a frame to the network.
    """
    answers: dict[int, Answer] = {}

    def keep(number: int, track: Explanations | HeatreelError, thumbnail: Array | None, started: float, damage: str | None = None) -> None:
        source = jobs[number].source
        blank = Outcome(
            input=jobs[number].input,
            model=name,
            method="none",
            warnings=source.warnings if source else jobs[number].warnings,
            elapsed_seconds=time.perf_counter() - started,
        )
        if isinstance(track, Explanations):
            top = top_predictions(track.mean_scores(), classes, top_k)
            blank = replace(blank, frames=track.frames, duration_seconds=source.duration_seconds if source else None, top=top)
            if damage is not None:
                blank = replace(blank, partial=True, error=f"{jobs[number].input}: {damage}; the prediction is of what decodes")
        answers[number] = Answer(
            outcome=blank if isinstance(track, Explanations) else replace(blank, error=str(track)), thumbnail=thumbnail
        )
        tick()

    def read(number: int) -> tuple[Array, tuple[Array, float, str | None]]:
        started = time.perf_counter()
        image, missing = images.read_what_decodes(jobs[number].input, max_megapixels=max_megapixels)
        pixels = resizing.network_picture(resizing.frame_of(image), geometry(image.width, image.height))
        return pixels, (images.thumbnail(image, THUMBNAIL_PX), started, missing)

    def failed(number: int, error: HeatreelError) -> None:
        keep(number, error, None, time.perf_counter())

    numbers = [number for number, job in enumerate(jobs) if job.source is None]
    batches = batching.read_batches(numbers, read, batch_size=batch_size, failed=failed)
    for batch, found in batching.compute_batches(lambda given: (given[1], score(given[0])), batches):
        for (number, (thumbnail, started, missing)), scores in zip(batch, found, strict=True):
            track = Explanations(jobs[number].input, top_k)
            track.add(0.0, scores)
            keep(number, track, thumbnail, started, missing)
    for number, job in enumerate(jobs):
        if job.source is not None:
            started = time.perf_counter()
            try:
                track, thumbnail, damage = _video(job, score, geometry, top_k, batch_size, every)
            except HeatreelError as error:
                keep(number, error, None, started)
            else:
                keep(number, track, thumbnail, started, damage)
    return [answers[number] for number in range(len(jobs))]


def _video(
    job: Job, score: Callable[[Array], Array], geometry: Callable[[int, int], Geometry], top_k: int, batch_size: int, every: int
) -> tuple[Explanations, Array, str | None]:
    """What the network says of every Nth frame, the first frame small, and what is damaged."""
    source = job.source
    assert source is not None, "pictures go another way"
    track, thumbnail, times = Explanations(job.input, top_k), None, array("d")
    with frame_reader.open_frames(source) as frames:
        seen = resizing.NetworkPictures(source.colour, geometry(source.width_px, source.height_px), interlaced=source.interlaced)

        def pictures() -> Iterator[tuple[float, Array]]:
            nonlocal thumbnail
            for number, frame in enumerate(frames):
                times.append(frame.time_seconds)
                if thumbnail is None:
                    thumbnail = resizing.NetworkPictures(source.colour, _small(source))(frame)
                if number % every == 0:
                    yield frame.time_seconds, seen(frame)

        def scored(batch: Sequence[tuple[float, Array]]) -> Iterator[tuple[float, Array]]:
            return zip([seconds for seconds, _ in batch], score(np.stack([pixels for _, pixels in batch])), strict=True)

        shown = pictures()
        for batch in batching.compute_batches(scored, iter(lambda: list(itertools.islice(shown, batch_size)), [])):
            for seconds, scores in batch:
                track.add(seconds, scores)
        damage = integrity.damage(source, times, frames.problems, whole=True)
    assert thumbnail is not None, "open_frames gives a frame or raises"
    return track, thumbnail, damage


def _small(source: VideoSource) -> Geometry:
    height = max(1, THUMBNAIL_PX * source.height_px // source.width_px)
    return Geometry(scaled_width_px=THUMBNAIL_PX, scaled_height_px=height, width_px=THUMBNAIL_PX, height_px=height)


def write_grid(path: Path, answers: Sequence[Sequence[Answer]], *, overwrite: bool) -> None:
    """A picture of all inputs, the best label and score under each; `answers` holds each model's answers in the same order."""
    pictures, texts = [], []
    for each in zip(*answers, strict=True):
        pictures.append(next((a.thumbnail for a in each if a.thumbnail is not None), np.full((240, 320, 3), 40, np.uint8)))
        lines = [_line(answer, len(answers) > 1) for answer in each]
        texts.append([printable(each[0].outcome.input.name), *lines])
    write_picture_grid(path, pictures, texts, overwrite=overwrite)


def write_picture_grid(path: Path, pictures: Sequence[Array], texts: Sequence[Sequence[str]], *, overwrite: bool) -> None:
    """Pictures, RGB uint8 (height, width, 3), with lines of text under each, as one picture. Raises OutputError."""
    grid = contact_sheet.draw_contact_sheet(pictures, texts)
    with atomic_write(path, overwrite=overwrite) as temporary:
        images.save_still(np.ascontiguousarray(grid.transpose(2, 0, 1)), temporary)


def _line(answer: Answer, several: bool) -> str:
    top = answer.outcome.top
    said = f"{top[0].name.label} {percent(top[0].score)}" if top else "failed"
    return f"{answer.outcome.model}: {said}" if several else said
