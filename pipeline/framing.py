"""How a frame meets the network: what is scaled to which size, and which part of the frame the network covers."""

from __future__ import annotations

from pipeline.records import Fit, Geometry

# A strip a hundred times as long as it is wide must not become a network input of gigabytes; beyond this it is squashed.
LONGEST_ASPECT = 4


def frame_geometry(width_px: int, height_px: int, *, fit: Fit, input_px: int, short_side_px: int, stride: int) -> Geometry:
    """The network's view of a frame of width_px by height_px.

    `whole` scales the short side to `short_side_px` and the long side to the multiple of `stride` that is nearest to the aspect;
    `crop` scales the short side so and cuts the centred square whose side is in proportion to input_px (the standard evaluation crop);
    `squash` scales the whole frame to input_px in both directions, in proportion to short_side_px where that is not the standard one.
    """
    short = min(width_px, height_px)
    if fit == "squash":
        return Geometry(scaled_width_px=input_px, scaled_height_px=input_px, width_px=input_px, height_px=input_px)
    scale = short_side_px / short
    if fit == "whole":
        width, height = (_rounded(side * scale, stride, LONGEST_ASPECT * short_side_px) for side in (width_px, height_px))
        return Geometry(scaled_width_px=width, scaled_height_px=height, width_px=width, height_px=height)
    width, height = (round(min(side * scale, LONGEST_ASPECT * short_side_px)) for side in (width_px, height_px))
    return Geometry(scaled_width_px=width, scaled_height_px=height, width_px=input_px, height_px=input_px)


def _rounded(length: float, stride: int, longest: int) -> int:
    return max(stride, round(min(length, longest) / stride) * stride)
