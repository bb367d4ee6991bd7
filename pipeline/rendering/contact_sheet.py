"""A contact sheet: pictures in a grid with lines of text under each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.rendering.colour_planes import INK
from pipeline.rendering.text_rendering import draw_text_mask


def draw_contact_sheet(pictures: Sequence[Array], texts: Sequence[Sequence[str]]) -> Array:
    """Pictures, RGB uint8 of any size, in a near-square grid with lines of text under each; RGB uint8 (height, width, 3)."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    width, em = (320, 16) if len(pictures) <= 100 else (160, 11)
    tallest = max(round(width * picture.shape[0] / picture.shape[1]) for picture in pictures)
    height, gap, line = min(width * 3 // 4, tallest), em // 2, round(1.5 * em)
    tall = height + line * max(map(len, texts)) + gap
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (tall + gap) + gap, columns * (width + gap) + gap, 3), INK, np.uint8)
    for number, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        y, x = gap + number // columns * (tall + gap), gap + number % columns * (width + gap)
        _place(picture, sheet[y : y + height, x : x + width])
        for row, text in enumerate(lines):
            mask = draw_text_mask(text, "plain" if row else "bold", em, width)[:line]
            part = sheet[y + height + row * line : y + height + row * line + mask.shape[0], x : x + mask.shape[1]]
            part[:] = np.maximum(part, mask[..., None])
    return sheet


def _place(picture: Array, cell: Array) -> None:
    """Draw the picture as large as it fits into the middle of a cell, RGB uint8 (height, width, 3)."""
    height, width = cell.shape[:2]
    scale = min(width / picture.shape[1], height / picture.shape[0])
    w, h = (max(1, round(side * scale)) for side in picture.shape[1::-1])
    top, left = (height - h) // 2, (width - w) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cell[top : top + h, left : left + w] = cv2.resize(np.ascontiguousarray(picture), (w, h), interpolation=interpolation)
