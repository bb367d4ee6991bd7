"""A session is what all inputs of one call share: the classifier, its traced function, the options. Pictures are done here at once."""

from __future__ import annotations

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import batching, maps
from pipeline.errors import ChangedError, CommandError, HeatreelError, InputError
from pipeline.explain.planning import Job
from pipeline.files.atomic import atomic_write
from pipeline.media import images, resizing
from pipeline.models import class_names, input_geometry, pixel_normalization
from pipeline.models.loading import Classifier
from pipeline.options import Options
from pipeline.records import ClassGroup, Colour, Frame, Geometry, Outcome, TargetScore, Thumbnail
from pipeline.rendering import compositing
from pipeline.rendering.frame_renderer import THUMBNAIL_PX, Explanation, FrameRenderer, as_thumbnail
from pipeline.results.explanations import Explanations, RawMaps, top_predictions

T = TypeVar("T")

THREADS = batching.AT_ONCE + 1  # for pictures: while two are at the network, one is read or painted
# A disk takes 0.5 to 30 ms to say that a file is safe, and once in a while 200: so many threads ask, and so many pictures may wait for it.
DISK_THREADS, MOST_UNSAFE = 4, 32
MOST_TOGETHER, TOGETHER_PIXELS = 4, 20_000_000


@dataclass(frozen=True, kw_only=True)
class Session:
    """What all inputs of one call share: the classifier, its traced function, what is explained (None: the top prediction), and options.

    `map_of` makes the map of any class from what `explain` has kept of a picture. Where two videos are in the making at once, `turn` is a
    lock: the network works for one, while the other is opened or ended.
    """

    classifier: Classifier
    explain: Callable[[Any], maps.BatchExplanation]
    map_of: Callable[[Any, Sequence[Any], int], Any]
    targets: Sequence[ClassGroup] | None
    options: Options
    turn: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def geometry(self, width: int, height: int) -> Geometry:
        model, options = self.classifier, self.options
        short = options.short_side_px or model.short_side_px
        wanted = [
            side if short == model.short_side_px else _nearest(side * short / model.short_side_px, model.stride) for side in model.input_px
        ]
        return input_geometry.frame_geometry(
            width,
            height,
            fit=options.fit,
            input_px=(wanted[0], wanted[1]),
            short_side_px=short,
            stride=model.stride,
            any_size=model.any_size,
        )

    def seen(self, pixels: Array) -> list[Explanation]:
        """Explain a batch of pictures, uint8 (batch, height, width, 3)."""
        said = tf.nest.map_structure(lambda tensor: tensor.numpy(), explain_within_memory(self.explain, pixels))
        features = zip(*said.features, strict=True) if said.features else itertools.repeat((), len(pixels))
        return [Explanation(*row) for row in zip(*said[:4], features, np.asarray(pixels), strict=True)]

    def kept_bytes(self, geometry: Geometry) -> int:
        """About how much is kept of a frame for the maps of other classes; more where `--layer` names one far from the pooling."""
        if not self.options.holds_title:
            return 0
        cells = geometry.width_px * geometry.height_px // self.classifier.stride**2
        return sum(4 * cells * (net.target.shape[3] or 0) for net in self.classifier.networks)

    def asked(self, seen: Explanation) -> Array | None:
        """The scores of what was asked for, float (t,); None where nothing was."""
        return seen.target_scores if self.targets else None

    def explained(self, batches: Iterable[Array]) -> Generator[list[Explanation]]:
        """What `seen` gives of each batch, in order, some of them computed at once."""
        return batching.computed(self.seen, batches)

    def canvas(self, size: tuple[int, int], colour: Colour) -> compositing.Canvas:
        """For panels of that size (width, height)."""
        named = [name.label for name in self.classifier.classes] + [group.label for group in self.targets or ()]
        longest = compositing.widest_name(tuple(named))
        place, panels = self.options.label, len(self.targets or [0])
        return compositing.arrange(self.options.layout, *size, explanations=panels, colour=colour, label=place, longest_name=longest)

    def painter(self, geometry: Geometry, canvas: compositing.Canvas) -> FrameRenderer:
        return FrameRenderer(
            self.options,
            self.classifier.classes,
            geometry,
            canvas,
            targets=self.targets,
            map_of=lambda seen, target: np.asarray(self.map_of(seen.pixels, seen.features, target)),
        )


def _nearest(length: float, stride: int) -> int:
    return max(1, round(length / stride)) * stride


def open_session(classifier: Classifier, options: Options) -> Session:
    """Raises CommandError when a target is no class of the model, or a size is asked for that it does not take."""
    targets = [class_names.find_target(wanted, classifier.classes) for wanted in options.targets] or None
    if options.short_side_px and not classifier.any_size:
        size = "x".join(map(str, classifier.input_px))
        raise CommandError(f"--short-side {options.short_side_px}: {classifier.name} takes pictures of {size} pixels and no others")
    scale = _scaling(classifier)
    more: dict[str, Any] = {"method": options.method, "preprocess": scale}
    members = [group.members for group in targets] if targets else None
    explainers = [maps.explainer(net, targets=members, keep_features=options.holds_title, **more) for net in classifier.networks]
    explain = explainers[0] if len(explainers) == 1 else maps.fused(explainers)
    map_of = maps.fused_mapper([maps.mapper(net, **more) for net in classifier.networks])
    cv2.setNumThreads(1)  # blending is memory-bound; its threads would only take the network's and the encoder's time
    return Session(classifier=classifier, explain=explain, map_of=map_of, targets=targets, options=options)


def passes_of(session: Session) -> tuple[int, Callable[[], int]] | None:
    """How many passes of the network a picture takes, and how many have been made, where they are so many that one waits for them."""
    if session.options.method != "scorecam":
        return None
    groups = sum(-(-int(net.target.shape[-1] or 0) // maps.SCORECAM_CHANNELS) for net in session.classifier.networks)
    return groups * maps.SCORECAM_CHANNELS, lambda: int(maps.scorecam_passes().numpy())


def scoring(classifier: Classifier, options: Options) -> dict[str, Any]:
    """What predict.predict needs of a classifier: its name, classes, scores and the geometry of its frames."""
    nothing: Any = None
    session = Session(classifier=classifier, explain=nothing, map_of=nothing, targets=None, options=options)
    score = maps.scorer(classifier.networks[0], preprocess=_scaling(classifier))
    return {
        "name": classifier.name,
        "score": lambda pixels: score(pixels).numpy(),
        "geometry": session.geometry,
        "classes": classifier.classes,
        "top_k": options.top_k,
        "batch_size": maps.batch_size(),
        "every": options.every,
        "max_megapixels": options.max_megapixels,
    }


def describing(classifier: Classifier) -> Callable[[Array], tuple[Array, Array]]:
    """From pictures uint8 (batch, height, width, 3) to what `predict` says of them, (batch, classes), and features (batch, channels)."""
    describe = maps.describer(classifier.networks[0], preprocess=_scaling(classifier))

    def described(pixels: Array) -> tuple[Array, Array]:
        scores, features = describe(pixels)
        return scores.numpy(), features.numpy()

    return described


def _scaling(classifier: Classifier) -> Callable[[Any], Any]:
    return functools.partial(pixel_normalization.scale_pixels, mode=classifier.pixels)


def explain_within_memory(explain: Callable[[Any], maps.BatchExplanation], pixels: Array) -> maps.BatchExplanation:
    """Explain a batch; where memory runs out, its halves, down to single pictures."""
    try:
        return explain(pixels)
    except tf.errors.ResourceExhaustedError:
        if len(pixels) == 1:
            raise
    middle = len(pixels) // 2
    parts = [explain_within_memory(explain, part) for part in (pixels[:middle], pixels[middle:])]
    joined: maps.BatchExplanation = tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)
    return joined


# ------------------------------------------------------------------------------------------------ pictures


class _Opened(NamedTuple):
    """A picture that is read: as it is, at its panel's size, and what the network sees of it, uint8 (height, width, 3).

    `missing` says what of it did not decode, None where all did.
    """

    photograph: Frame
    panel: Frame
    geometry: Geometry
    pixels: Array
    missing: str | None


class Painted(NamedTuple):
    """A picture that is read and explained: the finished picture's planes, and all that they were made of."""

    photograph: Frame
    seen: Explanation
    geometry: Geometry
    painter: FrameRenderer
    planes: Array
    missing: str | None


def paint_image(path: Path, session: Session) -> Painted:
    """Read one picture, explain it, and paint the heat beside it. Raises InputError for a picture of which nothing decodes."""
    opened = _open(path, session)
    [seen] = session.seen(opened.pixels[None])
    return _paint(opened, seen, session)


def _open(path: Path, session: Session) -> _Opened:
    image, missing = images.read_what_decodes(path, max_megapixels=session.options.max_megapixels)
    geometry, photograph = session.geometry(image.width, image.height), resizing.frame_of(image)
    panel = images.with_height(image, session.options.height_px)
    pixels = resizing.network_picture(photograph, geometry)
    return _Opened(photograph, photograph if panel is image else resizing.frame_of(panel), geometry, pixels, missing)


def _paint(opened: _Opened, seen: Explanation, session: Session) -> Painted:
    photograph, panel, geometry, _, missing = opened
    height, width = panel.planes[0].shape
    painter = session.painter(geometry, session.canvas((width, height), resizing.PHOTOGRAPH_COLOUR))
    return Painted(photograph, seen, geometry, painter, painter.paint(panel, seen, fresh=True), missing)


def pair_of(painted: Painted) -> tuple[Thumbnail, Thumbnail]:
    """What a page shows side by side: the original, and the panel with the heat."""
    original = as_thumbnail(images.thumbnail(images.merged(painted.photograph.planes), 2 * THUMBNAIL_PX), 0.0)
    return original, painted.painter.thumbnail(painted.planes, 0.0, heat_alone=True)


def visualize_image(job: Job, session: Session) -> tuple[Outcome, Explanations]:
    """Explain one picture and write it with the heat beside it, and its raw maps where they are asked for.

    One that is cut off gives what decodes, and an outcome that is `partial`. Raises InputError where nothing does, OutputError when it
    cannot be written.
    """
    started, before = time.perf_counter(), _fingerprint(job)
    return _named(_write(job, session, paint_image(job.input, session), before, started))


def visualize_images(jobs: Sequence[Job], session: Session) -> Iterator[tuple[Job, tuple[Outcome, Explanations] | HeatreelError]]:
    """As visualize_image for many pictures, in their order, each with what became of it.

    Each of some threads takes a few pictures at a time, less than some twenty megapixels, and does all for them: it reads them, explains
    those of one size together, paints and writes them. Other threads wait until they are safe on the disk, and give them their names.
    """
    waiting, most = iter(jobs), 1
    groups: deque[Future[_Group]] = deque()
    unsafe: deque[tuple[Job, Future[tuple[Outcome, Explanations] | HeatreelError]]] = deque()
    with ThreadPoolExecutor(DISK_THREADS) as disk, ThreadPoolExecutor(THREADS) as threads:
        try:
            while True:
                while len(groups) <= THREADS and (group := list(itertools.islice(waiting, most))):
                    groups.append(threads.submit(_do_together, group, session, disk))
                if not (groups or unsafe):
                    return
                if groups:
                    done, pixels = groups.popleft().result()
                    most = max(1, min(MOST_TOGETHER, TOGETHER_PIXELS // pixels)) if pixels else most
                    unsafe.extend(done)
                while unsafe and (unsafe[0][1].done() or len(unsafe) > MOST_UNSAFE or not groups):
                    job, became = unsafe.popleft()
                    yield job, became.result()
        finally:
            for waits in groups:
                waits.cancel()


class _Group(NamedTuple):
    """What becomes of some pictures, in their order, and how many pixels the largest of them has, 0 where none could be read."""

    done: Sequence[tuple[Job, Future[tuple[Outcome, Explanations] | HeatreelError]]]
    most_pixels: int


def _do_together(jobs: Sequence[Job], session: Session, disk: ThreadPoolExecutor) -> _Group:
    begun = [(job, _unless_failed(_begin, job, session)) for job in jobs]
    opened = [each.opened for _, each in begun if isinstance(each, _Begun)]
    seen = _seen_together(opened, session)
    done = []
    for job, each in begun:
        written = _unless_failed(_end, job, session, each, next(seen)) if isinstance(each, _Begun) else each
        done.append((job, disk.submit(_unless_failed, _named, written) if isinstance(written, _Written) else _known(written)))
    return _Group(done, max((each.photograph.planes[0].size for each in opened), default=0))


def _known(answer: T) -> Future[Any]:
    future: Future[T] = Future()
    future.set_result(answer)
    return future


class _Begun(NamedTuple):
    """A picture that waits for the network; `before` is its file's size and time of change, `started` when it was begun."""

    opened: _Opened
    before: tuple[int, int]
    started: float


def _begin(job: Job, session: Session) -> _Begun:
    started, before = time.perf_counter(), _fingerprint(job)
    return _Begun(_open(job.input, session), before, started)


def _seen_together(opened: Sequence[_Opened], session: Session) -> Iterator[Explanation]:
    """What the network says of each, in order; those of one size are one batch."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, each in enumerate(opened):
        by_size.setdefault(each.pixels.shape, []).append(number)
    found: dict[int, Explanation] = {}
    for numbers in by_size.values():
        found |= dict(zip(numbers, session.seen(np.stack([opened[number].pixels for number in numbers])), strict=True))
    return (found[number] for number in range(len(opened)))


def _end(job: Job, session: Session, begun: _Begun, seen: Explanation) -> _Written:
    return _write(job, session, _paint(begun.opened, seen, session), begun.before, begun.started)


def _unless_failed(work: Callable[..., T], *arguments: Any) -> T | HeatreelError:
    try:
        return work(*arguments)
    except HeatreelError as error:
        return error


class _Written(NamedTuple):
    """A picture that is written under a temporary name, which `name` makes safe and gives its own, and what is said of it then."""

    name: Callable[[], None]
    outcome: Outcome
    track: Explanations


def _write(job: Job, session: Session, painted: Painted, before: tuple[int, int], started: float) -> _Written:
    options, seen, painter = session.options, painted.seen, painted.painter
    track = Explanations(job.input, options.top_k)
    track.add(0.0, seen.scores, asked=session.asked(seen), shown=painter.title)
    if options.report:  # the finished picture, and what a page shows side by side
        track.thumbnails += [painter.thumbnail(painted.planes, 0.0), *pair_of(painted)]
    if job.maps is not None:
        with closing(RawMaps()) as raw:
            raw.add(0.0, seen.maps, seen.targets, seen.target_scores)
            raw.write(job.maps, region=painted.geometry.region, overwrite=options.overwrite)
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(job.output, overwrite=options.overwrite))
        height, width = painter.canvas.height, painter.canvas.width
        images.save_still(painted.planes.reshape(3, height, width), temporary)
        if _fingerprint(job) != before:
            raise ChangedError(f"{job.input}: changed while it was read", remedy="run the same command again")
        outcome = outcome_of(job, session, track, started, duration_seconds=None, warnings=job.warnings)
        if painted.missing is not None:
            error = f"{job.input}: {painted.missing}; what decodes is in {job.output}"
            outcome = replace(outcome, partial=True, error=error)
        return _Written(stack.pop_all().close, outcome, track)


def _named(written: _Written) -> tuple[Outcome, Explanations]:
    written.name()
    return written.outcome, written.track


def _fingerprint(job: Job) -> tuple[int, int]:
    try:
        status = job.input.stat()
    except OSError as error:
        raise InputError(f"{job.input}: cannot be read any more: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


def outcome_of(
    job: Job, session: Session, track: Explanations, started: float, *, duration_seconds: float | None, warnings: Sequence[str]
) -> Outcome:
    """The outcome of an input that is done; `started` is time.perf_counter() of its begin."""
    asked = zip(session.targets or (), track.mean_asked(), strict=False)
    return Outcome(
        input=job.input,
        output=job.output,
        model=session.classifier.name,
        method=session.options.method,
        frames=track.frames,
        duration_seconds=duration_seconds,
        elapsed_seconds=time.perf_counter() - started,
        top=top_predictions(track.mean_scores(), session.classifier.classes, session.options.top_k),
        targets=[TargetScore(name=group, score=float(score)) for group, score in asked],
        warnings=(*session.classifier.warnings, *warnings),
    )
