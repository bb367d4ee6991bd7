"""Scores and class activation maps. Pure: tensors in, tensors out; the network is borrowed and left as it was.

Notation as in the papers: y is the logit of the class explained, A (batch, h, w, k) the target tensor, G = dy/dA. Maps are
float32 (batch, targets, h, w), after ReLU, in the logit's own units, not normalised.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline import reading

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


def gradcam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Grad-CAM++, arXiv 1710.11063, eq. 19: weights sum alpha * ReLU(G), alpha = G^2 / (2 G^2 + sum_ab(A) G^3), 0 where G is 0."""
    square, cube = gradients**2, gradients**3
    alpha = tf.math.divide_no_nan(square, 2 * square + tf.reduce_sum(activations, axis=(1, 2), keepdims=True) * cube)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=(1, 2))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


def hirescam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """HiResCAM, arXiv 2011.08891, eq. 3: sum_k G_k * A_k. Not cut at 0: on a linear head its sum is the logit less the bias."""
    return tf.reduce_sum(activations * gradients, axis=3)


def xgradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """XGrad-CAM, arXiv 2008.02312, eq. 8: ReLU sum_k a_k A_k with a_k = sum(G_k A_k) / sum(A_k), 0 where that sum is 0.

    Behind activations that take both signs (swish, GELU) the denominator can come near 0, and the map with it to anything.
    """
    weights = tf.math.divide_no_nan(tf.reduce_sum(activations * gradients, axis=(1, 2)), tf.reduce_sum(activations, axis=(1, 2)))
    return tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights))


def layercam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """LayerCAM, 10.1109/TIP.2021.3089943, eq. 6 and 7: ReLU sum_k ReLU(G_k) * A_k."""
    return tf.nn.relu(tf.reduce_sum(tf.nn.relu(gradients) * activations, axis=3))


def eigencam(activations: tf.Tensor) -> tf.Tensor:
    """Eigen-CAM, arXiv 2008.00299, eq. 2: A as (h * w, k) projected on its first right singular vector; needs no class.

    The sign, which the decomposition leaves open, is the one with which the map goes along with the mean activation.
    """
    shape = tf.shape(activations)
    a = tf.reshape(activations, (shape[0], -1, activations.shape[3]))
    few_places = tf.shape(a)[1] <= a.shape[2]
    # A A' and A' A have the same leading eigenvalue; the smaller one is decomposed. A v = sqrt(lambda) u.
    projected = tf.cond(few_places, lambda: _leading(tf.matmul(a, a, transpose_b=True)), lambda: _projected_on_leading(a))
    mean = tf.reduce_mean(a, axis=2)
    along = tf.reduce_sum((projected - tf.reduce_mean(projected, 1, True)) * (mean - tf.reduce_mean(mean, 1, True)), axis=1, keepdims=True)
    signed = tf.where(along < 0, -projected, projected)
    return tf.nn.relu(tf.reshape(signed, shape[:3]))


def _leading(gram: tf.Tensor) -> tf.Tensor:
    values, vectors = tf.linalg.eigh(gram)
    return tf.sqrt(tf.nn.relu(values[:, -1:])) * vectors[:, :, -1]


def _projected_on_leading(a: tf.Tensor) -> tf.Tensor:
    _, vectors = tf.linalg.eigh(tf.matmul(a, a, transpose_a=True))
    return tf.einsum("bzk,bk->bz", a, vectors[:, :, -1])


FORMULAS: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "xgradcam": xgradcam,
    "layercam": layercam,
}
# Behind global average pooling G is the same at every position, so these three are one map: a matrix product (arXiv 1610.02391, 3.1).
CLOSED_FORM = frozenset({"gradcam", "hirescam", "xgradcam"})
SCORECAM_CHANNELS = 32  # masked pictures in one forward pass
CPU_BATCH = 4  # pictures that are brought to a CPU's network together
# Of these a core computes so many at a time that their feature maps are still in its caches when the next layer reads them. Not where the
# network has more weights than that, which would come from memory each time, nor in half the bits, where the maps are half as large and a
# call costs more than it saves.
CORE_PIXELS = 110_000
LIGHT_ELEMENTS = 10_000_000


def explainer(
    network: Network, *, method: str = "gradcam", targets: Sequence[int] | None = None, preprocess: Callable[[Any], Any] | None = None
) -> Callable[[Any], Explanation]:
    """A traced function from pixels, RGB (batch, height, width, 3) uint8 in [0, 255], to an Explanation.

    `targets` are class indices; None explains the top prediction of each picture. `preprocess` scales pixels for the network. One trace
    serves every batch and picture size. Weights become constants of the trace: it explains the network as it is now.
    """

    def explain(pixels: tf.Tensor) -> Explanation:
        return _explain(network, method, targets, preprocess or (lambda x: x), pixels)

    return _traced(network, explain)


def scorer(network: Network, *, preprocess: Callable[[Any], Any] | None = None) -> Callable[[Any], tf.Tensor]:
    """A traced function from pixels, as explainer takes them, to probabilities float32 (batch, classes), without maps."""
    return _traced(network, lambda pixels: _scored(network, preprocess, pixels)[0])


def describer(network: Network, *, preprocess: Callable[[Any], Any] | None = None) -> Callable[[Any], tuple[tf.Tensor, tf.Tensor]]:
    """As `scorer`, with features float32 (batch, channels) besides: the means over all positions of the tensor that maps are taken from."""

    def describe(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores, activations = _scored(network, preprocess, pixels)
        return scores, tf.reduce_mean(tf.cast(activations, tf.float32), axis=(1, 2))

    return _traced(network, describe)


def _scored(network: Network, preprocess: Callable[[Any], Any] | None, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x = preprocess(pixels) if preprocess else pixels
    activations = network.run_body(x)
    return network.scores(network.run_head(activations, x)), activations


def _traced(network: Network, function: Callable[[tf.Tensor], Any]) -> Callable[[Any], Any]:
    """The function of float32 pixels as one graph for uint8 pixels of any batch, the network's weights in it as constants."""
    weights = network.weights()
    size = (None, None) if network.takes_any_size else network.source.shape[1:3]

    def call(pixels: tf.Tensor) -> Any:
        with keras.StatelessScope(state_mapping=[(variable, tf.constant(value)) for variable, value in weights]):
            return function(tf.cast(pixels, tf.float32))

    traced = tf.function(call, input_signature=[tf.TensorSpec((None, *size, 3), tf.uint8)], autograph=False)
    # The graph itself is called: tf.function takes several networks for one that is traced ever anew, and warns.
    graph = _alone_at_first(traced.get_concrete_function)
    light = network.weight_count <= LIGHT_ELEMENTS and not network.computes_in_half
    return lambda pixels: _in_pieces(graph, pixels, light=light)


def _alone_at_first(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """The function that `make` gives, whose first call other threads wait for.

    TensorFlow optimises a graph at its first call, for a second of processor time, and once more in each thread that calls it meanwhile.
    """
    made: list[Callable[[Any], Any]] = []
    first = threading.Lock()

    def call(pixels: Any) -> Any:
        if not made:
            with first:
                if not made:
                    function = make()
                    answer = function(pixels)
                    made.append(function)
                    return answer
        return made[0](pixels)

    return call


def batch_size() -> int:
    """How many pictures go to the network together, where nothing else is asked for."""
    return 32 if _on_gpu() else CPU_BATCH


def _on_gpu() -> bool:
    return bool(tf.config.get_visible_devices("GPU"))


def _in_pieces(function: Callable[[Any], Any], pixels: Any, *, light: bool) -> Any:
    """What the function gives of a batch. A CPU computes a large one as fours, some of them at once, and a four as its caches allow."""
    if _on_gpu():
        return function(pixels)
    size = _most_together(pixels.shape[1] * pixels.shape[2]) if light else CPU_BATCH

    def compute(batch: Any) -> Any:
        return _joined([function(piece) for piece in _cut(batch, size)])

    return compute(pixels) if len(pixels) <= CPU_BATCH else _joined([*reading.computed(compute, _cut(pixels, CPU_BATCH))])


def _most_together(pixels: int) -> int:
    """How many pictures of so many pixels the cores that share a batch compute at a time."""
    threads: int = tf.config.threading.get_intra_op_parallelism_threads()
    cores = max(1, (threads + reading.AT_ONCE - 1) // reading.AT_ONCE)  # the one that runs its graph computes too
    return min(CPU_BATCH, max(1, cores * CORE_PIXELS // pixels))


def _cut(pixels: Any, size: int) -> Iterator[Any]:
    return (pixels[begin : begin + size] for begin in range(0, len(pixels), size))


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)


def _explain(
    network: Network, method: str, targets: Sequence[int] | None, preprocess: Callable[[Any], Any], pixels: tf.Tensor
) -> Explanation:
    x = preprocess(pixels)
    activations = network.run_body(x)
    a = tf.cast(activations, tf.float32)
    if network.class_weights is not None and method in (CLOSED_FORM | {"gradcam++", "layercam"}):
        logits = network.run_head(activations)
        chosen = _chosen(logits, targets)
        if method in CLOSED_FORM:
            maps = closed_form(a, network.class_weights, chosen)
        else:
            maps = _by_formula(FORMULAS[method], a, _gradients_behind_pooling(a, network.class_weights, chosen))
    elif method in FORMULAS:
        logits, chosen, gradients = _gradients_of_head(network, activations, x, targets)
        maps = _by_formula(FORMULAS[method], a, gradients)
    else:
        logits = network.run_head(activations, x)
        chosen = _chosen(logits, targets)
        maps = _without_gradient(network, method, pixels, a, chosen, preprocess)
    return Explanation(network.scores(logits), chosen, tf.nn.relu(maps))


def _without_gradient(
    network: Network, method: str, pixels: tf.Tensor, a: tf.Tensor, chosen: tf.Tensor, preprocess: Callable[[Any], Any]
) -> tf.Tensor:
    if method == "eigencam":
        return tf.repeat(eigencam(a)[:, None], tf.shape(chosen)[1], axis=1)

    def logits_of(picture: tf.Tensor) -> tf.Tensor:
        x = preprocess(picture)
        return network.run_head(network.run_body(x), x)

    return scorecam(logits_of, pixels, a, chosen)


def scorecam(logits_of: Callable[[tf.Tensor], tf.Tensor], pixels: tf.Tensor, activations: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Score-CAM, arXiv 1910.01279, eq. 3 and 4: ReLU sum_k s_k A_k, s the softmax over channels of f(X * mask_k).

    logits_of maps pixels (n, H, W, 3) to logits (n, classes); pixels (batch, H, W, 3) in [0, 255], activations (batch, h, w, k), targets
    (batch, t); returns (batch, t, h, w). A mask is its channel enlarged to the picture and stretched to [0, 1]; one that is the same
    everywhere masks all. The paper subtracts f(baseline), which is the same for every channel and drops out of the softmax. It takes k
    forward passes for a picture.
    """
    channels = activations.shape[3]
    padding = -channels % SCORECAM_CHANNELS

    def one(item: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        picture, a, chosen = item
        groups = tf.reshape(
            tf.transpose(tf.pad(a, ((0, 0), (0, 0), (0, padding))), (2, 0, 1)), (-1, SCORECAM_CHANNELS, *tf.unstack(tf.shape(a)[:2]))
        )
        logits = tf.map_fn(lambda group: _counted(logits_of(_masked(picture, group))), groups, fn_output_signature=tf.float32)
        logits = tf.reshape(logits, (-1, tf.shape(logits)[2]))[:channels]
        weights = tf.nn.softmax(tf.gather(logits, chosen, axis=1), axis=0)  # (k, t)
        return tf.nn.relu(tf.einsum("hwk,kt->thw", a, weights))

    return tf.map_fn(one, (pixels, activations, targets), fn_output_signature=tf.float32)


@functools.cache
def scorecam_passes() -> tf.Variable:
    """How many masked pictures Score-CAM has put through networks in this process, int64 (): for whoever shows how far it is."""
    with tf.init_scope(), tf.device("CPU"):
        return tf.Variable(0, trainable=False, dtype=tf.int64)


def _counted(logits: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([logits]):
        scorecam_passes().assign_add(SCORECAM_CHANNELS)
    return logits


def _masked(picture: tf.Tensor, channels: tf.Tensor) -> tf.Tensor:
    """The picture under each channel (n, h, w), enlarged and stretched to [0, 1]: (n, H, W, 3)."""
    masks = tf.image.resize(channels[..., None], tf.shape(picture)[:2])
    low, high = (reduce(masks, axis=(1, 2), keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return picture[None] * tf.math.divide_no_nan(masks - low, high - low)


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


def _gradients_behind_pooling(activations: tf.Tensor, class_weights: np.ndarray[Any, Any], targets: tf.Tensor) -> list[tf.Tensor]:
    """G for each target, the same at every position: W[:, target] / (h * w)."""
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], tf.float32)
    columns = tf.gather(tf.constant(class_weights.T), targets) / size
    return [tf.zeros_like(activations) + columns[:, t, None, None, :] for t in range(targets.shape[1])]


def _gradients_of_head(
    network: Network, activations: tf.Tensor, pixels: tf.Tensor, targets: Sequence[int] | None
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """The head alone is differentiated; pictures of a batch do not meet in it, so one sum serves them all."""
    count = 1 if targets is None else len(targets)
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        logits = network.run_head(activations, pixels)
        chosen = _chosen(logits, targets)
        picked = tf.gather(logits, chosen, axis=1, batch_dims=1)
        explained = [tf.reduce_sum(picked[:, t]) for t in range(count)]
    return logits, chosen, [tf.cast(tape.gradient(y, activations), tf.float32) for y in explained]


def _by_formula(formula: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], activations: tf.Tensor, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.stack([formula(activations, gradient) for gradient in gradients], axis=1)


def fused(explainers: Sequence[Callable[[Any], Explanation]]) -> Callable[[Any], Explanation]:
    """One explanation of several layers' maps: each brought to a peak of 1 and to the finest of their resolutions, then averaged."""

    def explain(pixels: Any) -> Explanation:
        parts = [explain(pixels) for explain in explainers]
        size = [max(int(part.maps.shape[axis]) for part in parts) for axis in (2, 3)]
        grown = [tf.image.resize(tf.transpose(part.maps, (0, 2, 3, 1)), size) for part in parts]
        scaled = [tf.math.divide_no_nan(m, tf.reduce_max(m, axis=(1, 2), keepdims=True)) for m in grown]
        mean = tf.add_n(scaled) / len(scaled)
        return parts[0]._replace(maps=tf.transpose(mean, (0, 3, 1, 2)))

    return explain
