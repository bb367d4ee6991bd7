"""Batch norm inside the convolution in front of it: the same numbers from fewer calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.arrays import Array
from pipeline.cam.explainer import make_explainer
from pipeline.models.batch_norm_folding import FoldedConvolution, fold_batch_norms
from pipeline.models.network import Network, split_model

SIDE, CHANNELS = 13, 4


def randomised(model: keras.Model) -> keras.Model:
    """With statistics as no fresh batch norm has them, and factors of both signs."""
    rng = np.random.default_rng(7)
    for variable in model.variables:
        if variable.dtype != "float32":
            continue  # the state of a dropout
        values = rng.normal(0, 1 / max(1, np.prod(variable.shape[:-1])) ** 0.5, variable.shape)
        variable.assign({"moving_variance": rng.uniform(0.2, 3, variable.shape), "gamma": values + 0.5}.get(variable.name, values))
    return model


def pictures(count: int = 3) -> Array:
    return np.random.default_rng(9).normal(0, 1, (count, SIDE, SIDE, CHANNELS)).astype(np.float32)


def classifier(*between: Callable[[Any], Any]) -> keras.Model:
    """Those layers one after the other, then a ReLU, the average and one Dense."""
    source = x = keras.Input((SIDE, SIDE, CHANNELS))
    for layer in between:
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="last")(x))
    return randomised(keras.Model(source, layers.Dense(5, activation="softmax")(x)))


def calls(network: Network) -> list[Any]:
    return [call.operation for call in (*network.body, *network.head)]


def assert_folded(model: keras.Model, times: int, *, layer: str | None = None) -> Network:
    """That many pairs became one call each, and nothing else changed: neither what comes out nor the model."""
    before = [variable.numpy() for variable in model.variables]
    said, plain = np.asarray(model(pictures())), split_model(model, layer=layer)
    folded = fold_batch_norms(plain)
    assert len(calls(folded)) == len(calls(plain)) - times
    assert sum(isinstance(operation, FoldedConvolution) for operation in calls(folded)) == times
    assert (folded.source, folded.cam_tensor, folded.logits) == (plain.source, plain.cam_tensor, plain.logits)
    targets = [np.asarray(network.run_body(pictures())) for network in (plain, folded)]
    logits = [np.asarray(network.run_head(network.run_body(pictures()))) for network in (plain, folded)]
    for first, second in (targets, logits, (said, np.asarray(folded.scores(logits[1])))):
        assert first.std() > 0
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-4 * np.abs(first).max())
    np.testing.assert_array_equal(np.asarray(model(pictures())), said)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    return folded


# ------------------------------------------------------------------------------------------------ by hand


def test_by_hand() -> None:
    convolution, norm = layers.Conv2D(1, 1), layers.BatchNormalization(epsilon=0.05)
    source = keras.Input((2, 2, 1))
    x = layers.GlobalAveragePooling2D()(layers.Activation("linear", name="last")(norm(convolution(source))))
    model = keras.Model(source, layers.Dense(2)(x))
    convolution.set_weights([np.full((1, 1, 1, 1), 2), np.array([1])])
    norm.set_weights([np.array([value]) for value in (3, 5, 4, 0.2)])  # gamma, beta, mean, variance
    # 3 * (2 x + 1 - 4) / sqrt(0.2 + 0.05) + 5 = 6 * (2 x - 3) + 5 = 12 x - 13
    [folded] = [operation for operation in calls(fold_batch_norms(split_model(model))) if isinstance(operation, FoldedConvolution)]
    np.testing.assert_allclose(folded.weights[0].ravel(), [12], rtol=1e-6)
    np.testing.assert_allclose(folded.bias, [-13], rtol=1e-6)
    picture = np.array([[0, 1], [2, -1]], np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(fold_batch_norms(split_model(model)).run_body(picture).numpy().ravel(), [-13, -1, 11, -25], rtol=1e-6)


# ------------------------------------------------------------------------------------------------ what is folded

CONVOLUTIONS: dict[str, Callable[[], keras.Layer]] = {
    "with bias": lambda: layers.Conv2D(6, 3),
    "without bias": lambda: layers.Conv2D(6, 3, use_bias=False),
    "padded": lambda: layers.Conv2D(6, 3, padding="same"),
    "oblong": lambda: layers.Conv2D(6, (1, 5)),
    "strides": lambda: layers.Conv2D(6, 3, strides=2, padding="same"),
    "dilation": lambda: layers.Conv2D(6, 3, dilation_rate=2),
    "groups": lambda: layers.Conv2D(6, 3, groups=2),
    "linear by name": lambda: layers.Conv2D(6, 3, activation="linear"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "depthwise, no bias": lambda: layers.DepthwiseConv2D(3, use_bias=False),
    "depthwise, multiplier 2": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "depthwise, strides": lambda: layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=3),
    "depthwise, dilation": lambda: layers.DepthwiseConv2D(3, dilation_rate=2),
    "separable": lambda: layers.SeparableConv2D(6, 3, padding="same"),
    "separable, no bias": lambda: layers.SeparableConv2D(6, 3, use_bias=False),
    "separable, multiplier 2": lambda: layers.SeparableConv2D(6, 3, depth_multiplier=2),
    "separable, strides": lambda: layers.SeparableConv2D(6, 3, strides=2, padding="same"),
    "separable, dilation": lambda: layers.SeparableConv2D(6, 3, dilation_rate=2, padding="same"),
}


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_a_convolution_takes_its_batch_norm_in(convolution: str) -> None:
    assert_folded(classifier(CONVOLUTIONS[convolution](), layers.BatchNormalization()), 1)


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}, {"epsilon": 0.3}, {"axis": 3}], ids=str
)
@pytest.mark.parametrize("convolution", ["with bias", "without bias", "depthwise, multiplier 2", "separable"])
def test_every_kind_of_batch_norm_is_taken_in(convolution: str, options: dict[str, Any]) -> None:
    assert_folded(classifier(CONVOLUTIONS[convolution](), layers.BatchNormalization(**options)), 1)


def test_every_pair_is_folded_also_in_a_nested_model() -> None:
    inner = keras.Input((SIDE, SIDE, CHANNELS))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(inner)))
    x = layers.Add()([x, layers.BatchNormalization()(layers.SeparableConv2D(6, 3, padding="same")(x))])
    base = keras.Model(inner, x)
    assert_folded(classifier(base, layers.DepthwiseConv2D(3), layers.BatchNormalization()), 3)


def test_one_convolution_used_twice_has_both_batch_norms_folded() -> None:
    shared = layers.Conv2D(CHANNELS, 3, padding="same")
    assert_folded(classifier(shared, layers.BatchNormalization(), layers.ReLU(), shared, layers.BatchNormalization()), 2)


def test_of_two_batch_norms_the_first_is_folded() -> None:
    assert_folded(classifier(layers.Conv2D(6, 3), layers.BatchNormalization(), layers.BatchNormalization()), 1)


def test_the_head_is_folded_too() -> None:
    source = keras.Input((SIDE, SIDE, CHANNELS))
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(6, 3, activation="relu", name="last")(source))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1)(x)))
    model = randomised(keras.Model(source, layers.Dense(5, activation="softmax")(layers.Flatten()(x))))
    folded = assert_folded(model, 1)
    assert any(isinstance(call.operation, FoldedConvolution) for call in folded.head)


def test_a_target_inside_the_body_can_be_a_batch_norm() -> None:
    model = classifier(layers.Conv2D(6, 3), layers.BatchNormalization(name="norm"), layers.ReLU(), layers.Conv2D(6, 3))
    assert fold_batch_norms(split_model(model, layer="norm")).cam_tensor.name == "norm"
    assert_folded(model, 1, layer="norm")


# ------------------------------------------------------------------------------------------------ what is not


def test_a_convolution_with_an_activation_is_left() -> None:
    for kind in (layers.Conv2D(6, 3, activation="relu"), layers.DepthwiseConv2D(3, activation="tanh")):
        assert_folded(classifier(kind, layers.BatchNormalization()), 0)
    assert_folded(classifier(layers.SeparableConv2D(6, 3, activation="silu"), layers.BatchNormalization()), 0)


def test_a_convolution_whose_output_is_used_twice_is_left() -> None:
    def twice(x: Any) -> Any:
        y = layers.Conv2D(6, 3)(x)
        return layers.Add()([y, layers.BatchNormalization()(y)])

    assert_folded(classifier(twice), 0)


def test_two_batch_norms_of_one_output_are_left() -> None:
    def twice(x: Any) -> Any:
        y = layers.Conv2D(6, 3)(x)
        return layers.Concatenate()([layers.BatchNormalization()(y), layers.BatchNormalization()(y)])

    assert_folded(classifier(twice), 0)


def test_a_convolution_that_is_the_target_is_left() -> None:
    model = classifier(layers.Conv2D(6, 3, name="here"), layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(6, 3))
    folded = assert_folded(model, 0, layer="here")
    np.testing.assert_array_equal(folded.run_body(pictures()), split_model(model, layer="here").run_body(pictures()))


def test_a_target_that_is_read_by_the_body_too_is_left() -> None:
    # The target's own convolution feeds a batch norm behind it; the one in front of it is folded all the same.
    front = [layers.Conv2D(6, 3), layers.BatchNormalization(), layers.ReLU()]
    assert_folded(classifier(*front, layers.Conv2D(6, 3, name="here"), layers.BatchNormalization()), 1, layer="here")


def test_batch_norms_of_the_input_and_behind_other_layers_are_left() -> None:
    assert_folded(classifier(layers.BatchNormalization(), layers.Conv2D(6, 3)), 0)
    assert_folded(classifier(layers.Conv2D(6, 3), layers.ReLU(), layers.BatchNormalization()), 0)
    assert_folded(classifier(layers.Conv2D(6, 3), layers.MaxPooling2D(), layers.BatchNormalization()), 0)
    assert_folded(classifier(layers.Conv2DTranspose(6, 3), layers.BatchNormalization()), 0)
    assert_folded(classifier(layers.Conv2D(6, 3), layers.LayerNormalization()), 0)


def test_a_batch_norm_over_rows_is_left() -> None:
    assert_folded(classifier(layers.Conv2D(6, 3), layers.BatchNormalization(axis=1)), 0)


def test_a_kind_of_convolution_that_is_ones_own_is_left() -> None:
    class Doubled(layers.Conv2D):
        def call(self, inputs: Any) -> Any:
            return 2 * super().call(inputs)

    assert_folded(classifier(Doubled(6, 3), layers.BatchNormalization()), 0)


# ------------------------------------------------------------------------------------------------ what is known of a network


def test_a_folded_network_is_known_for_what_it_is() -> None:
    model = classifier(layers.Rescaling(1 / 3), layers.Conv2D(6, 3), layers.BatchNormalization(), layers.Dropout(0.5))
    plain = split_model(model)
    folded = fold_batch_norms(plain)
    assert folded.takes_any_size and folded.scales_pixels and folded.activation == "softmax"
    assert folded.class_weights is not None and plain.class_weights is not None
    np.testing.assert_array_equal(folded.class_weights, plain.class_weights)
    assert len(calls(fold_batch_norms(folded))) == len(calls(folded))
    assert {variable.name for variable, _ in folded.weights()} >= {"kernel", "bias"}
    assert not {id(v) for v in model.get_layer(index=2).variables} & {id(v) for v, _ in folded.weights()}
    for side in (9, 20):
        x = np.resize(pictures(), (2, side, side, CHANNELS))
        np.testing.assert_allclose(folded.run_body(x), plain.run_body(x), rtol=1e-4, atol=1e-5)


def test_a_size_that_matters_still_matters() -> None:
    model = classifier(layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.Resizing(8, 8))
    assert not split_model(model).takes_any_size and not fold_batch_norms(split_model(model)).takes_any_size


@pytest.mark.slow
def test_folded_maps_are_the_maps() -> None:
    source = keras.Input((16, 16, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(layers.Rescaling(1 / 128, -1)(source))))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, strides=2, padding="same")(x))
    model = randomised(keras.Model(source, layers.Dense(5)(layers.Flatten()(layers.MaxPooling2D()(layers.ReLU()(x))))))
    picture = np.random.default_rng(2).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    for method in ("gradcam", "layercam", "scorecam"):
        plain, folded = (
            make_explainer(network, method=method, targets=[1])(picture).maps
            for network in (split_model(model), fold_batch_norms(split_model(model)))
        )
        assert tf.reduce_max(plain) > 0
        np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-4 * float(tf.reduce_max(plain)))


def test_a_folded_convolution_counts_as_its_layer_does() -> None:
    """A kernel of 3x3x4x6 and a Dense of 6 to 5 with its bias; what the batch norm knew is within the kernel and no weight any more."""
    for policy, half in (("float32", False), ("mixed_bfloat16", True)):
        source = keras.Input((None, None, CHANNELS))
        x = layers.BatchNormalization(dtype="float32")(layers.Conv2D(6, 3, use_bias=False, dtype=policy)(source))
        x = layers.GlobalAveragePooling2D(dtype="float32")(layers.ReLU(dtype="float32")(x))
        plain = split_model(keras.Model(source, layers.Dense(5, dtype="float32")(x)))
        folded = fold_batch_norms(plain)
        assert any(isinstance(operation, FoldedConvolution) for operation in calls(folded))
        assert (plain.weight_count, folded.weight_count) == (216 + 4 * 6 + 30 + 5, 216 + 30 + 5)
        assert plain.computes_in_half == folded.computes_in_half == half
