"""Images out: the formats that are written, and pixels brought to what goes into them (Pillow)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.arrays import Array
from pipeline.errors import CommandError, OutputError

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 93, "subsampling": 0},  # thin coloured heat edges smear with subsampled chroma
    ".jpeg": {"quality": 93, "subsampling": 0},
    ".png": {"compress_level": 4},
    ".webp": {"quality": 92},
    ".bmp": {},
    ".tif": {"compression": "tiff_deflate"},
    ".tiff": {"compression": "tiff_deflate"},
    ".avif": {"quality": 90, "subsampling": "4:4:4", "speed": 8},
}
_LONGEST_PX = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383, ".avif": 65_536}
_OTHER_OUTPUTS = {".heic": ".jpg", ".heif": ".jpg"}  # photographs that are read here and not written


def output_suffix(path: Path) -> str:
    """The input's own suffix where that format is written here, .jpg for .heic, else .png."""
    suffix = path.suffix.lower()
    return path.suffix if suffix in _SAVE_OPTIONS else _OTHER_OUTPUTS.get(suffix, ".png")


def check_writable_format(output: Path) -> None:
    """Raises CommandError when the suffix is not one that pictures are written in."""
    if output.suffix.lower() not in _SAVE_OPTIONS:
        raise CommandError(f"{output}: pictures are written as {', '.join(_SAVE_OPTIONS)}", remedy="name one of them with --output")


def make_thumbnail(image: Image.Image, longest_px: int) -> Array:
    """RGB uint8, its longer side `longest_px` or less."""
    small = image.copy()
    small.thumbnail((longest_px, longest_px))
    return np.asarray(small)


def resize_to_height(image: Image.Image, height_px: int | None) -> Image.Image:
    """The image at another height, its aspect kept; None keeps the height too."""
    if height_px is None or height_px == image.height:
        return image
    return image.resize((max(1, round(image.width * height_px / image.height)), height_px), Image.Resampling.LANCZOS)


def merge_planes(planes: Iterable[Array]) -> Image.Image:
    """A picture of planes R, G, B, each uint8 (height, width)."""
    return Image.merge("RGB", [Image.fromarray(plane) for plane in planes])


def save_image(planes: Array, path: Path) -> None:
    """Write planes R, G, B, uint8 (3, height, width), in the format of the suffix.

    Raises OutputError when the format does not hold a picture of that size.
    """
    suffix, (_, height, width) = path.suffix.lower(), planes.shape
    longest = _LONGEST_PX.get(suffix)
    if longest is not None and max(width, height) > longest:
        message = f"{path.name}: {width} x {height} pixels, and {suffix} holds no more than {longest} a side"
        raise OutputError(message, remedy="name a .png with --output, or lower --height")
    merge_planes(planes).save(path, **_SAVE_OPTIONS[suffix])
