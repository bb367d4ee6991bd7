"""How a frame meets the network: what is scaled to which size, and which part of the frame the network covers."""

from __future__ import annotations

from pipeline.options import Fit
from pipeline.records import Geometry

# A strip a hundred times as long as it is wide must not become a network input of gigabytes; beyond this it is squashed.
LONGEST_ASPECT = 4


def frame_geometry(
    width_px: int, height_px: int, *, fit: Fit, input_px: tuple[int, int], short_side_px: int, stride: int, any_size: bool = True
) -> Geometry:
    """The network's view of a frame of width_px by height_px; input_px (width, height) is the size that the network was made for.

    `whole` scales the short side to `short_side_px` and the long side to the multiple of `stride` that is nearest to the aspect;
    `crop` scales the frame so that the centre of size input_px lies in it as in the standard evaluation (short_side_px before the crop);
    `squash` scales the whole frame to input_px. A network that does not take `any_size` gets `squash` for `whole`.
    """
    if fit == "squash" or (fit == "whole" and not any_size):
        width, height = input_px
        return Geometry(scaled_width_px=width, scaled_height_px=height, width_px=width, height_px=height)
    longest = LONGEST_ASPECT * short_side_px
    if fit == "whole":
        scale = short_side_px / min(width_px, height_px)
        width, height = (_round_to_stride(side * scale, stride, longest) for side in (width_px, height_px))
        return Geometry(scaled_width_px=width, scaled_height_px=height, width_px=width, height_px=height)
    scale = max(1, short_side_px / min(input_px)) * max(input_px[0] / width_px, input_px[1] / height_px)
    width, height = (max(need, round(min(side * scale, longest))) for side, need in zip((width_px, height_px), input_px, strict=True))
    return Geometry(scaled_width_px=width, scaled_height_px=height, width_px=input_px[0], height_px=input_px[1])


def _round_to_stride(length: float, stride: int, longest: int) -> int:
    return max(stride, round(min(length, longest) / stride) * stride)
