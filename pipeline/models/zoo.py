"""The models that come by name, as data.

A network of Keras Applications is added as a row of `_ZOO`. One with weights of another origin needs a builder of its own, such as
`embedded_network`, and an entry beside `EMBEDDED_MODEL`; `loading` calls it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.files import hash_file
from pipeline.models import class_names
from pipeline.options import DEFAULT_MODEL as DEFAULT_MODEL, ModelChoice, Pixels


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """A model that comes by name, as data.

    `builder` is its function in keras.applications, None for the embedded model. `short_side_px` is the short side of a frame for which
    the network sees what it was trained to see (the side before the standard crop of `input_px`); `stride` is the input size of one cell of
    its map. `pixels` is the scaling that it expects of RGB in [0, 255], "none" where a layer of the model does it. `weights_file` is the
    name under which Keras caches its ImageNet weights.
    Sizes, accuracies and depths are those that the authors or keras.io publish; None where they publish none.
    """

    name: str
    builder: str | None
    input_px: int
    short_side_px: int
    pixels: Pixels
    weights_file: str
    licence: str
    size_mb: float
    top1: float
    top5: float | None
    parameters_millions: float
    depth: int | None
    stride: int = 32


EMBEDDED_MODEL = ZooEntry(
    name=DEFAULT_MODEL,
    builder=None,
    input_px=224,
    short_side_px=256,
    pixels="none",
    weights_file="efficientnet-lite0-57934424.pth",
    licence="Apache-2.0",
    size_mb=18.8,
    top1=75.1,
    top5=None,
    parameters_millions=4.7,
    depth=None,
)

_TF_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels.h5"
# name, builder, input, pixels, weights file, licence, MB, top-1, top-5, million parameters, depth: https://keras.io/api/applications/
# (MobileNetV3: the accuracies of the paper's checkpoints in Keras' own documentation, and the parameters of what Keras builds).
_ZOO: tuple[tuple[str, str, int, Pixels, str, str, float, float, float | None, float, int | None], ...] = (
    ("vgg16", "VGG16", 224, "caffe", _TF_KERNELS.format("vgg16"), "CC-BY-4.0", 528, 71.3, 90.1, 138.4, 16),
    ("vgg19", "VGG19", 224, "caffe", _TF_KERNELS.format("vgg19"), "CC-BY-4.0", 549, 71.3, 90.0, 143.7, 19),
    ("resnet50", "ResNet50", 224, "caffe", _TF_KERNELS.format("resnet50"), "MIT", 98, 74.9, 92.1, 25.6, 107),
    ("resnet101", "ResNet101", 224, "caffe", _TF_KERNELS.format("resnet101"), "MIT", 171, 76.4, 92.8, 44.7, 209),
    ("resnet152", "ResNet152", 224, "caffe", _TF_KERNELS.format("resnet152"), "MIT", 232, 76.6, 93.1, 60.4, 311),
    ("resnet50_v2", "ResNet50V2", 224, "tf", _TF_KERNELS.format("resnet50v2"), "Apache-2.0", 98, 76.0, 93.0, 25.6, 103),
    ("resnet101_v2", "ResNet101V2", 224, "tf", _TF_KERNELS.format("resnet101v2"), "Apache-2.0", 171, 77.2, 93.8, 44.7, 205),
    ("resnet152_v2", "ResNet152V2", 224, "tf", _TF_KERNELS.format("resnet152v2"), "Apache-2.0", 232, 78.0, 94.2, 60.4, 307),
    ("inception_v3", "InceptionV3", 299, "tf", _TF_KERNELS.format("inception_v3"), "Apache-2.0", 92, 77.9, 93.7, 23.9, 189),
    (
        "inception_resnet_v2",
        "InceptionResNetV2",
        299,
        "tf",
        _TF_KERNELS.format("inception_resnet_v2"),
        "Apache-2.0",
        215,
        80.3,
        95.3,
        55.9,
        449,
    ),
    ("xception", "Xception", 299, "tf", _TF_KERNELS.format("xception"), "MIT", 88, 79.0, 94.5, 22.9, 81),
    ("mobilenet", "MobileNet", 224, "tf", "mobilenet_1_0_224_tf.h5", "Apache-2.0", 16, 70.4, 89.5, 4.3, 55),
    (
        "mobilenet_v2",
        "MobileNetV2",
        224,
        "tf",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        "Apache-2.0",
        14,
        71.3,
        90.1,
        3.5,
        105,
    ),
    (
        "mobilenet_v3_large",
        "MobileNetV3Large",
        224,
        "none",
        "weights_mobilenet_v3_large_224_1.0_float.h5",
        "Apache-2.0",
        22,
        75.6,
        None,
        5.4,
        None,
    ),
    (
        "mobilenet_v3_small",
        "MobileNetV3Small",
        224,
        "none",
        "weights_mobilenet_v3_small_224_1.0_float.h5",
        "Apache-2.0",
        12,
        68.1,
        None,
        2.6,
        None,
    ),
    ("densenet121", "DenseNet121", 224, "torch", _TF_KERNELS.format("densenet121"), "BSD-3-Clause", 33, 75.0, 92.3, 8.1, 242),
    ("densenet169", "DenseNet169", 224, "torch", _TF_KERNELS.format("densenet169"), "BSD-3-Clause", 57, 76.2, 93.2, 14.3, 338),
    ("densenet201", "DenseNet201", 224, "torch", _TF_KERNELS.format("densenet201"), "BSD-3-Clause", 80, 77.3, 93.6, 20.2, 402),
    ("nasnet_mobile", "NASNetMobile", 224, "tf", "nasnet_mobile.h5", "Apache-2.0", 23, 74.4, 91.9, 5.3, 389),
    ("nasnet_large", "NASNetLarge", 331, "tf", "nasnet_large.h5", "Apache-2.0", 343, 82.5, 96.0, 88.9, 533),
    ("efficientnet_b0", "EfficientNetB0", 224, "none", "efficientnetb0.h5", "Apache-2.0", 29, 77.1, 93.3, 5.3, 132),
    ("efficientnet_b1", "EfficientNetB1", 240, "none", "efficientnetb1.h5", "Apache-2.0", 31, 79.1, 94.4, 7.9, 186),
    ("efficientnet_b2", "EfficientNetB2", 260, "none", "efficientnetb2.h5", "Apache-2.0", 36, 80.1, 94.9, 9.2, 186),
    ("efficientnet_b3", "EfficientNetB3", 300, "none", "efficientnetb3.h5", "Apache-2.0", 48, 81.6, 95.7, 12.3, 210),
    ("efficientnet_b4", "EfficientNetB4", 380, "none", "efficientnetb4.h5", "Apache-2.0", 75, 82.9, 96.4, 19.5, 258),
    ("efficientnet_b5", "EfficientNetB5", 456, "none", "efficientnetb5.h5", "Apache-2.0", 118, 83.6, 96.7, 30.6, 312),
    ("efficientnet_b6", "EfficientNetB6", 528, "none", "efficientnetb6.h5", "Apache-2.0", 166, 84.0, 96.8, 43.3, 360),
    ("efficientnet_b7", "EfficientNetB7", 600, "none", "efficientnetb7.h5", "Apache-2.0", 256, 84.3, 97.0, 66.7, 438),
    ("efficientnet_v2_b0", "EfficientNetV2B0", 224, "none", "efficientnetv2-b0.h5", "Apache-2.0", 29, 78.7, 94.3, 7.2, None),
    ("efficientnet_v2_b1", "EfficientNetV2B1", 240, "none", "efficientnetv2-b1.h5", "Apache-2.0", 34, 79.8, 95.0, 8.2, None),
    ("efficientnet_v2_b2", "EfficientNetV2B2", 260, "none", "efficientnetv2-b2.h5", "Apache-2.0", 42, 80.5, 95.1, 10.2, None),
    ("efficientnet_v2_b3", "EfficientNetV2B3", 300, "none", "efficientnetv2-b3.h5", "Apache-2.0", 59, 82.0, 95.8, 14.5, None),
    ("efficientnet_v2_s", "EfficientNetV2S", 384, "none", "efficientnetv2-s.h5", "Apache-2.0", 88, 83.9, 96.7, 21.6, None),
    ("efficientnet_v2_m", "EfficientNetV2M", 480, "none", "efficientnetv2-m.h5", "Apache-2.0", 220, 85.3, 97.4, 54.4, None),
    ("efficientnet_v2_l", "EfficientNetV2L", 480, "none", "efficientnetv2-l.h5", "Apache-2.0", 479, 85.7, 97.5, 119.0, None),
    ("convnext_tiny", "ConvNeXtTiny", 224, "none", "convnext_tiny.h5", "MIT", 109.42, 81.3, None, 28.6, None),
    ("convnext_small", "ConvNeXtSmall", 224, "none", "convnext_small.h5", "MIT", 192.29, 82.3, None, 50.2, None),
    ("convnext_base", "ConvNeXtBase", 224, "none", "convnext_base.h5", "MIT", 338.58, 85.3, None, 88.5, None),
    ("convnext_large", "ConvNeXtLarge", 224, "none", "convnext_large.h5", "MIT", 755.07, 86.3, None, 197.7, None),
    ("convnext_xlarge", "ConvNeXtXLarge", 224, "none", "convnext_xlarge.h5", "MIT", 1310, 86.7, None, 350.1, None),
)


def _short_side(builder: str, input_px: int) -> int:
    # EfficientNet was evaluated on crops with 32 pixels of padding around, the others on the middle 87.5 %.
    return input_px + 32 if builder.startswith("EfficientNet") else round(input_px / 0.875)


def _make_entries() -> Iterator[ZooEntry]:
    for name, builder, input_px, pixels, weights_file, licence, size_mb, top1, top5, parameters, depth in _ZOO:
        yield ZooEntry(
            name=name,
            builder=builder,
            input_px=input_px,
            short_side_px=_short_side(builder, input_px),
            pixels=pixels,
            weights_file=weights_file,
            licence=licence,
            size_mb=size_mb,
            top1=top1,
            top5=top5,
            parameters_millions=parameters,
            depth=depth,
        )


ZOO_ENTRIES = {entry.name: entry for entry in (EMBEDDED_MODEL, *_make_entries())}


def find_entry(name: str) -> ZooEntry:
    """The entry of that name in any spelling (`ResNet-50`, `resnet50`). Raises ModelError for an unknown one, with the nearest."""
    plain = {_plain(known): found for known, found in ZOO_ENTRIES.items()}
    if _plain(name) in plain:
        return plain[_plain(name)]
    near = difflib.get_close_matches(_plain(name), plain, n=3)
    hint = f"near to it: {', '.join(plain[key].name for key in near)}" if near else "`visualize models` lists them"
    raise ModelError(f"--model {name}: no such model", remedy=hint)


def is_known_model(text: str) -> bool:
    """Whether that is a name of the zoo, or means a file."""
    return is_model_file(text) or _plain(text) in map(_plain, ZOO_ENTRIES)


def is_model_file(model: str) -> bool:
    """Whether `--model` means a file or folder and not a name of the zoo."""
    return model.endswith((".keras", ".h5", ".hdf5")) or os.sep in model or Path(model).is_dir()


def name_model(choice: ModelChoice) -> str:
    """The file's name, or the zoo's. Raises ModelError for a name that the zoo does not know."""
    return Path(choice.model).name if is_model_file(choice.model) else find_entry(choice.model).name


def identify_model(choice: ModelChoice) -> dict[str, str | None]:
    """What a model's answers depend on: its published weights by their name, files by their content (SHA-256). Raises ModelError."""
    named = None if is_model_file(choice.model) else find_entry(choice.model)
    return {
        "model": _sha256(Path(choice.model)) if named is None else named.name,
        "weights": named.weights_file if named and not choice.weights else _sha256(choice.weights),
        "labels": _sha256(choice.labels),
        "custom_objects": _sha256(choice.custom_objects),
        "pixels": choice.pixels,
        "pooling": "windows",  # what a score is; outputs of before were scored otherwise
        "precision": choice.precision,
        "layers": " ".join(choice.layers),
    }


def _sha256(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return hash_file(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def check_choice(choice: ModelChoice, targets: Sequence[str]) -> None:
    """What can be known of a model without loading it. Raises ModelError or CommandError for names, files and targets that cannot be."""
    for option, path in (("--model", Path(choice.model) if is_model_file(choice.model) else None), ("--weights", choice.weights)):
        if path is not None and not path.exists():
            raise ModelError(f"{option} {path}: no such file")
    if not is_model_file(choice.model):
        found = find_entry(choice.model)
        if choice.custom_objects or choice.pixels:
            raise ModelError(
                f"--model {found.name}: comes with its own classes and pixel scaling", remedy="leave out --custom-objects and --preprocess"
            )
    known = (
        class_names.read_labels(choice.labels) if choice.labels else () if is_model_file(choice.model) else class_names.imagenet_classes()
    )
    for wanted in targets if known else ():
        class_names.find_target_class(wanted, known)


def describe_entry(entry: ZooEntry) -> dict[str, Any]:
    """What is published of a model, for a table or JSON; `weights` says whether they are on this machine."""
    cached = "embedded" if entry.builder is None else "cached" if cached_weights_path(entry).is_file() else "not here"
    return {
        "name": entry.name,
        "input": entry.input_px,
        "pixels": entry.pixels,
        "top-1": entry.top1,
        "top-5": entry.top5,
        "parameters (M)": entry.parameters_millions,
        "depth": entry.depth,
        "MB": entry.size_mb,
        "licence": entry.licence,
        "weights": cached,
    }


def cached_weights_path(entry: ZooEntry) -> Path:
    """Where Keras keeps, or would keep, the ImageNet weights of a model of its zoo."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / entry.weights_file


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")
