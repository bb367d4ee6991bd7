"""Pictures at other sizes and in other colours, by ffmpeg's scaler: what the network sees, panels, and pictures that become frames."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from pipeline.decoding import planes_of
from pipeline.records import Colour, Frame, Geometry

_COLORSPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}

PICTURES_COLOUR = Colour(matrix="bt709", full_range=False)
PICTURES_COLOUR_TAGS = {"range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "iec61966-2-1"}


def frames_of_pictures(
    pictures: Iterable[np.ndarray[Any, Any]], *, times_seconds: Iterable[Fraction], time_base: Fraction
) -> Generator[Frame]:
    """RGB pictures, each (height, width, 3) uint8, as frames in PICTURES_COLOUR, each at its time, a multiple of `time_base`."""
    reformatter = VideoReformatter()
    for moment, rgb in zip(times_seconds, pictures, strict=False):
        picture = reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        yield Frame(planes_of(picture), round(moment / time_base), time_base, picture)


class NetworkPictures:
    """Frames as the network sees them; keeps ffmpeg's scaler, whose set-up costs more than one use of it.

    Of interlaced frames it takes one field, every other line: two moments in one picture are combs at every moving edge.
    """

    def __init__(self, colour: Colour, geometry: Geometry, *, interlaced: bool = False) -> None:
        self._colour = colour
        self._geometry = geometry
        self._interlaced = interlaced
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> np.ndarray[Any, Any]:
        """RGB uint8 (height, width, 3), bicubic with antialiasing, within a level of the mean of Pillow's bicubic."""
        g = self._geometry
        source_range = ColorRange.JPEG if self._colour.full_range else ColorRange.MPEG
        picture = self._reformatter.reformat(
            _field(frame) if self._interlaced else frame.picture,
            width=g.scaled_width_px,
            height=g.scaled_height_px,
            format="gbrp",  # the same values as rgb24's, which swscale packs pixel by pixel
            src_colorspace=_COLORSPACES[self._colour.matrix],
            src_color_range=source_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        seen = np.s_[g.top_px : g.top_px + g.height_px, g.left_px : g.left_px + g.width_px]
        green, blue, red = (plane[seen] for plane in planes_of(picture))
        return np.asarray(cv2.merge([red, green, blue]))


def _field(frame: Frame) -> av.VideoFrame:
    """The upper field as a picture of half the height. In 4:2:0 chroma lines alternate between the fields as luma lines do."""
    planes = [plane[::2] for plane in frame.planes]
    height, width = planes[0].shape
    field = av.VideoFrame(width, height, "yuv420p")
    for target, plane in zip(planes_of(field), planes, strict=True):
        target[:] = plane[: target.shape[0]]
    return field


class FrameScaler:
    """Frames at another size, colour untouched; those that have the size already pass as they are."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = width_px, height_px
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> Frame:
        if frame.planes[0].shape[::-1] == self._size:
            return frame
        flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
        picture = self._reformatter.reformat(frame.picture, *self._size, interpolation=flags, threads=1)
        return Frame(planes_of(picture), frame.pts, frame.time_base, picture)
