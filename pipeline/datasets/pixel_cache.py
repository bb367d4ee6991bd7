"""Labelled pictures as the network sees them, in flat files that tf.data reads at the disk's pace, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.models import disable_autotune

MAX_SHUFFLED_BYTES = 256 << 20  # of pictures in memory, of each size


class PixelCache:
    """Pictures uint8 (height, width, 3) with a number each in a new folder, one file for each size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[tuple[int, int], list[int]] = {}
        folder.mkdir()

    def add(self, pixels: Array, numbers: Sequence[int]) -> None:
        """Append pictures of one size, uint8 (batch, height, width, 3). Raises OSError when the disk refuses."""
        size = (pixels.shape[1], pixels.shape[2])
        self._numbers.setdefault(size, []).extend(numbers)
        with self._file(size).open("ab") as file:
            file.write(np.ascontiguousarray(pixels).data)

    @property
    def numbers(self) -> Array:
        """int64 (pictures,) in the order of `batches`."""
        return np.array([number for numbers in self._numbers.values() for number in numbers], np.int64)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """(pixels uint8 (batch, height, width, 3), numbers int64 (batch,)), of one size a batch, always in the same order."""
        parts = [self._records(size).batch(batch_size).map(_make_decoder(size)) for size in self._numbers]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.concatenate(part)
        return disable_autotune(whole).prefetch(2)

    def shuffled(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """The same in an order that the seed chooses; sizes come as often as they are in the cache."""
        parts = []
        for size in self._numbers:
            held = max(1, MAX_SHUFFLED_BYTES // (3 * size[0] * size[1]))
            part = self._records(size).shuffle(min(held, len(self._numbers[size])), seed=seed)
            parts.append(part.batch(batch_size).map(_make_decoder(size)))
        shares = [len(numbers) / len(self.numbers) for numbers in self._numbers.values()]
        return disable_autotune(tf.data.Dataset.sample_from_datasets(parts, weights=shares, seed=seed)).prefetch(2)

    def _records(self, size: tuple[int, int]) -> tf.data.Dataset:
        records = tf.data.FixedLengthRecordDataset(str(self._file(size)), 3 * size[0] * size[1])
        numbers = tf.data.Dataset.from_tensor_slices(np.array(self._numbers[size], np.int64))
        return tf.data.Dataset.zip((records, numbers)).apply(tf.data.experimental.assert_cardinality(len(self._numbers[size])))

    def _file(self, size: tuple[int, int]) -> Path:
        return self._folder / f"{size[0]}x{size[1]}.rgb"


def _make_decoder(size: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    return lambda records, numbers: (tf.reshape(tf.io.decode_raw(records, tf.uint8), (-1, *size, 3)), numbers)
