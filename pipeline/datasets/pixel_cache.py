"""Labelled pictures as the network sees them, in flat files that tf.data reads at the disk's pace, however many there are."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import batching
from pipeline.datasets import class_folders, near_duplicates
from pipeline.datasets.class_folders import Example
from pipeline.errors import HeatreelError, InputError, OutputError
from pipeline.explain.planning import TrainingPlan
from pipeline.media import images, resizing
from pipeline.models import input_geometry, metadata, zoo
from pipeline.models.device import disable_autotune
from pipeline.records import Geometry

READING_BATCH = 32
MOST_SHUFFLED_BYTES = 256 << 20  # of pictures in memory, of each size


class Album:
    """Pictures uint8 (height, width, 3) with a number each, one file for each size; `numbers` are in the order of `batches`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[tuple[int, int], list[int]] = {}
        folder.mkdir()

    def add(self, pixels: Array, numbers: Sequence[int]) -> None:
        """Pictures of one size: uint8 (batch, height, width, 3)."""
        size = (pixels.shape[1], pixels.shape[2])
        self._numbers.setdefault(size, []).extend(numbers)
        with self._file(size).open("ab") as file:
            file.write(np.ascontiguousarray(pixels).data)

    @property
    def numbers(self) -> Array:
        return np.array([number for numbers in self._numbers.values() for number in numbers], np.int64)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """(pixels, numbers) of one size a batch, always in the same order."""
        parts = [self._of(size).batch(batch_size).map(_decoder(size)) for size in self._numbers]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.concatenate(part)
        return disable_autotune(whole).prefetch(2)

    def shuffled(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """The same in an order that the seed chooses; sizes come as often as they are in the album."""
        parts = []
        for size in self._numbers:
            held = max(1, MOST_SHUFFLED_BYTES // (3 * size[0] * size[1]))
            part = self._of(size).shuffle(min(held, len(self._numbers[size])), seed=seed)
            parts.append(part.batch(batch_size).map(_decoder(size)))
        shares = [len(numbers) / len(self.numbers) for numbers in self._numbers.values()]
        return disable_autotune(tf.data.Dataset.sample_from_datasets(parts, weights=shares, seed=seed)).prefetch(2)

    def _of(self, size: tuple[int, int]) -> tf.data.Dataset:
        records = tf.data.FixedLengthRecordDataset(str(self._file(size)), 3 * size[0] * size[1])
        numbers = tf.data.Dataset.from_tensor_slices(np.array(self._numbers[size], np.int64))
        return tf.data.Dataset.zip((records, numbers)).apply(tf.data.experimental.assert_cardinality(len(self._numbers[size])))

    def _file(self, size: tuple[int, int]) -> Path:
        return self._folder / f"{size[0]}x{size[1]}.rgb"


def _decoder(size: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    return lambda records, numbers: (tf.reshape(tf.io.decode_raw(records, tf.uint8), (-1, *size, 3)), numbers)


# ------------------------------------------------------------------------------------------------ from files


class Pictures(NamedTuple):
    """Both parts as the network sees them, and what is remembered of each picture; numbers count into `examples`."""

    train: Album
    val: Album
    examples: Sequence[Example]
    learned: Mapping[int, metadata.LearnedPicture]
    looks: Mapping[int, near_duplicates.Look]
    unreadable: Sequence[tuple[str, str]]

    def labels(self, part: str) -> Array:
        album = self.train if part == "train" else self.val
        return np.array([self.examples[number].label for number in album.numbers], np.int64)

    def digest(self) -> str:
        told = sorted((each.name, each.label, each.part, each.sha256) for each in self.learned.values())
        return hashlib.sha256(json.dumps(told).encode("utf-8", "surrogateescape")).hexdigest()


def read_pictures(plan: TrainingPlan, entry: zoo.ZooEntry, folder: Path, read: Callable[[int, int], None]) -> Pictures:
    """Put every picture of a plan into a new folder, as a network of that entry sees it; `read` is told how many are done of how many.

    Raises InputError when too few of a class can be read, OutputError when the disk refuses.
    """
    examples, size = plan.data.examples, (entry.input_px, entry.input_px)
    fitted = functools.partial(
        input_geometry.frame_geometry, fit="whole", input_px=size, short_side_px=entry.short_side_px, stride=entry.stride
    )
    try:
        folder.mkdir(parents=True)
        parts: tuple[class_folders.Part, ...] = ("train", "val")
        albums = {part: Album(folder / part) for part in parts}
        learned: dict[int, metadata.LearnedPicture] = {}
        looks: dict[int, near_duplicates.Look] = {}
        unreadable: list[tuple[str, str]] = []
        for part, album in albums.items():
            numbers = [number for number, example in enumerate(examples) if example.part == part]

            def read_one(number: int) -> tuple[Array, near_duplicates.Look]:
                return read_example(examples[number], fitted, max_megapixels=plan.recipe.max_megapixels)

            def failed(number: int, error: HeatreelError) -> None:
                unreadable.append((examples[number].name, str(error)))

            for pixels, batch in batching.read_batches(numbers, read_one, batch_size=READING_BATCH, failed=failed):
                album.add(pixels, [number for number, _ in batch])
                for number, look in batch:
                    example, looks[number] = examples[number], look
                    learned[number] = metadata.LearnedPicture(
                        name=example.name, label=example.label, part=part, sha256=look.sha256, fingerprint=look.fingerprint.hex()
                    )
                read(len(learned), len(examples))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    readable = [example for number, example in enumerate(examples) if number in learned]
    class_folders.check_trainable(replace(plan.data, examples=readable))
    if not len(albums["val"].numbers):
        raise InputError(f"{plan.data.root}: no picture of the validation part can be read")
    return Pictures(albums["train"], albums["val"], examples, learned, looks, unreadable)


def read_example(
    example: Example, geometry: Callable[[int, int], Geometry], *, max_megapixels: float | None
) -> tuple[Array, near_duplicates.Look]:
    """A labelled picture as the network sees it, uint8 (height, width, 3), and what it is found again by.

    `geometry` fits a picture of that width and height to the network. Raises InputError when it cannot be read.
    """
    digest = class_folders.sha256_of(example.path)
    image = images.read_still(example.path, max_megapixels=max_megapixels)
    look = near_duplicates.look(images.thumbnail(image, near_duplicates.LOOK_PX), digest)
    return resizing.network_picture(resizing.frame_of(image), geometry(image.width, image.height)), look


def doubts(pictures: Pictures) -> list[str]:
    """What makes a validation look better, or a training worse, than it is."""
    warnings = [f"{len(pictures.unreadable)} pictures are damaged and left out"] if pictures.unreadable else []
    numbers = sorted(pictures.learned)
    pairs = [
        (pictures.learned[numbers[a]], pictures.learned[numbers[b]]) for a, b in near_duplicates.near([pictures.looks[n] for n in numbers])
    ]
    labels = [pair for pair in pairs if pair[0].label != pair[1].label]
    parts = [pair for pair in pairs if pair[0].part != pair[1].part]
    if labels:
        warnings.append(f"nearly the same picture in two classes: {_named(labels)}")
    if parts:
        warnings.append(f"nearly the same picture in training and in validation, whose accuracy then says too much: {_named(parts)}")
    return warnings


def _named(pairs: Sequence[tuple[metadata.LearnedPicture, metadata.LearnedPicture]]) -> str:
    shown = "; ".join(f"{first.name} and {second.name}" for first, second in pairs[:3])
    return f"{shown}; and {len(pairs) - 3} more pairs" if len(pairs) > 3 else shown
