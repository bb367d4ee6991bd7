"""The epochs of a training: features of the frozen base, the classifier fitted to them, and the base's last layers fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.cam import make_feature_extractor
from pipeline.datasets import PixelCache
from pipeline.models import fold_batch_norms, split_model
from pipeline.training.checkpoint import TrainingState, save_checkpoint
from pipeline.training.saved_model import save_model
from pipeline.training.trainable_network import TrainableNetwork
from pipeline.training.training_plan import TRAINING_STATE
from pipeline.training.training_setup import Row, TrainingSetup

PATIENCE, GAIN = 6, 0.005  # it ends when so many epochs have lowered the validation loss by no more than this
FINE_TUNING_RATE = 0.01  # of the rate for the classifier: what the base has learned is to be bent, not broken
FEATURES_BATCH = 16

Extract = Callable[[Any], tf.Tensor]


# ------------------------------------------------------------------------------------------------ features


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the classifier sees: float32 (pictures, channels) in the caches' order. `train` is None where each epoch augments anew."""

    extract: Extract
    train: Array | None
    val: Array


def extract_features(setup: TrainingSetup) -> Features:
    """The features of both parts. Without augmentation they never change."""
    extract = make_extractor(setup.network)
    val = _extract_part(setup.pictures.val, extract, None, lambda _done: None)
    train = None if setup.network.augment else _extract_part(setup.pictures.train, extract, None, setup.make_ticker())
    return Features(extract=extract, train=train, val=val)


def make_extractor(net: TrainableNetwork) -> Extract:
    """From pixels uint8 (batch, height, width, 3) to features float32 (batch, channels): each channel's mean over the base's output."""
    describe = make_feature_extractor(fold_batch_norms(split_model(net.whole)))
    return lambda pixels: describe(pixels)[1]


def _extract_part(cache: PixelCache, extract: Extract, augment: keras.Sequential | None, tick: Callable[[int], None]) -> Array:
    found, done = [], 0
    for pixels, _ in cache.batches(FEATURES_BATCH):
        found.append(extract(pixels if augment is None else _augment(augment, pixels)).numpy())
        done += len(pixels)
        tick(done)
    return np.concatenate(found)


def _augment(augment: keras.Sequential, pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(augment(tf.cast(pixels, tf.float32), training=True)), 0, 255), tf.uint8)


# ------------------------------------------------------------------------------------------------ the two phases


def fit(setup: TrainingSetup, state: TrainingState, features: Features) -> TrainingState:
    """Train the classifier on features; afterwards the network has the weights of the best epoch, and the state is of the next phase."""
    recipe, model = setup.plan.recipe, setup.network.classifier
    labels, weights = setup.targets("train")
    val_labels, _ = setup.targets("val")
    tick = setup.make_ticker()
    _compile(model, recipe.learning_rate)

    def run_epoch(number: int) -> Row:
        train = features.train
        if train is None:
            train = _extract_part(setup.pictures.train, features.extract, setup.network.augment, tick)
        order = np.random.default_rng((recipe.seed, number)).permutation(len(labels))
        fitted = model.fit(
            train[order], labels[order], sample_weight=weights[order], batch_size=recipe.batch_size, shuffle=False, verbose=0
        ).history
        loss, accuracy = model.evaluate(features.val, val_labels, batch_size=1024, verbose=0)
        return {"loss": fitted["loss"][-1], "accuracy": fitted["accuracy"][-1], "val_loss": loss, "val_accuracy": accuracy}

    state = _run_epochs(setup, state, model, run_epoch)
    assert state.best is not None, "there is an epoch at least"
    setup.network.whole.set_weights(state.kept)
    return replace(state, phase=1, waited=0, mark=state.best["val_loss"], weights=(), slots=())


def fine_tune(setup: TrainingSetup, state: TrainingState) -> TrainingState:
    """Go on with the best model at a lower rate, and with the last layers of the base unfrozen, but for batch norms."""
    recipe, model = setup.plan.recipe, setup.network.whole
    _unfreeze(setup.network.base, recipe.fine_tune)
    _compile(model, recipe.learning_rate * FINE_TUNING_RATE)
    labels = tf.constant([example.label for example in setup.pictures.examples], tf.int64)
    weights = tf.constant(setup.class_weights)

    def add_targets(pixels: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        own = tf.gather(labels, numbers)
        return tf.cast(pixels, tf.float32), own, tf.gather(weights, own)

    val = setup.pictures.val.batches(FEATURES_BATCH).map(lambda pixels, n: (tf.cast(pixels, tf.float32), tf.gather(labels, n)))

    def run_epoch(number: int) -> Row:
        fitted = _fit_batches(setup, setup.pictures.train.shuffled(recipe.batch_size, recipe.seed + number).map(add_targets))
        loss, accuracy = model.evaluate(val, verbose=0)
        return {"loss": float(fitted["loss"]), "accuracy": float(fitted["accuracy"]), "val_loss": loss, "val_accuracy": accuracy}

    return _run_epochs(setup, state, model, run_epoch)


def _unfreeze(base: keras.Model, last: int) -> None:
    base.trainable = True
    first = len(base.layers) - last
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= first and not isinstance(layer, keras.layers.BatchNormalization)


def _fit_batches(setup: TrainingSetup, batches: tf.data.Dataset) -> Row:
    """One epoch over batches (pixels, labels, weights); loss and accuracy of all of it."""
    model, augment, tick = setup.network.whole, setup.network.augment, setup.make_ticker()
    fitted: Row = {}
    done = 0
    model.reset_metrics()
    for pixels, labels, weights in batches:
        shown = pixels if augment is None else augment(pixels, training=True)
        fitted = model.train_on_batch(shown, labels, sample_weight=weights, return_dict=True)  # of the epoch until now
        done += len(labels)
        tick(done)
    return fitted


# ------------------------------------------------------------------------------------------------ epochs


def _run_epochs(setup: TrainingSetup, state: TrainingState, model: keras.Model, run_epoch: Callable[[int], Row]) -> TrainingState:
    """Epochs of one phase until they are done, or the validation loss has not fallen for so long. The best model is saved at once."""
    recipe, net = setup.plan.recipe, setup.network
    if state.weights:
        _restore(model, state)
    for number in range(state.epochs_of(state.phase), recipe.epochs):
        if state.waited >= PATIENCE:
            break
        count = len(state.history) + 1
        _seed((net.whole, model, net.augment), recipe.seed, count)
        row = {"epoch": count, "phase": state.phase, **{name: float(value) for name, value in run_epoch(count).items()}}
        better = state.best is None or row["val_loss"] < state.best["val_loss"]
        state = _add_epoch(state, row)
        if better:
            state = replace(state, best=row, kept=net.whole.get_weights())
            save_model(setup, state, finished=False)
        state = replace(state, weights=model.get_weights(), slots=[np.asarray(v) for v in model.optimizer.variables])
        save_checkpoint(setup.folder / TRAINING_STATE, state, setup.identity)
        setup.watcher.epoch(row, of=len(state.history) - number - 1 + recipe.epochs, better=better)
    return state


def _add_epoch(state: TrainingState, row: Row) -> TrainingState:
    gained = row["val_loss"] < state.mark - GAIN
    waited, mark = (0, row["val_loss"]) if gained else (state.waited + 1, state.mark)
    return replace(state, history=[*state.history, row], waited=waited, mark=mark)


def _restore(model: keras.Model, state: TrainingState) -> None:
    model.set_weights(state.weights)
    for variable, value in zip(model.optimizer.variables, state.slots, strict=True):
        variable.assign(value)


def _compile(model: keras.Model, rate: float) -> None:
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)


def _seed(models: Sequence[keras.Model | None], seed: int, epoch: int) -> None:
    """Chance begins anew at every epoch, so that one that goes on draws what it would have drawn."""
    for model in models:
        for variable in model.variables if model is not None else ():
            if variable.path.endswith("seed_generator_state"):
                variable.assign(np.array([seed, epoch], np.uint32))
