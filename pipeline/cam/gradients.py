"""Maps by gradient: only the head of the network is differentiated, or what is behind its pooling; never its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam.methods import CLOSED_FORM, FORMULAS, closed_form
from pipeline.cam.sliding_window_scores import WindowScores, is_max_pooling, pool_windows
from pipeline.cam.target_classes import ExplainedClasses
from pipeline.models import Network


def make_maps_by_gradient(
    network: Network, method: str, x: tf.Tensor, activations: tf.Tensor, read: WindowScores, asked: ExplainedClasses
) -> tf.Tensor:
    """Maps float32 (batch, t, h, w), not below 0, of the classes `asked`.

    `x` are the pixels as the network takes them, `activations` what its body gives of them, float (batch, h, w, k), and `read` its scores.
    """
    if read.pooled is None:
        maps = _apply_formula(FORMULAS[method], tf.cast(activations, tf.float32), _gradients_of_head(network, activations, x, asked))
    else:
        maps = _make_maps_behind_pooling(network, method, activations, x, asked, _gradients_of_features(network, read, asked))
    return tf.nn.relu(maps)


def _gradients_of_features(network: Network, read: WindowScores, asked: ExplainedClasses) -> list[tf.Tensor]:
    """dy / d(what each pooling gives), float32 (batch, t, channels) for each, at the window that shows the target best.

    y is the logarithm of the sum of exp(logit) over the target's classes; its gradient is the mean of theirs with the parts as weights.
    """
    if network.class_weights is not None:
        return [_class_columns(network.class_weights, asked)]
    assert read.pooled is not None, "it pools globally"
    best = [tf.gather(each, asked.windows, axis=1, batch_dims=1) for each in read.pooled]
    rows = [tf.reshape(each, (-1, each.shape[2])) for each in best]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(rows)
        logits = network.run_after_pooling(rows)
        y = tf.add_n(asked.sums(tf.reshape(logits, (-1, asked.classes.shape[1], logits.shape[1]))))
    gradients = tape.gradient(y, rows, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.reshape(tf.cast(gradient, tf.float32), tf.shape(each)) for gradient, each in zip(gradients, best, strict=True)]


def _make_maps_behind_pooling(
    network: Network, method: str, activations: tf.Tensor, pixels: tf.Tensor, asked: ExplainedClasses, weights: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Maps (batch, t, h, w) of the whole frame, where what is behind the pooling counts as linear in it, with these weights."""
    pooling = network.pooling
    assert pooling is not None, "it pools globally"
    a = tf.cast(activations, tf.float32)
    averages = not any(map(is_max_pooling, pooling.calls))
    if pooling.before or not averages:
        return _apply_formula(FORMULAS[method], a, _gradients_before_pooling(network, activations, pixels, weights))
    columns = tf.add_n(list(weights))
    if method in CLOSED_FORM:
        return closed_form(a, columns)
    return _apply_formula(FORMULAS[method], a, _spread_over_positions(a, columns))


def _gradients_before_pooling(network: Network, activations: tf.Tensor, pixels: tf.Tensor, weights: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """dy / dA for each target, with y = sum of weights * the pooled whole map: pictures do not meet, so one sum serves the batch."""
    pooling = network.pooling
    assert pooling is not None, "it pools globally"
    count = weights[0].shape[1]
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        features = tf.cast(network.run_before_pooling(activations, pixels), tf.float32)
        pooled = [pool_windows(features, None, largest=is_max_pooling(call)) for call in pooling.calls]
        sums = [tf.add_n([tf.reduce_sum(w[:, t] * each[:, 0]) for w, each in zip(weights, pooled, strict=True)]) for t in range(count)]
    return [tf.cast(tape.gradient(y, activations), tf.float32) for y in sums]


def _class_columns(class_weights: Array, asked: ExplainedClasses) -> tf.Tensor:
    """Of a Dense kernel (channels, classes) each target's column, of a group the mean by its classes' parts: (batch, t, channels)."""
    if asked.parts is None:
        return tf.gather(tf.constant(class_weights.T, tf.float32), asked.classes)
    return tf.einsum("btc,kc->btk", asked.parts, tf.constant(class_weights, tf.float32))


def _spread_over_positions(activations: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
    """G for each target, the same at every position: column / (h * w)."""
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], tf.float32)
    return [tf.zeros_like(activations) + columns[:, t, None, None, :] / size for t in range(columns.shape[1])]


def _gradients_of_head(network: Network, activations: tf.Tensor, pixels: tf.Tensor, asked: ExplainedClasses) -> list[tf.Tensor]:
    """The head alone is differentiated; pictures of a batch do not meet in it, so one sum serves them all."""
    count = asked.classes.shape[1]
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        logits = network.run_head(activations, pixels)
        explained = asked.sums(tf.repeat(logits[:, None], count, axis=1))
    return [tf.cast(tape.gradient(y, activations), tf.float32) for y in explained]


def _apply_formula(
    formula: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], activations: tf.Tensor, gradients: Sequence[tf.Tensor]
) -> tf.Tensor:
    return tf.stack([formula(activations, gradient) for gradient in gradients], axis=1)
