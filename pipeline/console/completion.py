"""What the shell may complete: methods, layouts, colour maps, codecs, models and class names. Nothing heavy is imported for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from pipeline.errors import HeatreelError
from pipeline.models import class_names, metadata, zoo
from pipeline.records import Audio, Codec, Fit, LabelPlace, Layout, Method, Pixels, Precision, Scale

# OpenCV's, as heat_blending.colormap_names has them; asking it would take longer than anyone waits for a tab.
COLORMAPS = (
    *("autumn", "bone", "cividis", "cool", "deepgreen", "hot", "hsv", "inferno", "jet", "magma", "ocean", "parula", "pink", "plasma"),
    *("rainbow", "spring", "summer", "turbo", "twilight", "twilight_shifted", "viridis", "winter"),
)


def methods(incomplete: str) -> list[str]:
    return _beginning(get_args(Method), incomplete)


def layouts(incomplete: str) -> list[str]:
    return _beginning(get_args(Layout), incomplete)


def places(incomplete: str) -> list[str]:
    return _beginning(get_args(LabelPlace), incomplete)


def scales(incomplete: str) -> list[str]:
    return _beginning(get_args(Scale), incomplete)


def fits(incomplete: str) -> list[str]:
    return _beginning(get_args(Fit), incomplete)


def colormaps(incomplete: str) -> list[str]:
    return _beginning(COLORMAPS, incomplete)


def codecs(incomplete: str) -> list[str]:
    return _beginning(get_args(Codec), incomplete)


def sounds(incomplete: str) -> list[str]:
    return _beginning(get_args(Audio), incomplete)


def scalings(incomplete: str) -> list[str]:
    return _beginning(("auto", *get_args(Pixels)), incomplete)


def precisions(incomplete: str) -> list[str]:
    return _beginning(get_args(Precision), incomplete)


def models(incomplete: str) -> list[str]:
    """Names of the zoo. Where none begins so, the shell completes names of files itself."""
    return _beginning(zoo.ZOO_ENTRIES, incomplete.casefold())


def classes(context: typer.Context, incomplete: str) -> list[str]:
    """Labels of --labels, of the model's file, or of ImageNet, with kinds, as --target takes them: underscores for spaces, in any case."""
    found = [name for name in _labels(context) if name.casefold().startswith(incomplete.casefold())]
    return [incomplete + name[len(incomplete) :] for name in found]  # a shell drops what does not begin as it was typed


def _labels(context: Any) -> Iterator[str]:
    given = context.params or {}
    model, labels = given.get("model") or zoo.DEFAULT_MODEL, given.get("labels")
    try:
        card = metadata.read_metadata(Path(model)) if not labels and isinstance(model, str) and zoo.is_model_file(model) else None
        known = class_names.read_labels(Path(labels)) if labels else class_names.imagenet_classes()
        kinds = class_names.find_kinds(known)
        names = card.labels if card else [*(each.label for each in known), *(kind.label for kind in kinds)]
    except HeatreelError:  # it is said when the command runs
        return
    yield from dict.fromkeys(_typed(name) for name in names)


def _typed(name: str) -> str:
    """Without what a shell takes for its own: "crane (bird)" is found as crane_bird too, and "carpenter's kit" as carpenters_kit."""
    return re.sub(r"['()]", "", name).replace(" ", "_")


def _beginning(names: Any, incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
