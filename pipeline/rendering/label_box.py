"""The label on a panel: how large it is, and its rows, score bars, note and colour scale as a patch that is blended in."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.records import Colour, percent
from pipeline.rendering.colour_planes import ACCENT, ALL_PLANES, CHROMA, INK, LUMA, WHITE, Planes, plane_matrix
from pipeline.rendering.fonts import Weight, load_font
from pipeline.rendering.text_rendering import SHRINK, SMALLEST_EM_PX, TextRun, draw_text_mask, fit_name


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written on a panel: rows of label and score in [0, 1], the first of them large; `note` is a line below."""

    rows: Sequence[tuple[str, float]]
    note: str = ""


@functools.cache
def _opaque_colour(rgb: tuple[int, int, int], colour: Colour) -> Array:
    matrix, offset = plane_matrix(colour)
    return np.array([*(matrix @ rgb + offset), 1], np.float32)[:, None, None]


class Patch:
    """A small picture under construction, elements laid over each other: `layers` float32 (4, height, width).

    The first three are the planes' values premultiplied by coverage, the last is the coverage. Planes are affine in RGB, so elements may
    be laid in planes as well, each layer by itself.
    """

    def __init__(self, layers: Array, colour: Colour) -> None:
        self.layers, self.colour = layers, colour

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.layers.shape[1])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.layers.shape[2])

    def lay(self, mask: Array, rgb: tuple[int, int, int], x: int, y: int, strength: float = 1.0) -> None:
        """Lay a colour, RGB in [0, 255], where `mask`, uint8 (height, width), covers; x, y is the mask's upper left corner."""
        self.lay_values(mask, _opaque_colour(rgb, self.colour), x, y, strength)

    def lay_values(self, mask: Array, opaque: Array, x: int, y: int, strength: float = 1.0) -> None:
        """As `lay`, in the planes' own values and a last one of 1: float32 (4, 1 or mask's height, 1 or mask's width)."""
        part = mask[: self.height - y, : self.width - x].astype(np.float32) * np.float32(strength / 255)
        where = self.layers[:, y : y + part.shape[0], x : x + part.shape[1]]
        where += part * (opaque - where)


@functools.lru_cache(maxsize=256)
def _rounded_rectangle(width: int, height: int, radius: float) -> Array:
    """Coverage of a rounded rectangle, uint8 (height, width), by its distance field."""
    radius = min(radius, width / 2, height / 2)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius), 0)
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius), 0)
    inside = np.clip(radius - np.hypot(x[None], y[:, None]) + 0.5, 0, 1)
    return np.asarray(np.rint(inside * 255), np.uint8)


LABEL_SHARE = 0.2  # of a panel's area, which the label takes at most
_NUMBER = "88%"  # as wide as numbers are, so that a name keeps its size while they change


def text_size(width: int, height: int) -> int:
    """The height of the label's letters in pixels: in proportion to the panel, and never too small to read."""
    return max(11, round(0.036 * min(width, height)))


@functools.lru_cache(maxsize=16)
def measure_longest_name(names: tuple[str, ...]) -> float:
    """The width of the longest of a model's class names, in heights of its letters."""
    most_letters = sorted(names, key=len)[-20:]  # to measure one takes 0.1 ms
    return max((load_font("bold", 100).getlength(name) / 100 for name in most_letters), default=0.0)


class LabelSize(NamedTuple):
    """A label's measures in pixels. They follow from the panel and the model's names, so the box of a video keeps its size."""

    em: int
    width: int
    height: int
    rows: int
    foot: bool  # a line for the colours' scale, or for a note

    @property
    def small(self) -> int:
        """The letters' height in pixels in every row but the first."""
        return _small(self.em)

    @property
    def margin(self) -> int:
        """The room between the box and the panel's edge."""
        return _round_to_even(0.7 * self.em)

    @property
    def pad(self) -> int:
        """The room between the box's edge and what is in it."""
        return round(0.62 * self.em)


def _small(em: int) -> int:
    return max(SMALLEST_EM_PX, round(0.8 * em))


@functools.lru_cache(maxsize=64)
def label_size(width: int, height: int, *, rows: int, longest: float, em: int, foot: bool) -> LabelSize | None:
    """The label for a panel of that size: at most LABEL_SHARE of it, letters of `em` pixels at most; None where none can be read.

    First the letters become smaller, by a fifth; then the foot is left out, then row after row; the last may be narrower than the names
    want. `longest` is the longest name in heights of its letters, as `measure_longest_name` gives it.
    """
    least = min(em, max(SMALLEST_EM_PX, round(0.8 * em)))
    with_foot = [(rows, True, least)] if foot and min(width, height) >= 200 else []
    without = [(rows, False, least), *((count, False, SMALLEST_EM_PX) for count in range(rows, 0, -1))]
    for count, footed, smallest in with_foot + without if rows else [(0, True, least)]:
        for size in range(em, smallest - 1, -1):
            fitting = _label_size(width, height, count, longest, size, footed)
            most = int(LABEL_SHARE * width * height / fitting.height) // 2 * 2
            if count == 1 and size == SMALLEST_EM_PX and 11 * size <= most < fitting.width:
                fitting = fitting._replace(width=most)
            if 8 * size <= fitting.width <= most and fitting.height + 2 * fitting.margin <= height:
                return fitting
    return None


def _label_size(width: int, height: int, rows: int, longest: float, em: int, foot: bool) -> LabelSize:
    """For letters of `em` pixels, whatever that takes of the panel's height; as wide as the names want, and the panel lets it."""
    size = LabelSize(em, 0, 0, rows, foot)
    name = min(max(max(SHRINK, SMALLEST_EM_PX / em) * longest, 7), 15)
    wanted = (name + 0.6 + 2.4) * em + 2 * size.pad
    lines = sum(_row_heights(size)) - (_gap(em) if rows else 0) + (round(1.5 * size.small) if foot else 0)
    return size._replace(width=min(_round_to_even(wanted), (width - 2 * size.margin) // 2 * 2), height=_round_to_even(lines + 2 * size.pad))


def _row_heights(size: LabelSize) -> list[int]:
    """How far each row begins above the next."""
    letters = [size.em, *[size.small] * (size.rows - 1)][: size.rows]
    return [round(1.28 * each) + _bar_height(each) + _gap(size.em) for each in letters]


def _gap(em: int) -> int:
    return round(0.42 * em)


def draw_label(caption: Caption, size: LabelSize, *, colour: Colour, legend: bytes = b"") -> Patch:
    """The label box of that size. In its foot stands the caption's note, else the scale of the colours, if `legend` has them.

    Without a foot the note takes the place of the last row, or its first words stand before the name where there is one row alone.
    """
    rows, below = list(caption.rows[: size.rows]), sum(_row_heights(size))
    if caption.note and not size.foot and size.rows == 1 and rows:  # there is no other place
        rows = [(f"{caption.note.partition(':')[0]}: {rows[0][0]}", rows[0][1])]
    if caption.note and not size.foot and len(rows) > 1:
        rows.pop()
        below = sum(_row_heights(size)[:-1])
    lines = tuple(_layout_rows(rows, size))
    shown = _Legend(legend, size.small, size.pad, size.pad + below, size.width - 2 * size.pad) if legend and size.foot else None
    patch = Patch(_draw_box(size.width, size.height, 0.5 * size.em, lines, None if caption.note else shown, colour).copy(), colour)
    for line, (_, score) in zip(lines, rows, strict=True):
        _lay_score(patch, line, score)
    if caption.note and (size.foot or len(rows) < size.rows):
        for words in fit_name(caption.note, "plain", size.small, size.width - 2 * size.pad):
            patch.lay(draw_text_mask(words.text, "plain", words.size, patch.width), ACCENT, size.pad, size.pad + below + words.down)
    return patch


class _Line(NamedTuple):
    """A row of the label without its score: the name as it fits beside the number, where it stands, and how large it is."""

    name: tuple[TextRun, ...]
    hot: bool
    size: int
    x: int
    y: int
    width: int

    @property
    def weight(self) -> Weight:
        return "bold" if self.hot else "plain"

    @property
    def strength(self) -> float:
        return 1.0 if self.hot else 0.82

    @property
    def bar_y(self) -> int:
        return self.y + round(1.28 * self.size)


def _layout_rows(rows: Sequence[tuple[str, float]], size: LabelSize) -> Iterator[_Line]:
    y, width = size.pad, size.width - 2 * size.pad
    for number, ((text, score), step) in enumerate(zip(rows, _row_heights(size), strict=False)):
        line = _Line((), number == 0, size.small if number else size.em, size.pad, y, width)
        taken = max(draw_text_mask(each, line.weight, line.size, width).shape[1] for each in (percent(score), _NUMBER))
        yield line._replace(name=fit_name(text, line.weight, line.size, width - taken - round(0.5 * line.size)))
        y += step


class _Legend(NamedTuple):
    """The scale of the colours: the planes' values of the heat levels, uint8 (3, 256) as bytes, and the size and place of its line."""

    colours: bytes
    em: int
    x: int
    y: int
    width: int


def _lay_legend(patch: Patch, legend: _Legend) -> None:
    low, high = (draw_text_mask(word, "plain", legend.em, legend.width) for word in ("low", "high"))
    gap, bar = round(0.5 * legend.em), max(3, round(0.36 * legend.em))
    x, width = legend.x + low.shape[1] + gap, legend.width - low.shape[1] - high.shape[1] - 2 * gap
    patch.lay(low, WHITE, legend.x, legend.y, 0.7)
    patch.lay(high, WHITE, legend.x + legend.width - high.shape[1], legend.y, 0.7)
    levels = np.rint(np.linspace(0, 255, width)).astype(np.uint8)
    colours = np.frombuffer(legend.colours, np.uint8).reshape(3, 1, 256)[..., levels].astype(np.float32)
    opaque = np.concatenate([colours, np.ones_like(colours[:1])])
    patch.lay_values(_rounded_rectangle(width, bar, bar / 2), opaque, x, legend.y + (low.shape[0] - bar) // 2)


@functools.lru_cache(maxsize=8)
def _draw_box(width: int, height: int, radius: float, lines: tuple[_Line, ...], legend: _Legend | None, colour: Colour) -> Array:
    """The layers of a label without its scores, which is mostly the same from frame to frame."""
    patch = Patch(np.zeros((4, height, width), np.float32), colour)
    patch.lay(_rounded_rectangle(width, height, radius), INK, 0, 0, 0.74)
    for line in lines:
        bar = _bar_height(line.size)
        for words in line.name:
            patch.lay(draw_text_mask(words.text, line.weight, words.size, line.width), WHITE, line.x, line.y + words.down, line.strength)
        patch.lay(_rounded_rectangle(line.width, bar, bar / 2), WHITE, line.x, line.bar_y, 0.16)
    if legend is not None:
        _lay_legend(patch, legend)
    return patch.layers


def _lay_score(patch: Patch, line: _Line, score: float) -> None:
    number, bar = draw_text_mask(percent(score), line.weight, line.size, line.width), _bar_height(line.size)
    patch.lay(number, WHITE, line.x + line.width - number.shape[1], line.y, line.strength)
    filled = round(line.width * min(max(score, 0), 1))
    if filled:
        patch.lay(_rounded_rectangle(filled, bar, bar / 2), ACCENT if line.hot else WHITE, line.x, line.bar_y, 1.0 if line.hot else 0.62)


def _round_to_even(value: float) -> int:
    return round(value / 2) * 2  # boxes begin and end between two chroma samples


def _bar_height(size: int) -> int:
    return max(2, round(0.17 * size))


def lay_patch(planes: Planes, patch: Patch, x: int, y: int) -> None:
    """Blend a patch into planes at x, y (even), in place."""
    for members in (LUMA, CHROMA) if patch.colour.subsampled else (ALL_PLANES,):
        step = 2 if members == CHROMA else 1
        height, width = patch.height // step, patch.width // step
        cover, *adds = (_shrink_layer(patch.layers[index], width, height) for index in (3, *members))
        keep = cv2.convertScaleAbs(cover, alpha=-255, beta=255)
        for index, add in zip(members, adds, strict=True):
            part = planes[index][y // step : y // step + height, x // step : x // step + width]
            cv2.multiply(part, keep, dst=part, scale=1 / 255)
            cv2.add(part, cv2.convertScaleAbs(add), dst=part)


def _shrink_layer(layer: Array, width: int, height: int) -> Array:
    return layer if layer.shape == (height, width) else cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)


@functools.lru_cache(maxsize=64)
def list_size(width: int, height: int, *, rows: int, longest: float) -> LabelSize | None:
    """The label that fills a panel of that size, with fewer rows where letters would be too small to read; None where not one fits."""
    for count, foot in [(rows, True), *((count, False) for count in range(rows, 0, -1))]:
        for em in range(min(width, height) // 6, SMALLEST_EM_PX - 1, -1):
            size = _label_size(width, height, count, longest, em, foot)
            room = (width - 2 * size.margin) // 2 * 2
            if (size.width < room or em == SMALLEST_EM_PX) and room >= 8 * em and size.height + 2 * size.margin <= height:
                return size._replace(width=room)
    return None
