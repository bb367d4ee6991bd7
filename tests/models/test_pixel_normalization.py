"""Pixel scalings against those of Keras, mode by mode and model by model; what datasets do on their way there."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.datasets.pixel_cache import PixelCache
from pipeline.explain import video_explaining
from pipeline.models import zoo
from pipeline.models.pixel_normalization import normalize_pixels
from pipeline.options import Pixels
from pipeline.records import Geometry

ZOO = [entry for entry in zoo.ZOO_ENTRIES.values() if entry.builder is not None]
# Not squares, and with the two ends of the range: a swapped axis or colour shows.
PICTURES = np.concatenate([np.zeros((1, 5, 7, 3)), np.full((1, 5, 7, 3), 255), np.random.default_rng(3).uniform(0, 255, (2, 5, 7, 3))])


def pixels() -> Array:
    return PICTURES.astype(np.float32)


def module_of(builder: str) -> ModuleType:
    """keras.applications.<module>, the one that the builder is written in."""
    written_in = getattr(keras.applications, builder).__module__
    return getattr(keras.applications, written_in.rpartition(".")[2])


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_a_mode_is_the_one_that_keras_calls_so(mode: Pixels) -> None:
    wanted = keras.applications.imagenet_utils.preprocess_input(pixels(), mode=mode)
    scaled = normalize_pixels(tf.constant(pixels()), mode)
    assert scaled.dtype == tf.float32
    np.testing.assert_allclose(scaled, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_modes_by_hand() -> None:
    picture = tf.constant([[[[0.0, 51, 255]]]])
    np.testing.assert_array_equal(normalize_pixels(picture, "none"), picture)
    np.testing.assert_allclose(normalize_pixels(picture, "unit")[0, 0, 0], [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(normalize_pixels(picture, "tf")[0, 0, 0], [-1, -0.6, 1], rtol=1e-6)
    np.testing.assert_allclose(normalize_pixels(picture, "caffe")[0, 0, 0], [255 - 103.939, 51 - 116.779, -123.68], rtol=1e-6)
    torch = [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(normalize_pixels(picture, "torch")[0, 0, 0], torch, rtol=1e-5)


@pytest.mark.parametrize("entry", ZOO, ids=lambda entry: entry.name)
def test_a_models_pixels_are_those_of_its_own_module(entry: zoo.ZooEntry) -> None:
    assert entry.builder is not None
    wanted = module_of(entry.builder).preprocess_input(pixels())
    np.testing.assert_allclose(normalize_pixels(tf.constant(pixels()), entry.pixels), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    if entry.pixels == "none":
        np.testing.assert_array_equal(wanted, pixels())


@pytest.mark.parametrize("mode", ["none", "unit", "tf", "torch", "caffe"])
def test_what_is_given_is_left(mode: Pixels) -> None:
    given, traced = tf.constant(pixels()), tf.function(lambda x: normalize_pixels(x, mode))
    eager = normalize_pixels(given, mode)
    np.testing.assert_array_equal(given, pixels())
    assert eager.shape == given.shape
    np.testing.assert_allclose(traced(given), eager, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(given, pixels())
    array = pixels()
    np.testing.assert_allclose(normalize_pixels(array, mode), eager, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(array, pixels())


def test_no_dataset_has_the_tuner_that_may_be_waited_for(tmp_path: Path) -> None:
    """It would be waited for in one run of three, so it is looked for where tf.data says whether it is there: in the options."""
    assert tf.data.Dataset.range(1).options().autotune.enabled is not False
    cache = PixelCache(tmp_path / "cache")
    cache.add(np.zeros((2, 8, 8, 3), np.uint8), [0, 1])
    geometry = Geometry(scaled_width_px=8, scaled_height_px=8, width_px=8, height_px=8)
    frames = video_explaining.make_dataset(iter([np.full((8, 8, 3), 7, np.uint8)]), geometry).batch(8).prefetch(1)
    for each in (frames, cache.batches(2), cache.shuffled(2, seed=0).map(lambda pixels, _: pixels)):
        assert each.options().autotune.enabled is False
    assert [batch.numpy().tolist() for batch in frames] == [np.full((1, 8, 8, 3), 7).tolist()]
