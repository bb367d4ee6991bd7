"""How good a classifier's answers are, and which of them to look at: arrays in, records out. Every metric is scikit-learn's or SciPy's.

Throughout, `scores` is float (pictures, classes), probabilities in [0, 1]; `truth` int (pictures,), each picture's class. The answer to a
picture is the class of its highest score, and its confidence that score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

from pipeline.arrays import Array

CALIBRATION_BINS = 10
WANTED_ACCURACIES = (0.90, 0.95, 0.99)


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """One class: `count` pictures of it. `precision` is None where no picture was taken for it, `recall` where there is none of it."""

    index: int
    precision: float | None
    recall: float | None
    count: int


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """The answers of which the confidence lies in one tenth of [0, 1]: its mean, how many were right, and the 95 % interval of that."""

    confidence: float
    accuracy: float
    interval: tuple[float, float]
    count: int


@dataclass(frozen=True, kw_only=True)
class ThresholdFigures:
    """What is left when answers below a threshold are withheld: `coverage` of all pictures, of which `accuracy` are right.

    `accuracy` is None where nothing is left.
    """

    threshold: float
    coverage: float
    accuracy: float | None
    right: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class CoverageCurve:
    """Coverage and accuracy float (thresholds,) for every threshold that makes a difference, ascending from 0."""

    thresholds: Array
    coverage: Array
    accuracy: Array


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All figures of one set of pictures.

    `confusion` int (labels, labels) counts pictures of the class of a row that were taken for the class of a column. `labels` are indices
    of classes: those of the data and whatever else was answered, in the model's order. `wanted` has, for each of WANTED_ACCURACIES, the
    threshold with the most coverage that reaches it, None where none does. `calibration_error` is the mean distance of confidence from
    accuracy.
    """

    count: int
    accuracy: float
    interval: tuple[float, float]
    top5: float
    per_class: Sequence[ClassFigures]
    labels: Sequence[int]
    confusion: Array
    calibration: Sequence[CalibrationBin]
    calibration_error: float
    curve: CoverageCurve
    best: ThresholdFigures
    asked: ThresholdFigures | None
    wanted: Mapping[float, ThresholdFigures | None]


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share by E. B. Wilson (1927), 10.1080/01621459.1927.10502953; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    found = binomtest(int(right), int(count)).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def evaluate(scores: Array, truth: Array, *, present: Iterable[int], threshold: float | None = None) -> Evaluation:
    """The figures of at least one picture; `present` are the classes of the data, also those of which no picture is among these.

    `threshold` is one that is asked for besides the best.
    """
    answers, confidence = scores.argmax(axis=1), np.clip(scores.max(axis=1).astype(np.float64), 0, 1)
    right = answers == truth
    classes = sorted({int(index) for index in present} | set(truth.tolist()))
    labels = sorted({*classes, *answers.tolist()})
    bins = _bin_calibration(right, confidence)
    curve = _make_curve(right, confidence)
    return Evaluation(
        count=len(truth),
        accuracy=float(accuracy_score(truth, answers)),
        interval=wilson_interval(int(right.sum()), len(truth)),
        top5=1.0 if scores.shape[1] <= 5 else float(top_k_accuracy_score(truth, scores, k=5, labels=np.arange(scores.shape[1]))),
        per_class=_measure_classes(truth, answers, classes),
        labels=labels,
        confusion=confusion_matrix(truth, answers, labels=labels),
        calibration=bins,
        calibration_error=sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / len(truth),
        curve=curve,
        best=_find_best(curve, right, confidence),
        asked=None if threshold is None else withhold(right, confidence, threshold),
        wanted={accuracy: _find_reaching(accuracy, curve, right, confidence) for accuracy in WANTED_ACCURACIES},
    )


def _measure_classes(truth: Array, answers: Array, classes: Sequence[int]) -> list[ClassFigures]:
    precision, recall, _, count = precision_recall_fscore_support(truth, answers, labels=classes, zero_division=np.nan)
    return [
        ClassFigures(index=index, precision=_none_if_nan(p), recall=_none_if_nan(r), count=int(n))
        for index, p, r, n in zip(classes, precision, recall, count, strict=True)
    ]


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bin_calibration(right: Array, confidence: Array) -> list[CalibrationBin]:
    """The tenths of [0, 1] that hold answers. C. Guo et al., arXiv 1706.04599, section 2, of the top answer."""
    accuracy, mean = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS, strategy="uniform", pos_label=True)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]  # as calibration_curve has them, which does not tell the counts
    counts = np.bincount(np.searchsorted(edges, confidence), minlength=CALIBRATION_BINS)
    return [
        CalibrationBin(confidence=float(c), accuracy=float(a), interval=wilson_interval(round(a * n), n), count=int(n))
        for c, a, n in zip(mean, accuracy, counts[counts > 0], strict=True)
    ]


# ------------------------------------------------------------------------------------------------ withholding answers


def withhold(right: Array, confidence: Array, threshold: float) -> ThresholdFigures:
    """What is left when answers with less confidence than `threshold` are withheld; `right` bool (pictures,)."""
    kept = confidence >= threshold
    good, count = int(right[kept].sum()), int(kept.sum())
    return ThresholdFigures(
        threshold=float(threshold),
        coverage=count / len(right),
        accuracy=good / count if count else None,
        right=good,
        wrong=count - good,
    )


def _make_curve(right: Array, confidence: Array) -> CoverageCurve:
    """Risk and coverage, R. El-Yaniv and Y. Wiener, JMLR 11 (2010), with accuracy in place of risk."""
    order = np.argsort(confidence, kind="stable")
    levels, first = np.unique(confidence[order], return_index=True)
    kept = len(right) - first
    good = np.concatenate([[0], np.cumsum(right[order][::-1])])[kept]
    thresholds = np.concatenate([[0.0], levels[1:]])  # 0 withholds nothing, as the lowest confidence does
    return CoverageCurve(thresholds=thresholds, coverage=kept / len(right), accuracy=good / kept)


def _find_best(curve: CoverageCurve, right: Array, confidence: Array) -> ThresholdFigures:
    """The threshold with the most right answers less wrong ones: 1 for a right answer, -1 for a wrong one, 0 for none; ties: the lowest."""
    gain = np.rint((2 * curve.accuracy - 1) * curve.coverage * len(right))
    return _round_threshold(int(gain.argmax()), curve, right, confidence)


def _find_reaching(accuracy: float, curve: CoverageCurve, right: Array, confidence: Array) -> ThresholdFigures | None:
    reached = np.flatnonzero(curve.accuracy >= accuracy - 1e-9)
    return _round_threshold(int(reached[0]), curve, right, confidence) if len(reached) else None


def _round_threshold(number: int, curve: CoverageCurve, right: Array, confidence: Array) -> ThresholdFigures:
    """At the threshold of the fewest digits that keeps the same answers."""
    highest = float(curve.thresholds[number])
    lowest = float(confidence[confidence < highest].max(initial=-1.0))
    shorter = (float(np.floor(highest * 10**digits) / 10**digits) for digits in range(1, 9))
    return withhold(right, confidence, next((each for each in shorter if lowest < each <= highest), highest))


# ------------------------------------------------------------------------------------------------ which pictures to look at


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Pictures of one class, by number, the most telling first.

    `right`: recognised with the most confidence; `least`: answered with the least confidence, rightly or wrongly; `wrong`: taken for
    another class with the most confidence.
    """

    right: Sequence[int]
    least: Sequence[int]
    wrong: Sequence[int]


def choose_examples(scores: Array, truth: Array, *, count: int) -> dict[int, Examples]:
    """For each class that has pictures, `count` of each kind or fewer."""
    answers, confidence = scores.argmax(axis=1), scores.max(axis=1)
    ascending = np.argsort(confidence, kind="stable")
    descending = np.argsort(-confidence, kind="stable")
    found = {}
    for index in np.unique(truth).tolist():
        mine, hit = truth == index, answers == truth
        right, wrong = (descending[chosen[descending]] for chosen in (mine & hit, mine & ~hit))
        least = ascending[mine[ascending]]
        found[index] = Examples(right=right[:count].tolist(), least=least[:count].tolist(), wrong=wrong[:count].tolist())
    return found
