"""Transfer learning: a network of the zoo, frozen, with a small classifier of one's own behind it; then, if asked for, its last layers too.

While the base is frozen its features are all that the classifier ever sees. So an epoch is: features of the pictures, augmented or
not, in batches of one size; then the classifier's own steps on shuffled features. Without augmentation the features never change, and are
computed once. Pictures are seen as every other command shows them to the network: whole and undistorted.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import maps
from pipeline.datasets import class_folders
from pipeline.datasets.pixel_cache import Album, Pictures, doubts, read_pictures
from pipeline.errors import CommandError
from pipeline.evaluation import metrics
from pipeline.explain import segment_journal
from pipeline.explain.planning import TRAINING_STATE, TrainingPlan
from pipeline.files.atomic import atomic_write
from pipeline.models import batch_norm_folding, loading, metadata, network, zoo
from pipeline.models.pixel_normalization import CAFFE_MEAN_BGR, TORCH_MEAN, TORCH_STD
from pipeline.options import ModelChoice, Pixels, Recipe
from pipeline.reports import charts

Row = Mapping[str, float]

UNITS, DROPOUT = 64, 0.5
ROTATION, SHIFT, ZOOM = 20 / 360, 0.2, 0.2
PATIENCE, GAIN = 6, 0.005  # it ends when so many epochs have lowered the validation loss by no more than this
FINE_TUNING_RATE = 0.01  # of the rate for the classifier: what the base has learned is to be bent, not broken
UNEVEN = 1.5  # the largest class over the smallest, from which on classes are weighted
FEATURES_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training has come to; the JSON object of `visualize train`. `interval` is the accuracy's, of 95 %."""

    plan: TrainingPlan
    train: int
    val: int
    history: Sequence[Row]
    best: Row
    interval: tuple[float, float]
    elapsed_seconds: float
    unreadable: Sequence[tuple[str, str]]
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "input": str(self.plan.data.root),
            "output": str(self.plan.output),
            "base": zoo.entry(self.plan.recipe.base).name,
            "labels": list(self.plan.data.labels),
            "train": self.train,
            "val": self.val,
            "epochs": len(self.history),
            "best_epoch": int(self.best["epoch"]),
            "accuracy": self.best["val_accuracy"],
            "accuracy_interval": list(self.interval),
            "loss": self.best["val_loss"],
            "curve": str(self.plan.curve),
            "history": [dict(row) for row in self.history],
            "unreadable": [{"input": name, "error": error} for name, error in self.unreadable],
            "warnings": list(self.warnings),
            "elapsed_seconds": round(self.elapsed_seconds, 3),
        }


class Watcher(Protocol):
    """Is told how a training goes. Raising from any of these stops it; what it has come to is kept."""

    def read(self, done: int, count: int) -> None:
        """So many of the pictures are read."""

    def trained(self, done: int, count: int) -> None:
        """So many of this epoch's pictures went through the base."""

    def epoch(self, row: Row, *, of: int, better: bool) -> None:
        """An epoch has ended; `better` says that this is the best model so far, and is kept."""

    def said(self, text: str) -> None:
        """A line for the user."""


def train(plan: TrainingPlan, watcher: Watcher) -> Trained:
    """Train, and write the model and its learning curve. From the first epoch on the output is the best model so far.

    Raises InputError when too few pictures can be read, CommandError when an interrupted training was another one, ModelError as
    load_classifier does, OutputError when the disk refuses.
    """
    started = time.perf_counter()
    folder = segment_journal.folder_of(plan.output)
    with segment_journal.held_folder(folder, plan.output):
        try:
            trained = _train(plan, folder, watcher, started)
        except BaseException:
            shutil.rmtree(folder / "pictures", ignore_errors=True)
            if not (folder / TRAINING_STATE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    return trained


def _train(plan: TrainingPlan, folder: Path, watcher: Watcher, started: float) -> Trained:
    recipe, entry = plan.recipe, zoo.entry(plan.recipe.base)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    if not plan.resume:
        (folder / TRAINING_STATE).unlink(missing_ok=True)  # of a training that nobody goes on with
    pictures = read_pictures(plan, entry, folder / "pictures", watcher.read)
    warnings = [*plan.data.warnings, *doubts(pictures)]
    net = _build(entry, recipe, len(plan.data.labels))
    weights = class_folders.class_weights(pictures.labels("train").tolist(), uneven=UNEVEN)
    work = _Work(plan=plan, entry=entry, pictures=pictures, net=net, class_weights=weights, folder=folder, watcher=watcher)
    state = _resumed(work) if plan.resume else None
    state = state or State()
    _train_classifier(work, state)
    if recipe.fine_tune:
        _fine_tune(work, state)
    assert state.best is not None, "there is an epoch at least"
    interval = metrics.interval(round(state.best["val_accuracy"] * len(pictures.val.numbers)), len(pictures.val.numbers))
    trained = Trained(
        plan=plan,
        train=len(pictures.train.numbers),
        val=len(pictures.val.numbers),
        history=state.history,
        best=state.best,
        interval=interval,
        elapsed_seconds=time.perf_counter() - started,
        unreadable=[*plan.data.unreadable, *pictures.unreadable],
        warnings=warnings,
    )
    net.whole.set_weights(state.kept)
    _save(work, state, finished=True)
    charts.draw_learning_curve(plan.curve, state.history, title=plan.output.name, overwrite=True)
    return trained


# ------------------------------------------------------------------------------------------------ the network


class _Net(NamedTuple):
    """`whole` is the model that is saved, `base` and `classifier` are parts of it; `augment` belongs to training alone."""

    whole: keras.Model
    base: keras.Model
    classifier: keras.Sequential
    augment: keras.Sequential | None


def _build(entry: zoo.Entry, recipe: Recipe, classes: int) -> _Net:
    layers, seed = keras.layers, recipe.seed
    base = loading.build_base(ModelChoice(model=entry.name, weights=recipe.weights))
    base.trainable = False
    dense = [
        layers.Dense(UNITS, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed), name="hidden"),
        layers.Dropout(DROPOUT, seed=seed, name="dropout"),
        layers.Dense(classes, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(seed + 1), name="predictions"),
    ]
    classifier = keras.Sequential([keras.Input((base.output.shape[-1],)), *dense])
    pixels = keras.Input((None, None, 3), name="pixels")
    x = base(_scaled(pixels, entry.pixels), training=False)  # batch norm keeps to what it knows, also while layers are fine-tuned
    x = layers.GlobalAveragePooling2D(name="pooling")(x)
    for layer in dense:
        x = layer(x)
    augment = keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(ROTATION, seed=seed),
            layers.RandomTranslation(SHIFT, SHIFT, seed=seed),
            layers.RandomZoom(ZOOM, seed=seed),
        ]
    )
    return _Net(keras.Model(pixels, x, name="classifier"), base, classifier, augment if recipe.augment else None)


def _scaled(pixels: Any, mode: Pixels) -> Any:
    """preprocessing.scale_pixels as layers of the model itself, so that its file needs nothing beside it."""
    layers = keras.layers
    if mode == "unit":
        return layers.Rescaling(1 / 255, name="scaling")(pixels)
    if mode == "tf":
        return layers.Rescaling(1 / 127.5, offset=-1.0, name="scaling")(pixels)
    if mode == "torch":
        means, variances = [255 * m for m in TORCH_MEAN], [(255 * s) ** 2 for s in TORCH_STD]
        return layers.Normalization(mean=means, variance=variances, name="scaling")(pixels)
    if mode == "caffe":
        return layers.Rescaling(1.0, offset=[-m for m in CAFFE_MEAN_BGR], name="scaling")(keras.ops.flip(pixels, axis=-1))
    return pixels


# ------------------------------------------------------------------------------------------------ epochs


@dataclass(kw_only=True)
class State:
    """How far a training has come: all that it goes on from. `phase` 0 trains the classifier, 1 fine-tunes the base too.

    `mark` is the validation loss on which `waited` epochs have not gained enough; `kept` is every weight of the best model so far,
    `weights` and `slots` those of the model in training and of its optimizer.
    """

    phase: int = 0
    waited: int = 0
    mark: float = math.inf
    history: list[Row] = field(default_factory=list)
    best: Row | None = None
    kept: Sequence[Array] = ()
    weights: Sequence[Array] = ()
    slots: Sequence[Array] = ()

    def epochs(self, phase: int) -> int:
        return sum(row["phase"] == phase for row in self.history)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the epochs need: the plan, the pictures, the network."""

    plan: TrainingPlan
    entry: zoo.Entry
    pictures: Pictures
    net: _Net
    class_weights: Array
    folder: Path
    watcher: Watcher

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What a training that goes on must have in common with the interrupted one. More epochs may be asked for."""
        recipe = asdict(self.plan.recipe)
        del recipe["epochs"], recipe["max_megapixels"]
        recipe["weights"] = zoo.identity(ModelChoice(model=self.entry.name, weights=self.plan.recipe.weights))["weights"]
        return {**recipe, "base": self.entry.name, "data": self.pictures.digest(), "keras": keras.__version__}

    def targets(self, part: str) -> tuple[Array, Array]:
        """Labels int64 (pictures,), and weights float32 (pictures,), in the album's order."""
        labels = self.pictures.labels(part)
        return labels, self.class_weights[labels] if part == "train" else np.ones(len(labels), np.float32)


def _train_classifier(work: _Work, state: State) -> None:
    if state.phase > 0:
        return
    recipe, model = work.plan.recipe, work.net.classifier
    features = _extractor(work.net)
    labels, weights = work.targets("train")
    val_labels, _ = work.targets("val")
    val = _features(work.pictures.val, features, None, lambda _done: None)
    still = None if work.net.augment else _features(work.pictures.train, features, None, _ticker(work))
    _compile(model, recipe.learning_rate)

    def epoch(number: int) -> Row:
        seen = still if still is not None else _features(work.pictures.train, features, work.net.augment, _ticker(work))
        order = np.random.default_rng((recipe.seed, number)).permutation(len(labels))
        told = model.fit(
            seen[order], labels[order], sample_weight=weights[order], batch_size=recipe.batch_size, shuffle=False, verbose=0
        ).history
        loss, accuracy = model.evaluate(val, val_labels, batch_size=1024, verbose=0)
        return {"loss": told["loss"][-1], "accuracy": told["accuracy"][-1], "val_loss": loss, "val_accuracy": accuracy}

    _epochs(work, state, model, epoch)
    assert state.best is not None, "there is an epoch at least"
    work.net.whole.set_weights(state.kept)
    state.phase, state.waited, state.mark, state.weights, state.slots = 1, 0, state.best["val_loss"], (), ()


def _fine_tune(work: _Work, state: State) -> None:
    """Unfreeze the last layers of the base, but for batch norms, and go on with the best model at a lower rate."""
    recipe, model, base = work.plan.recipe, work.net.whole, work.net.base
    base.trainable = True
    count = len(base.layers) - recipe.fine_tune
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= count and not isinstance(layer, keras.layers.BatchNormalization)
    _compile(model, recipe.learning_rate * FINE_TUNING_RATE)
    labels = tf.constant([example.label for example in work.pictures.examples], tf.int64)
    weights = tf.constant(work.class_weights)
    augment, tick = work.net.augment, _ticker(work)

    def prepared(pixels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        own = tf.gather(labels, numbers)
        return tf.cast(pixels, tf.float32), own, tf.gather(weights, own)

    val = work.pictures.val.batches(FEATURES_BATCH).map(lambda pixels, n: (tf.cast(pixels, tf.float32), tf.gather(labels, n)))

    def epoch(number: int) -> Row:
        shown = work.pictures.train.shuffled(recipe.batch_size, recipe.seed + number).map(prepared)
        done = 0
        model.reset_metrics()
        for pixels, own, weight in shown:
            seen = pixels if augment is None else augment(pixels, training=True)
            told = model.train_on_batch(seen, own, sample_weight=weight, return_dict=True)  # of the epoch until now
            done += len(own)
            tick(done)
        loss, accuracy = model.evaluate(val, verbose=0)
        return {"loss": float(told["loss"]), "accuracy": float(told["accuracy"]), "val_loss": loss, "val_accuracy": accuracy}

    _epochs(work, state, model, epoch)


def _epochs(work: _Work, state: State, model: keras.Model, epoch: Callable[[int], Row]) -> None:
    """Epochs of one phase until they are done, or the validation loss has not fallen for so long."""
    recipe = work.plan.recipe
    if state.weights:
        model.set_weights(state.weights)
        for variable, value in zip(model.optimizer.variables, state.slots, strict=True):
            variable.assign(value)
    for number in range(state.epochs(state.phase), recipe.epochs):
        if state.waited >= PATIENCE:
            break
        count = len(state.history) + 1
        _seed((work.net.whole, model, work.net.augment), recipe.seed, count)
        row = {"epoch": count, "phase": state.phase, **{name: float(value) for name, value in epoch(count).items()}}
        better = state.best is None or row["val_loss"] < state.best["val_loss"]
        gained = row["val_loss"] < state.mark - GAIN
        state.history.append(row)
        state.waited, state.mark = (0, row["val_loss"]) if gained else (state.waited + 1, state.mark)
        if better:
            state.best, state.kept = row, work.net.whole.get_weights()
            _save(work, state, finished=False)
        state.weights, state.slots = model.get_weights(), [np.asarray(v) for v in model.optimizer.variables]
        _remember(work, state)
        work.watcher.epoch(row, of=len(state.history) - number - 1 + recipe.epochs, better=better)


def _compile(model: keras.Model, rate: float) -> None:
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)


def _seed(models: Sequence[keras.Model | None], seed: int, epoch: int) -> None:
    """Chance begins anew at every epoch, so that one that goes on draws what it would have drawn."""
    for model in models:
        for variable in model.variables if model is not None else ():
            if variable.path.endswith("seed_generator_state"):
                variable.assign(np.array([seed, epoch], np.uint32))


def _extractor(net: _Net) -> Callable[[Any], tf.Tensor]:
    describe = maps.describer(batch_norm_folding.fold(network.split(net.whole)))
    return lambda pixels: describe(pixels)[1]


def _features(album: Album, features: Callable[[Any], tf.Tensor], augment: keras.Sequential | None, tick: Callable[[int], None]) -> Array:
    """float32 (pictures, channels) in the album's order."""
    found, done = [], 0
    for pixels, _ in album.batches(FEATURES_BATCH):
        seen = pixels if augment is None else _augmented(augment, pixels)
        found.append(features(seen).numpy())
        done += len(pixels)
        tick(done)
    return np.concatenate(found)


def _augmented(augment: keras.Sequential, pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(augment(tf.cast(pixels, tf.float32), training=True)), 0, 255), tf.uint8)


def _ticker(work: _Work) -> Callable[[int], None]:
    count = len(work.pictures.train.numbers)
    return lambda done: work.watcher.trained(done, count)


# ------------------------------------------------------------------------------------------------ keeping


def _save(work: _Work, state: State, *, finished: bool) -> None:
    """The whole model with its card, under its final name."""
    plan, entry = work.plan, work.entry
    assert state.best is not None, "what is saved is the best so far"
    recipe = plan.recipe
    facts = {
        "pictures": f"{len(work.pictures.train.numbers)} to train on, {len(work.pictures.val.numbers)} to validate on",
        "validation": f"accuracy {100 * state.best['val_accuracy']:.1f} %, loss {state.best['val_loss']:.4f}, epoch {state.best['epoch']}",
        "settings": f"rate {recipe.learning_rate:g}, batches of {recipe.batch_size}, seed {recipe.seed}, "
        f"{'augmented' if recipe.augment else 'not augmented'}, {recipe.fine_tune or 'no'} layers fine-tuned",
        "versions": f"heatreel {version('heatreel')}, keras {keras.__version__}",
    }
    card = metadata.ModelMetadata(
        labels=plan.data.labels,
        base=entry.name,
        input_px=entry.input_px,
        short_side_px=entry.short_side_px,
        stride=entry.stride,
        finished=finished,
        pooling="mean",  # as _extractor has it
        facts=facts,
        history=state.history,
        learned=list(work.pictures.learned.values()),
    )
    with atomic_write(plan.output, overwrite=True) as temporary:
        work.net.whole.save(temporary)
        metadata.add_metadata(temporary, card)


def _remember(work: _Work, state: State) -> None:
    told = {
        "identity": work.identity,
        "phase": state.phase,
        "waited": state.waited,
        "mark": state.mark,
        "history": state.history,
        "best": state.best,
    }
    lists = {"kept": state.kept, "weights": state.weights, "slots": state.slots}
    arrays = {f"{name}{number}": value for name, values in lists.items() for number, value in enumerate(values)}
    with atomic_write(work.folder / TRAINING_STATE, overwrite=True) as temporary:
        np.savez(temporary, allow_pickle=False, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)


def _resumed(work: _Work) -> State | None:
    """The state of the interrupted training, None where there is none."""
    path = work.folder / TRAINING_STATE
    if not path.is_file():
        work.watcher.said(f"{work.plan.output}: nothing to go on from, so it begins at the beginning")
        return None
    with np.load(path) as kept:
        told: dict[str, Any] = json.loads(kept["told"].tobytes())
        lists: dict[str, Any] = {
            name: [kept[f"{name}{n}"] for n in range(sum(key.startswith(name) for key in kept.files))] for name in _LISTS
        }
    now = work.identity
    other = [name for name in now if told["identity"].get(name) != now[name]]
    if other:
        was = ", ".join("other pictures" if name == "data" else f"{name} {told['identity'].get(name)}" for name in other)
        raise CommandError(f"--resume: the interrupted training had {was}", remedy="ask for the same, or begin anew with --overwrite")
    work.watcher.said(f"{work.plan.output}: goes on behind epoch {len(told['history'])}")
    told.pop("identity")
    return State(**told, **lists)


_LISTS = ("kept", "weights", "slots")
