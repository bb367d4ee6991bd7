"""Where and how TensorFlow computes: the device, its threads and memory, and data pipelines that end at once."""

from __future__ import annotations

import tensorflow as tf

from pipeline.errors import CommandError
from pipeline.files import count_cores


def use_device(device: str, *, cores: int | None = None, at_once: int = 1) -> str:
    """Choose where TensorFlow computes: `auto`, `cpu`, `gpu` or `gpu:N`. Call it before the first tensor is made.

    Of the CPU it takes `cores` cores (None: all), for so many batches `at_once`, each brought by a thread of its own.

    Returns the device's name. GPU memory is taken as it is needed and not all at once. Raises CommandError when there is no such GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (number and not (kind == "gpu" and number.isascii() and number.isdecimal())):
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
    # The thread that runs a batch's graph computes too. With one besides on two cores, each has a batch to itself: 8 % less processor time.
    tf.config.threading.set_intra_op_parallelism_threads(max(1, (cores or count_cores()) - at_once + 1))
    return f"gpu:{index}" if chosen else "cpu"


def disable_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset, and all that is made of it, without tf.data's tuner, for which nothing here is left to choose.

    The tuner's thread wakes after 10 ms, 20 ms, and so on up to a minute; now and then it misses that the iterator has gone, and whoever
    drops the iterator waits until it wakes: in a third of all runs on a clip of 20 seconds the finished video came three seconds late.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
