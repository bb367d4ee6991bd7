"""Pictures at other sizes and in other colours, by ffmpeg's scaler: what the network sees, panels, and pictures that become frames."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from pipeline.arrays import Array
from pipeline.media.frame_reader import view_planes
from pipeline.records import Colour, Frame, Geometry

if TYPE_CHECKING:
    from PIL import Image

PHOTOGRAPH_COLOUR = Colour(matrix="rgb", full_range=True)
PICTURES_COLOUR = Colour(matrix="bt709", full_range=False)
PICTURES_COLOUR_TAGS = {"range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "iec61966-2-1"}


def images_to_frames(pictures: Iterable[Array], *, times_seconds: Iterable[Fraction], time_base: Fraction) -> Generator[Frame]:
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
        yield Frame(view_planes(picture), round(moment / time_base), time_base, picture)


def image_to_frame(photograph: Image.Image) -> Frame:
    """An RGB picture as a frame in PHOTOGRAPH_COLOUR: planes of red, green and blue."""
    picture = av.VideoFrame(photograph.width, photograph.height, "yuv444p")  # three planes of one size; nobody converts their values
    for target, band in zip(view_planes(picture), photograph.split(), strict=True):
        target[:] = np.asarray(band)
    return Frame(view_planes(picture), 0, Fraction(1), picture)


def resize_for_network(photograph: Frame, geometry: Geometry) -> Array:
    """What the network sees of a frame in PHOTOGRAPH_COLOUR, as NetworkResizer gives it. Many threads may call it."""
    scaler = getattr(_kept, "scaler", None)
    if scaler is None or scaler.geometry != geometry:
        scaler = _kept.scaler = NetworkResizer(PHOTOGRAPH_COLOUR, geometry)
    return np.asarray(scaler(photograph))


_kept = threading.local()  # photographs mostly have one size


class NetworkResizer:
    """Frames as the network sees them; keeps ffmpeg's scaler, whose set-up costs more than one use of it.

    Its bicubic kernel is given Keys' a of -0.5 (IEEE Trans. ASSP 29(6), 1981, equation 15), which Pillow has and networks learned with;
    ffmpeg's own is -0.6. Where a picture becomes smaller the kernel grows with the step, which is the antialiasing.

    Of interlaced frames it takes one field, every other line: two moments in one picture are combs at every moving edge.
    """

    def __init__(self, colour: Colour, geometry: Geometry, *, interlaced: bool = False) -> None:
        self._colour = colour
        self.geometry = geometry
        self._interlaced = interlaced
        self._made_for: tuple[str, int, int] | None = None
        self._graph: av.filter.Graph

    def __call__(self, frame: Frame) -> Array:
        """RGB uint8 (height, width, 3), bicubic with antialiasing."""
        g = self.geometry
        picture = _take_field(frame) if self._interlaced else frame.picture
        given = picture.format.name, picture.width, picture.height
        if given != self._made_for:
            self._graph, self._made_for = self._graph_for(*given), given
        self._graph.vpush(picture)
        planes = view_planes(self._graph.vpull())
        seen = np.s_[g.top_px : g.top_px + g.height_px, g.left_px : g.left_px + g.width_px]
        red, green, blue = planes if self._colour.matrix == "rgb" else (planes[2], planes[0], planes[1])
        return np.asarray(cv2.merge([red[seen], green[seen], blue[seen]]))

    def _graph_for(self, name: str, width: int, height: int) -> av.filter.Graph:
        wanted, colour = self.geometry, self._colour
        scale = f"{wanted.scaled_width_px}:{wanted.scaled_height_px}:flags=bicubic+accurate_rnd+full_chroma_int:param0=0:param1=0.5"
        scale += f":in_range={'full' if colour.full_range else 'limited'}:out_range=full"
        scale += "" if colour.matrix == "rgb" else f":in_color_matrix={colour.matrix}"
        graph = av.filter.Graph()
        graph.threads = 1
        graph.link_nodes(
            graph.add_buffer(width=width, height=height, format=av.VideoFormat(name), time_base=Fraction(1)),
            graph.add("scale", scale),
            graph.add("format", name if colour.matrix == "rgb" else "gbrp"),  # rgb24 has the same values, packed pixel by pixel
            graph.add("buffersink"),
        ).configure()
        return graph


def _take_field(frame: Frame) -> av.VideoFrame:
    """The upper field as a picture of half the height. In 4:2:0 chroma lines alternate between the fields as luma lines do."""
    planes = [plane[::2] for plane in frame.planes]
    height, width = planes[0].shape
    field = av.VideoFrame(width, height, "yuv420p")
    for target, plane in zip(view_planes(field), planes, strict=True):
        target[:] = plane[: target.shape[0]]
    return field


class FrameResizer:
    """Frames at another size, colour untouched; those that have the size already pass as they are."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = width_px, height_px
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> Frame:
        if frame.planes[0].shape[::-1] == self._size:
            return frame
        flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
        picture = self._reformatter.reformat(frame.picture, *self._size, interpolation=flags, threads=1)
        return Frame(view_planes(picture), frame.pts, frame.time_base, picture)
