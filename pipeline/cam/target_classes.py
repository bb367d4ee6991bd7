"""Which classes, or groups of them, are explained of each picture of a batch, with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from pipeline.models import Network


class ExplainedClasses(NamedTuple):
    """What is explained of each picture: `classes` int32 (batch, t), their `scores` (batch, t), the windows int64 (batch, t) that show them
    best, and the part of every class in its group, float32 (batch, t, classes), which add up to 1; None where no group has several.
    """

    classes: tf.Tensor
    scores: tf.Tensor
    windows: tf.Tensor
    parts: tf.Tensor | None

    def sums(self, logits: tf.Tensor) -> list[tf.Tensor]:
        """Of logits (batch, t, classes) what is explained of each target, summed over the batch: pictures do not meet in a network."""
        picked = tf.gather(logits, self.classes[..., None], axis=2, batch_dims=2)[..., 0] if self.parts is None else logits * self.parts
        return [tf.reduce_sum(picked[:, t]) for t in range(self.classes.shape[1])]


def find_explained_classes(network: Network, logits: tf.Tensor, scores: tf.Tensor, targets: Sequence[list[int]] | None) -> ExplainedClasses:
    """The groups of classes asked for, or without any the class with the highest of the `scores` (batch, classes) of each picture.

    `logits` are those of every window, float32 (batch, windows, classes).
    """
    of_windows = network.scores(logits)
    if targets is None:
        return explain_single_classes(of_windows, tf.argmax(scores, axis=1, output_type=tf.int32)[:, None])
    found = [_explain_group(of_windows, logits, group) for group in targets]
    asked = ExplainedClasses(*(tf.stack(tensors, axis=1) for tensors in zip(*found, strict=True)))
    return asked if any(len(group) > 1 for group in targets) else asked._replace(parts=None)


def explain_single_classes(scores: tf.Tensor, classes: tf.Tensor) -> ExplainedClasses:
    """Of single classes int32 (batch, t), by scores (batch, windows, classes)."""
    shown = tf.gather(scores, classes, axis=2, batch_dims=1)  # (batch, windows, t)
    return ExplainedClasses(classes, tf.reduce_max(shown, 1), tf.argmax(shown, 1), None)


def _explain_group(scores: tf.Tensor, logits: tf.Tensor, group: list[int]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """As ExplainedClasses has them, for one group; `scores` and `logits` are (batch, windows, classes)."""
    members = tf.constant(group, tf.int32)
    together = tf.reduce_sum(tf.gather(scores, members, axis=2), 2)
    window = tf.argmax(together, 1)
    at_best = tf.gather(tf.gather(logits, members, axis=2), window, axis=1, batch_dims=1)  # (batch, members)
    parts = tf.matmul(tf.nn.softmax(at_best), tf.one_hot(members, logits.shape[2]))
    classes = tf.gather(members, tf.argmax(at_best, 1))
    best = tf.minimum(tf.gather(together, window, axis=1, batch_dims=1), 1.0)  # of several labels at once the sum may be more
    return classes, best, window, parts
