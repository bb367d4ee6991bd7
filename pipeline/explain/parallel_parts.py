"""A long video in parts: workers make them at the same time; they are joined so that at the seams no frame is lost or doubled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pipeline.errors import HeatreelError
from pipeline.explain.job_planning import Job
from pipeline.explain.model_session import Session
from pipeline.explain.segment_journal import Journal, StoredSegment, open_journal
from pipeline.explain.video_explaining import DecoderReport
from pipeline.explain.video_job import Stopwatch, VideoHooks, join, make_video, publish
from pipeline.explain.video_plan import VideoPart, plan_video
from pipeline.explain.video_segments import VideoProgress, open_raw_maps
from pipeline.media import UNSEEKABLE
from pipeline.options import Options
from pipeline.records import Outcome, Progress
from pipeline.rendering import REFERENCE_RATE_HZ
from pipeline.results import Explanations

SEGMENTS_IN_PART = 10
# The scale of the heat follows with 1.5 seconds at most (smoothing.RunningRange): after 12 a wrong begin is 0.03 % of itself.
WARM_UP_SECONDS, LONGEST_WARM_UP_SECONDS = 12.0, 60.0
FORGOTTEN = 1e-3
# To find a time in these, all that is before has to be read.
_READ_FROM_BEGIN = UNSEEKABLE | {"mpegts", "mpeg"}


class SeamError(HeatreelError):
    """The parts do not follow one another exactly: the video has to be made in one go."""


def parts_of(job: Job, options: Options) -> list[VideoPart]:
    """The parts that a video is made in, each of SEGMENTS_IN_PART segments; none where it is made in one go.

    That is so for videos of less than two parts, for a range of a video, for what cannot be entered in the middle, and where --smooth
    remembers so much that a part would have to begin long before itself. The parts do not depend on who makes them, or on how many do.
    """
    source, length = job.source, SEGMENTS_IN_PART * options.segment_seconds
    if source is None or source.duration_seconds is None or options.start_seconds or options.end_seconds:
        return []
    warm_up = _warm_up_seconds(options.smooth)
    if source.container in _READ_FROM_BEGIN or source.duration_seconds < 2 * length or warm_up > LONGEST_WARM_UP_SECONDS:
        return []
    count = int(source.duration_seconds // length)
    ends = [*(length * n for n in range(1, count)), None]  # what is left over belongs to the last
    return [VideoPart(number=n, begin_seconds=length * n, end_seconds=end, warm_up_seconds=warm_up) for n, end in enumerate(ends)]


def _warm_up_seconds(smooth: float) -> float:
    """Until --smooth's weights have fallen to FORGOTTEN, see smoothing.SceneMean."""
    if smooth == 0:
        return WARM_UP_SECONDS
    return max(WARM_UP_SECONDS, math.inf if smooth == 1 else math.log(FORGOTTEN) / (REFERENCE_RATE_HZ * math.log(smooth)))


def render_part(
    job: Job, session: Session, part: VideoPart, *, progress: Callable[[Progress], None], stopping: Callable[[], bool] = lambda: False
) -> tuple[int, float]:
    """Make one part, and leave its segments in its journal; returns the number of its frames, and the seconds it took.

    Raises SeamError where the video turns out to be none that can be made in parts, Stopped behind a segment when that is wished.
    """
    made = make_video(job, session, VideoHooks(progress=progress, stopping=stopping), part=part)
    if not made.explanations.frames or made.report.problems or made.report.leaps:
        raise SeamError(f"{job.input}: part {part.number + 1} cannot be made by itself")
    return made.explanations.frames, made.elapsed_seconds


def join_parts(
    job: Job,
    session: Session,
    parts: Sequence[VideoPart],
    *,
    before_publish: Callable[[Outcome, Explanations, Path], None] = lambda *_: None,
) -> tuple[Outcome, Explanations]:
    """Join what render_part has made, and give the output its name. Raises SeamError unless each part follows the one before exactly."""
    stopwatch, hooks = Stopwatch(), VideoHooks(before_publish=before_publish)
    plan = plan_video(job, session)
    identity, clean = {**plan.identity, "parts": len(parts)}, DecoderReport(0, "")
    with ExitStack() as stack:
        raw_maps = stack.enter_context(open_raw_maps(plan))
        journal = stack.enter_context(open_journal(job.output, identity, joining=len(parts)))
        explanations, segments = Explanations(job.input, session.options.top_k), list[StoredSegment]()
        for part in parts:
            plan_of_part = replace(plan, part=part)
            done = stack.enter_context(open_journal(job.output, plan_of_part.identity, part=part.number))
            _check_seam(job, segments, done)
            explanations.extend(VideoProgress.from_npz(plan_of_part, session, done, raw_maps).explanations)
            segments += done.stored
        # A part takes its first frame; the part before may have a thumbnail at the same place.
        firsts = {plan.thumbnail_place(thumbnail.time_seconds): thumbnail for thumbnail in reversed(explanations.thumbnails)}
        explanations.thumbnails = [firsts[place] for place in sorted(firsts)]
        with join(segments, plan, explanations, clean, journal.folder, hooks) as joined:
            outcome = publish(joined, plan, session, explanations, raw_maps, stopwatch, hooks)
    return replace(outcome, extra={**outcome.extra, "parts": len(parts)}), explanations


def _check_seam(job: Job, segments: Sequence[StoredSegment], part: Journal) -> None:
    """The frame that a part saw before its first one must be the last one of the part before, by its time and its content."""
    if not part.segments:
        raise SeamError(f"{job.input}: a part is not there any more")
    if not segments:
        return
    last, first = segments[-1].segment, part.segments[0]
    if first.time_base != last.time_base or first.follows is None or tuple(first.follows) != (last.last_pts, last.checksum):
        raise SeamError(f"{job.input}: its parts do not meet")
