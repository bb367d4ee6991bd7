"""Labels that may be wrong: planted ones are found, and no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.arrays import Array
from pipeline.evaluation import label_errors


def clusters(sizes: Sequence[int], seed: int = 1) -> tuple[Array, Array, Array]:
    """Features around one direction for each class, labels, and scores that follow the features."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = 4 * np.eye(len(sizes), 16)[labels] + random.normal(0, 0.4, (len(labels), 16))
    scores = np.exp(features[:, : len(sizes)])
    return features, labels, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def test_planted_labels_are_found_and_no_others() -> None:
    features, labels, scores = clusters([30, 30, 30])
    clean = labels.copy()
    assert label_errors.find_suspects(scores, clean, features) == []
    surest = [int(np.flatnonzero(clean == c)[scores[clean == c, c].argmax()]) for c in range(3)]
    labels[surest[0]], labels[surest[2]] = 1, 0
    found = label_errors.find_suspects(scores, labels, features)
    assert {(each.number, each.looks_like, each.neighbours, each.of) for each in found} == {(surest[0], 0, 10, 10), (surest[2], 2, 10, 10)}
    assert [each.score for each in found] == sorted((float(scores[n, clean[n]]) for n in (surest[0], surest[2])), reverse=True)


def test_confidence_without_neighbours_is_no_suspicion_nor_neighbours_without_confidence() -> None:
    features, labels, scores = clusters([20, 20])
    sure = scores.copy()
    sure[3] = [0.01, 0.99]  # confidently the other class, among its own
    assert 3 in label_errors._find_doubted(sure, labels) and label_errors.find_suspects(sure, labels, features) == []
    planted = labels.copy()
    planted[3] = 1
    unsure = scores.copy()
    unsure[3] = [0.52, 0.48]  # looks like its neighbours, and the model is not sure
    assert label_errors.find_suspects(scores, planted, features)[0].number == 3
    assert label_errors.find_suspects(unsure, planted, features) == []


def test_copies_of_a_picture_do_not_speak_for_it() -> None:
    features, labels, scores = clusters([20, 20])
    numbers = list(range(7))  # seven copies of one picture, all of them with the wrong label
    features[numbers], scores[numbers] = features[0], scores[:20][scores[:20, 0].argmax()]
    labels[numbers] = 1
    assert label_errors.find_suspects(scores, labels, features) == []  # as they are, they outvote the others
    copies = [(a, b) for a in numbers for b in numbers if a < b]
    assert {each.number for each in label_errors.find_suspects(scores, labels, features, copies=copies)} == set(numbers)


@pytest.mark.parametrize("sizes", [[1], [1, 1], [2, 2], [3, 1, 2]])
def test_few_pictures_raise_no_suspicion_and_no_error(sizes: list[int]) -> None:
    features, labels, scores = clusters(sizes)
    assert label_errors.find_suspects(scores, labels, features) == []
    assert label_errors.cross_validated_scores(features, labels, classes=len(sizes)).shape == (sum(sizes), len(sizes))


def test_what_was_learned_by_heart_is_seen_through() -> None:
    """A model that has learned a wrong label repeats it; one that has not seen the picture does not."""
    features, labels, _ = clusters([25, 25, 25])
    labels[10], labels[60] = 2, 0
    by_heart = np.eye(3, dtype=np.float32)[labels]
    assert label_errors.find_suspects(by_heart, labels, features) == []
    fresh = label_errors.cross_validated_scores(features, labels, classes=3)
    assert fresh.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert fresh[10].argmax() == 0 and fresh[60].argmax() == 2
    assert {each.number for each in label_errors.find_suspects(fresh, labels, features)} <= {10, 60}
    assert np.array_equal(fresh, label_errors.cross_validated_scores(features, labels, classes=3))  # the same seed, the same folds
    # Scores of another kind, all of them low, are judged by their own kind: both pictures are among these.
    groups = np.arange(75) % 2
    halved = fresh * np.where(groups, 1.0, 0.5)[:, None]
    assert label_errors.find_suspects(halved, labels, features) == []
    assert {each.number for each in label_errors.find_suspects(halved, labels, features, groups=groups)} == {10, 60}
