"""Predictions alone: pictures are read ahead by threads and go through the network in batches of one size, videos frame by frame."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import compositing, media, stills
from pipeline.errors import HeatreelError
from pipeline.outputs import whole
from pipeline.planning import Job
from pipeline.predictions import Track, top_predictions
from pipeline.records import Geometry, Outcome

Array = np.ndarray[Any, Any]

BATCH_SIZE = 32
READERS, AHEAD = 2, 64  # Pillow decodes without the interpreter's lock
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
    every: int = 1,
    tick: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """One answer for each job, in order; a job that fails has its error in the outcome.

    `score` maps pictures uint8 (batch, height, width, 3) to probabilities (batch, classes); `geometry` fits a frame to the network.
    """
    answers: dict[int, Answer] = {}

    def keep(number: int, track: Track | HeatreelError, thumbnail: Array | None, started: float) -> None:
        blank = Outcome(input=jobs[number].input, model=name, method="none", elapsed_seconds=time.perf_counter() - started)
        if isinstance(track, Track):
            top = top_predictions(track.mean_scores(), classes, top_k)
            duration = jobs[number].source.duration_seconds if jobs[number].source else None  # type: ignore[union-attr]
            blank = replace(blank, frames=track.frames, duration_seconds=duration, top=top)
        answers[number] = Answer(outcome=blank if isinstance(track, Track) else replace(blank, error=str(track)), thumbnail=thumbnail)
        tick()

    _pictures([(n, job.input) for n, job in enumerate(jobs) if job.source is None], score, geometry, top_k, keep)
    for number, job in enumerate(jobs):
        if job.source is not None:
            started = time.perf_counter()
            try:
                track, thumbnail = _video(job, score, geometry, top_k, every)
            except HeatreelError as error:
                keep(number, error, None, started)
            else:
                keep(number, track, thumbnail, started)
    return [answers[number] for number in range(len(jobs))]


def _pictures(
    numbered: Sequence[tuple[int, Path]],
    score: Callable[[Array], Array],
    geometry: Callable[[int, int], Geometry],
    top_k: int,
    keep: Callable[[int, Track | HeatreelError, Array | None, float], None],
) -> None:
    """Pictures of one network size wait until they are a batch; at the end the rest goes."""
    waiting: dict[tuple[int, ...], list[tuple[int, Path, Array, Array, float]]] = {}

    def flush(batch: list[tuple[int, Path, Array, Array, float]]) -> None:
        for (number, path, _, thumbnail, started), scores in zip(batch, score(np.stack([item[2] for item in batch])), strict=True):
            track = Track(path, top_k)
            track.add(0.0, scores)
            keep(number, track, thumbnail, started)

    for number, path, read in _read_ahead(numbered, geometry):
        started = time.perf_counter()
        try:
            pixels, thumbnail = read.result()
        except HeatreelError as error:
            keep(number, error, None, started)
            continue
        batch = waiting.setdefault(pixels.shape, [])
        batch.append((number, path, pixels, thumbnail, started))
        if len(batch) == BATCH_SIZE:
            flush(waiting.pop(pixels.shape))
    for batch in waiting.values():
        flush(batch)


def _read_ahead(
    numbered: Iterable[tuple[int, Path]], geometry: Callable[[int, int], Geometry]
) -> Iterator[tuple[int, Path, Future[tuple[Array, Array]]]]:
    source, reading = iter(numbered), deque[tuple[int, Path, Future[tuple[Array, Array]]]]()
    with ThreadPoolExecutor(READERS) as pool:
        while True:
            for number, path in itertools.islice(source, AHEAD - len(reading)):
                reading.append((number, path, pool.submit(_read, path, geometry)))
            if not reading:
                return
            yield reading.popleft()


def _read(path: Path, geometry: Callable[[int, int], Geometry]) -> tuple[Array, Array]:
    image = stills.read_still(path)
    return stills.network_picture(image, geometry(image.width, image.height)), stills.thumbnail(image, THUMBNAIL_PX)


def _video(
    job: Job, score: Callable[[Array], Array], geometry: Callable[[int, int], Geometry], top_k: int, every: int
) -> tuple[Track, Array]:
    assert job.source is not None
    track, thumbnail = Track(job.input, top_k), None
    with media.open_frames(job.source) as frames:
        seen: media.NetworkPictures | None = None
        batch: list[tuple[float, Array]] = []
        for frame in itertools.islice(frames, 0, None, every):
            if seen is None:
                height, width = frame.planes[0].shape
                seen = media.NetworkPictures(job.source.colour, geometry(width, height))
                small = Geometry(
                    scaled_width_px=THUMBNAIL_PX,
                    scaled_height_px=max(1, THUMBNAIL_PX * height // width),
                    width_px=THUMBNAIL_PX,
                    height_px=max(1, THUMBNAIL_PX * height // width),
                )
                thumbnail = media.NetworkPictures(job.source.colour, small)(frame)
            batch.append((frame.time_seconds, seen(frame)))
            if len(batch) == BATCH_SIZE:
                _add(track, batch, score)
        if batch:
            _add(track, batch, score)
    assert thumbnail is not None, "open_frames gives a frame or raises"
    return track, thumbnail


def _add(track: Track, batch: list[tuple[float, Array]], score: Callable[[Array], Array]) -> None:
    for (time_seconds, _), scores in zip(batch, score(np.stack([pixels for _, pixels in batch])), strict=True):
        track.add(time_seconds, scores)
    batch.clear()


def write_grid(path: Path, answers: Sequence[Sequence[Answer]], *, overwrite: bool) -> None:
    """A picture of all inputs, the best label and score under each; `answers` holds each model's answers in the same order."""
    pictures, texts = [], []
    for each in zip(*answers, strict=True):
        pictures.append(next((a.thumbnail for a in each if a.thumbnail is not None), np.full((240, 320, 3), 40, np.uint8)))
        lines = [_line(answer, len(answers) > 1) for answer in each]
        texts.append([each[0].outcome.input.name, *lines])
    grid = compositing.picture_grid(pictures, texts)
    with whole(path, overwrite=overwrite) as temporary:
        planes = np.concatenate([grid[..., channel].ravel() for channel in range(3)])
        stills.save_still(planes, grid.shape[1], grid.shape[0], temporary)


def _line(answer: Answer, several: bool) -> str:
    top = answer.outcome.top
    said = f"{top[0].name.label} {compositing.percent(top[0].score)}" if top else "failed"
    return f"{answer.outcome.model}: {said}" if several else said
