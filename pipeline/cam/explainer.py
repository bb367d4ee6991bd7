"""From a network and a method to a function of pictures that gives scores and class activation maps.

Pure: tensors in, tensors out; the network is borrowed and left as it was. Maps are float32 (batch, targets, h, w), after ReLU, in the
logit's own units, not normalised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.cam.gradients import make_maps_by_gradient
from pipeline.cam.graph_compilation import trace
from pipeline.cam.methods import CLOSED_FORM, WITHOUT_GRADIENT, eigencam
from pipeline.cam.score_cam import best_logits, scorecam
from pipeline.cam.sliding_window_scores import best_scores, score_windows
from pipeline.cam.target_classes import explain_single_classes, find_explained_classes
from pipeline.models import Network


class BatchExplanation(NamedTuple):
    """What the network says of a batch and where it looks.

    A network that pools globally says it of windows (`Network.window`). `scores` are those of the window with the highest score, or of each
    class the highest where classes do not exclude each other. A class that was asked for has the score of the window that shows it best.
    """

    scores: tf.Tensor
    """float32 (batch, classes), probabilities."""
    targets: tf.Tensor
    """int32 (batch, targets), the classes explained; of a group the class with the highest score."""
    maps: tf.Tensor
    """float32 (batch, targets, h, w), not below 0."""
    target_scores: tf.Tensor
    """float32 (batch, targets), probabilities; of a group the sum of its classes'."""
    features: tuple[tf.Tensor, ...] = ()
    """For each layer what the maps of all classes are made of, float32 (batch, h, w, k), where that is asked for."""


Target = (
    int | Sequence[int]
)  # the index of a class, or those of a group: what is explained is then the logarithm of the sum of their exp(logit)


def make_explainer(
    network: Network,
    *,
    method: str = "gradcam",
    targets: Sequence[Target] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    keep_features: bool = False,
) -> Callable[[Any], BatchExplanation]:
    """A traced function from pixels, RGB (batch, height, width, 3) uint8 in [0, 255], to a BatchExplanation.

    `targets` are class indices, or groups of them; None explains the top prediction of each picture. `preprocess` scales pixels for the
    network, float32 (batch, height, width, 3), and leaves what it is given as it is. `keep_features` returns what `make_class_mapper` makes
    maps of. One trace serves every batch and picture size. Weights become constants of the trace: it explains the network as it is now.
    """
    groups = None if targets is None else [[target] if isinstance(target, int) else list(target) for target in targets]

    def explain(pixels: tf.Tensor) -> BatchExplanation:
        explanation, features = _explain(network, method, groups, preprocess or (lambda x: x), pixels)
        return explanation._replace(features=(features,)) if keep_features else explanation

    return trace(network, explain)


def make_class_mapper(
    network: Network, *, method: str = "gradcam", preprocess: Callable[[Any], Any] | None = None
) -> Callable[[Any, Any, int], Any]:
    """A function from a picture uint8 (height, width, 3), its features (h, w, k) as an explainer keeps them, and a class to its map.

    The map float32 (h, w) is the one that an explainer gives for that class; the network's body is not run again.
    """
    if method in WITHOUT_GRADIENT:
        return lambda pixels, features, target_class: tf.constant(features[..., target_class if features.shape[2] > 1 else 0])
    kernel = network.class_weights
    if kernel is not None and method in CLOSED_FORM:  # as closed_form: TensorFlow takes ten times as long to be called
        return lambda pixels, features, target_class: (
            np.maximum(np.asarray(features) @ kernel[:, target_class], 0) / np.prod(features.shape[:2])
        )
    scale = preprocess or (lambda x: x)

    def call(pixels: tf.Tensor, activations: tf.Tensor, target_class: tf.Tensor) -> tf.Tensor:
        x, a = scale(tf.cast(pixels[None], tf.float32)), activations[None]
        read = score_windows(network, a, x)
        asked = explain_single_classes(network.scores(read.logits), target_class[None, None])
        return make_maps_by_gradient(network, method, x, a, read, asked)[0, 0]

    shapes = ((None, None, 3), tf.uint8), ((None, None, network.cam_tensor.shape[3]), tf.float32), ((), tf.int32)
    traced = tf.function(call, input_signature=[tf.TensorSpec(*each) for each in shapes], autograph=False)
    graph = functools.cache(traced.get_concrete_function)  # made when a map is first asked for
    return lambda pixels, activations, target_class: graph()(
        tf.constant(pixels), tf.constant(activations), tf.constant(target_class, tf.int32)
    )


def make_scorer(network: Network, *, preprocess: Callable[[Any], Any] | None = None) -> Callable[[Any], tf.Tensor]:
    """A traced function from pixels, as `make_explainer` takes them, to probabilities float32 (batch, classes), without maps."""
    return trace(network, lambda pixels: _score(network, preprocess, pixels)[0])


def make_feature_extractor(
    network: Network, *, preprocess: Callable[[Any], Any] | None = None
) -> Callable[[Any], tuple[tf.Tensor, tf.Tensor]]:
    """As `make_scorer`, with features float32 (batch, channels) besides.

    They are the means over all positions of the tensor that maps are taken from.
    """

    def describe(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores, activations = _score(network, preprocess, pixels)
        return scores, tf.reduce_mean(tf.cast(activations, tf.float32), axis=(1, 2))

    return trace(network, describe)


def _score(network: Network, preprocess: Callable[[Any], Any] | None, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x = preprocess(pixels) if preprocess else pixels
    activations = network.run_body(x)
    return best_scores(network, score_windows(network, activations, x).logits), activations


def _explain(
    network: Network, method: str, targets: Sequence[list[int]] | None, preprocess: Callable[[Any], Any], pixels: tf.Tensor
) -> tuple[BatchExplanation, tf.Tensor]:
    """The explanation, and what the maps of all classes are made of, float32 (batch, h, w, k).

    That is the tensor that maps are taken from; where maps are made without a gradient it is the maps themselves, one for each class or one
    for all of them.
    """
    x = preprocess(pixels)
    activations = network.run_body(x)
    read = score_windows(network, activations, x)
    scores = best_scores(network, read.logits)
    asked = find_explained_classes(network, read.logits, scores, targets)
    features = tf.cast(activations, tf.float32)
    if method == "eigencam":
        features = eigencam(features)[..., None]
        maps = tf.repeat(tf.transpose(features, (0, 3, 1, 2)), tf.shape(asked.classes)[1], axis=1)
    elif method == "scorecam":
        features = scorecam(lambda picture: best_logits(network, preprocess(picture), targets), pixels, features)
        maps = tf.transpose(features, (0, 3, 1, 2))
        maps = tf.gather(maps, asked.classes, axis=1, batch_dims=1) if targets is None else maps
    else:
        maps = make_maps_by_gradient(network, method, x, activations, read, asked)
    return BatchExplanation(scores, asked.classes, maps, asked.scores), features
