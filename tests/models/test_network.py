"""Where a model is cut, by the rule of the module's docstring, over the shapes of models that people have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.arrays import Array
from pipeline.errors import CommandError, ModelError
from pipeline.models.network import Network, split_model

SIDE = 16


def picture() -> Any:
    return keras.Input((SIDE, SIDE, 3))


def convolution(x: Any, filters: int = 6, name: str | None = None) -> Any:
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)


def features() -> keras.Model:
    """A model without a head, as zoo models are with include_top=False."""
    pixels = picture()
    return keras.Model(pixels, convolution(layers.MaxPooling2D()(convolution(pixels)), name="last"), name="features")


# ------------------------------------------------------------------------------------------------ heads
# Each is a model whose target is the layer called "last", (8, 8, 6) unless the table below says otherwise.


def pooled_and_dense() -> keras.Model:
    pixels = picture()
    x = layers.GlobalAveragePooling2D()(features()(pixels))
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(layers.Dropout(0.5)(x)))


def pooled_and_dense_without_activation() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(5)])


def flattened_after_max_pooling() -> keras.Model:
    head = [layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5, activation="softmax")]
    return keras.Sequential([picture(), features(), *head])


def flattened_after_max_pooling_twice() -> keras.Model:
    head = [layers.MaxPooling2D(), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5, activation="softmax")]
    return keras.Sequential([picture(), features(), *head])


def flattened() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.Flatten(), layers.Dense(5, activation="softmax")])


def reshaped() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.Reshape((8 * 8 * 6,)), layers.Dense(5, activation="softmax")])


def several_dense() -> keras.Model:
    dense = [layers.Dense(7, activation="relu"), layers.Dense(6, activation="gelu"), layers.Dense(5, activation="softmax")]
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), *dense])


def max_pooled() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalMaxPooling2D(), layers.Dense(5, activation="softmax")])


def average_and_max_pooled() -> keras.Model:
    base = features()
    both = layers.Concatenate()([layers.GlobalAveragePooling2D()(base.output), layers.GlobalMaxPooling2D()(base.output)])
    return keras.Model(base.input, layers.Dense(5, activation="softmax")(both))


def average_pooled_to_one_cell() -> keras.Model:
    head = [layers.AveragePooling2D(8), layers.Flatten(), layers.Dense(5, activation="softmax")]
    return keras.Sequential([picture(), features(), *head])


def softmax_layer() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(5), layers.Softmax()])


def softmax_activation() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(5), layers.Activation("softmax")])


def softmax_operation() -> keras.Model:
    base = features()
    return keras.Model(base.input, keras.ops.softmax(layers.Dense(5)(keras.ops.mean(base.output, axis=(1, 2)))))


def convolution_flatten_softmax() -> keras.Model:
    """As in MobileNetV3."""
    pool = layers.GlobalAveragePooling2D(keepdims=True)
    small = layers.Conv2D(7, 1, activation="hard_silu")
    return keras.Sequential([picture(), features(), pool, small, layers.Conv2D(5, 1), layers.Flatten(), layers.Activation("softmax")])


def convolution_reshape_softmax() -> keras.Model:
    """As in MobileNet."""
    head = [layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.1), layers.Conv2D(5, 1, padding="same")]
    return keras.Sequential([picture(), features(), *head, layers.Reshape((5,)), layers.Activation("softmax")])


def convolution_with_its_own_softmax() -> keras.Model:
    head = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(5, 1, activation="softmax"), layers.Flatten()]
    return keras.Sequential([picture(), features(), *head])


def normalised_logits() -> keras.Model:
    head = [layers.GlobalAveragePooling2D(), layers.Dense(5), layers.BatchNormalization(), layers.Softmax()]
    return keras.Sequential([picture(), features(), *head])


def residual_sum() -> keras.Model:
    pixels = picture()
    x = convolution(layers.MaxPooling2D()(pixels))
    x = layers.Add(name="last")([x, convolution(convolution(x))])
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def squeeze_and_excitation() -> keras.Model:
    """Pools inside the body too, which is no place for a map."""
    pixels = picture()
    x = convolution(layers.MaxPooling2D()(pixels))
    gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply(name="last")([x, gate])
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def nested_in_functional() -> keras.Model:
    """As in Keras' transfer-learning guide: scaling in front, the zoo model as one layer with training=False."""
    pixels = picture()
    x = features()(layers.Rescaling(2, -0.1)(pixels), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(x))


def nested_twice() -> keras.Model:
    head = [layers.GlobalAveragePooling2D(), layers.Dense(5, activation="softmax")]
    return keras.Sequential([picture(), keras.Sequential([picture(), features()]), keras.Sequential([keras.Input((8, 8, 6)), *head])])


def nested_and_pooled_inside() -> keras.Model:
    base = features()
    inner = keras.Model(base.input, layers.GlobalAveragePooling2D()(base.output))
    return keras.Sequential([picture(), inner, layers.Dense(5, activation="softmax")])


def one_model_used_twice() -> keras.Model:
    """The same nested model called on the picture and on its mirror image; the target is the sum of both."""
    pixels, base = picture(), features()
    x = layers.Add(name="last")([base(pixels), keras.ops.flip(base(keras.ops.flip(pixels, 2)), 2)])
    return keras.Model(pixels, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def one_sigmoid_unit() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")])


def one_unit_and_sigmoid_layer() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.Flatten(), layers.Dense(1), layers.Activation("sigmoid")])


def one_unit_and_nothing_else() -> keras.Model:
    """Trained on logits."""
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(1)])


def several_sigmoid_units() -> keras.Model:
    return keras.Sequential([picture(), features(), layers.GlobalAveragePooling2D(), layers.Dense(5, activation="sigmoid")])


PLACES: dict[Callable[[], keras.Model], str] = {  # the activation
    pooled_and_dense: "softmax",
    pooled_and_dense_without_activation: "linear",
    flattened_after_max_pooling: "softmax",
    flattened_after_max_pooling_twice: "softmax",
    flattened: "softmax",
    reshaped: "softmax",
    several_dense: "softmax",
    max_pooled: "softmax",
    average_and_max_pooled: "softmax",
    average_pooled_to_one_cell: "softmax",
    softmax_layer: "softmax",
    softmax_activation: "softmax",
    softmax_operation: "softmax",
    convolution_flatten_softmax: "softmax",
    convolution_reshape_softmax: "softmax",
    convolution_with_its_own_softmax: "softmax",
    normalised_logits: "softmax",
    residual_sum: "softmax",
    squeeze_and_excitation: "softmax",
    nested_in_functional: "softmax",
    nested_twice: "softmax",
    nested_and_pooled_inside: "softmax",
    one_model_used_twice: "softmax",
    one_sigmoid_unit: "sigmoid",
    one_unit_and_sigmoid_layer: "sigmoid",
    several_sigmoid_units: "sigmoid",
}
ONE_DENSE_BEHIND_AVERAGE = (
    pooled_and_dense,
    pooled_and_dense_without_activation,
    softmax_layer,
    softmax_activation,
    residual_sum,
    squeeze_and_excitation,
    nested_in_functional,
    nested_twice,
    nested_and_pooled_inside,
    one_model_used_twice,
    one_sigmoid_unit,
    several_sigmoid_units,
    one_unit_and_nothing_else,
)


@pytest.fixture(scope="module", params=PLACES, ids=lambda build: build.__name__)
def place(request: pytest.FixtureRequest) -> keras.Model:
    return weighted(request.param())


def weighted(model: keras.Model) -> keras.Model:
    """With weights, biases too, for which scores differ between pictures and classes."""
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 1.5 / max(25, np.prod(variable.shape[:-1])) ** 0.5, variable.shape))
    return model


def pixels(count: int = 3, side: int = SIDE) -> Array:
    return np.random.default_rng(5).normal(0, 1, (count, side, side, 3)).astype(np.float32)


def scores_by_split(network: Network, x: Array) -> Array:
    return np.asarray(network.scores(network.run_head(network.run_body(x))))


def test_the_target_is_what_the_pooling_reads(place: keras.Model) -> None:
    network = split_model(place)
    assert (network.cam_tensor.name, network.cam_tensor.shape) == ("last", (None, 8, 8, 6))
    assert network.run_body(pixels()).shape == (3, 8, 8, 6)


def test_body_and_head_are_the_model(request: pytest.FixtureRequest, place: keras.Model) -> None:
    said, network = np.asarray(place(pixels())), split_model(place)
    assert network.activation == PLACES[request.node.callspec.params["place"]]
    assert network.class_count == max(2, said.shape[1]) and said.std(0).max() > 1e-3
    if network.activation == "linear":
        said = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    both = np.concatenate([1 - said, said], 1) if said.shape[1] == 1 else said
    np.testing.assert_allclose(scores_by_split(network, pixels()), both, rtol=0, atol=2e-6)


def test_the_logits_are_those_before_the_activation(place: keras.Model) -> None:
    said, network = np.asarray(place(pixels()), np.float64), split_model(place)
    logits = np.asarray(network.run_head(network.run_body(pixels())))
    if network.activation == "softmax":
        said, logits = (values - values.mean(1, keepdims=True) for values in (np.log(said), logits))
    elif network.activation == "sigmoid":
        said = np.log(said / (1 - said))
    wanted = np.concatenate([-said, said], 1) if said.shape[1] == 1 else said
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("build", [*PLACES, one_unit_and_nothing_else], ids=lambda build: build.__name__)
def test_the_map_is_a_matrix_product_where_one_dense_reads_an_average(build: Callable[[], keras.Model]) -> None:
    model = weighted(build())
    network = split_model(model)
    assert (network.class_weights is not None) == (build in ONE_DENSE_BEHIND_AVERAGE)
    if network.class_weights is not None:
        activations, bias = np.asarray(network.run_body(pixels())), model.trainable_variables[-1].numpy()
        logits = activations.mean((1, 2)) @ network.class_weights + (np.concatenate([-bias, bias]) if bias.size == 1 else bias)
        np.testing.assert_allclose(network.run_head(activations), logits, rtol=0, atol=1e-5)


def inner_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from inner_layers(layer)


def state(model: keras.Model) -> tuple[Any, ...]:
    nodes = [(id(layer), len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in inner_layers(model)]
    activations = [getattr(layer, "activation", None) for layer in inner_layers(model)]
    weights = [variable.numpy().tobytes() for variable in model.variables]
    return nodes, activations, weights, model.to_json(), np.asarray(model(pixels(), training=False)).tobytes()


def test_the_model_is_left_as_it_was(place: keras.Model) -> None:
    before = state(place)
    scores_by_split(split_model(place), pixels())
    assert state(place) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own saving, with numpy 2
def test_a_saved_model_is_cut_like_the_one_that_was_saved(place: keras.Model, tmp_path: Path) -> None:
    place.save(tmp_path / "model.keras")
    reloaded = split_model(keras.models.load_model(tmp_path / "model.keras"))
    assert (reloaded.cam_tensor.name, reloaded.cam_tensor.shape) == ("last", (None, 8, 8, 6))
    np.testing.assert_allclose(scores_by_split(reloaded, pixels()), scores_by_split(split_model(place), pixels()), rtol=0, atol=1e-6)


def test_any_size_goes_through_a_model_without_one() -> None:
    pixels_of_any_size = keras.Input((None, None, 3))
    x = convolution(layers.MaxPooling2D()(pixels_of_any_size), name="last")
    model = keras.Model(pixels_of_any_size, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    network = split_model(model)
    assert network.cam_tensor.shape == (None, None, None, 6)
    for side in (8, 23, 40):
        np.testing.assert_allclose(scores_by_split(network, pixels(2, side)), model(pixels(2, side)), rtol=0, atol=2e-6)


def test_what_says_it_takes_any_size_does(place: keras.Model) -> None:
    network = split_model(place)
    if network.takes_any_size:
        activations = network.run_body(np.random.default_rng(0).normal(0, 1, (2, 24, 40, 3)).astype(np.float32))
        assert activations.shape == (2, 12, 20, 6)
        assert network.run_head(activations).shape == (2, network.class_count)


def test_global_pooling_takes_any_size_and_a_head_that_flattens_does_not() -> None:
    for build in (pooled_and_dense, several_dense, max_pooled, convolution_reshape_softmax, squeeze_and_excitation, nested_in_functional):
        assert split_model(build()).takes_any_size, build.__name__
    for build in (flattened, flattened_after_max_pooling, reshaped):
        assert not split_model(build()).takes_any_size, build.__name__


def test_the_map_is_taken_from_a_layer_that_is_named() -> None:
    model = weighted(pooled_and_dense())
    first = model.layers[1].layers[1].name  # inside the nested model
    network = split_model(model, layer=first)
    assert (network.cam_tensor.name, network.cam_tensor.shape) == (first, (None, 16, 16, 6))
    assert network.class_weights is None and split_model(model, layer="last").class_weights is not None
    np.testing.assert_allclose(scores_by_split(network, pixels()), model(pixels()), rtol=0, atol=2e-6)


def test_a_named_layer_that_gives_no_map_is_refused() -> None:
    model = pooled_and_dense()
    with pytest.raises(CommandError, match="--layer lasts: the model has no such layer; near to it: last"):
        split_model(model, layer="lasts")
    with pytest.raises(CommandError, match=r"its output \(None, 6\) is not a feature map; the last ones are .*last"):
        split_model(model, layer=model.layers[2].name)


def test_a_batch_norm_told_to_train_is_in_inference_mode() -> None:
    x_any = keras.Input((None, None, 3))
    norm = layers.BatchNormalization()
    x = norm(layers.Conv2D(6, 3)(x_any), training=True)
    model = weighted(keras.Model(x_any, layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.ReLU(name="last")(x)))))
    network = split_model(model)
    before = [variable.numpy() for variable in norm.variables]
    np.testing.assert_allclose(network.run_body(pixels()[:1]), network.run_body(pixels())[:1], rtol=0, atol=1e-5)
    for variable, value in zip(norm.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_picture_that_is_flattened_is_its_own_target() -> None:
    model = keras.Sequential([picture(), layers.Flatten(), layers.Dense(5, activation="softmax")])
    network = split_model(model)
    assert network.cam_tensor == network.source and network.body == ()
    np.testing.assert_allclose(scores_by_split(network, pixels()), model(pixels()), rtol=0, atol=2e-6)


def test_inference_changes_no_batch_norm_and_drops_nothing_out() -> None:
    base = features()
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(base.output))
    network = split_model(keras.Model(base.input, layers.Dense(5, activation="softmax")(layers.Dropout(0.9)(x))))
    before = [value.copy() for _, value in network.weights()]
    first, second = scores_by_split(network, pixels()), scores_by_split(network, pixels())
    np.testing.assert_array_equal(first, second)
    for (_, after), value in zip(network.weights(), before, strict=True):
        np.testing.assert_array_equal(after, value)


def test_one_unit_without_activation_is_a_logit() -> None:
    model = weighted(one_unit_and_nothing_else())
    positive = 1 / (1 + np.exp(-np.asarray(model(pixels()))))
    np.testing.assert_allclose(
        scores_by_split(split_model(model), pixels()), np.concatenate([1 - positive, positive], 1), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize(
    "layer", [layers.RandomFlip(), layers.RandomContrast(0.9), layers.RandomTranslation(0.3, 0.3)], ids=lambda x: x.name
)
def test_augmentation_does_nothing(layer: keras.Layer) -> None:
    model = weighted(keras.Sequential([picture(), layer, features(), layers.GlobalAveragePooling2D(), layers.Dense(5)]))
    before = state(model)
    logits = np.asarray(model(pixels(), training=False))
    network = split_model(model)
    np.testing.assert_allclose(network.run_head(network.run_body(pixels())), logits, rtol=0, atol=1e-5)
    assert state(model) == before  # the layer's random state too


def test_dropout_does_not_hide_the_max_pooling() -> None:
    head = [layers.MaxPooling2D(), layers.Dropout(0.25), layers.Flatten(), layers.Dense(5, activation="softmax")]
    assert split_model(keras.Sequential([picture(), features(), *head])).cam_tensor.name == "last"


# ------------------------------------------------------------------------------------------------ what is refused


def two_pictures() -> keras.Model:
    first, second = picture(), picture()
    both = layers.Concatenate()([convolution(first), convolution(second)])
    return keras.Model([first, second], layers.Dense(5)(layers.GlobalAveragePooling2D()(both)))


def two_outputs() -> keras.Model:
    base = features()
    pooled = layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, [layers.Dense(5)(pooled), layers.Dense(2)(pooled)])


def no_graph() -> keras.Model:
    return keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(5)])  # never built


def channels_first() -> keras.Model:
    return keras.Sequential([keras.Input((3, SIDE, SIDE)), layers.GlobalAveragePooling2D(data_format="channels_first"), layers.Dense(5)])


def test_channels_first_are_refused() -> None:
    with pytest.raises(ModelError, match="has its channels first"):
        split_model(channels_first())


@pytest.mark.parametrize("build", [two_pictures, two_outputs, no_graph])
def test_more_than_one_picture_or_answer_is_refused(build: Callable[[], keras.Model]) -> None:
    with pytest.raises(ModelError, match="one picture as input and one output; give a functional or Sequential"):
        split_model(build())


def no_picture() -> keras.Model:
    return keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.Dense(5, activation="softmax")])


def test_a_model_without_feature_maps_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no single place where its feature maps are pooled \(found: nowhere\)"):
        split_model(no_picture())


def test_a_model_that_pools_in_two_places_is_refused_and_both_are_named() -> None:
    pixels = picture()
    coarse = convolution(layers.MaxPooling2D()(convolution(pixels, name="fine")), name="coarse")
    pooled = [layers.GlobalAveragePooling2D()(x) for x in (pixels, coarse)]
    with pytest.raises(ModelError, match=r"no single place.*\(found: (input, coarse|coarse, input)\)"):
        split_model(keras.Model(pixels, layers.Dense(5)(layers.Concatenate()(pooled))))


def test_a_model_whose_output_is_a_picture_is_refused() -> None:
    base = features()
    with pytest.raises(ModelError):
        split_model(keras.Model(base.input, layers.Conv2D(5, 1, activation="softmax")(base.output)))


# ------------------------------------------------------------------------------------------------ the zoo


def check_zoo_model(name: str, grid: tuple[int, int, int], *, closed: bool) -> None:
    keras.utils.set_random_seed(3)
    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    x = np.random.default_rng(1).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    x = x * 127.5 + 127.5 if name.startswith(("MobileNetV3", "EfficientNet", "ConvNeXt")) else x  # the pixel scaling is inside
    network = split_model(model)
    assert network.cam_tensor.shape[1:] == grid and network.run_body(x).shape == (2, *grid)
    said, logits = np.asarray(model(x), np.float64), np.asarray(network.run_head(network.run_body(x)), np.float64)
    np.testing.assert_allclose(network.scores(logits), said, rtol=1e-4, atol=1e-9)
    logged = np.log(said)
    np.testing.assert_allclose(logits - logits.mean(1, keepdims=True), logged - logged.mean(1, keepdims=True), rtol=0, atol=1e-4)
    assert network.activation == "softmax" and network.class_count == 1000
    assert (network.class_weights is not None) == closed


# The shapes are those that keras.io/api/applications and the papers give for a picture of 224 by 224.
@pytest.mark.parametrize(
    ("name", "grid", "closed"),
    [
        pytest.param("MobileNet", (7, 7, 1024), False, marks=pytest.mark.slow),
        ("MobileNetV3Small", (7, 7, 576), False),
        pytest.param("MobileNetV2", (7, 7, 1280), True, marks=pytest.mark.slow),
    ],
)
def test_zoo_models_are_cut_where_they_pool(name: str, grid: tuple[int, int, int], closed: bool) -> None:
    check_zoo_model(name, grid, closed=closed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "grid", "closed"),
    [
        ("VGG16", (14, 14, 512), False),
        ("DenseNet121", (7, 7, 1024), True),
        ("ResNet50", (7, 7, 2048), True),
        ("MobileNetV3Large", (7, 7, 960), False),
        ("ResNet50V2", (7, 7, 2048), True),
        ("EfficientNetV2B0", (7, 7, 1280), True),
        ("ConvNeXtTiny", (7, 7, 768), False),
        ("NASNetMobile", (7, 7, 1056), True),
    ],
)
def test_large_zoo_models_are_cut_where_they_pool(name: str, grid: tuple[int, int, int], closed: bool) -> None:
    check_zoo_model(name, grid, closed=closed)
