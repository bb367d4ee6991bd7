"""Predictions without heat: pictures and frames go through the network in batches of one size, pictures read ahead by threads."""

from __future__ import annotations

import itertools
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline import cam
from pipeline.arrays import Array
from pipeline.cam import compute_batches, default_batch_size, read_batches
from pipeline.errors import HeatreelError
from pipeline.explain import model_session
from pipeline.explain.job_planning import Job
from pipeline.media import NetworkResizer, describe_damage, image_to_frame, images, read_frames, resize_for_network
from pipeline.models import Classifier
from pipeline.options import Options
from pipeline.records import ClassName, Frame, Geometry, Outcome, VideoSource
from pipeline.results import Explanations, top_predictions

THUMBNAIL_PX = 320


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that only predicts.

    `score` maps pictures uint8 (batch, height, width, 3) to probabilities float32 (batch, classes), for several threads at once;
    `geometry` fits a frame of some width and height to the network. Of a video every `every`th frame is scored.
    """

    name: str
    score: Callable[[Array], Array]
    geometry: Callable[[int, int], Geometry]
    classes: Sequence[ClassName]
    top_k: int
    batch_size: int
    every: int = 1
    max_megapixels: float | None = None


@dataclass(frozen=True, kw_only=True)
class InputPrediction:
    """What one model predicts for one input, and a small RGB picture of the input for the grid (None where it failed)."""

    outcome: Outcome
    thumbnail: Array | None


def make_scorer(classifier: Classifier, options: Options) -> Scorer:
    """A scorer of a classifier; compiling happens at the first batch of each size."""
    score = cam.make_scorer(classifier.networks[0], preprocess=model_session.make_normalizer(classifier))
    return Scorer(
        name=classifier.name,
        score=lambda pixels: score(pixels).numpy(),
        geometry=lambda width, height: model_session.fit_frame(classifier, options, width, height),
        classes=classifier.classes,
        top_k=options.top_k,
        batch_size=default_batch_size(),
        every=options.every,
        max_megapixels=options.max_megapixels,
    )


def predict(jobs: Sequence[Job], scorer: Scorer, *, tick: Callable[[], None] = lambda: None) -> list[InputPrediction]:
    """One prediction for each job, in order; a job that fails has its error in the outcome. `tick` is called after each."""
    found: dict[int, InputPrediction] = {}
    pictures = [number for number, job in enumerate(jobs) if job.source is None]
    videos = [number for number, job in enumerate(jobs) if job.source is not None]
    for number, prediction in itertools.chain(
        _predict_pictures(jobs, pictures, scorer), ((number, _predict_video(jobs[number], scorer)) for number in videos)
    ):
        found[number] = prediction
        tick()
    return [found[number] for number in range(len(jobs))]


def _predict_pictures(jobs: Sequence[Job], numbers: Sequence[int], scorer: Scorer) -> Iterator[tuple[int, InputPrediction]]:
    failures = deque[tuple[int, InputPrediction]]()

    def read(number: int) -> tuple[Array, tuple[Array, float, str | None]]:
        started = time.perf_counter()
        image, missing = images.read_partial_image(jobs[number].input, max_megapixels=scorer.max_megapixels)
        pixels = resize_for_network(image_to_frame(image), scorer.geometry(image.width, image.height))
        return pixels, (images.make_thumbnail(image, THUMBNAIL_PX), started, missing)

    def failed(number: int, error: HeatreelError) -> None:
        failures.append((number, _report_failure(jobs[number], scorer, error, time.perf_counter())))

    batches = read_batches(numbers, read, batch_size=scorer.batch_size, failed=failed)
    for batch, found in compute_batches(lambda given: (given[1], scorer.score(given[0])), batches):
        for (number, (thumbnail, started, missing)), scores in zip(batch, found, strict=True):
            explanations = Explanations(jobs[number].input, scorer.top_k)
            explanations.add(0.0, scores)
            yield number, _report(jobs[number], scorer, explanations, thumbnail, started, missing)
        while failures:
            yield failures.popleft()
    yield from failures


def _predict_video(job: Job, scorer: Scorer) -> InputPrediction:
    started = time.perf_counter()
    assert job.source is not None, "pictures go another way"
    try:
        explanations, thumbnail, damage = _score_video(job, job.source, scorer)
    except HeatreelError as error:
        return _report_failure(job, scorer, error, started)
    return _report(job, scorer, explanations, thumbnail, started, damage)


def _score_video(job: Job, source: VideoSource, scorer: Scorer) -> tuple[Explanations, Array, str | None]:
    """What the network says of every Nth frame, the first frame small, and what is damaged."""
    explanations, times = Explanations(job.input, scorer.top_k), array("d")

    def score(batch: Sequence[tuple[float, Array]]) -> Iterator[tuple[float, Array]]:
        return zip([seconds for seconds, _ in batch], scorer.score(np.stack([pixels for _, pixels in batch])), strict=True)

    with read_frames(source) as reading:
        frames = iter(reading)
        first = next(frames)  # there is one, or an error is raised
        thumbnail = NetworkResizer(source.colour, _thumbnail_geometry(source))(first)
        pictures = _every_nth_picture(itertools.chain([first], frames), source, scorer, times)
        for batch in compute_batches(score, iter(lambda: list(itertools.islice(pictures, scorer.batch_size)), [])):
            for seconds, scores in batch:
                explanations.add(seconds, scores)
        damage = describe_damage(source, times, reading.problems, whole=True)
    return explanations, thumbnail, damage


def _every_nth_picture(frames: Iterable[Frame], source: VideoSource, scorer: Scorer, times: array[float]) -> Iterator[tuple[float, Array]]:
    """Time in seconds and network picture of every Nth frame; `times` gets the time of all."""
    geometry = scorer.geometry(source.width_px, source.height_px)
    to_network = NetworkResizer(source.colour, geometry, interlaced=source.interlaced)
    for number, frame in enumerate(frames):
        times.append(frame.time_seconds)
        if number % scorer.every == 0:
            yield frame.time_seconds, to_network(frame)


def _thumbnail_geometry(source: VideoSource) -> Geometry:
    height = max(1, THUMBNAIL_PX * source.height_px // source.width_px)
    return Geometry(scaled_width_px=THUMBNAIL_PX, scaled_height_px=height, width_px=THUMBNAIL_PX, height_px=height)


def _report(job: Job, scorer: Scorer, explanations: Explanations, thumbnail: Array, started: float, damage: str | None) -> InputPrediction:
    outcome = replace(
        _empty_outcome(job, scorer, started),
        frames=explanations.frames,
        duration_seconds=job.source.duration_seconds if job.source else None,
        top=top_predictions(explanations.mean_scores(), scorer.classes, scorer.top_k),
    )
    if damage is not None:
        outcome = replace(outcome, partial=True, error=f"{job.input}: {damage}; the prediction is of what decodes")
    return InputPrediction(outcome=outcome, thumbnail=thumbnail)


def _report_failure(job: Job, scorer: Scorer, error: HeatreelError, started: float) -> InputPrediction:
    return InputPrediction(outcome=replace(_empty_outcome(job, scorer, started), error=str(error)), thumbnail=None)


def _empty_outcome(job: Job, scorer: Scorer, started: float) -> Outcome:
    return Outcome(
        input=job.input,
        model=scorer.name,
        method="none",
        warnings=job.source.warnings if job.source else job.warnings,
        elapsed_seconds=time.perf_counter() - started,
    )
