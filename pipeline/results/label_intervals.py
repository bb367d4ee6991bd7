"""From when to when something was seen: intervals of classes, and of kinds of things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.arrays import Array
from pipeline.records import ClassGroup, ClassName, Interval, KindInterval, LabelInterval
from pipeline.results.explanations import Explanations

SHOWN_SCORE = 0.05  # what is less likely is not worth finding
# What was seen again so soon is one interval: somebody turned away, or came too close. Across a cut it is another scene's.
# The millionth is for times in floating point: 4.15 less 3.15 is more than 1.
PAUSE_SECONDS, PAUSE_WITH_CUT_SECONDS = 3.0 + 1e-6, 1.0 + 1e-6


def find_label_intervals(explanations: Explanations, classes: Sequence[ClassName], *, last_seconds: float) -> list[LabelInterval]:
    """What was seen from when to when, by begin: each class while it is among the top k with SHOWN_SCORE or more.

    A pause of up to PAUSE_SECONDS does not end an interval, or PAUSE_WITH_CUT_SECONDS where a scene begins in it. `last_seconds` is how
    long the last frame is shown.
    """
    indices, scores = (each.ravel() for each in explanations.top)
    if not len(indices):
        return []
    k, times = len(indices) // explanations.frames, _frame_times(explanations, last_seconds)
    shown = np.flatnonzero(scores >= SHOWN_SCORE)
    shown = shown[np.lexsort((shown, indices[shown]))]
    found: list[LabelInterval] = []
    for run in np.split(shown, np.flatnonzero(np.diff(indices[shown])) + 1) if len(shown) else ():
        name = classes[indices[run[0]]]
        found += [LabelInterval(name=name, **vars(each)) for each in _join_frames(run // k, scores[run], times)]
    return sorted(found, key=lambda interval: (interval.start_seconds, -interval.best_score))


def find_kind_intervals(explanations: Explanations, kinds: Sequence[ClassGroup], *, last_seconds: float) -> list[KindInterval]:
    """What kinds of things were seen from when to when, by begin: each while the scores of its classes come to SHOWN_SCORE or more.

    A class counts in the frames in which it has KEPT_SCORE or more. Pauses and `last_seconds` are as in `find_label_intervals`.
    """
    frames, indices, kept = explanations.kept
    times, order = _frame_times(explanations, last_seconds), np.argsort(indices, kind="stable")
    frames, kept = frames[order], kept[order]
    begins = np.searchsorted(indices[order], np.arange(1 + max((kind.members[-1] + 1 for kind in kinds), default=0)))
    seen = set(np.flatnonzero(np.diff(begins)).tolist())
    found: list[KindInterval] = []
    for kind in kinds:
        members = [i for i in kind.members if i in seen]
        if not members:
            continue
        of_kind = np.concatenate([np.arange(begins[i], begins[i + 1]) for i in members])
        scores = np.minimum(np.bincount(frames[of_kind], kept[of_kind], explanations.frames), 1.0)
        shown = np.flatnonzero(scores >= SHOWN_SCORE)
        found += [KindInterval(wnid=kind.wnid or "", **vars(each)) for each in _join_frames(shown, scores[shown], times)]
    return sorted(found, key=lambda interval: (interval.start_seconds, -interval.best_score))


def _frame_times(explanations: Explanations, last_seconds: float) -> tuple[Array, Array, Array]:
    """When each frame begins and ends, float64 (frames,), and the number of its scene."""
    times = explanations.times_seconds
    scenes = np.searchsorted(np.array(explanations.cuts_seconds), times, side="right")
    return times, np.append(times[1:], times[-1:] + last_seconds), scenes


def _join_frames(frames: Array, scores: Array, times: tuple[Array, Array, Array]) -> list[Interval]:
    """Intervals of frames in which something was seen, int (n,), ascending, with its scores (n,). `times` is as `_frame_times` has it."""
    begins, ends, scenes = times
    most = np.where(np.diff(scenes[frames]) > 0, PAUSE_WITH_CUT_SECONDS, PAUSE_SECONDS)
    pauses = np.flatnonzero(begins[frames[1:]] - ends[frames[:-1]] > most) + 1
    return [
        Interval(
            start_seconds=float(begins[run[0]]),
            end_seconds=float(ends[run[-1]]),
            frames=len(run),
            mean_score=float(score.mean()),
            best_score=float(score.max()),
        )
        for run, score in zip(np.split(frames, pauses), np.split(scores, pauses), strict=True)
        if len(run)
    ]
