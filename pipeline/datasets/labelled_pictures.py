"""Labelled pictures as a network sees them: each file is read once, hashed, decoded, and put into a pixel cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import read_batches
from pipeline.datasets import class_folders, near_duplicates
from pipeline.datasets.class_folders import Dataset, Example, Part
from pipeline.datasets.near_duplicates import PictureSignature
from pipeline.datasets.pixel_cache import PixelCache
from pipeline.errors import HeatreelError, InputError, report_write_errors
from pipeline.files import hash_bytes, hash_json
from pipeline.media import image_to_frame, images, resize_for_network
from pipeline.models import LearnedPicture
from pipeline.records import Geometry

READING_BATCH = 32
HASH_DIGITS = 16  # of the SHA-256 of its file, in the metadata of a model that learned from a picture
FitFrame = Callable[[int, int], Geometry]


class LabelledPicture(NamedTuple):
    """A labelled picture as the network sees it, uint8 (height, width, 3), and what it is recognised by."""

    pixels: Array
    signature: PictureSignature


def read_labelled_picture(example: Example, fit: FitFrame, *, max_megapixels: float | None) -> LabelledPicture:
    """Read the file once; its hash and its pixels come from these bytes.

    `fit` fits a picture of some width and height to the network. Raises InputError when it cannot be read.
    """
    try:
        data = example.path.read_bytes()
    except OSError as error:
        raise InputError(f"{example.path}: cannot be read: {error.strerror or error}") from error
    image = images.read_image(example.path, max_megapixels=max_megapixels, data=data)
    thumbnail = images.make_thumbnail(image, near_duplicates.THUMBNAIL_PX)
    signature = near_duplicates.make_signature(thumbnail, hash_bytes(data)[:HASH_DIGITS])
    return LabelledPicture(resize_for_network(image_to_frame(image), fit(image.width, image.height)), signature)


@dataclass(frozen=True, kw_only=True)
class CachedDataset:
    """Both parts as the network sees them, and what is remembered of each picture; numbers count into `examples`.

    `unreadable` has the name and the error of pictures that could not be decoded.
    """

    train: PixelCache
    val: PixelCache
    examples: Sequence[Example]
    learned: Mapping[int, LearnedPicture]
    signatures: Mapping[int, PictureSignature]
    unreadable: Sequence[tuple[str, str]]

    def labels(self, part: Part) -> Array:
        """int64 (pictures,) in the order of the part's cache."""
        cache = self.train if part == "train" else self.val
        return np.array([self.examples[number].label for number in cache.numbers], np.int64)

    def digest(self) -> str:
        """SHA-256 over names, labels, parts and contents, in hex: the same for the same data."""
        facts = sorted((each.name, each.label, each.part, each.sha256) for each in self.learned.values())
        return hash_json(facts)


def cache_pixels(
    data: Dataset, fit: FitFrame, folder: Path, *, max_megapixels: float | None, progress: Callable[[int, int], None]
) -> CachedDataset:
    """Put every picture of both parts into a new folder, as the network sees it; `progress` gets how many are done, of how many.

    Raises InputError when too few of a class can be read, OutputError when the disk refuses.
    """
    learned: dict[int, LearnedPicture] = {}
    signatures: dict[int, PictureSignature] = {}
    unreadable: list[tuple[str, str]] = []

    def remember(number: int, part: Part, signature: PictureSignature) -> None:
        learned[number], signatures[number] = _as_learned(data.examples[number], part, signature), signature

    def reject(number: int, error: HeatreelError) -> None:
        unreadable.append((data.examples[number].name, str(error)))

    def read(number: int) -> LabelledPicture:
        return read_labelled_picture(data.examples[number], fit, max_megapixels=max_megapixels)

    def cache_part(part: Part) -> PixelCache:
        cache = PixelCache(folder / part)
        numbers = [number for number, example in enumerate(data.examples) if example.part == part]
        for pixels, batch in read_batches(numbers, read, batch_size=READING_BATCH, failed=reject):
            cache.add(pixels, [number for number, _ in batch])
            for number, signature in batch:
                remember(number, part, signature)
            progress(len(learned), len(data.examples))
        return cache

    with report_write_errors(folder):
        folder.mkdir(parents=True)
        train, val = cache_part("train"), cache_part("val")
    _check_readable(data, learned, val)
    return CachedDataset(train=train, val=val, examples=data.examples, learned=learned, signatures=signatures, unreadable=unreadable)


def _as_learned(example: Example, part: Part, signature: PictureSignature) -> LearnedPicture:
    return LearnedPicture(
        name=example.name, label=example.label, part=part, sha256=signature.sha256, fingerprint=signature.difference_hash.hex()
    )


def _check_readable(data: Dataset, learned: Mapping[int, LearnedPicture], val: PixelCache) -> None:
    readable = [example for number, example in enumerate(data.examples) if number in learned]
    class_folders.check_trainable(replace(data, examples=readable))
    if not len(val.numbers):
        raise InputError(f"{data.root}: no picture of the validation part can be read")


def warn_of_duplicates(dataset: CachedDataset) -> list[str]:
    """Warnings of what makes a validation look better, or a training worse, than it is: damaged pictures, and copies."""
    warnings = [f"{len(dataset.unreadable)} pictures are damaged and left out"] if dataset.unreadable else []
    numbers = sorted(dataset.learned)
    found = near_duplicates.find_pairs([dataset.signatures[number] for number in numbers])
    pairs = [(dataset.learned[numbers[first]], dataset.learned[numbers[second]]) for first, second in found]
    labels = [pair for pair in pairs if pair[0].label != pair[1].label]
    parts = [pair for pair in pairs if pair[0].part != pair[1].part]
    if labels:
        warnings.append(f"nearly the same picture in two classes: {_list_pairs(labels)}")
    if parts:
        warnings.append(f"nearly the same picture in training and in validation, whose accuracy then says too much: {_list_pairs(parts)}")
    return warnings


def _list_pairs(pairs: Sequence[tuple[LearnedPicture, LearnedPicture]]) -> str:
    shown = "; ".join(f"{first.name} and {second.name}" for first, second in pairs[:3])
    return f"{shown}; and {len(pairs) - 3} more pairs" if len(pairs) > 3 else shown
