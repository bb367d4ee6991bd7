"""The network that is trained: a base of the zoo up to its pooling, and a small classifier behind it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from pipeline.models import CAFFE_MEAN_BGR, TORCH_MEAN, TORCH_STD, build_backbone, zoo
from pipeline.options import ModelChoice, Pixels, Recipe

UNITS, DROPOUT = 64, 0.5  # of the classifier's hidden layer
ROTATION, SHIFT, ZOOM = 20 / 360, 0.2, 0.2  # of the augmentation: turns of a circle, shares of the picture


class TrainableNetwork(NamedTuple):
    """`whole` is the model that is saved; `base` and `classifier` are parts of it, with its weights. `augment` (None: off) is for training
    alone."""

    whole: keras.Model
    base: keras.Model
    classifier: keras.Sequential
    augment: keras.Sequential | None


def build_network(entry: zoo.ZooEntry, recipe: Recipe, classes: int) -> TrainableNetwork:
    """A network for so many classes with a frozen base. It takes pixels (batch, height, width, 3) in [0, 255], and gives probabilities.

    Raises ModelError as load_classifier does.
    """
    base = build_backbone(ModelChoice(model=entry.name, weights=recipe.weights))
    base.trainable = False
    dense = _make_classifier_layers(classes, recipe.seed)
    classifier = keras.Sequential([keras.Input((base.output.shape[-1],)), *dense])
    pixels = keras.Input((None, None, 3), name="pixels")
    # Batch norm keeps its statistics, also while layers are fine-tuned.
    x = base(add_normalization(pixels, entry.pixels), training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    for layer in dense:
        x = layer(x)
    augment = _make_augmentation(recipe.seed) if recipe.augment else None
    return TrainableNetwork(keras.Model(pixels, x, name="classifier"), base, classifier, augment)


def _make_classifier_layers(classes: int, seed: int) -> list[keras.layers.Layer]:
    layers, glorot = keras.layers, keras.initializers.GlorotUniform
    return [
        layers.Dense(UNITS, activation="relu", kernel_initializer=glorot(seed), name="hidden"),
        layers.Dropout(DROPOUT, seed=seed, name="dropout"),
        layers.Dense(classes, activation="softmax", kernel_initializer=glorot(seed + 1), name="predictions"),
    ]


def _make_augmentation(seed: int) -> keras.Sequential:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(ROTATION, seed=seed),
            layers.RandomTranslation(SHIFT, SHIFT, seed=seed),
            layers.RandomZoom(ZOOM, seed=seed),
        ]
    )


def add_normalization(pixels: Any, mode: Pixels) -> Any:
    """pixel_normalization.scale_pixels as layers of the model itself, so that its file needs nothing beside it."""
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
