"""Frames out of a source: an ffmpeg child decodes, and PyAV reads its pipe.

Frames travel between this process and its ffmpeg children as NUT, the container that holds a timestamp for every raw frame
(https://ffmpeg.org/nut.html).
"""

from __future__ import annotations

import re
import subprocess
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import ffmpeg
import numpy as np

from pipeline.errors import InputError
from pipeline.media import ffmpeg_process, probing
from pipeline.media.clock_repair import ClockRepair
from pipeline.records import Frame, VideoSource

# NUT holds no negative time. A large constant, because MPEG-TS is re-zeroed when an offset equals minus its start.
SHIFT_SECONDS = 3600
SEEK_MARGIN_SECONDS = 1.0
RESUME_MARGINS_SECONDS = (10.0, 60.0, None)  # several groups of pictures early; at last from the beginning
RANGE_TOLERANCE_SECONDS = 1e-9


@dataclass(frozen=True, kw_only=True)
class ReadPosition:
    """Where reading stood: frames read, the last one's time, and the CRC-32 of its luma, by which it is known again."""

    frames: int
    time_seconds: Fraction
    checksum: int


def checksum_luma(frame: Frame) -> int:
    """The CRC-32 of a frame's first plane, by which a resumed run knows it again."""
    return zlib.crc32(np.ascontiguousarray(frame.planes[0]).data)


class FrameReader:
    """The frames of a source, one by one; `problems` holds what the decoder complained of so far, `leaps` how often the clock leapt."""

    def __init__(
        self,
        source: VideoSource,
        *,
        start_seconds: float | None,
        end_seconds: float | None,
        after: ReadPosition | None,
        limits: ffmpeg_process.StallLimits | None,
    ) -> None:
        self._source, self._start, self._end = source, start_seconds, end_seconds
        self._limits = limits
        self.count = 0
        self._opaque = False
        self._child, self._raw = self._open_at_start(start_seconds) if after is None else self._open_behind(after)
        self._frames = self._in_range(resumed=after is not None)

    def __iter__(self) -> FrameReader:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    @property
    def problems(self) -> tuple[int, str]:
        """How many lines the decoder wrote, and the first that says something."""
        telling = [line for line in list(self._child.lines) if not _BENIGN.search(line)]
        if self._opaque:
            return 1 + self._child.line_count, "the transparency cannot be decoded, and is left out"
        return (0, "") if not telling else (self._child.line_count, telling[0])

    @property
    def leaps(self) -> int:
        """How often the clock leapt so far; see ClockRepair."""
        return self._clock.leaps

    def close(self) -> None:
        """Stop the decoder, wherever another thread stands in reading from it."""
        self._child.kill()
        _close_when_idle(self._frames)
        _close_when_idle(self._raw)

    def _start_child(self, seek_seconds: float | None) -> tuple[ffmpeg_process.FfmpegProcess, Generator[Frame]]:
        command = _build_decode_command(self._source, seek_seconds)
        child = ffmpeg_process.FfmpegProcess(command, limits=self._limits, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._clock = ClockRepair(self._source.frame_rate)
        return child, self._clock.repair(_read_pipe(child))

    def _open_at_start(self, start_seconds: float | None) -> tuple[ffmpeg_process.FfmpegProcess, Generator[Frame]]:
        """A decoder whose first frame is not later than the start of the range, unless the video itself begins later."""
        if start_seconds and start_seconds > SEEK_MARGIN_SECONDS:
            # Seeking may land late (MPEG-TS has no index): a first frame behind the start means that frames were missed.
            child, raw = self._start_child(start_seconds - SEEK_MARGIN_SECONDS)
            first = next(raw, None)
            if first is not None and first.time_seconds - self._source.start_seconds <= start_seconds:
                return child, _put_back(first, raw)
            child.kill()
        return self._from_beginning()

    def _from_beginning(self) -> tuple[ffmpeg_process.FfmpegProcess, Generator[Frame]]:
        child, raw = self._start_child(None)
        if self._source.decoder is None:
            return child, raw
        first = next(raw, None)
        if first is not None:
            return child, _put_back(first, raw)
        # libvpx gives no picture without its transparency; the usual decoder reads the pictures alone.
        child.kill()
        self._source, self._opaque = replace(self._source, decoder=None), True
        return self._start_child(None)

    def _open_behind(self, after: ReadPosition) -> tuple[ffmpeg_process.FfmpegProcess, Generator[Frame]]:
        """A decoder that stands behind the frame of that position: found by its time and its content."""
        from_start = float(after.time_seconds) - self._source.start_seconds
        for margin in RESUME_MARGINS_SECONDS:
            if margin is not None and from_start < margin:
                continue
            child, raw = self._from_beginning() if margin is None else self._start_child(from_start - margin)
            for frame in raw:
                at = frame.pts * frame.time_base
                if at == after.time_seconds and checksum_luma(frame) == after.checksum:
                    return child, raw
                if at > after.time_seconds:
                    break
            child.kill()
        raise InputError(f"{self._source.path}: is not what the interrupted run has read", remedy="add --fresh to start over")

    def _in_range(self, *, resumed: bool) -> Generator[Frame]:
        ended_early = False
        for frame in self._raw:
            time_seconds = frame.time_seconds - self._source.start_seconds
            if self._end is not None and time_seconds >= self._end - RANGE_TOLERANCE_SECONDS:
                ended_early = True
                self._child.kill()
                break
            if self._start is None or time_seconds >= self._start - RANGE_TOLERANCE_SECONDS:
                self.count += 1
                yield frame
        if not ended_early:
            self._check_end(resumed=resumed)

    def _check_end(self, *, resumed: bool) -> None:
        code, path = self._child.wait(), self._source.path
        if self._child.was_killed or self._child.stalled:
            raise self._child.error(f"{path}: decoding failed after {self.count} frames")
        if self.count or resumed:
            return  # what ffmpeg complained of makes the result partial; what it gave is good
        if self._start and code == 0:
            raise InputError(f"{path}: there is no frame at or after --start {self._start:g}")
        raise self._child.error(f"{path}: not one frame could be decoded")


# Said of files in which every frame is there: streams cut out of a broadcast, odd but legal numbering, other tracks.
_BENIGN = re.compile(
    r"mmco|number of reference frames|non[- ]monoton|co located POCs|Could not find ref with POC|reference picture missing|"
    r"Application provided|Unsupported|deprecated|\[(aac|mp3|ac3|eac3|opus|flac|vorbis)[ @]|edit list|sps_id|unspecified size|"
    r"Could not find codec parameters|Skipping|timescale",
    re.I,
)


@contextmanager
def read_frames(
    source: VideoSource,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    after: ReadPosition | None = None,
    limits: ffmpeg_process.StallLimits | None = None,
) -> Iterator[FrameReader]:
    """Every decodable frame from `start_seconds` (included) to `end_seconds` (excluded), upright, in order of time.

    Times of the range count from the beginning of the file; the frames keep the source's own times. Planes are views of
    memory that lives as long as the frame. `after` goes on behind the frame where an earlier reading of the same range stood.
    Leaving the block stops the decoder, wherever another thread stands in reading from it.

    The iterator raises ToolError when the decoder is killed or hangs, and InputError when not one frame comes out.
    """
    reading = FrameReader(source, start_seconds=start_seconds, end_seconds=end_seconds, after=after, limits=limits)
    try:
        yield reading
    finally:
        reading.close()


def _close_when_idle(frames: Generator[Frame]) -> None:
    """Close a generator that another thread may be in; the decoder is gone, so that thread is at its last frame."""
    for _ in range(200):
        with suppress(ValueError):  # "generator already executing"
            frames.close()
            return
        time.sleep(0.01)


def _put_back(first: Frame, rest: Generator[Frame]) -> Generator[Frame]:
    with closing(rest):
        yield first
        yield from rest


# ------------------------------------------------------------------------------------------------ the decoder's command


def _build_decode_command(source: VideoSource, seek_seconds: float | None) -> list[str]:
    given: dict[str, Any] = {**probing.SAFE, "max_pixels": source.max_pixels}
    if seek_seconds is not None:
        given["ss"] = f"{seek_seconds:.6f}"
    if source.decoder is not None:
        given["vcodec"] = source.decoder
    if source.rate is not None:
        given["framerate"] = f"{source.rate.numerator}/{source.rate.denominator}"
    if (name := probing.detect_animated_format(source.path)) is not None:
        given["f"] = name
    base = source.time_base
    graph = ffmpeg.input(ffmpeg_process.file_url(source.path), **given)[str(source.stream_index)].output(
        "pipe:1",
        f="nut",
        vcodec="rawvideo",
        pix_fmt="yuvj420p" if source.colour.full_range else "yuv420p",  # another range would change every pixel
        fps_mode="passthrough",  # ffmpeg adds frames even to constant-rate files without it
        enc_time_base=f"{base.numerator}:{base.denominator}",  # times would snap to the frame rate without it
        output_ts_offset=SHIFT_SECONDS,
        map_metadata=-1,  # nobody reads the tags here, and PyAV refuses those that are no UTF-8
        map_chapters=-1,
        vf=",".join(_list_filters(source)),
    )
    return ffmpeg_process.build_command(graph, binary=ffmpeg_process.find_ffmpeg_with("zscale") if source.hdr else None)


def _list_filters(source: VideoSource) -> Iterator[str]:
    """What brings any picture to 4:2:0 planes of one size. Each step leaves pictures alone that need it not."""
    to_video = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_inp,format=yuv420p"
    if source.hdr:
        yield from _list_tone_mapping(source.hdr)
    elif source.has_alpha:  # on white, as in photographs
        yield "format=rgba,split[a][b];[a]lutrgb=r=255:g=255:b=255:a=255[white];[white][b]overlay=format=rgb,format=rgb24"
        yield to_video
    elif source.is_rgb:
        yield to_video
    width, height = source.width_px, source.height_px
    # A stream may change its size on the way: later frames are fitted into the size of the first.
    if width % 2 == 0 and height % 2 == 0:
        yield f"scale={width}:{height}:force_original_aspect_ratio=decrease,pad={width}:{height}:-1:-1"
    else:
        yield f"scale={width}:{height}"  # pad would make the sides even


def _list_tone_mapping(transfer: str) -> Iterator[str]:
    """From BT.2020 with PQ or HLG (ITU-R BT.2100) to BT.709; reference white, 203 cd/m2 (ITU-R BT.2408), becomes nearly white."""
    yield f"zscale=tin={'smpte2084' if transfer == 'PQ' else 'arib-std-b67'}:min=2020_ncl:pin=2020:t=linear:npl=203"
    yield "format=gbrpf32le,zscale=p=709,tonemap=mobius:param=0.6:desat=0:peak=10"
    yield "zscale=t=709:m=709:r=limited:d=error_diffusion,format=yuv420p"


def _read_pipe(child: ffmpeg_process.FfmpegProcess) -> Generator[Frame]:
    assert child.process.stdout is not None
    # An error here is a child that died before the header or within a frame; its exit code and stderr say why.
    with child.process.stdout as pipe, suppress(av.FFmpegError):
        ffmpeg_process.widen_pipe(pipe.fileno())
        with child.watch():
            container = av.open(f"pipe:{pipe.fileno()}", "r", format="nut", options=ffmpeg_process.NO_PROBE)
        with container:
            shift = round(SHIFT_SECONDS / Fraction(container.streams.video[0].time_base or 1))
            pictures = container.decode(video=0)
            while True:
                with child.watch():
                    picture = next(pictures, None)
                if picture is None:
                    return
                yield Frame(view_planes(picture), int(picture.pts or 0) - shift, Fraction(picture.time_base or 1), picture)


def view_planes(picture: av.VideoFrame) -> Any:
    """Views of a picture's three planes, uint8 (height, width)."""
    return tuple(
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] for plane in picture.planes
    )
