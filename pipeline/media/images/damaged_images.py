"""What there is of an image that is cut off or damaged: the pixels before the damage, and where they end."""

from __future__ import annotations

import functools
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.arrays import Array
from pipeline.errors import HeatreelError
from pipeline.media.images.reader import damage_error, decode_upright, identify_image, open_image, refuse_unreadable_tiff

# Pillow's switch for such files, LOAD_TRUNCATED_IMAGES, is one for all threads, and does not say which files it was needed for. But a
# picture whose loading fails keeps the pixels that were decoded until then. Which those are is found by loading it twice, on black and
# on white: what comes out the same was decoded.

_END_OF_JPEG = b"\xff\xd9"
_STRIP_ROWS = 256


class PartialImage(NamedTuple):
    """A picture as `read_image` gives it; `missing` says what of it did not decode and how that is filled, None where all did."""

    image: Image.Image
    missing: str | None


def read_partial_image(path: Path, *, max_megapixels: float | None = None) -> PartialImage:
    """As read_image, but of a picture that is cut off or damaged what comes before the damage.

    Raises InputError as check_image does, and where not a row decodes; WebP, HEIC, AVIF and packed TIFF decode as a whole or not at all.
    Damage that a decoder does not complain of is not seen: within a JPEG's pixels that is most, for they carry no checksum.
    """
    with open_image(path, max_megapixels) as image:
        try:
            refuse_unreadable_tiff(path, image)
            image.load()
        except (HeatreelError, MemoryError) as error:
            raise error if isinstance(error, HeatreelError) else damage_error(path, error) from error
        except Exception as error:  # see open_image
            return _salvage(path, image, error, max_megapixels)
        return PartialImage(decode_upright(path, image), None)


def _salvage(path: Path, black: Image.Image, error: Exception, max_megapixels: float | None) -> PartialImage:
    """What there is of a picture whose loading has just failed. Raises InputError where that is nothing."""
    try:
        _give_up_rest(black)
        with open_image(path, max_megapixels) as white:
            _load_on_white(white)
            decoded = _find_agreement(black, white)
        completed = _complete_jpeg(path) if black.format in ("JPEG", "MPO") else None
        if completed is not None and (decoded.any() or black.info.get("progressive")):
            image = decode_upright(path, completed)
            if image.getcolors(1) is None:  # not one colour all over
                return PartialImage(image, _describe_missing(error, decoded))
        elif decoded.any(axis=1).any():
            repair = functools.partial(_fill_missing, decoded)
            return PartialImage(decode_upright(path, black, repair=repair), _describe_missing(error, decoded))
    except HeatreelError:
        raise
    except Exception:  # there is nothing to be had of it
        pass
    raise damage_error(path, error) from error


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


def _find_agreement(first: Image.Image, second: Image.Image) -> Array:
    """Where two images of one size are the same, bool (height, width)."""
    same = np.empty((first.height, first.width), bool)
    for top in range(0, first.height, _STRIP_ROWS):  # in strips: two large pictures as arrays would take gigabytes
        box = (0, top, first.width, min(top + _STRIP_ROWS, first.height))
        equal = np.asarray(first.crop(box)) == np.asarray(second.crop(box))
        same[top : box[3]] = equal if equal.ndim == 2 else equal.all(axis=2)
    return same


def _complete_jpeg(path: Path) -> Image.Image | None:
    """A JPEG with the end that it lacks: libjpeg then gives all that it has, the unfinished row of blocks and coarse scans too."""
    try:
        image = identify_image("JPEG", BytesIO(path.read_bytes() + _END_OF_JPEG))
        image.load()
        return image
    except Exception:  # it is damaged in another way
        return None


def _fill_missing(decoded: Array, rgb: Image.Image) -> Image.Image:
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


def _describe_missing(error: Exception, decoded: Array) -> str:
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
