"""The figures of a classifier, found a second time by hand or by going through every picture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.arrays import Array
from pipeline.evaluation import metrics

#                  right, sure   right, unsure  wrong         wrong, sure   right
SCORES = np.array([[0.97, 0.03], [0.61, 0.39], [0.3, 0.7], [0.92, 0.08], [0.25, 0.75]], np.float32)
TRUTH = np.array([0, 0, 0, 1, 1])


def made_up(count: int, classes: int, seed: int = 0, strength: float = 2.0) -> tuple[Array, Array]:
    """Scores that mostly favour the true class."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, count)
    logits = random.normal(0, 1, (count, classes))
    logits[np.arange(count), truth] += strength
    scores = np.exp(logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize(("right", "count"), [(0, 7), (7, 7), (3, 5), (171, 180)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    z, p = 1.959963984540054, right / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    assert metrics.wilson_interval(right, count) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)
    assert metrics.wilson_interval(0, 0) == (0, 1)


def test_the_figures_of_five_pictures() -> None:
    found = metrics.evaluate(SCORES, TRUTH, present=[0, 1], threshold=0.69)
    assert found.count == 5 and found.accuracy == 3 / 5 and found.top5 == 1
    assert found.labels == [0, 1] and found.confusion.tolist() == [[2, 1], [1, 1]]
    first, second = found.per_class
    assert (first.precision, first.recall, first.count) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert (second.precision, second.recall, second.count) == (0.5, 0.5, 2)
    assert found.asked is not None
    assert (found.asked.coverage, found.asked.right, found.asked.wrong) == (pytest.approx(4 / 5), 2, 2)  # 0.97, 0.7, 0.92, 0.75
    # Right less wrong: 1 of all, 0 without 0.61, 1 without 0.7 too, 0 without 0.75, 1 of the surest alone. The lowest of the best counts.
    assert (found.best.threshold, found.best.right, found.best.wrong) == (0, 3, 2)


def test_classes_without_pictures_and_answers_that_no_picture_is_of() -> None:
    scores = np.eye(8, dtype=np.float32)[[2, 2, 5]]
    found = metrics.evaluate(scores, np.array([2, 3, 3]), present=[2, 3, 6])
    assert found.labels == [2, 3, 5, 6]
    assert found.confusion.tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert [(c.index, c.precision, c.recall, c.count) for c in found.per_class] == [(2, 0.5, 1, 1), (3, None, 0, 2), (6, None, None, 0)]


def test_the_best_five_are_counted() -> None:
    scores, truth = made_up(200, 9, strength=0.5)
    found = metrics.evaluate(scores, truth, present=range(9))
    by_hand = np.mean([truth[n] in sorted(range(9), key=lambda c: -scores[n, c])[:5] for n in range(200)])
    assert found.top5 == by_hand and found.accuracy < by_hand < 1


def test_calibration_is_that_of_going_through_tenths() -> None:
    scores, truth = made_up(400, 3)
    found = metrics.evaluate(scores, truth, present=range(3))
    confidence, right = scores.max(axis=1).astype(float), scores.argmax(axis=1) == truth
    expected, error = [], 0.0
    for tenth in range(10):
        inside = [n for n in range(400) if tenth / 10 < confidence[n] <= (tenth + 1) / 10]
        if inside:
            expected.append((np.mean(confidence[inside]), np.mean(right[inside]), len(inside)))
            error += len(inside) / 400 * abs(expected[-1][0] - expected[-1][1])
    assert [(b.confidence, b.accuracy, b.count) for b in found.calibration] == [pytest.approx(each) for each in expected]
    assert found.calibration_error == pytest.approx(error) and error > 0.01
    for each in found.calibration:
        assert each.interval == metrics.wilson_interval(round(each.accuracy * each.count), each.count)


def kept(scores: Array, truth: Array, threshold: float) -> tuple[int, int]:
    answers = [(row.argmax() == label) for row, label in zip(scores, truth, strict=True) if row.max() >= threshold]
    return sum(answers), len(answers)


def test_every_threshold_is_what_counting_says() -> None:
    scores, truth = made_up(150, 4)
    found = metrics.evaluate(scores, truth, present=range(4))
    assert len(found.curve.thresholds) == 150 and found.curve.coverage[0] == 1
    for threshold, coverage, accuracy in zip(found.curve.thresholds, found.curve.coverage, found.curve.accuracy, strict=True):
        right, count = kept(scores, truth, threshold)
        assert (coverage, accuracy) == (pytest.approx(count / 150), pytest.approx(right / count))
    gains = {float(t): 2 * kept(scores, truth, t)[0] - kept(scores, truth, t)[1] for t in found.curve.thresholds}
    best = min(t for t, gain in gains.items() if gain == max(gains.values()))
    assert kept(scores, truth, best) == kept(scores, truth, found.best.threshold) == (found.best.right, found.best.right + found.best.wrong)
    assert 0 < found.best.threshold <= best and len(f"{found.best.threshold:g}") <= 6
    for accuracy, at in found.wanted.items():
        assert at is not None and at.accuracy is not None and at.accuracy >= accuracy
        reaching = [t for t in gains if kept(scores, truth, t)[0] / kept(scores, truth, t)[1] >= accuracy]
        assert at.coverage == pytest.approx(kept(scores, truth, min(reaching))[1] / 150)


def test_what_cannot_be_reached_and_what_leaves_nothing() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    found = metrics.evaluate(scores, np.array([1, 0]), present=[0, 1], threshold=0.95)
    assert all(at is None for at in found.wanted.values())
    assert found.asked is not None and (found.asked.coverage, found.asked.accuracy) == (0, None)


def test_examples_are_the_extremes_of_each_class() -> None:
    found = metrics.choose_examples(SCORES, TRUTH, count=2)
    assert found[0] == metrics.Examples(right=[0, 1], least=[1, 2], wrong=[2])
    assert found[1] == metrics.Examples(right=[4], least=[4, 3], wrong=[3])
    assert metrics.choose_examples(SCORES, TRUTH, count=0)[0] == metrics.Examples(right=[], least=[], wrong=[])
