"""Scores and class activation maps. Pure: tensors in, tensors out; the network is borrowed and left as it was.

Notation as in the papers: y is the logit of the class explained, A (batch, h, w, k) the target tensor, G = dy/dA. Maps are
float32 (batch, targets, h, w), after ReLU, in the logit's own units, not normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from pipeline.network import Network


class Explanation(NamedTuple):
    """What the network says of a batch and where it looks."""

    scores: tf.Tensor
    """float32 (batch, classes), probabilities."""
    targets: tf.Tensor
    """int32 (batch, targets), the classes explained."""
    maps: tf.Tensor
    """float32 (batch, targets, h, w), not below 0."""


def gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM, arXiv 1610.02391, eq. 1 and 2: ReLU sum_k a_k A_k with a_k the mean of G_k over positions.

    Both inputs float (batch, h, w, k); returns (batch, h, w), not below 0.
    """
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


FORMULAS: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {"gradcam": gradcam}
# Behind global average pooling G is the same at every position, and these are one matrix product (arXiv 1610.02391, section 3.1).
CLOSED_FORM = frozenset({"gradcam"})


def explainer(
    network: Network, *, method: str = "gradcam", targets: Sequence[int] | None = None, preprocess: Callable[[Any], Any] | None = None
) -> Callable[[Any], Explanation]:
    """A traced function from pixels, RGB (batch, height, width, 3) uint8 or float in [0, 255], to an Explanation.

    `targets` are class indices; None explains the top prediction of each picture. One trace serves every batch and picture size.
    Weights become constants of the trace: the function explains the network as it is now.
    """
    formula = FORMULAS[method]
    class_weights = network.class_weights if method in CLOSED_FORM else None
    weights = network.weights()
    pixels_type = tf.TensorSpec((None, *network.source.shape[1:3], 3), tf.uint8)

    def explain(pixels: tf.Tensor) -> Explanation:
        with keras.StatelessScope(state_mapping=[(variable, tf.constant(value)) for variable, value in weights]):
            x = tf.cast(pixels, tf.float32)
            activations = network.run_body(preprocess(x) if preprocess else x)
            if class_weights is not None:
                logits = network.run_head(activations)
                chosen = _chosen(logits, targets)
                maps = closed_form(tf.cast(activations, tf.float32), class_weights, chosen)
            else:
                logits, chosen, maps = _by_gradient(network, activations, targets, formula)
        return Explanation(network.scores(logits), chosen, maps)

    traced: Callable[[Any], Explanation] = tf.function(explain, input_signature=[pixels_type], autograph=False)
    return traced


def _chosen(logits: tf.Tensor, targets: Sequence[int] | None) -> tf.Tensor:
    if targets is None:
        return tf.argmax(logits, axis=1, output_type=tf.int32)[:, None]
    return tf.tile(tf.constant([targets], tf.int32), (tf.shape(logits)[0], 1))


def closed_form(activations: tf.Tensor, class_weights: np.ndarray[Any, Any], targets: tf.Tensor) -> tf.Tensor:
    """Grad-CAM where y is linear in the mean of A: ReLU(A @ W[:, target]) / (h * w), without a gradient.

    activations (batch, h, w, k), class_weights (k, classes), targets int (batch, t); returns (batch, t, h, w).
    """
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], activations.dtype)
    columns = tf.gather(tf.constant(class_weights.T, activations.dtype), targets)  # (batch, t, k)
    return tf.nn.relu(tf.einsum("bhwk,btk->bthw", activations, columns)) / size


def _by_gradient(network: Network, activations: tf.Tensor, targets: Sequence[int] | None, formula: Any) -> Any:
    """The head alone is differentiated; pictures of a batch do not meet in it, so one sum serves them all."""
    count = 1 if targets is None else len(targets)
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        logits = network.run_head(activations)
        chosen = _chosen(logits, targets)
        picked = tf.gather(logits, chosen, axis=1, batch_dims=1)
        explained = [tf.reduce_sum(picked[:, t]) for t in range(count)]
    gradients = [tf.cast(tape.gradient(y, activations), tf.float32) for y in explained]
    maps = [formula(tf.cast(activations, tf.float32), gradient) for gradient in gradients]
    return logits, chosen, tf.stack(maps, axis=1)
