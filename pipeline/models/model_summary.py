"""What is inside a model: its calls in order, their shapes at any input size, and where the map is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.errors import ModelError
from pipeline.models import loading, model_metadata, zoo
from pipeline.models.keras_graph import run_calls
from pipeline.models.network import Network, split_model
from pipeline.options import ModelChoice
from pipeline.records import printable


def summarize_model(choice: ModelChoice, size: tuple[int, int] | None) -> dict[str, Any]:
    """Layers with output shapes and parameters for pictures of `size` (height, width), the model's own where None; of a model that was
    trained here also its labels, and how it was trained.

    Raises ModelError when the model cannot be explained, or does not take that size.
    """
    network = split_model(loading.open_keras_model(choice))
    height, width = size or (side or 224 for side in network.source.shape[1:3])
    shapes = output_shapes(network, height, width)
    calls = [*network.body, *network.head]
    layers = [
        {
            "layer": call.operation.name,
            "kind": type(call.operation).__name__,
            "output": "x".join(str(side) for side in shapes[call.outputs[0].number][1:]),
            "parameters": sum(int(tf.size(variable.value)) for variable in getattr(call.operation, "variables", ())),
        }
        for call in calls
    ]
    return {
        "layers": layers,
        "input": f"{height}x{width}" + (", any size" if network.takes_any_size else ", no other size"),
        "parameters": sum(layer["parameters"] for layer in layers),
        "classes": network.class_count,
        "map": f"{network.cam_tensor.name}, {'x'.join(str(side) for side in shapes[network.cam_tensor.number][1:])}",
        "head": "closed form: one matrix product" if network.class_weights is not None else "gradient of the head",
        **_describe_training(choice),
    }


def _describe_training(choice: ModelChoice) -> dict[str, Any]:
    """What the file of a model that was trained here says of that."""
    trained = model_metadata.read_metadata(Path(choice.model)) if zoo.is_model_file(choice.model) else None
    return {} if trained is None else {"labels": ", ".join(map(printable, trained.labels)), "base": trained.base, **trained.facts}


def output_shapes(network: Network, height: int, width: int) -> dict[int, tuple[int, ...]]:
    """The shape of every tensor, by its slot, for one picture of that size; nothing is computed, the graph is only traced."""
    shapes: dict[int, tuple[int, ...]] = {}

    def trace(pixels: tf.Tensor) -> tf.Tensor:
        values = {network.source.number: pixels}
        for call in (*network.body, *network.head):
            for slot in call.outputs:
                values[slot.number] = run_calls((call,), values, slot)
                shapes[slot.number] = tuple(values[slot.number].shape)
        return values[network.logits.number]

    try:
        tf.function(trace, autograph=False).get_concrete_function(tf.TensorSpec((1, height, width, 3)))
    except ValueError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"--input-size {height}x{width}: the model does not take pictures of this size ({reason})") from error
    return shapes
