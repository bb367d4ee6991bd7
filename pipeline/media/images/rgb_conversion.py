"""Pixels of all kinds become 8-bit RGB: gray of many bits, floating point, CMYK and LAB, transparency."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from pipeline.arrays import Array

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
BACKGROUND = (255, 255, 255)  # white, as photographs lie on


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in 8-bit RGB; what is transparent lies on BACKGROUND."""
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion would clip them to white
        return _convert_to_eight_bits(image)
    if image.mode in ("CMYK", "LAB"):
        return _convert_through_profile(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size, BACKGROUND)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _convert_to_eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits or floating point as RGB; what is transparent by its value becomes white."""
    values = np.asarray(image)
    if image.mode == "I" and getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0] == 1:
        values = values.view(np.uint32)  # Pillow calls all whole numbers signed
    black, white = _find_black_and_white(image, values)
    gray = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 256):  # in strips: as float64 a large picture would take gigabytes
        strip = np.nan_to_num(values[top : top + 256].astype(np.float64), nan=min(black, white), posinf=max(black, white))
        gray[top : top + 256] = ((strip - black) * (255 / (white - black))).round().clip(0, 255)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray[values == clear] = 255
    return Image.fromarray(gray).convert("RGB")


def _find_black_and_white(image: Image.Image, values: Array) -> tuple[float, float]:
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


def _convert_through_profile(image: Image.Image) -> Image.Image:
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
