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
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import Normalizer

from pipeline.arrays import Array

CALIBRATION_BINS = 10
WANTED_ACCURACIES = (0.90, 0.95, 0.99)
NEIGHBOURS = 10
FEWEST_NEIGHBOURS = 3
FOLDS = 5
COMPONENTS = 64


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
class Withheld:
    """What is left when answers below a threshold are withheld: `coverage` of all pictures, of which `accuracy` are right.

    `accuracy` is None where nothing is left.
    """

    threshold: float
    coverage: float
    accuracy: float | None
    right: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class Course:
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
    course: Course
    best: Withheld
    asked: Withheld | None
    wanted: Mapping[float, Withheld | None]


def interval(right: int, count: int) -> tuple[float, float]:
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
    bins = _calibration(right, confidence)
    course = _course(right, confidence)
    return Evaluation(
        count=len(truth),
        accuracy=float(accuracy_score(truth, answers)),
        interval=interval(int(right.sum()), len(truth)),
        top5=1.0 if scores.shape[1] <= 5 else float(top_k_accuracy_score(truth, scores, k=5, labels=np.arange(scores.shape[1]))),
        per_class=_per_class(truth, answers, classes),
        labels=labels,
        confusion=confusion_matrix(truth, answers, labels=labels),
        calibration=bins,
        calibration_error=sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / len(truth),
        course=course,
        best=_best(course, right, confidence),
        asked=None if threshold is None else withheld(right, confidence, threshold),
        wanted={accuracy: _reaching(accuracy, course, right, confidence) for accuracy in WANTED_ACCURACIES},
    )


def _per_class(truth: Array, answers: Array, classes: Sequence[int]) -> list[ClassFigures]:
    precision, recall, _, count = precision_recall_fscore_support(truth, answers, labels=classes, zero_division=np.nan)
    return [
        ClassFigures(index=index, precision=_known(p), recall=_known(r), count=int(n))
        for index, p, r, n in zip(classes, precision, recall, count, strict=True)
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _calibration(right: Array, confidence: Array) -> list[CalibrationBin]:
    """The tenths of [0, 1] that hold answers. C. Guo et al., arXiv 1706.04599, section 2, of the top answer."""
    accuracy, mean = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS, strategy="uniform", pos_label=True)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]  # as calibration_curve has them, which does not tell the counts
    counts = np.bincount(np.searchsorted(edges, confidence), minlength=CALIBRATION_BINS)
    return [
        CalibrationBin(confidence=float(c), accuracy=float(a), interval=interval(round(a * n), n), count=int(n))
        for c, a, n in zip(mean, accuracy, counts[counts > 0], strict=True)
    ]


# ------------------------------------------------------------------------------------------------ withholding answers


def withheld(right: Array, confidence: Array, threshold: float) -> Withheld:
    """What is left when answers with less confidence than `threshold` are withheld; `right` bool (pictures,)."""
    kept = confidence >= threshold
    good, count = int(right[kept].sum()), int(kept.sum())
    return Withheld(
        threshold=float(threshold),
        coverage=count / len(right),
        accuracy=good / count if count else None,
        right=good,
        wrong=count - good,
    )


def _course(right: Array, confidence: Array) -> Course:
    """Risk and coverage, R. El-Yaniv and Y. Wiener, JMLR 11 (2010), with accuracy in place of risk."""
    order = np.argsort(confidence, kind="stable")
    levels, first = np.unique(confidence[order], return_index=True)
    kept = len(right) - first
    good = np.concatenate([[0], np.cumsum(right[order][::-1])])[kept]
    thresholds = np.concatenate([[0.0], levels[1:]])  # 0 withholds nothing, as the lowest confidence does
    return Course(thresholds=thresholds, coverage=kept / len(right), accuracy=good / kept)


def _best(course: Course, right: Array, confidence: Array) -> Withheld:
    """The threshold with the most right answers less wrong ones: 1 for a right answer, -1 for a wrong one, 0 for none; ties: the lowest."""
    gain = np.rint((2 * course.accuracy - 1) * course.coverage * len(right))
    return _at(int(gain.argmax()), course, right, confidence)


def _reaching(accuracy: float, course: Course, right: Array, confidence: Array) -> Withheld | None:
    reached = np.flatnonzero(course.accuracy >= accuracy - 1e-9)
    return _at(int(reached[0]), course, right, confidence) if len(reached) else None


def _at(number: int, course: Course, right: Array, confidence: Array) -> Withheld:
    """At the threshold of the fewest digits that keeps the same answers."""
    highest = float(course.thresholds[number])
    lowest = float(confidence[confidence < highest].max(initial=-1.0))
    shorter = (float(np.floor(highest * 10**digits) / 10**digits) for digits in range(1, 9))
    return withheld(right, confidence, next((each for each in shorter if lowest < each <= highest), highest))


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


def examples(scores: Array, truth: Array, *, count: int) -> dict[int, Examples]:
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


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A picture whose label may be wrong: number, the class that it looks like, that class' score, and its neighbours of that class."""

    number: int
    looks_like: int
    score: float
    neighbours: int
    of: int


def suspects(
    scores: Array, truth: Array, features: Array, *, copies: Iterable[tuple[int, int]] = (), groups: Array | None = None
) -> list[Suspect]:
    """Pictures whose answer disagrees with their label confidently and consistently, the most confident first.

    Confident: another class scores at least as high as it does on average among the pictures that carry its label (C. Northcutt et al.,
    "Confident learning", arXiv 1911.00068, eq. 1 and 2). Consistent: of the nearest pictures by the cosine of `features` float (pictures,
    channels) more than half carry that class' label; NEIGHBOURS of them, or as many as there are of that class, but no fewer than
    FEWEST_NEIGHBOURS. The picture itself and its `copies` (pairs of numbers) do not count. `groups` int (pictures,) tells those apart whose
    scores come from elsewhere: what is high is judged within a group.
    """
    doubted: dict[int, int] = {}
    groups = np.zeros(len(truth), int) if groups is None else groups
    for group in np.unique(groups):
        numbers_of = np.flatnonzero(groups == group)
        doubted |= {int(numbers_of[at]): other for at, other in _confidently_otherwise(scores[numbers_of], truth[numbers_of]).items()}
    if not doubted:
        return []
    apart: dict[int, set[int]] = {}
    for first, second in copies:
        apart.setdefault(first, set()).add(second)
        apart.setdefault(second, set()).add(first)
    numbers = list(doubted)
    reach = min(len(truth), NEIGHBOURS + 1 + max(len(apart.get(number, ())) for number in numbers))
    nearest = NearestNeighbors(n_neighbors=reach, metric="cosine", algorithm="brute").fit(features)
    found = []
    for number, around in zip(numbers, nearest.kneighbors(features[numbers], return_distance=False), strict=True):
        other = doubted[number]
        most = max(FEWEST_NEIGHBOURS, min(NEIGHBOURS, int((truth == other).sum())))
        near = [each for each in around.tolist() if each != number and each not in apart.get(number, ())][:most]
        agreeing = int((truth[near] == other).sum())
        if 2 * agreeing > len(near) and len(near) >= FEWEST_NEIGHBOURS:
            score = float(scores[number, other])
            found.append(Suspect(number=number, looks_like=other, score=score, neighbours=agreeing, of=len(near)))
    return sorted(found, key=lambda each: (-each.score, each.number))


def _confidently_otherwise(scores: Array, truth: Array) -> dict[int, int]:
    """Pictures, by number, that are off the diagonal of the confident joint, each with the class that it is counted for."""
    classes = np.unique(truth)
    usual = np.array([scores[truth == index, index].mean() for index in classes])
    reached = np.where(scores[:, classes] >= usual, scores[:, classes], -1.0)
    counted = classes[reached.argmax(axis=1)]
    doubted = np.flatnonzero((reached.max(axis=1) >= 0) & (counted != truth))
    return {int(number): int(counted[number]) for number in doubted}


def scores_by_the_others(features: Array, truth: Array, *, classes: int, seed: int = 0) -> Array:
    """Scores float32 (pictures, classes) of pictures that a model has learned from, as if it had not seen them.

    A linear classifier on the strongest components of the network's `features` is fitted to four fifths of the pictures and asked for the
    rest, five times: confident learning asks for scores of pictures that were not learned (arXiv 1911.00068, section 3). Where a class has
    fewer pictures than there are parts, there are fewer parts. A class of one or two pictures, or one class alone, gets no score above 0.
    """
    scores = np.zeros((len(truth), classes), np.float32)
    present, counts = np.unique(truth, return_counts=True)
    kept = np.isin(truth, present[counts >= FEWEST_NEIGHBOURS])
    if len(np.unique(truth[kept])) < 2:
        return scores
    # Logistic regression on all channels takes many times as long, and found fewer of the labels planted in scikit-learn's digits.
    components = min(COMPONENTS, int(kept.sum()) - 1, features.shape[1])
    strongest = PCA(components, random_state=seed).fit_transform(Normalizer().fit_transform(features[kept]))
    folds = StratifiedKFold(min(FOLDS, int(counts[counts >= FEWEST_NEIGHBOURS].min())), shuffle=True, random_state=seed)
    fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    found = cross_val_predict(fitted, strongest, truth[kept], cv=folds, method="predict_proba")
    scores[np.ix_(np.flatnonzero(kept), np.unique(truth[kept]))] = found
    return scores
