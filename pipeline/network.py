"""A Keras model as a flat list of calls, cut at the tensor that its pooling reads.

Keras models nest (a zoo model as one layer of a transfer-learning model), and a nested model's inner tensors are not part of
the outer graph. So the graph is walked and flattened: every call of every layer, in order, nested models replaced by what
is in them. Running part of that list gives the body (pixels to target tensor) and the head (target tensor to logits) of
any model, without building a new one and without touching the user's layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import ModelError

Activation = Literal["softmax", "sigmoid", "linear"]


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


@dataclass(frozen=True, kw_only=True)
class Network:
    """A classifier split for explanation: body from pixels to the target tensor, head from there to the logits.

    `activation` makes scores of logits. `class_weights` is the kernel (channels, classes) where the head is global average pooling
    and one Dense layer, so that a map is a matrix product; None elsewhere.
    """

    body: tuple[Call, ...]
    head: tuple[Call, ...]
    source: Slot
    target: Slot
    logits: Slot
    activation: Activation
    class_weights: np.ndarray[Any, Any] | None
    variables: tuple[Any, ...]

    @property
    def class_count(self) -> int:
        units = int(np.prod([size for size in self.logits.shape[1:] if size is not None]))
        return 2 if units == 1 else units

    def weights(self) -> list[tuple[Any, np.ndarray[Any, Any]]]:
        """Every variable with its value now.

        As constants of a traced function (by a StatelessScope) they are laid out for the CPU's kernels once, and not at every call.
        """
        return [(variable, np.asarray(variable.numpy())) for variable in self.variables]

    def run_body(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels (batch, height, width, 3) as the model takes them -> the target tensor (batch, h, w, channels)."""
        return run(self.body, {self.source.number: pixels}, self.target)

    def run_head(self, activations: tf.Tensor) -> tf.Tensor:
        """The target tensor -> logits float32 (batch, classes); a one-unit sigmoid head gives minus the logit and the logit."""
        logits = tf.cast(run(self.head, {self.target.number: activations}, self.logits), tf.float32)
        logits = tf.reshape(logits, (tf.shape(logits)[0], -1))
        return tf.concat([-logits, logits], axis=1) if logits.shape[1] == 1 else logits

    def scores(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits -> probabilities. The two classes of a one-unit head exclude each other, those of a wider sigmoid head do not."""
        return tf.sigmoid(logits) if self.activation == "sigmoid" else tf.nn.softmax(logits)


def run(calls: Iterable[Call], values: Mapping[int, Any], result: Slot) -> Any:
    """Make the calls in order, in inference mode; `values` holds tensors by slot number. Returns the tensor of `result`."""
    known = dict(values)
    for call in calls:
        arguments, keywords = keras.tree.map_structure(
            lambda v: known[v.number] if isinstance(v, Slot) else v, (call.arguments, call.keywords)
        )
        outputs = _apply_linearly(call.operation, arguments[0]) if call.linear else call.operation(*arguments, **keywords)
        for slot, value in zip(call.outputs, keras.tree.flatten(outputs), strict=True):
            known[slot.number] = value
    return known[result.number]


def _apply_linearly(layer: Any, x: Any) -> Any:
    x = keras.ops.cast(x, layer.compute_dtype)
    kernel = keras.ops.cast(layer.kernel, layer.compute_dtype)
    y = keras.ops.matmul(x, kernel) if isinstance(layer, keras.layers.Dense) else layer.convolution_op(x, kernel)
    return y + keras.ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else y


# ------------------------------------------------------------------------------------------------ flattening


class _Flattener:
    """Walks the graph of a model once, numbering tensors; a scope is one use of one (possibly nested) model."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._count = 0

    def slot(self, tensor: Any, name: str) -> Slot:
        self._count += 1
        return Slot(self._count, tuple(tensor.shape), name)

    def flatten(self, model: keras.Model, inputs: Sequence[Slot]) -> list[Slot]:
        scope = {id(tensor): slot for tensor, slot in zip(model.inputs, inputs, strict=True)}
        for node in _nodes_in_order(model):
            arguments, keywords = keras.tree.map_structure(
                lambda value: scope[id(value)] if isinstance(value, keras.KerasTensor) else value,
                (node.arguments.args, dict(node.arguments.kwargs)),
            )
            sources = tuple(scope[id(tensor)] for tensor in node.input_tensors)
            operation = node.operation
            if isinstance(operation, keras.Model) and _has_graph(operation):
                outputs = self.flatten(operation, sources)
            else:
                outputs = [self.slot(tensor, operation.name) for tensor in node.output_tensors]
                self.calls.append(Call(operation, arguments, keywords, sources, tuple(outputs)))
            scope.update({id(tensor): slot for tensor, slot in zip(node.output_tensors, outputs, strict=True)})
        return [scope[id(tensor)] for tensor in model.outputs]


def _has_graph(model: keras.Model) -> bool:
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


# ------------------------------------------------------------------------------------------------ splitting


def split(model: keras.Model) -> Network:
    """Find where the map is taken and cut there. The model is not changed.

    The target is the tensor that feeds the last operation which collapses space; in front of a Flatten, the one before the max pooling too.

    Raises ModelError when the model is not one picture in and one list of class scores out, or when space collapses in more than one place.
    """
    if not _has_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"model {model.name}: not a classifier with one picture as input and one output", remedy="give a functional or Sequential model"
        )
    flattener = _Flattener()
    source = flattener.slot(model.inputs[0], "input")
    [output] = flattener.flatten(model, [source])
    producers = {slot.number: call for call in flattener.calls for slot in call.outputs}
    target = _find_target(output, producers, model.name)
    logits, activation, fused = _find_logits(output, producers)
    calls = [replace(call, linear=True) if call is fused else call for call in flattener.calls]
    body, head = _between(calls, source, target), _between(calls, target, logits)
    return Network(
        body=body,
        head=head,
        source=source,
        target=target,
        logits=logits,
        activation=activation,
        class_weights=_class_weights(head),
        variables=_variables((*body, *head)),
    )


def _spatial(slot: Slot) -> bool:
    return len(slot.shape) == 4 and slot.shape[1:3] != (1, 1)


def _find_target(output: Slot, producers: Mapping[int, Call], name: str) -> Slot:
    found: dict[int, Slot] = {}
    seen: set[int] = set()
    waiting = [output]
    while waiting:
        slot = waiting.pop()
        if slot.number in seen or slot.number not in producers:
            continue
        seen.add(slot.number)
        call = producers[slot.number]
        spatial = [source for source in call.inputs if _spatial(source)]
        found.update({s.number: s for s in (_before_max_pooling(source, call, producers) for source in spatial)})
        waiting.extend(source for source in call.inputs if not _spatial(source))
    if len(found) != 1:
        places = ", ".join(slot.name for slot in found.values()) or "nowhere"
        raise ModelError(f"model {name}: no single place where its feature maps are pooled (found: {places})")
    return next(iter(found.values()))


def _before_max_pooling(slot: Slot, consumer: Call, producers: Mapping[int, Call]) -> Slot:
    while (
        isinstance(consumer.operation, keras.layers.Flatten | keras.layers.Reshape | keras.layers.MaxPooling2D) and slot.number in producers
    ):
        consumer = producers[slot.number]
        if not isinstance(consumer.operation, keras.layers.MaxPooling2D):
            break
        slot = consumer.inputs[0]
    return slot


def _between(calls: Sequence[Call], start: Slot, end: Slot) -> tuple[Call, ...]:
    """The calls that `end` needs once `start` is known, in order."""
    needed, kept = {end.number}, []
    for call in reversed(calls):
        if start.number not in {s.number for s in call.outputs} and any(slot.number in needed for slot in call.outputs):
            needed.update(slot.number for slot in call.inputs)
            kept.append(call)
    return tuple(reversed(kept))


_PASSING = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)


def _find_logits(output: Slot, producers: Mapping[int, Call]) -> tuple[Slot, Activation, Call | None]:
    """The tensor before the final softmax or sigmoid, which one it is, and the layer it is part of, if it is part of one."""
    slot, activation = output, None
    while slot.number in producers:
        call = producers[slot.number]
        own = _activation_of(call.operation) if activation is None else None
        if isinstance(call.operation, keras.layers.Dense | keras.layers.Conv2D):
            return slot, activation or own or "linear", call if own else None
        if own:
            activation = own
        elif not isinstance(call.operation, _PASSING):
            break
        slot = call.inputs[0]
    return slot, activation or "linear", None


def _activation_of(operation: Any) -> Activation | None:
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    name = getattr(getattr(operation, "activation", None), "__name__", None) or type(operation).__name__.lower()
    return name if name in ("softmax", "sigmoid") else None  # type: ignore[return-value]


def _class_weights(head: Sequence[Call]) -> np.ndarray[Any, Any] | None:
    """The Dense kernel where the head is nothing but global average pooling, inert layers and one Dense."""
    pooling = [c for c in head if isinstance(c.operation, keras.layers.GlobalAveragePooling2D)]
    dense = [c for c in head if isinstance(c.operation, keras.layers.Dense)]
    inert = [c for c in head if isinstance(c.operation, _PASSING)]
    if len(pooling) != 1 or len(dense) != 1 or len(pooling) + len(dense) + len(inert) != len(head):
        return None
    if head[0] is not pooling[0] or head[-1] is not dense[0] or not dense[0].linear:
        return None
    kernel = np.asarray(dense[0].operation.kernel.numpy(), np.float32)
    return np.concatenate([-kernel, kernel], axis=1) if kernel.shape[1] == 1 else kernel


def _variables(calls: Iterable[Call]) -> tuple[Any, ...]:
    found: dict[int, Any] = {}
    for call in calls:
        for variable in getattr(call.operation, "variables", ()):
            found[id(variable)] = variable
    return tuple(found.values())
