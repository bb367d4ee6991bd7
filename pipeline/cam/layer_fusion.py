"""Maps of several layers (`--layer` more than once) become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    pass
from pipeline.cam.explainer import BatchExplanation


def fuse_explainers(explainers: Sequence[Callable[[Any], BatchExplanation]]) -> Callable[[Any], BatchExplanation]:
    """One explanation of several layers' maps: each brought to a peak of 1 and to the finest of their resolutions, then averaged."""

    def explain(pixels: Any) -> BatchExplanation:
        parts = [explain(pixels) for explain in explainers]
        features = tuple(tensor for part in parts for tensor in part.features)
        return parts[0]._replace(maps=_fuse([part.maps for part in parts]), features=features)

    return explain


def fuse_class_mappers(mappers: Sequence[Callable[[Any, Any, int], tf.Tensor]]) -> Callable[[Any, Sequence[Any], int], tf.Tensor]:
    """From a picture, its features of every layer and a class to the map (h, w) that `fused` gives for that class."""

    def map_of(pixels: Any, features: Sequence[Any], target: int) -> tf.Tensor:
        parts = [mapper(pixels, each, target) for mapper, each in zip(mappers, features, strict=True)]
        return parts[0] if len(parts) == 1 else _fuse([part[None, None] for part in parts])[0, 0]

    return map_of


def _fuse(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    size = [max(int(part.shape[axis]) for part in parts) for axis in (2, 3)]
    grown = [tf.image.resize(tf.transpose(part, (0, 2, 3, 1)), size) for part in parts]
    scaled = [tf.math.divide_no_nan(m, tf.reduce_max(m, axis=(1, 2), keepdims=True)) for m in grown]
    return tf.transpose(tf.add_n(scaled) / len(scaled), (0, 3, 1, 2))
