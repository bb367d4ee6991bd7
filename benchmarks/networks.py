"""Networks as the command runs them, with their maps and as forward pass alone; both from pixels uint8, traced once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Networks(NamedTuple):
    """`explain` gives scores, targets and maps, `forward` scores; `fitted` is the network's picture (width, height) for a frame's."""

    explain: Callable[[Array], list[Array]]
    forward: Callable[[Array], Array]
    fitted: Callable[[int, int], tuple[int, int]]


def embedded(*targets: str) -> Networks:
    """The embedded model; `targets` are classes, each frame's top prediction when there are none."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipeline.cam import AT_ONCE, make_scorer
    from pipeline.explain import open_session
    from pipeline.models import load_classifier, use_device, zoo
    from pipeline.options import ModelChoice, Options

    use_device("auto", at_once=AT_ONCE)
    session = open_session(load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL)), Options(targets=targets, smooth=0))
    forward = make_scorer(session.classifier.networks[0])

    def fitted(width: int, height: int) -> tuple[int, int]:
        seen = session.geometry(width, height)
        return seen.width_px, seen.height_px

    return Networks(lambda batch: [t.numpy() for t in session.explain(batch)[:3]], lambda batch: forward(batch).numpy(), fitted)


def of_zoo(name: str) -> Networks:
    """A model of the zoo with random weights, which cost what any others do."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from functools import partial

    import keras

    from pipeline.cam import AT_ONCE, make_explainer, make_scorer
    from pipeline.models import build_zoo_model, fold_batch_norms, normalize_pixels, split_model, use_device, zoo

    use_device("auto", at_once=AT_ONCE)
    keras.utils.set_random_seed(0)
    entry = zoo.find_entry(name)
    net = fold_batch_norms(split_model(build_zoo_model(entry, weights=None)))
    scale = partial(normalize_pixels, mode=entry.pixels)
    explain, forward = make_explainer(net, preprocess=scale), make_scorer(net, preprocess=scale)
    size = (entry.input_px, entry.input_px)
    return Networks(lambda batch: [t.numpy() for t in explain(batch)[:3]], lambda batch: forward(batch).numpy(), lambda *_: size)


def noise(batch: int, size: Sequence[int]) -> Array:
    """Pixels uint8 (batch, height, width, 3) for a size (width, height)."""
    return np.random.default_rng(0).integers(0, 256, (batch, size[1], size[0], 3), np.uint8)
