"""Photographs in and out: the only reader and writer of still pictures (Pillow)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import CommandError, InputError
from pipeline.records import Geometry

READABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 93, "subsampling": 0},  # thin coloured heat edges smear with subsampled chroma
    ".jpeg": {"quality": 93, "subsampling": 0},
    ".png": {"compress_level": 4},
    ".webp": {"quality": 92},
    ".bmp": {},
    ".tif": {"compression": "tiff_deflate"},
    ".tiff": {"compression": "tiff_deflate"},
}
BACKGROUND = (255, 255, 255)


def output_suffix(path: Path) -> str:
    """The input's own suffix where that format is written here, else .png."""
    return path.suffix if path.suffix.lower() in _SAVE_OPTIONS else ".png"


def check_writable_format(output: Path) -> None:
    """Raises CommandError when the suffix is not one that pictures are written in."""
    if output.suffix.lower() not in _SAVE_OPTIONS:
        raise CommandError(f"{output}: pictures are written as {', '.join(_SAVE_OPTIONS)}", remedy="name one of them with --output")


def check_still(path: Path) -> None:
    """Open the header only. Raises InputError for what is missing, unreadable, empty or no picture."""
    with _opened(path):
        pass


def read_still(path: Path) -> Image.Image:
    """The picture upright (EXIF orientation applied), as 8-bit RGB; transparency lies on white.

    Raises InputError as check_still does, and for a picture that is cut off or too large to be one.
    """
    with _opened(path) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: the picture is damaged ({error})") from error
        return _as_rgb(ImageOps.exif_transpose(image))


def _opened(path: Path) -> Image.Image:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # beyond twice that limit it is an error
            return Image.open(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        hint = "for videos use `visualize video`"
        raise InputError(f"{path}: {'the file is empty' if empty else 'is not a picture'}", remedy="" if empty else hint) from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: the picture is too large ({error})") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a sample; Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (*BACKGROUND, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def network_picture(image: Image.Image, geometry: Geometry) -> np.ndarray[Any, Any]:
    """RGB uint8 (height, width, 3): bicubic with antialiasing, then the geometry's centre."""
    scaled = image.resize((geometry.scaled_width_px, geometry.scaled_height_px), Image.Resampling.BICUBIC)
    left, top = geometry.left_px, geometry.top_px
    return np.asarray(scaled.crop((left, top, left + geometry.width_px, top + geometry.height_px)))


def thumbnail(image: Image.Image, longest_px: int) -> np.ndarray[Any, Any]:
    """RGB uint8, its longer side `longest_px` or less."""
    small = image.copy()
    small.thumbnail((longest_px, longest_px))
    return np.asarray(small)


def with_height(image: Image.Image, height_px: int | None) -> Image.Image:
    if height_px is None or height_px == image.height:
        return image
    return image.resize((max(1, round(image.width * height_px / image.height)), height_px), Image.Resampling.LANCZOS)


def save_still(data: np.ndarray[Any, Any], width: int, height: int, path: Path) -> None:
    """Write planes R, G, B one behind the other, uint8 (3 * height * width,), in the format of the suffix."""
    rgb = np.moveaxis(data.reshape(3, height, width), 0, 2)
    Image.fromarray(np.ascontiguousarray(rgb)).save(path, **_SAVE_OPTIONS[path.suffix.lower()])


# ------------------------------------------------------------------------------------------------ folders of frames


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order (frame2 before frame10), hidden files left out."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in READABLE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    return sorted(found, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Compares runs of digits as numbers and the rest as text."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]


def read_folder(paths: Sequence[Path], *, size: tuple[int, int]) -> Iterator[np.ndarray[Any, Any]]:
    """Each picture as RGB uint8 (height, width, 3); those of another size are fitted into `size` (width, height) on black."""
    for path in paths:
        image = read_still(path)
        yield np.asarray(image if image.size == size else ImageOps.pad(image, size, Image.Resampling.BICUBIC))
