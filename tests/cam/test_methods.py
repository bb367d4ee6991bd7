"""Every method of the table: by loops written from its paper, by hand, by identity, by symmetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.arrays import Array
from pipeline.cam.explainer import BatchExplanation, make_explainer
from pipeline.cam.layer_fusion import fuse_explainers
from pipeline.cam.methods import FORMULAS, eigencam, gradcam, hirescam
from pipeline.cam.score_cam import SCORECAM_CHANNELS, scorecam_pass_counter
from pipeline.models.network import Network, split_model
from pipeline.options import Method

METHODS: tuple[str, ...] = get_args(Method)
WITH_GRADIENT = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")
# Of those with gradients, one is quick: their formulas are tested by themselves.
ONE_OF_A_KIND = [pytest.param(name, marks=pytest.mark.slow if name in WITH_GRADIENT[1:] else ()) for name in METHODS]


def assert_close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """The same to a part of the peak, of each map by itself."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    peaks = np.abs(theirs).max((-2, -1), keepdims=True)
    assert peaks.max() > 0
    assert (np.abs(ours - theirs) <= tolerance * np.maximum(peaks, 1e-3 * peaks.max())).all()


def pictures(count: int, height: int = 16, width: int = 16, seed: int = 4) -> Array:
    rng = np.random.default_rng(seed)
    return np.clip(rng.integers(0, 256, (count, 1, 1, 3)) + rng.integers(-80, 81, (count, height, width, 3)), 0, 255).astype(np.uint8)


HEADS: dict[str, Callable[[], list[keras.Layer]]] = {
    "average": lambda: [layers.GlobalAveragePooling2D()],
    "flatten": lambda: [layers.Flatten()],
    "max pooling": lambda: [layers.MaxPooling2D(), layers.Flatten()],
    "several dense": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(9, activation="gelu")],
}


def net(head: str = "average", *, channels: int = 8, side: int | None = 16, activation: str = "silu") -> tuple[keras.Model, keras.Model]:
    """A classifier of four classes, and a model that gives its feature maps (half the picture's size) and its logits."""
    pixels = keras.Input((side, side, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(layers.Rescaling(1 / 64, -2)(pixels))
    features = layers.Conv2D(channels, 3, padding="same", activation=activation, name="features")(x)
    scored, plain, x = layers.Dense(4, activation="softmax"), layers.Dense(4), features
    for layer in HEADS[head]():
        x = layer(x)
    model, both = keras.Model(pixels, scored(x)), keras.Model(pixels, [features, plain(x)])
    rng = np.random.default_rng(17)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 1.5 / max(9, np.prod(variable.shape[:-1])) ** 0.5, variable.shape))
    plain.set_weights(scored.get_weights())
    return model, both


def by_tape(both: keras.Model, pixels: Array, target: int) -> tuple[Array, Array, Array]:
    """Feature maps, the gradient of one logit by them through TensorFlow's tape, and the logit."""
    with tf.GradientTape() as tape:
        activations, logits = both(tf.cast(pixels, tf.float32))
        explained = logits[:, target]
    return np.asarray(activations), np.asarray(tape.gradient(explained, activations)), np.asarray(explained)


# ------------------------------------------------------------------------------------------------ by loops from the papers
# Each takes one picture's A and G (h, w, k) in float64 and returns (h, w).


def weighted_sum(a: Array, weights: Sequence[float]) -> Array:
    found = np.zeros(a.shape[:2])
    for k, weight in enumerate(weights):
        found += weight * a[:, :, k]
    return np.maximum(found, 0)


def gradcam_by_loops(a: Array, g: Array) -> Array:
    """Eq. 1 and 2: a_k = 1/Z sum_ij dy/dA_ij."""
    height, width, channels = a.shape
    return weighted_sum(a, [sum(g[i, j, k] for i in range(height) for j in range(width)) / (height * width) for k in range(channels)])


def gradcam_plus_plus_by_loops(a: Array, g: Array) -> Array:
    """Eq. 5 and 19, with Y = exp(y): the second and third derivatives are Y G^2 and Y G^3."""
    height, width, channels = a.shape
    weights = []
    for k in range(channels):
        total, weight = sum(a[i, j, k] for i in range(height) for j in range(width)), 0.0
        for i in range(height):
            for j in range(width):
                slope = g[i, j, k]
                alpha = slope**2 / (2 * slope**2 + total * slope**3) if slope != 0 else 0.0
                weight += alpha * max(slope, 0)
        weights.append(weight)
    return weighted_sum(a, weights)


def hirescam_by_loops(a: Array, g: Array) -> Array:
    """Eq. 3: element by element, then over channels. Not cut at 0."""
    found = np.zeros(a.shape[:2])
    for i, j, k in np.ndindex(*a.shape):
        found[i, j] += a[i, j, k] * g[i, j, k]
    return found


def xgradcam_by_loops(a: Array, g: Array) -> Array:
    """Eq. 8: a_k = sum_ij (A_ij / sum A) * dy/dA_ij."""
    weights = []
    for k in range(a.shape[2]):
        total = a[:, :, k].sum()
        weights.append(sum(a[i, j, k] / total * g[i, j, k] for i, j in np.ndindex(*a.shape[:2])) if total != 0 else 0.0)
    return weighted_sum(a, weights)


def layercam_by_loops(a: Array, g: Array) -> Array:
    """Eq. 6 and 7: w_ij = ReLU(dy/dA_ij), each position with its own."""
    found = np.zeros(a.shape[:2])
    for i, j, k in np.ndindex(*a.shape):
        found[i, j] += max(g[i, j, k], 0) * a[i, j, k]
    return np.maximum(found, 0)


BY_LOOPS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": gradcam_by_loops,
    "gradcam++": gradcam_plus_plus_by_loops,
    "hirescam": hirescam_by_loops,
    "xgradcam": xgradcam_by_loops,
    "layercam": layercam_by_loops,
}


def arrays(case: str) -> tuple[Array, Array]:
    """A and G, float32 (3, 5, 4, 7), whose channels sum to something well away from 0."""
    rng = np.random.default_rng(8)
    a, g = rng.normal(0.6, 1, (3, 5, 4, 7)), rng.normal(0, 0.5, (3, 5, 4, 7))
    if case == "not negative":
        a = np.maximum(a, 0)
    if case == "some gradients zero":
        g[rng.uniform(size=g.shape) < 0.5] = 0
        g[:, :, :, 2] = 0
    if case == "a dead channel":
        a[..., 3] = 0
    if case == "one place":
        g[:, 1:], g[:, :, 1:] = 0, 0
    return a.astype(np.float32), g.astype(np.float32)


def test_every_method_of_the_options_is_tested() -> None:
    assert set(METHODS) == {*BY_LOOPS, "eigencam", "scorecam"} and set(WITH_GRADIENT) == set(BY_LOOPS) == set(FORMULAS)


@pytest.mark.parametrize("case", ["mixed signs", "not negative", "some gradients zero", "a dead channel", "one place"])
@pytest.mark.parametrize("method", WITH_GRADIENT)
def test_the_formula_is_the_papers(method: str, case: str) -> None:
    a, g = arrays(case)
    wanted = [BY_LOOPS[method](one, slope) for one, slope in zip(a.astype(np.float64), g.astype(np.float64), strict=True)]
    assert_close(FORMULAS[method](tf.constant(a), tf.constant(g)), wanted, 1e-4)


@pytest.mark.parametrize("zero", ["gradients", "activations", "both"])
@pytest.mark.parametrize("method", WITH_GRADIENT)
def test_nothing_to_explain_is_zero_and_not_nan(method: str, zero: str) -> None:
    a, g = arrays("mixed signs")
    a, g = (a * (zero == "gradients"), g * (zero == "activations"))
    np.testing.assert_array_equal(FORMULAS[method](tf.constant(a), tf.constant(g)), np.zeros(a.shape[:3]))


def test_eigencam_of_nothing_is_zero_and_not_nan() -> None:
    for shape in ((2, 3, 3, 20), (2, 5, 5, 4)):
        np.testing.assert_array_equal(eigencam(tf.zeros(shape)), np.zeros(shape[:3]))


# ------------------------------------------------------------------------------------------------ by hand

# The convolution has two filters of 2 by 2: the sum of red, and green here less green one down and right.
RED, GREEN = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[9, 0, 0], [0, 1, 0], [0, 0, 4]]
PICTURE = np.stack([RED, GREEN, np.full((3, 3), 77)], axis=2).astype(np.uint8)[None]
A1, A2 = np.array([[12, 16], [24, 28]]), np.array([[8, 0], [0, -3]])  # sums 80 and 5
G1, G2 = np.array([[1, 2], [3, -2]]), np.array([[0, -1], [1, 4]])
# Grad-CAM++: alpha * ReLU(G) is G / (2 + sum(A) G) where G is above 0.
W1, W2 = 1 / 82 + 2 / 162 + 3 / 242, 1 / 7 + 4 / 22
# Eigen-CAM: A'A = [[1760, 12], [12, 73]].
EIGENVALUE = (1833 + np.sqrt(1687**2 + 4 * 12**2)) / 2
V1, V2 = np.array([EIGENVALUE - 73, 12]) / np.hypot(EIGENVALUE - 73, 12)
BY_HAND: dict[str, Any] = {
    "gradcam": [[20, 16], [24, 25]],  # both weights are 1
    "gradcam++": [[12 * W1 + 8 * W2, 16 * W1], [24 * W1, 28 * W1 - 3 * W2]],
    "hirescam": [[12, 32], [72, 0]],  # bottom right: -56 - 12
    "xgradcam": [[0, 12], [18, 28.2]],  # weights 60 / 80 and -12 / 5; top left: 9 - 19.2
    "layercam": [[12, 32], [72, 0]],  # bottom right: 0 - 12
    "eigencam": [[12 * V1 + 8 * V2, 16 * V1], [24 * V1, 28 * V1 - 3 * V2]],
}


@pytest.mark.parametrize("method", BY_HAND)
def test_by_hand(method: str) -> None:
    convolution, dense = layers.Conv2D(2, 2), layers.Dense(2, activation="softmax")
    model = keras.Sequential([keras.Input((3, 3, 3)), convolution, layers.Flatten(), dense])
    filters = np.zeros((2, 2, 3, 2))
    filters[:, :, 0, 0] = 1
    filters[0, 0, 1, 1], filters[1, 1, 1, 1] = 1, -1
    convolution.set_weights([filters, np.zeros(2)])
    dense.set_weights([np.stack([np.stack([G1, G2], 2).ravel(), np.zeros(8)], 1), np.array([3, 0])])
    network = split_model(model)
    np.testing.assert_array_equal(network.run_body(PICTURE.astype(np.float32))[0], np.stack([A1, A2], 2))
    np.testing.assert_allclose(make_explainer(network, method=method, targets=[0])(PICTURE).maps[0, 0], BY_HAND[method], rtol=1e-5)


def test_scorecam_by_hand() -> None:
    convolution, dense = layers.Conv2D(2, 1), layers.Dense(2)
    model = keras.Sequential([keras.Input((2, 2, 3)), convolution, layers.GlobalAveragePooling2D(), dense])
    convolution.set_weights([np.array([[1, 0], [0, -1], [0, 0]]).reshape(1, 1, 3, 2), np.zeros(2)])
    dense.set_weights([np.array([[np.log(3), 0], [0, 0]]), np.array([5, 0])])  # y = ln 3 * mean(red) + 5, and 0
    red, green = [[0, 8], [16, 16]], [[8, 0], [0, 0]]
    picture = np.stack([red, green, np.full((2, 2), 9)], axis=2).astype(np.uint8)[None]
    # Masks: red / 16 = [[0, 1/2], [1, 1]], and minus green, stretched, [[0, 1], [1, 1]]. Red under them has the means (4 + 16 + 16) / 4 = 9
    # and 10; so the gains are 9 ln 3 and 10 ln 3, their softmax 1/4 and 3/4, and the map ReLU(red - 3 green) / 4.
    # The second class gains nothing from either: ReLU(red - green) / 2.
    before = int(scorecam_pass_counter().numpy())
    found = make_explainer(split_model(model), method="scorecam", targets=[0, 1])(picture).maps
    assert int(scorecam_pass_counter().numpy()) - before == SCORECAM_CHANNELS  # the two channels are filled up to one pass
    np.testing.assert_allclose(found, [[[[0, 2], [4, 4]], [[0, 4], [8, 8]]]], rtol=1e-5)


# ------------------------------------------------------------------------------------------------ by identity


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_three_methods_are_one_behind_an_average(method: str) -> None:
    model, both = net()
    network, x = split_model(model), pictures(3)
    assert network.class_weights is not None
    found = make_explainer(network, method=method, targets=[0, 1, 2, 3])(x).maps
    closed = make_explainer(network, targets=[0, 1, 2, 3])(x).maps
    np.testing.assert_array_equal(found, closed)
    for target in range(4):
        a, g, _ = by_tape(both, x, target)
        derived = tf.nn.relu(FORMULAS[method](tf.constant(a), tf.constant(g)))
        assert_close(found[:, target], derived, 1e-4 if method == "xgradcam" else 1e-5)  # its denominator loses digits


@pytest.mark.parametrize("head", ["average", "flatten", *(pytest.param(head, marks=pytest.mark.slow) for head in [*HEADS][2:])])
@pytest.mark.parametrize("method", WITH_GRADIENT)
def test_the_explainers_map_is_the_formula_of_the_whole_models_gradient(method: str, head: str) -> None:
    model, both = net(head)
    x = pictures(3)
    found = make_explainer(split_model(model), method=method, targets=[2, 0])(x).maps
    for place, target in enumerate([2, 0]):
        a, g, _ = (values.astype(np.float64) for values in by_tape(both, x, target))
        wanted = [np.maximum(BY_LOOPS[method](one, slope), 0) for one, slope in zip(a, g, strict=True)]
        assert_close(found[:, place], wanted, 1e-4)


@pytest.mark.parametrize("head", ["average", "flatten"])
def test_the_sum_of_hirescam_is_the_logit_less_the_bias(head: str) -> None:
    model, both = net(head)
    x, bias = pictures(4), model.layers[-1].get_weights()[1]
    for target in range(4):
        a, g, logit = by_tape(both, x, target)
        plain = hirescam(tf.constant(a), tf.constant(g)).numpy()
        np.testing.assert_allclose(plain.sum((1, 2)), logit - bias[target], rtol=1e-4, atol=1e-5)
        shown = make_explainer(split_model(model), method="hirescam", targets=[target])(x).maps[:, 0]
        assert plain.min() < 0
        assert_close(shown, np.maximum(plain, 0))


# ------------------------------------------------------------------------------------------------ Eigen-CAM


def eigencam_by_svd(a: Array) -> Array:
    """One picture's A (h, w, k) -> (h, w)."""
    flat = a.reshape(-1, a.shape[2]).astype(np.float64)
    projected = flat @ np.linalg.svd(flat, full_matrices=False)[2][0]
    sign = np.sign(np.corrcoef(projected, flat.mean(1))[0, 1])
    return np.maximum(sign * projected, 0).reshape(a.shape[:2])


@pytest.mark.parametrize("shape", [(3, 4, 20), (7, 6, 5), (4, 4, 16), (1, 6, 9)], ids=str)
@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0])
def test_eigencam_is_the_first_singular_vector(shape: tuple[int, int, int], offset: float) -> None:
    rng = np.random.default_rng(6)
    common = 2 * rng.normal(offset, 1, (6, *shape[:2], 1)) * rng.normal(0.3, 1, (6, 1, 1, shape[2]))  # keeps the first value apart
    a = (common + rng.normal(0, 1, (6, *shape))).astype(np.float32)
    assert_close(eigencam(tf.constant(a)), [eigencam_by_svd(one) for one in a], 1e-4)


def test_eigencam_does_not_depend_on_the_sign_that_was_found() -> None:
    # A and its negative have the same singular vectors, and their maps are the two halves of one projection.
    a = np.random.default_rng(1).normal(0.5, 1, (4, 5, 5, 12)).astype(np.float32)
    flat = a.reshape(4, 25, 12)
    projected = np.abs([one @ np.linalg.svd(one)[2][0] for one in flat]).reshape(4, 5, 5)
    assert_close(eigencam(tf.constant(a)) + eigencam(tf.constant(-a)), projected, 1e-4)


def test_eigencam_is_the_same_for_every_class() -> None:
    for head in ("average", "flatten"):
        model, both = net(head)
        x = pictures(3)
        found = make_explainer(split_model(model), method="eigencam", targets=[3, 0, 1])(x).maps.numpy()
        for place in range(3):
            np.testing.assert_array_equal(found[:, place], found[:, 0])
        assert_close(found[:, 0], [eigencam_by_svd(one) for one in np.asarray(both(x.astype(np.float32))[0])], 1e-4)


# ------------------------------------------------------------------------------------------------ Score-CAM


def scorecam_by_loops(both: keras.Model, picture: Array, target: int, scale: Callable[[Array], Array] = lambda x: x) -> Array:
    """One picture (H, W, 3), its masks one after the other; enlarged by OpenCV."""

    def logit(x: Array) -> float:
        return float(both(scale(x.astype(np.float32))[None])[1][0, target])

    a = np.asarray(both(scale(picture.astype(np.float32))[None])[0][0], np.float64)
    gains = []
    for k in range(a.shape[2]):
        mask = cv2.resize(a[:, :, k], (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)
        low, high = mask.min(), mask.max()
        mask = (mask - low) / (high - low) if high > low else np.zeros_like(mask)
        gains.append(logit(picture * mask[:, :, None]) - logit(np.zeros_like(picture)))
    weights = np.exp(np.array(gains) - max(gains))
    return weighted_sum(a, weights / weights.sum())


SLOWER = [pytest.param(*given, marks=pytest.mark.slow) for given in ((40, "average"), (40, "flatten"), (32, "several dense"))]


@pytest.mark.parametrize(("channels", "head"), [(5, "average"), *SLOWER])
def test_scorecam_is_the_model_called_for_every_channel(channels: int, head: str) -> None:
    model, both = net(head, channels=channels)
    kernel, bias = model.get_layer("features").get_weights()
    kernel[..., 3], bias[3] = 0, 0.7  # a channel that is the same everywhere, and not 0
    model.get_layer("features").set_weights([kernel, bias])
    x = pictures(2)
    found = make_explainer(split_model(model), method="scorecam", targets=[2, 0])(x).maps
    assert np.ptp(both(x.astype(np.float32))[0].numpy()[..., 3]) == 0
    assert_close(found, [[scorecam_by_loops(both, picture, target) for target in (2, 0)] for picture in x], 1e-4)


def test_scorecam_masks_pixels_before_they_are_scaled() -> None:
    model, both = net()
    inner = keras.Model(model.layers[2].input, model.output)  # without its scaling
    found = make_explainer(split_model(inner), method="scorecam", targets=[1], preprocess=lambda pixels: pixels / 64 - 2)(pictures(2)).maps
    assert_close(found[:, 0], [scorecam_by_loops(both, picture, 1) for picture in pictures(2)], 1e-4)


# ------------------------------------------------------------------------------------------------ batches and targets, every method


@pytest.fixture(scope="module", params=["average", pytest.param("max pooling", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest) -> Network:
    """One whose map is a matrix product and that takes any size, and one that has neither."""
    return split_model(net(request.param, side=None if request.param == "average" else 16)[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_single_pictures_give_in_any_order(network: Network, method: str) -> None:
    x, explain = pictures(5), make_explainer(network, method=method, targets=[1, 2])
    order = [3, 0, 4, 2, 1]
    whole, permuted = explain(x), explain(x[order])
    assert whole.maps.shape == (5, 2, 8, 8) and whole.maps.dtype == tf.float32 and whole.maps.numpy().min() == 0
    assert_close(permuted.maps, whole.maps.numpy()[order])
    np.testing.assert_allclose(permuted.scores, whole.scores.numpy()[order], rtol=0, atol=1e-6)
    for i in range(5):
        assert_close(explain(x[i : i + 1]).maps[0], whole.maps[i], 1e-4)


@pytest.mark.parametrize("method", ONE_OF_A_KIND)
def test_several_targets_are_each_alone(network: Network, method: str) -> None:
    x = pictures(3)
    together = make_explainer(network, method=method, targets=[3, 0, 2])(x)
    assert together.targets.numpy().tolist() == [[3, 0, 2]] * 3
    for place, target in enumerate([3, 0, 2]):
        alone = make_explainer(network, method=method, targets=[target])(x)
        assert_close(together.maps[:, place], alone.maps[:, 0])
        np.testing.assert_allclose(together.scores, alone.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ONE_OF_A_KIND)
def test_without_targets_each_picture_explains_its_top_class(network: Network, method: str) -> None:
    x = pictures(12)
    explanation, every = (make_explainer(network, method=method, targets=targets)(x) for targets in (None, [0, 1, 2, 3]))
    top = every.scores.numpy().argmax(1)
    assert len(set(top)) > 1 and explanation.targets.numpy().tolist() == top[:, None].tolist()
    assert_close(explanation.maps[:, 0], every.maps.numpy()[np.arange(12), top])


@pytest.mark.parametrize("method", METHODS)
def test_one_trace_serves_every_batch_and_picture_size(network: Network, method: str) -> None:
    preprocessed: list[Any] = []
    explain = make_explainer(network, method=method, preprocess=lambda pixels: preprocessed.append(pixels) or pixels)
    explain(pictures(2))
    by_one_trace = len(preprocessed)
    for count in (1, 4, 3):
        assert explain(pictures(count)).maps.shape == (count, 1, 8, 8)
    if network.takes_any_size:
        for height, width, grid in ((33, 20, (17, 10)), (5, 24, (3, 12)), (4, 2, (2, 1))):  # fewer places than channels, too
            found = explain(pictures(2, height, width)).maps.numpy()
            assert found.shape == (2, 1, *grid) and np.isfinite(found).all()
    assert len(preprocessed) == by_one_trace >= 1


@pytest.mark.parametrize("method", ONE_OF_A_KIND)
def test_nothing_that_is_given_is_changed(method: str) -> None:
    model, _ = net("flatten")
    x, before = pictures(2), [variable.numpy() for variable in model.variables]
    make_explainer(split_model(model), method=method)(x)
    np.testing.assert_array_equal(x, pictures(2))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_layer_that_something_goes_round_is_explained() -> None:
    pixels = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, padding="same")(layers.Rescaling(1 / 255)(pixels))
    branch = layers.Conv2D(6, 3, padding="same", activation="relu", name="branch")(x)
    logits = layers.Dense(4)(layers.Flatten()(layers.Add()([x, branch])))
    explain = make_explainer(split_model(keras.Model(pixels, logits), layer="branch"), targets=[1])
    a, g, _ = by_tape(keras.Model(pixels, [branch, logits]), pictures(2), 1)
    assert_close(explain(pictures(2)).maps[:, 0], gradcam(tf.constant(a), tf.constant(g)))


# ------------------------------------------------------------------------------------------------ several layers


def giving(*of_targets: Any) -> Callable[[Any], BatchExplanation]:
    """An explainer that finds these maps, one for each target, in every picture."""

    def explain(pixels: Array) -> BatchExplanation:
        found = tf.tile(tf.constant([of_targets], tf.float32), (len(pixels), 1, 1, 1))
        return BatchExplanation(tf.zeros((len(pixels), 4)), tf.zeros((len(pixels), len(of_targets)), tf.int32), found, found[:, :, 0, 0])

    return explain


def test_maps_of_two_layers_by_hand() -> None:
    coarse, fine = giving([[4]], [[1]]), giving([[0, 2], [4, 8]], [[5, 0], [0, 0]])
    found = fuse_explainers([coarse, fine])(pictures(2)).maps
    once = [[[0.5, 0.625], [0.75, 1]], [[1, 0.5], [0.5, 0.5]]]
    np.testing.assert_allclose(found, [once, once], rtol=1e-6)


def test_the_finest_height_and_width_count_each_by_itself() -> None:
    # Enlarged with half-pixel centres [0, 4] becomes [0, 1, 3, 4], in both rows; the tall map is [2, 4] in every column.
    wide, tall = giving([[0, 0.1, 0.1, 0]]), giving([[2], [4]])
    np.testing.assert_allclose(fuse_explainers([wide, tall])(pictures(1)).maps, [[[[0.25, 0.75, 0.75, 0.25], [0.5, 1, 1, 0.5]]]], rtol=1e-6)
    narrow = giving([[0, 4]])
    np.testing.assert_allclose(fuse_explainers([narrow, giving([[1, 1, 1, 1]])])(pictures(1)).maps, [[[[0.5, 0.625, 0.875, 1]]]], rtol=1e-6)


def test_a_map_without_heat_adds_none() -> None:
    nothing, something = giving([[0, 0], [0, 0]]), giving([[0, 1], [2, 4]])
    np.testing.assert_array_equal(fuse_explainers([nothing, nothing])(pictures(2)).maps, np.zeros((2, 1, 2, 2)))
    np.testing.assert_allclose(fuse_explainers([nothing, something])(pictures(1)).maps, [[[[0, 0.125], [0.25, 0.5]]]], rtol=1e-6)


@pytest.mark.parametrize(
    "method", ["gradcam", *(pytest.param(method, marks=pytest.mark.slow) for method in METHODS if method != "gradcam")]
)
def test_one_layer_fused_is_itself_at_a_peak_of_one(method: str) -> None:
    model, _ = net("flatten")
    explain = make_explainer(split_model(model), method=method, targets=[1, 3])
    alone, fused = explain(pictures(3)), fuse_explainers([explain])(pictures(3))
    assert_close(fused.maps, alone.maps / tf.reduce_max(alone.maps, (2, 3), True), 1e-6)
    np.testing.assert_array_equal(fused.scores, alone.scores)
    np.testing.assert_array_equal(fused.targets, alone.targets)


# ------------------------------------------------------------------------------------------------ by another program


# Its GradcamPlusPlus brings alpha to a sum of 1 for each channel, which eq. 19 does not, so that one is not compared.
@pytest.mark.filterwarnings("ignore")  # those of a program that is not ours
@pytest.mark.parametrize(("method", "theirs"), [("gradcam", "Gradcam"), ("layercam", "Layercam")])
def test_maps_are_those_of_tf_keras_vis(method: str, theirs: str) -> None:
    visualiser = getattr(pytest.importorskip(f"tf_keras_vis.{method}"), theirs)
    model, both = net("flatten")
    x = pictures(3)
    found = visualiser(keras.Model(both.input, both.outputs[1]), clone=False)(
        lambda output: output[:, 2], x.astype(np.float32), penultimate_layer="features", expand_cam=False, normalize_cam=False
    )
    assert_close(make_explainer(split_model(model), method=method, targets=[2])(x).maps[:, 0], found, 1e-4)
