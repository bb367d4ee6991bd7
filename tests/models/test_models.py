"""Models of one's own and of the zoo, from files: what is loaded, what is refused, and that the map is right through it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from pipeline.arrays import Array
from pipeline.cam.explainer import make_explainer
from pipeline.errors import CommandError, ModelError
from pipeline.explain import demo_clip
from pipeline.models import class_names, loading, model_summary, zoo
from pipeline.models.pixel_normalization import normalize_pixels
from pipeline.options import ModelChoice


def body(size: int | None = 32) -> list[Any]:
    return [
        keras.Input((size, size, 3)),
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(12, 3, padding="same", activation="relu", name="last"),
    ]


def small(*head: Any, size: int | None = 32) -> keras.Sequential:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([*body(size), *head])
    for variable in model.weights:  # statistics as after training
        if "moving" in variable.path:
            low, high = (0.5, 2) if "variance" in variable.path else (-0.3, 0.3)
            variable.assign(np.random.default_rng(1).uniform(low, high, variable.shape))
    return model


def average(units: int = 4, activation: str | None = "softmax") -> list[Any]:
    return [layers.GlobalAveragePooling2D(), layers.Dense(units, activation=activation)]


def saved(model: keras.Model, path: Path) -> str:
    model.save(path)
    return str(path)


def pixels(size: int = 32, count: int = 3) -> Array:
    return np.random.default_rng(7).integers(0, 255, (count, size, size, 3), np.uint8)


def load(model: str, **more: Any) -> loading.Classifier:
    return loading.load_classifier(ModelChoice(model=model, **more))


def explained(classifier: loading.Classifier, x: Array, **more: Any) -> tuple[Array, Array]:
    explain = make_explainer(classifier.networks[0], preprocess=lambda p: normalize_pixels(p, classifier.pixels), **more)
    explanation = explain(x)
    return explanation.scores.numpy(), explanation.maps.numpy()


HEADS: dict[str, Callable[[], list[Any]]] = {
    "average": average,
    "flatten": lambda: [
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(16, activation="relu"),
        layers.Dense(4, activation="softmax"),
    ],
    "maximum": lambda: [layers.GlobalMaxPooling2D(), layers.Dense(4, activation="softmax")],
    "convolution": lambda: [layers.Conv2D(4, 1), layers.GlobalAveragePooling2D(), layers.Softmax()],
    "labels": lambda: average(5, "sigmoid"),
    "one unit": lambda: average(1, "sigmoid"),
}


SAVED = [(head, ".keras") for head in HEADS] + [("average", ".h5")]
ALSO_SAVED = [pytest.param(head, ".h5", marks=pytest.mark.slow) for head in HEADS if head != "average"]


@pytest.mark.parametrize(("head", "suffix"), [*SAVED, *ALSO_SAVED])
def test_a_saved_model_gives_its_own_scores_and_a_map(tmp_path: Path, head: str, suffix: str) -> None:
    model = small(*HEADS[head]())
    classifier = load(saved(model, tmp_path / f"m{suffix}"))
    scores, heat = explained(classifier, pixels())
    own = model.predict(pixels().astype(np.float32), verbose=0)
    wanted = np.concatenate([1 - own, own], axis=1) if head == "one unit" else own
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert heat.shape == (3, 1, 16, 16) and heat.max() > 0
    assert [name.label for name in classifier.classes] == [f"class {i}" for i in range(wanted.shape[1])]
    assert classifier.input_px == (32, 32) and classifier.stride == 2 and classifier.any_size == (head != "flatten")


def test_a_model_inside_a_model_is_seen_through(tmp_path: Path) -> None:
    inner = small()
    base = keras.Model(inner.inputs[0], inner.outputs[0], name="base")
    wrapped = keras.Sequential([keras.Input((32, 32, 3)), base, *average()])
    outer = keras.Sequential([keras.Input((32, 32, 3)), layers.RandomFlip(), wrapped])
    classifier = load(saved(outer, tmp_path / "m.keras"))
    assert classifier.networks[0].cam_tensor.name == "last" and classifier.networks[0].class_weights is not None
    scores, heat = explained(classifier, pixels(), targets=[2])
    np.testing.assert_allclose(scores, outer.predict(pixels().astype(np.float32), verbose=0), atol=1e-5)
    kernel = wrapped.layers[-1].kernel.numpy()
    activations = base(pixels().astype(np.float32)).numpy()
    np.testing.assert_allclose(heat[:, 0], np.maximum(activations @ kernel[:, 2], 0) / 256, atol=1e-5)


def test_several_layers_and_layers_by_name(tmp_path: Path) -> None:
    path = saved(small(*average()), tmp_path / "m.keras")
    names = [layer.name for layer in keras.models.load_model(path).layers if isinstance(layer, layers.ReLU)]
    classifier = load(path, layers=(names[0], "last"))
    assert [net.cam_tensor.name for net in classifier.networks] == [names[0], "last"]
    with pytest.raises(CommandError, match="--layer lost: the model has no such layer; near to it: last"):
        load(path, layers=("lost",))
    dense = keras.models.load_model(path).layers[-1].name
    with pytest.raises(CommandError, match="is not a feature map"):
        load(path, layers=(dense,))


def test_labels_come_from_lines_or_from_keras_class_index(tmp_path: Path) -> None:
    path = saved(small(*average()), tmp_path / "m.keras")
    (tmp_path / "names.txt").write_text("ant\n bee \n\ncat\ndog\n", encoding="utf-8")
    (tmp_path / "index.json").write_text(
        json.dumps({str(i): [f"n0000000{i}", name] for i, name in enumerate(["ant", "bee", "cat", "dog"])})
    )
    assert [name.label for name in load(path, labels=tmp_path / "names.txt").classes] == ["ant", "bee", "cat", "dog"]
    assert load(path, labels=tmp_path / "index.json").classes[2].wnid == "n00000002"
    (tmp_path / "few.txt").write_text("ant\nbee\n")
    (tmp_path / "bad.json").write_text('["ant"]')
    for name, message in (
        ("few.txt", "2 names, and the model has 4 classes"),
        ("bad.json", "neither names"),
        ("none.txt", "cannot be read"),
    ):
        with pytest.raises(ModelError, match=message):
            load(path, labels=tmp_path / name)


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    assert load(saved(small(*average()), tmp_path / "m.keras")).warnings == []
    plain = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3), *average(1000)])
    classifier = load(saved(plain, tmp_path / "p.keras"))
    assert [w.split(": ")[1].split(",")[0] for w in classifier.warnings] == ["1000 classes", "no layer scales its pixels"]
    assert classifier.classes == class_names.imagenet_classes()
    assert load(str(tmp_path / "p.keras"), pixels="tf").pixels == "tf"


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "text.h5").write_text("no model")
    small(*average()).export(tmp_path / "folder", verbose=False)
    cases = {
        "text.keras": "cannot be read",
        "text.h5": "cannot be read",
        "none.keras": "no such file",
        "folder": "can only be called as a whole",
    }
    for name, message in cases.items():
        with pytest.raises(ModelError, match=message):
            load(str(tmp_path / name))


def test_code_in_a_model_runs_only_when_allowed(tmp_path: Path) -> None:
    trace, name = tmp_path / "trace", str(tmp_path / "trace")
    leaves_a_trace = layers.Lambda(lambda x: (__import__("pathlib").Path(name).touch(), x)[1])
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), leaves_a_trace, layers.Conv2D(4, 3), *average()])
    path = saved(model, tmp_path / "m.keras")
    trace.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="Lambda layer, which is code that runs when it is loaded; add --allow-unsafe"):
        load(path)
    assert not trace.exists()
    explained(load(path, allow_unsafe=True), pixels())
    assert trace.exists()


def test_classes_of_ones_own_come_from_a_named_module(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("import keras\nclass Twice(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n")
    scope: dict[str, Any] = {}
    exec(module.read_text(), scope)
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), scope["Twice"](), *average()])
    path = saved(model, tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"uses a class that Keras does not know.*--custom-objects"):
        load(path)
    scores, _ = explained(load(path, custom_objects=module), pixels())
    np.testing.assert_allclose(scores, model.predict(pixels().astype(np.float32), verbose=0), atol=1e-5)
    module.write_text("1 / 0")
    with pytest.raises(ModelError, match=r"fails when it is run .ZeroDivisionError"):
        load(path, custom_objects=module)


def test_channels_first_is_refused_with_its_reason(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Permute((3, 1, 2)),
            layers.MaxPooling2D(data_format="channels_first"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    with pytest.raises(ModelError, match="has its channels first"):
        load(saved(model, tmp_path / "m.keras"))


@pytest.mark.slow
def test_half_the_bits_say_the_same(classifier: loading.Classifier) -> None:
    mixed = loading.load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL, precision="mixed"))
    photos = [cv2.resize(demo_clip.read_photograph(shot[0]), (352, 256), interpolation=cv2.INTER_AREA) for shot in demo_clip.SHOTS]
    full, half = (make_explainer(each.networks[0])(np.stack(photos)) for each in (classifier, mixed))
    np.testing.assert_array_equal(half.targets, full.targets)
    difference = np.abs(half.scores - full.scores).max()
    assert 1e-5 < difference < 0.05  # bfloat16 has 8 bits: it was really used, and it is near
    for one, other in zip(half.maps, full.maps, strict=True):
        assert np.corrcoef(np.ravel(one), np.ravel(other))[0, 1] > 0.99
    plain = loading.load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL, precision="float32"))
    np.testing.assert_array_equal(make_explainer(plain.networks[0])(np.stack(photos)).scores, full.scores)
    with pytest.raises(CommandError, match="--precision half: not one of"):
        ModelChoice(model=zoo.DEFAULT_MODEL, precision="half")  # type: ignore[arg-type]


def test_a_mixed_precision_model_gives_its_own_scores(tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(layers.GlobalAveragePooling2D(), layers.Dense(4), layers.Softmax(dtype="float32"))
    finally:
        keras.config.set_dtype_policy(before)
    scores, heat = explained(load(saved(model, tmp_path / "m.keras")), pixels())
    np.testing.assert_allclose(scores, model.predict(pixels().astype(np.float32), verbose=0), atol=0.02)  # bfloat16 has 8 bits
    assert heat.dtype == np.float32


@pytest.mark.slow
def test_zoo_weights_come_from_a_file_of_ones_own(tmp_path: Path) -> None:
    entry = zoo.find_entry("mobilenet_v3_small")
    keras.utils.set_random_seed(5)
    model = loading.build_zoo_model(entry, weights=None)
    model.save_weights(tmp_path / "w.weights.h5")
    classifier = load("MobileNetV3-Small", weights=tmp_path / "w.weights.h5")
    x = pixels(224, 1)
    np.testing.assert_allclose(explained(classifier, x)[0], model.predict(x.astype(np.float32), verbose=0), atol=1e-5)
    assert classifier.name == "mobilenet_v3_small" and classifier.short_side_px == 256
    with pytest.raises(ModelError, match="do not fit mobilenet with 1000 classes"):
        load("mobilenet", weights=tmp_path / "w.weights.h5")


def test_without_a_network_the_message_names_the_file_and_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load("mobilenet_v2")
    message = str(caught.value)
    wanted = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    assert "could not be downloaded" in message and wanted in message and "--weights" in message and caught.value.exit_code == 2


def test_options_that_a_named_model_cannot_take_are_refused_before_it_is_loaded(tmp_path: Path) -> None:
    cases = {
        "no such model; near to it: resnet50": ModelChoice(model="resnet51"),
        "no such file": ModelChoice(model=str(tmp_path / "x.keras")),
        "--weights .*: no such file": ModelChoice(model="vgg16", weights=tmp_path / "w.h5"),
        "comes with its own classes and pixel scaling": ModelChoice(model="vgg16", pixels="tf"),
    }
    for message, choice in cases.items():
        with pytest.raises(ModelError, match=message):
            zoo.check_choice(choice, ())
    with pytest.raises(CommandError, match="--preprocess zoom: not one of auto, none, unit"):
        ModelChoice(model="vgg16", pixels="zoom")  # type: ignore[arg-type]


def test_anatomy_tells_shapes_for_any_size_and_where_the_map_is(tmp_path: Path) -> None:
    path = saved(small(*average()), tmp_path / "m.keras")
    shown = model_summary.summarize_model(ModelChoice(model=path), None)
    assert shown["map"] == "last, 16x16x12" and shown["input"] == "32x32, any size" and shown["classes"] == 4
    # By hand: 3*3*3*8+8, 4*8, 3*3*8*12+12, 12*4+4
    assert [layer["parameters"] for layer in shown["layers"]] == [0, 224, 32, 0, 0, 876, 0, 52] and shown["parameters"] == 1184
    wide = model_summary.summarize_model(ModelChoice(model=path), (64, 100))
    assert [layer["output"] for layer in wide["layers"]][1] == "64x100x8" and wide["map"] == "last, 32x50x12"
    fixed = saved(small(*HEADS["flatten"]()), tmp_path / "f.keras")
    with pytest.raises(ModelError, match="--input-size 64x64: the model does not take pictures of this size"):
        model_summary.summarize_model(ModelChoice(model=fixed), (64, 64))


def test_a_model_of_no_certain_size_is_taken_for_one_of_224_pixels(tmp_path: Path) -> None:
    """Its map has cells of 8 pixels, and a window of 28 by 28 of them is 224 by 224."""
    keras.utils.set_random_seed(0)
    pixels = x = keras.Input((None, None, 3))
    for filters in (4, 4, 4):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(pixels, x).save(tmp_path / "m.keras")
    found = loading.load_classifier(ModelChoice(model=str(tmp_path / "m.keras")))
    assert found.networks[0].window == (28, 28) and found.stride == 8 and found.input_px == (224, 224)
    assert any("does not say what size" in warning for warning in found.warnings)
