"""Layouts: which panels a picture has (`--layout`), and where each lies on the canvas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from pipeline.options import LabelPlace, Layout
from pipeline.records import Colour

LAYOUTS: tuple[str, ...] = get_args(Layout)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Where the panels lie: cells of cell_width by cell_height, each (kind, explanation index, column, row).

    All sizes are in pixels. A kind is "source" (the frame alone), "overlay" (heat over the frame), "heat" (heat alone) or "list" (the label
    alone).
    `label` is the corner that the labels have, `longest_name` the width they have to allow for, in heights of its letters.
    """

    panel_width: int
    panel_height: int
    cell_width: int
    cell_height: int
    columns: int
    rows: int
    cells: tuple[tuple[str, int, int, int], ...]
    colour: Colour
    label: LabelPlace = "top-left"
    longest_name: float = 12.0

    @property
    def width(self) -> int:
        """Of the whole picture, in pixels."""
        return self.columns * self.cell_width

    @property
    def height(self) -> int:
        """Of the whole picture, in pixels."""
        return self.rows * self.cell_height


def arrange_panels(
    layout: Layout,
    width: int,
    height: int,
    *,
    explanations: int,
    colour: Colour,
    label: LabelPlace = "top-left",
    longest_name: float = 12.0,
) -> Canvas:
    """The canvas of a layout for panels of that size in pixels, and so many explanations (one for each class explained).

    With chroma at half size cells are padded to even sides; panels keep the true size.
    """
    heats = [("overlay", i) for i in range(explanations)]
    rows: list[list[tuple[str, int]]]
    if layout == "stacked":
        rows = [[panel] for panel in [("source", 0), *heats]]
    elif layout == "grid":
        rows = [[("source", 0), *heats], [("list", 0), *[("heat", i) for _, i in heats]]]
    else:
        rows = [{"side-by-side": [("source", 0), *heats], "overlay": heats, "heatmap": [("heat", i) for _, i in heats]}[layout]]
    even = 2 if colour.subsampled else 1
    return Canvas(
        panel_width=width,
        panel_height=height,
        cell_width=-(-width // even) * even,
        cell_height=-(-height // even) * even,
        columns=len(rows[0]),
        rows=len(rows),
        cells=tuple((kind, i, column, row) for row, panels in enumerate(rows) for column, (kind, i) in enumerate(panels)),
        colour=colour,
        label=label,
        longest_name=longest_name,
    )
