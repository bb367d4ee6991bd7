"""A picture becomes a picture with its heat: read, explain, render, write. Many pictures go through these stages on several threads."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import AT_ONCE
from pipeline.errors import ChangedError, HeatreelError, InputError
from pipeline.explain.job_planning import Job
from pipeline.explain.model_session import Session, make_outcome
from pipeline.files import PendingFile
from pipeline.media import PHOTOGRAPH_COLOUR, image_to_frame, images, resize_for_network
from pipeline.records import Frame, Geometry, Outcome, Thumbnail
from pipeline.rendering import THUMBNAIL_PX, Explanation, FrameRenderer, as_thumbnail
from pipeline.results import Explanations, RawMaps

T = TypeVar("T")

THREADS = AT_ONCE + 1  # while two pictures are at the network, one is read or rendered
# A disk takes 0.5 to 30 ms to flush a file, and now and then 200: so many threads flush, and so many pictures may wait for them.
DISK_THREADS, MAX_UNFLUSHED = 4, 32
MAX_TOGETHER, TOGETHER_PIXELS = 4, 20_000_000  # pictures of one thread, and the pixels that they may have in all


# ------------------------------------------------------------------------------------------------ the stages, and what each gives


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """When work on a job began (time.perf_counter(), seconds), and its file's size in bytes and time of change in ns then."""

    started: float
    size_bytes: int
    mtime_ns: int

    def is_current(self, job: Job) -> bool:
        """Whether the file has the same size and time of change now. Raises InputError when it is not there any more."""
        now = inspect_source(job)
        return (now.size_bytes, now.mtime_ns) == (self.size_bytes, self.mtime_ns)


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A picture that is read: as it is, at its panel's size, and as the network takes it, uint8 (height, width, 3).

    `missing` says what of it did not decode, None where all did.
    """

    photograph: Frame
    panel: Frame
    geometry: Geometry
    pixels: Array
    missing: str | None


@dataclass(frozen=True, kw_only=True)
class RenderedImage:
    """A picture that is explained and rendered: `planes` uint8 are those of `renderer.canvas`."""

    decoded: DecodedImage
    explanation: Explanation
    renderer: FrameRenderer
    planes: Array


@dataclass(frozen=True, kw_only=True)
class WrittenImage:
    """A picture that is written and waits for the disk: `pending.commit()` gives it its name."""

    pending: PendingFile
    outcome: Outcome
    explanations: Explanations


def read_image(path: Path, session: Session) -> DecodedImage:
    """Raises InputError for a picture of which nothing decodes."""
    image, missing = images.read_partial_image(path, max_megapixels=session.options.max_megapixels)
    geometry, photograph = session.geometry(image.width, image.height), image_to_frame(image)
    panel = images.resize_to_height(image, session.options.height_px)
    return DecodedImage(
        photograph=photograph,
        panel=photograph if panel is image else image_to_frame(panel),
        geometry=geometry,
        pixels=resize_for_network(photograph, geometry),
        missing=missing,
    )


def explain_together(decoded: Sequence[DecodedImage], session: Session) -> list[Explanation]:
    """What the network says of each picture, in order; those of one size are one batch."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, each in enumerate(decoded):
        by_size.setdefault(each.pixels.shape, []).append(number)
    found: dict[int, Explanation] = {}
    for numbers in by_size.values():
        found |= dict(zip(numbers, session.explain_batch(np.stack([decoded[number].pixels for number in numbers])), strict=True))
    return [found[number] for number in range(len(decoded))]


def render_image(decoded: DecodedImage, explanation: Explanation, session: Session) -> RenderedImage:
    """Blend the heat over the picture, and lay out the panels."""
    height, width = decoded.panel.planes[0].shape
    renderer = session.make_renderer(decoded.geometry, session.make_canvas((width, height), PHOTOGRAPH_COLOUR))
    planes = renderer.paint(decoded.panel, explanation, fresh=True)
    return RenderedImage(decoded=decoded, explanation=explanation, renderer=renderer, planes=planes)


def write_image(job: Job, rendered: RenderedImage, session: Session, before: SourceState) -> WrittenImage:
    """Write the raw maps, where they are asked for, and the picture under a temporary name.

    Raises ChangedError when the input is not what it was `before`, OutputError when the disk refuses.
    """
    explanations = _collect_explanations(job, rendered, session)
    if job.maps is not None:
        _write_raw_maps(job.maps, rendered, overwrite=session.options.overwrite)
    canvas = rendered.renderer.canvas
    with PendingFile(job.output, overwrite=session.options.overwrite) as pending:
        images.save_image(rendered.planes.reshape(3, canvas.height, canvas.width), pending.path)
        if not before.is_current(job):
            raise ChangedError(f"{job.input}: changed while it was read", remedy="run the same command again")
        outcome = make_outcome(job, session, explanations, before.started, duration_seconds=None, warnings=job.warnings)
        if rendered.decoded.missing is not None:
            error = f"{job.input}: {rendered.decoded.missing}; what decodes is in {job.output}"
            outcome = replace(outcome, partial=True, error=error)
        return WrittenImage(pending=pending, outcome=outcome, explanations=explanations)


def commit_image(written: WrittenImage) -> tuple[Outcome, Explanations]:
    """Flush the picture to disk and give it its name. Raises OutputError."""
    written.pending.commit()
    return written.outcome, written.explanations


def inspect_source(job: Job) -> SourceState:
    """Raises InputError when the file is not there any more."""
    started = time.perf_counter()
    try:
        status = job.input.stat()
    except OSError as error:
        raise InputError(f"{job.input}: cannot be read any more: {error.strerror}") from error
    return SourceState(started=started, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _collect_explanations(job: Job, rendered: RenderedImage, session: Session) -> Explanations:
    explanation, renderer = rendered.explanation, rendered.renderer
    explanations = Explanations(job.input, session.options.top_k)
    explanations.add(0.0, explanation.scores, asked=session.requested_scores(explanation), shown=renderer.title)
    if session.options.report:  # the finished picture, and what a page shows side by side
        explanations.thumbnails += [renderer.thumbnail(rendered.planes, 0.0), *make_thumbnails(rendered)]
    return explanations


def _write_raw_maps(path: Path, rendered: RenderedImage, *, overwrite: bool) -> None:
    explanation = rendered.explanation
    with closing(RawMaps()) as raw:
        raw.add(0.0, explanation.maps, explanation.targets, explanation.target_scores)
        raw.write(path, region=rendered.decoded.geometry.region, overwrite=overwrite)


def make_thumbnails(rendered: RenderedImage) -> tuple[Thumbnail, Thumbnail]:
    """What a page shows side by side: the original, and the panel with the heat."""
    original = as_thumbnail(images.make_thumbnail(images.merge_planes(rendered.decoded.photograph.planes), 2 * THUMBNAIL_PX), 0.0)
    return original, rendered.renderer.thumbnail(rendered.planes, 0.0, heat_alone=True)


# ------------------------------------------------------------------------------------------------ one picture, and many


def read_and_render(path: Path, session: Session) -> RenderedImage:
    """The first three stages for one picture. Raises InputError for a picture of which nothing decodes."""
    decoded = read_image(path, session)
    [explanation] = explain_together([decoded], session)
    return render_image(decoded, explanation, session)


def visualize_image(job: Job, session: Session) -> tuple[Outcome, Explanations]:
    """Explain one picture and write it with the heat beside it, and its raw maps where they are asked for.

    One that is cut off gives what decodes, and an outcome that is `partial`. Raises InputError where nothing does, OutputError when it
    cannot be written, ChangedError when it changed meanwhile.
    """
    before = inspect_source(job)
    return commit_image(write_image(job, read_and_render(job.input, session), session, before))


ImageResult = tuple[Outcome, Explanations] | HeatreelError


def visualize_images(jobs: Sequence[Job], session: Session) -> Iterator[tuple[Job, ImageResult]]:
    """As visualize_image for many pictures, in their order, each with its result or its error.

    Each of THREADS threads takes a few pictures at a time, of no more than TOGETHER_PIXELS in all: it reads them, explains those of one
    size together, renders and writes them. DISK_THREADS others flush them to disk and rename them.
    """
    waiting, together = iter(jobs), 1
    groups: deque[Future[_Group]] = deque()
    unflushed: deque[tuple[Job, Future[ImageResult]]] = deque()
    with ThreadPoolExecutor(DISK_THREADS) as disk, ThreadPoolExecutor(THREADS) as threads:
        try:
            while True:
                while len(groups) <= THREADS and (group := list(itertools.islice(waiting, together))):
                    groups.append(threads.submit(_process_group, group, session, disk))
                if not (groups or unflushed):
                    return
                if groups:
                    done = groups.popleft().result()
                    if done.largest_pixels is not None:
                        together = max(1, min(MAX_TOGETHER, TOGETHER_PIXELS // done.largest_pixels))
                    unflushed.extend(done.results)
                while unflushed and (unflushed[0][1].done() or len(unflushed) > MAX_UNFLUSHED or not groups):
                    job, result = unflushed.popleft()
                    yield job, result.result()
        finally:
            for group_ahead in groups:
                group_ahead.cancel()


class _Group(NamedTuple):
    """The results of some pictures, in their order, and how many pixels the largest of them has, None where none could be read."""

    results: Sequence[tuple[Job, Future[ImageResult]]]
    largest_pixels: int | None


def _process_group(jobs: Sequence[Job], session: Session, disk: ThreadPoolExecutor) -> _Group:
    """All stages for some pictures; the last is left to the threads of `disk`. A picture that fails does not stop the others."""
    read = [_or_error(_inspect_and_read, job, session) for job in jobs]
    decoded = [each[1] for each in read if not isinstance(each, HeatreelError)]
    explanations = iter(explain_together(decoded, session))
    results = []
    for job, each in zip(jobs, read, strict=True):
        written = each if isinstance(each, HeatreelError) else _or_error(_render_and_write, job, session, *each, next(explanations))
        pending = _completed_future(written) if isinstance(written, HeatreelError) else disk.submit(_or_error, commit_image, written)
        results.append((job, pending))
    return _Group(results, max((each.photograph.planes[0].size for each in decoded), default=None))


def _inspect_and_read(job: Job, session: Session) -> tuple[SourceState, DecodedImage]:
    return inspect_source(job), read_image(job.input, session)


def _render_and_write(job: Job, session: Session, before: SourceState, decoded: DecodedImage, explanation: Explanation) -> WrittenImage:
    return write_image(job, render_image(decoded, explanation, session), session, before)


def _or_error(function: Callable[..., T], *arguments: Any) -> T | HeatreelError:
    try:
        return function(*arguments)
    except HeatreelError as error:
        return error


def _completed_future(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
