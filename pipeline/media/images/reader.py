"""Images in: what a file is, whether it may be opened, and its pixels upright and in RGB (Pillow, pi-heif)."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import Image, UnidentifiedImageError

from pipeline.errors import HeatreelError, InputError, KindError
from pipeline.files import (
    HEAD_BYTES,
    JPEG_STREAM_SUFFIXES,
    describe_other_type,
    detect_image_format,
    detect_type,
    is_webp_animated,
    name_other_type,
)
from pipeline.media.images.rgb_conversion import convert_to_rgb

_BITS_PER_SAMPLE, _ORIENTATION, _PLANES = 258, 274, 284  # tags of TIFF 6.0 and EXIF 2.32
DEFAULT_MAX_MEGAPIXELS = 200.0
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def check_image(path: Path, *, max_megapixels: float | None = None) -> tuple[str, ...]:
    """Open the header only; what the user should know of the picture, such as that it is the first of many.

    Raises InputError for what is missing, unreadable, empty, no file, no picture, or larger than `max_megapixels` (None: 200).
    """
    with open_image(path, max_megapixels) as image:
        return _warn_of_more(image)


def read_image(path: Path, *, max_megapixels: float | None = None, data: bytes | None = None) -> Image.Image:
    """The picture upright (EXIF orientation applied), as 8-bit RGB; transparency lies on white. Of an animation the first frame.

    `data` is what the file holds, where it is read already: then it is not opened.

    Raises InputError as check_image does, and for a picture that is cut off or damaged.
    """
    with open_image(path, max_megapixels, data) as image:
        return decode_upright(path, image)


def detect_image_kind(path: Path) -> Literal["still", "animated", "animated webp"] | None:
    """What a file is by its content, whatever its name; None for what is no picture, or one that cannot be opened."""
    if path.suffix.lower() in JPEG_STREAM_SUFFIXES:  # a bare stream of JPEGs begins as a JPEG does
        return None
    try:
        with open_image_file(path) as file:
            head = file.read(HEAD_BYTES)
        if detect_image_format(head) == "WEBP":  # not opened: its decoder would make the canvas, however large
            return "animated webp" if is_webp_animated(head) else "still"
        if detect_image_format(head) is None:
            return None
        with open_image(path, float("inf")) as image:
            return "animated" if image.format in _ANIMATED and count_frames(image) > 1 else "still"
    except InputError:
        return None


@contextmanager
def open_image(path: Path, max_megapixels: float | None, data: bytes | None = None) -> Iterator[Image.Image]:
    """An image of which only the header is read, open within the block, from `data` where the file is read already.

    Raises InputError as check_image does.
    """
    with open_image_file(path) if data is None else BytesIO(data) as file:
        head = file.read(HEAD_BYTES)
        name = detect_image_format(head)
        if name is None:
            raise _explain_no_image(path, head, file)
        _check_size(path, _measure_webp_canvas(head) if name == "WEBP" else (0, 0), max_megapixels)
        file.seek(0)
        try:
            image = identify_image(name, file)
        except HeatreelError:
            raise
        except UnidentifiedImageError:
            reason = "its header is damaged, or of a kind that is not read here"
            raise InputError(f"{path}: the {name} cannot be opened: {reason}") from None
        except Exception as error:  # hostile bytes make readers raise nearly anything, from struct.error to MemoryError
            raise damage_error(path, error) from error
        _check_size(path, image.size, max_megapixels)
        yield image


def open_image_file(path: Path) -> BinaryIO:
    """A plain file, open to be read. Raises InputError for what is missing, unreadable, or no file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    # To open a named pipe would be to wait for whoever writes to it.
    raise InputError(f"{path}: is a folder, and there is no picture in it" if stat.S_ISDIR(mode) else f"{path}: is not a file")


def _explain_no_image(path: Path, head: bytes, file: BinaryIO) -> InputError:
    """Why a file is not read here, by what it is."""
    if not head:
        return InputError(f"{path}: the file is empty")
    if path.name.startswith("._"):
        return InputError(f"{path}: is a macOS metadata file, not a picture", remedy=f"the picture itself is {path.name[2:]}")
    other = name_other_type(head)
    if other is not None:
        return KindError(f"{path}: {describe_other_type(other, 'not a picture')}")
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    if detect_type(file, size_bytes=size_bytes) == "video":
        return KindError(f"{path}: is a video", remedy="use `visualize video`")
    return KindError(f"{path}: is neither a picture nor a video of a kind that is known here", remedy="check the file")


def damage_error(path: Path, error: Exception) -> InputError:
    """What is told of an image whose reader has stumbled, with the reader's own reason; to be raised from its error."""
    return InputError(f"{path}: the picture is damaged ({str(error) or type(error).__name__})")


def _check_size(path: Path, size: tuple[int, int], max_megapixels: float | None) -> None:
    megapixels, limit = size[0] * size[1] / 1e6, DEFAULT_MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
    if megapixels > limit:
        raise InputError(
            f"{path}: the picture is too large: {megapixels:.3g} megapixels ({size[0]} x {size[1]}), above the limit of {limit:g}",
            remedy="raise it with --max-megapixels",
        )


def _measure_webp_canvas(head: bytes) -> tuple[int, int]:
    """Width and height of an extended WebP, (0, 0) for the others, which cannot be large: the decoder makes its canvas when opened."""
    if head[12:16] != b"VP8X" or len(head) < 30:
        return 0, 0
    return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1


_pillow_limit = threading.Lock()


def identify_image(name: str, file: BinaryIO) -> Image.Image:
    """The header of an image in a format of that name, by the one reader for it. Raises whatever that reader raises."""
    if name == "HEIF":
        from pi_heif import HeifImageFile

        return HeifImageFile(file)  # type: ignore[no-any-return]  # it publishes no types
    # Pillow's own limit is one number for the whole process: it goes aside for as long as a header takes, and comes back.
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=(name,))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _warn_of_more(image: Image.Image) -> tuple[str, ...]:
    count = count_frames(image)
    if count > 1 and image.format in _ANIMATED:
        return (f"animated: the first of {count} frames; `visualize video` shows them all",)
    if count > 1 and image.format in ("TIFF", "HEIF"):
        return (f"the file holds {count} pictures; {'the main one' if image.format == 'HEIF' else 'the first'} is shown",)
    return ()


def count_frames(image: Image.Image) -> int:
    """How many images an open file holds, at least 1."""
    try:
        return int(getattr(image, "n_frames", 1))  # a GIF is read to its end for it
    except Exception:  # damaged behind the first frame, which may be whole
        return 1


def refuse_unreadable_tiff(path: Path, image: Image.Image) -> None:
    """Raises InputError for a TIFF of which Pillow would read noise."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == 2 and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise InputError(f"{path}: is a TIFF of separate colour planes with more than 8 bits, which is not read here")


def decode_upright(path: Path, image: Image.Image, *, repair: Callable[[Image.Image], Image.Image] | None = None) -> Image.Image:
    """The pixels of an open image in 8-bit RGB, upright; `repair` is given them before they are turned. Raises InputError."""
    refuse_unreadable_tiff(path, image)
    try:
        image.load()
        turn = _TURNS.get(_read_orientation(image))
        rgb = convert_to_rgb(image)
        if repair is not None:
            rgb = repair(rgb)
        return rgb if turn is None else rgb.transpose(turn)
    except HeatreelError:
        raise
    except Exception as error:  # see open_image
        raise damage_error(path, error) from error


def _read_orientation(image: Image.Image) -> int:
    """EXIF's; 1 where TIFF, HEIF and AVIF readers have turned the picture themselves, and where there is nothing legible."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except HeatreelError:
        raise
    except Exception:  # a mangled EXIF block costs the picture no pixel
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as they are upright, from the header alone: Pillow would decode a PNG to look for EXIF behind its pixels."""
    turned = "exif" in image.info and _read_orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else image.size
