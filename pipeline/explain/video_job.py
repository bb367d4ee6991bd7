"""A video is explained: the heat is drawn beside every frame, in stages that run at the same time, and in segments that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from pipeline.explain.job_planning import Job
from pipeline.explain.model_session import Session, make_outcome
from pipeline.explain.segment_journal import STRAIGHTENED, Journal, StoredSegment, open_journal
from pipeline.explain.video_explaining import DecoderReport, batch_frames, explain_batches, prefetch, read_frames
from pipeline.explain.video_plan import VideoPart, VideoPlan, plan_video
from pipeline.explain.video_segments import HardwareError, VideoProgress, open_raw_maps, record_explanations, render_frames, write_segments
from pipeline.files import atomic_write, flush
from pipeline.media import (
    LONGEST_LAST_FRAME_SECONDS,
    SegmentFile,
    SourceTracks,
    describe_damage,
    find_last_frame_seconds,
    has_jumps,
    mux,
    probe,
    straighten_times,
)
from pipeline.records import Outcome, Progress, clock
from pipeline.results import Explanations, RawMaps


@dataclass(frozen=True, kw_only=True)
class VideoHooks:
    """What is called while a video is made; visualize_video says when."""

    progress: Callable[[Progress], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None
    before_publish: Callable[[Outcome, Explanations, Path], None] = lambda *_: None
    stopping: Callable[[], bool] = lambda: False


class Stopwatch:
    """Counts the seconds since it was made, without those for which it was paused."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self.started

    def leave_out(self, seconds: float) -> None:
        self.started += seconds


class MadeVideo(NamedTuple):
    """A video that is made; or a part of one, whose segments wait to be joined: it has no `outcome`."""

    explanations: Explanations
    outcome: Outcome | None
    report: DecoderReport
    elapsed_seconds: float


class JoinedVideo(NamedTuple):
    """A joined video that has no name yet: its file, what is to be warned of, what its source lacks (None: nothing), and how long the last
    frame is shown (None: the source does not say)."""

    file: Path
    warnings: tuple[str, ...]
    damage: str | None
    last_frame_seconds: Fraction | None


def visualize_video(
    job: Job,
    session: Session,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
    before_publish: Callable[[Outcome, Explanations, Path], None] = lambda *_: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, Explanations]:
    """Explain a video, or pictures that stand for one, and write it with the heat beside it, every frame at its time, with its sound.

    The video is written in segments; an interrupted run of the same call is resumed behind its last finished one, and `notice` says so.
    A hardware encoder that fails is replaced by software. A damaged source gives what decodes, and an outcome that is `partial`.
    `progress` is called with each frame that the encoder has. `before_publish` is called when all is made, with the outcome, the
    explanations, and the finished file that is then renamed: what it raises leaves the segments for the next run. `stopping` is asked
    before the network begins and behind each segment; when it says so, Stopped is raised.

    Raises InputError, OutputError or ToolError; then no output is there, and finished segments wait beside it for the next run.
    """
    hooks = VideoHooks(progress=progress, notice=notice, before_publish=before_publish, stopping=stopping)
    try:
        made = make_video(job, session, hooks)
    except HardwareError as failed:
        made = make_video(job, session, hooks, hardware_failure=str(failed))
    assert made.outcome is not None, "a whole video is published"
    return made.outcome, made.explanations


def make_video(
    job: Job, session: Session, hooks: VideoHooks, *, part: VideoPart | None = None, hardware_failure: str | None = None
) -> MadeVideo:
    """The way of a video, from its plan to its name. A `part` ends with its segments, which video_parts joins.

    `hardware_failure` is as plan_video takes it. Raises HardwareError when a hardware encoder fails, and what visualize_video raises.
    """
    stopwatch = Stopwatch()
    plan = plan_video(job, session, hardware_failure=hardware_failure, part=part)
    with open_raw_maps(plan) as raw_maps, _open_journal(plan) as journal:
        plan = straighten_clock(plan, journal)
        progress = VideoProgress.from_npz(plan, session, journal, raw_maps)
        _report_resumption(plan, progress, hooks)
        with read_frames(plan, after=progress.position) as source:
            batches = batch_frames(source.frames, plan, begin=progress.begin, done=progress.explanations.frames)
            explained = explain_batches(batches, session, latest=progress.latest, on_wait=stopwatch.leave_out, stopping=hooks.stopping)
            with closing(prefetch(explained, depth=1)) as ahead:
                rendered = render_frames(ahead, plan, progress)
                recorded = record_explanations(rendered, progress, has_targets=session.targets is not None)
                write_segments(recorded, plan, journal, progress, report=source.report, on_progress=hooks.progress, stopping=hooks.stopping)
        plan.check_unchanged()
        report = progress.report(source.report(progress.explanations.frames))
        if part is not None:
            return MadeVideo(progress.explanations, None, report, stopwatch.elapsed_seconds)
        with join(journal.stored, plan, progress.explanations, report, journal.folder, hooks) as joined:
            outcome = publish(joined, plan, session, progress.explanations, raw_maps, stopwatch, hooks)
        return MadeVideo(progress.explanations, outcome, report, stopwatch.elapsed_seconds)


# ------------------------------------------------------------------------------------------------ before the first frame


def _open_journal(plan: VideoPlan) -> AbstractContextManager[Journal]:
    fresh, number = (plan.options.fresh, None) if plan.part is None else (False, plan.part.number)
    return open_journal(plan.job.output, plan.identity, fresh=fresh, part=number)


def straighten_clock(plan: VideoPlan, journal: Journal) -> VideoPlan:
    """Where the source's clock jumps, the plan reads a copy whose times run on. A part does not: its seams would show."""
    if plan.part is not None or plan.source is None or not has_jumps(plan.source):
        return plan
    straight, unfinished = journal.folder / STRAIGHTENED, journal.unfinished(".nut")
    if not straight.exists():
        if not straighten_times(plan.source, unfinished):
            failed = "its clock jumps, and that cannot be put right; the times are as ffmpeg gives them"
            return replace(plan, warnings=(*plan.warnings, failed))
        flush(unfinished)  # a later run takes it for the whole source
        unfinished.replace(straight)
    source = replace(probe(straight), colour=plan.source.colour, colour_tags=plan.source.colour_tags)
    jumps = "its clock jumps, as in joined recordings; the times run on without the jumps"
    return replace(plan, source=source, warnings=(*plan.warnings, jumps))


def _report_resumption(plan: VideoPlan, progress: VideoProgress, hooks: VideoHooks) -> None:
    if progress.position is not None:
        start = plan.source.start_seconds if plan.source else 0.0
        reached = progress.explanations.last_seconds + float(1 / plan.frame_rate) - start
        hooks.notice(f"{plan.job.input}: resuming at {clock(reached)[:8]}, {progress.position.frames} frames are done")


# ------------------------------------------------------------------------------------------------ behind the last frame


@contextmanager
def join(
    segments: Sequence[StoredSegment], plan: VideoPlan, explanations: Explanations, report: DecoderReport, folder: Path, hooks: VideoHooks
) -> Iterator[JoinedVideo]:
    """Join segments, with the sound of the source, to one file in `folder`; it gets the output's name when the block ends well.

    The segments lie in `folder` or below it. Raises ToolError when joining fails, OutputError when the disk takes no more or the output has
    appeared meanwhile, ChangedError when the source has changed.
    """
    job, options = plan.job, plan.options
    damage = _find_damage(plan, explanations, report)
    last_seconds = _last_frame_seconds(plan, explanations) if damage is None else None
    hooks.progress(Progress(input=job.input, frames_done=explanations.frames, frames_total=explanations.frames, joining=True))
    base = Fraction(segments[0].segment.time_base)
    original = SourceTracks(
        source=plan.source,
        audio=options.audio,
        offset_seconds=segments[0].segment.first_pts * base if options.start_seconds or options.end_seconds else None,
        end_seconds=options.end_seconds,
        last_seconds=last_seconds,
    )
    pieces = [SegmentFile(path=path, first_pts=segment.first_pts) for path, segment in segments]
    with atomic_write(job.output, overwrite=options.overwrite, folder=folder) as temporary:
        said = mux(pieces, explanations.times_seconds, plan.target(base), original, temporary, folder=folder)
        plan.check_unchanged()  # the sound was read only now
        leapt = "its clock leaps by more than any pause; the times run on without that, and sound may be out of step"
        warnings = (*plan.warnings, *([leapt] if report.leaps else ()), *said)
        yield JoinedVideo(temporary, warnings, damage, last_seconds)


def publish(
    joined: JoinedVideo,
    plan: VideoPlan,
    session: Session,
    explanations: Explanations,
    raw_maps: RawMaps | None,
    stopwatch: Stopwatch,
    hooks: VideoHooks,
) -> Outcome:
    """Write what goes with a joined video, raw maps and what `before_publish` writes; then the video may have its name."""
    job, options = plan.job, plan.options
    if raw_maps is not None and job.maps is not None:
        raw_maps.write(job.maps, region=plan.geometry.region, overwrite=options.overwrite)
    last_seconds = joined.last_frame_seconds or min(1 / plan.frame_rate, Fraction(LONGEST_LAST_FRAME_SECONDS))
    duration = explanations.last_seconds - explanations.first_seconds + float(last_seconds)
    outcome = make_outcome(job, session, explanations, stopwatch.started, duration_seconds=duration, warnings=joined.warnings)
    outcome = replace(outcome, extra={"encoder": plan.encoder.name, "encoders_passed_over": list(plan.encoders_passed_over)})
    if joined.damage is not None:
        error = f"{job.input}: {joined.damage}; what decodes is in {job.output}"
        outcome = replace(outcome, partial=True, error=error)
    hooks.before_publish(outcome, explanations, joined.file)
    return outcome


def _find_damage(plan: VideoPlan, explanations: Explanations, report: DecoderReport) -> str | None:
    """What of the source is missing or damaged; None where all is there."""
    count, problem, options = report.problems, report.problem, plan.options
    if plan.source is None:
        return f"{count} frame{'s are' if count > 1 else ' is'} cut off or damaged: {problem}" if count else None
    whole = not (options.start_seconds or options.end_seconds)
    return describe_damage(plan.source, explanations.times_seconds.tolist(), (count, problem), whole=whole)


def _last_frame_seconds(plan: VideoPlan, explanations: Explanations) -> Fraction | None:
    """How long the last frame is shown, where the source says so."""
    options, pictures = plan.options, plan.job.pictures
    if pictures is not None:
        return pictures.seconds(pictures.between(options.start_seconds, options.end_seconds)[-1:])
    if plan.source is None or options.end_seconds is not None:
        return None
    return find_last_frame_seconds(plan.source, explanations.last_seconds)
