"""One line of text as pixels: what fits into a width, in which size, and its coverage mask. Pure Pillow and NumPy."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import Array
from pipeline.rendering.fonts import Weight, load_font

SMALLEST_EM_PX = 9  # smaller letters cannot be read
SHRINK = 0.78  # of their size, to which names shrink before they are broken or cut


@functools.lru_cache(maxsize=2000)
def fit_text(text: str, weight: Weight, size_px: int, width_px: int) -> str:
    """As much of the text as fits on one line of `width_px`, with an ellipsis where that is not all; white space is one space."""
    font = load_font(weight, size_px)
    shown = text = " ".join(text.split())
    while shown and font.getlength(shown) > width_px:
        text = text[:-1]
        shown = f"{text.rstrip()}…" if text else ""
    return shown


class TextRun(NamedTuple):
    """A piece of text on one line: its letters' height, and how far below the top of the row it begins, in pixels."""

    text: str
    size: int
    down: int


@functools.lru_cache(maxsize=2000)
def fit_name(text: str, weight: Weight, size_px: int, width_px: int) -> tuple[TextRun, ...]:
    """A name in a row for letters of `size_px`, as large as it fits: in smaller letters, else on two lines, else with an ellipsis.

    The row keeps its height in all of these.
    """
    text = " ".join(text.split())
    least = min(size_px, max(SMALLEST_EM_PX, round(SHRINK * size_px)))
    for size in range(size_px, least - 1, -1):
        if load_font(weight, size).getlength(text) <= width_px:
            return (TextRun(text, size, _ascent(weight, size_px) - _ascent(weight, size)),)  # on the number's base line
    half = int(0.56 * size_px)
    if half < SMALLEST_EM_PX:
        return (TextRun(fit_text(text, weight, least, width_px), least, _ascent(weight, size_px) - _ascent(weight, least)),)
    first, second = _break_in_two(text, load_font(weight, half), width_px)
    return TextRun(first, half, 0), TextRun(fit_text(second, weight, half, width_px), half, round(1.12 * half))


def _break_in_two(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> tuple[str, str]:
    """As many words as fit on the first line, and the rest; a word that is longer than that is broken."""
    breaks = [n for n in range(1, len(text)) if text[n - 1] in " -" and font.getlength(text[:n].rstrip()) <= width_px]
    if not breaks:
        breaks = [n for n in range(1, len(text)) if font.getlength(text[:n]) <= width_px] or [1]
    return text[: breaks[-1]].rstrip(), text[breaks[-1] :]


def _ascent(weight: Weight, size_px: int) -> int:
    return int(load_font(weight, size_px).getmetrics()[0])


@functools.lru_cache(maxsize=2000)
def draw_text_mask(text: str, weight: Weight, size_px: int, width_px: int) -> Array:
    """One line of text as coverage, uint8 (line height, at most width_px); what does not fit ends in an ellipsis."""
    font, shown = load_font(weight, size_px), fit_text(text, weight, size_px, width_px)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(shown) + 0.5)), ascent + descent), 0)
    ImageDraw.Draw(image).text((0, 0), shown, fill=255, font=font)
    return np.asarray(image)[:, :width_px]
