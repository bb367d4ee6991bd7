"""Pages that people look at: of one video, of a set of pictures, of a whole archive; made of what the others have kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pipeline import children, report
from pipeline.outputs import page_of
from pipeline.predictions import Track
from pipeline.records import Options, Outcome
from pipeline.visualize import Session

SHORTEST_SCENE_SECONDS = 0.6  # as PySceneDetect has it: what changes for longer than one picture is a pan, and no cut


def write_video_page(outcome: Outcome, track: Track, session: Session, *, command: str, overwrite: bool) -> Path:
    """The page of one video, as `made` of visualize_video has it. Raises OutputError."""
    assert outcome.output is not None and outcome.duration_seconds is not None, "a video that is made"
    page = page_of(outcome.output)
    report.write_video_page(page, video_page(outcome, track, session, command=command), overwrite=overwrite)
    return page


def video_page(outcome: Outcome, track: Track, session: Session, *, command: str) -> report.VideoPage:
    assert outcome.output is not None and outcome.duration_seconds is not None, "a video that is made"
    indices, scores = track.top
    options, classes = session.options, session.classifier.classes
    last = max(0.0, outcome.duration_seconds - (track.last_seconds - track.first_seconds))
    return report.VideoPage(
        title=outcome.input.name,
        video=outcome.output.name,
        duration_seconds=outcome.duration_seconds,
        begins_seconds=track.first_seconds if options.start_seconds or options.end_seconds else min(0.0, track.first_seconds),
        times_seconds=track.times_seconds,
        indices=indices,
        scores=scores,
        classes=classes,
        stretches=track.stretches(classes, last_seconds=last),
        cuts_seconds=cuts(track.cuts_seconds),
        thumbnails=track.thumbnails,
        facts=facts(outcome, options, command),
        warnings=outcome.warnings if outcome.error is None else (*outcome.warnings, outcome.error),
    )


def cuts(changes_seconds: Sequence[float]) -> list[float]:
    """Of sudden changes, those that stand alone: a pan changes from picture to picture, a cut changes once."""
    found = []
    for before, now, after in zip([float("-inf"), *changes_seconds], changes_seconds, [*changes_seconds[1:], float("inf")], strict=False):
        if min(now - before, after - now) >= SHORTEST_SCENE_SECONDS:
            found.append(now)
    return found


def facts(outcome: Outcome, options: Options, command: str) -> Mapping[str, str]:
    """What the result depends on, in words."""
    size = "" if options.short_side_px is None else f", short side {options.short_side_px} pixels"
    return {
        "Source": str(outcome.input),
        "Model": outcome.model,
        "Map": options.method,
        "Frames": f"{outcome.frames}" + ("" if options.every == 1 else f", the network saw every {options.every}th"),
        "Fit": f"{options.fit}{size}",
        "Explained": ", ".join(options.targets) or "the top prediction of each frame",
        "Smoothing": f"{options.smooth:g}",
        "Versions": f"heatreel {version('heatreel')}, TensorFlow {version('tensorflow')}, ffmpeg {children.ffmpeg_version()}",
        "Command": command,
    }
