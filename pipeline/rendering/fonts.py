"""The font of labels, charts and contact sheets: Inter, by the Inter Project Authors, under the SIL Open Font License 1.1.

Its files and its licence lie in `pipeline/rendering/fonts/`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from PIL import ImageFont

Weight = Literal["bold", "plain"]
_FILES: Mapping[Weight, str] = {"bold": "Inter-SemiBold.otf", "plain": "Inter-Medium.otf"}


@contextmanager
def open_font_file(weight: Weight) -> Iterator[Path]:
    """The path of the font's file, for libraries that read it themselves; it exists until the context ends."""
    with as_file(files("pipeline.rendering").joinpath("fonts", _FILES[weight])) as path:
        yield path


@functools.cache
def load_font(weight: Weight, size_px: int) -> ImageFont.FreeTypeFont:
    """The font for Pillow, with letters of `size_px` pixels per em. Each size is loaded once in a process."""
    with open_font_file(weight) as path:
        return ImageFont.truetype(io.BytesIO(path.read_bytes()), size_px)  # the file need not stay where it is
