"""A name becomes a classifier: the split network and everything that belongs to it, as one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pipeline import catalog, embedded, network
from pipeline.errors import CommandError
from pipeline.records import ClassName


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model with what belongs to it. Its network takes RGB in [0, 255]; the pixel scaling is inside."""

    name: str
    network: network.Network
    classes: Sequence[ClassName]
    entry: catalog.Entry


def load_classifier(name: str) -> Classifier:
    """Raises ModelError for an unknown name, or weights that are missing or damaged."""
    entry = catalog.entry(name)
    return Classifier(name=name, network=network.split(embedded.build()), classes=catalog.imagenet_classes(), entry=entry)


def use_device(device: str) -> str:
    """Choose where TensorFlow computes: `auto`, `cpu`, `gpu` or `gpu:N`. Call it before the first tensor is made.

    Returns the device's name. GPU memory is taken as it is needed and not all at once. Raises CommandError when there is no such GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (number and not (kind == "gpu" and number.isdigit())):
        raise CommandError(f"--device {device}: not auto, cpu, gpu or gpu:N")
    index = int(number or 0)
    if kind == "gpu" and index >= len(gpus):
        raise CommandError(
            f"--device {device}: TensorFlow sees {len(gpus)} GPUs here", remedy="use --device cpu; `visualize doctor` tells more"
        )
    chosen = [] if kind == "cpu" or not gpus else [gpus[index]]
    tf.config.set_visible_devices(chosen, "GPU")
    for gpu in chosen:
        tf.config.experimental.set_memory_growth(gpu, True)
    return f"gpu:{index}" if chosen else "cpu"
