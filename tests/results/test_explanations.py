"""What was seen from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.records import ClassGroup, ClassName
from pipeline.results.explanations import Explanations
from pipeline.results.label_intervals import find_kind_intervals, find_label_intervals
from pipeline.results.tables import COLUMNS, prediction_rows

CLASSES = [ClassName(index=n, wnid=None, label=label) for n, label in enumerate(["cat", "dog", "cup", "rest"])]


def track(rows: Sequence[tuple[float, dict[int, float]]], top_k: int = 2, cuts: Sequence[float] = ()) -> Explanations:
    made = Explanations(Path("v.mp4"), top_k)
    for time_seconds, scores in rows:
        said = np.array([scores.get(n, 0.0) for n in range(len(CLASSES))], np.float32)
        made.add(time_seconds, said, cut=time_seconds in cuts)
    return made


def shown(made: Explanations, last_seconds: float = 0.5) -> list[tuple[str, float, float, int, float, float]]:
    return [
        (s.name.label, s.start_seconds, s.end_seconds, s.frames, round(s.mean_score, 4), round(s.best_score, 4))
        for s in find_label_intervals(made, CLASSES, last_seconds=last_seconds)
    ]


def test_a_stretch_lasts_until_its_last_frame_ends() -> None:
    made = track([(0.0, {0: 0.5}), (1.0, {0: 0.7, 1: 0.2}), (3.0, {1: 0.6}), (3.5, {1: 0.4})])
    assert shown(made) == [("cat", 0.0, 3.0, 2, 0.6, 0.7), ("dog", 1.0, 4.0, 3, 0.4, 0.6)]


def test_a_pause_of_three_seconds_does_not_end_it_and_a_longer_one_does() -> None:
    rows = [(0.0, {0: 0.5}), (0.5, {1: 0.5}), (3.5, {0: 0.5}), (4.0, {1: 0.5}), (7.25, {0: 0.5})]
    # The cat's frames end at 0.5, at 4.0 and at 7.75: it is away for exactly 3.0, then for 3.25 seconds.
    assert [row[:4] for row in shown(track(rows, top_k=1)) if row[0] == "cat"] == [("cat", 0.0, 4.0, 2), ("cat", 7.25, 7.75, 1)]


def test_across_a_cut_it_is_a_pause_of_a_second() -> None:
    rows = [(0.0, {0: 0.5}), (0.5, {1: 0.5}), (1.5, {0: 0.5}), (2.0, {1: 0.5}), (3.25, {0: 0.5})]
    # Away for 1.0 and for 1.25 seconds; a scene begins where the cat comes again, or with the dog before, or with the cat before that.
    for cuts, expected in (
        ((1.5, 3.25), [("cat", 0.0, 2.0), ("cat", 3.25, 3.75)]),
        ((2.0,), [("cat", 0.0, 2.0), ("cat", 3.25, 3.75)]),
        ((0.0, 0.5, 1.5), [("cat", 0.0, 3.75)]),
    ):
        assert [row[:3] for row in shown(track(rows, 1, cuts)) if row[0] == "cat"] == expected
        assert [row[1:3] for row in kinds_shown(track(rows, 1, cuts)) if row[0] == "pet"] == [(0.0, 3.75)]  # there was always one


def test_a_pause_of_a_second_is_none_at_any_time() -> None:
    """In floating point 4.15 - 3.15 is 1.0000000000000004."""
    rows = [(3.0, {0: 0.5}), (3.15, {2: 0.9}), (4.15, {0: 0.5})]
    assert [row[:3] for row in shown(track(rows, 1, (4.15,)), 0.05)] == [("cat", 3.0, 4.2), ("cup", 3.15, 4.15)]
    assert [row[:3] for row in shown(track(rows, top_k=1), 0.05)] == [("cat", 3.0, 4.2), ("cup", 3.15, 4.15)]
    assert [row[:3] for row in kinds_shown(track(rows), 0.05)] == [("pet", 3.0, 4.2), ("thing", 3.15, 4.15)]


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
    assert list(prediction_rows(parts, CLASSES)) == list(prediction_rows(whole, CLASSES))


def test_a_row_tells_what_was_measured_and_what_was_shown() -> None:
    made, resumed, joined = Explanations(Path("v.mp4"), 1), Explanations(Path("v.mp4"), 1), Explanations(Path("v.mp4"), 1)
    made.add(0.0, np.array([0.5, 0.3, 0.2, 0.0], np.float32))
    made.add(0.1, np.array([0.2, 0.7, 0.1, 0.0], np.float32), shown=(0, 0.4))
    found = [
        (row["label"], row["score"], row["shown_index"], row["shown_label"], row["shown_score"]) for row in prediction_rows(made, CLASSES)
    ]
    assert found == [("cat", 0.5, 0, "cat", 0.5), ("dog", 0.7, 0, "cat", 0.4)]
    assert tuple(next(prediction_rows(made, CLASSES))) == COLUMNS
    assert [row["shown_label"] for row in prediction_rows(made, CLASSES, PETS)] == ["pet", "pet"]
    resumed.restore(made.state(since=0))
    joined.extend(made)
    assert list(prediction_rows(resumed, CLASSES)) == list(prediction_rows(joined, CLASSES)) == list(prediction_rows(made, CLASSES))


def test_what_was_asked_for_has_its_mean_over_all_parts() -> None:
    """A stopped run goes on from its state, and parts are put together: the mean is that of all frames."""
    rows = np.random.default_rng(1).random((10, 2)).astype(np.float32)

    def made(numbers: range, before: Explanations | None = None) -> Explanations:
        result = before or Explanations(Path("v.mp4"), 2)
        for number in numbers:
            result.add(number / 4, np.zeros(len(CLASSES), np.float32), asked=rows[number])
        return result

    resumed, parts = Explanations(Path("v.mp4"), 2), made(range(6))
    resumed.restore(made(range(4)).state(since=0))
    parts.extend(made(range(6, 10)))
    for whole in (made(range(10)), made(range(4, 10), resumed), parts):
        assert whole.frames == 10
        np.testing.assert_allclose(whole.mean_asked(), rows.mean(axis=0), atol=1e-7)
    assert track([(0.0, {0: 0.5})]).mean_asked().size == 0


PETS = ClassGroup(label="pet", wnid="n1", members=(0, 1))
THINGS = ClassGroup(label="thing", wnid="n2", members=(2, 3))
NAMES = {"n1": "pet", "n2": "thing"}


def kinds_shown(made: Explanations, last_seconds: float = 0.5) -> list[tuple[str, float, float, int, float, float]]:
    return [
        (NAMES[s.wnid], s.start_seconds, s.end_seconds, s.frames, round(s.mean_score, 4), round(s.best_score, 4))
        for s in find_kind_intervals(made, [PETS, THINGS], last_seconds=last_seconds)
    ]


def test_a_kind_is_seen_while_its_classes_come_to_enough_together() -> None:
    """In the second frame neither cat nor dog has 5 %, nor are they the best two; what has less than 1 % does not count."""
    rows = [
        (0.0, {0: 0.5, 1: 0.25, 2: 0.04}),
        (1.0, {0: 0.03, 1: 0.03, 2: 0.4, 3: 0.5}),
        (2.0, {0: 0.045, 1: 0.009, 2: 0.06}),
    ]
    assert kinds_shown(track(rows)) == [("pet", 0.0, 2.0, 2, 0.405, 0.75), ("thing", 1.0, 2.5, 2, 0.48, 0.9)]
    assert [row[:3] for row in shown(track(rows)) if row[0] in ("cat", "dog")] == [("cat", 0.0, 1.0), ("dog", 0.0, 1.0)]


def test_a_kinds_pauses_are_as_a_classs() -> None:
    rows = [(0.0, {0: 0.5}), (0.5, {2: 0.5}), (3.5, {1: 0.5}), (4.0, {2: 0.5}), (7.25, {0: 0.9, 1: 0.2})]
    # Away for exactly 3.0, then for 3.25 seconds; a sum of more than one is one.
    assert [row for row in kinds_shown(track(rows, top_k=0)) if row[0] == "pet"] == [
        ("pet", 0.0, 4.0, 2, 0.5, 0.5),
        ("pet", 7.25, 7.75, 1, 1.0, 1.0),
    ]


def test_a_kind_of_one_class_is_seen_when_that_class_is() -> None:
    """The same by two ways: the two best of each frame, and all that have 1 % or more."""
    rng = np.random.default_rng(3)
    rows = [(1.5 * n, dict(enumerate(rng.dirichlet([0.2] * 4)))) for n in range(200)]
    made = track(rows, top_k=4)
    alone = [ClassGroup(label=name.label, wnid=name.label, members=(name.index,)) for name in CLASSES]
    kinds = sorted((s.wnid, s.start_seconds, s.end_seconds, s.frames) for s in find_kind_intervals(made, alone, last_seconds=0.5))
    assert kinds == sorted(
        (s.name.label, s.start_seconds, s.end_seconds, s.frames) for s in find_label_intervals(made, CLASSES, last_seconds=0.5)
    )
    assert len(kinds) > 40


def test_no_frames_and_no_kinds_are_no_stretch() -> None:
    assert (
        find_kind_intervals(track([]), [PETS], last_seconds=1.0)
        == []
        == find_kind_intervals(track([(0.0, {0: 0.5})]), [], last_seconds=1.0)
    )


def test_what_kinds_need_outlives_an_interruption_and_a_division() -> None:
    rows = [(n / 4, {n % 4: 0.03 + n / 100, (n + 1) % 4: 0.04, (n + 2) % 4: 0.005}) for n in range(40)]
    whole, resumed, joined = track(rows), track([]), track(rows[:17])
    for begin, end in ((0, 9), (9, 30), (30, 40)):
        resumed.restore(track(rows[:end]).state(since=begin))
    joined.extend(track(rows[17:]))
    assert kinds_shown(resumed) == kinds_shown(joined) == kinds_shown(whole) != []
