"""Scene cuts of a video, by how much the picture changes from frame to frame."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from pipeline.arrays import Array

# Mean change of hue, saturation and value, in levels of 255: the content detector of PySceneDetect and its default threshold
# (https://www.scenedetect.com/docs/latest/api/detectors.html).
CUT_LEVELS = 27.0
# A fast pan changes every picture as much. A cut changes one, by three times as much as those before it (PySceneDetect's adaptive detector
# and its default ratio), or has other colours: in kitchen.mov's pans 2 to 24 % of the pixels change their colour from frame to frame.
CUT_RATIO, CUT_COLOURS, CHANGES_BEFORE = 3.0, 0.5, 2


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
        """How much the last pictures changed, float64 (up to CHANGES_BEFORE,), for `restore`."""
        return np.array(self._changes)

    def restore(self, state: Array) -> None:
        """Go on where `state` was given."""
        self._changes.clear()
        self._changes.extend(state.tolist())


def _thinned(picture: Array) -> Array:
    """Every 4th pixel of every 4th row, as HSV: it tells the same (to 0.2 % of the change, in kitchen.mov) in a sixteenth of the time."""
    return cv2.cvtColor(np.ascontiguousarray(picture[::4, ::4]), cv2.COLOR_RGB2HSV)
