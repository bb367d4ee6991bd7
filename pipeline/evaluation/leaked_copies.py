"""Copies among labelled pictures: across training and validation, where they flatter the figures, and under two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.datasets import DuplicatePairs, PictureSignature, find_pairs
from pipeline.evaluation.scoring import Learned, ScoredPictures

Kind = Literal["the same file", "nearly the same", "mirrored"]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Two pictures that show the same: numbers of pictures, or for one that only the model's file knows of, its name there.

    `across`: one of them was trained on, the other not. `classes` of the two; None where that is not known.
    """

    first: int
    second: int | str
    kind: Kind
    across: bool
    classes: tuple[int, int | None]

    @property
    def has_two_labels(self) -> bool:
        """Whether both classes are known and differ."""
        return self.classes[1] is not None and self.classes[0] != self.classes[1]


def find_copies(scored: ScoredPictures, pairs: DuplicatePairs, learned: Learned, *, class_count: int) -> list[Copy]:
    """Copies across training and validation first, then those under two labels, then the rest. `pairs` are those among the pictures."""
    copies = [*_describe_pairs(scored, pairs), *_find_copies_elsewhere(scored, learned, class_count)]
    return sorted(copies, key=lambda copy: (not copy.across, not copy.has_two_labels))


def _describe_pairs(scored: ScoredPictures, pairs: DuplicatePairs) -> Iterator[Copy]:
    for first, second, kind in _with_kinds(pairs):
        yield Copy(
            first=first,
            second=second,
            kind=kind,
            across=(scored.parts[first] == "train") != (scored.parts[second] == "train"),
            classes=(int(scored.truth[first]), int(scored.truth[second])),
        )


def _find_copies_elsewhere(scored: ScoredPictures, learned: Learned, class_count: int) -> Iterator[Copy]:
    """Copies of pictures that the model was trained on and that are not here."""
    here = {signature.sha256 for signature in scored.signatures}
    elsewhere = [each for each in learned if each.part == "train" and each.sha256 not in here]
    known = [PictureSignature(each.sha256, bytes.fromhex(each.fingerprint)) for each in elsewhere]
    others = np.flatnonzero([part != "train" for part in scored.parts]).tolist()
    for first, second, kind in _with_kinds(find_pairs([scored.signatures[number] for number in others], known)):
        number, other = others[first], elsewhere[second]
        classes = (int(scored.truth[number]), other.label if other.label < class_count else None)
        yield Copy(first=number, second=other.name, kind=kind, across=True, classes=classes)


def _with_kinds(pairs: DuplicatePairs) -> Iterator[tuple[int, int, Kind]]:
    for (first, second), same, mirrored in zip(pairs, pairs.same, pairs.mirrored, strict=True):
        yield first, second, "the same file" if same else "mirrored" if mirrored else "nearly the same"


def find_leaked(copies: Sequence[Copy]) -> set[int]:
    """Numbers of pictures of which the other part has a copy."""
    return {number for copy in copies if copy.across for number in (copy.first, copy.second) if isinstance(number, int)}
