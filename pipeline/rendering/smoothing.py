"""Kept steady over time: maps and scores, by their mean over a scene, and the heat that counts as full, so that it does not flicker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.arrays import Array

REFERENCE_RATE_HZ = 25.0  # the strength of --smooth is the weight of what is one frame old at this rate


class SceneMean:
    """The mean of arrays over the time of one scene, older ones counting less: weights strength ** (REFERENCE_RATE_HZ * age in seconds).

    At strength 0 the newest alone counts, at 1 all of the scene count alike.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._sum: Array | None = None
        self._weight = 0.0
        self._time_seconds = 0.0

    def add(self, value: Array, time_seconds: float, *, cut: bool) -> Array:
        """The mean with the value of this time in it; a cut forgets what was before."""
        if self._strength == 0 or self._sum is None or cut or self._sum.shape != value.shape:
            self._sum, self._weight = value.astype(np.float64), 1.0
        else:
            keep = self._strength ** (REFERENCE_RATE_HZ * max(time_seconds - self._time_seconds, 0.0))
            self._sum = keep * self._sum + value
            self._weight = keep * self._weight + 1
        self._time_seconds = time_seconds
        return self.mean(value.dtype)

    def mean(self, dtype: Any) -> Array:
        """The mean so far, of that type; there must have been a value."""
        assert self._sum is not None, "nothing was added"
        return np.asarray(self._sum / self._weight, dtype)

    def state(self) -> dict[str, Array]:
        """The weighted sum, and the weight with the time of the last value in seconds, for `restore`; empty where nothing was added."""
        return {} if self._sum is None else {"sum": self._sum, "rest": np.array([self._weight, self._time_seconds])}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on where `state` was given."""
        if "sum" in state:
            self._sum = state["sum"]
            self._weight, self._time_seconds = (float(value) for value in state["rest"])


class RunningRange:
    """The heat that counts as full, smoothed over time, so that a video does not flicker.

    A map stretched to its own peak would pulse with every frame. The scale follows the peaks instead: quickly upwards, so
    that new heat does not clip for long, slowly downwards.
    """

    RISE_SECONDS, FALL_SECONDS = 0.15, 1.5

    def __init__(self) -> None:
        self._scale: float | None = None
        self._time_seconds = 0.0

    def scale(self, peak: float, time_seconds: float) -> float:
        """The scale at this time, in the map's units; above 0 as soon as one map was."""
        if self._scale is None or self._scale <= 0:
            self._scale = peak
        else:
            elapsed = max(time_seconds - self._time_seconds, 0)
            lag = self.RISE_SECONDS if peak > self._scale else self.FALL_SECONDS
            self._scale += (peak - self._scale) * (1 - float(np.exp(-elapsed / lag)))
        self._time_seconds = time_seconds
        return self._scale

    def state(self) -> tuple[float, float]:
        """The scale and its time, for `restore`."""
        return (0.0 if self._scale is None else self._scale), self._time_seconds

    def restore(self, state: Sequence[float]) -> None:
        """Go on where `state` was given."""
        self._scale, self._time_seconds = float(state[0]), float(state[1])


class PanelRanges:
    """For each panel the heat that counts as full, followed over time; `shared` gives all panels one scale.

    The raw maps cannot give that scale: in 200 photographs classes with less than 1 % that are kin to the best one have peaks of a third of
    its (the median; a twentieth have more than 0.6), and maps of eigencam and scorecam are not in the logit's units. So a panel's heat
    goes as high as the square root of its score by the highest of them: to half for a quarter of it, to a tenth for a hundredth.
    """

    def __init__(self, panels: int, *, shared: bool) -> None:
        self._peaks = [RunningRange() for _ in range(panels)]
        self._scores = [RunningRange() for _ in range(panels)] if shared else []

    def reset(self) -> None:
        """Forget what was: another scene begins."""
        self._peaks, self._scores = ([RunningRange() for _ in ranges] for ranges in (self._peaks, self._scores))

    def scales(self, peaks: Array, scores: Array, time_seconds: float) -> list[float]:
        """What counts as full at this time, in each map's units, given the maps' peaks and the scores of the classes they explain."""
        tops = [each.scale(float(peak), time_seconds) for each, peak in zip(self._peaks, peaks, strict=True)]
        return self._share_scale(tops, [each.scale(float(score), time_seconds) for each, score in zip(self._scores, scores, strict=False)])

    def _share_scale(self, tops: list[float], scores: list[float]) -> list[float]:
        highest = max(scores, default=0)
        if highest <= 0:
            return tops
        return [top * (highest / max(score, 1e-9)) ** 0.5 for top, score in zip(tops, scores, strict=True)]

    def state(self) -> Array:
        """For `restore`, float (ranges, 2)."""
        return np.array([each.state() for each in (*self._peaks, *self._scores)])

    def restore(self, state: Array) -> list[float]:
        """Go on where `state` was given; returns the scales of that time."""
        for each, value in zip((*self._peaks, *self._scores), state, strict=True):
            each.restore(value)
        values = [float(value[0]) for value in state]
        return self._share_scale(values[: len(self._peaks)], values[len(self._peaks) :])
