"""What a network said of each frame of one input, kept while it is worked on."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.arrays import Array
from pipeline.records import ClassName, Prediction, Thumbnail

KEPT_SCORE = 0.01  # what is less likely is not counted in the sum of a kind's classes
# Of what `state` gives, of Explanations, RawMaps and FrameRenderer: a run that was interrupted by a program with another begins anew.
STATE_VERSION = 2


def top_predictions(scores: Array, classes: Sequence[ClassName], k: int) -> list[Prediction]:
    """The k highest of scores float (classes,), best first; the lower index first where two are equal."""
    best = np.argsort(-scores, kind="stable")[:k]
    return [Prediction(name=classes[i], score=float(scores[i])) for i in best]


class Explanations:
    """The top k of every frame of one input (a few bytes each), and the sum of all scores for the ranking over its length.

    For kinds, whose classes' scores are summed, also all classes of KEPT_SCORE or more: 8 bytes each, of which a frame seldom has ten.
    For a report also the times of scene cuts, and thumbnails, which the renderer may append.
    """

    def __init__(self, input: Path, top_k: int) -> None:
        self.input = input
        self.top_k = top_k
        self.frames = 0
        self._sum: Array | None = None
        self._asked_sum: Array | None = None
        self._times = array("d")
        self._indices = array("i")
        self._scores = array("f")
        self._kept_counts = array("i")
        self._kept_indices = array("i")
        self._kept_scores = array("f")
        self._shown_indices = array("i")
        self._shown_scores = array("f")
        self._cuts = array("d")
        self.thumbnails: list[Thumbnail] = []

    def add(
        self, time_seconds: float, scores: Array, *, asked: Array | None = None, shown: tuple[int, float] | None = None, cut: bool = False
    ) -> None:
        """The scores float (classes,) of the next frame, those of the targets float (t,), and whether a scene begins with it.

        `shown` is the class that the title names with the score beside it, where it is not the best of these scores.
        """
        if cut:
            self._cuts.append(time_seconds)
        self._sum = scores.astype(np.float64) if self._sum is None else self._sum + scores
        self._asked_sum = _add_sums(self._asked_sum, None if asked is None else asked.astype(np.float64))
        best = np.argsort(-scores, kind="stable")[: self.top_k]
        self.frames += 1
        self._times.append(time_seconds)
        self._indices.extend(int(i) for i in best)
        self._scores.extend(float(scores[i]) for i in best)
        index, score = shown or (int(np.argmax(scores)), float(np.max(scores)))
        self._shown_indices.append(index)
        self._shown_scores.append(score)
        kept = np.flatnonzero(scores >= KEPT_SCORE)
        self._kept_counts.append(len(kept))
        self._kept_indices.extend(kept.tolist())
        self._kept_scores.extend(scores[kept].tolist())

    @property
    def times_seconds(self) -> Array:
        """Of every frame, float64 (frames,)."""
        return np.array(self._times, np.float64)

    def state(self, *, since: int) -> dict[str, Array]:
        """What was added from frame number `since` on, with the sums so far, for `restore`."""
        k = len(self._indices) // self.frames if self.frames else 0
        kept = sum(self._kept_counts[:since])
        return {
            "times": np.array(self._times[since:]),
            "indices": np.array(self._indices[since * k :], np.int32),
            "scores": np.array(self._scores[since * k :], np.float32),
            "shown_indices": np.array(self._shown_indices[since:], np.int32),
            "shown_scores": np.array(self._shown_scores[since:], np.float32),
            "kept_counts": np.array(self._kept_counts[since:], np.int32),
            "kept_indices": np.array(self._kept_indices[kept:], np.int32),
            "kept_scores": np.array(self._kept_scores[kept:], np.float32),
            "sum": np.zeros(0) if self._sum is None else self._sum,
            **({} if self._asked_sum is None else {"asked_sum": self._asked_sum}),
            "cuts": np.array([t for t in self._cuts if since < self.frames and t >= self._times[since]]),
            **_pack_thumbnails([t for t in self.thumbnails if since < self.frames and t.time_seconds >= self._times[since]]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Add what `state` gave for the frames that follow those added so far."""
        self._times.extend(state["times"].tolist())
        self._indices.extend(state["indices"].tolist())
        self._scores.extend(state["scores"].tolist())
        self._shown_indices.extend(state["shown_indices"].tolist())
        self._shown_scores.extend(state["shown_scores"].tolist())
        self._kept_counts.extend(state["kept_counts"].tolist())
        self._kept_indices.extend(state["kept_indices"].tolist())
        self._kept_scores.extend(state["kept_scores"].tolist())
        self._cuts.extend(state["cuts"].tolist())
        self.thumbnails += _unpack_thumbnails(state)
        self._sum, self._asked_sum = state["sum"], state.get("asked_sum")
        self.frames = len(self._times)

    def extend(self, following: Explanations) -> None:
        """Add the frames of a part that follows."""
        self._times.extend(following._times)
        self._indices.extend(following._indices)
        self._scores.extend(following._scores)
        self._shown_indices.extend(following._shown_indices)
        self._shown_scores.extend(following._shown_scores)
        self._kept_counts.extend(following._kept_counts)
        self._kept_indices.extend(following._kept_indices)
        self._kept_scores.extend(following._kept_scores)
        self._cuts.extend(following._cuts)
        self.thumbnails += following.thumbnails
        if following._sum is not None:
            self._sum = following._sum if self._sum is None else self._sum + following._sum
        self._asked_sum = _add_sums(self._asked_sum, following._asked_sum)
        self.frames = len(self._times)

    @property
    def cuts_seconds(self) -> list[float]:
        """When scenes begin, but for the first, in order."""
        return self._cuts.tolist()

    @property
    def top(self) -> tuple[Array, Array]:
        """Of every frame the classes' indices int32 (frames, k) and their scores float32 (frames, k), the best first."""
        shape = self.frames, len(self._indices) // max(1, self.frames)
        return np.array(self._indices, np.int32).reshape(shape), np.array(self._scores, np.float32).reshape(shape)

    @property
    def kept(self) -> tuple[Array, Array, Array]:
        """Of every class with KEPT_SCORE or more in a frame: the frame int (n,), the class int32 (n,) and its score float32 (n,)."""
        frames = np.repeat(np.arange(self.frames), np.array(self._kept_counts, np.int32))
        return frames, np.array(self._kept_indices, np.int32), np.array(self._kept_scores, np.float32)

    @property
    def shown(self) -> tuple[Array, Array]:
        """Of every frame the class that its title names, int32 (frames,), and the score beside it, float32 (frames,)."""
        return np.array(self._shown_indices, np.int32), np.array(self._shown_scores, np.float32)

    @property
    def first_seconds(self) -> float:
        """When the first frame is shown."""
        return self._times[0]

    @property
    def last_seconds(self) -> float:
        """When the last frame begins to be shown."""
        return self._times[-1]

    def last_frame_seconds(self, duration_seconds: float) -> float:
        """How long the last frame is shown, where all frames together are shown so long."""
        return max(0.0, duration_seconds - (self.last_seconds - self.first_seconds))

    def mean_scores(self) -> Array:
        """Of every class over all frames, float64 (classes,)."""
        assert self._sum is not None, "no frame was added"
        return self._sum / self.frames

    def mean_asked(self) -> Array:
        """Of the targets, float64 (t,); empty where none were given."""
        return np.zeros(0) if self._asked_sum is None else self._asked_sum / self.frames


def _add_sums(sums: Array | None, more: Array | None) -> Array | None:
    return more if sums is None else sums if more is None else sums + more


def _pack_thumbnails(thumbnails: Sequence[Thumbnail]) -> dict[str, Array]:
    shapes = [(t.width_px, t.height_px, len(t.jpeg)) for t in thumbnails]
    return {
        "thumbnail_times": np.array([t.time_seconds for t in thumbnails]),
        "thumbnail_shapes": np.array(shapes, np.int64).reshape(-1, 3),
        "thumbnail_data": np.frombuffer(b"".join(t.jpeg for t in thumbnails), np.uint8),
    }


def _unpack_thumbnails(state: Mapping[str, Array]) -> list[Thumbnail]:
    data, begin, found = state["thumbnail_data"].tobytes(), 0, []
    for time_seconds, (width, height, length) in zip(state["thumbnail_times"].tolist(), state["thumbnail_shapes"].tolist(), strict=True):
        found.append(Thumbnail(time_seconds=time_seconds, jpeg=data[begin : begin + length], width_px=width, height_px=height))
        begin += length
    return found
