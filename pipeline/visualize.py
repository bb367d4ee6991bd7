"""One picture or one video becomes the same with the heat beside it: five stages, each running beside the others."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import tensorflow as tf

from pipeline import catalog, compositing, framing, maps, media, preprocessing, stills
from pipeline.errors import CommandError, InputError
from pipeline.models import Classifier
from pipeline.outputs import whole
from pipeline.planning import Job
from pipeline.predictions import RawMaps, Track, top_predictions
from pipeline.records import Colour, Frame, Geometry, Options, Outcome, Progress

Array = np.ndarray[Any, Any]
T = TypeVar("T")

FRAMES_BUDGET_BYTES = 256 << 20  # what the waiting frames of all stages together may take
DEFAULT_FPS = Fraction(25)


class Seen(NamedTuple):
    """What the network says of one frame: scores float32 (classes,), targets int (t,), maps float32 (t, h, w)."""

    scores: Array
    targets: Array
    maps: Array


@dataclass(frozen=True, kw_only=True)
class Session:
    """What all inputs of one call share: the classifier, its traced function, and the options."""

    classifier: Classifier
    explain: Callable[[Any], maps.Explanation]
    targets: Sequence[int] | None
    options: Options

    def geometry(self, width: int, height: int) -> Geometry:
        model, options = self.classifier, self.options
        short = options.short_side_px or model.short_side_px
        wanted = [
            side if short == model.short_side_px else _nearest(side * short / model.short_side_px, model.stride) for side in model.input_px
        ]
        return framing.frame_geometry(
            width,
            height,
            fit=options.fit,
            input_px=(wanted[0], wanted[1]),
            short_side_px=short,
            stride=model.stride,
            any_size=model.any_size,
        )

    def seen(self, pixels: Array) -> list[Seen]:
        """Explain a batch of pictures, uint8 (batch, height, width, 3)."""
        scores, targets, raw = (tensor.numpy() for tensor in explain_within_memory(self.explain, pixels))
        return [Seen(*row) for row in zip(scores, targets, raw, strict=True)]


def _nearest(length: float, stride: int) -> int:
    return max(1, round(length / stride)) * stride


def open_session(classifier: Classifier, options: Options) -> Session:
    """Raises CommandError when a target is no class of the model, or a size is asked for that it does not take."""
    targets = [catalog.find_class(wanted, classifier.classes).index for wanted in options.targets] or None
    if options.short_side_px and not classifier.any_size:
        size = "x".join(map(str, classifier.input_px))
        raise CommandError(f"--short-side {options.short_side_px}: {classifier.name} takes pictures of {size} pixels and no others")
    scale = functools.partial(preprocessing.scale_pixels, mode=classifier.pixels)
    explainers = [maps.explainer(net, method=options.method, targets=targets, preprocess=scale) for net in classifier.networks]
    explain = explainers[0] if len(explainers) == 1 else maps.fused(explainers)
    cv2.setNumThreads(1)  # blending is memory-bound; its threads would only take the network's and the encoder's time
    return Session(classifier=classifier, explain=explain, targets=targets, options=options)


def scoring(classifier: Classifier, options: Options) -> dict[str, Any]:
    """What predict.predict needs of a classifier: its name, classes, scores and the geometry of its frames."""
    session = Session(classifier=classifier, explain=lambda _: None, targets=None, options=options)  # type: ignore[arg-type, return-value]
    scale = functools.partial(preprocessing.scale_pixels, mode=classifier.pixels)
    score = maps.scorer(classifier.networks[0], preprocess=scale)
    return {
        "name": classifier.name,
        "score": lambda pixels: score(pixels).numpy(),
        "geometry": session.geometry,
        "classes": classifier.classes,
        "top_k": options.top_k,
        "every": options.every,
    }


def explain_within_memory(explain: Callable[[Any], maps.Explanation], pixels: Array) -> maps.Explanation:
    """Explain a batch; where memory runs out, its halves, down to single pictures."""
    try:
        return explain(pixels)
    except tf.errors.ResourceExhaustedError:
        if len(pixels) == 1:
            raise
    middle = len(pixels) // 2
    parts = [explain_within_memory(explain, part) for part in (pixels[:middle], pixels[middle:])]
    return maps.Explanation(*(tf.concat(tensors, axis=0) for tensors in zip(*parts, strict=True)))


# ------------------------------------------------------------------------------------------------ one picture


def visualize_image(job: Job, session: Session) -> tuple[Outcome, Track]:
    """Explain one picture and write it with the heat beside it, and its raw maps where they are asked for.

    Raises InputError for a damaged picture, OutputError when it cannot be written.
    """
    started, options = time.perf_counter(), session.options
    image = stills.read_still(job.input)
    geometry = session.geometry(image.width, image.height)
    [seen] = session.seen(stills.network_picture(image, geometry)[None])
    track = Track(job.input, options.top_k)
    track.add(0.0, seen.scores)
    panel = stills.with_height(image, options.height_px)
    painter = Painter(session, geometry, panel.width, panel.height, Colour(matrix="rgb", full_range=True))
    planes = tuple(np.ascontiguousarray(plane) for plane in np.moveaxis(np.asarray(panel), 2, 0))
    picture = painter.paint(Frame(planes, 0, Fraction(1), None), seen, fresh=True)  # type: ignore[arg-type]
    if job.maps is not None:
        with closing(RawMaps()) as raw:
            raw.add(0.0, seen.maps, seen.targets, seen.scores[seen.targets])
            raw.write(job.maps, region=geometry.region, overwrite=options.overwrite)
    with whole(job.output, overwrite=options.overwrite) as temporary:
        stills.save_still(picture, painter.canvas.width, painter.canvas.height, temporary)
    return _outcome(job, session, track, started, duration_seconds=None, warnings=()), track


def _outcome(
    job: Job, session: Session, track: Track, started: float, *, duration_seconds: float | None, warnings: Sequence[str]
) -> Outcome:
    return Outcome(
        input=job.input,
        output=job.output,
        model=session.classifier.name,
        method=session.options.method,
        frames=track.frames,
        duration_seconds=duration_seconds,
        elapsed_seconds=time.perf_counter() - started,
        top=top_predictions(track.mean_scores(), session.classifier.classes, session.options.top_k),
        warnings=(*session.classifier.warnings, *warnings),
    )


class Painter:
    """Paints frames of one size: the canvas, the colour tables, and for each panel the range that its heat is scaled to."""

    def __init__(self, session: Session, geometry: Geometry, width: int, height: int, colour: Colour) -> None:
        self._session = session
        self._region = geometry.region
        options, count = session.options, len(session.targets or [0])
        self.canvas = compositing.arrange(options.layout, width, height, explanations=count, colour=colour)
        self._look = compositing.make_look(options.colormap, options.alpha, colour)
        self._ranges = [compositing.RunningRange() for _ in range(count)]
        self._heats: list[Array] = []
        self._captions: list[compositing.Caption] = []

    def paint(self, frame: Frame, seen: Seen, *, fresh: bool) -> Array:
        """The finished picture's planes; `fresh` is False where `seen` is that of an earlier frame."""
        if fresh:
            scales = [r.scale(float(m.max()), frame.time_seconds) for r, m in zip(self._ranges, seen.maps, strict=True)]
            self._heats = [self._levels(m, scale) for m, scale in zip(seen.maps, scales, strict=True)]
            self._captions = [self._caption(seen, i) for i in range(len(seen.targets))]
        return compositing.compose(frame.planes, self._heats, self._captions, self.canvas, self._look)

    def _levels(self, raw: Array, scale: float) -> Array:
        size = self.canvas.panel_width, self.canvas.panel_height
        return compositing.heat_levels(raw / scale if scale > 0 else raw, *size, self._region)

    def _caption(self, seen: Seen, index: int) -> compositing.Caption:
        classes, top_k = self._session.classifier.classes, self._session.options.top_k
        target = int(seen.targets[index])
        top = [p for p in top_predictions(seen.scores, classes, top_k) if p.name.index != target]
        keep = top_k - 1 if self._session.targets is None else top_k
        rows = [(classes[target].label, float(seen.scores[target])), *((p.name.label, p.score) for p in top[: max(keep, 0)])]
        cold = not seen.maps[index].any()
        return compositing.Caption(
            rows=rows if top_k or self._session.targets else (), note="no heat: nothing here speaks for it" if cold else ""
        )


# ------------------------------------------------------------------------------------------------ one video


def visualize_video(job: Job, session: Session, *, progress: Callable[[Progress], None] = lambda _: None) -> tuple[Outcome, Track]:
    """Explain a video or a folder of frames and write it with the heat beside it, every frame at its time, with its sound.

    Raises InputError, OutputError or ToolError; then nothing is left behind.
    """
    started, options = time.perf_counter(), session.options
    track, warnings = Track(job.input, options.top_k), list(job.source.warnings if job.source else ())
    with ExitStack() as stack:
        raw = stack.enter_context(closing(RawMaps())) if job.maps else None
        frames = stack.enter_context(_open_frames(job, options, warnings))
        first = next(frames)
        view = _View(job, session, first)
        explained = stack.enter_context(closing(beside(_explained(_chain(first, frames), view, session), depth=1)))
        composites = _composited(explained, view, track, raw, lambda: progress(view.progress(track.frames)))
        temporary = stack.enter_context(whole(job.output, overwrite=options.overwrite))
        media.write_frames(composites, view.target(temporary))
        if raw is not None and job.maps is not None:
            raw.write(job.maps, region=view.geometry.region, overwrite=options.overwrite)
    if job.source is not None and options.audio == "copy":
        warnings += media.audio_warnings(job.source, job.output)
    return _outcome(job, session, track, started, duration_seconds=view.duration_seconds(track), warnings=warnings), track


def _open_frames(job: Job, options: Options, warnings: list[str]) -> Any:
    if job.source is not None:
        return media.open_frames(job.source, start_seconds=options.start_seconds, end_seconds=options.end_seconds, warnings=warnings)
    fps = options.fps or DEFAULT_FPS
    first, last = options.start_seconds or 0.0, options.end_seconds
    size = stills.read_still(job.frames[0]).size
    chosen = [path for i, path in enumerate(job.frames) if i / fps >= first - 1e-9 and (last is None or i / fps < last - 1e-9)]
    if not chosen:
        raise InputError(f"{job.input}: there is no frame at or after --start {first}")
    return closing(media.frames_of_pictures(stills.read_folder(chosen, size=size), fps=fps))


def _chain(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


class _View:
    """What follows from the first frame: sizes, colour, the network's view, the batch size, the output's clock."""

    def __init__(self, job: Job, session: Session, first: Frame) -> None:
        self.job, self.options = job, session.options
        height, width = first.planes[0].shape
        self.geometry = session.geometry(width, height)
        self.colour = job.source.colour if job.source else media.PICTURES_COLOUR
        self.first = first
        self.panel_height = session.options.height_px or height
        self.panel_width = max(1, round(width * self.panel_height / height))
        self.painter = Painter(session, self.geometry, self.panel_width, self.panel_height, self.colour)
        waiting = (
            5 * self.options.every * sum(plane.size for plane in first.planes)
        )  # batches being filled, waiting, explained, queued, painted
        fitting = max(1, FRAMES_BUDGET_BYTES // waiting)
        self.batch_size = self.options.batch_size or min(fitting, 32 if tf.config.get_visible_devices("GPU") else 8)

    def target(self, path: Any) -> media.Target:
        source, canvas, options = self.job.source, self.painter.canvas, self.options
        offset = self.first.pts * self.first.time_base
        return media.Target(
            path=path,
            width_px=canvas.width,
            height_px=canvas.height,
            time_base=self.first.time_base,
            frame_rate=self.frame_rate,
            encoder=media.choose_encoder(
                options.codec, width_px=canvas.width, height_px=canvas.height, crf=options.crf, preset=options.preset
            ),
            colour_tags=source.colour_tags if source else media.PICTURES_COLOUR_TAGS,
            sample_aspect=self._sample_aspect(),
            source=source,
            audio=options.audio,
            offset_seconds=offset if options.start_seconds or options.end_seconds else None,
            end_seconds=options.end_seconds,
        )

    def _sample_aspect(self) -> Fraction:
        """The source's, turned with the picture where the decoder has turned it upright."""
        source = self.job.source
        if source is None:
            return Fraction(1)
        turned = self.first.planes[0].shape == (source.width_px, source.height_px) != (source.height_px, source.width_px)
        return 1 / source.sample_aspect if turned else source.sample_aspect

    @property
    def frame_rate(self) -> Fraction:
        return self.job.source.frame_rate if self.job.source else self.options.fps or DEFAULT_FPS

    def progress(self, done: int) -> Progress:
        return Progress(input=self.job.input, frames_done=done, frames_total=self.frames_total())

    def frames_total(self) -> int | None:
        source, options = self.job.source, self.options
        total = source.frames_estimate if source else len(self.job.frames)
        if total is None or not (options.start_seconds or options.end_seconds):
            return total
        end = min(options.end_seconds or float("inf"), float(total / self.frame_rate))
        return max(1, round((end - (options.start_seconds or 0)) * float(self.frame_rate)))

    def duration_seconds(self, track: Track) -> float:
        """From the first frame's time to the end of the last one."""
        return track.last_seconds - track.first_seconds + float(1 / self.frame_rate)


Batch = list[tuple[Frame, Seen, bool]]


def _explained(frames: Iterator[Frame], view: _View, session: Session) -> Iterator[Batch]:
    """Frames with what the network sees, in batches; the last part of a triple says whether the network ran on this very frame.

    tf.data pulls the frames, and with them the decoder: it batches and fetches ahead while the network runs.
    """
    waiting: deque[tuple[Frame, bool]] = deque()
    failures: list[BaseException] = []

    def pictures() -> Iterator[Array]:
        scaled = media.NetworkPictures(view.colour, view.geometry)
        try:
            for number, frame in enumerate(frames):
                key = number % session.options.every == 0
                waiting.append((frame, key))
                if key:
                    yield scaled(frame)
        except Exception as error:  # tf.data would make another error of it; ours is raised below as it is
            failures.append(error)

    latest: Seen | None = None
    for pixels in dataset_of(pictures(), view.geometry).batch(view.batch_size).prefetch(1):
        batch: Batch = []
        for seen in session.seen(pixels):
            while latest is not None and not waiting[0][1]:
                batch.append((waiting.popleft()[0], latest, False))
            batch.append((waiting.popleft()[0], seen, True))
            latest = seen
        yield batch
    if failures:
        raise failures[0]
    if latest is not None and waiting:
        yield [(frame, latest, False) for frame, _ in waiting]


def dataset_of(pictures: Iterator[Array], geometry: Geometry) -> tf.data.Dataset:
    """RGB pictures, uint8 (height, width, 3) of the geometry, as a dataset that pulls them one by one.

    Not Dataset.from_generator: making one sets malloc so that, for the rest of the process, every array above 128 KiB is mapped and
    faulted in anew, which cost 12 of 48 CPU milliseconds a frame at 1080p.
    """
    shape = (geometry.height_px, geometry.width_px, 3)
    blank = np.zeros(shape, np.uint8)

    def pull() -> tuple[bool, Array]:
        picture = next(pictures, None)
        return (False, blank) if picture is None else (True, picture)

    def element(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        there, picture = tf.numpy_function(pull, [], (tf.bool, tf.uint8))
        return tf.ensure_shape(there, ()), tf.ensure_shape(picture, shape)

    numbers = tf.data.Dataset.counter()
    return numbers.map(element).take_while(lambda there, _: there).map(lambda _, picture: picture)


def _composited(
    batches: Iterable[Batch], view: _View, track: Track, raw: RawMaps | None, tick: Callable[[], None]
) -> Iterator[tuple[Array, int]]:
    """The finished pictures' planes with their times, noting on the way what the network said."""
    fitted = media.FrameScaler(view.panel_width, view.panel_height)
    for batch in batches:
        for frame, seen, fresh in batch:
            track.add(frame.time_seconds, seen.scores)
            if raw is not None and fresh:
                raw.add(frame.time_seconds, seen.maps, seen.targets, seen.scores[seen.targets])
            yield view.painter.paint(fitted(frame), seen, fresh=fresh), frame.pts
            tick()


# ------------------------------------------------------------------------------------------------ side by side


class _End(NamedTuple):
    error: BaseException | None


def beside(items: Iterable[T], *, depth: int) -> Generator[T]:
    """The same items, made in a thread of their own, at most `depth` of them waiting. Its errors are raised here.

    Closing the returned generator stops the thread at its next item.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | _End) -> None:
        placed = False
        while not placed and not stop.is_set():
            with suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                placed = True

    def fill() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
        except BaseException as caught:
            error = caught
        put(_End(error))

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
