"""A long video in parts: several workers make them at the same time, and they are joined with nothing lost or twice at the seams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from pipeline.errors import HeatreelError
from pipeline.explain.planning import Job
from pipeline.explain.segment_journal import Journal, Segment, open_journal
from pipeline.explain.sessions import Session
from pipeline.explain.video_job import Film, Part, fingerprint
from pipeline.media import probing
from pipeline.options import Options
from pipeline.records import Outcome, Progress
from pipeline.rendering.scenes import REFERENCE_RATE_HZ
from pipeline.results.explanations import Explanations

SEGMENTS_IN_PART = 10
# The scale of the heat follows with 1.5 seconds at most (compositing.RunningRange): after 12 a wrong begin is 0.03 % of itself.
WARM_UP_SECONDS, LONGEST_WARM_UP_SECONDS = 12.0, 60.0
FORGOTTEN = 1e-3
# To find a time in these, all that is before has to be read.
_READ_FROM_BEGIN = probing.UNSEEKABLE | {"mpegts", "mpeg"}


class SeamError(HeatreelError):
    """The parts do not follow one another exactly: the video has to be made in one go."""


def parts_of(job: Job, options: Options) -> list[Part]:
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
    return [Part(number=n, begin_seconds=length * n, end_seconds=end, warm_up_seconds=warm_up) for n, end in enumerate(ends)]


def _warm_up_seconds(smooth: float) -> float:
    """Until --smooth's weights have fallen to FORGOTTEN, see scenes.SceneMean."""
    if smooth == 0:
        return WARM_UP_SECONDS
    return max(WARM_UP_SECONDS, math.inf if smooth == 1 else math.log(FORGOTTEN) / (REFERENCE_RATE_HZ * math.log(smooth)))


def render_part(
    job: Job, session: Session, part: Part, *, progress: Callable[[Progress], None], stopping: Callable[[], bool] = lambda: False
) -> tuple[int, float]:
    """Make one part, and leave its segments in its journal; returns the number of its frames, and the seconds it took.

    Raises SeamError where the video turns out to be none that can be made in parts, Stopped behind a segment when that is wished.
    """
    before = fingerprint(job)
    film = Film(job, session, progress, stopping=stopping, part=part)
    with ExitStack() as stack:
        if film.raw is not None:
            stack.enter_context(closing(film.raw))
        work = stack.enter_context(open_journal(job.output, film.identity(before), part=part.number))
        film.render(work)
        film.check_unchanged(before)
        if not work.segments or film.problems(work)[0] or (film.reading is not None and film.reading.leaps):
            raise SeamError(f"{job.input}: part {part.number + 1} cannot be made by itself")
    return film.track.frames, film.elapsed_seconds


def join_parts(
    job: Job, session: Session, parts: Sequence[Part], *, made: Callable[[Outcome, Explanations, Path], None] = lambda *_: None
) -> tuple[Outcome, Explanations]:
    """Join what render_part has made, and give the output its name. Raises SeamError unless each part follows the one before exactly."""
    before = fingerprint(job)
    film = Film(job, session, lambda _: None)
    with ExitStack() as stack:
        if film.raw is not None:
            stack.enter_context(closing(film.raw))
        work = stack.enter_context(open_journal(job.output, {**film.identity(before), "parts": len(parts)}, joining=len(parts)))
        segments: list[tuple[Path, Segment]] = []
        whole = Explanations(job.input, session.options.top_k)
        for part in parts:
            film.part, film.track = part, Explanations(job.input, session.options.top_k)
            done = stack.enter_context(open_journal(job.output, film.identity(before), part=part.number))
            _check_seam(job, segments, done)
            film.take_up(done)
            whole.extend(film.track)
            segments += [(done.folder, segment) for segment in done.segments]
        film.part, film.track = None, whole
        firsts = {film.view.place_of(thumbnail.time_seconds): thumbnail for thumbnail in reversed(whole.thumbnails)}
        whole.thumbnails = [firsts[place] for place in sorted(firsts)]  # a part takes its first frame, the one before may have one there
        outcome = film.finish(work.folder, segments, (0, ""), before, made)
    return replace(outcome, extra={**outcome.extra, "parts": len(parts)}), film.track


def _check_seam(job: Job, segments: Sequence[tuple[Path, Segment]], part: Journal) -> None:
    """The frame that a part saw before its first one must be the last one of the part before, by its time and its content."""
    if not part.segments:
        raise SeamError(f"{job.input}: a part is not there any more")
    if not segments:
        return
    last, first = segments[-1][1], part.segments[0]
    if first.time_base != last.time_base or first.follows is None or tuple(first.follows) != (last.last_pts, last.checksum):
        raise SeamError(f"{job.input}: its parts do not meet")
