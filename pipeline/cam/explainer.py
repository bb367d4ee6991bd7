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

from pipeline.arrays import Array
from pipeline.cam import batching

if TYPE_CHECKING:
    from pipeline.models.network import Network


class BatchExplanation(NamedTuple):
    """What the network says of a batch and where it looks.

    A network that pools globally says it of windows (`Network.window`). `scores` are those of the window with the highest score, or of each
    class the highest where classes do not exclude each other. A class that was asked for has the score of the window that shows it best.
    """

    scores: tf.Tensor
    """float32 (batch, classes), probabilities."""
    targets: tf.Tensor
    """int32 (batch, targets), the classes explained; of a group the class with the highest score."""
    maps: tf.Tensor
    """float32 (batch, targets, h, w), not below 0."""
    target_scores: tf.Tensor
    """float32 (batch, targets), probabilities; of a group the sum of its classes'."""
    features: tuple[tf.Tensor, ...] = ()
    """For each layer what the maps of all classes are made of, float32 (batch, h, w, k), where that is asked for."""


Target = int | Sequence[int]  # a class, or those of a group: what is explained is then the logarithm of the sum of their exp(logit)


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
_WITHOUT_GRADIENT = frozenset({"eigencam", "scorecam"})
SCORECAM_CHANNELS = 32  # masked pictures in one forward pass
CPU_BATCH = 4  # pictures that are brought to a CPU's network together
# Of these a core computes so many at a time that their feature maps are still in its caches when the next layer reads them. Not where the
# network has more weights than that, which would come from memory each time, nor in half the bits, where the maps are half as large and a
# call costs more than it saves.
CORE_PIXELS = 110_000
LIGHT_ELEMENTS = 10_000_000


def explainer(
    network: Network,
    *,
    method: str = "gradcam",
    targets: Sequence[Target] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    keep_features: bool = False,
) -> Callable[[Any], BatchExplanation]:
    """A traced function from pixels, RGB (batch, height, width, 3) uint8 in [0, 255], to an Explanation.

    `targets` are class indices, or groups of them; None explains the top prediction of each picture. `preprocess` scales pixels for the
    network. One trace serves every batch and picture size. Weights become constants of the trace: it explains the network as it is now.
    """

    groups = None if targets is None else [[target] if isinstance(target, int) else list(target) for target in targets]

    def explain(pixels: tf.Tensor) -> BatchExplanation:
        explanation, features = _explain(network, method, groups, preprocess or (lambda x: x), pixels)
        return explanation._replace(features=(features,)) if keep_features else explanation

    return _traced(network, explain)


def mapper(network: Network, *, method: str = "gradcam", preprocess: Callable[[Any], Any] | None = None) -> Callable[[Any, Any, int], Any]:
    """A function from a picture uint8 (height, width, 3), its features (h, w, k) as an explainer keeps them, and a class to its map.

    The map float32 (h, w) is the one that an explainer gives for that class; the network's body is not run again.
    """
    if method in _WITHOUT_GRADIENT:
        return lambda pixels, features, target: tf.constant(features[..., target if features.shape[2] > 1 else 0])
    kernel = network.class_weights
    if kernel is not None and method in CLOSED_FORM:  # as closed_form: TensorFlow takes ten times as long to be called
        return lambda pixels, features, target: np.maximum(np.asarray(features) @ kernel[:, target], 0) / np.prod(features.shape[:2])
    scale = preprocess or (lambda x: x)

    def call(pixels: tf.Tensor, activations: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        x, a = scale(tf.cast(pixels[None], tf.float32)), activations[None]
        read = _read(network, a, x)
        asked = _asked_classes(network.scores(read.logits), target[None, None])
        return _maps_by_gradient(network, method, x, a, read, asked)[0, 0]

    shapes = ((None, None, 3), tf.uint8), ((None, None, network.target.shape[3]), tf.float32), ((), tf.int32)
    traced = tf.function(call, input_signature=[tf.TensorSpec(*each) for each in shapes], autograph=False)
    graph = functools.cache(traced.get_concrete_function)  # made when a map is first asked for
    return lambda pixels, activations, target: graph()(tf.constant(pixels), tf.constant(activations), tf.constant(target, tf.int32))


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
    return _best_scores(network, _read(network, activations, x).logits), activations


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

    return compute(pixels) if len(pixels) <= CPU_BATCH else _joined([*batching.computed(compute, _cut(pixels, CPU_BATCH))])


def _most_together(pixels: int) -> int:
    """How many pictures of so many pixels the cores that share a batch compute at a time."""
    threads: int = tf.config.threading.get_intra_op_parallelism_threads()
    cores = max(1, (threads + batching.AT_ONCE - 1) // batching.AT_ONCE)  # the one that runs its graph computes too
    return min(CPU_BATCH, max(1, cores * CORE_PIXELS // pixels))


def _cut(pixels: Any, size: int) -> Iterator[Any]:
    return (pixels[begin : begin + size] for begin in range(0, len(pixels), size))


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)


def _explain(
    network: Network, method: str, targets: Sequence[list[int]] | None, preprocess: Callable[[Any], Any], pixels: tf.Tensor
) -> tuple[BatchExplanation, tf.Tensor]:
    """The explanation, and what the maps of all classes are made of, float32 (batch, h, w, k).

    That is the target tensor; the maps themselves where they are made without a gradient, one for each class or one for all of them.
    """
    x = preprocess(pixels)
    activations = network.run_body(x)
    read = _read(network, activations, x)
    scores = _best_scores(network, read.logits)
    asked = _asked(network, read.logits, scores, targets)
    features = tf.cast(activations, tf.float32)
    if method == "eigencam":
        features = eigencam(features)[..., None]
        maps = tf.repeat(tf.transpose(features, (0, 3, 1, 2)), tf.shape(asked.classes)[1], axis=1)
    elif method == "scorecam":
        features = scorecam(lambda picture: _logits_of(network, preprocess(picture), targets), pixels, features)
        maps = tf.transpose(features, (0, 3, 1, 2))
        maps = tf.gather(maps, asked.classes, axis=1, batch_dims=1) if targets is None else maps
    else:
        maps = _maps_by_gradient(network, method, x, activations, read, asked)
    return BatchExplanation(scores, asked.classes, maps, asked.scores), features


def _maps_by_gradient(network: Network, method: str, x: tf.Tensor, activations: tf.Tensor, read: _Read, asked: _Asked) -> tf.Tensor:
    """Maps (batch, t, h, w); `x` are the pixels as the network takes them."""
    if read.pooled is None:
        maps = _by_formula(FORMULAS[method], tf.cast(activations, tf.float32), _gradients_of_head(network, activations, x, asked))
    else:
        maps = _behind_pooling(network, method, activations, x, asked, _gradients_of_features(network, read, asked))
    return tf.nn.relu(maps)


# ------------------------------------------------------------------------------------------------ windows


class _Read(NamedTuple):
    """What the network says of each window of a batch; a network that does not pool globally sees one window, the whole.

    `logits` float32 (batch, windows, classes); `pooled` what each of its poolings gives, float32 (batch, windows, channels), or None.
    """

    logits: tf.Tensor
    pooled: Sequence[tf.Tensor] | None


def _read(network: Network, activations: tf.Tensor, pixels: tf.Tensor) -> _Read:
    if network.pooling is None:
        return _Read(network.run_head(activations, pixels)[:, None], None)
    features = tf.cast(network.run_before_pooling(activations, pixels), tf.float32)
    pooled = [pool_windows(features, network.window, largest=_takes_largest(call)) for call in network.pooling.calls]
    logits = network.run_after_pooling([tf.reshape(each, (-1, each.shape[2])) for each in pooled])
    return _Read(tf.reshape(logits, (tf.shape(features)[0], -1, logits.shape[1])), pooled)


def _takes_largest(pooling: Any) -> bool:
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


def _best_scores(network: Network, logits: tf.Tensor) -> tf.Tensor:
    """From logits (batch, windows, classes) the scores (batch, classes) that count, see Explanation."""
    scores = network.scores(logits)
    if not network.has_exclusive_classes:
        return tf.reduce_max(scores, 1)
    return tf.gather(scores, tf.argmax(tf.reduce_max(scores, 2), 1), axis=1, batch_dims=1)


class _Asked(NamedTuple):
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


def _asked(network: Network, logits: tf.Tensor, scores: tf.Tensor, targets: Sequence[list[int]] | None) -> _Asked:
    of_windows = network.scores(logits)
    if targets is None:
        return _asked_classes(of_windows, tf.argmax(scores, axis=1, output_type=tf.int32)[:, None])
    found = [_asked_group(of_windows, logits, group) for group in targets]
    asked = _Asked(*(tf.stack(tensors, axis=1) for tensors in zip(*found, strict=True)))
    return asked if any(len(group) > 1 for group in targets) else asked._replace(parts=None)


def _asked_classes(scores: tf.Tensor, classes: tf.Tensor) -> _Asked:
    """Of single classes int32 (batch, t), by scores (batch, windows, classes)."""
    shown = tf.gather(scores, classes, axis=2, batch_dims=1)  # (batch, windows, t)
    return _Asked(classes, tf.reduce_max(shown, 1), tf.argmax(shown, 1), None)


def _asked_group(scores: tf.Tensor, logits: tf.Tensor, group: list[int]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """As _Asked has them, for one group; `scores` and `logits` are (batch, windows, classes)."""
    members = tf.constant(group, tf.int32)
    together = tf.reduce_sum(tf.gather(scores, members, axis=2), 2)
    window = tf.argmax(together, 1)
    at_best = tf.gather(tf.gather(logits, members, axis=2), window, axis=1, batch_dims=1)  # (batch, members)
    parts = tf.matmul(tf.nn.softmax(at_best), tf.one_hot(members, logits.shape[2]))
    classes = tf.gather(members, tf.argmax(at_best, 1))
    best = tf.minimum(tf.gather(together, window, axis=1, batch_dims=1), 1.0)  # of several labels at once the sum may be more
    return classes, best, window, parts


def _gradients_of_features(network: Network, read: _Read, asked: _Asked) -> list[tf.Tensor]:
    """dy / d(what each pooling gives), float32 (batch, t, channels) for each, at the window that shows the target best.

    y is the logarithm of the sum of exp(logit) over the target's classes; its gradient is the mean of theirs with the parts as weights.
    """
    if network.class_weights is not None:
        return [_columns(network.class_weights, asked)]
    assert read.pooled is not None, "it pools globally"
    best = [tf.gather(each, asked.windows, axis=1, batch_dims=1) for each in read.pooled]
    rows = [tf.reshape(each, (-1, each.shape[2])) for each in best]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(rows)
        logits = network.run_after_pooling(rows)
        y = tf.add_n(asked.sums(tf.reshape(logits, (-1, asked.classes.shape[1], logits.shape[1]))))
    gradients = tape.gradient(y, rows, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.reshape(tf.cast(gradient, tf.float32), tf.shape(each)) for gradient, each in zip(gradients, best, strict=True)]


def _behind_pooling(
    network: Network, method: str, activations: tf.Tensor, pixels: tf.Tensor, asked: _Asked, weights: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Maps (batch, t, h, w) of the whole frame, where what is behind the pooling counts as linear in it, with these weights."""
    pooling = network.pooling
    assert pooling is not None, "it pools globally"
    a = tf.cast(activations, tf.float32)
    averages = not any(map(_takes_largest, pooling.calls))
    if pooling.before or not averages:
        return _by_formula(FORMULAS[method], a, _gradients_before_pooling(network, activations, pixels, weights))
    columns = tf.add_n(list(weights))
    if method in CLOSED_FORM:
        return closed_form(a, columns)
    return _by_formula(FORMULAS[method], a, _spread(a, columns))


def _gradients_before_pooling(network: Network, activations: tf.Tensor, pixels: tf.Tensor, weights: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """dy / dA for each target, with y = sum of weights * the pooled whole map: pictures do not meet, so one sum serves the batch."""
    pooling = network.pooling
    assert pooling is not None, "it pools globally"
    count = weights[0].shape[1]
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        features = tf.cast(network.run_before_pooling(activations, pixels), tf.float32)
        pooled = [pool_windows(features, None, largest=_takes_largest(call)) for call in pooling.calls]
        sums = [tf.add_n([tf.reduce_sum(w[:, t] * each[:, 0]) for w, each in zip(weights, pooled, strict=True)]) for t in range(count)]
    return [tf.cast(tape.gradient(y, activations), tf.float32) for y in sums]


def _logits_of(network: Network, x: tf.Tensor, targets: Sequence[list[int]] | None) -> tf.Tensor:
    """For Score-CAM: the highest logit of any window, of each class (n, classes) or of each group (n, t)."""
    logits = _read(network, network.run_body(x), x).logits
    if targets is not None:
        logits = tf.stack([tf.reduce_logsumexp(tf.gather(logits, group, axis=2), 2) for group in targets], axis=2)
    return tf.reduce_max(logits, 1)


# ------------------------------------------------------------------------------------------------ methods


def scorecam(logits_of: Callable[[tf.Tensor], tf.Tensor], pixels: tf.Tensor, activations: tf.Tensor) -> tf.Tensor:
    """Score-CAM, arXiv 1910.01279, eq. 3 and 4: ReLU sum_k s_k A_k, s the softmax over channels of f(X * mask_k).

    logits_of maps pixels (n, H, W, 3) to logits (n, t), of as many classes or groups as maps are wanted of; pixels (batch, H, W, 3) in
    [0, 255], activations (batch, h, w, k); returns (batch, h, w, t). A mask is its channel enlarged to the picture and stretched to [0, 1];
    one that is the same everywhere masks all. The paper subtracts f(baseline), which is the same for every channel and drops out of the
    softmax. It takes k forward passes for a picture, however many maps are wanted.
    """
    channels = activations.shape[3]
    padding = -channels % SCORECAM_CHANNELS

    def one(item: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        picture, a = item
        groups = tf.reshape(
            tf.transpose(tf.pad(a, ((0, 0), (0, 0), (0, padding))), (2, 0, 1)), (-1, SCORECAM_CHANNELS, *tf.unstack(tf.shape(a)[:2]))
        )
        logits = tf.map_fn(lambda group: _counted(logits_of(_masked(picture, group))), groups, fn_output_signature=tf.float32)
        weights = tf.nn.softmax(tf.reshape(logits, (-1, tf.shape(logits)[2]))[:channels], axis=0)  # (k, t)
        return tf.nn.relu(tf.einsum("hwk,kt->hwt", a, weights))

    return tf.map_fn(one, (pixels, activations), fn_output_signature=tf.float32)


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


def _columns(class_weights: Array, asked: _Asked) -> tf.Tensor:
    """Of a Dense kernel (channels, classes) each target's column, of a group the mean by its classes' parts: (batch, t, channels)."""
    if asked.parts is None:
        return tf.gather(tf.constant(class_weights.T, tf.float32), asked.classes)
    return tf.einsum("btc,kc->btk", asked.parts, tf.constant(class_weights, tf.float32))


def closed_form(activations: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Grad-CAM where y is linear in the mean of A: ReLU(A @ column) / (h * w), without a gradient.

    activations (batch, h, w, k), columns float (batch, t, k), which are the kernel's where a Dense layer is behind the pooling; returns
    (batch, t, h, w).
    """
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], activations.dtype)
    return tf.nn.relu(tf.einsum("bhwk,btk->bthw", activations, columns)) / size


def _spread(activations: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
    """G for each target, the same at every position: column / (h * w)."""
    size = tf.cast(tf.shape(activations)[1] * tf.shape(activations)[2], tf.float32)
    return [tf.zeros_like(activations) + columns[:, t, None, None, :] / size for t in range(columns.shape[1])]


def _gradients_of_head(network: Network, activations: tf.Tensor, pixels: tf.Tensor, asked: _Asked) -> list[tf.Tensor]:
    """The head alone is differentiated; pictures of a batch do not meet in it, so one sum serves them all."""
    count = asked.classes.shape[1]
    with tf.GradientTape(persistent=count > 1, watch_accessed_variables=False) as tape:
        tape.watch(activations)
        logits = network.run_head(activations, pixels)
        explained = asked.sums(tf.repeat(logits[:, None], count, axis=1))
    return [tf.cast(tape.gradient(y, activations), tf.float32) for y in explained]


def _by_formula(formula: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], activations: tf.Tensor, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.stack([formula(activations, gradient) for gradient in gradients], axis=1)


def fused(explainers: Sequence[Callable[[Any], BatchExplanation]]) -> Callable[[Any], BatchExplanation]:
    """One explanation of several layers' maps: each brought to a peak of 1 and to the finest of their resolutions, then averaged."""

    def explain(pixels: Any) -> BatchExplanation:
        parts = [explain(pixels) for explain in explainers]
        features = tuple(tensor for part in parts for tensor in part.features)
        return parts[0]._replace(maps=_fuse([part.maps for part in parts]), features=features)

    return explain


def fused_mapper(mappers: Sequence[Callable[[Any, Any, int], tf.Tensor]]) -> Callable[[Any, Sequence[Any], int], tf.Tensor]:
    """From a picture, its features of every layer and a class to the map (h, w) that `fused` gives for that class."""

    def map_of(pixels: Any, features: Sequence[Any], target: int) -> tf.Tensor:
        parts = [mapper(pixels, each, target) for mapper, each in zip(mappers, features, strict=True)]
        return parts[0] if len(parts) == 1 else _fuse([part[None, None] for part in parts])[0, 0]

    return map_of


def _fuse(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    size = [max(int(part.shape[axis]) for part in parts) for axis in (2, 3)]
    grown = [tf.image.resize(tf.transpose(part, (0, 2, 3, 1)), size) for part in parts]
    scaled = [tf.math.divide_no_nan(m, tf.reduce_max(m, axis=(1, 2), keepdims=True)) for m in grown]
    return tf.transpose(tf.add_n(scaled) / len(scaled), (0, 3, 1, 2))
