"""The models that come by name: every builder of Keras Applications, with weights at random."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.arrays import Array
from pipeline.cam.explainer import make_explainer
from pipeline.errors import ModelError
from pipeline.models import batch_norm_folding, zoo
from pipeline.models.network import Network, split_model
from pipeline.models.pixel_normalization import normalize_pixels


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a model apart from the catalogue, at the size that it was trained on.

    `layer` is None where Keras numbers it, so that its name changes from session to session: there it is what the last global average
    pooling reads. `closed` says whether behind that pooling there is one Dense.
    """

    layer: str | None
    shape: tuple[int, int, int]
    closed: bool = True
    any_size: bool = True
    built_for: int | None = 224


def _expected() -> Iterator[tuple[str, Expected]]:
    for name, last in (("VGG16", "block5_conv3"), ("VGG19", "block5_conv4")):
        yield name, Expected(layer=last, shape=(14, 14, 512), closed=False, any_size=False)
    for depth in (50, 101, 152):
        yield f"ResNet{depth}", Expected(layer="conv5_block3_out", shape=(7, 7, 2048))
        yield f"ResNet{depth}V2", Expected(layer="post_relu", shape=(7, 7, 2048))
    yield "InceptionV3", Expected(layer="mixed10", shape=(8, 8, 2048), built_for=299)
    yield "InceptionResNetV2", Expected(layer="conv_7b_ac", shape=(8, 8, 1536), built_for=299)
    yield "Xception", Expected(layer="block14_sepconv2_act", shape=(10, 10, 2048), built_for=299)
    yield "MobileNet", Expected(layer="conv_pw_13_relu", shape=(7, 7, 1024), closed=False)
    yield "MobileNetV2", Expected(layer="out_relu", shape=(7, 7, 1280))
    yield "MobileNetV3Large", Expected(layer=None, shape=(7, 7, 960), closed=False, built_for=None)
    yield "MobileNetV3Small", Expected(layer=None, shape=(7, 7, 576), closed=False, built_for=None)
    for depth, channels in ((121, 1024), (169, 1664), (201, 1920)):
        yield f"DenseNet{depth}", Expected(layer="relu", shape=(7, 7, channels))
    yield "NASNetMobile", Expected(layer=None, shape=(7, 7, 1056))
    yield "NASNetLarge", Expected(layer=None, shape=(11, 11, 4032), built_for=331)
    widths = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    for i, (side, channels) in enumerate(zip((224, 240, 260, 300, 380, 456, 528, 600), widths, strict=True)):
        cells = -(-side // 32)
        yield f"EfficientNetB{i}", Expected(layer="top_activation", shape=(cells, cells, channels), built_for=side)
    sides = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480}
    for size, side in sides.items():
        channels = {"B2": 1408, "B3": 1536}.get(size, 1280)
        cells = -(-side // 32)
        yield f"EfficientNetV2{size}", Expected(layer="top_activation", shape=(cells, cells, channels), built_for=side)
    for size, channels in (("Tiny", 768), ("Small", 768), ("Base", 1024), ("Large", 1536), ("XLarge", 2048)):
        yield f"ConvNeXt{size}", Expected(layer=None, shape=(7, 7, channels), closed=False)


EXPECTED = dict(_expected())
ZOO = {entry.builder: entry for entry in zoo.ZOO_ENTRIES.values() if entry.builder is not None}


# ------------------------------------------------------------------------------------------------ the catalogue


def test_the_catalogue_has_every_builder_of_keras_and_the_embedded_model() -> None:
    functions = {name for name in dir(keras.applications) if name[0].isupper() and callable(getattr(keras.applications, name))}
    assert set(ZOO) == functions == set(EXPECTED) and len(functions) == 40
    assert len(zoo.ZOO_ENTRIES) == 41
    assert [entry.name for entry in zoo.ZOO_ENTRIES.values() if entry.builder is None] == [zoo.DEFAULT_MODEL]
    assert all(entry.name == name for name, entry in zoo.ZOO_ENTRIES.items())
    assert len({entry.weights_file for entry in zoo.ZOO_ENTRIES.values()}) == 41


@pytest.mark.parametrize("entry", zoo.ZOO_ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_model_is_found_in_any_spelling(entry: zoo.ZooEntry) -> None:
    spellings = {entry.name, entry.name.upper(), entry.name.replace("_", "-"), entry.name.replace("_", ""), entry.builder or entry.name}
    assert {zoo.find_entry(spelling) for spelling in spellings} == {entry}


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="no such model") as raised:
        zoo.find_entry("resnet51")
    assert "resnet50" in str(raised.value.remedy)


def test_published_numbers_are_of_the_size_that_such_numbers_have() -> None:
    for entry in ZOO.values():
        assert 65 < entry.top1 < 90 and (entry.top5 is None or entry.top1 < entry.top5 < 98)
        assert 3.5 < entry.size_mb / entry.parameters_millions < 6  # four bytes each, and what else is in the file
        assert entry.short_side_px > entry.input_px >= 224
        assert entry.input_px == (EXPECTED[str(entry.builder)].built_for or 224)


# ------------------------------------------------------------------------------------------------ one of each family


def build(builder: str, **options: Any) -> keras.Model:
    """Without trained weights, but with batch norms that do something."""
    keras.utils.set_random_seed(3)
    model = getattr(keras.applications, builder)(**{"weights": None, **options})
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.variables:
                drawn = rng.uniform(0.7, 1.4, variable.shape)
                variable.assign(drawn if variable.name in ("gamma", "moving_variance") else (drawn - 1) / 2)
    return model


def assert_cut_where_it_should_be(network: Network, model: keras.Model, builder: str) -> None:
    """The target has the table's shape, and the name that the table or the last global pooling gives it."""
    expected = EXPECTED[builder]
    assert network.cam_tensor.name == target_tensor(model, builder)._keras_history.operation.name
    grid = expected.shape[:2] if expected.built_for else (None, None)
    assert network.cam_tensor.shape == (None, *grid, expected.shape[2])
    assert (network.class_weights is not None) == expected.closed
    assert network.takes_any_size == expected.any_size
    assert network.activation == "softmax" and network.class_count == 1000
    assert network.scales_pixels == (ZOO[builder].pixels == "none")


def target_tensor(model: keras.Model, builder: str) -> Any:
    expected = EXPECTED[builder].layer
    pooling = [layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)]
    return model.get_layer(expected).output if expected else pooling[-1].input


def activations_and_logits(model: keras.Model, builder: str) -> keras.Model:
    """A second model on the same layers: the tensor of the table, and what the final softmax reads."""
    last = model.layers[-1]
    if isinstance(last, layers.Dense):
        plain = layers.Dense(last.units)
        logits = plain(last.input)
        plain.set_weights(last.get_weights())
    else:
        assert isinstance(last, layers.Activation)
        logits = layers.Reshape((1000,))(last.input)
    return keras.Model(model.inputs, [target_tensor(model, builder), logits])


def gradcam_by_tape(both: keras.Model, scaled: Any, target: int) -> tuple[Array, Array]:
    """Grad-CAM with TensorFlow's gradient through the whole second model, the rest in NumPy; and all logits."""
    with tf.GradientTape() as tape:
        activations, logits = both(scaled)
        explained = logits[:, target]
    gradients = np.asarray(tape.gradient(explained, activations), np.float64)
    found = np.einsum("bhwk,bk->bhw", np.asarray(activations, np.float64), gradients.mean((1, 2)))
    return np.maximum(found, 0), np.asarray(logits, np.float64)


def draw_picture(side: int) -> Array:
    """Soft blobs of many sizes and colours, the left half darker."""
    rng, picture = np.random.default_rng(12), np.zeros((side, side, 3))
    for cells in (3, 7, 20, side):
        noise = tf.image.resize(rng.normal(0, 45, (cells, cells, 3)), (side, side), method="bicubic")
        picture += np.asarray(noise)
    picture[:, : side // 2] -= 60
    return np.clip(picture + 128, 0, 255).astype(np.uint8)[None]


FAMILIES = (
    *("MobileNetV2", "MobileNetV3Small", "MobileNet", "ResNet50", "EfficientNetB0"),
    *("EfficientNetV2B0", "ConvNeXtTiny", "InceptionV3", "NASNetMobile", "DenseNet121"),
    *("VGG16", "ResNet50V2", "Xception", "InceptionResNetV2", "MobileNetV3Large"),
)


@pytest.mark.slow
@pytest.mark.parametrize("builder", FAMILIES)
def test_scores_and_maps_are_those_of_the_whole_model(builder: str) -> None:
    entry, model = ZOO[builder], build(builder)
    plain = split_model(model)
    assert_cut_where_it_should_be(plain, model, builder)
    network = batch_norm_folding.fold_batch_norms(plain)
    pixels = draw_picture(entry.input_px)
    scaled = normalize_pixels(tf.cast(pixels, tf.float32), entry.pixels)
    said = np.asarray(model(scaled))
    top = int(said.argmax())  # its map is not empty: behind an average its sum is the logit
    scores, _, found, *_ = make_explainer(network, targets=[top, 3], preprocess=lambda x: normalize_pixels(x, entry.pixels))(pixels)
    wanted, logits = gradcam_by_tape(activations_and_logits(model, builder), scaled, top)
    logits -= np.log(np.exp(logits - logits.max()).sum()) + logits.max()
    assert found.shape == (1, 2, *EXPECTED[builder].shape[:2])
    assert logits.std() > 0 and wanted.max() > 0
    np.testing.assert_allclose(scores, said, rtol=0, atol=1e-4)
    told = said > 1e-30
    np.testing.assert_allclose(np.log(scores.numpy()[told]), logits[told], rtol=0, atol=1e-3 * logits.std())
    np.testing.assert_allclose(found[:, 0], wanted, rtol=0, atol=1e-3 * wanted.max())
    if network.takes_any_size:
        assert network.run_body(scaled[:, :96, :160]).shape == (1, *oblong_grid(builder), EXPECTED[builder].shape[2])
    release()


def oblong_grid(builder: str) -> tuple[int, int]:
    """The cells of a picture of 96 by 160; the Inceptions do not pad where they halve the size."""
    return (1, 3) if builder.startswith("Inception") else (3, 5)


def release() -> None:
    keras.backend.clear_session()
    gc.collect()


# ------------------------------------------------------------------------------------------------ all of them


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined:UserWarning")  # MobileNetV3, whose weights are of any size
@pytest.mark.parametrize("builder", EXPECTED)
def test_every_model_is_what_the_catalogue_says(builder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Built as for its trained weights, of which only the name is taken: they are up to 1.3 GB.
    entry, asked = ZOO[builder], []

    def get_file(fname: str, *_: Any, cache_subdir: str = "datasets", **__: Any) -> str:
        asked.append((fname, cache_subdir))
        return fname

    monkeypatch.setattr(sys.modules[keras.utils.get_file.__module__], "get_file", get_file)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_, **__: None)
    model = getattr(keras.applications, builder)()
    assert asked == [(entry.weights_file, "models")]
    side = EXPECTED[builder].built_for
    assert model.input_shape == (None, side, side, 3)
    assert entry.input_px == (side or 224)
    for network in (split_model(model), batch_norm_folding.fold_batch_norms(split_model(model))):
        assert_cut_where_it_should_be(network, model, builder)
    assert model.count_params() / 1e6 == pytest.approx(entry.parameters_millions, rel=0.02)
    del model, network
    release()
