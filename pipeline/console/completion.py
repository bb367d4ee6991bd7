"""What the shell may complete: choices, colour maps, models and class names. Nothing heavy is imported for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from pipeline.errors import HeatreelError
from pipeline.models import find_kinds, imagenet_classes, read_labels, read_metadata, zoo

# OpenCV's, as heat_blending.colormap_names has them; asking it would take longer than anyone waits for a tab.
COLORMAPS = (
    *("autumn", "bone", "cividis", "cool", "deepgreen", "hot", "hsv", "inferno", "jet", "magma", "ocean", "parula", "pink", "plasma"),
    *("rainbow", "spring", "summer", "turbo", "twilight", "twilight_shifted", "viridis", "winter"),
)


Completer = Callable[..., list[str]]


def completer(name: str | None, choices: tuple[str, ...] = ()) -> Completer | None:
    """What completes an option: the function of this module that it names, or else its choices; None where there is neither."""
    if name is not None:
        known: dict[str, Completer] = {"models": models, "classes": classes, "colormaps": colormaps}
        return known[name]
    return _completer_of(choices) if choices else None


def _completer_of(choices: tuple[str, ...]) -> Completer:
    def complete(incomplete: str) -> list[str]:
        return _beginning(choices, incomplete)

    return complete


def colormaps(incomplete: str) -> list[str]:
    """Names of colour maps."""
    return _beginning(COLORMAPS, incomplete)


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
        card = read_metadata(Path(model)) if not labels and isinstance(model, str) and zoo.is_model_file(model) else None
        known = read_labels(Path(labels)) if labels else imagenet_classes()
        kinds = find_kinds(known)
        names = card.labels if card else [*(each.label for each in known), *(kind.label for kind in kinds)]
    except HeatreelError:  # it is said when the command runs
        return
    yield from dict.fromkeys(_typed(name) for name in names)


def _typed(name: str) -> str:
    """Without what a shell takes for its own: "crane (bird)" is found as crane_bird too, and "carpenter's kit" as carpenters_kit."""
    return re.sub(r"['()]", "", name).replace(" ", "_")


def _beginning(names: Any, incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
