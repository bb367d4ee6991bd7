"""The class that a video's title names, held steady over time."""

from __future__ import annotations

import numpy as np

from pipeline.arrays import Array


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
        """All that is remembered, float64 (4,), for `restore`: NaN where there is nothing."""
        kept = (self._shown, self._leader, self._since_seconds, self._weak_since_seconds)
        return np.array([np.nan if each is None else each for each in kept])

    def restore(self, state: Array) -> None:
        """Go on where `state` was given."""
        self._shown, self._leader = (None if np.isnan(each) else int(each) for each in state[:2])
        self._since_seconds = float(state[2])
        self._weak_since_seconds = None if np.isnan(state[3]) else float(state[3])
