"""The embedded network for other runtimes: the very weights of `embedded_network.build()`, batch norms folded, as a file of arrays.

`export` writes it with this project's environment. `torch_network` and `onnx_model` read it in an environment that has only numpy and
PyTorch or onnx. 'Same' padding is TensorFlow's, for sides that are multiples of 32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Array

SCALE, SHIFT = 1 / 128, -127 / 128  # pixels in [0, 255] to what the first convolution reads


def export(path: Path) -> Path:
    """Kernels in the layout (out, in, height, width), and under "steps" what is done in which order, as JSON."""
    from keras import layers

    from pipeline.models import build_embedded_network

    steps: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    for layer in build_embedded_network().layers:
        name = layer.name
        if isinstance(layer, layers.Add):
            steps.append({"kind": "sum", "name": name})
        elif isinstance(layer, layers.Dense):
            arrays |= {f"{name}.kernel": layer.kernel.numpy().T, f"{name}.bias": layer.bias.numpy()}
        elif isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D):
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            kernel = layer.kernel.numpy().transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            arrays |= {f"{name}.kernel": kernel, f"{name}.bias": layer.bias.numpy()}
            relu = name.endswith("_conv")  # the layer behind it
            steps.append({"kind": "convolution", "name": name, "stride": layer.strides[0], "depthwise": depthwise, "relu": relu})
    np.savez(path, steps=json.dumps(steps), **arrays)
    return path


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    with np.load(path) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("steps"))), arrays


def padding(kernel: int, stride: int) -> tuple[int, int]:
    """Before and after, as TensorFlow's 'same' has it for a side that the stride divides."""
    total = kernel - stride
    return total // 2, total - total // 2


# ------------------------------------------------------------------------------------------------ PyTorch


def torch_network(path: Path) -> Any:
    """An nn.Module in channels-last memory, in evaluation mode: scaled pictures (batch, 3, height, width) to logits.

    `features` ends in the ReLU6 that the pooling reads (`features[-1]`), `classifier` is the linear layer behind it.
    """
    import torch
    from torch import nn

    steps, arrays = read(path)

    class Residual(nn.Sequential):
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    class Network(nn.Module):
        def __init__(self, features: Any, classifier: Any) -> None:
            super().__init__()
            self.features, self.classifier = features, classifier

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).mean((2, 3)))

    blocks: dict[str, list[Any]] = {}
    summed = {step["name"].removesuffix("_sum") for step in steps if step["kind"] == "sum"}
    for step in steps:
        if step["kind"] == "convolution":
            blocks.setdefault(step["name"].split("_")[0], []).extend(_torch_layers(step, arrays))
    parts = [Residual(*made) if name in summed else nn.Sequential(*made) for name, made in blocks.items()]
    last = parts.pop()  # its layers stand for themselves, so that the ReLU6 can be named
    kernel, bias = (torch.from_numpy(arrays[f"predictions.{part}"].copy()) for part in ("kernel", "bias"))
    classifier = nn.Linear(kernel.shape[1], kernel.shape[0])
    with torch.no_grad():
        classifier.weight.copy_(kernel)
        classifier.bias.copy_(bias)
    return Network(nn.Sequential(*parts, *last), classifier).eval().to(memory_format=torch.channels_last)


def _torch_layers(step: dict[str, Any], arrays: dict[str, Array]) -> list[Any]:
    import torch
    from torch import nn

    kernel, bias = (torch.from_numpy(arrays[f"{step['name']}.{part}"].copy()) for part in ("kernel", "bias"))
    before, after = padding(kernel.shape[2], step["stride"])
    groups = kernel.shape[0] if step["depthwise"] else 1
    own = before if before == after else 0
    made = nn.Conv2d(kernel.shape[1] * groups, kernel.shape[0], kernel.shape[2], step["stride"], own, groups=groups)
    with torch.no_grad():
        made.weight.copy_(kernel)
        made.bias.copy_(bias)
    pad = [] if before == after else [nn.ZeroPad2d((before, after, before, after))]
    return [*pad, made, *([nn.ReLU6()] if step["relu"] else [])]


# ------------------------------------------------------------------------------------------------ ONNX


def onnx_model(path: Path, batch: int, side: int) -> bytes:
    """The same as an ONNX model: pixels uint8 (batch, side, side, 3) to probabilities."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    steps, arrays = read(path)
    constants = {"scale": np.float32(SCALE), "shift": np.float32(SHIFT), "low": np.float32(0), "high": np.float32(6), **arrays}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["start"]),
    ]
    x, skipped, block = "start", "", ""
    for step in steps:
        name = step["name"]
        if name.split("_")[0] != block:
            block, skipped = name.split("_")[0], x
        if step["kind"] == "sum":
            nodes.append(helper.make_node("Add", [x, skipped], [name]))
        else:
            nodes += _onnx_nodes(step, arrays[f"{name}.kernel"], x, helper)
        x = name
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "predictions.kernel", "predictions.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, (batch, side, side, 3))
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, (batch, 1000))
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "efficientnet_lite0", [pixels], [scores], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _onnx_nodes(step: dict[str, Any], kernel: Array, x: str, helper: Any) -> list[Any]:
    name, (before, after) = step["name"], padding(kernel.shape[2], step["stride"])
    group = kernel.shape[0] if step["depthwise"] else 1
    given = {"strides": [step["stride"]] * 2, "pads": [before, before, after, after], "group": group}
    if not step["relu"]:
        return [helper.make_node("Conv", [x, f"{name}.kernel", f"{name}.bias"], [name], **given)]
    conv = helper.make_node("Conv", [x, f"{name}.kernel", f"{name}.bias"], [f"{name}.sum"], **given)
    return [conv, helper.make_node("Clip", [f"{name}.sum", "low", "high"], [name])]
