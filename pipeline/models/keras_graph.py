"""A Keras model as a flat list of calls.

Keras models nest (a zoo model as one layer of a transfer-learning model), and a nested model's inner tensors are not part of
the outer graph. So the graph is walked and flattened: every call of every layer, in order, nested models replaced by what
is in them. Running part of that list computes any tensor of any model, without building a new one and without touching the
user's layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Slot:
    """The place of one tensor in a run of the calls."""

    number: int
    shape: tuple[int | None, ...]
    name: str


@dataclass(frozen=True)
class Call:
    """One layer or operation applied once. `arguments` and `keywords` hold Slots where tensors go."""

    operation: Any
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    linear: bool = False  # run without the layer's own activation

    @property
    def layer(self) -> Any:
        """The operation, or the layer that a folded convolution stands for."""
        return getattr(self.operation, "stands_for", self.operation)


def run_calls(calls: Iterable[Call], values: Mapping[int, Any], result: Slot) -> Any:
    """Make the calls in order, in inference mode; `values` holds tensors by slot number. Returns the tensor of `result`."""
    known = dict(values)
    for call in calls:
        arguments, keywords = keras.tree.map_structure(
            lambda v: known[v.number] if isinstance(v, Slot) else v, (call.arguments, call.keywords)
        )
        outputs = _apply_without_activation(call.operation, arguments[0]) if call.linear else call.operation(*arguments, **keywords)
        for slot, value in zip(call.outputs, keras.tree.flatten(outputs), strict=True):
            known[slot.number] = value
    return known[result.number]


def _apply_without_activation(layer: Any, x: Any) -> Any:
    x = keras.ops.cast(x, layer.compute_dtype)
    kernel = keras.ops.cast(layer.kernel, layer.compute_dtype)
    y = keras.ops.matmul(x, kernel) if isinstance(layer, keras.layers.Dense) else layer.convolution_op(x, kernel)
    return y + keras.ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else y


class _Flattener:
    """Walks the graph of a model once, numbering tensors; a scope is one use of one (possibly nested) model."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._count = 0

    def slot(self, tensor: Any, name: str) -> Slot:
        """A new slot for a tensor of Keras' graph, named by the layer that gives it."""
        self._count += 1
        return Slot(self._count, tuple(tensor.shape), name)

    def flatten(self, model: keras.Model, inputs: Sequence[Slot]) -> list[Slot]:
        """Add the calls of a model that reads these slots, and return those of its outputs."""
        scope = {id(tensor): slot for tensor, slot in zip(model.inputs, inputs, strict=True)}
        for node in _nodes_in_order(model):
            arguments, keywords = keras.tree.map_structure(
                lambda value: scope[id(value)] if isinstance(value, keras.KerasTensor) else value,
                (node.arguments.args, dict(node.arguments.kwargs)),
            )
            sources = tuple(scope[id(tensor)] for tensor in node.input_tensors)
            operation = node.operation
            if isinstance(operation, keras.Model) and has_graph(operation):
                outputs = self.flatten(operation, sources)
            else:
                outputs = [self.slot(tensor, operation.name) for tensor in node.output_tensors]
                keywords |= {"training": False} if _has_training(operation) else {}
                self.calls.append(Call(operation, arguments, keywords, sources, tuple(outputs)))
            scope.update({id(tensor): slot for tensor, slot in zip(node.output_tensors, outputs, strict=True)})
        return [scope[id(tensor)] for tensor in model.outputs]


def _has_training(operation: Any) -> bool:
    # Augmentation layers act as in training unless they are told otherwise.
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters


def has_graph(model: keras.Model) -> bool:
    """Whether it is functional or Sequential and was built, so that its calls are known."""
    try:
        return bool(model.inputs) and bool(model.outputs)
    except (AttributeError, ValueError):
        return False


def _nodes_in_order(model: keras.Model) -> list[Any]:
    """The calls between a model's inputs and outputs, each after those it depends on (depth first, without recursion)."""
    ordered: list[Any] = []
    seen = {id(tensor) for tensor in model.inputs}
    stack = [(tensor, False) for tensor in reversed(model.outputs)]
    while stack:
        tensor, ready = stack.pop()
        if id(tensor) in seen:
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if ready:
            ordered.append(node)
            seen.update(id(output) for output in node.output_tensors)
        else:
            stack.append((tensor, True))
            stack.extend((source, False) for source in reversed(node.input_tensors) if id(source) not in seen)
    return ordered


def is_spatial(slot: Slot) -> bool:
    """Whether the tensor is a feature map (batch, h, w, channels) of more than one position."""
    return len(slot.shape) == 4 and slot.shape[1:3] != (1, 1)


def calls_between(calls: Sequence[Call], start: set[int], end: Slot) -> tuple[Call, ...]:
    """The calls that `end` needs once the slots of these numbers are known, in order."""
    needed, kept = {end.number}, []
    for call in reversed(calls):
        if start.isdisjoint(slot.number for slot in call.outputs) and any(slot.number in needed for slot in call.outputs):
            needed.update(slot.number for slot in call.inputs)
            kept.append(call)
    return tuple(reversed(kept))


def variables_of(calls: Iterable[Call]) -> tuple[Any, ...]:
    """The variables of all layers that are called, each once."""
    found: dict[int, Any] = {}
    for call in calls:
        for variable in getattr(call.operation, "variables", ()):
            found[id(variable)] = variable
    return tuple(found.values())
