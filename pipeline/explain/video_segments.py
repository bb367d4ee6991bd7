"""The stages of a video that follow the network: frames are rendered, what was said of them is recorded, and segments are written."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import Stopped, ToolError, report_write_errors
from pipeline.explain.model_session import Session
from pipeline.explain.segment_journal import Journal, Segment
from pipeline.explain.video_explaining import DecoderReport, ExplainedFrame, PlacedFrame
from pipeline.explain.video_plan import VideoPlan
from pipeline.media import RANGE_TOLERANCE_SECONDS, FrameResizer, ReadPosition, checksum_luma, write_segment
from pipeline.records import Frame, Progress, Thumbnail
from pipeline.rendering import Explanation, FrameRenderer
from pipeline.results import Explanations, RawMaps


class HardwareError(ToolError):
    """A hardware encoder that took its trial has failed at work."""


class RenderedFrame(NamedTuple):
    """A finished picture: its planes as the encoder takes them, uint8 (pixels * 3 / 2,), which the next one's may replace in memory.

    `title` is the class that the first panel names, with its score; `cut` marks the first frame of a scene; `thumbnail` is there where one
    is to be kept. The other fields are as ExplainedFrame has them.
    """

    placed: PlacedFrame
    explanation: Explanation
    fresh: bool
    planes: Array
    title: tuple[int, float] | None
    cut: bool
    thumbnail: Thumbnail | None

    @property
    def time_seconds(self) -> float:
        return self.placed.frame.time_seconds


@dataclass(kw_only=True)
class VideoProgress:
    """How far a video has come, and all that the next run must know to go on behind a finished segment.

    With each frame grow the `explanations`, and the `raw_maps` where they are asked for; the `renderer` remembers it, and `last_frame` is
    the last that was recorded. An earlier run has left, and None stands for what it has not: the `latest` explanation of the network, the
    `position` behind which reading goes on, the time in seconds from which segments are counted (`begin`), and what its decoders
    complained of (`earlier`).
    """

    explanations: Explanations
    raw_maps: RawMaps | None
    renderer: FrameRenderer
    latest: Explanation | None = None
    position: ReadPosition | None = None
    begin: Fraction | None = None
    earlier: DecoderReport | None = None
    last_frame: Frame | None = None
    _saved_frames: int = 0
    _saved_maps: int = 0

    @classmethod
    def from_npz(cls, plan: VideoPlan, session: Session, journal: Journal, raw_maps: RawMaps | None) -> VideoProgress:
        """What the finished segments of an earlier run have left in their .npz files and in the journal; `raw_maps` is added to."""
        renderer = session.make_renderer(plan.geometry, plan.canvas)
        progress = cls(explanations=Explanations(plan.job.input, plan.options.top_k), raw_maps=raw_maps, renderer=renderer)
        for path, segment in journal.stored:
            with np.load(path.with_suffix(".npz")) as state:
                progress.explanations.restore(state)
                if raw_maps is not None:
                    raw_maps.restore(state)
                if segment is journal.segments[-1]:
                    progress.latest = renderer.restore(state)
        if journal.segments:
            first, last = journal.segments[0], journal.segments[-1]
            reached = last.last_pts * Fraction(last.time_base)
            progress.position = ReadPosition(frames=journal.frames, time_seconds=reached, checksum=last.checksum)
            progress.begin = first.first_pts * Fraction(first.time_base)
            progress.earlier = DecoderReport(last.problems, last.problem)
        if plan.part is not None and plan.part.begin_seconds and plan.source is not None:
            # The tolerance is that of the part before, which ends before this time.
            begin = Fraction(plan.part.begin_seconds) + Fraction(plan.source.start_seconds)
            progress.begin = begin - Fraction(RANGE_TOLERANCE_SECONDS)
        progress._mark_saved()
        return progress

    def to_npz(self, path: Path) -> None:
        """Write what was added since the last call, or since `from_npz`, with all that is remembered now. Raises OSError."""
        state = self.explanations.state(since=self._saved_frames)
        maps = self.raw_maps.state(since=self._saved_maps) if self.raw_maps else {}
        with path.open("wb") as file:
            np.savez(file, **state, **maps, **self.renderer.state())  # type: ignore[arg-type]  # its other parameter is a flag
        self._mark_saved()

    def add(self, item: RenderedFrame, *, has_targets: bool) -> None:
        """Record the next frame. With `has_targets` the scores of what was asked for are kept, too."""
        said, seconds = item.explanation, item.time_seconds
        asked = said.target_scores if has_targets else None
        self.explanations.add(seconds, said.scores, asked=asked, shown=item.title, cut=item.cut)
        if self.raw_maps is not None and item.fresh:
            self.raw_maps.add(seconds, said.maps, said.targets, said.target_scores)
        if item.thumbnail is not None:
            self.explanations.thumbnails.append(item.thumbnail)
        self.last_frame = item.placed.frame

    def report(self, now: DecoderReport) -> DecoderReport:
        """What the decoders of this run, which report it `now`, and of those before have complained of."""
        if self.earlier is None:
            return now
        return DecoderReport(now.problems + self.earlier.problems, self.earlier.problem or now.problem, now.leaps)

    def _mark_saved(self) -> None:
        self._saved_frames = self.explanations.frames
        self._saved_maps = self.raw_maps.frames if self.raw_maps else 0


def open_raw_maps(plan: VideoPlan) -> AbstractContextManager[RawMaps | None]:
    """Where raw maps wait on the disk until the video is finished; None where none are asked for."""
    return closing(RawMaps()) if plan.job.maps is not None else nullcontext()


# ------------------------------------------------------------------------------------------------ stages


def render_frames(batches: Iterable[Sequence[ExplainedFrame]], plan: VideoPlan, progress: VideoProgress) -> Iterator[RenderedFrame]:
    """The finished pictures of explained frames, in order, all in the same memory; frames of a warm-up are only remembered."""
    renderer = progress.renderer
    resize = FrameResizer(plan.canvas.panel_width, plan.canvas.panel_height)
    place = max((plan.thumbnail_place(each.time_seconds) for each in progress.explanations.thumbnails), default=None)
    for placed, explanation, fresh in itertools.chain.from_iterable(batches):
        seconds, thumbnail = placed.frame.time_seconds, None
        if placed.segment is None:
            if fresh:
                renderer.remember(explanation, seconds)
            continue
        planes = renderer.paint(resize(placed.frame), explanation, fresh=fresh)
        # The first frame in each of some equal spans has a thumbnail.
        if plan.options.keeps_thumbnails and (here := plan.thumbnail_place(seconds)) >= 0 and (place is None or here > place):
            place, thumbnail = here, renderer.thumbnail(planes, seconds)
        yield RenderedFrame(placed, explanation, fresh, planes, renderer.title, fresh and renderer.cut, thumbnail)


def record_explanations(frames: Iterable[RenderedFrame], progress: VideoProgress, *, has_targets: bool) -> Iterator[RenderedFrame]:
    """The same frames, each recorded in `progress` when it is passed on."""
    for item in frames:
        progress.add(item, has_targets=has_targets)
        yield item


def write_segments(
    frames: Iterator[RenderedFrame],
    plan: VideoPlan,
    journal: Journal,
    progress: VideoProgress,
    *,
    report: Callable[[int], DecoderReport],
    on_progress: Callable[[Progress], None],
    stopping: Callable[[], bool],
) -> None:
    """Encode the frames, and enter each finished segment in the journal, with the progress at its end.

    `report` is as SourceFrames has it; `on_progress` is called with each frame that the encoder has.

    Raises Stopped behind a segment when that is wished, HardwareError when a hardware encoder fails at work, ToolError when another does,
    OutputError when the disk takes no more.
    """
    for first in frames:
        pictures = _report_progress(_rest_of_segment(first, frames), plan, progress, on_progress)
        _write_segment(first.placed, pictures, plan, journal, progress, report)
        if stopping():
            raise Stopped(128 + signal.SIGINT)


def _rest_of_segment(first: RenderedFrame, frames: Iterator[RenderedFrame]) -> Iterator[RenderedFrame]:
    """A segment's frames from its first on. The one behind its last is not asked for: rendering it would change what is remembered."""
    item = first
    while not item.placed.ends_segment:
        yield item
        item = next(frames)
    yield item


def _report_progress(
    frames: Iterable[RenderedFrame], plan: VideoPlan, progress: VideoProgress, on_progress: Callable[[Progress], None]
) -> Iterator[tuple[Array, int]]:
    """The planes and the time (pts) of each frame; behind each, when the encoder has it, how many are done is reported."""
    total = plan.frames_estimate
    for item in frames:
        yield item.planes, item.placed.frame.pts
        on_progress(Progress(input=plan.job.input, frames_done=progress.explanations.frames, frames_total=total))


def _write_segment(
    first: PlacedFrame,
    pictures: Iterable[tuple[Array, int]],
    plan: VideoPlan,
    journal: Journal,
    progress: VideoProgress,
    report: Callable[[int], DecoderReport],
) -> None:
    target = plan.target(first.frame.time_base)
    video, state = journal.unfinished(target.segment_suffix), journal.unfinished(".npz")
    try:
        sent = write_segment(pictures, target, video)
    except ToolError as error:
        if target.encoder.hardware:
            raise HardwareError(str(error), command=error.command, stderr_tail="") from error
        raise
    with report_write_errors(plan.job.output):
        progress.to_npz(state)
    assert progress.last_frame is not None, "a segment has a frame"
    said = progress.report(report(progress.explanations.frames))
    segment = Segment(
        file=journal.next_name(target.segment_suffix),
        frames=len(sent),
        time_base=str(target.time_base),
        first_pts=sent[0],
        last_pts=sent[-1],
        checksum=checksum_luma(progress.last_frame),
        problems=said.problems,
        problem=said.problem,
        follows=first.follows,
    )
    journal.add(segment, video, state)
