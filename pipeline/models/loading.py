"""A name or a file becomes a classifier: the split network and everything that belongs to it, as one record."""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.errors import ModelError
from pipeline.models import batch_norm_folding, bundled_network, class_names, model_metadata, network, zoo
from pipeline.options import ModelChoice, Pixels, Precision
from pipeline.records import ClassName


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A model with what belongs to it.

    `networks` has the network split for each layer that the map is taken from, usually one. `pixels` is the scaling that it expects;
    `input_px` (width, height) and `short_side_px` are what frames are fitted to, `stride` the input size of one cell of its map. `identity`
    changes with all that its answers depend on.
    """

    name: str
    networks: Sequence[network.Network]
    classes: Sequence[ClassName]
    pixels: Pixels
    input_px: tuple[int, int]
    short_side_px: int
    stride: int
    any_size: bool
    identity: Sequence[str]
    warnings: Sequence[str] = ()


def load_classifier(choice: ModelChoice) -> Classifier:
    """Load the model, fold its batch norms, and name its classes.

    Raises ModelError for an unknown name, a file that is no model, weights that are missing, damaged or do not fit, and for labels that are
    not as many as the model's classes; CommandError for an unknown layer.
    """
    if zoo.is_model_file(choice.model):
        return _load_file(choice)
    entry = zoo.find_entry(choice.model)
    model = bundled_network.build_embedded_network() if entry.builder is None else _load_zoo_model(entry, choice)
    if entry.builder is None and choice.weights:
        raise ModelError(f"--weights {choice.weights}: the embedded model has its own weights")
    networks = _split_and_fold(model, choice)
    input_px = (entry.input_px, entry.input_px)
    return Classifier(
        name=entry.name,
        networks=_add_windows(networks, input_px, entry.stride),
        classes=_name_classes(choice, networks[0].class_count)[0],
        pixels=entry.pixels,
        input_px=input_px,
        short_side_px=entry.short_side_px,
        stride=entry.stride,
        any_size=networks[0].takes_any_size,
        identity=_identify(choice),
    )


def _identify(choice: ModelChoice) -> tuple[str, ...]:
    """The choice, and size and time of change of the files that it names."""
    paths = [Path(choice.model), choice.weights, choice.labels, choice.custom_objects]
    stats = [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in paths if p is not None and p.is_file()]
    return (repr(choice), keras.__version__, *stats)


def _split_and_fold(model: keras.Model, choice: ModelChoice) -> list[network.Network]:
    set_precision(model, choice.precision)
    return [batch_norm_folding.fold_batch_norms(network.split_model(model, layer=layer)) for layer in choice.layers or (None,)]


def _add_windows(networks: Sequence[network.Network], input_px: tuple[int, int], stride: int | None = None) -> list[network.Network]:
    return [network.add_window(net, input_px=input_px, stride=stride) for net in networks]


def set_precision(model: keras.Model, precision: Precision) -> None:
    """Let every layer compute in that precision, but for those that scale pixels."""
    gpus = tf.config.get_visible_devices("GPU")
    if precision == "auto" and not any(map(_has_half_units, gpus)):
        return
    policy = "float32" if precision == "float32" else "mixed_float16" if gpus else "mixed_bfloat16"
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            set_precision(layer, precision)
        elif not isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling | keras.layers.Normalization):
            layer.dtype_policy = policy


def _has_half_units(gpu: Any) -> bool:
    """Tensor cores came with compute capability 7 (https://www.tensorflow.org/guide/mixed_precision)."""
    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    return capability is not None and capability >= (7, 0)


def build_zoo_model(entry: zoo.ZooEntry, *, weights: str | None = "imagenet", classes: int = 1000) -> keras.Model:
    """Keras Applications' own model with its classifier on top; "imagenet" downloads and caches the weights.

    Raises ModelError when the weights are not cached and cannot be downloaded.
    """
    builder = getattr(keras.applications, entry.builder or "")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras draws its download there; stdout is for results
            return builder(weights=weights, classes=classes, input_shape=(entry.input_px, entry.input_px, 3))
    except Exception as error:  # Keras raises a bare Exception for a failed download
        if weights is None or "URL fetch failure" not in str(error):
            raise
        wanted = zoo.cached_weights_path(entry)
        message = f"the ImageNet weights of {entry.name} ({entry.size_mb:.0f} MB) are not on this machine and could not be downloaded"
        raise ModelError(message, remedy=f"put the file {wanted.name} into {wanted.parent}, or name it with --weights") from error


def build_backbone(choice: ModelChoice) -> keras.Model:
    """A model of the zoo up to the tensor that its pooling reads, for pictures of any size whose pixels are scaled as its entry says.

    Raises ModelError as load_classifier does.
    """
    entry = zoo.find_entry(choice.model)
    model = bundled_network.build_embedded_network() if entry.builder is None else _load_zoo_model(entry, choice)
    net = network.split_model(model)
    [last] = [call.operation for call in net.body if net.cam_tensor in call.outputs]
    cut = keras.Model(model.input, last.output, name=entry.name)
    if cut.input.shape[1:3] == (None, None):
        return cut
    # Its layers once more, called on pictures of no certain size. Keras' own builders make another NASNet where they are told no size.
    base = keras.models.clone_model(cut, input_tensors=keras.Input((None, None, 3)))
    base.set_weights(cut.get_weights())
    return base


def fetch_weights(entry: zoo.ZooEntry) -> str:
    """Bring a model's weights to this machine; returns where they lie. Raises ModelError when they cannot be downloaded."""
    if entry.builder is None:
        return f"{bundled_network.embedded_weights_path()} (embedded)"
    build_zoo_model(entry)
    return str(zoo.cached_weights_path(entry))


def open_keras_model(choice: ModelChoice) -> keras.Model:
    """The Keras model, to look at: one of the zoo without its weights, or a file's. Raises as load_classifier does."""
    if zoo.is_model_file(choice.model):
        return _read_model(Path(choice.model), choice)
    entry = zoo.find_entry(choice.model)
    return bundled_network.build_embedded_network() if entry.builder is None else build_zoo_model(entry, weights=None)


def _load_zoo_model(entry: zoo.ZooEntry, choice: ModelChoice) -> keras.Model:
    if choice.weights is None:
        return build_zoo_model(entry)
    if not choice.weights.is_file():
        raise ModelError(f"--weights {choice.weights}: no such file")
    classes = len(class_names.read_labels(choice.labels)) if choice.labels else 1000
    model = build_zoo_model(entry, weights=None, classes=classes)
    try:
        model.load_weights(choice.weights)
    except Exception as error:
        raise ModelError(f"--weights {choice.weights}: do not fit {entry.name} with {classes} classes ({_first_line(error)})") from error
    return model


def _load_file(choice: ModelChoice) -> Classifier:
    path = Path(choice.model)
    trained = model_metadata.read_metadata(path)
    networks = _split_and_fold(_read_model(path, choice), choice)
    first, warnings = networks[0], []
    classes, assumed = _name_classes(choice, first.class_count, trained)
    if assumed:
        warnings.append(f"{path}: 1000 classes, taken to be those of ImageNet; --labels says otherwise")
    if trained is not None:
        return _load_trained(choice, trained, networks)
    height, width = (size or 224 for size in first.source.shape[1:3])
    pixels = choice.pixels or "none"
    if choice.pixels is None and not first.scales_pixels:
        warnings.append(f"{path}: no layer scales its pixels, so it gets RGB in 0 to 255; --preprocess if it was trained on something else")
    networks = _add_windows(networks, (width, height))
    if None in first.source.shape[1:3] and networks[0].window is not None:
        warnings.append(f"{path}: does not say what size it was trained on; scores are of parts of {width}x{height} pixels, as if on that")
    stride = _find_stride(networks[0], height)
    return Classifier(
        name=path.name,
        networks=networks,
        classes=classes,
        pixels=pixels,
        input_px=(width, height),
        short_side_px=min(width, height),
        stride=stride,
        any_size=first.takes_any_size,
        identity=_identify(choice),
        warnings=warnings,
    )


def _load_trained(choice: ModelChoice, trained: model_metadata.ModelMetadata, networks: Sequence[network.Network]) -> Classifier:
    path = Path(choice.model)
    input_px = (trained.input_px, trained.input_px)
    return Classifier(
        name=path.name,
        networks=_add_windows(networks, input_px, trained.stride) if trained.pooling == "window" else networks,
        classes=_name_classes(choice, networks[0].class_count, trained)[0],
        pixels=choice.pixels or "none",
        input_px=input_px,
        short_side_px=trained.short_side_px,
        stride=trained.stride,
        any_size=networks[0].takes_any_size,
        identity=_identify(choice),
        warnings=() if trained.finished else (f"{path}: its training was interrupted; this is the best it had come to",),
    )


def _read_model(path: Path, choice: ModelChoice) -> keras.Model:
    if not path.exists():
        raise ModelError(f"--model {path}: no such file")
    if path.is_dir():
        raise ModelError(
            f"--model {path}: a SavedModel folder can only be called as a whole; its layers, and so what a map is made of, are not in it",
            remedy="save the model as .keras where it was made",
        )
    custom = _custom_objects(choice.custom_objects)
    try:
        model = keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=not choice.allow_unsafe)
    except Exception as error:
        raise _explain_failure(path, error) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"--model {path}: holds a {type(model).__name__}, not a model")
    return model


def _explain_failure(path: Path, error: Exception) -> ModelError:
    reason = str(error)
    if "Lambda" in reason and ("safe" in reason or "unsafe" in reason):
        message = f"--model {path}: has a Lambda layer, which is code that runs when it is loaded"
        return ModelError(message, remedy="add --allow-unsafe if you trust where the file comes from")
    if "register_keras_serializable" in reason or "custom_objects" in reason or "Unknown layer" in reason:
        return ModelError(
            f"--model {path}: uses a class that Keras does not know ({_first_line(error)})", remedy="name its module with --custom-objects"
        )
    return ModelError(f"--model {path}: cannot be read as a Keras model ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _custom_objects(module: Path | None) -> dict[str, Any]:
    """Run the user's module and return what it defines by name. Only ever called for a file that the user named."""
    if module is None:
        return {}
    if not module.is_file():
        raise ModelError(f"--custom-objects {module}: no such file")
    try:
        found = runpy.run_path(str(module))
    except Exception as error:
        raise ModelError(f"--custom-objects {module}: fails when it is run ({type(error).__name__}: {_first_line(error)})") from error
    return {name: value for name, value in found.items() if callable(value) and not name.startswith("_")}


def _find_stride(net: network.Network, height_px: int) -> int:
    """How many pixels one cell of the map stands for, in a picture of that height."""
    cells = net.cam_tensor.shape[1] or (net.window[0] if net.window else None)
    return max(1, round(height_px / cells)) if cells else 32


def _name_classes(choice: ModelChoice, count: int, trained: model_metadata.ModelMetadata | None = None) -> tuple[Sequence[ClassName], bool]:
    """The names of the model's classes, and whether they are only assumed to be ImageNet's."""
    if choice.labels is not None:
        names = class_names.read_labels(choice.labels)
        if len(names) != count:
            raise ModelError(f"--labels {choice.labels}: {len(names)} names, and the model has {count} classes")
        return names, False
    if trained is not None and len(trained.labels) == count:
        return tuple(ClassName(index=i, wnid=None, label=label) for i, label in enumerate(trained.labels)), False
    if count == 1000:
        return class_names.imagenet_classes(), zoo.is_model_file(choice.model)
    return tuple(ClassName(index=i, wnid=None, label=f"class {i}") for i in range(count)), False
