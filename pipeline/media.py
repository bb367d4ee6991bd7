"""Video in and out: the only caller of ffmpeg and PyAV.

Frames travel between this process and its ffmpeg children as NUT, the container that holds a timestamp for every raw frame
(https://ffmpeg.org/nut.html). The decoder child turns any video into 4:2:0 planes with the source's own times; the encoder child
takes planes and times, and the sound, chapters and tags straight from the source.
"""

from __future__ import annotations

import fcntl
import functools
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import ffmpeg
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from pipeline.errors import CommandError, InputError, OutputError, ToolError
from pipeline.records import Audio, Codec, Colour, Frame, Geometry, VideoSource

# NUT holds no negative time. A large constant, because MPEG-TS is re-zeroed when an offset equals minus its start.
SHIFT_SECONDS = 3600
# The first frame comes as soon as it is there: both ends know the format, so nothing is probed.
NO_PROBE = {"probesize": "32", "analyzeduration": "0", "fpsprobesize": "0"}
PIPE_BYTES = 1 << 20  # the kernel's 64 KiB would mean fifty task switches for one 1080p frame
SEEK_MARGIN_SECONDS = 1.0
TIME_TOLERANCE_SECONDS = 0.0011  # Matroska keeps milliseconds


# ------------------------------------------------------------------------------------------------ the ffmpeg binary


@functools.cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, or else the one that imageio-ffmpeg brought along. Raises InputError when there is neither."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise InputError("no ffmpeg was found", remedy="install ffmpeg, or reinstall imageio-ffmpeg") from error


def ffmpeg_version() -> str:
    result = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, check=False)
    return (result.stdout.splitlines() or ["unknown"])[0].removeprefix("ffmpeg version ").split(" Copyright")[0]


class _Child:
    """A running ffmpeg in its own process group, its stderr always drained, its last lines kept."""

    def __init__(self, command: Sequence[str], **pipes: Any) -> None:
        self.command = command
        self.lines: deque[str] = deque(maxlen=50)
        self.line_count = 0
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, **pipes)
        self._drain = threading.Thread(target=self._keep_lines, daemon=True)
        self._drain.start()

    def _keep_lines(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.line_count += 1

    def wait(self) -> int:
        code = self.process.wait()
        self._drain.join()
        return code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def error(self, message: str) -> ToolError:
        return ToolError(message, command=self.command, stderr_tail="\n".join(self.lines))


def _command(graph: Any) -> list[str]:
    start = [ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-copyts", "-y"]
    return list(ffmpeg.compile(graph, cmd=start))


def _file(path: Path) -> str:
    return f"file:{path}"  # never a protocol, whatever the name looks like


def _seconds(value: float | Fraction) -> str:
    return f"{float(value):.6f}"


def _widen(descriptor: int) -> None:
    with suppress(AttributeError, OSError):  # Linux only, and up to a limit of the system's
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


# ------------------------------------------------------------------------------------------------ probe

_MATRICES: Mapping[int, Literal["bt601", "bt709", "bt2020"]] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 12: "smpte432"}
_TRANSFERS = {1: "bt709", 6: "smpte170m", 13: "iec61966-2-1", 14: "bt2020-10", 16: "smpte2084", 18: "arib-std-b67"}
_COLORSPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}
_MATRIX_TAGS = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}
_FULL_RANGE = 2
# Tags in Latin-1 must not hide a good video; from version 19 on PyAV sees to that by itself.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_ATTACHED_PICTURE = 0x400


def probe(path: Path) -> VideoSource:
    """Open a video and read what its header says; a frame is not decoded.

    Raises InputError when the file is missing, unreadable, empty, no media, or holds no video.
    """
    _check_readable(path)
    try:
        with av.open(_file(path), **_LENIENT) as container:
            return _source(path, container)
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        raise InputError(f"{path}: is not a video that ffmpeg can read ({_reason(error)})", remedy="check the file") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: is not a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")


def _source(path: Path, container: Any) -> VideoSource:
    videos = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    if not videos:
        raise InputError(f"{path}: there is no video in it", remedy="for pictures use `visualize image`")
    stream = videos[0]
    context = stream.codec_context
    if not context.width or not context.height or stream.time_base is None:
        raise InputError(f"{path}: its video track cannot be decoded (codec {context.name if context else 'unknown'})")
    duration = _duration_seconds(container, stream)
    rate = stream.average_rate
    return VideoSource(
        path=path,
        stream_index=stream.index,
        width_px=context.width,
        height_px=context.height,
        sample_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
        time_base=Fraction(stream.time_base),
        colour=_colour(context),
        colour_tags=_colour_tags(context),
        is_rgb=_is_rgb(context),
        start_seconds=(container.start_time or 0) / av.time_base,
        duration_seconds=duration,
        frame_rate=Fraction(rate) if rate else Fraction(25),
        frames_estimate=stream.frames or (round(duration * rate) if duration and rate else None),
        audio_codecs=tuple(s.codec_context.name for s in container.streams.audio),
        audio_rates_hz=tuple(s.codec_context.sample_rate for s in container.streams.audio),
        warnings=(f"{len(videos)} video tracks; the first is used",) if len(videos) > 1 else (),
    )


def _duration_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _is_rgb(context: Any) -> bool:
    return bool(context.format) and context.format.is_rgb


def _colour(context: Any) -> Colour:
    """The source's matrix and range. The rule for untagged files is the players': BT.709 from 720 lines on, else BT.601."""
    if _is_rgb(context):
        return Colour(matrix="bt709", full_range=False)  # what the decoder child is told to convert it to
    by_size: Literal["bt601", "bt709"] = "bt709" if min(context.width, context.height) >= 720 else "bt601"
    matrix = _MATRICES.get(int(context.colorspace), by_size)
    named_full = context.pix_fmt is not None and context.pix_fmt.startswith("yuvj")
    return Colour(matrix=matrix, full_range=named_full or int(context.color_range) == _FULL_RANGE)


def _colour_tags(context: Any) -> dict[str, str]:
    """Names for ffmpeg's setparams filter; what the source leaves open is tagged as it was taken to be."""
    colour = _colour(context)
    tags = {"range": "pc" if colour.full_range else "tv", "colorspace": _MATRIX_TAGS[colour.matrix]}
    primaries, transfer = int(context.color_primaries), int(context.color_trc)
    if primaries in _PRIMARIES:
        tags["color_primaries"] = _PRIMARIES[primaries]
    if transfer in _TRANSFERS:
        tags["color_trc"] = _TRANSFERS[transfer]
    return tags


# ------------------------------------------------------------------------------------------------ reading


@contextmanager
def open_frames(
    source: VideoSource, *, start_seconds: float | None = None, end_seconds: float | None = None, warnings: list[str] | None = None
) -> Iterator[Iterator[Frame]]:
    """Every decodable frame from `start_seconds` (included) to `end_seconds` (excluded), upright, in order of time.

    Times of the range count from the beginning of the file; the frames keep the source's own times. Planes are views of
    memory that lives as long as the frame. What the decoder complains of, while it still gives frames, goes to `warnings`.
    Leaving the block stops the decoder, wherever another thread stands in reading from it.

    The iterator raises ToolError when the decoder fails, and InputError when not one frame comes out.
    """
    child, raw = _start_decoder(source, start_seconds)
    frames = _frames_in_range(source, child, raw, start_seconds, end_seconds, warnings if warnings is not None else [])
    try:
        yield frames
    finally:
        child.kill()
        _close_when_idle(frames)
        _close_when_idle(raw)


def _close_when_idle(frames: Generator[Frame]) -> None:
    """Close a generator that another thread may be in; the decoder is gone, so that thread is at its last frame."""
    for _ in range(200):
        with suppress(ValueError):  # "generator already executing"
            frames.close()
            return
        time.sleep(0.01)


def _start_decoder(source: VideoSource, start_seconds: float | None) -> tuple[_Child, Generator[Frame]]:
    """A decoder whose first frame is not later than the start of the range, unless the video itself begins later."""
    # Seeking may land late (MPEG-TS has no index): a first frame behind the start means that frames were missed.
    for seek_seconds in (start_seconds - SEEK_MARGIN_SECONDS, None) if start_seconds and start_seconds > SEEK_MARGIN_SECONDS else (None,):
        child = _Child(_decode_command(source, seek_seconds), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        raw = _frames_of_pipe(child)
        first = next(raw, None)
        if seek_seconds is None or (first is not None and first.time_seconds - source.start_seconds <= (start_seconds or 0)):
            break
        child.kill()
    return child, _with_first(first, raw)


def _with_first(first: Frame | None, rest: Generator[Frame]) -> Generator[Frame]:
    with closing(rest):
        if first is not None:
            yield first
        yield from rest


def _frames_in_range(
    source: VideoSource,
    child: _Child,
    raw: Iterator[Frame],
    start_seconds: float | None,
    end_seconds: float | None,
    warnings: list[str],
) -> Generator[Frame]:
    count, ended_early = 0, False
    for frame in raw:
        time_seconds = frame.time_seconds - source.start_seconds
        if end_seconds is not None and time_seconds >= end_seconds - 1e-9:
            ended_early = True
            child.kill()
            break
        if start_seconds is None or time_seconds >= start_seconds - 1e-9:
            count += 1
            yield frame
    if not ended_early and child.wait() != 0:
        raise child.error(f"{source.path}: decoding failed after {count} frames")
    if child.line_count:
        warnings.append(f"the decoder reported {child.line_count} problems, the last: {child.lines[-1]}")
    if count == 0:
        raise _nothing_read(source, child, start_seconds)


def _nothing_read(source: VideoSource, child: _Child, start_seconds: float | None) -> Exception:
    if start_seconds:
        return InputError(f"{source.path}: there is no frame at or after --start {start_seconds}")
    return child.error(f"{source.path}: not one frame could be decoded")


def _decode_command(source: VideoSource, seek_seconds: float | None) -> list[str]:
    seek = {} if seek_seconds is None else {"ss": _seconds(seek_seconds)}
    base = source.time_base
    full = source.colour.full_range
    filters = ["scale=out_color_matrix=bt709:out_range=tv"] if source.is_rgb else []
    return _command(
        ffmpeg.input(_file(source.path), **seek)[str(source.stream_index)].output(
            "pipe:1",
            f="nut",
            vcodec="rawvideo",
            pix_fmt="yuvj420p" if full else "yuv420p",  # another range would change every pixel
            fps_mode="passthrough",  # ffmpeg adds frames even to constant-rate files without it
            enc_time_base=f"{base.numerator}:{base.denominator}",  # times would snap to the frame rate without it
            output_ts_offset=SHIFT_SECONDS,
            **({"vf": ",".join(filters)} if filters else {}),
        )
    )


def _frames_of_pipe(child: _Child) -> Generator[Frame]:
    assert child.process.stdout is not None
    # An error here is a child that died before the header or within a frame; its exit code and stderr say why.
    with child.process.stdout as pipe, suppress(av.FFmpegError):
        _widen(pipe.fileno())
        with av.open(f"pipe:{pipe.fileno()}", "r", format="nut", options=NO_PROBE) as container:
            shift = round(SHIFT_SECONDS / Fraction(container.streams.video[0].time_base or 1))
            for picture in container.decode(video=0):
                yield Frame(_planes(picture), int(picture.pts or 0) - shift, Fraction(picture.time_base or 1), picture)


def _planes(picture: av.VideoFrame) -> Any:
    return tuple(
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] for plane in picture.planes
    )


PICTURES_COLOUR = Colour(matrix="bt709", full_range=False)
PICTURES_COLOUR_TAGS = {"range": "tv", "colorspace": "bt709", "color_primaries": "bt709", "color_trc": "iec61966-2-1"}


def frames_of_pictures(pictures: Iterable[np.ndarray[Any, Any]], *, fps: Fraction) -> Iterator[Frame]:
    """RGB pictures, each (height, width, 3) uint8, as frames in PICTURES_COLOUR, `fps` in a second, from time 0."""
    reformatter = VideoReformatter()
    for index, rgb in enumerate(pictures):
        picture = reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
            threads=1,
        )
        yield Frame(_planes(picture), index, 1 / fps, picture)


class NetworkPictures:
    """Frames as the network sees them; keeps ffmpeg's scaler, whose set-up costs more than one use of it."""

    def __init__(self, colour: Colour, geometry: Geometry) -> None:
        self._colour = colour
        self._geometry = geometry
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> np.ndarray[Any, Any]:
        """RGB uint8 (height, width, 3), bicubic with antialiasing, within a level of the mean of Pillow's bicubic."""
        g = self._geometry
        source_range = ColorRange.JPEG if self._colour.full_range else ColorRange.MPEG
        picture = self._reformatter.reformat(
            frame.picture,
            width=g.scaled_width_px,
            height=g.scaled_height_px,
            format="rgb24",
            src_colorspace=_COLORSPACES[self._colour.matrix],
            src_color_range=source_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        return picture.to_ndarray()[g.top_px : g.top_px + g.height_px, g.left_px : g.left_px + g.width_px]


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
        return Frame(_planes(picture), frame.pts, frame.time_base, picture)


# ------------------------------------------------------------------------------------------------ encoders


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of ffmpeg with its arguments; `hardware` ones are tried with a real encode before they are believed."""

    name: str
    arguments: Mapping[str, Any]
    hardware: bool = False
    pixels: str = "yuv420p"


def _software(name: str, **arguments: Any) -> Encoder:
    return Encoder(name=name, arguments=arguments)


def _nvenc(name: str) -> Encoder:
    return Encoder(name=name, arguments={"preset": "p4", "rc": "vbr", "cq": 23, "b:v": 0}, hardware=True)


# In order of preference. The software presets are where more effort no longer buys much on such pictures.
ENCODERS: Mapping[str, Sequence[Encoder]] = {
    "h264": (
        _nvenc("h264_nvenc"),
        Encoder(name="h264_videotoolbox", arguments={"q:v": 60}, hardware=True),
        Encoder(name="h264_qsv", arguments={"global_quality": 23}, hardware=True),
        _software("libx264", crf=20, preset="veryfast"),
    ),
    "hevc": (
        _nvenc("hevc_nvenc"),
        Encoder(name="hevc_videotoolbox", arguments={"q:v": 60, "tag:v": "hvc1"}, hardware=True),
        _software("libx265", crf=24, preset="veryfast", **{"tag:v": "hvc1", "x265-params": "log-level=error"}),
    ),
    "av1": (_nvenc("av1_nvenc"), _software("libsvtav1", crf=32, preset="10")),
    "vp9": (_software("libvpx-vp9", crf=32, deadline="good", **{"cpu-used": 5, "row-mt": 1, "b:v": 0}),),
    "prores": (Encoder(name="prores_ks", arguments={"profile:v": 3, "vendor": "apl0"}, pixels="yuv422p10le"),),
}
_QUALITY_ARGUMENTS = ("crf", "cq", "global_quality")
_CONTAINERS: Mapping[str, str] = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_CODECS_OF_CONTAINER: Mapping[str, Sequence[str]] = {
    "mp4": ("auto", "h264", "hevc", "av1", "vp9"),
    "mov": ("auto", "h264", "hevc", "prores"),
    "matroska": ("auto", "h264", "hevc", "av1", "vp9", "prores"),
    "webm": ("vp9", "av1"),
}


def default_suffix(codec: Codec) -> str:
    return ".mov" if codec == "prores" else ".mp4"


def check_container(output: Path, codec: Codec) -> None:
    """Raises CommandError when the suffix is no video container, or one that cannot hold the codec."""
    container = _CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise CommandError(f"{output}: no such video container; one of {', '.join(_CONTAINERS)} is needed")
    if codec not in _CODECS_OF_CONTAINER[container]:
        fitting = ", ".join(c for c in _CODECS_OF_CONTAINER[container] if c != "auto")
        raise CommandError(f"{output}: {output.suffix} does not hold codec {codec}", remedy=f"name one with --codec: {fitting}")


def choose_encoder(codec: Codec, *, width_px: int, height_px: int, crf: int | None = None, preset: str | None = None) -> Encoder:
    """The first encoder for the codec that really encodes two frames of this size here.

    Raises CommandError when a setting does not apply to the codec, or when none of its encoders works.
    """
    failure = "none is known"
    for candidate in ENCODERS["h264" if codec == "auto" else codec]:
        if candidate.hardware and not _hardware_present():
            continue
        encoder = _adjusted(candidate, codec, crf=crf, preset=preset)
        problem = try_encoder(encoder, width_px=width_px, height_px=height_px)
        if problem is None:
            return encoder
        failure = f"{encoder.name}: {problem}"
    raise CommandError(f"no encoder for codec {codec} works here ({failure})", remedy="see `visualize doctor`")


def _hardware_present() -> bool:
    # Without a device node no hardware encoder can work, and trying each would delay every start.
    devices = Path("/dev")
    return os.uname().sysname == "Darwin" or any(devices.glob("nvidia[0-9]*")) or any(devices.glob("dri/renderD*"))


def _adjusted(encoder: Encoder, codec: Codec, *, crf: int | None, preset: str | None) -> Encoder:
    arguments = dict(encoder.arguments)
    if crf is not None:
        names = [name for name in _QUALITY_ARGUMENTS if name in arguments]
        if not names:
            raise CommandError(f"--crf {crf}: codec {codec} has no such setting with {encoder.name}")
        arguments[names[0]] = crf
    if preset is not None:
        if "preset" not in arguments:
            raise CommandError(f"--preset {preset}: codec {codec} has no such setting with {encoder.name}")
        arguments["preset"] = preset
    return Encoder(name=encoder.name, arguments=arguments, hardware=encoder.hardware, pixels=encoder.pixels)


def try_encoder(encoder: Encoder, *, width_px: int = 640, height_px: int = 360) -> str | None:
    """Encode two frames; None when that works, else what ffmpeg says."""
    graph = ffmpeg.input(f"color=black:size={width_px}x{height_px}:rate=25", f="lavfi").output(
        "pipe:1", f="null", vcodec=encoder.name, pix_fmt=encoder.pixels, **{"frames:v": 2}, **encoder.arguments
    )
    result = subprocess.run(_command(graph), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    if result.returncode == 0:
        return None
    return (result.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]


# ------------------------------------------------------------------------------------------------ writing

# What each container holds as it is; the rest becomes AAC (Opus in WebM).
_AUDIO_OF_CONTAINER: Mapping[str, frozenset[str] | None] = {
    "mp4": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac", "mp2", "mp2float"}),
    "mov": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}),
    "matroska": None,
    "webm": frozenset({"opus", "libopus", "vorbis", "libvorbis"}),
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """The video to be written: where, how large, in which clock, and what it takes from its source.

    `frame_rate` only says how long the last frame is shown; every frame carries its own time.

    `source` is None for a folder of frames. `offset_seconds` is the source's time that becomes 0 in the output, None where
    the source's own times are kept; sound is cut to begin there, and to end at `end_seconds`.
    """

    path: Path
    width_px: int
    height_px: int
    time_base: Fraction
    frame_rate: Fraction
    encoder: Encoder
    colour_tags: Mapping[str, str]
    sample_aspect: Fraction = Fraction(1)
    source: VideoSource | None = None
    audio: Audio = "copy"
    offset_seconds: Fraction | None = None
    end_seconds: float | None = None


def write_frames(frames: Iterable[tuple[np.ndarray[Any, Any], int]], target: Target) -> int:
    """Encode frames and mux them with the source's sound, chapters and tags; returns how many were written.

    Each frame is its 4:2:0 planes one behind the other, uint8 (width * height * 3 / 2,), with its pts in the target's time base.
    The file is read back: as many frames, each at its time.

    Raises ToolError when the encoder fails, OutputError when what it wrote is not what was sent.
    """
    child = _Child(_encode_command(target), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    sent = array("q")
    try:
        try:
            _feed(child, frames, target, sent)
        except (av.FFmpegError, BrokenPipeError):
            child.wait()  # it has closed its end, so it is ending
            raise child.error(f"{target.path}: the encoder failed after {len(sent)} frames") from None
        if child.wait() != 0:
            raise child.error(f"{target.path}: the encoder failed after {len(sent)} frames")
    finally:
        child.kill()
    _verify(target, sent)
    return len(sent)


def audio_warnings(source: VideoSource, output: Path) -> list[str]:
    return [
        f"audio track {index + 1} ({codec}) does not fit into {output.suffix} and is transcoded; -o with .mkv keeps it as it is"
        for index, codec in enumerate(source.audio_codecs)
        if not _fits(codec, output)
    ]


def _fits(audio_codec: str, output: Path) -> bool:
    held = _AUDIO_OF_CONTAINER[_CONTAINERS[output.suffix.lower()]]
    return held is None or audio_codec in held


def _feed(child: _Child, frames: Iterable[tuple[np.ndarray[Any, Any], int]], target: Target, sent: array[int]) -> None:
    assert child.process.stdin is not None
    descriptor = child.process.stdin.fileno()
    _widen(descriptor)
    shift = round(SHIFT_SECONDS / target.time_base)
    with child.process.stdin, av.open(f"pipe:{descriptor}", "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=target.frame_rate)
        stream.width, stream.height, stream.pix_fmt = target.width_px, target.height_px, "yuv420p"
        stream.time_base = stream.codec_context.time_base = target.time_base
        for data, pts in frames:
            packet = av.Packet(data)  # type: ignore[arg-type]  # any buffer will do; raw video is its own packet: no encoder is asked, one copy less
            packet.stream, packet.time_base, packet.is_keyframe = stream, target.time_base, True
            packet.pts = packet.dts = pts + shift
            container.mux(packet)
            sent.append(pts)


def _encode_command(target: Target) -> list[str]:
    base, container = target.time_base, _CONTAINERS[target.path.suffix.lower()]
    tags = ":".join(f"{key}={value}" for key, value in target.colour_tags.items())
    aspect = f"setsar={target.sample_aspect.numerator}/{target.sample_aspect.denominator}"
    pictures = ffmpeg.input("pipe:0", f="nut", itsoffset=-SHIFT_SECONDS, **NO_PROBE)
    options: dict[str, Any] = {
        "f": container,
        "vcodec": target.encoder.name,
        **target.encoder.arguments,
        "pix_fmt": target.encoder.pixels,
        "vf": f"setparams={tags},{aspect}",
        "fps_mode": "passthrough",
        "enc_time_base": f"{base.numerator}:{base.denominator}",
    }
    if container in ("mp4", "mov"):
        options |= _movie_options(target)
    streams = [pictures["v:0"]]
    if target.source is not None:
        original, more = _original(target, target.source)
        options |= more
        streams.append(original["a?"])
    if target.offset_seconds is not None:
        options["output_ts_offset"] = _seconds(-target.offset_seconds)
    return _command(ffmpeg.output(*streams, _file(target.path), **options))


def _movie_options(target: Target) -> dict[str, Any]:
    clock = target.time_base.denominator
    rates = target.source.audio_rates_hz if target.source else ()
    # The offset of a track that begins late is stored in the movie's clock; it must be able to say every track's times.
    movie = math.lcm(clock, *[rate for rate in rates if rate])
    return {
        "video_track_timescale": clock,
        "movie_timescale": movie if movie < 2**31 else clock,
        "movflags": "+faststart",
        "write_tmcd": 0,  # a copied timecode tag makes a track that leaves the file without an index
        "metadata": "timecode=",
    }


def _original(target: Target, source: VideoSource) -> tuple[Any, dict[str, Any]]:
    cut: dict[str, Any] = {}
    if target.offset_seconds is not None:
        cut["ss"] = _seconds(target.offset_seconds - Fraction(source.start_seconds))
        if target.end_seconds is not None:
            cut["to"] = _seconds(target.end_seconds)
    options: dict[str, Any] = {"map_metadata": 1, "map_chapters": 1 if target.offset_seconds is None else -1}
    if target.audio == "none":
        return ffmpeg.input(_file(source.path)), {**options, "an": None}
    fallback = "libopus" if target.path.suffix.lower() == ".webm" else "aac"
    for index, codec in enumerate(source.audio_codecs):
        options[f"c:a:{index}"] = "copy" if _fits(codec, target.path) else fallback
    return ffmpeg.input(_file(source.path), **cut), options


def _verify(target: Target, sent: Sequence[int]) -> None:
    expected = np.asarray(sent, np.float64) * float(target.time_base) - float(target.offset_seconds or 0)
    try:
        with av.open(_file(target.path)) as container:
            stream = container.streams.video[0]
            pts = [packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None]
            written = np.sort(np.asarray(pts, np.float64)) * float(stream.time_base or 1)
    except (av.FFmpegError, IndexError) as error:
        raise OutputError(f"{target.path}: what was written cannot be read back ({_reason(error)})") from error
    if len(written) != len(expected):
        raise OutputError(f"{target.path}: {len(expected)} frames were sent, and {len(written)} are in the file")
    worst = float(np.abs(written - expected).max(initial=0))
    if worst > TIME_TOLERANCE_SECONDS:
        raise OutputError(f"{target.path}: a frame lies {worst:.4f} seconds from its time")
