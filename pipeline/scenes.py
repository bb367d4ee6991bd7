"""Scenes: where a video cuts, and the mean over time within one scene. Pure NumPy and OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

# Mean change of hue, saturation and value, in levels of 255: the content detector of PySceneDetect and its default threshold
# (https://www.scenedetect.com/docs/latest/api/detectors.html).
CUT_LEVELS = 27.0
REFERENCE_RATE_HZ = 25.0


def change(before: Array, after: Array) -> float:
    """How much two pictures differ, RGB uint8 (height, width, 3): the mean absolute difference of hue, saturation and value."""
    hsv = [cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int16) for picture in (before, after)]
    difference = np.abs(hsv[1] - hsv[0])
    difference[..., 0] = np.minimum(difference[..., 0], 180 - difference[..., 0])  # hue is a circle of 180
    return float(difference.mean(axis=(0, 1)).mean())


def is_cut(before: Array, after: Array) -> bool:
    return change(before, after) > CUT_LEVELS


class SceneMean:
    """The mean of arrays over the time of one scene, older ones counting less: weights strength ** (25 * age in seconds).

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
        assert self._sum is not None, "nothing was added"
        return np.asarray(self._sum / self._weight, dtype)

    def state(self) -> dict[str, Array]:
        return {} if self._sum is None else {"sum": self._sum, "rest": np.array([self._weight, self._time_seconds])}

    def restore(self, state: Mapping[str, Array]) -> None:
        if "sum" in state:
            self._sum = state["sum"]
            self._weight, self._time_seconds = (float(value) for value in state["rest"])
