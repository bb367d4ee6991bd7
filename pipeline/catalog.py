"""The models that come by name, as data."""

from __future__ import annotations

import csv
import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from pipeline.errors import CommandError, ModelError
from pipeline.records import ClassName


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model of the zoo.

    `short_side_px` is the short side of a frame for which the network sees what it was trained to see (the side before the
    standard crop of `input_px`); `stride` is the input size of one cell of its map.
    """

    name: str
    input_px: int
    short_side_px: int
    stride: int


DEFAULT = "efficientnet_lite0"
ENTRIES = {entry.name: entry for entry in (Entry(name=DEFAULT, input_px=224, short_side_px=256, stride=32),)}


def entry(name: str) -> Entry:
    """Raises ModelError for an unknown name."""
    try:
        return ENTRIES[name]
    except KeyError:
        raise ModelError(f"--model {name}: no such model", remedy=f"known are {', '.join(ENTRIES)}") from None


@functools.cache
def imagenet_classes() -> tuple[ClassName, ...]:
    """The 1000 classes of ImageNet-1k in the order of every model trained on it."""
    with files("pipeline").joinpath("data/imagenet_classes.csv").open(encoding="utf-8") as file:
        return tuple(ClassName(index=int(row["index"]), wnid=row["wnid"], label=row["label"]) for row in csv.DictReader(file))


def find_class(wanted: str, classes: Sequence[ClassName]) -> ClassName:
    """The class of that index, wnid or label (any case; spaces and underscores alike).

    Raises CommandError when there is none, with the nearest labels, or when a label belongs to several.
    """
    if wanted.isdigit():
        if int(wanted) < len(classes):
            return classes[int(wanted)]
        raise CommandError(f"--target {wanted}: the model has {len(classes)} classes, 0 to {len(classes) - 1}")
    key = _key(wanted)
    found = [name for name in classes if key in (_key(name.label), name.wnid)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{name.wnid or name.index} ({name.index})" for name in found)
        raise CommandError(f"--target {wanted}: several classes have this name", remedy=f"give one by its id: {several}")
    near = difflib.get_close_matches(key, [_key(name.label) for name in classes], n=4, cutoff=0.5)
    inside = [_key(name.label) for name in classes if key in _key(name.label)][:4]
    hint = f"near to it: {', '.join(dict.fromkeys(inside + near))}" if inside or near else "give a class name, wnid or index"
    raise CommandError(f"--target {wanted}: the model has no such class", remedy=hint)


def _key(label: str) -> str:
    return label.replace("_", " ").casefold().strip()
