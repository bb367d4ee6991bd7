"""What was seen from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.predictions import Track
from pipeline.records import ClassName

CLASSES = [ClassName(index=n, wnid=None, label=label) for n, label in enumerate(["cat", "dog", "cup", "rest"])]


def track(rows: Sequence[tuple[float, dict[int, float]]], top_k: int = 2) -> Track:
    made = Track(Path("v.mp4"), top_k)
    for time_seconds, scores in rows:
        made.add(time_seconds, np.array([scores.get(n, 0.0) for n in range(len(CLASSES))], np.float32))
    return made


def shown(made: Track, last_seconds: float = 0.5) -> list[tuple[str, float, float, int, float, float]]:
    return [
        (s.name.label, s.start_seconds, s.end_seconds, s.frames, round(s.mean_score, 4), round(s.best_score, 4))
        for s in made.stretches(CLASSES, last_seconds=last_seconds)
    ]


def test_a_stretch_lasts_until_its_last_frame_ends() -> None:
    made = track([(0.0, {0: 0.5}), (1.0, {0: 0.7, 1: 0.2}), (3.0, {1: 0.6}), (3.5, {1: 0.4})])
    assert shown(made) == [("cat", 0.0, 3.0, 2, 0.6, 0.7), ("dog", 1.0, 4.0, 3, 0.4, 0.6)]


def test_a_pause_of_a_second_does_not_end_it_and_a_longer_one_does() -> None:
    rows = [(0.0, {0: 0.5}), (0.5, {1: 0.5}), (1.5, {0: 0.5}), (2.0, {1: 0.5}), (3.25, {0: 0.5})]
    # The cat's frames end at 0.5, at 2.0 and at 3.75: it is away for exactly 1.0, then for 1.25 seconds.
    assert [row[:4] for row in shown(track(rows, top_k=1)) if row[0] == "cat"] == [("cat", 0.0, 2.0, 2), ("cat", 3.25, 3.75, 1)]


def test_what_is_unlikely_or_below_the_top_k_is_not_shown() -> None:
    made = track([(0.0, {0: 0.5, 1: 0.3, 2: 0.1}), (1.0, {0: 0.04, 2: 0.06})])
    assert [row[0] for row in shown(made)] == ["cat", "dog", "cup"] and shown(made)[2][1:3] == (1.0, 1.5)


@pytest.mark.parametrize("top_k", [0, 2])
def test_nothing_seen_is_no_stretch(top_k: int) -> None:
    assert shown(track([], top_k)) == [] == shown(track([(0.0, {0: 0.01})], top_k))


def test_parts_put_together_are_the_whole() -> None:
    rows = [(n / 4, {n % 3: 0.5 + n / 100, (n + 1) % 3: 0.2}) for n in range(40)]
    whole, parts = track(rows), track(rows[:17])
    parts.extend(track(rows[17:]))
    assert shown(parts) == shown(whole) and parts.frames == 40
    np.testing.assert_allclose(parts.mean_scores(), whole.mean_scores(), atol=1e-12)
    assert list(parts.rows(CLASSES)) == list(whole.rows(CLASSES))


def test_what_was_asked_for_has_its_mean_over_all_parts() -> None:
    """A stopped run goes on from its state, and parts are put together: the mean is that of all frames."""
    rows = np.random.default_rng(1).random((10, 2)).astype(np.float32)

    def made(numbers: range, before: Track | None = None) -> Track:
        result = before or Track(Path("v.mp4"), 2)
        for number in numbers:
            result.add(number / 4, np.zeros(len(CLASSES), np.float32), asked=rows[number])
        return result

    resumed, parts = Track(Path("v.mp4"), 2), made(range(6))
    resumed.restore(made(range(4)).state(since=0))
    parts.extend(made(range(6, 10)))
    for whole in (made(range(10)), made(range(4, 10), resumed), parts):
        assert whole.frames == 10
        np.testing.assert_allclose(whole.mean_asked(), rows.mean(axis=0), atol=1e-7)
    assert track([(0.0, {0: 0.5})]).mean_asked().size == 0
