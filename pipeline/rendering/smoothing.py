"""Smoothing over time: the mean of maps and scores over one scene, older ones counting less."""

from __future__ import annotations

from collections.abc import Mapping
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
