"""Labels that may be wrong, by confident learning and by the nearest pictures: arrays in, records out.

Throughout, `scores` is float (pictures, classes), probabilities in [0, 1]; `truth` int (pictures,), the class of each picture's label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import Normalizer

from pipeline.arrays import Array

NEIGHBOURS = 10
FEWEST_NEIGHBOURS = 3
FOLDS = 5
COMPONENTS = 64


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A picture whose label may be wrong: number, the class that it looks like, that class' score, and its neighbours of that class."""

    number: int
    looks_like: int
    score: float
    neighbours: int
    of: int


def find_suspects(
    scores: Array, truth: Array, features: Array, *, copies: Iterable[tuple[int, int]] = (), groups: Array | None = None
) -> list[Suspect]:
    """Pictures whose answer disagrees with their label confidently and consistently, the most confident first.

    Confident: another class scores at least as high as it does on average among the pictures that carry its label (C. Northcutt et al.,
    "Confident learning", arXiv 1911.00068, eq. 1 and 2). Consistent: of the nearest pictures by the cosine of `features` float (pictures,
    channels) more than half carry that class' label; NEIGHBOURS of them, or as many as there are of that class, but no fewer than
    FEWEST_NEIGHBOURS. The picture itself and its `copies` (pairs of numbers) do not count. `groups` int (pictures,) tells those apart whose
    scores come from elsewhere: what is high is judged within a group.
    """
    doubted = _find_doubted_in_groups(scores, truth, np.zeros(len(truth), int) if groups is None else groups)
    if not doubted:
        return []
    copies_of = _group_copies(copies)
    around = _find_nearest(features, doubted, copies_of)
    found = [
        suspect
        for number, other in doubted.items()
        if (suspect := _judge(number, other, around[number], truth, float(scores[number, other]), copies_of.get(number, ())))
    ]
    return sorted(found, key=lambda each: (-each.score, each.number))


def _find_doubted_in_groups(scores: Array, truth: Array, groups: Array) -> dict[int, int]:
    doubted: dict[int, int] = {}
    for group in np.unique(groups):
        numbers = np.flatnonzero(groups == group)
        doubted |= {int(numbers[at]): other for at, other in _find_doubted(scores[numbers], truth[numbers]).items()}
    return doubted


def _group_copies(copies: Iterable[tuple[int, int]]) -> Mapping[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for first, second in copies:
        found[first].add(second)
        found[second].add(first)
    return found


def _find_nearest(features: Array, doubted: Mapping[int, int], copies_of: Mapping[int, set[int]]) -> dict[int, list[int]]:
    """For each doubted picture so many that NEIGHBOURS are left without itself and its copies, the nearest first."""
    numbers = list(doubted)
    count = min(len(features), NEIGHBOURS + 1 + max(len(copies_of.get(number, ())) for number in numbers))
    nearest = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(features)
    return dict(zip(numbers, nearest.kneighbors(features[numbers], return_distance=False).tolist(), strict=True))


def _judge(number: int, other: int, around: list[int], truth: Array, score: float, copies: Collection[int]) -> Suspect | None:
    """A suspect where more than half of the neighbours carry the label of the `other` class."""
    most = max(FEWEST_NEIGHBOURS, min(NEIGHBOURS, int((truth == other).sum())))
    near = [each for each in around if each != number and each not in copies][:most]
    agreeing = int((truth[near] == other).sum())
    if 2 * agreeing <= len(near) or len(near) < FEWEST_NEIGHBOURS:
        return None
    return Suspect(number=number, looks_like=other, score=score, neighbours=agreeing, of=len(near))


def _find_doubted(scores: Array, truth: Array) -> dict[int, int]:
    """Pictures, by number, that are off the diagonal of the confident joint, each with the class that it is counted for."""
    classes = np.unique(truth)
    usual = np.array([scores[truth == index, index].mean() for index in classes])
    reached = np.where(scores[:, classes] >= usual, scores[:, classes], -1.0)
    counted = classes[reached.argmax(axis=1)]
    doubted = np.flatnonzero((reached.max(axis=1) >= 0) & (counted != truth))
    return {int(number): int(counted[number]) for number in doubted}


def cross_validated_scores(features: Array, truth: Array, *, classes: int, seed: int = 0) -> Array:
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
