"""What is in a video file, before it is decoded: tracks, sizes, colour, times, and what speaks against it (PyAV)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import av

from pipeline.errors import InputError, KindError
from pipeline.files import HEAD_BYTES, describe_other_type, detect_type, is_text, name_other_type
from pipeline.records import Colour, VideoSource

# Formats that are one file and nothing else. Playlists, scripts and captures (hls, concat, dash, image2, lavfi, sdp, vapoursynth ...)
# can make ffmpeg open other files and addresses; text drawn as video (tty) is nothing that anyone means.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,vc1,av1,obu,ivf,flv,live_flv,asf,asf_o,ogg,nut,mxf,mxf_opatom,gif,apng,rm,dv,"
    "gxf,wtv,nuv,yuv4mpegpipe,mjpeg,mjpeg_2000,dirac,cavsvideo,avs,swf,smk,bink,roq,film_cpk,flic,thp,h261,h263,vc1test,"
    "mp3,flac,wav,aac,ac3,eac3,aiff,ape,amr,caf,dts,w64,wv,tta,mpc"
)
SAFE = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
OPEN_TIMEOUT_SECONDS = 30.0
DEFAULT_MAX_MEGAPIXELS = 36.0  # 8192x4320; decoders hold a dozen frames
LONGEST_LAST_FRAME_SECONDS = 60  # a header that says more is taken to be wrong
# Elementary streams: ffmpeg counts their frames at a rate of its own choosing.
UNTIMED = frozenset({"h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "vc1", "obu", "cavsvideo", "dirac"})
UNSEEKABLE = UNTIMED | {"gif", "apng"}

_MATRICES: Mapping[int, Literal["bt601", "bt709", "bt2020"]] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_PRIMARIES = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 12: "smpte432"}
_TRANSFERS = {1: "bt709", 6: "smpte170m", 13: "iec61966-2-1", 14: "bt2020-10", 16: "smpte2084", 18: "arib-std-b67"}
_MATRIX_TAGS = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}
_HDR: Mapping[int, Literal["PQ", "HLG"]] = {16: "PQ", 18: "HLG"}
_UNSPECIFIED, _FULL_RANGE = 2, 2
_ATTACHED_PICTURE = 0x400
_TOP_FIELD_CODED_FIRST = 2  # AVFieldOrder: 0 unknown, 1 progressive, from here on interlaced
_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|pal8")
# Tags in Latin-1 must not hide a good video; from version 19 on PyAV sees to that by itself.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def probe(
    path: Path,
    *,
    stream: int | None = None,
    fps: Fraction | None = None,
    max_megapixels: float | None = None,
    is_not: str = "not a video",
) -> VideoSource:
    """Open a video, read its header and decode its first frame.

    `stream` chooses among several video tracks, counted from 0; `fps` is the rate of files that hold no times (raw H.264 and such);
    `is_not` ends the message of a file that is something else.

    Raises InputError when the file is missing, unreadable, empty, encrypted, a playlist, no media, holds no video, or frames of more
    than `max_megapixels` (DEFAULT_MAX_MEGAPIXELS where it is None).
    """
    check_readable(path)
    try:
        with open_container(path) as container:
            return _describe_source(path, container, stream, fps, max_megapixels or DEFAULT_MAX_MEGAPIXELS)
    except (av.FFmpegError, ValueError, UnicodeError, OverflowError) as error:
        raise _explain_refusal(path, getattr(error, "strerror", None) or str(error), is_not) from error


def open_container(path: Path, *, decoders: bool = True) -> Any:
    """The file in PyAV, which never opens another one for it. Raises av.FFmpegError.

    For whoever wants packets alone: without `decoders` no picture is decoded on opening, which takes 60 ms for a 3840x1080 one of H.264.
    """
    options = SAFE if decoders else {**SAFE, "codec_whitelist": "none"}
    return av.open(f"file:{path}", format=detect_animated_format(path), options=options, timeout=OPEN_TIMEOUT_SECONDS, **_LENIENT)


def detect_animated_format(path: Path) -> str | None:
    """The format of an animated picture by its first bytes: to ffmpeg, `%03d.gif` would be a series of files."""
    with path.open("rb") as file:
        head = file.read(8)
    return "gif" if head.startswith(b"GIF8") else "apng" if head.startswith(b"\x89PNG") else None


def check_readable(path: Path) -> None:
    """Raises InputError unless the path is a plain file with something in it that may be read."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: is not a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")


def _describe_source(path: Path, container: Any, number: int | None, fps: Fraction | None, max_megapixels: float) -> VideoSource:
    videos = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    if not videos:
        raise InputError(f"{path}: there is no video in it{', only sound' if container.streams.audio else ''}")
    if number is not None and number >= len(videos):
        raise InputError(f"{path}: there is no video track {number}, only {len(videos)}, counted from 0")
    stream = videos[number or 0]
    context = stream.codec_context
    if context is None or not context.width or not context.height or stream.time_base is None:
        raise InputError(f"{path}: its video track cannot be decoded (codec {context.name if context else 'unknown'})")
    _check_size(path, context.width, context.height, max_megapixels)
    if _is_encrypted(path):
        raise InputError(f"{path}: is encrypted", remedy="it can only be read with its key")
    first = _decode_first_frame(container, stream, max_megapixels)
    turned = first is not None and getattr(first, "rotation", 0) % 180 != 0
    width, height = (first.width, first.height) if first is not None else (context.width, context.height)
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    untimed = container.format.name in UNTIMED
    rate = fps if untimed and fps else stream.average_rate or stream.guessed_rate
    duration = _find_duration_seconds(container, stream)
    look = first or context
    hdr, has_alpha = _HDR.get(_read_property(look, context, "color_trc")), _has_alpha(context, stream)
    colour = _find_colour(look, context, converted=hdr is not None or has_alpha or _is_rgb(context))
    return VideoSource(
        path=path,
        container=container.format.name,
        stream_index=stream.index,
        width_px=height if turned else width,
        height_px=width if turned else height,
        sample_aspect=1 / aspect if turned else aspect,
        time_base=Fraction(stream.time_base),
        colour=colour,
        colour_tags=_name_colour_tags(look, context, colour, hdr),
        is_rgb=_is_rgb(context),
        has_alpha=has_alpha,
        hdr=hdr,
        interlaced=_is_interlaced(first, context),
        decoder=_choose_decoder(context, stream),
        rate=fps if untimed else None,
        start_seconds=(container.start_time or 0) / av.time_base,
        duration_seconds=duration,
        end_seconds=_find_end_seconds(stream),
        frame_rate=Fraction(rate) if rate else Fraction(25),
        frames_listed=stream.frames or None,
        frames_estimate=stream.frames or (round(duration * rate) if duration and rate else None),
        audio_codecs=tuple(_name_codec(s) for s in container.streams.audio),
        audio_rates_hz=tuple(getattr(s.codec_context, "sample_rate", 0) for s in container.streams.audio),
        audio_languages=tuple(s.metadata.get("language") for s in container.streams.audio),
        subtitle_codecs=tuple(_name_codec(s) for s in container.streams.subtitles),
        max_pixels=round(max_megapixels * 1e6),
        warnings=tuple(_list_warnings(container, videos, stream, hdr, first, context, fps if not untimed else None)),
    )


def _name_codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown"


def _check_size(path: Path, width: int, height: int, max_megapixels: float) -> None:
    size = width * height / 1e6
    if size > max_megapixels:
        raise InputError(
            f"{path}: its frames are {width}x{height}, {size:.1f} megapixels, above the limit of {max_megapixels:g}",
            remedy=f"if that is meant, add --max-megapixels {size + 1:.0f}",
        )


def _decode_first_frame(container: Any, stream: Any, max_megapixels: float) -> Any | None:
    """The first frame that decodes among the first packets; None where there is none."""
    try:
        stream.codec_context.options = {"max_pixels": str(round(max_megapixels * 1e6))}
        stream.codec_context.thread_count = 1  # threads would decode a dozen frames before they show the first
        for count, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                return frame
            if count > 60:
                break
    except (av.FFmpegError, ValueError, OSError):
        pass
    return None


def _list_warnings(
    container: Any, videos: Sequence[Any], chosen: Any, hdr: str | None, first: Any, context: Any, fps: Fraction | None
) -> Iterator[str]:
    if len(videos) > 1:
        yield f"{len(videos)} video tracks; number {videos.index(chosen)} is used, --stream N (from 0) takes another"
    if hdr:
        yield f"HDR ({hdr}) is tone-mapped to BT.709"
    if _is_interlaced(first, context):
        yield "interlaced: frames stay as they are, one for one; the network sees them deinterlaced"
    if fps is not None:
        yield "its frames have times of their own; --fps is for folders and raw streams"
    # QuickTime keeps the names of chapters as a track of their own, which is not lost.
    data = [s for s in container.streams.data if not (s.name == "bin_data" and container.chapters())]
    attached = len(container.streams.video) - len(videos)
    kinds = {"attached picture": attached, "attachment": len(container.streams.attachments), "data track": len(data)}
    for kind, count in kinds.items():
        if count:
            yield f"{count} {kind}{'s' if count > 1 else ''} (such as {_EXAMPLES[kind]}) not carried over"


_EXAMPLES = {"attached picture": "cover art", "attachment": "fonts", "data track": "timecode"}


def _find_duration_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _find_end_seconds(stream: Any) -> Fraction | None:
    """When the track's own header says that its last frame ends."""
    if not stream.duration:
        return None
    return Fraction((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base)


# ------------------------------------------------------------------------------------------------ pixels


def _read_property(look: Any, context: Any, name: str) -> int:
    """What the frame says, or else the track."""
    value = int(getattr(look, name))
    return value if value != _UNSPECIFIED or name == "color_range" else int(getattr(context, name))


def _is_rgb(context: Any) -> bool:
    return bool(context.format) and context.format.is_rgb


def _has_alpha(context: Any, stream: Any) -> bool:
    return bool(_ALPHA.search(context.pix_fmt or "")) or _choose_decoder(context, stream) is not None


def _choose_decoder(context: Any, stream: Any) -> str | None:
    """VP8 and VP9 keep transparency in a second stream that only libvpx reads."""
    return {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.name) if stream.metadata.get("alpha_mode") == "1" else None


def _is_interlaced(first: Any, context: Any) -> bool:
    return bool(getattr(first, "interlaced_frame", False)) or int(getattr(context, "field_order", 0) or 0) >= _TOP_FIELD_CODED_FIRST


def _find_colour(look: Any, context: Any, *, converted: bool) -> Colour:
    """The matrix and range of the decoded planes. The rule for untagged files is the players': BT.709 from 720 lines on, else BT.601."""
    if converted:
        return Colour(matrix="bt709", full_range=False)  # what the decoder child is told to convert it to
    by_size: Literal["bt601", "bt709"] = "bt709" if min(context.width, context.height) >= 720 else "bt601"
    matrix = _MATRICES.get(_read_property(look, context, "colorspace"), by_size)
    named_full = context.pix_fmt is not None and context.pix_fmt.startswith("yuvj")
    return Colour(matrix=matrix, full_range=named_full or int(context.color_range) == _FULL_RANGE)


def _name_colour_tags(look: Any, context: Any, colour: Colour, hdr: str | None) -> dict[str, str]:
    """Names for ffmpeg's setparams filter; what the source leaves open is tagged as it was taken to be."""
    tags = {"range": "pc" if colour.full_range else "tv", "colorspace": _MATRIX_TAGS[colour.matrix]}
    if hdr:
        return {**tags, "color_primaries": "bt709", "color_trc": "bt709"}
    primaries, transfer = _read_property(look, context, "color_primaries"), _read_property(look, context, "color_trc")
    if primaries in _PRIMARIES:
        tags["color_primaries"] = _PRIMARIES[primaries]
    if transfer in _TRANSFERS:
        tags["color_trc"] = _TRANSFERS[transfer]
    return tags


# ------------------------------------------------------------------------------------------------ what speaks against a file

_PLAYLIST = re.compile(rb"#EXTM3U|ffconcat version|<MPD|<SmoothStreaming|<asx|<smil|\[playlist\]|^v=0|^\[Reference\]", re.I | re.M)


def _explain_refusal(path: Path, reason: str, is_not: str) -> InputError:
    """Why ffmpeg does not open a file, in words that help."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if path.name.startswith("._") and head.startswith(b"\0\5\x16\7"):
        return InputError(f"{path}: is a macOS metadata file, {is_not}")
    other = name_other_type(head[:HEAD_BYTES])
    if other not in (None, "text"):
        return KindError(f"{path}: {describe_other_type(other, is_not)}")
    if is_text(head) and head[:1].isascii():
        if _PLAYLIST.search(head):
            return InputError(f"{path}: is a playlist, {is_not}; it would open other files or addresses", remedy="give the video itself")
        return InputError(f"{path}: is text, {is_not}", remedy="check the file")
    if _is_encrypted(path):
        return InputError(f"{path}: is encrypted", remedy="it can only be read with its key")
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"skip") and not any(kind == b"moov" for kind, _, _ in _read_boxes(path)):
        return InputError(f"{path}: its index (moov) is missing: the recording was not finished, or the file is cut off")
    if detect_type(BytesIO(head), size_bytes=path.stat().st_size) == "image":
        return KindError(f"{path}: is a picture", remedy="use `visualize image`")
    return InputError(f"{path}: is neither a picture nor a video that ffmpeg can read ({reason})", remedy="check the file")


def _read_boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Top-level boxes of an ISO base media file (ISO/IEC 14496-12, 4.2): type, offset and size of the content."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            length, start = int.from_bytes(header[:4], "big"), 8
            if length == 1:
                length, start = int.from_bytes(header[8:16], "big"), 16
            length = length or size - offset
            if length < start:
                return
            yield header[4:8], offset + start, min(length, size - offset) - start
            offset += length


def _is_encrypted(path: Path) -> bool:
    """Common encryption in MP4 (ISO/IEC 23001-7: a sample entry "encv" with scheme info), or scrambled MPEG-TS packets."""
    with path.open("rb") as file:
        head = file.read(188 * 500)
        if head[4:8] == b"ftyp":
            for kind, offset, size in _read_boxes(path):
                if kind == b"moov":
                    file.seek(offset)
                    index = file.read(min(size, 1 << 26))
                    return b"encv" in index and b"sinf" in index
    packets = [head[i : i + 4] for i in range(0, len(head) - 187, 188)]
    if len(packets) < 5 or any(packet[0] != 0x47 for packet in packets):
        return False
    carrying = [packet for packet in packets if packet[3] & 0x10]
    return sum(packet[3] >> 6 > 1 for packet in carrying) > len(carrying) / 2  # ISO/IEC 13818-1, 2.4.3.3
