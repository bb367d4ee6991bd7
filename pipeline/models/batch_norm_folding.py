"""Batch norm folded into the convolution that feeds it: the same function with fewer passes over the feature maps.

In inference batch norm is y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, so behind a linear convolution it is another
convolution: kernel * factor, (bias - mean) * factor + beta, with factor = gamma / sqrt(variance + epsilon) for each output channel
(arXiv 1712.05877, section 3.2). The layers keep their weights; the calls get new ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from pipeline.arrays import Array
from pipeline.models.keras_graph import Call
from pipeline.models.network import Network


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution with the batch norm behind it inside. Callable like the layer that it stands for."""

    stands_for: Any  # the layer
    weights: tuple[Array, ...]  # kernel(s) as the layer holds them, the last one scaled
    bias: Array

    @property
    def name(self) -> str:
        """The layer's, with what was done to it."""
        return f"{self.stands_for.name}_folded"

    def __call__(self, x: Any, **_: Any) -> Any:
        layer = self.stands_for
        x = keras.ops.cast(x, layer.compute_dtype)
        weights = [keras.ops.cast(weight, layer.compute_dtype) for weight in self.weights]
        return _APPLY[type(layer)](layer, x, *weights) + keras.ops.cast(self.bias, layer.compute_dtype)


def _convolve(layer: Any, x: Any, kernel: Any) -> Any:
    return layer.convolution_op(x, kernel)


def _depthwise(layer: Any, x: Any, kernel: Any) -> Any:
    return keras.ops.depthwise_conv(
        x, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate, data_format=layer.data_format
    )


def _separable(layer: Any, x: Any, depthwise: Any, pointwise: Any) -> Any:
    return keras.ops.conv(_depthwise(layer, x, depthwise), pointwise, strides=1, padding="valid", data_format=layer.data_format)


_APPLY: dict[type, Callable[..., Any]] = {
    keras.layers.Conv2D: _convolve,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.SeparableConv2D: _separable,
}


def fold_batch_norms(network: Network) -> Network:
    """The same network with every batch norm that directly follows a linear convolution folded into it.

    Outputs agree to float32 rounding. A tensor that is asked for itself (the target) or used twice keeps its batch norm.
    """
    slots = (network.source, network.cam_tensor, network.logits, network.pooled)
    keep = {slot.number for slot in slots if slot is not None}
    body, head = (_fold_calls(calls, keep=keep) for calls in (network.body, network.head))
    used = [call.operation for call in (*body, *head) if not isinstance(call.operation, FoldedConvolution)]
    variables = {id(v): v for operation in used for v in getattr(operation, "variables", ())}
    return replace(network, body=body, head=head, variables=tuple(variables.values()))


def _fold_calls(calls: Sequence[Call], keep: set[int]) -> tuple[Call, ...]:
    producers = {slot.number: call for call in calls for slot in call.outputs}
    readers = Counter(slot.number for call in calls for slot in call.inputs)
    replaced: dict[int, Call | None] = {}
    for call in calls:
        if type(call.operation) is not keras.layers.BatchNormalization:
            continue
        slot = call.inputs[0]
        source = producers.get(slot.number)
        if source is None or readers[slot.number] != 1 or slot.number in keep or not _can_fold(source, call):
            continue
        replaced[id(source)] = None
        replaced[id(call)] = Call(_fold_into(source.operation, call.operation), source.arguments, {}, source.inputs, call.outputs)
    return tuple(new for call in calls if (new := replaced.get(id(call), call)) is not None)


def _can_fold(source: Call, norm: Call) -> bool:
    layer = source.operation
    return (
        type(layer) in _APPLY
        and layer.activation is keras.activations.linear
        and norm.operation.axis in (-1, 3)
        and layer.data_format == "channels_last"
        and not norm.keywords.get("training")
    )


def _fold_into(layer: Any, norm: Any) -> FoldedConvolution:
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    factor = (norm.gamma.numpy() if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    bias = (layer.bias.numpy() if layer.use_bias else 0.0) - mean
    shift = bias * factor + (norm.beta.numpy() if norm.center else 0.0)
    if isinstance(layer, keras.layers.SeparableConv2D):
        weights: tuple[Array, ...] = (layer.depthwise_kernel.numpy(), layer.pointwise_kernel.numpy() * factor)
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = layer.kernel.numpy()  # (height, width, in, multiplier); output channel = in * multiplier + m
        weights = (kernel * factor.reshape(kernel.shape[2:]),)
    else:
        weights = (layer.kernel.numpy() * factor,)
    return FoldedConvolution(layer, tuple(w.astype(np.float32) for w in weights), shift.astype(np.float32))
