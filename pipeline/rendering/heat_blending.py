"""Heat becomes colour: colour maps, opacity, and blending them into a frame's planes. Pure NumPy and OpenCV."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.records import Colour
from pipeline.rendering.colour_planes import ALL_PLANES, CHROMA, LUMA, Planes, plane_matrix

COLD = 0.15  # of the heat's range: below that the frame is untouched
_STRIP_ROWS = 128  # what is looked up for so many rows stays in the processor's cache until it is used


def colormap_names() -> list[str]:
    """The names that `--colormap` takes: those of OpenCV's colour maps, in lower case, in order."""
    return sorted(name.removeprefix("COLORMAP_").lower() for name in dir(cv2) if name.startswith("COLORMAP_"))


def colormap(name: str) -> Array:
    """256 RGB colours, uint8 (256, 3), cold to hot. Raises CommandError for a name that OpenCV does not know."""
    code = getattr(cv2, f"COLORMAP_{name.upper()}", None)
    if code is None or name != name.lower():
        raise CommandError(f"--colormap {name}: unknown", remedy=f"one of {', '.join(colormap_names())}")
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)
    return np.ascontiguousarray(bgr[:, 0, ::-1])


class Blend(NamedTuple):
    """For each heat level: what is kept of the plane (uint8 (256,)), and what is added to each of the three (uint8 (3, 256)).

    `packed` holds all that one plane or several of a size need byte by byte in one number, uint16 or int32 (256,): one look-up finds it.
    """

    keep: Array
    add: Array
    packed: Mapping[tuple[int, ...], Array]


def _pack(keep: Array, add: Array, planes: tuple[int, ...]) -> Array:
    columns = [keep, *(add[plane] for plane in planes)]
    columns += [keep] * (len(columns) % 2)  # there is no number of three bytes
    return np.stack(columns, axis=1).view(np.uint16 if len(columns) == 2 else np.int32)[:, 0]


def opacity(alpha: float) -> Array:
    """Opacity for each heat level, float (256,): nothing up to COLD, rising smoothly to `alpha` half the range later.

    Under one even veil a frame would lose its own colours where the network does not look, and the colours that maps begin with, which are
    nearly black, would darken it there.
    """
    ramp = np.clip(2 * (np.linspace(0, 1, 256) - COLD), 0, 1)
    return alpha * ramp * ramp * (3 - 2 * ramp)


def blend_table(colours: Array, strength: Array, colour: Colour) -> Blend:
    """Tables for colours uint8 (256, 3) RGB laid over planes with `strength` float (256,) in [0, 1]."""
    matrix, offset = plane_matrix(colour)
    values = colours.astype(np.float64) @ matrix.T + offset
    keep = np.rint(255 * (1 - strength))
    add = np.rint(np.clip(values * (1 - keep / 255)[:, None], 0, 255)).T.astype(np.uint8)
    keep = keep.astype(np.uint8)
    return Blend(keep, add, {planes: _pack(keep, add, planes) for planes in (LUMA, CHROMA, ALL_PLANES)})


def heat_levels(heat: Array, width: int, height: int, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Array:
    """A map float (h, w) in [0, 1] at the size of a panel: uint8 (height, width), 255 for 1.

    Bicubic with half-pixel centres (a cell's value lies at the cell's middle), clipped to the map's own range; 0 outside `region`.
    """
    levels = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    if region == (0, 0, 1, 1):
        return _enlarge(levels, width, height)
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(region, (width, height) * 2, strict=True))
    full = np.zeros((height, width), np.uint8)
    full[y0:y1, x0:x1] = _enlarge(levels, x1 - x0, y1 - y0)
    return full


def _enlarge(levels: Array, width: int, height: int) -> Array:
    # Where there is AVX2 alone, Intel's IPP within OpenCV takes ten times as long for this as OpenCV's own kernel, and its last bits are
    # others. The setting is the thread's.
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        large = cv2.resize(levels, (width, height), interpolation=cv2.INTER_CUBIC)
    finally:
        cv2.ipp.setUseIPP(before)
    return np.clip(large, levels.min(), levels.max(), out=large)


def lay_heat(planes: Planes, heat: Array, blend: Blend, *, over: Planes | None = None) -> None:
    """Blend heat levels uint8 (height, width) into three planes, in place, or `over` others of their size, which stay as they are.

    Smaller chroma planes take the heat at their own size.
    """
    over = planes if over is None else over
    for members in (LUMA, CHROMA) if planes[1].shape != planes[0].shape else (ALL_PLANES,):
        size = planes[members[0]].shape
        fitted = heat if size == heat.shape else cv2.resize(heat, size[::-1], interpolation=cv2.INTER_AREA)
        _mix([over[n] for n in members], [planes[n] for n in members], fitted, blend.packed[members])


def _mix(sources: Sequence[Array], targets: Sequence[Array], heat: Array, table: Array) -> None:
    """target = source * keep / 255 + add for planes of one size, keep and add looked up at once for each heat level."""
    count, size = table.itemsize, (min(_STRIP_ROWS, heat.shape[0]), heat.shape[1])
    packed, parts = np.empty(size, table.dtype), [np.empty(size, np.uint8) for _ in range(count)]
    for top in range(0, heat.shape[0], _STRIP_ROWS):
        strip = np.s_[top : top + _STRIP_ROWS]
        rows = heat[strip].shape[0]
        cv2.LUT(heat[strip], table, dst=packed[:rows])
        keep, *adds = [part[:rows] for part in parts]
        cv2.split(packed[:rows].view(np.uint8).reshape(rows, -1, count), [keep, *adds])
        for source, target, add in zip(sources, targets, adds, strict=False):
            part = target[strip]
            cv2.multiply(source[strip], keep, dst=part, scale=1 / 255)
            cv2.add(part, add, dst=part)


def legend_colours(blend: Blend, colour: Colour) -> bytes:
    """How the heat levels look on a middling gray: the planes' values, uint8 (3, 256) as bytes."""
    matrix, offset = plane_matrix(colour)
    gray = np.rint(matrix @ np.full(3, 128) + offset)[:, None]
    return np.asarray(np.rint(gray * blend.keep / 255) + blend.add, np.uint8).tobytes()


@dataclass(frozen=True, kw_only=True)
class Style:
    """What the heat looks like on a canvas: tables for blending it into the frame and for showing it alone."""

    overlay: Blend
    heat: Blend
    overlay_legend: bytes
    heat_legend: bytes


@functools.lru_cache(maxsize=8)
def make_style(colormap_name: str, alpha: float, colour: Colour) -> Style:
    """The tables for a colour map of that name and an opacity `alpha` in [0, 1]. Raises CommandError as `colormap` does."""
    colours = colormap(colormap_name)
    overlay, heat = (blend_table(colours, strength, colour) for strength in (opacity(alpha), np.ones(256)))
    return Style(overlay=overlay, heat=heat, overlay_legend=legend_colours(overlay, colour), heat_legend=legend_colours(heat, colour))
