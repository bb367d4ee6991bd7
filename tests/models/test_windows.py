"""A network that pools globally says what it sees of windows as large as what it was trained on: tested by hand and by NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.arrays import Array
from pipeline.cam.explainer import make_class_mapper, make_explainer, make_scorer
from pipeline.cam.layer_fusion import fuse_class_mappers, fuse_explainers
from pipeline.cam.methods import FORMULAS
from pipeline.cam.sliding_window_scores import pool_windows
from pipeline.models.network import Network, add_window, split_model


def pictures(count: int, height: int = 20, width: int = 28) -> Array:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def net(head: str = "average", *, units: int = 4, activation: str = "softmax") -> tuple[keras.Model, keras.Model]:
    """A network with cells of 4 by 4 pixels, and one that gives its feature map too."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((None, None, 3))
    x = layers.Conv2D(5, 4, strides=4, activation="relu", name="early")(layers.Rescaling(1 / 64, offset=-2)(pixels))
    x = features = layers.Conv2D(6, 1, name="features")(x)
    if head == "both":
        x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    else:
        x = {
            "average": lambda: layers.GlobalAveragePooling2D()(x),
            "largest": lambda: layers.GlobalMaxPooling2D()(x),
            "dense": lambda: layers.Dense(7, activation="tanh")(layers.GlobalAveragePooling2D()(x)),
            "convolution": lambda: layers.Flatten()(
                layers.Conv2D(7, 1, activation="tanh")(layers.GlobalAveragePooling2D(keepdims=True)(x))
            ),
        }[head]()
    model = keras.Model(pixels, layers.Dense(units, activation=activation, bias_initializer="random_normal")(x))
    return model, keras.Model(pixels, features)


HEADS = ["average", "largest", "both", "dense", "convolution"]


def quick(*quickly: str, of: list[str]) -> list[Any]:
    """These heads as parameters; all but those named are slow, for each takes some traces."""
    return [head if head in quickly else pytest.param(head, marks=pytest.mark.slow) for head in of]


def windowed(model: keras.Model, rows: int = 3, columns: int = 4, **more: Any) -> Network:
    return add_window(split_model(model, **more), input_px=(4 * columns, 4 * rows), stride=4)


def by_crops(model: keras.Model, x: Array, rows: int = 3, columns: int = 4) -> Array:
    """What the whole model says of every crop that is a window: its cells know nothing of each other. (batch, windows, classes)"""
    height, width = x.shape[1] // 4, x.shape[2] // 4
    said = [
        np.asarray(model(x[:, 4 * top : 4 * (top + rows), 4 * left : 4 * (left + columns)].astype(np.float32)))
        for top in range(height - rows + 1)
        for left in range(width - columns + 1)
    ]
    return np.stack(said, 1)


def test_means_and_largest_of_windows_by_hand() -> None:
    features = tf.constant([[1.0, 2, 3], [4, 5, 60]])[None, :, :, None]
    assert pool_windows(features, (1, 2)).numpy().ravel().tolist() == [1.5, 2.5, 4.5, 32.5]
    assert pool_windows(features, (2, 2), largest=True).numpy().ravel().tolist() == [5, 60]
    assert pool_windows(features, (9, 2)).numpy().ravel().tolist() == [3, 17.5]  # higher than the map: cut to it
    assert pool_windows(features, None).numpy().ravel().tolist() == [12.5]


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_those_of_the_crop_that_the_network_is_surest_of(head: str) -> None:
    model, _ = net(head)
    x = pictures(3)
    crops = by_crops(model, x)
    best = crops.max(2).argmax(1)
    found = make_explainer(windowed(model))(x)
    np.testing.assert_allclose(found.scores, crops[np.arange(3), best], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.targets[:, 0], found.scores.numpy().argmax(1))
    np.testing.assert_allclose(found.target_scores[:, 0], crops.max((1, 2)), rtol=0, atol=1e-6)
    np.testing.assert_allclose(make_scorer(windowed(model))(x), found.scores, rtol=0, atol=1e-6)
    assert len(set(best.tolist())) > 1  # the pictures differ in where that is
    assert (
        np.abs(found.scores - make_explainer(split_model(model))(x).scores).max() > 0.02
    )  # and pooled over all cells it is something else


def test_a_class_that_is_asked_for_has_the_score_of_its_own_best_window() -> None:
    model, _ = net()
    x = pictures(3)
    crops = by_crops(model, x)
    found = make_explainer(windowed(model), targets=[0, 3])(x)
    np.testing.assert_allclose(found.target_scores, crops.max(1)[:, [0, 3]], rtol=0, atol=1e-6)
    best = crops.max(2).argmax(1)
    assert np.abs(found.target_scores - crops[np.arange(3), best][:, [0, 3]]).max() > 0.01


def test_several_labels_at_once_have_a_window_each() -> None:
    model, _ = net(activation="sigmoid")
    x = pictures(2)
    np.testing.assert_allclose(make_explainer(windowed(model))(x).scores, by_crops(model, x).max(1), rtol=0, atol=1e-6)


def test_one_sigmoid_unit_speaks_for_the_window_that_it_is_surest_of() -> None:
    model, _ = net(units=1, activation="sigmoid")
    x = pictures(4)
    positive = by_crops(model, x)[..., 0]
    surest = np.abs(positive - 0.5).argmax(1)
    expected = positive[np.arange(4), surest]
    np.testing.assert_allclose(make_explainer(windowed(model))(x).scores, np.stack([1 - expected, expected], 1), rtol=0, atol=1e-6)


def test_the_map_within_the_winning_window_sums_to_its_logit_less_the_bias() -> None:
    model, features_of = net()
    network, x = windowed(model), pictures(3)
    kernel, bias = model.layers[-1].get_weights()
    crops, features = by_crops(model, x), np.asarray(features_of(x.astype(np.float32)), np.float64)
    cells = features.shape[1] * features.shape[2]
    asked = make_explainer(network, targets=[0, 1, 2, 3])(x)
    for number in range(3):
        for target in range(4):
            top, left = divmod(int(crops[number, :, target].argmax()), features.shape[2] - 4 + 1)
            logit = features[number, top : top + 3, left : left + 4].mean((0, 1)) @ kernel[:, target] + bias[target]
            unrectified = features[number] @ kernel[:, target] / cells
            inside = unrectified[top : top + 3, left : left + 4].sum()
            assert inside * cells / 12 == pytest.approx(logit - bias[target], abs=1e-5)
            np.testing.assert_allclose(asked.maps[number, target], np.maximum(unrectified, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", quick("both", of=HEADS))
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "gradcam++", "xgradcam"])
def test_maps_are_the_whole_frames_with_the_head_at_the_winning_window(head: str, method: str) -> None:
    """By a second way: the gradient of the head at the window's features, and the formula with that spread over the whole map."""
    model, features_of = net(head)
    network, x = windowed(model), pictures(1)
    found = make_explainer(network, method=method, targets=[0, 1, 2, 3])(x).maps
    crops, whole = by_crops(model, x)[0], tf.constant(features_of(x.astype(np.float32)))
    for target in range(4):
        top, left = divmod(int(crops[:, target].argmax()), x.shape[2] // 4 - 4 + 1)
        slopes = _slopes(network, whole[:, top : top + 3, left : left + 4], target)
        with tf.GradientTape() as tape:
            tape.watch(whole)
            pooled = {"mean": tf.reduce_mean(whole, (1, 2)), "max": tf.reduce_max(whole, (1, 2))}
            # What is behind the pooling counts as linear, with the slopes that it has at the window.
            linear = tf.add_n([tf.reduce_sum(slope * pooled[kind]) for kind, slope in slopes])
        expected = np.maximum(FORMULAS[method](whole, tape.gradient(linear, whole)), 0)
        np.testing.assert_allclose(found[:, target], expected, rtol=0, atol=1e-5 * max(1, expected.max()))
    assert found.numpy().max() > 0


def _slopes(network: Network, part: tf.Tensor, target: int) -> list[tuple[str, tf.Tensor]]:
    assert network.pooling is not None
    kinds = ["max" if isinstance(call.operation, layers.GlobalMaxPooling2D) else "mean" for call in network.pooling.calls]
    pooled = [tf.reduce_max(part, (1, 2)) if kind == "max" else tf.reduce_mean(part, (1, 2)) for kind in kinds]
    with tf.GradientTape() as tape:
        tape.watch(pooled)
        y = network.run_after_pooling(pooled)[0, target]
    return list(zip(kinds, tape.gradient(y, pooled), strict=True))


def test_a_map_of_an_earlier_layer_is_told_of_the_same_scores() -> None:
    model, _ = net("dense")
    x = pictures(2)
    late, early = (make_explainer(windowed(model, **more), targets=[1])(x) for more in ({}, {"layer": "early"}))
    np.testing.assert_allclose(early.scores, late.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(early.target_scores, late.target_scores, rtol=0, atol=1e-6)
    # A 1x1 convolution lies between the two: the earlier gradient is the later one times its kernel, the same at every position.
    kernel = model.get_layer("features").get_weights()[0][0, 0]
    early_features = keras.Model(model.input, model.get_layer("early").output)(x.astype(np.float32))
    late_features = np.asarray(keras.Model(model.input, model.get_layer("features").output)(x.astype(np.float32)))
    network = windowed(model)
    for number in range(2):
        window = int(by_crops(model, x[number : number + 1])[0, :, 1].argmax())
        top, left = divmod(window, late_features.shape[2] - 4 + 1)
        [(_, slope)] = _slopes(network, late_features[number : number + 1, top : top + 3, left : left + 4], 1)
        column = kernel @ np.asarray(slope)[0] / (late_features.shape[1] * late_features.shape[2])
        np.testing.assert_allclose(early.maps[number, 0], np.maximum(np.asarray(early_features)[number] @ column, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["average", "convolution"])
def test_a_group_is_explained_by_the_logarithm_of_the_sum(head: str) -> None:
    model, features_of = net(head)
    network, x, group = windowed(model), pictures(2), [0, 2, 3]
    crops = by_crops(model, x)
    found = make_explainer(network, targets=[group, 1])(x)
    together = crops[:, :, group].sum(2)
    np.testing.assert_allclose(found.target_scores, np.stack([together.max(1), crops[:, :, 1].max(1)], 1), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.targets[:, 0], np.array(group)[crops[np.arange(2), together.argmax(1)][:, group].argmax(1)])
    whole = np.asarray(features_of(x.astype(np.float32)))
    for number in range(2):
        top, left = divmod(int(together[number].argmax()), whole.shape[2] - 4 + 1)
        mean = tf.constant(whole[number : number + 1, top : top + 3, left : left + 4].mean((1, 2)))
        with tf.GradientTape() as tape:
            tape.watch(mean)
            y = tf.reduce_logsumexp(tf.gather(network.run_after_pooling([mean])[0], group))
        column = np.asarray(tape.gradient(y, mean))[0] / (whole.shape[1] * whole.shape[2])
        np.testing.assert_allclose(found.maps[number, 0], np.maximum(whole[number] @ column, 0), rtol=0, atol=1e-6)


def test_a_group_is_shown_best_where_its_scores_add_up_to_most() -> None:
    """Of several labels at once the sum may be more than 1 in many windows: the best one is meant, and not the first of those."""
    model, _ = net(activation="sigmoid")
    model.layers[-1].bias.assign_add([6.0, 5.0, 4.0, 0.0])
    x, group = pictures(3), [0, 1, 2]
    together = by_crops(model, x)[:, :, group].sum(2)
    assert together.min() > 1 and (together.argmax(1) > 0).any()
    found = make_explainer(windowed(model), targets=[group])(x)
    np.testing.assert_array_equal(found.target_scores, np.ones((3, 1)))
    best = by_crops(model, x)[np.arange(3), together.argmax(1)][:, group]
    np.testing.assert_array_equal(found.targets[:, 0], np.array(group)[best.argmax(1)])


def test_a_group_of_one_is_that_class() -> None:
    model, _ = net("dense")
    alone, group = (make_explainer(windowed(model), targets=targets)(pictures(2)) for targets in ([2], [[2]]))
    for one, other in zip(alone[:4], group[:4], strict=True):
        np.testing.assert_array_equal(one, other)


def test_score_cam_asks_for_the_highest_logit_of_any_window() -> None:
    model, features_of = net()
    x = pictures(1)
    features, kernel = np.asarray(features_of(x.astype(np.float32)))[0], model.layers[-1].get_weights()
    weights = []
    for channel in np.moveaxis(features, 2, 0):
        large = tf.image.resize(channel[..., None], x.shape[1:3]).numpy()
        mask = (large - large.min()) / (large.max() - large.min())
        masked = np.asarray(features_of(x.astype(np.float32) * mask))
        means = pool_windows(tf.constant(masked), (3, 4)).numpy()[0]
        weights.append((means @ kernel[0] + kernel[1]).max(0)[1])
    parts = np.exp(np.array(weights) - np.max(weights))
    expected = np.maximum(features @ (parts / parts.sum()), 0)
    found = make_explainer(windowed(model), method="scorecam", targets=[1])(x).maps[0, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("head", ["average", "both", "dense"])
@pytest.mark.parametrize("method", [*FORMULAS, "eigencam", "scorecam"])
def test_a_map_of_any_class_is_made_of_what_was_kept(head: str, method: str) -> None:
    network, x = windowed(net(head)[0]), pictures(2)
    kept = make_explainer(network, method=method, keep_features=True)(x)
    asked = make_explainer(network, method=method, targets=[0, 1, 2, 3])(x)
    map_of = make_class_mapper(network, method=method)
    for number in range(2):
        for target in range(4):
            found = map_of(x[number], kept.features[0][number], target)
            np.testing.assert_allclose(found, asked.maps[number, target], rtol=1e-4, atol=1e-6)
    assert make_explainer(network, method=method)(x).features == ()


def test_a_map_of_any_class_of_a_layer_that_something_goes_round() -> None:
    pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, activation="relu")(layers.Rescaling(1 / 64, offset=-2)(pixels))
    branch = layers.Conv2D(4, 1, activation="relu", name="branch")(x)
    model = keras.Model(pixels, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(layers.Add()([x, branch]))))
    network, shown = split_model(model, layer="branch"), pictures(1, 8, 8)
    kept = make_explainer(network, keep_features=True)(shown)
    asked = make_explainer(network, targets=[0, 1, 2])(shown)
    for target in range(3):
        found = make_class_mapper(network)(shown[0], kept.features[0][0], target)
        np.testing.assert_allclose(found, asked.maps[0, target], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", pytest.param("layercam", marks=pytest.mark.slow)])
def test_a_map_of_any_class_in_half_the_bits(method: str) -> None:
    """The map is taken from an operation, as in ConvNeXt: that has no type of its own, and its numbers are of half the bits."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 4, strides=4, activation="relu", dtype="mixed_bfloat16")(layers.Rescaling(1 / 64, offset=-2)(pixels))
    x = x + layers.Conv2D(6, 1, activation="relu", dtype="mixed_bfloat16")(x)
    y = layers.LayerNormalization(dtype="mixed_bfloat16")(layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(x))
    network, shown = windowed(keras.Model(pixels, layers.Dense(4, activation="softmax", dtype="float32")(y))), pictures(1)
    kept = make_explainer(network, method=method, keep_features=True)(shown)
    asked = make_explainer(network, method=method, targets=[0, 1, 2, 3])(shown)
    for target in range(4):
        found = make_class_mapper(network, method=method)(shown[0], kept.features[0][0].numpy(), target)
        np.testing.assert_allclose(found, asked.maps[0, target], rtol=0.02, atol=0.02 * float(tf.reduce_max(asked.maps)))


def test_a_map_of_any_class_behind_flatten() -> None:
    keras.utils.set_random_seed(3)
    pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 4, strides=4, activation="relu")(layers.Rescaling(1 / 64, offset=-2)(pixels))
    network = split_model(keras.Model(pixels, layers.Dense(3, activation="softmax")(layers.Flatten()(x))))
    shown = pictures(1, 12, 12)
    kept = make_explainer(network, keep_features=True)(shown)
    asked = make_explainer(network, targets=[0, 1, 2])(shown)
    for target in range(3):
        found = make_class_mapper(network)(shown[0], kept.features[0][0].numpy(), target)
        np.testing.assert_allclose(found, asked.maps[0, target], rtol=1e-4, atol=1e-6)


def test_a_fused_map_of_any_class_is_made_of_what_was_kept_of_each_layer() -> None:
    model, x = net("dense")[0], pictures(1)
    networks = [windowed(model), windowed(model, layer="early")]
    kept = fuse_explainers([make_explainer(network, keep_features=True) for network in networks])(x)
    asked = fuse_explainers([make_explainer(network, targets=[1, 3]) for network in networks])(x)
    map_of = fuse_class_mappers([make_class_mapper(network) for network in networks])
    features = [layer[0] for layer in kept.features]
    np.testing.assert_allclose([map_of(x[0], features, target) for target in (1, 3)], asked.maps[0], rtol=1e-4, atol=1e-6)


def test_a_picture_of_the_size_of_training_is_one_window() -> None:
    model, _ = net()
    x = pictures(3, 12, 16)
    for windows, whole in zip(make_explainer(windowed(model))(x)[:4], make_explainer(split_model(model))(x)[:4], strict=True):
        np.testing.assert_allclose(windows, whole, rtol=0, atol=1e-6)


def test_what_does_not_pool_globally_is_seen_as_a_whole() -> None:
    pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(3, 4, strides=4)(pixels)
    flat = split_model(keras.Model(pixels, layers.Dense(2, activation="softmax")(layers.Flatten()(x))))
    # Where something else reads the pooled map too, its windows would not say all that the head hears.
    aside = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.Flatten()(x)])
    both = split_model(keras.Model(pixels, layers.Dense(2, activation="softmax")(aside)))
    for network in (flat, both):
        assert network.pooling is None and add_window(network, input_px=(8, 8), stride=4).window is None
        assert make_explainer(network)(pictures(1, 12, 12)).maps.shape == (1, 1, 3, 3)


def test_the_size_of_the_window_is_that_of_training() -> None:
    model, _ = net()
    assert add_window(split_model(model), input_px=(28, 20), stride=4).window == (5, 7)
    fixed = keras.Sequential([keras.Input((33, 65, 3)), layers.Conv2D(2, 9, strides=4), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    assert add_window(split_model(model), input_px=(30, 22)).window == (5, 7)  # where nothing says so, a picture is put through
    assert add_window(split_model(fixed), input_px=(65, 33), stride=4).window == (7, 15)  # counted, (33 - 9) // 4 + 1, and not 33 / 4


def test_batches_are_what_single_pictures_are() -> None:
    network = windowed(net("both")[0])
    together = make_explainer(network, targets=[1, [0, 2]])(pictures(3))
    for number in range(3):
        alone = make_explainer(network, targets=[1, [0, 2]])(pictures(3)[number : number + 1])
        for many, one in zip(together[:4], alone[:4], strict=True):
            np.testing.assert_allclose(many[number], one[0], rtol=0, atol=1e-6)


def test_a_window_changes_nothing_but_the_network_that_it_is_given_to() -> None:
    network = split_model(net()[0])
    assert windowed(net()[0]).window == (3, 4) and network.window is None
    assert replace(network, window=(1, 1)).pooling == network.pooling
