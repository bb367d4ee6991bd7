"""The scores of a network that pools globally are those of windows of its feature map, as large as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from pipeline.models import Network


class WindowScores(NamedTuple):
    """What the network says of each window of a batch; a network that does not pool globally sees one window, the whole.

    `logits` float32 (batch, windows, classes); `pooled` what each of its poolings gives, float32 (batch, windows, channels), or None.
    """

    logits: tf.Tensor
    pooled: Sequence[tf.Tensor] | None


def score_windows(network: Network, activations: tf.Tensor, pixels: tf.Tensor) -> WindowScores:
    """What the network's head says of `activations`, which its body gave of `pixels` (batch, height, width, 3)."""
    if network.pooling is None:
        return WindowScores(network.run_head(activations, pixels)[:, None], None)
    features = tf.cast(network.run_before_pooling(activations, pixels), tf.float32)
    pooled = [pool_windows(features, network.window, largest=is_max_pooling(call)) for call in network.pooling.calls]
    logits = network.run_after_pooling([tf.reshape(each, (-1, each.shape[2])) for each in pooled])
    return WindowScores(tf.reshape(logits, (tf.shape(features)[0], -1, logits.shape[1])), pooled)


def is_max_pooling(pooling: Any) -> bool:
    """Whether that call of a network takes the largest value of each channel, and not the mean."""
    return isinstance(pooling.operation, keras.layers.GlobalMaxPooling2D)


def pool_windows(features: tf.Tensor, window: tuple[int, int] | None, *, largest: bool = False) -> tf.Tensor:
    """Means (or the largest) over every window of a feature map float32 (batch, h, w, k): (batch, windows, k), row by row.

    `window` (rows, columns) slides by one cell; it is cut to the map where it is larger, and None is the whole map.
    """
    if window is None:
        pooled = tf.reduce_max(features, (1, 2)) if largest else tf.reduce_mean(features, (1, 2))
        return pooled[:, None]
    batch, height, width, _ = tf.unstack(tf.shape(features))
    channels, (rows, columns) = features.shape[3], window
    pool = _largest_of_windows if largest else _means_of_windows
    pooled = pool(tf.reshape(features, (batch, 1, height, -1)), rows)  # the cells of one row are one long row of numbers
    pooled = pool(tf.reshape(pooled, (batch, -1, width, channels)), columns)
    return tf.reshape(pooled, (batch, -1, channels))


def _means_of_windows(x: tf.Tensor, length: int) -> tf.Tensor:
    """(batch, n, size, k) -> (batch, n, windows, k), means over windows of the third axis; a matrix product with a band of ones."""
    size = tf.shape(x)[2]
    cut = tf.minimum(length, size)
    behind = tf.range(size)[None] - tf.range(size - cut + 1)[:, None]
    return tf.matmul(tf.cast((behind >= 0) & (behind < cut), tf.float32) / tf.cast(cut, tf.float32), x)


def _largest_of_windows(x: tf.Tensor, length: int) -> tf.Tensor:
    """As _means_of_windows, the largest."""
    size = tf.shape(x)[2]
    cut = tf.minimum(length, size)
    return tf.reduce_max(tf.gather(x, tf.range(size - cut + 1)[:, None] + tf.range(cut), axis=2), 3)


def best_scores(network: Network, logits: tf.Tensor) -> tf.Tensor:
    """From logits (batch, windows, classes) the scores (batch, classes) that count, see BatchExplanation."""
    scores = network.scores(logits)
    if not network.has_exclusive_classes:
        return tf.reduce_max(scores, 1)
    return tf.gather(scores, tf.argmax(tf.reduce_max(scores, 2), 1), axis=1, batch_dims=1)
