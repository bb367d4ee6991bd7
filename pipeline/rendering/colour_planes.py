"""The three planes that a frame is stored in (Y, Cb, Cr, or R, G, B), and how RGB becomes their values.

Everything is blended by one rule, out = plane * keep / 255 + add, on whatever three planes the frame has. Planes are affine in RGB
(ITU-R BT.601, BT.709 and BT.2020, equations for Y, Cb, Cr), so blending in them is blending in RGB, without converting a single frame.
"""

from __future__ import annotations

import functools

import numpy as np

from pipeline.arrays import Array
from pipeline.records import Colour

Planes = tuple[Array, Array, Array]  # each uint8 (height, width); the last two may have half the height and half the width
_KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
LUMA, CHROMA, ALL_PLANES = (0,), (1, 2), (0, 1, 2)  # numbers of planes that have one size
WHITE, INK, ACCENT = (255, 255, 255), (14, 16, 20), (255, 178, 38)


@functools.cache
def plane_matrix(colour: Colour) -> tuple[Array, Array]:
    """The affine map from RGB in [0, 255] to the planes' values: a float64 (3, 3) matrix and a (3,) offset.

    ITU-R BT.601-7, BT.709-6 and BT.2020-2: Y = KR R + (1 - KR - KB) G + KB B, Cb = (B - Y) / (2 - 2 KB), Cr = (R - Y) / (2 - 2 KR), in 16
    to 235 (Y) and 16 to 240 (Cb, Cr), or 0 to 255 where the range is full.
    """
    if colour.matrix == "rgb":
        return np.eye(3), np.zeros(3)
    kr, kb = _KR_KB[colour.matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - kb))
    red = (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))
    if colour.full_range:
        return np.stack([luma, blue, red]), np.array([0, 128, 128])
    return np.stack([luma * 219, blue * 224, red * 224]) / 255, np.array([16, 128, 128])
