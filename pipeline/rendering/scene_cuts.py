"""Scenes: where a video cuts, the mean over time within one scene, and a title that holds. Pure NumPy and OpenCV."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from pipeline.arrays import Array

# Mean change of hue, saturation and value, in levels of 255: the content detector of PySceneDetect and its default threshold
# (https://www.scenedetect.com/docs/latest/api/detectors.html).
CUT_LEVELS = 27.0
# A fast pan changes every picture as much. A cut changes one, by three times as much as those before it (PySceneDetect's adaptive detector
# and its default ratio), or has other colours: in kitchen.mov's pans 2 to 24 % of the pixels change their colour from frame to frame.
CUT_RATIO, CUT_COLOURS, CHANGES_BEFORE = 3.0, 0.5, 2
REFERENCE_RATE_HZ = 25.0


def change(before: Array, after: Array) -> float:
    """How much two pictures differ, RGB uint8 (height, width, 3): the mean absolute difference of hue, saturation and value."""
    return _change(*(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV) for picture in (before, after)))


def _change(before: Array, after: Array) -> float:
    """As `change`, of pictures as HSV."""
    difference = cv2.absdiff(before, after)
    hue = difference[..., 0]
    np.minimum(hue, 180 - hue, out=hue)  # it is a circle of 180
    return sum(cv2.mean(difference)[:3]) / 3


def colour_change(before: Array, after: Array) -> float:
    """The part of the pixels, in [0, 1], whose colour the other picture has no pixel for: half the difference of their histograms.

    Both HSV uint8 (height, width, 3), as OpenCV has it.
    """
    counts = [cv2.calcHist([picture], [0, 1, 2], None, [8, 8, 8], [0, 180, 0, 256, 0, 256]) for picture in (before, after)]
    return float(np.abs(counts[0] / counts[0].sum() - counts[1] / counts[1].sum()).sum() / 2)


class CutFinder:
    """Finds cuts, and takes no fast pan for one: it remembers how much the last pictures changed."""

    def __init__(self) -> None:
        self._changes: deque[float] = deque(maxlen=CHANGES_BEFORE)
        self._last: tuple[Array, Array] | None = None  # the last picture, and what _thinned gave of it

    def is_cut(self, before: Array, after: Array) -> bool:
        """Whether a scene begins with the picture `after`; both RGB uint8 (height, width, 3). To be asked of every picture in turn."""
        first = self._last[1] if self._last is not None and self._last[0] is before else _thinned(before)
        second = _thinned(after)
        self._last = after, second
        now, usual = _change(first, second), sum(self._changes) / len(self._changes) if self._changes else None
        sudden = usual is not None and now > CUT_RATIO * usual
        cut = now > CUT_LEVELS and (sudden or colour_change(first, second) > CUT_COLOURS)
        if cut:
            self._changes.clear()
        else:
            self._changes.append(now)
        return cut

    def state(self) -> Array:
        """All that is remembered, for `restore`."""
        return np.array(self._changes)

    def restore(self, state: Array) -> None:
        self._changes.clear()
        self._changes.extend(state.tolist())


def _thinned(picture: Array) -> Array:
    """Every 4th pixel of every 4th row, as HSV: it tells the same (to 0.2 % of the change, in kitchen.mov) in a sixteenth of the time."""
    return cv2.cvtColor(np.ascontiguousarray(picture[::4, ::4]), cv2.COLOR_RGB2HSV)


class SteadyTitle:
    """The class that a video's title names.

    It changes only when another class has led for TITLE_SECONDS, or when for so long it has had less than WEAK_PART of the leader's score,
    whoever that was. A cut begins anew.
    """

    TITLE_SECONDS = 0.2
    WEAK_PART = 0.3

    def __init__(self) -> None:
        self._shown: int | None = None
        self._leader: int | None = None  # another class that leads now
        self._since_seconds = 0.0
        self._weak_since_seconds: float | None = None

    def add(self, scores: Array, time_seconds: float, *, cut: bool) -> int:
        """The class to be named at this time, by scores float (classes,)."""
        leader = int(np.argmax(scores))
        if self._shown is None or cut or leader == self._shown:
            return self._show(leader)
        if leader != self._leader:
            self._leader, self._since_seconds = leader, time_seconds
        if scores[self._shown] >= self.WEAK_PART * scores[leader]:
            self._weak_since_seconds = None
        elif self._weak_since_seconds is None:
            self._weak_since_seconds = time_seconds
        begins = (self._since_seconds, self._weak_since_seconds)
        long_ago = time_seconds - self.TITLE_SECONDS + 1e-6  # times are rounded to a clock's ticks
        return self._show(leader) if any(begin is not None and begin < long_ago for begin in begins) else self._shown

    def _show(self, index: int) -> int:
        self._shown, self._leader, self._weak_since_seconds = index, None, None
        return index

    def state(self) -> Array:
        """All that is remembered, for `restore`: NaN where there is nothing."""
        kept = (self._shown, self._leader, self._since_seconds, self._weak_since_seconds)
        return np.array([np.nan if each is None else each for each in kept])

    def restore(self, state: Array) -> None:
        self._shown, self._leader = (None if np.isnan(each) else int(each) for each in state[:2])
        self._since_seconds = float(state[2])
        self._weak_since_seconds = None if np.isnan(state[3]) else float(state[3])


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
