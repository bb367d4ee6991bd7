"""A classifier cut in two at the tensor that maps are taken from: the body, from pixels to there, and the head, from there to the logits.

`split_model` finds that tensor, the logits and the pooling in the flattened graph; the model is not changed.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from pipeline.arrays import Array
from pipeline.errors import CommandError, ModelError
from pipeline.models.keras_graph import Call, Slot, _Flattener, calls_between, has_graph, is_spatial, run_calls, variables_of

Activation = Literal["softmax", "sigmoid", "linear"]
LARGEST_CONSTANT_ELEMENTS = 4_000_000
_PASSING = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)
_GLOBAL_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """The part of a head that pools globally: `before` leads from the CAM tensor to the feature map `source`, which each of `calls`
    pools (usually there is one); `after` leads from what they give to the logits, and reads nothing else.
    """

    before: tuple[Call, ...]
    source: Slot
    calls: tuple[Call, ...]
    after: tuple[Call, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A classifier split for explanation: body from pixels to the CAM tensor, head from there to the logits.

    `activation` makes scores of logits. `class_weights` is the kernel (channels, classes) where the head is global average pooling
    and one Dense layer, so that a map is a matrix product; None elsewhere. `pooled` is the feature map that global pooling reads; None
    where space collapses in another way. `window` (rows, columns) is how many of its cells are pooled together: as many as in training, so
    that a score means what it meant there, however large the picture is. None pools all of them.
    """

    body: tuple[Call, ...]
    head: tuple[Call, ...]
    source: Slot
    cam_tensor: Slot
    logits: Slot
    activation: Activation
    class_weights: Array | None
    variables: tuple[Any, ...]
    pooled: Slot | None = None
    window: tuple[int, int] | None = None

    @functools.cached_property
    def pooling(self) -> Pooling | None:
        """Where the head pools globally, and nothing goes round that; None elsewhere."""
        if self.pooled is None:
            return None
        calls = tuple(call for call in self.head if self.pooled in call.inputs)
        outputs = {call.outputs[0].number for call in calls}
        after = calls_between(self.head, outputs, self.logits)
        known = outputs | {slot.number for call in after for slot in call.outputs}
        if not calls or any(slot.number not in known for call in after for slot in call.inputs):
            return None
        return Pooling(before=calls_between(self.head, {self.cam_tensor.number}, self.pooled), source=self.pooled, calls=calls, after=after)

    @property
    def units(self) -> int:
        """How many numbers the head gives for a picture."""
        return int(np.prod([size for size in self.logits.shape[1:] if size is not None]))

    @property
    def class_count(self) -> int:
        """How many classes it tells apart."""
        return max(self.units, 2)  # one unit tells two classes apart

    @property
    def weight_count(self) -> int:
        """How many numbers the layers have learned; one that is called more than once counts once."""
        operations = {id(call.operation): call.operation for call in (*self.body, *self.head)}
        return sum(int(np.prod(weight.shape)) for operation in operations.values() for weight in getattr(operation, "weights", ()))

    @property
    def computes_in_half(self) -> bool:
        """Whether any of its layers computes in float16 or bfloat16."""
        return any(getattr(call.layer, "compute_dtype", "") in ("float16", "bfloat16") for call in (*self.body, *self.head))

    @property
    def scales_pixels(self) -> bool:
        """Whether a layer of the network itself brings pixels to the range that it was trained on."""
        return any(isinstance(call.operation, keras.layers.Rescaling | keras.layers.Normalization) for call in self.body)

    @property
    def takes_any_size(self) -> bool:
        """Whether pictures of any size go through: no call on a feature map knows its size, and the pooling is global."""
        if self.source.shape[1:3] == (None, None):
            return True  # it was built so
        return all(_knows_no_size(call) for call in (*self.body, *self.head) if any(map(is_spatial, call.inputs)))

    def weights(self) -> list[tuple[Any, Array]]:
        """The variables with their values now, but for the very large ones.

        As constants of a traced function (by a StatelessScope) they are laid out for the CPU's kernels once, and not at every call. What
        that saves for a Dense layer of 400 MB, TensorFlow's graph optimiser would spend many times over on folding it.
        """
        return [(v, np.asarray(v.numpy())) for v in self.variables if np.prod(v.shape) <= LARGEST_CONSTANT_ELEMENTS]

    def run_body(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels (batch, height, width, 3) as the model takes them -> the CAM tensor (batch, h, w, channels)."""
        return run_calls(self.body, {self.source.number: pixels}, self.cam_tensor)

    def run_head(self, activations: tf.Tensor, pixels: tf.Tensor | None = None) -> tf.Tensor:
        """The CAM tensor -> logits float32 (batch, classes); a one-unit sigmoid head gives minus the logit and the logit.

        `pixels` is needed where something goes round the CAM tensor (a layer inside a residual branch): that way begins at the pixels.
        """
        return _shape_logits(self, run_calls(self.head, _known_values(self, activations, pixels), self.logits))

    def run_before_pooling(self, activations: tf.Tensor, pixels: tf.Tensor | None = None) -> tf.Tensor:
        """The CAM tensor -> the feature map that is pooled (batch, h, w, channels); the same where maps are taken from that one."""
        assert self.pooling is not None, "it pools globally"
        return run_calls(self.pooling.before, _known_values(self, activations, pixels), self.pooling.source)

    def run_after_pooling(self, features: Sequence[tf.Tensor]) -> tf.Tensor:
        """What each of `pooling.calls` gives, (n, channels), -> logits as run_head gives them, (n, classes)."""
        assert self.pooling is not None, "it pools globally"
        values = {}
        for call, feature in zip(self.pooling.calls, features, strict=True):
            slot = call.outputs[0]
            values[slot.number] = tf.reshape(feature, (-1, 1, 1, feature.shape[-1])) if len(slot.shape) == 4 else feature
        return _shape_logits(self, run_calls(self.pooling.after, values, self.logits))

    @property
    def has_exclusive_classes(self) -> bool:
        """Whether a picture shows one of the classes and no other, so that scores add up to 1."""
        return self.activation != "sigmoid" or self.units == 1

    def scores(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits (..., classes) -> probabilities. Two classes of one unit exclude each other, those of a wider sigmoid head do not."""
        return tf.sigmoid(logits) if self.activation == "sigmoid" or self.units == 1 else tf.nn.softmax(logits)


def _known_values(network: Network, activations: tf.Tensor, pixels: tf.Tensor | None) -> dict[int, tf.Tensor]:
    """By slot number, what the head begins with."""
    return {network.cam_tensor.number: activations} | ({} if pixels is None else {network.source.number: pixels})


def _shape_logits(network: Network, output: tf.Tensor) -> tf.Tensor:
    """Logits float32 (batch, classes); of one unit minus the logit and the logit."""
    logits = tf.reshape(tf.cast(output, tf.float32), (-1, network.units))
    return tf.concat([-logits, logits], axis=1) if network.units == 1 else logits


def split_model(model: keras.Model, *, layer: str | None = None) -> Network:
    """Find where the map is taken and cut there. The model is not changed.

    The CAM tensor is the one that feeds the last operation which collapses space, and in front of a Flatten the one before the
    max pooling too.
    `layer` names another one: the output of the layer of that name, in nested models too.

    Raises ModelError when the model is not one picture in and one list of class scores out, when it has its channels first, or when
    space collapses in more than one place; CommandError when there is no such layer, or its output is no feature map.
    """
    if not has_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        message = f"model {model.name}: not a classifier with one picture as input and one output"
        raise ModelError(message, remedy="give a functional or Sequential model")
    flattener = _Flattener()
    source = flattener.slot(model.inputs[0], "input")
    [output] = flattener.flatten(model, [source])
    _refuse_channels_first(flattener.calls, model.name)
    producers = {slot.number: call for call in flattener.calls for slot in call.outputs}
    cam_tensor = _find_layer(layer, flattener.calls) if layer else _find_cam_tensor(output, producers, model.name)
    logits, activation, fused = _find_logits(output, producers)
    calls = [replace(call, linear=True) if call is fused else call for call in flattener.calls]
    body, head = calls_between(calls, {source.number}, cam_tensor), calls_between(calls, {cam_tensor.number}, logits)
    return Network(
        body=body,
        head=head,
        source=source,
        cam_tensor=cam_tensor,
        logits=logits,
        activation=activation,
        class_weights=_class_weights(head),
        variables=variables_of((*body, *head)),
        pooled=_find_pooled(output, flattener.calls, producers, model.name),
    )


def add_window(network: Network, *, input_px: tuple[int, int], stride: int | None = None) -> Network:
    """The same network, pooling over windows of as many cells as pictures of the size (width, height) give that it was trained on.

    Where the network does not say how many those are, it is by `stride`, or without one by a picture of that size that is put through.
    """
    if network.pooling is None or not network.takes_any_size:
        return network
    width, height = input_px
    rows, columns = network.pooling.source.shape[1:3]
    if rows and columns:
        return replace(network, window=(rows, columns))
    if stride is not None:
        return replace(network, window=(round(height / stride), round(width / stride)))
    blank = tf.zeros((1, height, width, 3))
    cells = network.run_before_pooling(network.run_body(blank), blank)
    return replace(network, window=(int(cells.shape[1]), int(cells.shape[2])))


def _find_pooled(output: Slot, calls: Sequence[Call], producers: Mapping[int, Call], name: str) -> Slot | None:
    """The feature map that global pooling reads, and nothing else does; None where space collapses in another way."""
    try:
        slot = _find_cam_tensor(output, producers, name)
    except ModelError:  # in more than one place; `--layer` names one of them
        return None
    readers = [call for call in calls if slot in call.inputs]
    return slot if readers and all(isinstance(call.operation, _GLOBAL_POOLING) for call in readers) else None


def _find_cam_tensor(output: Slot, producers: Mapping[int, Call], name: str) -> Slot:
    if is_spatial(output):
        raise ModelError(f"model {name}: its output {output.shape} is a picture, not a list of class scores")
    found: dict[int, Slot] = {}
    seen: set[int] = set()
    waiting = [output]
    while waiting:
        slot = waiting.pop()
        if slot.number in seen or slot.number not in producers:
            continue
        seen.add(slot.number)
        call = producers[slot.number]
        spatial = [source for source in call.inputs if is_spatial(source)]
        found.update({s.number: s for s in (_before_max_pooling(source, call, producers) for source in spatial)})
        waiting.extend(source for source in call.inputs if not is_spatial(source))
    if len(found) != 1:
        places = ", ".join(slot.name for slot in found.values()) or "nowhere"
        raise ModelError(f"model {name}: no single place where its feature maps are pooled (found: {places})")
    return next(iter(found.values()))


def _before_max_pooling(slot: Slot, consumer: Call, producers: Mapping[int, Call]) -> Slot:
    """`slot` feeds a call that flattens: the tensor before the max pooling in front of it, if there is one."""
    inner = slot
    while isinstance(consumer.operation, (*_PASSING, keras.layers.MaxPooling2D)) and inner.number in producers:
        consumer = producers[inner.number]
        inner = consumer.inputs[0]
        slot = inner if isinstance(consumer.operation, keras.layers.MaxPooling2D) else slot
    return slot


def _refuse_channels_first(calls: Sequence[Call], name: str) -> None:
    for call in calls:
        if getattr(call.operation, "data_format", None) == "channels_first":
            message = f"model {name}: layer {call.operation.name} has its channels first, which TensorFlow does not run on a CPU"
            raise ModelError(message, remedy="convert the model to channels last")


def _find_layer(name: str, calls: Sequence[Call]) -> Slot:
    found = [call.outputs[0] for call in calls if call.operation.name == name]
    maps = [call.operation.name for call in calls if is_spatial(call.outputs[0])]
    last = f"the last ones are {', '.join(maps[-4:])}"
    if not found:
        near = difflib.get_close_matches(name, maps, n=4)
        hint = f"near to it: {', '.join(near)}" if near else last
        raise CommandError(f"--layer {name}: the model has no such layer", remedy=f"{hint}; `visualize models show` lists all")
    if not is_spatial(found[-1]):
        raise CommandError(f"--layer {name}: its output {found[-1].shape} is not a feature map", remedy=last)
    return found[-1]


_SIZELESS = (
    *(keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D),
    *(keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, *_GLOBAL_POOLING),
    *(keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.Activation, keras.layers.ReLU),
    *(keras.layers.Dropout, keras.layers.Rescaling, keras.layers.Normalization),
    *(keras.layers.ZeroPadding2D, keras.layers.Cropping2D),
    *(keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Average, keras.layers.Concatenate),
)
# Operations of keras.ops, and the parts of Keras Applications that are no public layers.
_SIZELESS_NAMES = frozenset({"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "LayerScale", "StochasticDepth", "CustomScaleLayer"})


def _knows_no_size(call: Call) -> bool:
    """Whether the call works at any height and width: it slides, acts on single values or channels, or pools all positions."""
    operation = call.layer
    kind = type(operation)
    if not is_spatial(call.outputs[0]) and not isinstance(operation, keras.layers.Reshape):
        return isinstance(operation, _GLOBAL_POOLING)  # any other one that ends in one position has been made for one size
    if isinstance(operation, keras.layers.Reshape):  # squeeze-and-excitation: channels at one position
        return call.outputs[0].shape[1:3] == (1, 1)
    if isinstance(operation, keras.layers.Dense):  # on a feature map it is a 1x1 convolution
        return len(call.outputs[0].shape) == 4
    return isinstance(operation, _SIZELESS) or (kind.__module__.startswith("keras.") and kind.__name__ in _SIZELESS_NAMES)


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


def _class_weights(head: Sequence[Call]) -> Array | None:
    """The Dense kernel where the head is nothing but global average pooling, inert layers and one Dense."""
    pooling = [c for c in head if isinstance(c.operation, keras.layers.GlobalAveragePooling2D)]
    dense = [c for c in head if isinstance(c.operation, keras.layers.Dense)]
    inert = [c for c in head if isinstance(c.operation, _PASSING)]
    if len(pooling) != 1 or len(dense) != 1 or len(pooling) + len(dense) + len(inert) != len(head):
        return None
    if head[0] is not pooling[0] or not (dense[0].linear or dense[0].operation.activation is keras.activations.linear):
        return None
    kernel = np.asarray(dense[0].operation.kernel.numpy(), np.float32)
    return np.concatenate([-kernel, kernel], axis=1) if kernel.shape[1] == 1 else kernel
