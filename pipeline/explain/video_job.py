"""One video becomes the same with the heat beside it: five stages, each running beside the others, in segments that are kept."""

from __future__ import annotations

import itertools
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import batching, maps
from pipeline.errors import ChangedError, CommandError, InputError, OutputError, Stopped, ToolError
from pipeline.explain.planning import Job
from pipeline.explain.segment_journal import STRAIGHTENED, Journal, Segment, open_journal
from pipeline.explain.sessions import Session, outcome_of
from pipeline.files.atomic import atomic_write, flush
from pipeline.media import encoders, ffmpeg_process, frame_reader, images, integrity, probing, resizing, segment_writer
from pipeline.models import pixel_normalization
from pipeline.options import Options
from pipeline.records import Colour, Frame, Geometry, Outcome, Progress, clock
from pipeline.rendering.compositing import Canvas
from pipeline.rendering.frame_renderer import Explanation, FrameRenderer
from pipeline.results.explanations import STATE_VERSION, Explanations, RawMaps

T = TypeVar("T")

UNKNOWN_LENGTH_SECONDS = 240.0
FRAMES_BUDGET_BYTES = 256 << 20  # what the waiting frames of all stages together may take
# Canvases that encoders and players take; what is larger is scaled down to the first that works, what is smaller up.
MOST_CANVAS_PIXELS = 139_264 * 256  # of the highest level of H.264 (ITU-T H.264, table A-1); an encoder holds dozens of frames
LARGEST_CANVASES_PX = (16384, 8192, 4096, 2048)
SMALLEST_CANVASES_PX = (64, 128, 256)


# ------------------------------------------------------------------------------------------------ one video


def visualize_video(
    job: Job,
    session: Session,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
    made: Callable[[Outcome, Explanations, Path], None] = lambda *_: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, Explanations]:
    """Explain a video or pictures that stand for one, and write it with the heat beside it, every frame at its time, with its sound.

    The pictures are written in segments; what an interrupted run of the same call has finished is taken up, and `notice` says so.
    A damaged source gives what decodes, and an outcome that is `partial`. `made` is called when all is made, with the outcome, what was
    seen, and the finished file that is then renamed: what it raises leaves the segments for the next run. `stopping` is asked behind each
    segment; when it says so, Stopped is raised.

    Raises InputError, OutputError or ToolError; then no output is there, and finished segments wait beside it for the next run.
    """
    try:
        return Film(job, session, progress, notice=notice, stopping=stopping).make(made)
    except HardwareError as failed:
        software = Film(job, session, progress, notice=notice, stopping=stopping, hardware=False)
        software.passed_over = [str(failed)]
        return software.make(made)


class HardwareError(ToolError):
    """A hardware encoder that took its trial has failed at work."""


class Explained(NamedTuple):
    """A frame with what the network saw; `fresh` is False where that is an earlier frame's. `segment` is the one it belongs to."""

    frame: Frame
    seen: Explanation
    fresh: bool
    segment: int


class _Waiting(NamedTuple):
    """A frame on its way to the network; `key` is False where the network does not run on it."""

    frame: Frame
    key: bool
    segment: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a long video that is made by itself: from `begin_seconds` until before `end_seconds` of its source (None: the last).

    The network begins `warm_up_seconds` earlier, so that what is remembered from frame to frame has settled when the part begins.
    """

    number: int
    begin_seconds: float
    end_seconds: float | None
    warm_up_seconds: float


class Film:
    """One video, or a part of one, on its way: read, explained, painted and encoded segment by segment, then joined."""

    def __init__(
        self,
        job: Job,
        session: Session,
        progress: Callable[[Progress], None],
        *,
        notice: Callable[[str], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
        hardware: bool = True,
        part: Part | None = None,
    ) -> None:
        self.job, self.session, self.options, self.part = job, session, session.options, part
        self._progress, self._notice, self._stopping = progress, notice, stopping
        self.passed_over: list[str] = []
        self._started = time.perf_counter()
        self.view = View(job, session, hardware=hardware)
        self.track = Explanations(job.input, self.options.top_k)
        self.raw = RawMaps() if job.maps else None
        self.source = job.source
        self.reading: frame_reader.Reading | None = None
        self._taken_up = 0
        self._damaged: dict[int, str] = {}  # of a folder of frames those that are cut off, by number, as far as they are read
        self._last_seconds: Fraction | None = None
        self._before_part: Frame | None = None
        self._place = -1
        self.warnings = [*(job.source.warnings if job.source else job.pictures.warnings if job.pictures else ()), *self.view.warnings]

    def make(self, made: Callable[[Outcome, Explanations, Path], None]) -> tuple[Outcome, Explanations]:
        before = fingerprint(self.job)
        with ExitStack() as stack:
            if self.raw is not None:
                stack.enter_context(closing(self.raw))
            work = stack.enter_context(open_journal(self.job.output, self.identity(before), fresh=self.options.fresh))
            self._straighten(work)
            self.render(work)
            self.check_unchanged(before)
            outcome = self.finish(work.folder, [(work.folder, s) for s in work.segments], self.problems(work), before, made)
        return outcome, self.track

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self._started

    def identity(self, before: list[Any]) -> dict[str, Any]:
        """All that the segments depend on; `before` is the source's fingerprint."""
        identity = {**self.view.identity, "source": before, "model": self.session.classifier.identity}
        return identity if self.part is None else {**identity, "part": asdict(self.part)}

    def finish(
        self,
        folder: Path,
        segments: Sequence[tuple[Path, Segment]],
        problems: tuple[int, str],
        before: list[Any],
        made: Callable[[Outcome, Explanations, Path], None],
    ) -> Outcome:
        """Join segments, each with its folder, which is `folder` or below it, and give the output its name."""
        damage = self._damage(problems)
        self._last_seconds = self._shown_last() if damage is None else None
        self._progress(Progress(input=self.job.input, frames_done=self.track.frames, frames_total=self.track.frames, joining=True))
        with atomic_write(self.job.output, overwrite=self.options.overwrite, folder=folder) as temporary:
            self._join(folder, segments, temporary)
            self.check_unchanged(before)  # the sound was read only now
            if self.raw is not None and self.job.maps is not None:
                self.raw.write(self.job.maps, region=self.view.geometry.region, overwrite=self.options.overwrite)
            outcome = self._outcome(damage)
            made(outcome, self.track, temporary)
        return outcome

    def _straighten(self, work: Journal) -> None:
        """Where the source's clock jumps, go on with a copy whose times run on."""
        if self.source is None or not integrity.has_jumps(self.source):
            return
        straight = work.folder / STRAIGHTENED
        if not straight.exists():
            if not integrity.remuxed(self.source, work.unfinished(".nut")):
                self.warnings.append("its clock jumps, and that cannot be put right; the times are as ffmpeg gives them")
                return
            flush(work.unfinished(".nut"))  # a later run takes it for the whole source
            work.unfinished(".nut").replace(straight)
        self.source = replace(probing.probe(straight), colour=self.source.colour, colour_tags=self.source.colour_tags)
        self.warnings.append("its clock jumps, as in joined recordings; the times run on without the jumps")

    def take_up(self, work: Journal) -> Explanation | None:
        """Restore what the finished segments of an earlier run left; returns what was last seen."""
        latest = None
        for segment in work.segments:
            with np.load((work.folder / segment.file).with_suffix(".npz")) as state:
                self.track.restore(state)
                if self.raw is not None:
                    self.raw.restore(state)
                if segment is work.segments[-1]:
                    latest = self.view.painter.restore(state)
        self._taken_up = len(work.segments)
        self._place = max((self.view.place_of(t.time_seconds) for t in self.track.thumbnails), default=-1)
        return latest

    def _say_where(self, work: Journal) -> None:
        if work.segments:
            start = self.source.start_seconds if self.source else 0.0
            reached = self.track.last_seconds + float(1 / self.view.frame_rate) - start
            self._notice(f"{self.job.input}: resuming at {clock(reached)[:8]}, {work.frames} frames are done")

    # -------------------------------------------------------------------------------------------- pictures

    def render(self, work: Journal) -> None:
        """Write the segments that are not there yet. Raises Stopped behind one of them when that is wished."""
        latest = self.take_up(work)
        self._say_where(work)
        with ExitStack() as stack:
            frames = stack.enter_context(self._frames(_position(work)))
            begin, frames = self._begin(work, frames)
            explained = stack.enter_context(closing(prefetch(self._explained(frames, begin, work.frames, latest), depth=1)))
            for segment, group in itertools.groupby(itertools.chain.from_iterable(explained), key=lambda item: item.segment):
                if segment < 0:
                    self._warm_up(group)
                    continue
                self._write_segment(work, group)
                if self._stopping():
                    raise Stopped(128 + signal.SIGINT)

    def _begin(self, work: Journal, frames: Iterator[Frame]) -> tuple[Fraction, Iterator[Frame]]:
        """The time from which segments are counted: a part's own begin, else the first frame's."""
        if self.part is not None and self.part.begin_seconds and self.source is not None:
            # The tolerance is that of the part before, which ends before this time.
            return Fraction(self.part.begin_seconds) + Fraction(self.source.start_seconds) - Fraction(
                frame_reader.RANGE_TOLERANCE_SECONDS
            ), frames
        if work.segments:
            return Fraction(work.segments[0].first_pts) * Fraction(work.segments[0].time_base), frames
        first = next(frames)
        return first.pts * first.time_base, itertools.chain((first,), frames)

    def _warm_up(self, group: Iterable[Explained]) -> None:
        for frame, seen, fresh, _ in group:
            if fresh:
                self.view.painter.remember(seen, frame.time_seconds)
            self._before_part = frame

    def _frames(self, after: frame_reader.Position | None) -> Any:
        options, part = self.options, self.part
        if self.source is None:
            return closing(_frames_of(self.job, options, first=after.frames if after else 0, damaged=self._damaged))
        start, end = options.start_seconds, options.end_seconds
        if part is not None:
            start, end = max(0.0, part.begin_seconds - part.warm_up_seconds), part.end_seconds

        @contextmanager
        def opened() -> Iterator[Iterator[Frame]]:
            with frame_reader.open_frames(self.source, start_seconds=start, end_seconds=end, after=after) as self.reading:  # type: ignore[arg-type]
                yield self.reading

        return opened()

    def _explained(self, frames: Iterator[Frame], begin: Fraction, number: int, latest: Explanation | None) -> Iterator[list[Explained]]:
        """Frames with what the network sees of them, in batches.

        tf.data pulls the frames, and with them the decoder: it batches and fetches ahead while the network runs. A batch never reaches
        over the end of a segment, so that a segment made again has the same batches, and the same result to the last bit.
        """
        waiting: deque[_Waiting | None] = deque()
        failures: list[BaseException] = []
        shown = self._pictures(self._aligned(frames, begin, number), waiting, failures)
        batches = iter(dataset_of(shown, self.view.geometry).batch(self.view.batch_size).prefetch(1))
        with closing(self._in_turn(batches)) as admitted, closing(self.session.explained(admitted)) as explained:
            for answers in explained:
                batch: list[Explained] = []
                for seen in answers:
                    while (head := waiting.popleft()) is not None and latest is not None and not head.key:
                        batch.append(Explained(head.frame, latest, False, head.segment))
                    if head is not None:
                        batch.append(Explained(head.frame, seen, True, head.segment))
                        latest = seen
                yield batch
        if failures:
            raise failures[0]
        if latest is not None:
            yield [Explained(item.frame, latest, False, item.segment) for item in waiting if item is not None]

    def _in_turn(self, batches: Iterator[Array]) -> Generator[Array]:
        """The same, from when it is this video's turn at the network until the last has been taken: what is left then is painting."""
        first = next(batches, None)
        asked = time.perf_counter()
        with self.session.turn:
            self._started += time.perf_counter() - asked
            if self._stopping():
                raise Stopped(128 + signal.SIGINT)
            if first is not None:
                yield first
                yield from batches

    def _pictures(
        self, items: Iterator[_Waiting | None], waiting: deque[_Waiting | None], failures: list[BaseException]
    ) -> Iterator[Array]:
        """What the network is to see of the items; all of them are noted in `waiting`, and an error in `failures`."""
        view = self.view
        scaled = resizing.NetworkPictures(view.colour, view.geometry, interlaced=view.interlaced)
        blank = np.zeros((view.geometry.height_px, view.geometry.width_px, 3), np.uint8)
        try:
            for item in items:
                waiting.append(item)
                if item is None or item.key:
                    yield blank if item is None else scaled(item.frame)
        except Exception as error:  # tf.data would make another error of it; ours is raised as it is
            failures.append(error)

    def _aligned(self, frames: Iterator[Frame], begin: Fraction, number: int) -> Iterator[_Waiting | None]:
        """Frames with their segments, None where a batch is to be filled up: at the end of one, and where too many frames wait for it."""
        current, filled, waiting, count = None, 0, 0, number - 1
        for frame in frames:
            segment = max(-1, int((frame.pts * frame.time_base - begin) // Fraction(self.options.segment_seconds)))
            count = 0 if segment == 0 and current == -1 else count + 1  # a part numbers its own frames, with or without a warm-up
            if segment != current:
                yield from itertools.repeat(None, -filled % self.view.batch_size)
                current, filled, waiting = segment, 0, 0
            elif self.view.batch_size == 1 and waiting >= self.view.most_waiting:
                yield None
                waiting = 0
            key = count % self.options.every == 0
            filled += key
            waiting = 0 if key else waiting + 1
            yield _Waiting(frame, key, segment)

    def _write_segment(self, work: Journal, group: Iterable[Explained]) -> None:
        items = iter(group)
        first = next(items)
        target = self.view.target(first.frame.time_base)
        video, state = work.unfinished(target.segment_suffix), work.unfinished(".npz")
        done, mapped = self.track.frames, self.raw.frames if self.raw else 0
        last: list[Explained] = [first]
        try:
            sent = segment_writer.write_segment(self._composited(itertools.chain((first,), items), last), target, video)
        except ToolError as error:
            if target.encoder.hardware:
                raise HardwareError(str(error), command=error.command, stderr_tail="") from error
            raise
        arrays = {**self.track.state(since=done), **(self.raw.state(since=mapped) if self.raw else {}), **self.view.painter.state()}
        try:
            with state.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # its other parameter is a flag
        except OSError as error:
            raise OutputError(f"{self.job.output}: cannot be written: {error.strerror or error}") from error
        count, problem = self.problems(work)
        before = self._before_part
        segment = Segment(
            file=work.next_name(target.segment_suffix),
            frames=len(sent),
            time_base=str(target.time_base),
            first_pts=sent[0],
            last_pts=sent[-1],
            checksum=frame_reader.checksum(last[0].frame),
            problems=count,
            problem=problem,
            follows=(before.pts, frame_reader.checksum(before)) if before is not None and not work.segments else None,
        )
        work.add(segment, video, state)

    def _composited(self, items: Iterable[Explained], last: list[Explained]) -> Iterator[tuple[Array, int]]:
        """The finished pictures' planes with their times, noting on the way what the network said, and which item was the last."""
        fitted, total = resizing.FrameScaler(*self.view.panel_size), self.view.frames_total(self.part)
        for item in items:
            frame, seen, fresh, _ = item
            last[0] = item
            painted = self.view.painter.paint(fitted(frame), seen, fresh=fresh)
            painter = self.view.painter
            self.track.add(frame.time_seconds, seen.scores, asked=self.session.asked(seen), shown=painter.title, cut=fresh and painter.cut)
            if self.raw is not None and fresh:
                self.raw.add(frame.time_seconds, seen.maps, seen.targets, seen.target_scores)
            if self.options.keeps_thumbnails:
                self._add_thumbnail(painted, frame.time_seconds)
            yield painted, frame.pts
            self._progress(Progress(input=self.job.input, frames_done=self.track.frames, frames_total=total))

    def _add_thumbnail(self, painted: Array, time_seconds: float) -> None:
        """Of the first frame behind each of some times, which lie evenly over the whole."""
        place = self.view.place_of(time_seconds)
        if place > self._place:
            self._place = place
            self.track.thumbnails.append(self.view.painter.thumbnail(painted, time_seconds))

    # -------------------------------------------------------------------------------------------- the whole

    def problems(self, work: Journal) -> tuple[int, str]:
        """What the decoders of this run and of those before have complained of."""
        count, problem = self.reading.problems if self.reading else self._damaged_frames()
        before = work.segments[self._taken_up - 1] if self._taken_up else None
        return (count + before.problems, before.problem or problem) if before else (count, problem)

    def _damaged_frames(self) -> tuple[int, str]:
        """How many of the frames that are done are cut off, and what is wrong with the first; frames are read ahead."""
        # Copied in one step: the thread that reads ahead adds to it.
        numbers = [number for number in list(self._damaged) if number < self.track.frames]
        return len(numbers), self._damaged[numbers[0]] if numbers else ""

    def _damage(self, problems: tuple[int, str]) -> str | None:
        if self.source is None:
            count, problem = problems
            return f"{count} frame{'s are' if count > 1 else ' is'} cut off or damaged: {problem}" if count else None
        if self.reading is not None and self.reading.leaps:
            self.warnings.append("its clock leaps by more than any pause; the times run on without that, and sound may be out of step")
        whole = not (self.options.start_seconds or self.options.end_seconds)
        return integrity.damage(self.source, self.track.times_seconds.tolist(), problems, whole=whole)

    def _shown_last(self) -> Fraction | None:
        """How long the last frame is shown, where the source says so."""
        options, pictures = self.options, self.job.pictures
        if pictures is not None:
            return pictures.seconds(pictures.between(options.start_seconds, options.end_seconds)[-1:])
        if self.source is None or options.end_seconds is not None:
            return None
        return integrity.last_frame_seconds(self.source, self.track.last_seconds)

    def check_unchanged(self, before: list[Any]) -> None:
        if fingerprint(self.job) != before:
            raise ChangedError(f"{self.job.input}: changed while it was read", remedy="run the same command again")

    def _join(self, folder: Path, segments: Sequence[tuple[Path, Segment]], output: Path) -> None:
        options, first = self.options, segments[0][1]
        base = Fraction(first.time_base)
        offset = first.first_pts * base if options.start_seconds or options.end_seconds else None
        original = segment_writer.Original(
            source=self.source,
            audio=options.audio,
            offset_seconds=offset,
            end_seconds=options.end_seconds,
            last_seconds=self._last_seconds,
        )
        pieces = [segment_writer.Piece(path=place / segment.file, first_pts=segment.first_pts) for place, segment in segments]
        self.warnings += segment_writer.join(pieces, self.track.times_seconds, self.view.target(base), original, output, folder=folder)

    def _outcome(self, damage: str | None) -> Outcome:
        last = self._last_seconds or min(1 / self.view.frame_rate, Fraction(probing.LONGEST_LAST_FRAME_SECONDS))
        duration = self.track.last_seconds - self.track.first_seconds + float(last)
        outcome = outcome_of(self.job, self.session, self.track, self._started, duration_seconds=duration, warnings=self.warnings)
        error = None if damage is None else f"{self.job.input}: {damage}; what decodes is in {self.job.output}"
        encoder = self.view.encoder
        extra = {"encoder": encoder.name, "encoders_passed_over": self.passed_over or list(encoder.passed_over)}
        return replace(outcome, error=error, partial=damage is not None, extra=extra)


def _frames_of(job: Job, options: Options, *, first: int, damaged: dict[int, str]) -> Generator[Frame]:
    """The frames of pictures that stand for a video, from number `first` of the range on; those that are cut off are noted in `damaged`."""
    assert job.pictures is not None, "a video has a source or pictures"
    pictures = job.pictures
    whole = pictures.between(options.start_seconds, options.end_seconds)
    numbers = whole[first:]
    if not numbers and not first:
        raise InputError(f"{job.input}: there is no frame at or after --start {options.start_seconds or 0}")

    def note(number: int, missing: str) -> None:
        damaged[number - whole.start] = f"{pictures.files[number].name}: {missing}"

    read = images.read_sequence(pictures, first=numbers.start, last=numbers.stop, damaged=note)
    times = pictures.times_seconds[numbers.start : numbers.stop]
    return resizing.frames_of_pictures(read, times_seconds=times, time_base=pictures.time_base)


def _position(work: Journal) -> frame_reader.Position | None:
    """Where the run stood that wrote the journal."""
    if not work.segments:
        return None
    last = work.segments[-1]
    return frame_reader.Position(frames=work.frames, time_seconds=last.last_pts * Fraction(last.time_base), checksum=last.checksum)


# ------------------------------------------------------------------------------------------------ the view


class View:
    """What follows from a video's size: the network's view, panels and canvas, the encoder, the batch size."""

    def __init__(self, job: Job, session: Session, *, hardware: bool) -> None:
        self.job, self.options = job, session.options
        shape = job.source or job.pictures
        assert shape is not None, "a video has a source or pictures"
        self.geometry = session.geometry(shape.width_px, shape.height_px)
        self.colour = job.source.colour if job.source else resizing.PICTURES_COLOUR
        self.colour_tags = job.source.colour_tags if job.source else resizing.PICTURES_COLOUR_TAGS
        self.interlaced = bool(job.source and job.source.interlaced)
        self.frame_rate = shape.frame_rate
        self.warnings: list[str] = []
        self.painter, self.encoder = self._fitted(session, shape.width_px, shape.height_px, hardware)
        held = 3 * shape.width_px * shape.height_px // 2 + session.kept_bytes(self.geometry)
        batches = 4 + batching.AT_ONCE + 1  # being filled, waiting, queued, painted, and at the network, with one that is next there
        waiting = batches * self.options.every * held
        fitting = max(1, FRAMES_BUDGET_BYTES // waiting)
        # With --every a thousand frames may lie between two pictures for the network: they do not wait for the second.
        self.most_waiting = max(1, FRAMES_BUDGET_BYTES // (batches * held))
        self.batch_size = self.options.batch_size or min(fitting, maps.batch_size())

    def _fitted(self, session: Session, width: int, height: int, hardware: bool) -> tuple[FrameRenderer, encoders.Encoder]:
        """Panels of the size asked for, or of the nearest that an encoder takes."""
        wanted, failure = self.options.height_px or height, None
        for panel_height in _panel_heights(session, width, height, wanted, self.colour):
            panel = max(1, round(width * panel_height / height)), panel_height
            canvas = session.canvas(panel, self.colour)
            try:
                encoder = self._encoder(canvas, hardware)
            except CommandError as error:
                failure = failure or error
                continue
            if panel_height != wanted:
                self.warnings.append(f"panels {wanted} pixels high are more than encoders take; they are scaled to {panel[0]}x{panel[1]}")
            return session.painter(self.geometry, canvas), encoder
        raise InputError(f"{self.job.input}: {failure or 'no encoder takes pictures of its size'}")

    def _encoder(self, canvas: Canvas, hardware: bool) -> encoders.Encoder:
        options = self.options
        size = {"width_px": canvas.width, "height_px": canvas.height}
        return encoders.choose_encoder(options.codec, **size, crf=options.crf, preset=options.preset, hardware=hardware)

    @property
    def panel_size(self) -> tuple[int, int]:
        return self.painter.canvas.panel_width, self.painter.canvas.panel_height

    @property
    def identity(self) -> dict[str, Any]:
        """All that the finished pictures depend on besides the source."""
        options = asdict(self.options)
        for name in (
            "predictions",
            "overwrite",
            "skip_existing",
            "scale",
            "fresh",
            "audio",
            "report",
            "timeline",
            "contact_sheet",
            "contact_frames",
        ):
            del options[name]
        return {
            **options,
            "shares_scale": self.options.shares_scale,
            "save_maps": self.job.maps is not None,
            "thumbnails": self.options.thumbnails if self.options.keeps_thumbnails else 0,
            "encoder": [self.encoder.name, dict(self.encoder.arguments)],
            "panel": self.panel_size,
            "batch": self.batch_size,
            "state": STATE_VERSION,
            "versions": [version("heatreel"), version("tensorflow"), ffmpeg_process.ffmpeg_version()],
        }

    def target(self, time_base: Fraction) -> segment_writer.Target:
        canvas, source = self.painter.canvas, self.job.source
        return segment_writer.Target(
            output=self.job.output,
            width_px=canvas.width,
            height_px=canvas.height,
            time_base=time_base,
            frame_rate=self.frame_rate,
            encoder=self.encoder,
            colour_tags=self.colour_tags,
            sample_aspect=source.sample_aspect if source else Fraction(1),
        )

    def place_of(self, time_seconds: float) -> int:
        """Which of the equal stretches that each have one thumbnail a time lies in; by the whole's length, if that is known."""
        source, pictures = self.job.source, self.job.pictures
        begin = source.start_seconds if source else 0.0
        length = source.duration_seconds if source else float(pictures.end_seconds) if pictures else None
        start, end = self.options.start_seconds or 0.0, self.options.end_seconds or length or UNKNOWN_LENGTH_SECONDS
        return int((time_seconds - begin - start) / max(end - start, 1e-3) * self.options.thumbnails)

    def frames_total(self, part: Part | None = None) -> int | None:
        """An estimate, of the whole or of a part."""
        source, options = self.job.source, self.options
        if part is not None and source is not None:
            end = part.end_seconds or source.duration_seconds or part.begin_seconds
            return max(1, round((end - part.begin_seconds) * float(self.frame_rate)))
        if self.job.pictures is not None:
            return len(self.job.pictures.between(options.start_seconds, options.end_seconds))
        total = source.frames_estimate if source else None
        if total is None or not (options.start_seconds or options.end_seconds):
            return total
        end = min(options.end_seconds or float("inf"), float(total / self.frame_rate))
        return max(1, round((end - (options.start_seconds or 0)) * float(self.frame_rate)))


def _panel_heights(session: Session, width: int, height: int, wanted: int, colour: Colour) -> Iterator[int]:
    """The height wanted, and then those that make the canvas' longer side shorter, or its shorter side longer, than usual limits."""
    canvas = session.canvas((max(1, round(width * wanted / height)), wanted), colour)
    fitting = min(wanted, int(wanted * (MOST_CANVAS_PIXELS / (canvas.width * canvas.height)) ** 0.5))
    yield max(1, fitting)
    longer, shorter = max(canvas.width, canvas.height), min(canvas.width, canvas.height)
    yield from (wanted * limit // longer for limit in LARGEST_CANVASES_PX if longer > limit and 0 < wanted * limit // longer < fitting)
    yield from (-(-wanted * limit // shorter) for limit in SMALLEST_CANVASES_PX if shorter < limit <= LARGEST_CANVASES_PX[-1])


def fingerprint(job: Job) -> list[Any]:
    """By what a source is known again: size and time of change in nanoseconds, of each file of a folder."""
    paths = [job.input] if job.pictures is None else job.pictures.files
    try:
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read any more: {error.strerror}") from error


# ------------------------------------------------------------------------------------------------ side by side


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

    # Nothing here needs AutoGraph, which would parse their sources for a tenth of a second.
    plain = tf.autograph.experimental.do_not_convert
    numbers = tf.data.Dataset.counter()
    elements = numbers.map(plain(element)).take_while(plain(lambda there, _: there))
    return pixel_normalization.untuned(elements.map(plain(lambda _, picture: picture)))


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
