"""The methods: one function for each class activation map, tensors in, tensors out. A new method goes here.

Notation as in the papers: y is the logit of the class explained, A (batch, h, w, k) the tensor that maps are taken from, G = dy/dA. Maps
are float32, in the logit's own units, not normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, get_args

import tensorflow as tf

from pipeline.options import Method

if TYPE_CHECKING:
    pass


def gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM, arXiv 1610.02391, eq. 1 and 2: ReLU sum_k a_k A_k with a_k the mean of G_k over positions.

    Both inputs float (batch, h, w, k); returns (batch, h, w), not below 0.
    """
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


def gradcam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM++, arXiv 1710.11063, eq. 19: weights sum alpha * ReLU(G), alpha = G^2 / (2 G^2 + sum_ab(A) G^3), 0 where G is 0.

    Shapes as in `gradcam`.
    """
    square, cube = gradients**2, gradients**3
    alpha = tf.math.divide_no_nan(square, 2 * square + tf.reduce_sum(activations, axis=(1, 2), keepdims=True) * cube)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=(1, 2))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


def hirescam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """HiResCAM, arXiv 2011.08891, eq. 3: sum_k G_k * A_k. Not cut at 0: on a linear head its sum is the logit less the bias.

    Shapes as in `gradcam`; values of both signs.
    """
    return tf.reduce_sum(activations * gradients, axis=3)


def xgradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """XGrad-CAM, arXiv 2008.02312, eq. 8: ReLU sum_k a_k A_k with a_k = sum(G_k A_k) / sum(A_k), 0 where that sum is 0.

    Behind activations that take both signs (swish, GELU) the denominator can come near 0, and the map with it to anything. Shapes
    as in `gradcam`.
    """
    weights = tf.math.divide_no_nan(tf.reduce_sum(activations * gradients, axis=(1, 2)), tf.reduce_sum(activations, axis=(1, 2)))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


def layercam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """LayerCAM, 10.1109/TIP.2021.3089943, eq. 6 and 7: ReLU sum_k ReLU(G_k) * A_k.

    Shapes as in `gradcam`.
    """
    return tf.nn.relu(tf.reduce_sum(tf.nn.relu(gradients) * activations, axis=3))


def eigencam(activations: tf.Tensor) -> tf.Tensor:
    """Eigen-CAM, arXiv 2008.00299, eq. 2: A as (h * w, k) projected on its first right singular vector; needs no class.

    activations float (batch, h, w, k); returns (batch, h, w), not below 0. The sign, which the decomposition leaves open,
    is the one with which the map goes along with the mean activation.
    """
    shape = tf.shape(activations)
    a = tf.reshape(activations, (shape[0], -1, activations.shape[3]))
    few_places = tf.shape(a)[1] <= a.shape[2]
    # A A' and A' A have the same leading eigenvalue; the smaller one is decomposed. A v = sqrt(lambda) u.
    projected = tf.cond(few_places, lambda: _leading_component(tf.matmul(a, a, transpose_b=True)), lambda: _project_on_leading(a))
    mean = tf.reduce_mean(a, axis=2)
    along = tf.reduce_sum((projected - tf.reduce_mean(projected, 1, True)) * (mean - tf.reduce_mean(mean, 1, True)), axis=1, keepdims=True)
    signed = tf.where(along < 0, -projected, projected)
    return tf.nn.relu(tf.reshape(signed, shape[:3]))


def _leading_component(gram: tf.Tensor) -> tf.Tensor:
    """Of A A' (batch, z, z): A projected on its first right singular vector, (batch, z)."""
    values, vectors = tf.linalg.eigh(gram)
    return tf.sqrt(tf.nn.relu(values[:, -1:])) * vectors[:, :, -1]


def _project_on_leading(a: tf.Tensor) -> tf.Tensor:
    """The same from A (batch, z, k), by A' A."""
    _, vectors = tf.linalg.eigh(tf.matmul(a, a, transpose_a=True))
    return tf.einsum("bzk,bk->bz", a, vectors[:, :, -1])


def closed_form(activations: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Grad-CAM where y is linear in the mean of A: ReLU(A @ column) / (h * w), without a gradient.

    activations (batch, h, w, k), columns float (batch, t, k), which are the kernel's where a Dense layer is behind the pooling; returns
    (batch, t, h, w).
    """
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], activations.dtype)
    return tf.nn.relu(tf.einsum("bhwk,btk->bthw", activations, columns)) / size


METHODS: tuple[str, ...] = get_args(Method)
# Methods that are a formula of A and G; the others are called by name in `explainer`.
FORMULAS: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "xgradcam": xgradcam,
    "layercam": layercam,
}
# Behind global average pooling G is the same at every position, so these three are one map: a matrix product (arXiv 1610.02391, 3.1).
CLOSED_FORM = frozenset({"gradcam", "hirescam", "xgradcam"})
WITHOUT_GRADIENT = frozenset({"eigencam", "scorecam"})
