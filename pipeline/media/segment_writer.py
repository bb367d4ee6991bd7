"""Segments of a video: frames go to an encoder child, and what it wrote is read back.

A segment holds closed groups of pictures and begins at time 0, so that any of them can be made again by itself. Raw frames and their
times go to the encoder as NUT.
"""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
import numpy as np

from pipeline.arrays import Array
from pipeline.media import ffmpeg_process, probing
from pipeline.media.damage_checks import verify_video
from pipeline.media.encoders import CONTAINERS, Encoder

_LONGEST_TICKS = (1 << 31) - 1  # that MP4 shows one frame for; its clock ticks by 1/denominator


@dataclass(frozen=True, kw_only=True)
class OutputVideo:
    """The pictures of the video to be written: size, clock, encoder, colour; messages name `output`.

    `frame_rate` only says how long the last picture of a segment is shown; every frame carries its own time.
    """

    output: Path
    width_px: int
    height_px: int
    time_base: Fraction
    frame_rate: Fraction
    encoder: Encoder
    colour_tags: Mapping[str, str]
    sample_aspect: Fraction = Fraction(1)

    @property
    def segment_suffix(self) -> str:
        """Of the container that segments of this codec go into, such as ".mp4"."""
        return ".mov" if self.encoder.name.startswith("prores") else ".mp4"

    @property
    def longest_frame_seconds(self) -> Fraction:
        """How long one frame can be shown at most."""
        return min(Fraction(probing.LONGEST_LAST_FRAME_SECONDS), Fraction(_LONGEST_TICKS, self.time_base.denominator))


def write_segment(
    frames: Iterable[tuple[Array, int]], target: OutputVideo, path: Path, *, limits: ffmpeg_process.StallLimits | None = None
) -> array[int]:
    """Encode frames to a file that begins at time 0, and read it back; returns the pts that were sent.

    Each frame is its 4:2:0 planes one behind the other, uint8 (width * height * 3 / 2,), with its pts in the target's time base. It has
    left when the next is asked for, which may lie in the same memory.

    Raises ToolError when the encoder fails, OutputError when what it wrote is not what was sent.
    """
    child = ffmpeg_process.FfmpegProcess(
        _build_segment_command(target, path), limits=limits, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    sent = array("q")
    try:
        try:
            _send_frames(child, frames, target, sent)
        except (av.FFmpegError, BrokenPipeError):
            child.wait()  # it has closed its end, so it is ending
            raise child.error(f"{target.output}: the encoder failed after {len(sent)} frames") from None
        if child.wait() != 0:
            raise child.error(f"{target.output}: the encoder failed after {len(sent)} frames")
    finally:
        child.kill()
    verify_video(path, target.output, np.asarray(sent, np.float64) * float(target.time_base) - float(sent[0] * target.time_base))
    return sent


def _send_frames(child: ffmpeg_process.FfmpegProcess, frames: Iterable[tuple[Array, int]], target: OutputVideo, sent: array[int]) -> None:
    assert child.process.stdin is not None
    descriptor = child.process.stdin.fileno()
    ffmpeg_process.widen_pipe(descriptor)
    with child.process.stdin, av.open(f"pipe:{descriptor}", "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=max(target.frame_rate, 1 / target.longest_frame_seconds))
        stream.width, stream.height, stream.pix_fmt = target.width_px, target.height_px, "yuv420p"
        stream.time_base = stream.codec_context.time_base = target.time_base
        for data, pts in frames:
            sent.append(pts)
            packet = av.Packet(data)  # type: ignore[arg-type]  # any buffer will do; raw video is its own packet: no encoder is asked, one copy less
            packet.stream, packet.time_base, packet.is_keyframe = stream, target.time_base, True
            packet.pts = packet.dts = pts - sent[0]
            with child.watch():
                container.mux(packet)


def _build_segment_command(target: OutputVideo, path: Path) -> list[str]:
    base = target.time_base
    tags = ":".join(f"{key}={value}" for key, value in target.colour_tags.items())
    aspect = f"setsar={target.sample_aspect.numerator}/{target.sample_aspect.denominator}"
    options = {
        "f": CONTAINERS[path.suffix],
        "vcodec": target.encoder.name,
        **target.encoder.arguments,
        "pix_fmt": target.encoder.pixels,
        "vf": f"setparams={tags},{aspect}",
        "fps_mode": "passthrough",
        "enc_time_base": f"{base.numerator}:{base.denominator}",
        "video_track_timescale": base.denominator,
        "write_tmcd": 0,
    }
    return ffmpeg_process.build_command(
        ffmpeg.input("pipe:0", f="nut", **ffmpeg_process.NO_PROBE).output(ffmpeg_process.file_url(path), **options)
    )
