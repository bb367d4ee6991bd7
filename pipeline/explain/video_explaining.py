"""The stages of a video that run ahead of the renderer: frames are read, put in batches, and explained by the network."""

from __future__ import annotations

import itertools
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from pipeline import media
from pipeline.arrays import Array
from pipeline.cam import compute_batches
from pipeline.errors import InputError, Stopped
from pipeline.explain.model_session import Session
from pipeline.explain.video_plan import VideoPlan
from pipeline.media import NetworkResizer, ReadPosition, checksum_luma, images, images_to_frames
from pipeline.models import disable_autotune
from pipeline.records import Frame, Geometry
from pipeline.rendering import Explanation

T = TypeVar("T")


class DecoderReport(NamedTuple):
    """How often a decoder complained, its first complaint that says something ("" where there is none), and how often the clock leapt."""

    problems: int
    problem: str
    leaps: int = 0


class SourceFrames(NamedTuple):
    """The frames of an open source, in order of time, and what its decoder reports.

    `report` is told how many frames are done, because pictures are read ahead; it may be asked when the source is closed, too.
    """

    frames: Iterator[Frame]
    report: Callable[[int], DecoderReport]


class PlacedFrame(NamedTuple):
    """A frame and its place in the video.

    `segment` is the number of the segment that it belongs to, None where it comes before a part's begin: then it only warms up what is
    remembered from frame to frame. `ends_segment` marks the last frame of each segment. The network sees it if `is_key`; `padding` is how
    many blank pictures the network sees behind it, so that the batch is full. `follows` is the time (pts) and the checksum of the frame
    before, on a part's first frame alone.
    """

    frame: Frame
    segment: int | None
    ends_segment: bool
    is_key: bool
    padding: int
    follows: tuple[int, int] | None


class FrameBatch(NamedTuple):
    """A batch for the network: pictures uint8 (batch, height, width, 3), and the frames that they and their padding come from, in order.

    Frames that the network does not see travel with the next that it does; the last of a video may travel without any picture. `failure`
    is why reading ended, behind the last frame that was read.
    """

    frames: tuple[PlacedFrame, ...]
    pixels: Array
    failure: Exception | None = None


class ExplainedFrame(NamedTuple):
    """A frame with what the network says of it; `fresh` is False where that was said of an earlier frame."""

    placed: PlacedFrame
    explanation: Explanation
    fresh: bool


# ------------------------------------------------------------------------------------------------ reading


@contextmanager
def read_frames(plan: VideoPlan, *, after: ReadPosition | None) -> Iterator[SourceFrames]:
    """Open the plan's source, or the pictures that stand for it, and read on behind the position `after`. Leaving the block closes it.

    Raises InputError, at once or from the iterator, when there is no frame in the range or none can be decoded; the iterator raises
    ToolError when the decoder fails.
    """
    if plan.source is None:
        with _open_pictures(plan, first=after.frames if after else 0) as pictures:
            yield pictures
        return
    start, end = plan.read_range_seconds
    with media.read_frames(plan.source, start_seconds=start, end_seconds=end, after=after) as reading:
        yield SourceFrames(reading, lambda _: DecoderReport(*reading.problems, leaps=reading.leaps))


@contextmanager
def _open_pictures(plan: VideoPlan, *, first: int) -> Iterator[SourceFrames]:
    """The frames of pictures that stand for a video, from number `first` of the range on; those that are cut off are its problems."""
    pictures, options = plan.job.pictures, plan.options
    assert pictures is not None, "a video has a source or pictures"
    whole = pictures.between(options.start_seconds, options.end_seconds)
    numbers = whole[first:]
    if not numbers and not first:
        raise InputError(f"{plan.job.input}: there is no frame at or after --start {options.start_seconds or 0}")
    damaged: dict[int, str] = {}

    def note(number: int, missing: str) -> None:
        damaged[number - whole.start] = f"{pictures.files[number].name}: {missing}"

    def report(frames_done: int) -> DecoderReport:
        # The keys are copied in one step: the thread that reads ahead adds to them.
        done = [number for number in list(damaged) if number < frames_done]
        return DecoderReport(len(done), damaged[done[0]] if done else "")

    read = images.read_image_sequence(pictures, first=numbers.start, last=numbers.stop, damaged=note)
    times = pictures.times_seconds[numbers.start : numbers.stop]
    with closing(images_to_frames(read, times_seconds=times, time_base=pictures.time_base)) as frames:
        yield SourceFrames(frames, report)


# ------------------------------------------------------------------------------------------------ batches


def batch_frames(frames: Iterable[Frame], plan: VideoPlan, *, begin: Fraction | None, done: int) -> Generator[FrameBatch]:
    """Frames in batches for the network, with the pictures that it sees of them.

    `begin` is the time from which segments are counted, None for the first frame's; `done` frames were read by an earlier run. tf.data
    pulls the frames, and with them the decoder: it batches and fetches ahead while the network runs. A batch never reaches over the end of
    a segment, so that a segment made again has the same batches, and the same result to the last bit.
    """
    network_pictures = NetworkResizer(plan.colour, plan.geometry, interlaced=plan.is_interlaced)
    blank = np.zeros((plan.geometry.height_px, plan.geometry.width_px, 3), np.uint8)
    pulled: deque[PlacedFrame] = deque()  # what tf.data's thread has pulled, and no batch has yet
    failure: Exception | None = None

    def pictures() -> Iterator[Array]:
        nonlocal failure
        try:
            for placed in place_frames(frames, plan, begin=begin, done=done):
                pulled.append(placed)
                if placed.is_key:
                    yield network_pictures(placed.frame)
                yield from itertools.repeat(blank, placed.padding)
        except Exception as error:  # tf.data would make another error of it; ours is raised as it is
            failure = error

    for pixels in make_dataset(pictures(), plan.geometry).batch(plan.batch_size).prefetch(1):
        yield FrameBatch(tuple(_take_rows(pulled, len(pixels))), pixels)
    if failure is not None or pulled:
        yield FrameBatch(() if failure else tuple(pulled), blank[None][:0], failure)


def _take_rows(pulled: deque[PlacedFrame], rows: int) -> Iterator[PlacedFrame]:
    """The frames of the next `rows` pictures. They are there: a frame is noted before its pictures are given to the network."""
    while rows > 0:
        placed = pulled.popleft()
        rows -= placed.is_key + placed.padding
        yield placed


class _Counted(NamedTuple):
    frame: Frame
    segment: int | None
    is_key: bool


def place_frames(frames: Iterable[Frame], plan: VideoPlan, *, begin: Fraction | None, done: int) -> Iterator[PlacedFrame]:
    """Frames with their places. Padding fills a batch up at the end of a segment, and where too many frames wait for a batch of one.

    `begin` and `done` are as batch_frames takes them.
    """
    filled, waiting = 0, 0  # pictures in the batch, and frames that wait for the next picture
    follows: tuple[int, int] | None = None
    for this, following in _with_next(_count_frames(frames, plan, begin=begin, done=done)):
        ends_segment = following is None or following.segment != this.segment
        filled += this.is_key
        waiting = 0 if this.is_key else waiting + 1
        padding = 0
        if following is not None and ends_segment:
            padding = -filled % plan.batch_size
        elif following is not None and plan.batch_size == 1 and waiting >= plan.frames_between:
            padding, waiting = 1, 0
        yield PlacedFrame(this.frame, this.segment, ends_segment, this.is_key, padding, follows)
        follows = None
        if ends_segment:
            filled, waiting = 0, 0
            if this.segment is None:
                follows = this.frame.pts, checksum_luma(this.frame)


def _count_frames(frames: Iterable[Frame], plan: VideoPlan, *, begin: Fraction | None, done: int) -> Iterator[_Counted]:
    """Frames with their segments; every so many, as --every says, is one that the network sees."""
    count, in_warm_up = done - 1, False
    for frame in frames:
        seconds = frame.pts * frame.time_base
        begin = seconds if begin is None else begin
        number = int((seconds - begin) // Fraction(plan.options.segment_seconds))
        # A part counts its own frames, with or without a warm-up.
        count = 0 if number == 0 and in_warm_up else count + 1
        in_warm_up = number < 0
        yield _Counted(frame, None if in_warm_up else number, count % plan.options.every == 0)


def _with_next(items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each item with the one behind it, None behind the last."""
    several = iter(items)
    for this in several:
        for following in several:
            yield this, following
            this = following
        yield this, None


def make_dataset(pictures: Iterator[Array], geometry: Geometry) -> tf.data.Dataset:
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

    # Nothing here needs AutoGraph, which would parse their sources for a tenth of a second.
    plain = tf.autograph.experimental.do_not_convert
    numbers = tf.data.Dataset.counter()
    elements = numbers.map(plain(element)).take_while(plain(lambda there, _: there))
    return disable_autotune(elements.map(plain(lambda _, picture: picture)))


# ------------------------------------------------------------------------------------------------ explanations


def explain_batches(
    batches: Generator[FrameBatch],
    session: Session,
    *,
    latest: Explanation | None,
    on_wait: Callable[[float], None],
    stopping: Callable[[], bool],
) -> Generator[Sequence[ExplainedFrame]]:
    """What the network says of each batch's frames, in order; `latest` is what an earlier run was told last.

    Some batches are at the network at once. `on_wait` is told for how many seconds another video has held the network. Raises what ended
    the reading, behind the frames that were read, and Stopped when that is wished before the network begins.
    """

    def explain(batch: FrameBatch) -> tuple[FrameBatch, Sequence[Explanation]]:
        return batch, session.explain_batch(batch.pixels) if len(batch.pixels) else ()

    admitted = _hold_network(batches, session, on_wait, stopping)
    with closing(batches), closing(admitted), closing(compute_batches(explain, admitted)) as answered:
        for batch, said in answered:
            if batch.failure is not None:
                raise batch.failure
            explained: list[ExplainedFrame] = []
            answers = iter(said)  # those of padding, at the end, are nobody's
            for placed in batch.frames:
                latest = next(answers) if placed.is_key else latest
                assert latest is not None, "the network sees the first frame"
                explained.append(ExplainedFrame(placed, latest, placed.is_key))
            yield explained


def _hold_network(
    batches: Iterator[FrameBatch], session: Session, on_wait: Callable[[float], None], stopping: Callable[[], bool]
) -> Generator[FrameBatch]:
    """The same batches, with the network held from when the first is there until the last has been taken: what is left is rendering."""
    first = next(batches, None)
    if first is not None and first.failure is not None:
        raise first.failure
    asked = time.perf_counter()
    with session.network_lock:
        on_wait(time.perf_counter() - asked)
        if stopping():
            raise Stopped(128 + signal.SIGINT)
        if first is not None:
            yield first
            yield from batches


class _End(NamedTuple):
    error: BaseException | None


def prefetch(items: Iterable[T], *, depth: int) -> Generator[T]:
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
        finally:
            if isinstance(items, Generator):
                items.close()  # here and now: what it holds, others may wait for
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
