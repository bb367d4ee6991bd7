"""Labelled pictures through the network once: scores, features, and which of them the model was trained on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import compute_batches, default_batch_size, read_batches
from pipeline.datasets import Dataset, Example, LabelledPicture, PictureSignature, read_labelled_picture
from pipeline.errors import HeatreelError, InputError
from pipeline.explain import Session, make_describer
from pipeline.models import LearnedPicture

Learned = Sequence[LearnedPicture]  # the pictures that a model's file says it was trained and validated on


@dataclass(frozen=True, kw_only=True)
class ScoredPictures:
    """What the network says of every picture that could be read, in the data's order.

    `truth` int (pictures,), classes of the model; `scores` float32 (pictures, classes); `features` float32 (pictures, channels); `trained`
    bool (pictures,), whether the model was trained on it; `parts`: "train", "val", or "" where nothing says so. `unreadable` has name and
    error of the others.
    """

    examples: Sequence[Example]
    truth: Array
    scores: Array
    features: Array
    signatures: Sequence[PictureSignature]
    parts: Sequence[str]
    trained: Array
    unreadable: Sequence[tuple[str, str]] = ()

    @functools.cached_property
    def answers(self) -> Array:
        """int (pictures,): the class with the highest score."""
        return np.asarray(self.scores.argmax(axis=1))


class _Described(NamedTuple):
    scores: Array
    features: Array
    signature: PictureSignature


def score_pictures(
    data: Dataset, classes: Sequence[int | None], session: Session, learned: Learned, tick: Callable[[], None]
) -> ScoredPictures:
    """Send every picture through the network as `predict` does; `classes` are those that the data's labels mean.

    Raises InputError when not one can be read.
    """
    unreadable: list[tuple[str, str]] = []
    described = _describe_pictures(data, session, unreadable, tick)
    if not described:
        raise InputError(f"{data.root}: none of its {len(data.examples)} pictures can be read: {_first_reason(data, unreadable)}")
    numbers = sorted(described)
    examples = [data.examples[number] for number in numbers]
    signatures = [described[number].signature for number in numbers]
    parts = _find_parts(examples, signatures, learned)
    return ScoredPictures(
        examples=examples,
        truth=np.array([classes[example.label] for example in examples], int),
        scores=np.stack([described[number].scores for number in numbers]),
        features=np.stack([described[number].features for number in numbers]),
        signatures=signatures,
        parts=parts,
        trained=_find_trained(examples, signatures, parts, learned),
        unreadable=unreadable,
    )


def _describe_pictures(
    data: Dataset, session: Session, unreadable: list[tuple[str, str]], tick: Callable[[], None]
) -> dict[int, _Described]:
    """By number; name and error of what cannot be read are added to `unreadable`."""
    describe, found = make_describer(session.classifier), {}
    limit = session.options.max_megapixels

    def read(number: int) -> LabelledPicture:
        return read_labelled_picture(data.examples[number], session.geometry, max_megapixels=limit)

    def reject(number: int, error: HeatreelError) -> None:
        unreadable.append((data.examples[number].name, str(error)))
        tick()

    batches = read_batches(range(len(data.examples)), read, batch_size=default_batch_size(), failed=reject)
    for batch, described in compute_batches(lambda given: (given[1], describe(given[0])), batches):
        for (number, signature), scores, features in zip(batch, *described, strict=True):
            found[number] = _Described(scores, features, signature)
            tick()
    return found


def _first_reason(data: Dataset, unreadable: Sequence[tuple[str, str]]) -> str:
    return [*data.unreadable, *unreadable][0][1]


def _find_parts(examples: Sequence[Example], signatures: Sequence[PictureSignature], learned: Learned) -> list[str]:
    """As the model's file has it, by name and content or else by content; where it has nothing, as the folders do."""
    if not learned:
        return [example.part or "" for example in examples]
    named = {(each.name, each.sha256): each.part for each in learned}
    # What was trained on under any name counts as that.
    known = {each.sha256: each.part for each in sorted(learned, key=lambda each: each.part == "train")}
    return [
        named.get((example.name, signature.sha256)) or known.get(signature.sha256) or ""
        for example, signature in zip(examples, signatures, strict=True)
    ]


def _find_trained(examples: Sequence[Example], signatures: Sequence[PictureSignature], parts: Sequence[str], learned: Learned) -> Array:
    """bool (pictures,): by what the model's file says; where it says nothing, by the folder train/ beside val/."""
    by_folder = not learned and any(example.part == "val" for example in examples)
    taught = {each.sha256 for each in learned if each.part == "train"}
    found = [signature.sha256 in taught or (by_folder and part == "train") for signature, part in zip(signatures, parts, strict=True)]
    return np.array(found, bool)
