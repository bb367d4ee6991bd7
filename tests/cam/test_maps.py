"""Maps by hand, by a second derivation, by symmetry, and by where things are known to be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from support.embedded_reference import PICTURES, REFERENCE, draw_picture

from pipeline.arrays import Array
from pipeline.cam.explainer import BatchExplanation, make_explainer, make_scorer
from pipeline.cam.methods import closed_form
from pipeline.explain.model_session import explain_within_memory
from pipeline.models import bundled_network
from pipeline.models.class_names import find_target_class
from pipeline.models.network import Network, split_model

if TYPE_CHECKING:
    from pipeline.models.loading import Classifier


def pictures(count: int, height: int = 15, width: int = 15, seed: int = 2) -> Array:
    """Noise about a colour, another one for each picture."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.integers(0, 256, (count, 1, 1, 3)) + rng.integers(-80, 81, (count, height, width, 3)), 0, 255).astype(np.uint8)


def assert_same_maps(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """The same to a part of the peak, of each map by itself."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    peaks = theirs.max((-2, -1), keepdims=True)
    assert peaks.max() > 0
    assert (np.abs(ours - theirs) <= tolerance * np.maximum(peaks, 1e-3 * peaks.max())).all()


# ------------------------------------------------------------------------------------------------ by hand

# One picture of 3 by 3. The convolution has two filters of 2 by 2: the sum of red, and green here less green one down and right.
RED, GREEN = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[9, 0, 0], [0, 1, 0], [0, 0, 4]]
PICTURE = np.stack([RED, GREEN, np.full((3, 3), 77)], axis=2).astype(np.uint8)[None]
# A1 = [[12, 16], [24, 28]], its mean is 20; A2 = [[9 - 1, 0], [0, 1 - 4]] = [[8, 0], [0, -3]], its mean is 5/4.


def by_hand(head: Sequence[keras.Layer], kernel: Any, bias: Any) -> Network:
    convolution = layers.Conv2D(2, 2)
    dense = layers.Dense(len(bias), activation="softmax" if len(bias) > 1 else "sigmoid")
    model = keras.Sequential([keras.Input((3, 3, 3)), convolution, *head, dense])
    filters = np.zeros((2, 2, 3, 2))
    filters[:, :, 0, 0] = 1
    filters[0, 0, 1, 1], filters[1, 1, 1, 1] = 1, -1
    convolution.set_weights([filters, np.zeros(2)])
    dense.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return split_model(model)


def test_an_average_and_one_dense_by_hand() -> None:
    network = by_hand([layers.GlobalAveragePooling2D()], [[1, -2], [-3, 5]], [-20, 44])
    # y = 20 - 3 * 5/4 - 20 = -3.75 and -2 * 20 + 5 * 5/4 + 44 = 10.25, so the second class leads by 14.
    scores, targets, found, *_ = make_explainer(network, targets=[0, 1])(PICTURE)
    np.testing.assert_allclose(scores, [[1 / (1 + np.exp(14)), 1 / (1 + np.exp(-14))]], rtol=1e-5)
    assert targets.numpy().tolist() == [[0, 1]]
    # G of the first class is 1/4 and -3/4 everywhere: ReLU(A1 - 3 A2) / 4, and ReLU(-2 A1 + 5 A2) / 4 for the second.
    np.testing.assert_allclose(found, [[[[0, 4], [6, 9.25]], [[4, 0], [0, 0]]]], rtol=1e-6)


def test_flattened_maps_by_hand() -> None:
    # The kernel's rows go position by position: (A1, A2) at top left, top right, bottom left, bottom right.
    first, second = [1, 0, 2, -1, 3, 1, -2, 4], [0, 1, 0, 1, 0, 1, 0, -7]
    network = by_hand([layers.Flatten()], np.transpose([first, second]), [0, 0])
    # The means of G over positions: (1 + 2 + 3 - 2) / 4 = 1 and (0 - 1 + 1 + 4) / 4 = 1; for the second class 0 and -1.
    found = make_explainer(network, targets=[0, 1])(PICTURE).maps
    np.testing.assert_allclose(found, [[[[20, 16], [24, 25]], [[0, 0], [0, 3]]]], rtol=1e-6)


def test_one_sigmoid_unit_by_hand() -> None:
    network = by_hand([layers.GlobalAveragePooling2D()], [[1], [-3]], [-17.25])  # y = 20 - 3.75 - 17.25 = -1
    scores, _, found, *_ = make_explainer(network, targets=[1, 0])(PICTURE)
    np.testing.assert_allclose(scores, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]], rtol=1e-6)
    # ReLU(A1 - 3 A2) / 4 speaks for the class, ReLU(3 A2 - A1) / 4 against it.
    np.testing.assert_allclose(found, [[[[0, 4], [6, 9.25]], [[3, 0], [0, 0]]]], rtol=1e-6)
    assert make_explainer(network)(PICTURE).targets.numpy().tolist() == [[0]]


def test_a_map_that_speaks_for_nothing_is_zero() -> None:
    network = by_hand([layers.GlobalAveragePooling2D()], [[-1, 1], [0, 0]], [0, 0])
    found = make_explainer(network, targets=[0])(PICTURE).maps.numpy()
    np.testing.assert_array_equal(found, np.zeros((1, 1, 2, 2)))


# ------------------------------------------------------------------------------------------------ by a second derivation

HEADS: dict[str, Callable[[], list[keras.Layer]]] = {
    "average": lambda: [layers.GlobalAveragePooling2D()],
    "flatten": lambda: [layers.Flatten()],
    "max pooling and flatten": lambda: [layers.MaxPooling2D(), layers.Flatten()],
    "several dense": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(9, activation="gelu"), layers.Dense(7, activation="tanh")],
    "convolution": lambda: [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(9, 1, activation="silu"), layers.Flatten()],
    "maximum": lambda: [layers.GlobalMaxPooling2D()],
    "normalised": lambda: [layers.GlobalAveragePooling2D(), layers.LayerNormalization()],
}


def net(
    head: str = "average", *, units: int = 4, activation: str = "softmax", nested: bool = False, side: int | None = 15, strength: float = 1
) -> tuple[keras.Model, keras.Model]:
    """A classifier, and a model that gives its feature maps and its logits."""
    pixels, further = keras.Input((side, side, 3)), HEADS[head]()
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(layers.Rescaling(1 / 64, -2)(pixels))
    body = keras.Model(pixels, layers.Conv2D(8, 3, padding="same", activation="silu")(x))
    scored, plain = layers.Dense(units, activation=activation), layers.Dense(units)
    outer = keras.Input((side, side, 3)) if nested else pixels
    x, y = body.output, body(outer) if nested else body.output
    for layer in further:
        x, y = layer(x), layer(y)
    model, both = keras.Model(outer, scored(y)), keras.Model(pixels, [body.output, plain(x)])
    rng = np.random.default_rng(11)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 1.5 / max(9, np.prod(variable.shape[:-1])) ** 0.5, variable.shape))
    scored.set_weights([strength * weights for weights in scored.get_weights()])
    plain.set_weights(scored.get_weights())
    return model, both


def by_tape(both: keras.Model, pixels: Array, target: int, of: Callable[[Any], Any] = lambda logits: logits) -> Array:
    """Grad-CAM from the whole model: TensorFlow's gradient of one class, the rest in numpy float64. (batch, h, w)"""
    with tf.GradientTape() as tape:
        activations, logits = both(tf.cast(pixels, tf.float32))
        explained = of(tf.concat([-logits, logits], 1) if logits.shape[1] == 1 else logits)[:, target]
    gradients = np.asarray(tape.gradient(explained, activations), np.float64)
    return np.maximum(np.einsum("bhwk,bk->bhw", np.asarray(activations, np.float64), gradients.mean((1, 2))), 0)


@pytest.mark.parametrize("nested", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["flat", "nested"])
@pytest.mark.parametrize("head", HEADS)
def test_maps_are_those_of_the_whole_models_gradient(head: str, nested: bool) -> None:
    model, both = net(head, nested=nested)
    x = pictures(3)
    found = make_explainer(split_model(model), targets=[0, 1, 2, 3])(x).maps
    assert_same_maps(found, np.stack([by_tape(both, x, target) for target in range(4)], axis=1))


@pytest.mark.parametrize("head", ["average", "flatten", *(pytest.param(head, marks=pytest.mark.slow) for head in [*HEADS][2:])])
def test_the_negative_class_of_one_unit_is_minus_the_logit(head: str) -> None:
    model, both = net(head, units=1, activation="sigmoid")
    x = pictures(3)
    scores, _, found, *_ = make_explainer(split_model(model), targets=[0, 1])(x)
    positive = np.asarray(model(x.astype(np.float32)))
    np.testing.assert_allclose(scores, np.concatenate([1 - positive, positive], 1), rtol=0, atol=1e-6)
    assert_same_maps(found, np.stack([by_tape(both, x, 0), by_tape(both, x, 1)], axis=1))


@pytest.mark.parametrize(("units", "activation"), [(4, "softmax"), (4, "sigmoid"), (1, "sigmoid")])
def test_the_closed_form_is_the_gradient(units: int, activation: str) -> None:
    network = split_model(net(units=units, activation=activation)[0])
    assert network.class_weights is not None
    targets, x = list(range(network.class_count)), pictures(3)
    closed, derived = (make_explainer(n, targets=targets)(x) for n in (network, replace(network, class_weights=None)))
    assert_same_maps(closed.maps, derived.maps)
    np.testing.assert_allclose(closed.scores, derived.scores, rtol=0, atol=1e-7)


def test_the_average_map_of_a_class_is_its_logit_less_the_bias() -> None:
    # Behind one Dense with weights and features that are not negative no ReLU acts, and y = sum over positions of the map + bias.
    model, both = net()
    model.layers[-1].set_weights([np.abs(model.layers[-1].get_weights()[0]), model.layers[-1].get_weights()[1]])
    network = split_model(model)
    positive = np.abs(np.asarray(both(pictures(2).astype(np.float32))[0]))
    assert network.class_weights is not None
    found = closed_form(tf.constant(positive), tf.gather(network.class_weights.T, [[0, 3], [2, 1]])).numpy()
    logits = network.run_head(tf.constant(positive)).numpy() - model.layers[-1].get_weights()[1]
    np.testing.assert_allclose(found.sum((2, 3)), [logits[0, [0, 3]], logits[1, [2, 1]]], rtol=1e-5)


@pytest.mark.parametrize("head", ["average", "flatten"])
def test_logits_are_explained_and_not_probabilities(head: str) -> None:
    model, both = net(head, strength=150)
    x = pictures(8)
    scores, targets, found, *_ = make_explainer(split_model(model))(x)
    assert scores.numpy().max(1).min() > 0.999
    of_logit = np.stack([by_tape(both, x[i : i + 1], int(t))[0] for i, t in enumerate(targets[:, 0])])
    of_score = np.stack([by_tape(both, x[i : i + 1], int(t), tf.nn.softmax)[0] for i, t in enumerate(targets[:, 0])])
    assert_same_maps(found[:, 0], of_logit)
    assert of_score.max() < 1e-2 * of_logit.max()  # the map of the score is all but gone where the net is certain


# ------------------------------------------------------------------------------------------------ the embedded model


@pytest.mark.slow
def test_the_embedded_models_maps_are_those_of_its_whole_gradient() -> None:
    model = bundled_network.build_embedded_network()
    plain = layers.Dense(1000)
    both = keras.Model(model.input, [model.get_layer("top_activation").output, plain(model.get_layer("avg_pool").output)])
    plain.set_weights(model.get_layer("predictions").get_weights())
    x = np.stack([draw_picture(seed, 96, 160) for seed in (20, 21)])
    found = make_explainer(split_model(model), targets=[281, 954, 539])(x).maps
    assert_same_maps(found, np.stack([by_tape(both, x, target) for target in (281, 954, 539)], axis=1), 1e-4)


def test_the_embedded_models_maps_are_those_of_pytorch(classifier: Classifier) -> None:
    reference = np.load(REFERENCE)
    classes = sorted({int(index) for seed, *_ in PICTURES for index in reference[f"{seed}_classes"]})
    explain = make_explainer(classifier.networks[0], targets=classes)
    for seed, height, width in PICTURES:
        scores, _, found, *_ = explain(draw_picture(seed, height, width)[None])
        top, second = (int(index) for index in reference[f"{seed}_classes"])
        assert_same_maps(found.numpy()[0, [classes.index(top), classes.index(second)]], reference[f"{seed}_maps"], 1e-4)
        assert int(scores.numpy().argmax()) == top


# ------------------------------------------------------------------------------------------------ batches and targets


@pytest.fixture(params=["average", pytest.param("several dense", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest) -> Network:
    """Of any picture size, with a bias for which no class wins everywhere."""
    model, both = net(request.param, side=None)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias - np.asarray(both(pictures(16).astype(np.float32))[1]).mean(0)])
    return split_model(model)


def test_several_targets_are_each_alone(network: Network) -> None:
    x = pictures(3)
    together = make_explainer(network, targets=[3, 0, 2])(x)
    assert together.maps.shape == (3, 3, 8, 8) and together.targets.numpy().tolist() == [[3, 0, 2]] * 3
    for place, target in enumerate([3, 0, 2]):
        alone = make_explainer(network, targets=[target])(x)
        assert_same_maps(together.maps[:, place], alone.maps[:, 0], 1e-6)
        np.testing.assert_allclose(together.scores, alone.scores, rtol=0, atol=1e-7)


def test_without_targets_each_picture_explains_its_top_class(network: Network) -> None:
    x = pictures(16)
    explanation, every = make_explainer(network)(x), make_explainer(network, targets=[0, 1, 2, 3])(x)
    top = every.scores.numpy().argmax(1)
    assert len(set(top)) > 1 and explanation.targets.numpy().tolist() == top[:, None].tolist()
    assert_same_maps(explanation.maps[:, 0], every.maps.numpy()[np.arange(16), top], 1e-6)


def test_a_batch_gives_what_single_pictures_give_in_any_order(network: Network) -> None:
    x, explain = pictures(6), make_explainer(network, targets=[1, 2])
    order = np.random.default_rng(0).permutation(6)
    whole, permuted = explain(x), explain(x[order])
    assert_same_maps(permuted.maps, whole.maps.numpy()[order], 1e-6)
    np.testing.assert_allclose(permuted.scores, whole.scores.numpy()[order], rtol=0, atol=1e-7)
    for i in range(6):
        single = explain(x[i : i + 1])
        assert_same_maps(single.maps[0], whole.maps[i], 1e-5)
        np.testing.assert_allclose(single.scores[0], whole.scores[i], rtol=0, atol=1e-6)


def test_one_trace_serves_every_batch_and_picture_size(network: Network) -> None:
    traced: list[Any] = []
    explain = make_explainer(network, preprocess=lambda pixels: traced.append(pixels) or pixels)
    for count in (1, 4, 7, 1):
        assert explain(pictures(count)).maps.shape == (count, 1, 8, 8)
    for height, width, grid in ((16, 16, (8, 8)), (33, 20, (17, 10)), (5, 64, (3, 32))):
        assert explain(pictures(2, height, width)).maps.shape == (2, 1, *grid)
    assert len(traced) == 1


def test_several_networks_are_not_taken_for_one_that_is_traced_anew(caplog: pytest.LogCaptureFixture) -> None:
    tf.get_logger().addHandler(caplog.handler)
    try:
        for _ in range(8):
            make_scorer(split_model(net()[0]))(pictures(1))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.records


def test_the_first_call_of_a_graph_is_made_alone_and_those_behind_it_together() -> None:
    """TensorFlow optimises a graph at its first call, and would do so in each thread that makes one."""
    network = split_model(net()[0])
    together, lock = threading.Barrier(2), threading.Lock()
    calls, most_before = 0, 0

    def watched(pixels: Array) -> Array:
        nonlocal calls, most_before
        with lock:
            calls += 1
            first = calls == 1
        if first:
            time.sleep(0.3)
            most_before = calls
        else:
            together.wait(timeout=20)  # which breaks unless two are here at once
        return pixels

    def preprocess(pixels: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(watched, [pixels], tf.float32), pixels.shape)

    explain = make_explainer(network, preprocess=preprocess)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(explain, [pictures(1, seed=seed) for seed in range(3)]))
    assert (calls, most_before) == (3, 1)
    whole = make_explainer(network)
    for seed, each in enumerate(found):
        assert_same_maps(each.maps, whole(pictures(1, seed=seed)).maps)


@pytest.mark.parametrize(("gpus", "sizes"), [([], [4, 4, 3]), (["GPU:0"], [11])])
def test_a_large_batch_is_computed_in_small_ones_two_at_once(gpus: list[str], sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    network, lock = split_model(net()[0]), threading.Lock()
    here, most, seen = 0, 0, []

    def watched(pixels: Array) -> Array:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
            seen.append(len(pixels))
        time.sleep(0.1)
        with lock:
            here -= 1
        return pixels

    def preprocess(pixels: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(watched, [pixels], tf.float32), pixels.shape)

    x, explain = pictures(11), make_explainer(network, preprocess=preprocess)
    whole = make_explainer(network)
    singles = [whole(x[i : i + 1]) for i in range(11)]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: gpus)
    found = explain(x)
    assert sorted(seen) == sorted(sizes) and most == min(2, len(sizes))
    assert_same_maps(found.maps, np.concatenate([single.maps for single in singles]), 1e-5)
    np.testing.assert_array_equal(found.targets, np.concatenate([single.targets for single in singles]))
    np.testing.assert_allclose(found.scores, np.concatenate([single.scores for single in singles]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "threads", "classes", "computed", "sizes"),
    [
        ((256, 448), 1, 3, "float32", [1, 1, 1, 1]),
        ((224, 224), 1, 3, "float32", [2, 2]),
        ((64, 96), 1, 3, "float32", [4]),
        ((64, 96), 0, 3, "float32", [4]),  # nobody has chosen how many threads
        ((256, 448), 7, 3, "float32", [3, 1]),  # eight cores, four for each of two batches: 440,000 pixels
        pytest.param((256, 448), 1, 160_000, "float32", [4], marks=pytest.mark.slow),  # 10.2 million weights
        ((256, 448), 1, 3, "bfloat16", [4]),
        ((256, 448), 1, 3, "on a GPU", [4]),
    ],
)
def test_a_core_computes_as_many_pictures_at_a_time_as_its_caches_hold(
    size: tuple[int, int], threads: int, classes: int, computed: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, seen = keras.Input((None, None, 3)), []
    policy = "mixed_bfloat16" if computed == "bfloat16" else "float32"
    small = layers.Rescaling(1 / 255)(source)  # or the logits are in the hundreds, and their last bits are in the scores
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 8, strides=8, activation="relu", dtype=policy)(small))
    network = split_model(keras.Model(source, layers.Dense(classes)(pooled)))
    x, whole = pictures(4, *size), make_explainer(network)
    singles = [whole(x[i : i + 1]) for i in range(4)]

    def watched(pixels: Array) -> Array:
        seen.append(len(pixels))
        return pixels

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: ["GPU:0"] if computed == "on a GPU" else [])
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: threads)
    found = make_explainer(
        network, preprocess=lambda pixels: tf.ensure_shape(tf.numpy_function(watched, [pixels], tf.float32), pixels.shape)
    )(x)
    assert seen == sizes
    # bfloat16 has 8 bits: sums in another order may round to the next number
    of_maps, of_scores = (2**-8, 2**-8) if computed == "bfloat16" else (1e-5, 1e-6)
    assert_same_maps(found.maps, np.concatenate([single.maps for single in singles]), of_maps)
    np.testing.assert_array_equal(found.targets, np.concatenate([single.targets for single in singles]))
    np.testing.assert_allclose(found.scores, np.concatenate([single.scores for single in singles]), rtol=0, atol=of_scores)


def test_maps_and_scores_are_what_they_are_said_to_be(network: Network) -> None:
    scores, targets, found = (tensor.numpy() for tensor in make_explainer(network)(pictures(5))[:3])
    assert (scores.dtype, targets.dtype, found.dtype) == (np.float32, np.int32, np.float32)
    assert found.min() == 0 and (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)


def test_the_network_is_left_as_it_was_and_explained_as_it_was() -> None:
    model, _ = net("several dense")
    before, said, x = [variable.numpy() for variable in model.variables], model(pictures(2).astype(np.float32)), pictures(2)
    explain = make_explainer(split_model(model), targets=[0])
    first, given = explain(x), x.copy()
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    np.testing.assert_array_equal(model(x.astype(np.float32)), said)
    np.testing.assert_array_equal(x, given)
    for variable in model.variables:
        variable.assign(variable * 0)
    np.testing.assert_array_equal(explain(x).maps, first.maps)


def test_pixels_are_preprocessed_on_the_way_in() -> None:
    model, both = net()
    inner = keras.Model(model.layers[2].input, model.output)  # without its scaling
    explain = make_explainer(split_model(inner), targets=[2], preprocess=lambda pixels: pixels / 64 - 2)
    assert_same_maps(explain(pictures(2)).maps[:, 0], by_tape(both, pictures(2), 2))


# ------------------------------------------------------------------------------------------------ memory


def limited(explain: Callable[[Any], BatchExplanation], most: int, sizes: list[int]) -> Callable[[Any], BatchExplanation]:
    def attempt(pixels: Array) -> BatchExplanation:
        sizes.append(len(pixels))
        if len(pixels) > most:
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating tensor with shape {pixels.shape}")
        return explain(pixels)

    return attempt


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(7, [7]), (4, [7, 3, 4]), (2, [7, 3, 1, 2, 4, 2, 2]), (1, [7, 3, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1])],
)
def test_a_batch_that_does_not_fit_is_halved(network: Network, most: int, sizes: list[int]) -> None:
    explain, x, tried = make_explainer(network), pictures(7), []
    whole, parts = explain(x), explain_within_memory(limited(explain, most, tried), x)
    assert tried == sizes
    np.testing.assert_array_equal(parts.targets, whole.targets)
    assert_same_maps(parts.maps, whole.maps, 1e-5)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=0, atol=1e-6)


def test_a_single_picture_that_does_not_fit_is_an_error(network: Network) -> None:
    tried: list[int] = []
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM when allocating"):
        explain_within_memory(limited(make_explainer(network), 0, tried), pictures(4))
    assert tried == [4, 2, 1]


# ------------------------------------------------------------------------------------------------ by symmetry


def test_flipping_the_picture_of_a_symmetric_net_flips_the_map() -> None:
    model, _ = net(side=33)  # 33 -> 17 -> 17: at odd sizes 'same' pads alike on both sides
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign((layer.kernel + layer.kernel[:, ::-1]) / 2)
    x, explain = pictures(3, 33, 33), make_explainer(split_model(model), targets=[0, 1, 2, 3])
    found, mirrored = explain(x).maps.numpy(), explain(x[:, :, ::-1]).maps.numpy()
    assert_same_maps(mirrored, found[..., ::-1])
    assert np.abs(found - found[..., ::-1]).max() > 0.1 * found.max()


# ------------------------------------------------------------------------------------------------ by truth: drawn shapes

SIDE, SHAPES = 64, 3  # a circle, a square, a triangle; the fourth class is "none of them"


def drawn_shapes(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Noise with a bright cross in every picture, which means nothing, and a bright shape in three of four.

    Returns the pictures uint8, their classes, and the boxes (left, top, right, bottom) of the shapes.
    """
    found = np.empty((count, SIDE, SIDE, 3), np.uint8)
    classes, boxes = rng.integers(0, SHAPES + 1, count), np.empty((count, 4), int)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for i, index in enumerate(classes):
        corners = sizes = np.zeros((2, 2))
        while np.abs(corners[0] - corners[1]).max() < 23:  # the two do not touch
            sizes = rng.integers(17, 23, 2)
            corners = np.stack([rng.integers(0, SIDE - size + 1, 2) for size in sizes])
        (u, v), (s, t) = (((x - left) / size - 0.5, (y - top) / size - 0.5) for (left, top), size in zip(corners, sizes, strict=True))
        square = np.maximum(np.abs(u), np.abs(v)) < 0.5
        shape = (u**2 + v**2 < 0.25, square, square & (np.abs(u) < (v + 0.5) / 2), np.zeros_like(square))[index]
        cross = (np.maximum(np.abs(s), np.abs(t)) < 0.5) & (np.minimum(np.abs(s), np.abs(t)) < 0.12)
        bright = shape | cross
        found[i] = np.clip(rng.normal(90 + 100 * bright[..., None], 25, (SIDE, SIDE, 3)), 0, 255)
        boxes[i] = *corners[0], *(corners[0] + sizes[0])
    return found, classes, boxes


def shape_net() -> keras.Model:
    convolutions = [
        layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
        layers.Conv2D(24, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
    ]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(SHAPES + 1, activation="softmax")]
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 128, -1), *convolutions, *head])


def inside(points: Array, boxes: Array) -> float:
    """The share of points (x, y) that lie in their box."""
    return float(((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(1).mean())


def peaks(model: keras.Model, x: Array, classes: Array) -> Array:
    """Where the map of each picture's own class is highest, (x, y) in pixels; a map without heat has its peak outside."""
    every = make_explainer(split_model(model), targets=list(range(SHAPES)))(x).maps.numpy()
    found = every[np.arange(len(x)), classes]
    rows, columns = np.unravel_index(found.reshape(len(x), -1).argmax(1), found.shape[1:])
    points = (np.stack([columns, rows], 1) + 0.5) * SIDE / np.array(found.shape[:0:-1])
    return np.where(found.max((1, 2))[:, None] > 0, points, -1)


@pytest.mark.slow
def test_the_peak_lies_in_the_shape_it_names() -> None:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    x, classes, _ = drawn_shapes(rng, 1000)
    held_out, truth, boxes = (values[rows] for rows in [slice(None)] for values in drawn_shapes(rng, 300))
    with_shape = truth < SHAPES
    model = shape_net()
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(x, classes, epochs=10, batch_size=32, verbose=0)
    assert (np.asarray(model(held_out.astype(np.float32))).argmax(1) == truth).mean() > 0.9
    game = held_out[with_shape], truth[with_shape]
    assert inside(peaks(model, *game), boxes[with_shape]) >= 0.9
    assert inside(np.full((with_shape.sum(), 2), SIDE / 2), boxes[with_shape]) < 0.4  # the centre of the picture
    assert np.mean([inside(peaks(shape_net(), *game), boxes[with_shape]) for _ in range(4)]) < 0.6  # weights at random


# ------------------------------------------------------------------------------------------------ by truth: photographs


def photograph(name: str) -> Image.Image:
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    with Image.open(Path(spec.origin).parent / "data" / name) as image:
        return image.convert("RGB")


def displacement(first: Array, second: Array) -> float:
    """By how many cells `second` lies to the right of `first`: the shift, to a twentieth, at which they correlate best."""
    shifts = np.arange(-2, 2.01, 0.05)
    inner = np.s_[:, 2:-2]  # what a shift brings in from outside does not count
    moved = [cv2.warpAffine(first, np.array([[1, 0, s], [0, 1, 0]]), first.shape[::-1], flags=cv2.INTER_CUBIC) for s in shifts]
    return float(shifts[np.argmax([np.corrcoef(m[inner].ravel(), second[inner].ravel())[0, 1] for m in moved])])


@pytest.mark.parametrize("shift", [-1.5, -0.5, 0.0, 0.25, 1.0])
def test_displacement_measures_shifts(shift: float) -> None:
    x, y = np.meshgrid(np.arange(24), np.arange(16))
    first, second = (np.exp(-((x - 11 - s) ** 2 + (y - 7) ** 2) / 8).astype(np.float32) for s in (0, shift))
    assert displacement(first, second) == pytest.approx(shift, abs=0.06)


def test_the_map_of_a_mirrored_photograph_is_the_mirrored_map(classifier: Classifier) -> None:
    # A map that lies off by d cells on the picture is off by 2 d from its mirror image. With TensorFlow's 'same' padding
    # at even sizes each stride pads at the right only, so the cells' fields of view are not centred; what was learnt is.
    shown = {
        "chelsea.png": "Egyptian cat",
        "coffee.png": "espresso",
        "rocket.jpg": "drilling platform",
        "motorcycle_left.png": "moped",
        "astronaut.png": "football helmet",
    }
    explain = make_explainer(
        classifier.networks[0], targets=[find_target_class(label, classifier.classes).members for label in shown.values()]
    )
    moved = []
    for place, name in enumerate(shown):
        x = np.asarray(photograph(name).resize((768, 512), Image.Resampling.BICUBIC))
        found, mirrored = explain(np.stack([x, x[:, ::-1]])).maps.numpy()[:, place]
        moved.append(displacement(found, np.ascontiguousarray(mirrored[:, ::-1])))
    assert abs(np.mean(moved)) < 0.25


@pytest.mark.parametrize("axis", [0, 1], ids=["down", "across"])
def test_the_heat_of_a_cat_lies_on_the_cat(classifier: Classifier, axis: int) -> None:
    """Pasted at many places on grey, its centre is that of the heat, cells taken at their true half-pixel centres."""
    size, long, across = 128, 448, 288
    cat = np.asarray(photograph("chelsea.png").crop((100, 20, 360, 280)).resize((size, size), Image.Resampling.BICUBIC))
    corners, middle = range(0, long - size + 1, 23), (across - size) // 2
    x = np.full((2 * len(corners), across, long, 3) if axis else (2 * len(corners), long, across, 3), 124, np.uint8)
    for i, corner in enumerate(corners):
        top, left = (middle, corner) if axis else (corner, middle)
        for picture, pasted in ((x[2 * i], cat), (x[2 * i + 1], cat[:, ::-1])):
            picture[top : top + size, left : left + size] = pasted
    heat = make_explainer(classifier.networks[0], targets=[281])(x).maps.numpy()[:, 0].sum(2 - axis)
    centres = heat @ ((np.arange(long // 32) + 0.5) * 32) / heat.sum(1)
    off = (centres - np.repeat([corner + size / 2 for corner in corners], 2)) / 32
    assert abs(off.mean()) < 0.25 and np.abs(off).max() < 1.5
