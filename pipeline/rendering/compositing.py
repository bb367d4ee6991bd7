"""A finished picture: the panels of a canvas filled with frame, heat and label. Pure NumPy and OpenCV; nothing is read or written."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.records import Colour
from pipeline.rendering.colour_planes import INK, Planes, plane_matrix
from pipeline.rendering.heat_blending import Style, lay_heat
from pipeline.rendering.label_box import Caption, draw_label, label_size, lay_patch, list_size, text_size
from pipeline.rendering.layouts import Canvas


def shrink_picture(data: Array, canvas: Canvas, height: int, *, heat_alone: bool = False) -> Array:
    """A finished picture, as compose gives it, at a smaller height: RGB uint8 (height, width, 3); or the first panel with heat alone."""
    whole: Sequence[Array] = _split_planes(data, canvas)
    if heat_alone:
        whole = _cell(whole, canvas, *next((column, row) for kind, _, column, row in canvas.cells if kind in ("overlay", "heat")))
    full_height, full_width = whole[0].shape
    width = max(1, round(full_width * height / full_height))
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in whole]
    matrix, offset = plane_matrix(canvas.colour)
    rgb = (np.stack(planes, axis=2) - offset) @ np.linalg.inv(matrix).T
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)


def _split_planes(data: Array, canvas: Canvas) -> list[Array]:
    step = 2 if canvas.colour.subsampled else 1
    sizes = [(canvas.height, canvas.width), *[(canvas.height // step, canvas.width // step)] * 2]
    ends = np.cumsum([h * w for h, w in sizes])
    return [data[end - h * w : end].reshape(h, w) for end, (h, w) in zip(ends, sizes, strict=True)]


def compose(
    planes: Planes, heats: Sequence[Array], captions: Sequence[Caption], canvas: Canvas, style: Style, *, into: Array | None = None
) -> Array:
    """One finished picture: the canvas' planes one behind the other, uint8 (bytes,), in the memory of an earlier one if that is given.

    `planes` are the frame's at the panel's size, `heats` one uint8 (height, width) for each explanation, `captions` likewise.
    """
    step = 2 if canvas.colour.subsampled else 1
    size = canvas.height * canvas.width + 2 * (canvas.height // step) * (canvas.width // step)
    data = np.empty(size, np.uint8) if into is None else into
    whole = _split_planes(data, canvas)
    for kind, index, column, row in canvas.cells:
        cell = _cell(whole, canvas, column, row)
        panel = _crop(cell, planes)
        if kind == "overlay":
            lay_heat(panel, heats[index], style.overlay, over=planes)
        else:
            _fill(panel, planes if kind == "source" else None, canvas.colour)
        if kind == "heat":
            lay_heat(panel, heats[index], style.heat)
        _pad(cell, panel)
        if canvas.label != "none":
            _lay_label(cell, kind, index, captions, canvas, style)
    return data


def _cell(whole: Sequence[Array], canvas: Canvas, column: int, row: int) -> Planes:
    def part(plane: Array, step: int) -> Array:
        width, height = canvas.cell_width // step, canvas.cell_height // step
        return plane[row * height : (row + 1) * height, column * width : (column + 1) * width]

    step = 2 if canvas.colour.subsampled else 1
    return part(whole[0], 1), part(whole[1], step), part(whole[2], step)


def _crop(cell: Planes, planes: Planes) -> Planes:
    y, u, v = (target[: plane.shape[0], : plane.shape[1]] for target, plane in zip(cell, planes, strict=True))
    return y, u, v


def _fill(panel: Planes, planes: Planes | None, colour: Colour) -> None:
    matrix, offset = plane_matrix(colour)
    sources = planes if planes is not None else [round(float(value)) for value in matrix @ np.array(INK) + offset]
    for target, source in zip(panel, sources, strict=True):
        target[:] = source


def _pad(cell: Planes, panel: Planes) -> None:
    """The padding beside and below a panel of odd size repeats its edge, so that it does not show as a line."""
    for whole, part in zip(cell, panel, strict=True):
        height, width = part.shape
        whole[:height, width:] = part[:, -1:]
        whole[height:] = whole[height - 1 : height]


def _lay_label(cell: Planes, kind: str, index: int, captions: Sequence[Caption], canvas: Canvas, style: Style) -> None:
    """Where there is a panel for the list, that has it all, and of several heats each has its own name alone."""
    listed = any(other == "list" for other, *_ in canvas.cells)
    if kind == "list":
        most = len(captions) - 1 + len(captions[0].rows)  # in a video there are fewer while one that was asked for is among the best
        _lay_list(cell, _list_all_classes(captions), canvas, style.heat_legend, rows=most)
    elif listed and kind == "overlay" and len(captions) > 1:
        alone = Caption(rows=captions[index].rows[:1], note=captions[index].note)
        _lay_caption(cell, alone, canvas, legend=style.overlay_legend)
    elif not listed and kind != "source":
        _lay_caption(cell, captions[index], canvas, legend=style.overlay_legend if kind == "overlay" else style.heat_legend)


def _lay_caption(cell: Planes, caption: Caption, canvas: Canvas, *, legend: bytes = b"") -> None:
    if not (caption.rows or caption.note):
        return
    width, height = canvas.panel_width, canvas.panel_height
    size = label_size(width, height, rows=len(caption.rows), longest=canvas.longest_name, em=text_size(width, height), foot=bool(legend))
    if size is not None:
        x = size.margin if canvas.label.endswith("left") else width // 2 * 2 - size.margin - size.width
        y = size.margin if canvas.label.startswith("top") else height // 2 * 2 - size.margin - size.height
        lay_patch(cell, draw_label(caption, size, colour=canvas.colour, legend=legend), x, y)


def _list_all_classes(captions: Sequence[Caption]) -> Caption:
    """All panels' classes, and then what else the first names."""
    heads = [caption.rows[0] for caption in captions if caption.rows]
    names = {name for name, _ in heads}
    return Caption(
        rows=[*heads, *(row for row in captions[0].rows if row[0] not in names)], note=captions[0].note if len(captions) == 1 else ""
    )


def _lay_list(cell: Planes, caption: Caption, canvas: Canvas, legend: bytes, *, rows: int) -> None:
    """A panel of its own: letters as large as it takes them with so many rows, in the middle of its height."""
    width, height = canvas.panel_width, canvas.panel_height
    size = list_size(width, height, rows=rows, longest=canvas.longest_name)
    if size is not None:
        lay_patch(cell, draw_label(caption, size, colour=canvas.colour, legend=legend), size.margin, (height - size.height) // 4 * 2)
