"""The picture: heat blended into a frame's planes, the label box, the layouts. Pure NumPy and OpenCV; nothing is read or written.

Everything is drawn by one rule, out = plane * keep / 255 + add, on whatever three planes the frame has. Planes are affine in RGB
(ITU-R BT.601 and BT.709, equations for Y, Cb, Cr), so blending in them is blending in RGB, without converting a single frame.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.options import LabelPlace, Layout
from pipeline.records import Colour, percent

Planes = tuple[Array, Array, Array]

_KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
WHITE, INK, ACCENT = (255, 255, 255), (14, 16, 20), (255, 178, 38)


@functools.cache
def plane_matrix(colour: Colour) -> tuple[Array, Array]:
    """The affine map from RGB in [0, 255] to the planes' values: a float64 (3, 3) matrix and a (3,) offset."""
    if colour.matrix == "rgb":
        return np.eye(3), np.zeros(3)
    kr, kb = _KR_KB[colour.matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - kb))
    red = (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))
    if colour.full_range:
        return np.stack([luma, blue, red]), np.array([0, 128, 128])
    return np.stack([luma * 219, blue * 224, red * 224]) / 255, np.array([16, 128, 128])


# ------------------------------------------------------------------------------------------------ heat


def colormap_names() -> list[str]:
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


_LUMA, _CHROMA, _ALL = (0,), (1, 2), (0, 1, 2)


def _packed(keep: Array, add: Array, planes: tuple[int, ...]) -> Array:
    columns = [keep, *(add[plane] for plane in planes)]
    columns += [keep] * (len(columns) % 2)  # there is no number of three bytes
    return np.stack(columns, axis=1).view(np.uint16 if len(columns) == 2 else np.int32)[:, 0]


COLD = 0.15  # of the heat's range: below that the frame is untouched


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
    return Blend(keep, add, {planes: _packed(keep, add, planes) for planes in (_LUMA, _CHROMA, _ALL)})


def heat_levels(heat: Array, width: int, height: int, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Array:
    """A map float (h, w) in [0, 1] at the size of a panel: uint8 (height, width), 255 for 1.

    Bicubic with half-pixel centres (a cell's value lies at the cell's middle), clipped to the map's own range; 0 outside `region`.
    """
    levels = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    if region == (0, 0, 1, 1):
        return _enlarged(levels, width, height)
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(region, (width, height) * 2, strict=True))
    full = np.zeros((height, width), np.uint8)
    full[y0:y1, x0:x1] = _enlarged(levels, x1 - x0, y1 - y0)
    return full


def _enlarged(levels: Array, width: int, height: int) -> Array:
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
    for members in (_LUMA, _CHROMA) if planes[1].shape != planes[0].shape else (_ALL,):
        size = planes[members[0]].shape
        fitted = heat if size == heat.shape else cv2.resize(heat, size[::-1], interpolation=cv2.INTER_AREA)
        _mix([over[n] for n in members], [planes[n] for n in members], fitted, blend.packed[members])


_STRIP_ROWS = 128  # what is looked up for so many rows stays in the processor's cache until it is used


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


# ------------------------------------------------------------------------------------------------ range over time


class RunningRange:
    """The heat that counts as full, smoothed over time, so that a video does not flicker.

    A map stretched to its own peak would pulse with every frame. The scale follows the peaks instead: quickly upwards, so
    that new heat does not clip for long, slowly downwards.
    """

    RISE_SECONDS, FALL_SECONDS = 0.15, 1.5

    def __init__(self) -> None:
        self._scale: float | None = None
        self._time_seconds = 0.0

    def scale(self, peak: float, time_seconds: float) -> float:
        """The scale at this time, in the map's units; above 0 as soon as one map was."""
        if self._scale is None or self._scale <= 0:
            self._scale = peak
        else:
            elapsed = max(time_seconds - self._time_seconds, 0)
            lag = self.RISE_SECONDS if peak > self._scale else self.FALL_SECONDS
            self._scale += (peak - self._scale) * (1 - float(np.exp(-elapsed / lag)))
        self._time_seconds = time_seconds
        return self._scale

    def state(self) -> tuple[float, float]:
        """The scale and its time, for `restore`."""
        return (0.0 if self._scale is None else self._scale), self._time_seconds

    def restore(self, state: Sequence[float]) -> None:
        self._scale, self._time_seconds = float(state[0]), float(state[1])


class PanelRanges:
    """For each panel the heat that counts as full, followed over time; `shared` gives all panels one scale.

    The raw maps cannot give that scale: in 200 photographs classes with less than 1 % that are kin to the best one have peaks of a third of
    its (the median; a twentieth have more than 0.6), and maps of eigencam and scorecam are not in the logit's units. So a panel's heat
    goes as high as the square root of its score by the highest of them: to half for a quarter of it, to a tenth for a hundredth.
    """

    def __init__(self, panels: int, *, shared: bool) -> None:
        self._peaks = [RunningRange() for _ in range(panels)]
        self._scores = [RunningRange() for _ in range(panels)] if shared else []

    def begin_anew(self) -> None:
        """Forget what was: another scene begins."""
        self._peaks, self._scores = ([RunningRange() for _ in ranges] for ranges in (self._peaks, self._scores))

    def scales(self, peaks: Array, scores: Array, time_seconds: float) -> list[float]:
        """What counts as full at this time, in each map's units, given the maps' peaks and the scores of the classes they explain."""
        tops = [each.scale(float(peak), time_seconds) for each, peak in zip(self._peaks, peaks, strict=True)]
        return self._shared(tops, [each.scale(float(score), time_seconds) for each, score in zip(self._scores, scores, strict=False)])

    def _shared(self, tops: list[float], scores: list[float]) -> list[float]:
        highest = max(scores, default=0)
        if highest <= 0:
            return tops
        return [top * (highest / max(score, 1e-9)) ** 0.5 for top, score in zip(tops, scores, strict=True)]

    def state(self) -> Array:
        """For `restore`, float (ranges, 2)."""
        return np.array([each.state() for each in (*self._peaks, *self._scores)])

    def restore(self, state: Array) -> list[float]:
        """Go on where `state` was given; returns the scales of that time."""
        for each, value in zip((*self._peaks, *self._scores), state, strict=True):
            each.restore(value)
        values = [float(value[0]) for value in state]
        return self._shared(values[: len(self._peaks)], values[len(self._peaks) :])


# ------------------------------------------------------------------------------------------------ text

# Inter, by the Inter Project Authors, under the SIL Open Font License 1.1 (pipeline/rendering/fonts/Inter-LICENSE.txt).
_FONTS = {"bold": "Inter-SemiBold.otf", "plain": "Inter-Medium.otf"}


@functools.cache
def _font(weight: str, size_px: int) -> ImageFont.FreeTypeFont:
    content = files("pipeline.rendering").joinpath("fonts", _FONTS[weight]).read_bytes()
    return ImageFont.truetype(io.BytesIO(content), size_px)


@functools.lru_cache(maxsize=2000)
def fitting_text(text: str, weight: str, size_px: int, width_px: int) -> str:
    """As much of one line as fits, with an ellipsis where that is not all."""
    font = _font(weight, size_px)
    shown = text = " ".join(text.split())
    while shown and font.getlength(shown) > width_px:
        text = text[:-1]
        shown = f"{text.rstrip()}…" if text else ""
    return shown


class Words(NamedTuple):
    """A piece of text on one line: its letters' height, and how far below the top of the row it begins, in pixels."""

    text: str
    size: int
    down: int


@functools.lru_cache(maxsize=2000)
def fitted_name(text: str, weight: str, size_px: int, width_px: int) -> tuple[Words, ...]:
    """A name in a row for letters of `size_px`, as large as it fits: in smaller letters, else on two lines, else with an ellipsis.

    The row keeps its height in all of these.
    """
    text = " ".join(text.split())
    least = min(size_px, max(LEAST_EM, round(SMALLER * size_px)))
    for size in range(size_px, least - 1, -1):
        if _font(weight, size).getlength(text) <= width_px:
            return (Words(text, size, _ascent(weight, size_px) - _ascent(weight, size)),)  # on the number's base line
    half = int(0.56 * size_px)
    if half < LEAST_EM:
        return (Words(fitting_text(text, weight, least, width_px), least, _ascent(weight, size_px) - _ascent(weight, least)),)
    first, second = _two_lines(text, _font(weight, half), width_px)
    return Words(first, half, 0), Words(fitting_text(second, weight, half, width_px), half, round(1.12 * half))


def _two_lines(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> tuple[str, str]:
    """As many words as fit on the first line, and the rest; a word that is longer than that is broken."""
    breaks = [n for n in range(1, len(text)) if text[n - 1] in " -" and font.getlength(text[:n].rstrip()) <= width_px]
    if not breaks:
        breaks = [n for n in range(1, len(text)) if font.getlength(text[:n]) <= width_px] or [1]
    return text[: breaks[-1]].rstrip(), text[breaks[-1] :]


def _ascent(weight: str, size_px: int) -> int:
    return int(_font(weight, size_px).getmetrics()[0])


@functools.lru_cache(maxsize=2000)
def text_mask(text: str, weight: str, size_px: int, width_px: int) -> Array:
    """One line of text as coverage, uint8 (line height, at most width_px); what does not fit ends in an ellipsis."""
    font, shown = _font(weight, size_px), fitting_text(text, weight, size_px, width_px)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(shown) + 0.5)), ascent + descent), 0)
    ImageDraw.Draw(image).text((0, 0), shown, fill=255, font=font)
    return np.asarray(image)[:, :width_px]


# ------------------------------------------------------------------------------------------------ the label box


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written on a panel: rows of label and score in [0, 1], the first of them large; `note` is a line below."""

    rows: Sequence[tuple[str, float]]
    note: str = ""


@functools.cache
def _opaque(rgb: tuple[int, int, int], colour: Colour) -> Array:
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
        return int(self.layers.shape[1])

    @property
    def width(self) -> int:
        return int(self.layers.shape[2])

    def lay(self, mask: Array, rgb: tuple[int, int, int], x: int, y: int, strength: float = 1.0) -> None:
        self.lay_values(mask, _opaque(rgb, self.colour), x, y, strength)

    def lay_values(self, mask: Array, opaque: Array, x: int, y: int, strength: float = 1.0) -> None:
        """As `lay`, in the planes' own values and a last one of 1: float32 (4, 1 or mask's height, 1 or mask's width)."""
        part = mask[: self.height - y, : self.width - x].astype(np.float32) * np.float32(strength / 255)
        where = self.layers[:, y : y + part.shape[0], x : x + part.shape[1]]
        where += part * (opaque - where)


@functools.lru_cache(maxsize=256)
def _rounded(width: int, height: int, radius: float) -> Array:
    """Coverage of a rounded rectangle, uint8 (height, width), by its distance field."""
    radius = min(radius, width / 2, height / 2)
    x = np.maximum(np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius), 0)
    y = np.maximum(np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius), 0)
    inside = np.clip(radius - np.hypot(x[None], y[:, None]) + 0.5, 0, 1)
    return np.asarray(np.rint(inside * 255), np.uint8)


LEAST_EM = 9  # pixels; smaller letters cannot be read
SMALLER = 0.78  # of their size, to which names shrink before they are broken or cut
LABEL_SHARE = 0.2  # of a panel's area, which the label takes at most
_NUMBER = "88%"  # as wide as numbers are, so that a name keeps its size while they change


def text_size(width: int, height: int) -> int:
    """The height of the label's letters in pixels: in proportion to the panel, and never too small to read."""
    return max(11, round(0.036 * min(width, height)))


@functools.lru_cache(maxsize=16)
def widest_name(names: tuple[str, ...]) -> float:
    """The width of the longest of a model's class names, in heights of its letters."""
    most_letters = sorted(names, key=len)[-20:]  # to measure one takes 0.1 ms
    return max((_font("bold", 100).getlength(name) / 100 for name in most_letters), default=0.0)


class LabelSize(NamedTuple):
    """A label's measures in pixels. They follow from the panel and the model's names, so the box of a video keeps its size."""

    em: int
    width: int
    height: int
    rows: int
    foot: bool  # a line for the colours' scale, or for a note

    @property
    def small(self) -> int:
        return _small(self.em)

    @property
    def margin(self) -> int:
        return _even(0.7 * self.em)

    @property
    def pad(self) -> int:
        return round(0.62 * self.em)


def _small(em: int) -> int:
    return max(LEAST_EM, round(0.8 * em))


@functools.lru_cache(maxsize=64)
def label_size(width: int, height: int, *, rows: int, longest: float, em: int, foot: bool) -> LabelSize | None:
    """The label for a panel of that size: at most LABEL_SHARE of it, letters of `em` pixels at most; None where none can be read.

    First the letters become smaller, by a fifth; then the foot is left out, then row after row; the last may be narrower than the names
    want. `longest` is the longest name in heights of its letters, as `widest_name` gives it.
    """
    least = min(em, max(LEAST_EM, round(0.8 * em)))
    with_foot = [(rows, True, least)] if foot and min(width, height) >= 200 else []
    without = [(rows, False, least), *((count, False, LEAST_EM) for count in range(rows, 0, -1))]
    for count, footed, smallest in with_foot + without if rows else [(0, True, least)]:
        for size in range(em, smallest - 1, -1):
            fitting = _label_size(width, height, count, longest, size, footed)
            most = int(LABEL_SHARE * width * height / fitting.height) // 2 * 2
            if count == 1 and size == LEAST_EM and 11 * size <= most < fitting.width:
                fitting = fitting._replace(width=most)
            if 8 * size <= fitting.width <= most and fitting.height + 2 * fitting.margin <= height:
                return fitting
    return None


def _label_size(width: int, height: int, rows: int, longest: float, em: int, foot: bool) -> LabelSize:
    """For letters of `em` pixels, whatever that takes of the panel's height; as wide as the names want, and the panel lets it."""
    size = LabelSize(em, 0, 0, rows, foot)
    name = min(max(max(SMALLER, LEAST_EM / em) * longest, 7), 15)
    wanted = (name + 0.6 + 2.4) * em + 2 * size.pad
    lines = sum(_steps(size)) - (_gap(em) if rows else 0) + (round(1.5 * size.small) if foot else 0)
    return size._replace(width=min(_even(wanted), (width - 2 * size.margin) // 2 * 2), height=_even(lines + 2 * size.pad))


def _steps(size: LabelSize) -> list[int]:
    """How far each row begins above the next."""
    letters = [size.em, *[size.small] * (size.rows - 1)][: size.rows]
    return [round(1.28 * each) + _bar_height(each) + _gap(size.em) for each in letters]


def _gap(em: int) -> int:
    return round(0.42 * em)


def label_patch(caption: Caption, size: LabelSize, *, colour: Colour, legend: bytes = b"") -> Patch:
    """The label box of that size. In its foot stands the caption's note, else the scale of the colours, if `legend` has them.

    Without a foot the note takes the place of the last row, or its first words stand before the name where there is one row alone.
    """
    rows, below = list(caption.rows[: size.rows]), sum(_steps(size))
    if caption.note and not size.foot and size.rows == 1 and rows:  # there is no other place
        rows = [(f"{caption.note.partition(':')[0]}: {rows[0][0]}", rows[0][1])]
    if caption.note and not size.foot and len(rows) > 1:
        rows.pop()
        below = sum(_steps(size)[:-1])
    lines = tuple(_lines(rows, size))
    shown = _Legend(legend, size.small, size.pad, size.pad + below, size.width - 2 * size.pad) if legend and size.foot else None
    patch = Patch(_box(size.width, size.height, 0.5 * size.em, lines, None if caption.note else shown, colour).copy(), colour)
    for line, (_, score) in zip(lines, rows, strict=True):
        _lay_score(patch, line, score)
    if caption.note and (size.foot or len(rows) < size.rows):
        for words in fitted_name(caption.note, "plain", size.small, size.width - 2 * size.pad):
            patch.lay(text_mask(words.text, "plain", words.size, patch.width), ACCENT, size.pad, size.pad + below + words.down)
    return patch


class _Line(NamedTuple):
    """A row of the label without its score: the name as it fits beside the number, where it stands, and how large it is."""

    name: tuple[Words, ...]
    hot: bool
    size: int
    x: int
    y: int
    width: int

    @property
    def weight(self) -> str:
        return "bold" if self.hot else "plain"

    @property
    def strength(self) -> float:
        return 1.0 if self.hot else 0.82

    @property
    def bar_y(self) -> int:
        return self.y + round(1.28 * self.size)


def _lines(rows: Sequence[tuple[str, float]], size: LabelSize) -> Iterator[_Line]:
    y, width = size.pad, size.width - 2 * size.pad
    for number, ((text, score), step) in enumerate(zip(rows, _steps(size), strict=False)):
        line = _Line((), number == 0, size.small if number else size.em, size.pad, y, width)
        taken = max(text_mask(each, line.weight, line.size, width).shape[1] for each in (percent(score), _NUMBER))
        yield line._replace(name=fitted_name(text, line.weight, line.size, width - taken - round(0.5 * line.size)))
        y += step


class _Legend(NamedTuple):
    """The scale of the colours: the planes' values of the heat levels, uint8 (3, 256) as bytes, and the size and place of its line."""

    colours: bytes
    em: int
    x: int
    y: int
    width: int


def legend_colours(blend: Blend, colour: Colour) -> bytes:
    """How the heat levels look on a middling gray: the planes' values, uint8 (3, 256)."""
    matrix, offset = plane_matrix(colour)
    gray = np.rint(matrix @ np.full(3, 128) + offset)[:, None]
    return np.asarray(np.rint(gray * blend.keep / 255) + blend.add, np.uint8).tobytes()


def _lay_legend(patch: Patch, legend: _Legend) -> None:
    low, high = (text_mask(word, "plain", legend.em, legend.width) for word in ("low", "high"))
    gap, bar = round(0.5 * legend.em), max(3, round(0.36 * legend.em))
    x, width = legend.x + low.shape[1] + gap, legend.width - low.shape[1] - high.shape[1] - 2 * gap
    patch.lay(low, WHITE, legend.x, legend.y, 0.7)
    patch.lay(high, WHITE, legend.x + legend.width - high.shape[1], legend.y, 0.7)
    levels = np.rint(np.linspace(0, 255, width)).astype(np.uint8)
    colours = np.frombuffer(legend.colours, np.uint8).reshape(3, 1, 256)[..., levels].astype(np.float32)
    opaque = np.concatenate([colours, np.ones_like(colours[:1])])
    patch.lay_values(_rounded(width, bar, bar / 2), opaque, x, legend.y + (low.shape[0] - bar) // 2)


@functools.lru_cache(maxsize=8)
def _box(width: int, height: int, radius: float, lines: tuple[_Line, ...], legend: _Legend | None, colour: Colour) -> Array:
    """The layers of a label without its scores, which is mostly the same from frame to frame."""
    patch = Patch(np.zeros((4, height, width), np.float32), colour)
    patch.lay(_rounded(width, height, radius), INK, 0, 0, 0.74)
    for line in lines:
        bar = _bar_height(line.size)
        for words in line.name:
            patch.lay(text_mask(words.text, line.weight, words.size, line.width), WHITE, line.x, line.y + words.down, line.strength)
        patch.lay(_rounded(line.width, bar, bar / 2), WHITE, line.x, line.bar_y, 0.16)
    if legend is not None:
        _lay_legend(patch, legend)
    return patch.layers


def _lay_score(patch: Patch, line: _Line, score: float) -> None:
    number, bar = text_mask(percent(score), line.weight, line.size, line.width), _bar_height(line.size)
    patch.lay(number, WHITE, line.x + line.width - number.shape[1], line.y, line.strength)
    filled = round(line.width * min(max(score, 0), 1))
    if filled:
        patch.lay(_rounded(filled, bar, bar / 2), ACCENT if line.hot else WHITE, line.x, line.bar_y, 1.0 if line.hot else 0.62)


def _even(value: float) -> int:
    return round(value / 2) * 2  # boxes begin and end between two chroma samples


def _bar_height(size: int) -> int:
    return max(2, round(0.17 * size))


def lay_patch(planes: Planes, patch: Patch, x: int, y: int) -> None:
    """Blend a patch into planes at x, y (even), in place."""
    for members in (_LUMA, _CHROMA) if patch.colour.subsampled else (_ALL,):
        step = 2 if members == _CHROMA else 1
        height, width = patch.height // step, patch.width // step
        cover, *adds = (_shrunk_layer(patch.layers[index], width, height) for index in (3, *members))
        keep = cv2.convertScaleAbs(cover, alpha=-255, beta=255)
        for index, add in zip(members, adds, strict=True):
            part = planes[index][y // step : y // step + height, x // step : x // step + width]
            cv2.multiply(part, keep, dst=part, scale=1 / 255)
            cv2.add(part, cv2.convertScaleAbs(add), dst=part)


def _shrunk_layer(layer: Array, width: int, height: int) -> Array:
    return layer if layer.shape == (height, width) else cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)


def picture_grid(pictures: Sequence[Array], texts: Sequence[Sequence[str]]) -> Array:
    """Pictures, RGB uint8 of any size, in a near-square grid with lines of text under each; RGB uint8 (height, width, 3)."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    width, em = (320, 16) if len(pictures) <= 100 else (160, 11)
    tallest = max(round(width * picture.shape[0] / picture.shape[1]) for picture in pictures)
    height, gap, line = min(width * 3 // 4, tallest), em // 2, round(1.5 * em)
    tall = height + line * max(map(len, texts)) + gap
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * (tall + gap) + gap, columns * (width + gap) + gap, 3), INK, np.uint8)
    for number, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        y, x = gap + number // columns * (tall + gap), gap + number % columns * (width + gap)
        scale = min(width / picture.shape[1], height / picture.shape[0])
        w, h = (max(1, round(side * scale)) for side in picture.shape[1::-1])
        small = cv2.resize(np.ascontiguousarray(picture), (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        top, left = y + (height - h) // 2, x + (width - w) // 2
        grid[top : top + h, left : left + w] = small
        for row, text in enumerate(lines):
            mask = text_mask(text, "plain" if row else "bold", em, width)[:line]
            part = grid[y + height + row * line : y + height + row * line + mask.shape[0], x : x + mask.shape[1]]
            part[:] = np.maximum(part, mask[..., None])
    return grid


# ------------------------------------------------------------------------------------------------ layouts


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Where the panels lie: cells of cell_width by cell_height, each (kind, explanation index, column, row).

    `label` is the corner that the labels have, `longest_name` the width they have to allow for, as `widest_name` gives it.
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
        return self.columns * self.cell_width

    @property
    def height(self) -> int:
        return self.rows * self.cell_height


def arrange(
    layout: Layout,
    width: int,
    height: int,
    *,
    explanations: int,
    colour: Colour,
    label: LabelPlace = "top-left",
    longest_name: float = 12.0,
) -> Canvas:
    """The canvas for panels of that size. With chroma at half size cells are padded to even sides; panels keep the true size."""
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


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the heat looks like on a canvas: tables for blending it into the frame and for showing it alone."""

    overlay: Blend
    heat: Blend
    overlay_legend: bytes
    heat_legend: bytes


@functools.lru_cache(maxsize=8)
def make_look(colormap_name: str, alpha: float, colour: Colour) -> Look:
    colours = colormap(colormap_name)
    overlay, heat = (blend_table(colours, strength, colour) for strength in (opacity(alpha), np.ones(256)))
    return Look(overlay=overlay, heat=heat, overlay_legend=legend_colours(overlay, colour), heat_legend=legend_colours(heat, colour))


def shrunk(data: Array, canvas: Canvas, height: int, *, heat_alone: bool = False) -> Array:
    """A finished picture, as compose gives it, at a smaller height: RGB uint8 (height, width, 3); or the first panel with heat alone."""
    whole: Sequence[Array] = _planes_of(data, canvas)
    if heat_alone:
        whole = _cell(whole, canvas, *next((column, row) for kind, _, column, row in canvas.cells if kind in ("overlay", "heat")))
    full_height, full_width = whole[0].shape
    width = max(1, round(full_width * height / full_height))
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in whole]
    matrix, offset = plane_matrix(canvas.colour)
    rgb = (np.stack(planes, axis=2) - offset) @ np.linalg.inv(matrix).T
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)


def _planes_of(data: Array, canvas: Canvas) -> list[Array]:
    step = 2 if canvas.colour.subsampled else 1
    sizes = [(canvas.height, canvas.width), *[(canvas.height // step, canvas.width // step)] * 2]
    ends = np.cumsum([h * w for h, w in sizes])
    return [data[end - h * w : end].reshape(h, w) for end, (h, w) in zip(ends, sizes, strict=True)]


def compose(
    planes: Planes, heats: Sequence[Array], captions: Sequence[Caption], canvas: Canvas, look: Look, *, into: Array | None = None
) -> Array:
    """One finished picture: the canvas' planes one behind the other, uint8 (bytes,), in the memory of an earlier one if that is given.

    `planes` are the frame's at the panel's size, `heats` one uint8 (height, width) for each explanation, `captions` likewise.
    """
    step = 2 if canvas.colour.subsampled else 1
    size = canvas.height * canvas.width + 2 * (canvas.height // step) * (canvas.width // step)
    data = np.empty(size, np.uint8) if into is None else into
    whole = _planes_of(data, canvas)
    for kind, index, column, row in canvas.cells:
        cell = _cell(whole, canvas, column, row)
        panel = _cropped(cell, planes)
        if kind == "overlay":
            lay_heat(panel, heats[index], look.overlay, over=planes)
        else:
            _fill(panel, planes if kind == "source" else None, canvas.colour)
        if kind == "heat":
            lay_heat(panel, heats[index], look.heat)
        _pad(cell, panel)
        if canvas.label != "none":
            _lay_label(cell, kind, index, captions, canvas, look)
    return data


def _cell(whole: Sequence[Array], canvas: Canvas, column: int, row: int) -> Planes:
    def part(plane: Array, step: int) -> Array:
        width, height = canvas.cell_width // step, canvas.cell_height // step
        return plane[row * height : (row + 1) * height, column * width : (column + 1) * width]

    step = 2 if canvas.colour.subsampled else 1
    return part(whole[0], 1), part(whole[1], step), part(whole[2], step)


def _cropped(cell: Planes, planes: Planes) -> Planes:
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


def _lay_label(cell: Planes, kind: str, index: int, captions: Sequence[Caption], canvas: Canvas, look: Look) -> None:
    """Where there is a panel for the list, that has it all, and of several heats each has its own name alone."""
    listed = any(other == "list" for other, *_ in canvas.cells)
    if kind == "list":
        most = len(captions) - 1 + len(captions[0].rows)  # in a video there are fewer while one that was asked for is among the best
        _lay_list(cell, _listed(captions), canvas, look.heat_legend, rows=most)
    elif listed and kind == "overlay" and len(captions) > 1:
        alone = Caption(rows=captions[index].rows[:1], note=captions[index].note)
        _lay_caption(cell, alone, canvas, legend=look.overlay_legend)
    elif not listed and kind != "source":
        _lay_caption(cell, captions[index], canvas, legend=look.overlay_legend if kind == "overlay" else look.heat_legend)


def _lay_caption(cell: Planes, caption: Caption, canvas: Canvas, *, legend: bytes = b"") -> None:
    if not (caption.rows or caption.note):
        return
    width, height = canvas.panel_width, canvas.panel_height
    size = label_size(width, height, rows=len(caption.rows), longest=canvas.longest_name, em=text_size(width, height), foot=bool(legend))
    if size is not None:
        x = size.margin if canvas.label.endswith("left") else width // 2 * 2 - size.margin - size.width
        y = size.margin if canvas.label.startswith("top") else height // 2 * 2 - size.margin - size.height
        lay_patch(cell, label_patch(caption, size, colour=canvas.colour, legend=legend), x, y)


def _listed(captions: Sequence[Caption]) -> Caption:
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
        lay_patch(cell, label_patch(caption, size, colour=canvas.colour, legend=legend), size.margin, (height - size.height) // 4 * 2)


@functools.lru_cache(maxsize=64)
def list_size(width: int, height: int, *, rows: int, longest: float) -> LabelSize | None:
    """The label that fills a panel of that size, with fewer rows where letters would be too small to read; None where not one fits."""
    for count, foot in [(rows, True), *((count, False) for count in range(rows, 0, -1))]:
        for em in range(min(width, height) // 6, LEAST_EM - 1, -1):
            size = _label_size(width, height, count, longest, em, foot)
            room = (width - 2 * size.margin) // 2 * 2
            if (size.width < room or em == LEAST_EM) and room >= 8 * em and size.height + 2 * size.margin <= height:
                return size._replace(width=room)
    return None
