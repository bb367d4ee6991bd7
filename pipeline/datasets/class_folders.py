"""Labelled pictures: a folder for each class, or train/ and val/ with those inside. What is wrong with one is found before it is used."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError, KindError
from pipeline.files import PICTURE_SUFFIXES, refuse_address
from pipeline.media import images
from pipeline.records import natural_key, printable

Part = Literal["train", "val"]

_PARTS: dict[str, Part] = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_LEFT_OUT = {"test", "testing"}  # kept for later by those who have a train/ and a val/


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled picture: its path below the root, and a number into the dataset's labels; `part` is None where all are one."""

    path: Path
    name: str
    label: int
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a folder holds, in natural order. `unreadable` has name and reason of pictures that cannot be opened."""

    root: Path
    labels: Sequence[str]
    examples: Sequence[Example]
    unreadable: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()

    @property
    def empty(self) -> list[str]:
        """Classes without a picture that can be opened."""
        return [label for number, label in enumerate(self.labels) if not self.counts[number]]

    @property
    def counts(self) -> list[int]:
        """Pictures of each class."""
        found = Counter(example.label for example in self.examples)
        return [found[number] for number in range(len(self.labels))]


def load_dataset(root: Path, *, max_megapixels: float | None = None) -> Dataset:
    """Look at every picture's header. Hidden files are passed over, and so is what has neither the suffix nor the content of a picture.

    Raises InputError when it is an address or no folder, when it holds no class folders, or classes whose names differ in case or Unicode
    form alone.
    """
    refuse_address(root)
    parts = _find_parts(root)
    labels = sorted({folder.name for folders in parts.values() for folder in folders}, key=natural_key)
    if not labels:
        raise InputError(f"{root}: holds no folders", remedy="give a folder with one folder of pictures for each class")
    _refuse_collisions(root, labels)
    examples, unreadable, others = _check_pictures(root, parts, labels, max_megapixels)
    if not examples:
        raise InputError(f"{root}: there is no picture in its class folders ({', '.join(map(printable, labels[:10]))})")
    warnings = _list_warnings(root, parts, unreadable, others)
    return Dataset(root=root, labels=labels, examples=examples, unreadable=unreadable, warnings=warnings)


def _check_pictures(
    root: Path, parts: dict[Part | None, list[Path]], labels: Sequence[str], max_megapixels: float | None
) -> tuple[list[Example], list[tuple[str, str]], int]:
    """The pictures whose header can be read; name and reason of those that cannot; how many other files there are."""
    examples: list[Example] = []
    unreadable: list[tuple[str, str]] = []
    others = 0
    for part, folders in parts.items():
        for folder in sorted(folders, key=lambda path: natural_key(path.name)):
            for path in _files_below(folder):
                name = str(path.relative_to(root))
                try:
                    images.check_image(path, max_megapixels=max_megapixels)
                except InputError as error:
                    if path.suffix.lower() in PICTURE_SUFFIXES:
                        unreadable.append((name, error.what if isinstance(error, KindError) else str(error)))
                    else:
                        others += 1
                else:
                    examples.append(Example(path=path, name=name, label=labels.index(folder.name), part=part))
    return examples, unreadable, others


def _find_parts(root: Path) -> dict[Part | None, list[Path]]:
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{root}: cannot be read as a folder of class folders: {error.strerror or error}") from error
    named = {path.name.casefold(): path for path in folders}
    if not any(_PARTS.get(name) == "train" for name in named) or not named.keys() <= _PARTS.keys() | _LEFT_OUT:
        return {None: folders}
    parts: dict[Part | None, list[Path]] = defaultdict(list)
    for name, folder in named.items():
        if name in _PARTS:
            parts[_PARTS[name]] += [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return parts


def _refuse_collisions(root: Path, labels: Sequence[str]) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[unicodedata.normalize("NFKC", label).casefold().strip()].append(label)
    for names in alike.values():
        if len(names) > 1:
            shown = " and ".join(repr(name) for name in names)
            raise InputError(f"{root}: the classes {shown} have the same name but for case or form", remedy="rename or join the folders")


def _files_below(folder: Path) -> Iterator[Path]:
    for here, below, names in os.walk(folder):
        below[:] = sorted((name for name in below if not name.startswith(".")), key=natural_key)
        yield from (Path(here, name) for name in sorted(names, key=natural_key) if not name.startswith("."))


def _list_warnings(root: Path, parts: dict[Part | None, list[Path]], unreadable: Sequence[tuple[str, str]], others: int) -> list[str]:
    warnings = []
    if unreadable:
        first = "; ".join(reason for _, reason in unreadable[:3])
        warnings.append(f"{_count(len(unreadable), 'picture')} cannot be read and left out: {first}{' ...' if len(unreadable) > 3 else ''}")
    if others:
        warnings.append(f"{_count(others, 'file')} in the class folders left out: no pictures")
    loose = sum(1 for path in root.iterdir() if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES)
    if loose:
        warnings.append(f"{_count(loose, 'picture')} directly in {root} left out: no class folder says what they show")
    if None not in parts and (root / "test").is_dir():
        warnings.append(f"{root / 'test'} is left out: only train and val are looked at")
    return warnings


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


# ------------------------------------------------------------------------------------------------ training and validation


def check_trainable(dataset: Dataset) -> None:
    """Raises InputError when a classifier cannot be trained on it: one class, an empty one, or too few pictures to validate on."""
    if len(dataset.labels) < 2:
        raise InputError(
            f"{dataset.root}: has one class only, {dataset.labels[0]!r}", remedy="a classifier needs two or more class folders"
        )
    if dataset.empty:
        names = ", ".join(map(repr, dataset.empty))
        raise InputError(f"{dataset.root}: no readable picture of {names}", remedy="put pictures there, or remove the folder")
    for part in {example.part for example in dataset.examples}:
        counts = Counter(example.label for example in dataset.examples if example.part == part)
        needed = 2 if part is None else 1
        few = [label for number, label in enumerate(dataset.labels) if counts[number] < needed and part != "val"]
        if few:
            where = f"{dataset.root}/train" if part else f"{dataset.root}"
            raise InputError(
                f"{where}: fewer than {_count(needed, 'picture')} of {', '.join(map(repr, few))}", remedy="add pictures of each class"
            )


def split_dataset(dataset: Dataset, *, val: float, seed: int) -> Dataset:
    """The same with a part for every picture: that of its folder where there is train/ and val/, else drawn.

    Every class gives the fraction `val` of its pictures, as near as whole pictures allow and one at least; the same
    seed draws the same.
    """
    if any(example.part == "val" for example in dataset.examples):
        return dataset
    from sklearn.model_selection import train_test_split

    chosen: set[int] = set()
    for label in range(len(dataset.labels)):
        numbers = [number for number, example in enumerate(dataset.examples) if example.label == label]
        count = min(max(1, round(val * len(numbers))), len(numbers) - 1)
        chosen |= set(train_test_split(numbers, test_size=count, random_state=seed)[1])
    examples = [replace(example, part="val" if number in chosen else "train") for number, example in enumerate(dataset.examples)]
    return replace(dataset, examples=examples)


def class_weights(labels: Sequence[int], *, uneven: float) -> Any:
    """float32 (classes,), for the loss: all 1, or in inverse proportion where the largest has `uneven` times the smallest's.

    Balanced as scikit-learn has it: n / (classes * n_c), from G. King and L. Zeng, "Logistic Regression in Rare Events Data" (2001).
    """
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    counts = np.bincount(labels)
    if counts.max() < uneven * counts.min():
        return np.ones(len(counts), np.float32)
    return compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels).astype(np.float32)
