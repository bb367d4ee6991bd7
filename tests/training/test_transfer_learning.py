"""Transfer learning on drawn shapes: what is learned, what is in the file, what an interruption leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import shapes
import tensorflow as tf
from PIL import Image
from support.commands import call

from pipeline.arrays import Array
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.explain import model_session, segment_journal
from pipeline.media import images, resizing
from pipeline.models import loading, model_metadata, model_summary, zoo
from pipeline.models.pixel_normalization import normalize_pixels
from pipeline.options import ModelChoice, Options, Pixels, Recipe
from pipeline.training import fitting, trainable_network, training_plan, transfer_learning

pytestmark = pytest.mark.media  # most pictures go through the embedded network

QUICK = Recipe(base=zoo.DEFAULT_MODEL, augment=False, epochs=6, seed=3)
CLI = [sys.executable, str(Path(__file__).parents[2] / "cli.py")]


class Watcher:
    """Counts epochs, and stops behind one of them."""

    def __init__(self, stop_after: int = 0) -> None:
        self.rows: list[Mapping[str, float]] = []
        self.lines: list[str] = []
        self._stop_after = stop_after

    def read(self, done: int, count: int) -> None:
        pass

    def trained(self, done: int, count: int) -> None:
        pass

    def epoch(self, row: Mapping[str, float], *, of: int, better: bool) -> None:
        self.rows.append(row)
        if len(self.rows) == self._stop_after:
            raise KeyboardInterrupt

    def said(self, text: str) -> None:
        self.lines.append(text)


def train(
    data: Path, output: Path, recipe: Recipe = QUICK, *, watcher: Watcher | None = None, **options: bool
) -> transfer_learning.TrainingResult:
    return transfer_learning.train(training_plan.plan_training(data, output=output, recipe=recipe, **options), watcher or Watcher())


def weights(path: Path) -> list[Array]:
    return keras.models.load_model(path, compile=False).get_weights()


def same(one: Path, other: Path) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.make(tmp_path_factory.mktemp("shapes") / "data", 15)


@pytest.fixture(scope="module")
def trained(data: Path) -> transfer_learning.TrainingResult:
    return train(data, data.with_name("shapes.keras"))


@pytest.fixture(scope="module")
def session(trained: transfer_learning.TrainingResult) -> model_session.Session:
    return model_session.open_session(loading.load_classifier(ModelChoice(model=str(trained.plan.output))), Options())


# ------------------------------------------------------------------------------------------------ what is learned


def test_shapes_are_told_apart(trained: transfer_learning.TrainingResult) -> None:
    assert (trained.train, trained.val) == (36, 9)
    assert trained.best["val_accuracy"] == 1.0
    # Wilson, 1927, for 9 of 9: 1 / (1 + z^2 / 9) with z = 1.95996
    assert trained.interval == (pytest.approx(9 / (9 + 1.959964**2), abs=1e-6), 1.0)
    assert [row["epoch"] for row in trained.history] == [1, 2, 3, 4, 5, 6]
    assert min(trained.history, key=lambda row: row["val_loss"]) == trained.best


def test_the_heat_of_unseen_shapes_lies_on_them(session: model_session.Session) -> None:
    rng, hits, names = np.random.default_rng(77), 0, []
    for kind in shapes.CLASSES * 4:
        picture, (x, y, r) = shapes.draw(kind, rng)
        height, width = picture.shape[:2]
        fitted = session.geometry(width, height)
        [seen] = session.explain_batch(cv2.resize(picture, (fitted.width_px, fitted.height_px), interpolation=cv2.INTER_AREA)[None])
        names.append(session.classifier.classes[int(seen.targets[0])].label)
        row, column = np.unravel_index(seen.maps[0].argmax(), seen.maps[0].shape)
        rows, columns = seen.maps[0].shape
        away = max(abs((column + 0.5) / columns * width - x), abs((row + 0.5) / rows * height - y))
        hits += away <= r + 16  # half a cell of 32 pixels
    assert names == list(shapes.CLASSES * 4)
    assert hits >= 11  # of 12; the middle of the picture would hit 4


# ------------------------------------------------------------------------------------------------ the file


def test_the_file_carries_names_and_what_was_learned_from(trained: transfer_learning.TrainingResult, data: Path) -> None:
    card = model_metadata.read_metadata(trained.plan.output)
    assert card is not None and card.finished and card.labels == list(shapes.CLASSES) and card.base == zoo.DEFAULT_MODEL
    assert sorted(each.name for each in card.learned) == sorted(str(p.relative_to(data)) for p in data.rglob("*.jpg"))
    assert sum(each.part == "val" for each in card.learned) == 9
    assert list(card.history) == list(trained.history)
    shown = model_summary.summarize_model(ModelChoice(model=str(trained.plan.output)), None)
    assert shown["labels"] == "circle, cross, triangle" and shown["pictures"] == "36 to train on, 9 to validate on"


@pytest.mark.process
def test_the_file_is_a_plain_keras_model_that_needs_nothing_of_ours(
    trained: transfer_learning.TrainingResult, session: model_session.Session
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (2, 160, 224, 3), np.uint8)
    code = (
        "import keras, numpy as np, sys; model = keras.models.load_model(sys.argv[1]); assert 'pipeline' not in sys.modules;"
        "x = np.random.default_rng(5).integers(0, 256, (2, 160, 224, 3), np.uint8); print(*model(x.astype('float32')).numpy().ravel())"
    )
    told = subprocess.run([sys.executable, "-c", code, str(trained.plan.output)], capture_output=True, text=True, check=True, cwd="/")
    scores = np.array([seen.scores for seen in session.explain_batch(pixels)])
    np.testing.assert_allclose(np.array(told.stdout.split(), float).reshape(2, 3), scores, atol=1e-5)


def test_the_map_is_the_gradient_through_the_nested_base(trained: transfer_learning.TrainingResult, session: model_session.Session) -> None:
    pixels = shapes.draw("cross", np.random.default_rng(8))[0][None, :224, :224]
    model = keras.models.load_model(trained.plan.output, compile=False)
    base = model.get_layer(zoo.DEFAULT_MODEL)
    hidden, last = model.get_layer("hidden"), model.get_layer("predictions")
    with tf.GradientTape() as tape:
        activations = base(tf.cast(pixels, tf.float32))
        tape.watch(activations)
        logits = tf.nn.relu(tf.reduce_mean(activations, (1, 2)) @ hidden.kernel + hidden.bias) @ last.kernel + last.bias
        best = tf.reduce_max(logits)
    weights = tf.reduce_mean(tape.gradient(best, activations), (1, 2))
    expected = tf.nn.relu(tf.einsum("bhwk,bk->bhw", activations, weights)).numpy()[0]
    [seen] = session.explain_batch(pixels)
    assert expected.max() > 0
    np.testing.assert_allclose(seen.maps[0], expected, atol=2e-4 * expected.max())


@pytest.mark.parametrize("mode", ["none", "unit", "tf", "torch", "caffe"])
def test_the_scaling_inside_the_file_is_that_of_the_network(mode: Pixels) -> None:
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 5, 6, 3)).astype(np.float32)
    source = keras.Input((None, None, 3))
    model = keras.Model(source, keras.layers.Identity()(trainable_network.add_normalization(source, mode)))
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_allclose(again(pixels), normalize_pixels(tf.constant(pixels), mode), rtol=1e-5, atol=1e-4)


def test_a_model_pools_as_its_card_says(trained: transfer_learning.TrainingResult, tmp_path: Path) -> None:
    card = model_metadata.read_metadata(trained.plan.output)
    assert card is not None and card.pooling == "mean"
    windows = {}
    for pooling in ("mean", "window", None):  # None: a file that was made before cards said so
        path = tmp_path / f"{pooling}.keras"
        with zipfile.ZipFile(trained.plan.output) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.namelist():
                content = source.read(member)
                if member == model_metadata.METADATA_MEMBER:
                    told = json.loads(content)
                    del told["pooling"]
                    content = json.dumps(told | ({"pooling": pooling} if pooling else {})).encode()
                target.writestr(member, content)
        [network] = loading.load_classifier(ModelChoice(model=str(path))).networks
        windows[pooling] = network.window
    assert windows == {"mean": None, "window": (7, 7), None: None}  # its base takes 224 by 224 pixels, 32 to a cell


def test_a_file_that_is_no_model_of_ours_has_no_card(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(b"nothing")
    assert model_metadata.read_metadata(tmp_path / "a.keras") is None and model_metadata.read_metadata(tmp_path / "b.keras") is None


# ------------------------------------------------------------------------------------------------ the same again, and going on


@pytest.mark.slow
@pytest.mark.parametrize("augment", [False, True])
def test_the_same_seed_gives_the_same_model_and_going_on_too(augment: bool, data: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, augment=augment, epochs=3)
    whole = train(data, tmp_path / "whole.keras", recipe)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "torn.keras", recipe, watcher=Watcher(stop_after=2))
    left = model_metadata.read_metadata(tmp_path / "torn.keras")
    assert left is not None and not left.finished and len(left.history) == 2
    said = loading.load_classifier(ModelChoice(model=str(tmp_path / "torn.keras"))).warnings
    assert ["interrupted" in warning for warning in said] == [True]
    watcher = Watcher()
    again = train(data, tmp_path / "torn.keras", recipe, watcher=watcher, resume=True)
    assert len(watcher.rows) == 1 and list(again.history) == list(whole.history)
    assert same(tmp_path / "whole.keras", tmp_path / "torn.keras")
    assert not segment_journal.folder_of(tmp_path / "torn.keras").exists()
    other = train(data, tmp_path / "other.keras", replace(recipe, seed=4, epochs=1))
    assert other.history[0] != whole.history[0]


@pytest.mark.slow
def test_what_was_interrupted_is_not_replaced_or_mixed_unasked(data: Path, tmp_path: Path) -> None:
    output, recipe = tmp_path / "m.keras", replace(QUICK, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(data, output, recipe, watcher=Watcher(stop_after=1))
    with pytest.raises(OutputError, match="add --resume to go on"):
        train(data, output, recipe)
    with pytest.raises(CommandError, match=r"had learning_rate 0\.001"):
        train(data, output, replace(recipe, learning_rate=0.01), resume=True)
    assert len(train(data, output, replace(recipe, epochs=3), resume=True).history) == 3  # more epochs may be asked for
    with pytest.raises(OutputError, match="exists already"):
        train(data, output, recipe, resume=True)


@pytest.mark.slow
def test_the_best_epoch_is_kept_and_is_as_good_as_it_was_said_to_be(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "m.keras"
    for part, seed in (("train", 1), ("val", 2)):
        shapes.make(data / part, 6, seed=seed, classes=("circle", "cross"))
    (data / "val" / "circle").rename(data / "val" / "other")  # labels swapped: the more it learns, the worse it is
    (data / "val" / "cross").rename(data / "val" / "circle")
    (data / "val" / "other").rename(data / "val" / "cross")
    told = train(data, output, replace(QUICK, epochs=3))
    assert told.best["epoch"] == 1 and told.history[2]["val_loss"] > 1.2 * told.best["val_loss"]
    card = model_metadata.read_metadata(output)
    assert card is not None
    kept = model_session.open_session(loading.load_classifier(ModelChoice(model=str(output))), Options())
    losses = []
    for each in card.learned:
        if each.part == "val":
            image = images.read_image(data / each.name)
            [seen] = kept.explain_batch(
                resizing.resize_for_network(resizing.image_to_frame(image), kept.geometry(image.width, image.height))[None]
            )
            losses.append(-np.log(seen.scores[each.label]))
    assert np.mean(losses) == pytest.approx(told.best["val_loss"], rel=1e-3)


@pytest.mark.slow
def test_it_ends_when_nothing_is_gained(data: Path, tmp_path: Path) -> None:
    still = train(data, tmp_path / "m.keras", replace(QUICK, epochs=30, learning_rate=1e-9))
    assert len(still.history) == 1 + fitting.PATIENCE


def test_damaged_pictures_and_such_as_stand_twice_are_told(data: Path, tmp_path: Path) -> None:
    root = shapes.make(tmp_path / "data", 4, classes=("circle", "cross"))
    (root / "circle" / "cut.jpg").write_bytes((root / "circle" / "circle000.jpg").read_bytes()[:2000])
    (root / "cross" / "stolen.jpg").write_bytes((root / "circle" / "circle001.jpg").read_bytes())
    for number in range(4):  # one of the five lies in the other part
        Image.open(root / "circle" / "circle002.jpg").save(root / "circle" / f"again{number}.jpg", quality=40)
    told = train(root, tmp_path / "m.keras", replace(QUICK, epochs=1))
    assert [name for name, _ in told.unreadable] == ["circle/cut.jpg"] and told.train + told.val == 13
    assert "nearly the same picture in two classes: circle/circle001.jpg and cross/stolen.jpg" in told.warnings
    leaked = [warning for warning in told.warnings if warning.startswith("nearly the same picture in training and in validation")]
    assert len(leaked) == 1 and "circle/again" in leaked[0]


def test_a_class_whose_pictures_are_all_damaged_is_refused(tmp_path: Path) -> None:
    root = shapes.make(tmp_path / "data", 3, classes=("circle", "cross"))
    for path in (root / "cross").iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="no readable picture of 'cross'"):
        train(root, tmp_path / "m.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


# ------------------------------------------------------------------------------------------------ fine-tuning


@pytest.mark.slow
def test_fine_tuning_bends_the_last_layers_and_no_batch_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shapes.make(tmp_path / "data", 5, classes=("circle", "cross"))
    keras.utils.set_random_seed(1)
    random = keras.applications.MobileNetV2(weights=None)
    shown = np.stack([cv2.resize(cv2.imread(str(path)), (224, 224)) for path in sorted(data.rglob("*.jpg"))]) / 127.5 - 1
    for layer in random.layers:
        layer.momentum = 0.3  # of batch norms, which thus learn in a few calls what comes to them
    for _ in range(6):
        random(shown, training=True)
    random.save_weights(tmp_path / "random.weights.h5")
    recipe = Recipe(base="mobilenet_v2", weights=tmp_path / "random.weights.h5", augment=False, epochs=1, learning_rate=1e-5, fine_tune=4)
    monkeypatch.setattr(fitting, "FINE_TUNING_RATE", 10.0)  # so that one epoch gains something
    told = train(data, tmp_path / "m.keras", recipe)
    assert [row["phase"] for row in told.history] == [0, 1]
    tuned = {w.path: w.numpy() for w in keras.models.load_model(tmp_path / "m.keras").get_layer("mobilenet_v2").weights}
    before = [w for layer in random.layers[:-2] for w in layer.weights]
    changed = {path for (path, after), weight in zip(tuned.items(), before, strict=True) if not np.array_equal(after, weight.numpy())}
    assert told.best["phase"] == 1
    assert {path.split("/")[-2] for path in changed} == {"Conv_1"}  # the last four: a project's batch norm, Conv_1, its batch norm, ReLU


@pytest.mark.slow
def test_going_on_in_the_midst_of_fine_tuning(data: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=2, fine_tune=6, augment=True)
    train(data, tmp_path / "whole.keras", recipe)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "torn.keras", recipe, watcher=Watcher(stop_after=3))
    train(data, tmp_path / "torn.keras", recipe, resume=True)
    assert same(tmp_path / "whole.keras", tmp_path / "torn.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "resnet50", "xception", "mobilenet_v3_small", "nasnet_mobile", "densenet121", "convnext_tiny"])
def test_a_base_is_the_zoo_model_up_to_its_pooling_at_any_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = zoo.find_entry(name)
    model = loading.build_zoo_model(entry, weights=None)
    monkeypatch.setattr(loading, "_load_zoo_model", lambda *_: model)
    base = loading.build_backbone(ModelChoice(model=name))
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, entry.input_px, entry.input_px, 3)).astype(np.float32)
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)]
    target = pools[-1].input if pools else model.get_layer("block5_conv3").output
    np.testing.assert_array_equal(base(pixels), keras.Model(model.input, target)(pixels))
    assert base(pixels[:, :96, :160]).shape[1:3] in ((3, 5), (6, 10))


# ------------------------------------------------------------------------------------------------ the command


def visualize_command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_the_command_answers_in_json_and_its_model_works_with_m_alone(data: Path, tmp_path: Path, clip: Callable[[str], Path]) -> None:
    (tmp_path / "data").symlink_to(data)
    done = visualize_command("train", "data", "--no-augment", "--epochs", 2, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["output"] == str(tmp_path / "data.keras") and told["labels"] == list(shapes.CLASSES) and told["epochs"] == 2
    assert Path(told["curve"]).stat().st_size > 1000
    shown = visualize_command("video", clip("constant.mp4"), "-m", "data.keras", "-o", "out.mp4", "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert {each["label"] for each in json.loads(shown.stdout)["top"]} == set(shapes.CLASSES)
    again = visualize_command("train", "data", cwd=tmp_path)
    assert again.returncode == 1 and "exists already" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_training_that_is_stopped_or_killed_goes_on(
    number: int, code: int, data: Path, trained: transfer_learning.TrainingResult, tmp_path: Path
) -> None:
    settings = ("--no-augment", "--epochs", 6, "--seed", 3)  # those of `trained`
    command = [*CLI, "train", str(data), "-o", "m.keras", *map(str, settings)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch   2 "):
                process.send_signal(number)
                break
        said = process.stderr.read()
    assert process.returncode == code
    assert number == signal.SIGKILL or "with --resume goes on" in said
    left = model_metadata.read_metadata(tmp_path / "m.keras")
    assert left is not None and not left.finished and len(left.history) >= 1
    done = visualize_command("train", data, "-o", "m.keras", *settings, "--resume", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["history"] == [dict(row) for row in trained.history]
    assert same(tmp_path / "m.keras", trained.plan.output)


def test_wrong_settings_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for wrong in (("--val", 1), ("--epochs", 0), ("--learning-rate", 0), ("--base", "resnet51"), ("--base", "a.keras"), ("-o", "m.h5")):
        done = call("train", tmp_path, *wrong, cwd=tmp_path)
        assert (done.code, done.out) == (2, ""), wrong
        assert wrong[0].lstrip("-") in done.err.replace("--output", "o").replace("--model", "base")
