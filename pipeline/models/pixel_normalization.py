"""Pixels on their way into a network: the ranges that published networks were trained with."""

from __future__ import annotations

import tensorflow as tf

from pipeline.options import Pixels

# ImageNet statistics: of RGB in [0, 1] (torchvision), and of BGR in [0, 255] (Caffe's reference models).
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def normalize_pixels(pixels: tf.Tensor, mode: Pixels) -> tf.Tensor:
    """RGB float32 (batch, height, width, 3) in [0, 255] -> what a network of that mode takes, same shape.

    "none" leaves it, "unit" gives [0, 1], "tf" [-1, 1], "torch" standardises each channel, "caffe" swaps to BGR and subtracts the mean; the
    last three are keras.applications.imagenet_utils.preprocess_input of the same names.
    """
    if mode == "unit":
        return pixels / 255
    if mode == "tf":
        return pixels / 127.5 - 1
    if mode == "torch":
        return (pixels / 255 - tf.constant(TORCH_MEAN)) / tf.constant(TORCH_STD)
    if mode == "caffe":
        return pixels[..., ::-1] - tf.constant(CAFFE_MEAN_BGR)
    return pixels
