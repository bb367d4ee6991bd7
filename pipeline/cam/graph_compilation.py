"""A function of pixels becomes a TensorFlow graph with the network's weights in it, and batches are cut to what a CPU takes best."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipeline.cam import batching
from pipeline.models import Network

CPU_BATCH = 4  # pictures that are brought to a CPU's network together
# Of these a core computes so many at a time that their feature maps are still in its caches when the next layer reads them. Not where the
# network has more weights than that, which would come from memory each time, nor in half the bits, where the maps are half as large and a
# call costs more than it saves.
CORE_PIXELS = 110_000
LIGHT_ELEMENTS = 10_000_000


def trace(network: Network, function: Callable[[tf.Tensor], Any]) -> Callable[[Any], Any]:
    """The function of float32 pixels (batch, height, width, 3) in [0, 255] as one graph for uint8 pixels of any batch.

    The network's weights are constants of the graph. What the function gives are tensors, or tuples of them, with the batch as first axis.
    """
    weights = network.weights()
    size = (None, None) if network.takes_any_size else network.source.shape[1:3]

    def call(pixels: tf.Tensor) -> Any:
        with keras.StatelessScope(state_mapping=[(variable, tf.constant(value)) for variable, value in weights]):
            return function(tf.cast(pixels, tf.float32))

    traced = tf.function(call, input_signature=[tf.TensorSpec((None, *size, 3), tf.uint8)], autograph=False)
    # The graph itself is called: tf.function takes several networks for one that is traced ever anew, and warns.
    graph = _call_alone_at_first(traced.get_concrete_function)
    light = network.weight_count <= LIGHT_ELEMENTS and not network.computes_in_half
    return lambda pixels: _call_in_pieces(graph, pixels, light=light)


def _call_alone_at_first(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """The function that `make` gives, whose first call other threads wait for.

    TensorFlow optimises a graph at its first call, for a second of processor time, and once more in each thread that calls it meanwhile.
    """
    made: list[Callable[[Any], Any]] = []
    first = threading.Lock()

    def call(pixels: Any) -> Any:
        if not made:
            with first:
                if not made:
                    function = make()
                    answer = function(pixels)
                    made.append(function)
                    return answer
        return made[0](pixels)

    return call


def default_batch_size() -> int:
    """How many pictures go to the network together, where nothing else is asked for."""
    return 32 if _on_gpu() else CPU_BATCH


def _on_gpu() -> bool:
    return bool(tf.config.get_visible_devices("GPU"))


def _call_in_pieces(function: Callable[[Any], Any], pixels: Any, *, light: bool) -> Any:
    """What the function gives of a batch. A CPU computes a large one as fours, some of them at once, and a four as its caches allow."""
    if _on_gpu():
        return function(pixels)
    size = _pictures_at_once(pixels.shape[1] * pixels.shape[2]) if light else CPU_BATCH

    def compute(batch: Any) -> Any:
        return _join([function(piece) for piece in _cut(batch, size)])

    return compute(pixels) if len(pixels) <= CPU_BATCH else _join([*batching.compute_batches(compute, _cut(pixels, CPU_BATCH))])


def _pictures_at_once(pixels: int) -> int:
    """How many pictures of so many pixels the cores that share a batch compute at a time."""
    threads: int = tf.config.threading.get_intra_op_parallelism_threads()
    cores = max(1, (threads + batching.AT_ONCE - 1) // batching.AT_ONCE)  # the one that runs its graph computes too
    return min(CPU_BATCH, max(1, cores * CORE_PIXELS // pixels))


def _cut(pixels: Any, size: int) -> Iterator[Any]:
    return (pixels[begin : begin + size] for begin in range(0, len(pixels), size))


def _join(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tf.nest.map_structure(lambda *tensors: tf.concat(tensors, axis=0), *parts)
