"""Folders of labelled pictures and classes of a model: which folder means which class."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.datasets import Dataset
from pipeline.errors import CommandError
from pipeline.models import find_classes, nearest_labels
from pipeline.records import ClassName, printable

MAX_NAMED = 8  # folders that are no class, in the error


def match_classes(data: Dataset, classes: Sequence[ClassName], *, model: str) -> list[int | None]:
    """The index of the class that each label of the data means, by its label or wnid; None for a folder without a picture that means none.

    Raises CommandError for folders of pictures that are no class of the model, with the nearest, or several.
    """
    found: list[int | None] = []
    wrong: list[str] = []
    for label, count in zip(data.labels, data.counts, strict=True):
        same = find_classes(label, classes)
        found.append(same[0].index if len(same) == 1 else None)
        if count and len(same) != 1:
            wrong.append(_explain_mismatch(label, same, classes, suggest=len(wrong) < MAX_NAMED))
    if wrong:
        folders = "a folder is no class" if len(wrong) == 1 else f"{len(wrong)} folders are no classes"
        more = f" and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        raise CommandError(
            f"{data.root}: {folders} of {model}: {'; '.join(wrong[:MAX_NAMED])}{more}",
            remedy="name folders as the model's classes or their wnids, or name its classes with --labels",
        )
    return found


def _explain_mismatch(label: str, same: Sequence[ClassName], classes: Sequence[ClassName], *, suggest: bool) -> str:
    if same:
        return f"{printable(label)} (several classes: {', '.join(name.wnid or str(name.index) for name in same)})"
    near = nearest_labels(label, classes)[:3] if suggest else []
    return f"{printable(label)} ({'near to it: ' + ', '.join(near) if near else 'nothing is near to it'})"
