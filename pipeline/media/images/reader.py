"""Pictures in and out, alone, animated or as a folder of frames: the only reader and writer of picture files (Pillow, pi-heif)."""

from __future__ import annotations

import bisect
import itertools
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.arrays import Array
from pipeline.errors import CommandError, HeatreelError, InputError, KindError, OutputError
from pipeline.files.file_types import (
    HEAD_BYTES,
    JPEG_STREAM_SUFFIXES,
    PICTURE_SUFFIXES,
    kind_by_content,
    name_other,
    picture_format,
    say_other,
    webp_moves,
)
from pipeline.records import natural_key

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
BACKGROUND = (255, 255, 255)
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
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _PLANES, _SAMPLE_FORMAT = 258, 262, 274, 284, 339  # tags of TIFF 6.0 and EXIF 2.32


def output_suffix(path: Path) -> str:
    """The input's own suffix where that format is written here, .jpg for .heic, else .png."""
    suffix = path.suffix.lower()
    return path.suffix if suffix in _SAVE_OPTIONS else _OTHER_OUTPUTS.get(suffix, ".png")


def check_writable_format(output: Path) -> None:
    """Raises CommandError when the suffix is not one that pictures are written in."""
    if output.suffix.lower() not in _SAVE_OPTIONS:
        raise CommandError(f"{output}: pictures are written as {', '.join(_SAVE_OPTIONS)}", remedy="name one of them with --output")


# ------------------------------------------------------------------------------------------------ one picture


def check_still(path: Path, *, max_megapixels: float | None = None) -> tuple[str, ...]:
    """Open the header only; what the user should know of the picture, such as that it is the first of many.

    Raises InputError for what is missing, unreadable, empty, no file, no picture, or larger than `max_megapixels` (None: 200).
    """
    with _opened(path, max_megapixels) as image:
        return _said_of(image)


def read_still(path: Path, *, max_megapixels: float | None = None) -> Image.Image:
    """The picture upright (EXIF orientation applied), as 8-bit RGB; transparency lies on white. Of an animation the first frame.

    Raises InputError as check_still does, and for a picture that is cut off or damaged.
    """
    with _opened(path, max_megapixels) as image:
        return _decoded(path, image)


class WhatDecodes(NamedTuple):
    """A picture as `read_still` gives it; `missing` says what of it did not decode and how that is filled, None where all did."""

    image: Image.Image
    missing: str | None


def read_what_decodes(path: Path, *, max_megapixels: float | None = None) -> WhatDecodes:
    """As read_still, but of a picture that is cut off or damaged what comes before the damage.

    Raises InputError as check_still does, and where not a row decodes; WebP, HEIC, AVIF and packed TIFF decode as a whole or not at all.
    Damage that a decoder does not complain of is not seen: within a JPEG's pixels that is most, for they carry no checksum.
    """
    with _opened(path, max_megapixels) as image:
        try:
            _refuse_noise(path, image)
            image.load()
        except (HeatreelError, MemoryError) as error:
            raise error if isinstance(error, HeatreelError) else _damaged(path, error) from error
        except Exception as error:  # see _opened
            return _salvaged(path, image, error, max_megapixels)
        return WhatDecodes(_decoded(path, image), None)


def kind_of(path: Path) -> Literal["still", "animated", "animated webp"] | None:
    """What a file is by its content, whatever its name; None for what is no picture, or one that cannot be opened."""
    if path.suffix.lower() in JPEG_STREAM_SUFFIXES:  # a bare stream of JPEGs begins as a JPEG does
        return None
    try:
        with _open_file(path) as file:
            head = file.read(HEAD_BYTES)
        if picture_format(head) == "WEBP":  # not opened: its decoder would make the canvas, however large
            return "animated webp" if webp_moves(head) else "still"
        if picture_format(head) is None:
            return None
        with _opened(path, float("inf")) as image:
            return "animated" if image.format in _ANIMATED and _frame_count(image) > 1 else "still"
    except InputError:
        return None


@contextmanager
def _opened(path: Path, max_megapixels: float | None) -> Iterator[Image.Image]:
    with _open_file(path) as file:
        head = file.read(HEAD_BYTES)
        name = picture_format(head)
        if name is None:
            raise _no_picture(path, head, file)
        _check_size(path, _canvas_of_webp(head) if name == "WEBP" else (0, 0), max_megapixels)
        file.seek(0)
        try:
            image = _identified(name, file)
        except HeatreelError:
            raise
        except UnidentifiedImageError:
            reason = "its header is damaged, or of a kind that is not read here"
            raise InputError(f"{path}: the {name} cannot be opened: {reason}") from None
        except Exception as error:  # hostile bytes make readers raise nearly anything, from struct.error to MemoryError
            raise _damaged(path, error) from error
        _check_size(path, image.size, max_megapixels)
        yield image


def _open_file(path: Path) -> BinaryIO:
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


def _no_picture(path: Path, head: bytes, file: BinaryIO) -> InputError:
    """Why a file is not read here, by what it is."""
    if not head:
        return InputError(f"{path}: the file is empty")
    if path.name.startswith("._"):
        return InputError(f"{path}: is a macOS metadata file, not a picture", remedy=f"the picture itself is {path.name[2:]}")
    other = name_other(head)
    if other is not None:
        return KindError(f"{path}: {say_other(other, 'not a picture')}")
    file.seek(0)
    if kind_by_content(file, size_bytes=os.fstat(file.fileno()).st_size) == "video":
        return KindError(f"{path}: is a video", remedy="use `visualize video`")
    return KindError(f"{path}: is neither a picture nor a video of a kind that is known here", remedy="check the file")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: the picture is damaged ({str(error) or type(error).__name__})")


def _check_size(path: Path, size: tuple[int, int], max_megapixels: float | None) -> None:
    megapixels, limit = size[0] * size[1] / 1e6, DEFAULT_MAX_MEGAPIXELS if max_megapixels is None else max_megapixels
    if megapixels > limit:
        raise InputError(
            f"{path}: the picture is too large: {megapixels:.3g} megapixels ({size[0]} x {size[1]}), above the limit of {limit:g}",
            remedy="raise it with --max-megapixels",
        )


def _canvas_of_webp(head: bytes) -> tuple[int, int]:
    """Width and height of an extended WebP, (0, 0) for the others, which cannot be large: the decoder makes its canvas when opened."""
    if head[12:16] != b"VP8X" or len(head) < 30:
        return 0, 0
    return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1


_opening = threading.Lock()


def _identified(name: str, file: BinaryIO) -> Image.Image:
    if name == "HEIF":
        from pi_heif import HeifImageFile

        return HeifImageFile(file)  # type: ignore[no-any-return]  # it publishes no types
    # Pillow's own limit is one number for the whole process: it goes aside for as long as a header takes, and comes back.
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=(name,))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _said_of(image: Image.Image) -> tuple[str, ...]:
    count = _frame_count(image)
    if count > 1 and image.format in _ANIMATED:
        return (f"animated: the first of {count} frames; `visualize video` shows them all",)
    if count > 1 and image.format in ("TIFF", "HEIF"):
        return (f"the file holds {count} pictures; {'the main one' if image.format == 'HEIF' else 'the first'} is shown",)
    return ()


def _frame_count(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))  # a GIF is read to its end for it
    except Exception:  # damaged behind the first frame, which may be whole
        return 1


def _refuse_noise(path: Path, image: Image.Image) -> None:
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == 2 and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:  # Pillow would read noise
        raise InputError(f"{path}: is a TIFF of separate colour planes with more than 8 bits, which is not read here")


def _decoded(path: Path, image: Image.Image, decoded: Array | None = None) -> Image.Image:
    """Upright RGB; where bool (height, width) `decoded` says so, without what was never written by the decoder."""
    _refuse_noise(path, image)
    try:
        image.load()
        turn = _TURNS.get(_orientation(image))
        rgb = _as_rgb(image)
        if decoded is not None:
            rgb = _filled(rgb, decoded)
        return rgb if turn is None else rgb.transpose(turn)
    except HeatreelError:
        raise
    except Exception as error:  # see _opened
        raise _damaged(path, error) from error


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1 where TIFF, HEIF and AVIF readers have turned the picture themselves, and where there is nothing legible."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except HeatreelError:
        raise
    except Exception:  # a mangled EXIF block costs the picture no pixel
        return 1


# ------------------------------------------------------------------------------------------------ what is cut off

# Pillow's switch for such files, LOAD_TRUNCATED_IMAGES, is one for all threads, and does not say which files it was needed for. But a
# picture whose loading fails keeps the pixels that were decoded until then. Which those are is found by loading it twice, on black and
# on white: what comes out the same was decoded.

_END_OF_JPEG = b"\xff\xd9"
_STRIP_ROWS = 256


def _salvaged(path: Path, black: Image.Image, error: Exception, max_megapixels: float | None) -> WhatDecodes:
    """What there is of a picture whose loading has just failed. Raises InputError where that is nothing."""
    try:
        _give_up_rest(black)
        with _opened(path, max_megapixels) as white:
            _load_on_white(white)
            decoded = _agreeing(black, white)
        completed = _completed_jpeg(path) if black.format in ("JPEG", "MPO") else None
        if completed is not None and (decoded.any() or black.info.get("progressive")):
            image = _decoded(path, completed)
            if image.getcolors(1) is None:  # not one colour all over
                return WhatDecodes(image, _missing(error, decoded))
        elif decoded.any(axis=1).any():
            return WhatDecodes(_decoded(path, black, decoded), _missing(error, decoded))
    except HeatreelError:
        raise
    except Exception:  # there is nothing to be had of it
        pass
    raise _damaged(path, error) from error


def _give_up_rest(image: Image.Image) -> None:
    """Make do with the pixels that a failed loading has left; what it does at its end is done."""
    if getattr(image, "tile", None):
        image.tile = []  # type: ignore[attr-defined]  # ImageFile's
        with suppress(Exception):
            image.load_end()  # type: ignore[attr-defined]


def _load_on_white(image: Image.Image) -> None:
    prepare = image.load_prepare  # type: ignore[attr-defined]  # ImageFile's: makes the memory that is decoded into

    def prepare_white() -> None:
        prepare()
        bands = image.im.bands
        image.im.paste(255 if bands == 1 else (255,) * bands, (0, 0, *image.im.size))

    image.load_prepare = prepare_white  # type: ignore[attr-defined]
    with suppress(Exception):
        image.load()
    _give_up_rest(image)


def _agreeing(first: Image.Image, second: Image.Image) -> Array:
    """Bool (height, width): where two pictures of one size are the same."""
    same = np.empty((first.height, first.width), bool)
    for top in range(0, first.height, _STRIP_ROWS):  # in strips: two large pictures as arrays would take gigabytes
        box = (0, top, first.width, min(top + _STRIP_ROWS, first.height))
        equal = np.asarray(first.crop(box)) == np.asarray(second.crop(box))
        same[top : box[3]] = equal if equal.ndim == 2 else equal.all(axis=2)
    return same


def _completed_jpeg(path: Path) -> Image.Image | None:
    """A JPEG with the end that it lacks: libjpeg then gives all that it has, the unfinished row of blocks and coarse scans too."""
    try:
        image = _identified("JPEG", BytesIO(path.read_bytes() + _END_OF_JPEG))
        image.load()
        return image
    except Exception:  # it is damaged in another way
        return None


def _filled(rgb: Image.Image, decoded: Array) -> Image.Image:
    """Gray where nothing was decoded; in what is interlaced the nearest pixel above and to the left that an earlier pass has brought."""
    pixels, known = np.array(rgb), decoded.copy()
    if _is_interlaced(decoded):
        rows, columns = (np.arange(length) for length in decoded.shape)
        for step in (1, 3, 7):  # passes lie in squares of 2, 4 and 8 (GIF89a, appendix E; PNG, 8.2)
            for above, left in ((step, 0), (0, step), (step, step)):
                places = np.ix_(rows & ~above, columns & ~left)
                fills = decoded[places] & ~known
                pixels[fills] = pixels[places][fills]
                known |= fills
    pixels[~known] = 128
    return Image.fromarray(pixels)


def _is_interlaced(decoded: Array) -> bool:
    """Whether what was decoded lies in more than one piece, from above or, as in a BMP, from below."""
    some = decoded.any(axis=1).astype(int)
    partly = decoded.any(axis=1) & ~decoded.all(axis=1)
    return int(np.abs(np.diff(some)).sum()) > 1 or int(partly.sum()) > 1


def _missing(error: Exception, decoded: Array) -> str:
    share = float(decoded.mean())
    ends = "truncated" in str(error).lower()
    where = "the file ends" if ends else "the file is damaged"
    if share == 1:
        return f"{where}{' behind its last row' if ends else ', and nothing tells where'} ({error})"
    if share == 0:
        return f"{where} before the picture is complete: what decodes of it is coarse, or gray"
    percents = max(1, min(99, int(100 * share)))
    if _is_interlaced(decoded):
        return f"{where} after about {percents} % of its pixels; the others are filled in from these"
    return f"{where} after about {percents} % of its rows; the rest is gray"


# ------------------------------------------------------------------------------------------------ pixels of all kinds


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion would clip them to white
        return _eight_bits(image)
    if image.mode in ("CMYK", "LAB"):
        return _through_profile(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size, BACKGROUND)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits or floating point as RGB; what is transparent by its value becomes white."""
    values = np.asarray(image)
    if image.mode == "I" and getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0] == 1:
        values = values.view(np.uint32)  # Pillow calls all whole numbers signed
    black, white = _black_and_white(image, values)
    gray = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 256):  # in strips: as float64 a large picture would take gigabytes
        strip = np.nan_to_num(values[top : top + 256].astype(np.float64), nan=min(black, white), posinf=max(black, white))
        gray[top : top + 256] = ((strip - black) * (255 / (white - black))).round().clip(0, 255)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray[values == clear] = 255
    return Image.fromarray(gray).convert("RGB")


def _black_and_white(image: Image.Image, values: Array) -> tuple[float, float]:
    """The values that are black and white: 0 and all bits set of 16-bit gray, 0 and 1 of floating point.

    Where the numbers say something else: 0 and 255 or 65535 if these fit, or else the darkest and the brightest.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        white = float((1 << min(int(tags.get(_BITS_PER_SAMPLE, (16,))[0]), 16)) - 1)
        return (white, 0.0) if tags.get(_PHOTOMETRIC) == 0 else (0.0, white)  # 0: WhiteIsZero
    if image.mode == "I" and image.format != "TIFF":
        return 0.0, 65535.0  # PGM, which Pillow has scaled to this
    finite = values[np.isfinite(values)] if image.mode == "F" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode == "F" and low >= 0 and high <= 1:
        return 0.0, 1.0
    tops = (255.0, 32767.0 if tags.get(_BITS_PER_SAMPLE) == (16,) else 65535.0, 4294967295.0)  # TIFF's integers, 16 bits only if signed
    # What is lit to less than a sixteenth of a scale has another one.
    scale = next((top for top in tops if low >= 0 and top / 16 < high <= top), None)
    if scale is not None:
        return 0.0, scale
    return (low, high) if low < high else (0.0, 255.0)


def _through_profile(image: Image.Image) -> Image.Image:
    """CMYK as its embedded profile says, or else by the simple rule of ink on white; LAB of the white point D50."""
    from PIL import ImageCms

    embedded = image.info.get("icc_profile")
    try:
        profile = (
            ImageCms.createProfile("LAB") if image.mode == "LAB" else ImageCms.ImageCmsProfile(BytesIO(embedded)) if embedded else None
        )
        if profile is not None:
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None, "not in place"
            return converted
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a profile of another colour space, or none at all
        pass
    return image.convert("RGB")


def thumbnail(image: Image.Image, longest_px: int) -> Array:
    """RGB uint8, its longer side `longest_px` or less."""
    small = image.copy()
    small.thumbnail((longest_px, longest_px))
    return np.asarray(small)


def with_height(image: Image.Image, height_px: int | None) -> Image.Image:
    if height_px is None or height_px == image.height:
        return image
    return image.resize((max(1, round(image.width * height_px / image.height)), height_px), Image.Resampling.LANCZOS)


def merged(planes: Iterable[Array]) -> Image.Image:
    """A picture of planes R, G, B, each uint8 (height, width)."""
    return Image.merge("RGB", [Image.fromarray(plane) for plane in planes])


def save_still(planes: Array, path: Path) -> None:
    """Write planes R, G, B, uint8 (3, height, width), in the format of the suffix.

    Raises OutputError when the format does not hold a picture of that size.
    """
    suffix, (_, height, width) = path.suffix.lower(), planes.shape
    longest = _LONGEST_PX.get(suffix)
    if longest is not None and max(width, height) > longest:
        message = f"{path.name}: {width} x {height} pixels, and {suffix} holds no more than {longest} a side"
        raise OutputError(message, remedy="name a .png with --output, or lower --height")
    merged(planes).save(path, **_SAVE_OPTIONS[suffix])


# ------------------------------------------------------------------------------------------------ folders of frames, animations


@dataclass(frozen=True, kw_only=True)
class PictureSequence:
    """A folder of frames, or an animated picture: pictures with times, in place of a video file.

    `path` is the folder or the animated file; `files` has one for each frame of a folder, or the one file of an animation.
    `times_seconds` are multiples of `time_base`, the first is 0; `end_seconds` is when the last frame ends. The size is that of
    the first picture, upright; others are fitted into it on black.
    """

    path: Path
    files: Sequence[Path]
    times_seconds: Sequence[Fraction]
    end_seconds: Fraction
    time_base: Fraction
    width_px: int
    height_px: int
    max_megapixels: float | None = None
    warnings: Sequence[str] = ()

    @property
    def frame_rate(self) -> Fraction:
        """Frames in a second, on average."""
        return len(self.times_seconds) / self.end_seconds

    def between(self, start_seconds: float | None, end_seconds: float | None) -> range:
        """The numbers of the frames that begin at or after the start and before the end; a nanosecond counts as nothing."""
        first = bisect.bisect_left(self.times_seconds, Fraction(start_seconds or 0) - _NOTHING_SECONDS)
        if end_seconds is None:
            return range(first, len(self.times_seconds))
        return range(first, bisect.bisect_left(self.times_seconds, Fraction(end_seconds) - _NOTHING_SECONDS))

    def seconds(self, numbers: range) -> Fraction:
        """How long these frames are shown."""
        ends = (*self.times_seconds[1:], self.end_seconds)
        return ends[numbers[-1]] - self.times_seconds[numbers[0]]


_NOTHING_SECONDS = Fraction(1, 10**9)


def open_folder(folder: Path, *, fps: Fraction, allow_gaps: bool = False, max_megapixels: float | None = None) -> PictureSequence:
    """A folder of frames in natural order, `fps` of them in a second; the header of every one is looked at.

    Raises InputError when there are none, one cannot be opened, or the numbers in their names have a gap that is not allowed.
    """
    files = pictures_in(folder)
    if not files:
        raise InputError(f"{folder}: the folder holds no pictures", remedy="give a video file or a folder of frames")
    said = [_gap_warning(folder, files, allow_gaps)]
    sizes = [_upright_size(path, max_megapixels) for path in files]
    others = sum(size != sizes[0] for size in sizes)
    if others:
        width, height = sizes[0]
        said.append(
            f"{others} of {len(files)} frames have another size than the first, {width} x {height}: they are fitted into it on black"
        )
    return PictureSequence(
        path=folder,
        files=files,
        times_seconds=[number / fps for number in range(len(files))],
        end_seconds=len(files) / fps,
        time_base=1 / fps,
        width_px=sizes[0][0],
        height_px=sizes[0][1],
        max_megapixels=max_megapixels,
        warnings=[warning for warning in said if warning],
    )


def open_animation(path: Path, *, max_megapixels: float | None = None) -> PictureSequence:
    """An animated WebP, every frame at its own time.

    Raises InputError when it cannot be opened, or is cut off.
    """
    with _opened(path, max_megapixels) as image:
        count = _frame_count(image)
        width, height = _turned(image)
    ends = _ends_of_frames(path)
    if len(ends) != count:
        raise InputError(f"{path}: the picture is damaged ({len(ends)} frames where {count} are announced)")
    return PictureSequence(
        path=path,
        files=[path],
        times_seconds=[Fraction(0), *ends[:-1]],
        end_seconds=ends[-1],
        time_base=Fraction(1, 1000),
        width_px=width,
        height_px=height,
        max_megapixels=max_megapixels,
    )


def read_sequence(
    sequence: PictureSequence, *, first: int = 0, last: int | None = None, damaged: Callable[[int, str], None] = lambda *_: None
) -> Iterator[Array]:
    """RGB uint8 (height, width, 3) of the frames from number `first` on, before number `last`, one in memory at a time.

    Of a frame that is cut off what decodes, and `damaged` is told its number and what is missing. Raises InputError where nothing does,
    and for a damaged frame of an animation.
    """
    size = (sequence.width_px, sequence.height_px)
    numbers = range(len(sequence.times_seconds))[first:last]
    for image in _frames_of_animation(sequence, numbers) if sequence.path in sequence.files else _files(sequence, numbers, damaged):
        yield np.asarray(image if image.size == size else ImageOps.pad(image, size, Image.Resampling.BICUBIC))


def _files(sequence: PictureSequence, numbers: range, damaged: Callable[[int, str], None]) -> Iterator[Image.Image]:
    for number in numbers:
        image, missing = read_what_decodes(sequence.files[number], max_megapixels=sequence.max_megapixels)
        if missing is not None:
            damaged(number, missing)
        yield image


def _frames_of_animation(sequence: PictureSequence, numbers: range) -> Iterator[Image.Image]:
    with _opened(sequence.path, sequence.max_megapixels) as image:
        for number in numbers:
            try:
                image.seek(number)
            except (EOFError, OSError, ValueError) as error:
                raise _damaged(sequence.path, error) from error
            yield _decoded(sequence.path, image)


def _ends_of_frames(path: Path) -> list[Fraction]:
    """When each frame of an animated WebP ends, in seconds: the sums of the durations that its ANMF chunks carry.

    https://developers.google.com/speed/webp/docs/riff_container. Browsers show what claims 10 ms or less for 100 ms, and so do we.
    """
    ends, at_ms = [], 0
    with _open_file(path) as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            start = file.read(min(size, 16))
            if name == b"ANMF" and len(start) == 16:
                duration_ms = int.from_bytes(start[12:15], "little")
                at_ms += duration_ms if duration_ms > 10 else 100
                ends.append(Fraction(at_ms, 1000))
            file.seek(size - len(start) + size % 2, os.SEEK_CUR)
    return ends


def _upright_size(path: Path, max_megapixels: float | None) -> tuple[int, int]:
    with _opened(path, max_megapixels) as image:
        return _turned(image)


def _turned(image: Image.Image) -> tuple[int, int]:
    """Width and height as they are upright, from the header alone: Pillow would decode a PNG to look for EXIF behind its pixels."""
    turned = "exif" in image.info and _orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else image.size


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order (frame2 before frame10), hidden files left out."""
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read: {error.strerror or error}") from error
    return sorted(found, key=lambda path: natural_key(path.name))


def _gap_warning(folder: Path, files: Sequence[Path], allowed: bool) -> str:
    """What to say of numbers that are missing, "" where none are. Raises InputError when that is not allowed."""
    first, count = missing_numbers([path.stem for path in files])
    if not count:
        return ""
    listed = ", ".join(map(str, first)) + (" ..." if count > len(first) else "")
    frames = f"{count} frame{'s' * (count > 1)} missing by number ({listed})"
    if not allowed:
        raise InputError(f"{folder}: {frames}", remedy="--allow-gaps shows those that are there without a pause")
    return f"{frames}; those that are there follow one another without a pause"


def missing_numbers(names: Sequence[str]) -> tuple[list[int], int]:
    """The first numbers (five at most) that are missing from a series of names, and how many are; ([], 0) where there is no series.

    A series has names that are equal but for one run of digits, padded or not.
    """
    parts = [re.split(r"(\d+)", name.casefold()) for name in names]
    if len({tuple(part[::2]) for part in parts}) != 1:
        return [], 0
    runs = [{int(digits) for digits in run} for run in zip(*(part[1::2] for part in parts), strict=True)]
    varying = [sorted(run) for run in runs if len(run) > 1]
    if len(varying) != 1:
        return [], 0
    [numbers] = varying
    holes = [range(a + 1, b) for a, b in itertools.pairwise(numbers) if b > a + 1]
    first = [number for hole in holes[:5] for number in hole[:5]][:5]
    return first, numbers[-1] - numbers[0] + 1 - len(numbers)
