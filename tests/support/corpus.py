"""One small clip for each row of what must come out right, with what must come out of it. `test_rows.py` holds the program to it.

`PYTHONPATH=tests python -m support.corpus FOLDER [NAME...]` makes them all, or those named.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from PIL import Image

from pipeline.arrays import Array
from support.clips import HEIGHT, WIDTH, constant, ffmpeg, picture, variable, write_clip

Colours = Sequence[tuple[int, int, int]]

COUNT, RATE = 20, 25
FAST = ("-preset", "ultrafast", "-crf", "8")
STRIP = slice(32, 64)  # the rows where the colours are
SATURATED: Colours = (
    (191, 40, 40),
    (40, 191, 40),
    (40, 40, 191),
    (40, 191, 191),
    (191, 40, 191),
    (191, 191, 40),
    (235, 235, 235),
    (60, 60, 60),
)
GRAYS: Colours = tuple((level,) * 3 for level in (20, 50, 80, 110, 140, 170, 200, 235))
WHITE = (255, 255, 255)


# ------------------------------------------------------------------------------------------------ what must come out


@dataclass(frozen=True, kw_only=True)
class Tags:
    """ffmpeg's names of what the output is tagged with; None where nothing is promised."""

    matrix: str | None = "smpte170m"
    primaries: str | None = None
    transfer: str | None = None
    full_range: bool | None = False


ANY = Tags(matrix=None, full_range=None)
BT709 = Tags(matrix="bt709", primaries="bt709", transfer="bt709")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A clip and what must come out of it. `warning` and `error` are patterns that the program's words must match.

    Frames: `numbers` are the barcodes in order, None where there is nothing to read, and then `frames` says how many there are, or
    None where it is as many as PyAV decodes. Times: those that PyAV reads in the source, or "steady" steps of 1/25 s from wherever
    the source begins, "joined" the same but for one step, or these seconds. `size` is that of one panel, None where it is scaled down
    to what an encoder takes. `clip` is the file, where two rows share one.
    """

    name: str
    make: Callable[[Path], object]
    numbers: Sequence[int] | None = tuple(range(COUNT))
    frames: int | None = None
    times: Literal["source", "steady", "joined"] | Sequence[float] = "source"
    size: tuple[int, int] | None = (WIDTH, HEIGHT)
    aspect: Fraction = Fraction(1)
    tags: Tags = Tags()
    colours: Colours | None = None
    tolerance: float = 3.0  # of colours, in levels of 255; 8-bit YUV, twice coded, cannot say RGB more exactly
    same_planes: bool = False
    warning: str = ""
    error: str = ""
    partial: bool = False
    complete: int | None = None  # how many frames a damaged source had, where its header still says so
    audio: Literal["copied", "aac", "steady"] = "copied"
    has: Mapping[str, Sequence[str]] = field(default_factory=dict)  # languages of sound and subtitles, titles of chapters
    clip: str | None = None
    output_suffix: str = ".mp4"

    @property
    def refused(self) -> bool:
        return bool(self.error) and not self.partial

    @property
    def file(self) -> str:
        return self.clip or self.name


# ------------------------------------------------------------------------------------------------ tools


def chart(number: int, width: int = WIDTH, height: int = HEIGHT, colours: Colours = SATURATED) -> Array:
    """The numbered picture of clips.py, with a strip of eight colours across it where there is room for one."""
    rgb = picture(number, width, height)
    if height >= STRIP.stop and width >= 8 * 16:
        for index, colour in enumerate(colours):
            rgb[STRIP, index * width // 8 : (index + 1) * width // 8] = colour
    return rgb


def encode(
    path: Path,
    *arguments: object,
    draw: Callable[..., Array] = chart,
    numbers: Sequence[int] = range(COUNT),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: str = "yuv420p",
    matrix: str = "bt601",
    full_range: bool = False,
    tags: str = "colorspace=unknown:color_primaries=unknown:color_trc=unknown:range=unknown",
    vf: str = "",
    more: Sequence[object] = (),
) -> Path:
    """RGB pictures at 25 a second into any codec. The matrix is what they are made with, the tags what the file says; `more` are inputs."""
    pictures = b"".join(draw(number, *size).tobytes() for number in numbers)
    convert = f"scale=out_color_matrix={matrix}:out_range={'full' if full_range else 'limited'}:flags=bicubic+accurate_rnd+full_chroma_int"
    rgb = pixels in ("rgb24", "gbrp")
    filters = [*([] if rgb else [convert]), f"format={pixels}", *([vf] if vf else []), *([] if rgb else [f"setparams={tags}"])]
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{size[0]}x{size[1]}", "-framerate", RATE, "-i", "-")
    codec = () if "-c:v" in arguments else ("-c:v", "libx264", *FAST)
    ffmpeg(*raw, *more, "-vf", ",".join(filters), *codec, *arguments, path, stdin=pictures)
    return path


def named(matrix: str, primaries: str, transfer: str, range_name: str = "tv") -> str:
    return f"colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}:range={range_name}"


def tone(seconds: float = 0.8, start_hz: int = 300) -> tuple[object, ...]:
    """Arguments for an input that rises in pitch."""
    return "-f", "lavfi", "-i", f"aevalsrc=0.3*sin(2*PI*({start_hz}+200*t)*t):s=48000:d={seconds}"


def beside(path: Path, name: str, make: Callable[[Path], object], *arguments: Any, **options: Any) -> Path:
    """Another clip in the same folder, made when it is not there yet."""
    other = path.with_name(name)
    if not other.exists():
        make(other, *arguments, **options)
    return other


def plain(path: Path, suffix: str = ".mp4", *arguments: object) -> Path:
    """H.264 with sound, to be changed into something else."""
    return beside(path, f"plain_{path.stem}{suffix}", encode, "-c:a", "aac", *arguments, more=tone())


# ------------------------------------------------------------------------------------------------ times


def variable_webm(path: Path) -> None:
    source = beside(path, "variable.mkv", variable_mkv)
    vp9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-crf", 10, "-b:v", 0)
    ffmpeg("-i", source, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", *vp9, path)


def variable_mkv(path: Path) -> None:
    write_clip(path, [Fraction(round(t * 1000), 1000) for t in variable(COUNT)], time_base=Fraction(1, 1000))


def cut_between_keyframes(path: Path) -> None:
    ffmpeg("-ss", "0.31", "-i", plain(path), "-c", "copy", path)


def duplicate_times(path: Path) -> None:
    """Two frames share a time, as broken capture programs write it."""
    source = beside(path, "plain_duplicate.mkv", encode, "-bf", 0)
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.pts is not None:
                packet.pts = packet.dts = packet.pts - (40 if number == 7 else 0)
                packet.stream = stream
                made.mux(packet)


def wrapped_ts(path: Path) -> None:
    """The 33 bits of MPEG-TS end at 95443.717 s, which is frame 8."""
    ffmpeg("-copyts", "-i", plain(path), "-c", "copy", "-muxdelay", 0, "-muxpreload", 0, "-output_ts_offset", "95443.4", path)


def discontinuous_ts(path: Path) -> None:
    """Ten frames from 60 s on, then ten from 2 s on, byte behind byte, as a receiver writes them."""
    content = b""
    for start, first in ((60, 0), (2, 10)):
        part = path.with_name(f"part{start}_{path.name}")
        numbers = range(first, first + 10)
        encode(part, "-output_ts_offset", start, "-c:a", "aac", numbers=numbers, more=tone(0.4))
        content += part.read_bytes()
    path.write_bytes(content)


# ------------------------------------------------------------------------------------------------ pictures


def lying(number: int, width: int, height: int, *, degrees: int) -> Array:
    return np.ascontiguousarray(np.rot90(chart(number, *((height, width) if degrees % 180 else (width, height))), -degrees // 90))


def rotated(path: Path, degrees: int, *, sar: str = "1") -> None:
    """Stored on its side with the display matrix that phones write; shown upright it is the chart."""
    size = (HEIGHT, WIDTH) if degrees % 180 else (WIDTH, HEIGHT)
    draw = partial(lying, degrees=degrees)
    source = beside(path, f"plain_{path.name}", encode, draw=draw, size=size, vf=f"setsar={sar}")
    ffmpeg("-display_rotation", degrees, "-i", source, "-c", "copy", path)


def gray(path: Path, pixels: str, *codec: object, full_range: bool, tags: str) -> None:
    """One plane, given as it is: ffmpeg's scaler makes gray in full range whatever it is told."""
    levels = [chart(number, colours=GRAYS).astype(float).mean(axis=2) for number in range(COUNT)]
    depth = 4 if pixels == "gray10le" else 1
    raw = b"".join(((y if full_range else 16 + y * 219 / 255) * depth).round().astype(f"<u{1 + (depth > 1)}").tobytes() for y in levels)
    given = ("-f", "rawvideo", "-pix_fmt", pixels, "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", RATE, "-i", "-")
    ffmpeg(*given, "-vf", f"setparams={tags}", *codec, path, stdin=raw)


def interlaced(path: Path) -> None:
    encode(path, "-c:v", "libx264", "-preset", "veryfast", "-crf", 8, "-flags", "+ildct+ilme", "-x264-params", "tff=1", vf="setfield=tff")


# The scene of the HDR clips, BT.2020 light in nits. The barcode is of black and diffuse white.
NITS = ((0, 0, 0), (203, 203, 203), (50, 50, 50), (100, 2, 2), (2, 100, 2), (2, 2, 100), (80, 80, 2), (800, 800, 800))


def perceptual_quantizer(nits: Array) -> Array:
    """SMPTE ST 2084, its inverse EOTF."""
    power = (nits / 10000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def hybrid_log_gamma(nits: Array) -> Array:
    """ARIB STD-B67, its OETF, of scene light at which 203 nits are 75 % of the signal."""
    light = np.clip(nits * 0.26496 / 203, 0, 1)
    return np.where(light <= 1 / 12, np.sqrt(3 * light), 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073)


def hdr_planes(number: int, transfer: Callable[[Array], Array]) -> bytes:
    """Ten bits in limited range, BT.2020 non-constant luminance, 4:2:0."""
    nits = np.full((HEIGHT, WIDTH, 3), 20.0)
    nits[:16, :128] = np.where(picture(number)[:16, :128] > 128, 203.0, 0.0)
    for index, light in enumerate(NITS):
        nits[STRIP, index * WIDTH // 8 : (index + 1) * WIDTH // 8] = light
    signal = transfer(nits)
    y = signal @ (0.2627, 0.678, 0.0593)
    u, v = (signal[..., 2] - y) / 1.8814, (signal[..., 0] - y) / 1.4746
    planes = (64 + 876 * y, 512 + 896 * u[::2, ::2], 512 + 896 * v[::2, ::2])
    return b"".join(plane.round().astype("<u2").tobytes() for plane in planes)


def hdr(path: Path, transfer: Callable[[Array], Array], name: str) -> None:
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", RATE, "-i", "-")
    codec = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", 6, "-x265-params", "log-level=error", "-tag:v", "hvc1")
    tags = f"setparams={named('bt2020nc', 'bt2020', name)}"
    ffmpeg(*raw, "-vf", tags, *codec, path, stdin=b"".join(hdr_planes(n, transfer) for n in range(COUNT)))


# Of the clips with alpha: clear from here on, with a colour below that must not show; half clear to the left of it.
CLEAR, HALF = np.s_[80:, 160:], np.s_[80:, 96:144]
CLEAR_COLOUR, HALF_COLOUR = (255, 0, 255), (0, 0, 0)


def see_through(number: int, width: int = WIDTH, height: int = HEIGHT, *, half: bool = True) -> Array:
    alpha = np.full((height, width, 1), 255, np.uint8)
    rgb = chart(number, width, height)
    rgb[CLEAR], alpha[CLEAR] = CLEAR_COLOUR, 0
    if half:
        rgb[HALF], alpha[HALF] = HALF_COLOUR, 128
    return np.concatenate([rgb, alpha], axis=2)


def alpha_video(path: Path, pixels: str, *codec: object) -> None:
    raw = ("-f", "rawvideo", "-pix_fmt", "rgba", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", RATE, "-i", "-")
    convert = f"scale=out_color_matrix=bt709:out_range=limited:flags=bicubic+accurate_rnd,format={pixels}"
    tags = f"setparams={named('bt709', 'bt709', 'bt709')}"
    ffmpeg(*raw, "-vf", f"{convert},{tags}", *codec, path, stdin=b"".join(see_through(n).tobytes() for n in range(COUNT)))


DELAYS_MS = tuple(40 + 30 * (n % 4) + (400 if n == 9 else 0) for n in range(COUNT))
DELAY_TIMES = tuple(sum(DELAYS_MS[:n]) / 1000 for n in range(COUNT))


def animated(path: Path, draw: Callable[..., Array] = chart, **options: Any) -> None:
    first, *rest = [Image.fromarray(draw(number)) for number in range(COUNT)]
    first.save(path, save_all=True, append_images=rest, duration=list(DELAYS_MS), loop=0, **options)


def gif_with_holes(path: Path) -> None:
    animated(path, partial(see_through, half=False), disposal=2)


def two_sizes(path: Path) -> None:
    """Ten frames, then ten of 384 x 288: another size, another shape."""
    parts = []
    for size, numbers in (((WIDTH, HEIGHT), range(10)), ((384, 288), range(10, 20))):
        part = path.with_name(f"part{size[0]}_{path.stem}.h264")
        parts.append(encode(part, "-bf", 0, size=size, numbers=numbers).read_bytes())
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(parts))
    if path.suffix == ".ts":
        ffmpeg("-framerate", RATE, "-i", raw, "-c", "copy", path)


# ------------------------------------------------------------------------------------------------ other tracks

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,400\nGood day\n\n2\n00:00:00,500 --> 00:00:00,700\nGoodbye\n"
CHAPTERS = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n" for start, end, title in ((0, 400, "one"), (400, 800, "two"))
)
TRACKS = {"audio": ["eng", "deu"], "chapters": ["one", "two"]}


def text(path: Path, name: str, content: str) -> Path:
    other = path.with_name(name)
    other.write_text(content)
    return other


def many_tracks(path: Path) -> None:
    srt, chapters = text(path, "words.srt", SUBTITLES), text(path, "chapters.txt", CHAPTERS)
    inputs = ("-i", plain(path), *tone(0.8, 500), "-i", srt, "-i", chapters)
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=Kommentar")
    common = ("-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-map_metadata", 3, "-c:v", "copy", "-c:a", "aac", *languages)
    if path.suffix == ".mp4":
        ffmpeg(*inputs, *common, "-c:s", "mov_text", "-metadata:s:s:0", "language=fra", path)
        return
    font = text(path, "letters.ttf", "no real font, and nobody looks")
    second = ("-map", "2:s", "-c:s:0", "srt", "-c:s:1", "ass", "-metadata:s:s:0", "language=fra", "-metadata:s:s:1", "language=spa")
    ffmpeg(*inputs, *common, *second, "-attach", font, "-metadata:s:t", "mimetype=font/ttf", path)


def cover(path: Path) -> Path:
    other = path.with_name("cover.png")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(other)
    return other


def with_cover(path: Path, *, first: bool) -> None:
    """iTunes' cover art. ffmpeg reads the boxes of the header in their order, so a cover in front of the tracks is stream 0."""
    maps = ("-map", 0, "-map", 1, "-c", "copy", "-c:v:1", "png", "-disposition:v:1", "attached_pic")
    ffmpeg("-i", plain(path), "-i", cover(path), *maps, path)
    if first:
        path.write_bytes(with_tags_first(path.read_bytes()))


def with_tags_first(content: bytes) -> bytes:
    """The boxes of `moov` with `udta` in front; their sum is the same, so no offset changes."""
    [(start, end)] = [(s, e) for kind, s, e in boxes(content, 0, len(content)) if kind == b"moov"]
    parts = [(kind, content[s:e]) for kind, s, e in boxes(content, start + 8, end)]
    ordered = sorted(parts, key=lambda part: (part[0] != b"mvhd", part[0] != b"udta"))
    return content[: start + 8] + b"".join(part for _, part in ordered) + content[end:]


def boxes(content: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of each box of an MP4, one level deep."""
    found = []
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        found.append((kind, start, start + size))
        start += size
    return found


def data_track(path: Path) -> None:
    binary = text(path, "telemetry.bin", "temperature 21\n" * 40)
    ffmpeg("-i", plain(path), "-f", "data", "-i", binary, "-map", 0, "-map", 1, "-c", "copy", path)


def two_videos(path: Path) -> None:
    other = beside(path, "hundreds.mp4", encode, numbers=range(100, 100 + COUNT))
    ffmpeg("-i", plain(path), "-i", other, "-map", "0:v", "-map", "1:v", "-map", "0:a", "-c", "copy", path)


# ------------------------------------------------------------------------------------------------ damage


def noisy(number: int, width: int, height: int) -> Array:
    """Noise below the barcode and the colours: what is cut off the file is then pictures, not the index."""
    rgb = chart(number, width, height)
    rgb[80:] = np.random.default_rng(number).integers(60, 200, rgb[80:].shape, np.uint8)
    return rgb


def long_plain(path: Path, suffix: str, *arguments: object) -> Path:
    return beside(path, f"plain_{path.stem}{suffix}", encode, "-g", 10, "-c:a", "aac", *arguments, draw=noisy, more=tone())


def truncated(path: Path, *arguments: object) -> None:
    content = long_plain(path, path.suffix, *arguments).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10 + 57])


def corrupt(path: Path) -> None:
    content = bytearray(long_plain(path, path.suffix, "-movflags", "+faststart").read_bytes())
    rng = random.Random(7)
    for _ in range(60):
        content[rng.randrange(len(content) * 4 // 10, len(content) * 6 // 10)] ^= rng.randrange(1, 256)
    path.write_bytes(content)


def without_index(path: Path) -> None:
    content = long_plain(path, path.suffix).read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])


def encrypted(path: Path) -> None:
    keys = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "7" * 32, "-encryption_kid", "a" * 32)
    ffmpeg("-i", plain(path), "-c", "copy", *keys, path)


def lying_duration(path: Path) -> None:
    """A header that says an hour."""
    content = plain(path, ".mkv").read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    path.write_bytes(content[:at] + struct.pack(">d", 3_600_000.0) + content[at + 8 :])


def without_duration(path: Path) -> None:
    path.write_bytes(ffmpeg("-i", plain(path), "-c", "copy", "-f", "matroska", "-live", 1, "-"))


def playlist(path: Path) -> None:
    """Texts that ffmpeg would follow to the neighbour, a good clip."""
    neighbour = beside(path, "neighbour.ts", encode).name
    path.write_text(PLAYLISTS[path.name].format(neighbour))


PLAYLISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat.mp4": "ffconcat version 1.0\nfile {}\n",
    "dash.mp4": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT0.8S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp2t"><Representation id="1" '
    'bandwidth="1000" width="256" height="144"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


def apple_double(path: Path) -> None:
    """What macOS leaves beside a file on a foreign disk."""
    path.write_bytes(
        bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes.fromhex("0002 00000009 00000032 00000ee2") + bytes(4000)
    )


# Names that a shell, ffmpeg or a pattern could take for something else. Each is a copy of one clip.
NAMES = (
    "with space.mp4",
    "a b'c\"d.mp4",
    "line\nbreak.mp4",
    "\N{PARROT}.mp4",
    "-y.mp4",
    "%03d.mp4",
    "[1]{2}.mp4",
    "http:colon.mp4",
    "what?.mp4",
    "#1.mp4",
    "*.mp4",
    "@list.mp4",
    os.fsdecode(b"latin1_\xfc\xff.mp4"),
)


# ------------------------------------------------------------------------------------------------ the table


def _lossless(pixels: str, **options: Any) -> Callable[[Path], object]:
    return lambda path: encode(path, "-c:v", "ffv1", pixels=pixels, **options)


def _tagged(matrix: str, primaries: str, transfer: str, *arguments: object, **options: Any) -> Callable[[Path], object]:
    conversion = {"smpte170m": "bt601", "bt709": "bt709", "bt2020nc": "bt2020"}[matrix]
    tags = named(matrix, primaries, transfer, "pc" if options.get("full_range") else "tv")
    return lambda path: encode(path, *arguments, matrix=conversion, tags=tags, **options)


_steady = tuple(n / RATE for n in range(COUNT))

TIMES = (
    Row(
        name="variable.mp4",
        make=lambda p: write_clip(p, variable(COUNT), audio_start=Fraction(0)),
        times=[float(t) for t in variable(COUNT)],
        same_planes=True,
    ),
    Row(name="variable.mkv", make=variable_mkv, times=[round(t * 1000) / 1000 for t in variable(COUNT)]),
    Row(name="variable.webm", make=variable_webm, times=[round(t * 1000) / 1000 for t in variable(COUNT)]),
    Row(name="late_start.mp4", make=lambda p: write_clip(p, constant(COUNT, start=Fraction(5))), times=[5 + t for t in _steady]),
    Row(name="edit_list.mp4", make=cut_between_keyframes, numbers=range(8, COUNT)),
    Row(
        name="late_long_audio.mp4",
        make=lambda p: write_clip(p, constant(COUNT), audio_start=Fraction(7, 10), audio_seconds=2),
        times=_steady,
    ),
    Row(
        name="open_gop.ts",
        make=lambda p: encode(
            p, "-c:v", "libx264", "-crf", 8, "-x264-params", "open-gop=1:keyint=10:bframes=3", "-c:a", "aac", more=tone()
        ),
        times="steady",
    ),
    Row(name="b_frames.h264", make=lambda p: encode(p, "-c:v", "libx264", "-crf", 8, "-bf", 3), times="steady"),
    Row(name="duplicate.mkv", make=duplicate_times, times=[t if n != 7 else t - 0.04 for n, t in enumerate(_steady)]),
    Row(name="wrap.ts", make=wrapped_ts, times="steady"),
    Row(name="discontinuity.ts", make=discontinuous_ts, times="joined", audio="steady"),
    Row(name="lying_duration.mkv", make=lying_duration, times=_steady),
    Row(name="no_duration.mkv", make=without_duration, times=_steady),
)

SHAPES = (
    Row(name="rotated90.mov", make=partial(rotated, degrees=90), colours=SATURATED),
    Row(name="rotated180.mp4", make=partial(rotated, degrees=180), colours=SATURATED),
    Row(name="rotated270.mp4", make=partial(rotated, degrees=270), colours=SATURATED),
    Row(name="odd.mkv", make=_lossless("yuv420p", size=(253, 143)), size=(253, 143), same_planes=True),
    Row(name="aspect.mp4", make=lambda p: encode(p, vf="setsar=4/3"), aspect=Fraction(4, 3)),
    Row(name="aspect_rotated.mp4", make=partial(rotated, degrees=90, sar="4/3"), aspect=Fraction(3, 4)),
    Row(name="interlaced.mp4", make=interlaced, warning="interlaced", same_planes=True),
    Row(name="sizes.ts", make=two_sizes, numbers=None, frames=COUNT, times="steady"),
    Row(name="sizes.h264", make=two_sizes, numbers=None, frames=COUNT, times="steady"),
    Row(name="single.mp4", make=lambda p: encode(p, numbers=[3]), numbers=[3]),
    Row(name="one_pixel.mkv", make=_lossless("yuv444p", size=(1, 1)), numbers=None, frames=COUNT, size=(1, 1)),
    Row(name="two_pixels.mp4", make=lambda p: encode(p, size=(2, 2)), numbers=None, frames=COUNT, size=(2, 2)),
    Row(name="wide.mkv", make=lambda p: encode(p, "-c:v", "ffv1", size=(8192, 16), numbers=range(4)), numbers=range(4), size=(8192, 16)),
    Row(
        name="too_wide.mkv",
        make=lambda p: encode(p, "-c:v", "ffv1", size=(12000, 64), numbers=range(4)),
        numbers=range(4),
        size=None,
        warning="scaled",
    ),
)

COLOURS = (
    Row(
        name="full_range.mp4",
        make=_tagged("smpte170m", "smpte170m", "smpte170m", full_range=True),
        tags=Tags(full_range=True),
        colours=SATURATED,
        same_planes=True,
    ),
    Row(
        name="bt601.mp4",
        make=_tagged("smpte170m", "smpte170m", "smpte170m"),
        tags=Tags(primaries="smpte170m", transfer="smpte170m"),
        colours=SATURATED,
        same_planes=True,
    ),
    Row(name="bt709.mp4", make=_tagged("bt709", "bt709", "bt709"), tags=BT709, colours=SATURATED, same_planes=True),
    Row(
        name="bt2020.mp4",
        make=_tagged("bt2020nc", "bt2020", "bt2020-10"),
        tags=Tags(matrix="bt2020nc", primaries="bt2020", transfer="bt2020-10"),
        colours=SATURATED,
        same_planes=True,
    ),
    Row(name="untagged.mp4", make=encode, colours=SATURATED, same_planes=True),
    Row(
        name="untagged_720.mp4",
        make=lambda p: encode(p, matrix="bt709", size=(1280, 720), numbers=range(4)),
        numbers=range(4),
        size=(1280, 720),
        tags=Tags(matrix="bt709"),
        colours=SATURATED,
        same_planes=True,
    ),
    # H.264 in one plane decodes as 4:2:0. FFV1 stays gray; untagged it is full range, as ffmpeg and what writes such files have it.
    Row(name="gray.mp4", make=partial(gray, pixels="gray", full_range=False, tags="range=tv"), tags=Tags(matrix=None), colours=GRAYS),
    Row(name="gray8.mkv", make=lambda p: gray(p, "gray", "-c:v", "ffv1", full_range=True, tags="range=unknown"), tags=ANY, colours=GRAYS),
    Row(name="gray10.mkv", make=lambda p: gray(p, "gray10le", "-c:v", "ffv1", full_range=True, tags="range=pc"), tags=ANY, colours=GRAYS),
    Row(name="yuv444.mp4", make=_tagged("bt709", "bt709", "bt709", pixels="yuv444p"), tags=BT709, colours=SATURATED),
    Row(name="yuv422.mp4", make=_tagged("bt709", "bt709", "bt709", pixels="yuv422p"), tags=BT709, colours=SATURATED),
    Row(name="yuv422_10.mkv", make=_tagged("bt709", "bt709", "bt709", pixels="yuv422p10le"), tags=BT709, colours=SATURATED),
    Row(name="ten_bit_sdr.mkv", make=_tagged("smpte170m", "smpte170m", "smpte170m", pixels="yuv420p10le"), colours=SATURATED),
    Row(
        name="rgb264.mkv",
        make=lambda p: encode(p, "-c:v", "libx264rgb", *FAST, pixels="rgb24"),
        tags=Tags(matrix="bt709"),
        colours=SATURATED,
    ),
    Row(name="gbrp.mkv", make=_lossless("gbrp"), tags=Tags(matrix="bt709"), colours=SATURATED),
    Row(name="png.mov", make=lambda p: encode(p, "-c:v", "png", pixels="rgb24"), tags=Tags(matrix="bt709"), colours=SATURATED),
    Row(
        name="mjpeg.avi",
        make=lambda p: encode(p, "-c:v", "mjpeg", "-q:v", 2, pixels="yuvj422p", full_range=True),
        tags=Tags(full_range=True),
        colours=SATURATED,
        tolerance=4,
    ),
    Row(name="pq.mp4", make=partial(hdr, transfer=perceptual_quantizer, name="smpte2084"), tags=BT709, warning="HDR"),
    Row(name="hlg.mp4", make=partial(hdr, transfer=hybrid_log_gamma, name="arib-std-b67"), tags=BT709, warning="HDR"),
    Row(
        name="alpha.mov",
        make=lambda p: alpha_video(p, "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4444", "-alpha_bits", 16),
        tags=BT709,
        colours=SATURATED,
    ),
    Row(
        name="alpha.webm",
        make=lambda p: alpha_video(
            p, "yuva420p", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-crf", 8, "-b:v", 0, "-auto-alt-ref", 0
        ),
        tags=BT709,
        colours=SATURATED,
        tolerance=5,
    ),
    Row(name="alpha.gif", make=gif_with_holes, times=DELAY_TIMES, tags=Tags(matrix="bt709"), colours=SATURATED, tolerance=8),
    Row(name="animated.gif", make=animated, times=DELAY_TIMES, tags=Tags(matrix="bt709"), colours=SATURATED, tolerance=8),
    Row(name="animated.png", make=animated, times=DELAY_TIMES, tags=Tags(matrix="bt709"), colours=SATURATED),
    Row(name="animated.apng", make=partial(animated, format="PNG"), times=DELAY_TIMES, tags=Tags(matrix="bt709"), colours=SATURATED),
    Row(name="animated.webp", make=partial(animated, lossless=True), times=DELAY_TIMES, tags=Tags(matrix="bt709"), colours=SATURATED),
)

_with_sound = ("-c:v", "libx264", *FAST)
TRACK_ROWS = (
    Row(name="tracks.mp4", make=many_tracks, has={**TRACKS, "subtitles": ["fra"]}),
    Row(name="tracks.mkv", make=many_tracks, has={**TRACKS, "subtitles": ["fra", "spa"]}),
    Row(name="tracks_kept", clip="tracks.mkv", make=many_tracks, has={**TRACKS, "subtitles": ["fra", "spa"]}, output_suffix=".mkv"),
    Row(name="cover_second.mp4", make=partial(with_cover, first=False)),
    Row(name="cover_first.mp4", make=partial(with_cover, first=True), warning="cover|picture"),
    Row(name="data.ts", make=data_track, times="steady"),
    Row(name="timecode.mov", make=lambda p: encode(p, "-timecode", "01:00:00:00", more=tone())),
    Row(
        name="pcm.mov",
        make=lambda p: encode(p, *_with_sound, "-c:a", "pcm_s16le", more=tone()),
        audio="aac",
        warning="pcm_s16le.*AAC",
    ),
    Row(
        name="pcm.mkv",
        make=lambda p: encode(p, *_with_sound, "-c:a", "pcm_s16le", more=tone()),
        audio="aac",
        warning="pcm_s16le.*AAC",
    ),
    Row(name="pcm_kept", clip="pcm.mkv", make=lambda p: encode(p, *_with_sound, "-c:a", "pcm_s16le", more=tone()), output_suffix=".mkv"),
    Row(
        name="vorbis.mkv",
        make=lambda p: encode(p, *_with_sound, "-c:a", "libvorbis", more=tone()),
        audio="aac",
        warning="vorbis.*AAC",
    ),
    Row(name="two_videos.mp4", make=two_videos, warning="2 video tracks"),
)

DAMAGED = (
    Row(
        name="truncated.mp4",
        make=lambda p: truncated(p, "-movflags", "+faststart"),
        numbers=None,
        partial=True,
        error="missing",
        complete=COUNT,
    ),
    Row(name="truncated.mkv", make=truncated, numbers=None, partial=True, error="."),
    Row(name="truncated.ts", make=truncated, numbers=None, partial=True, error=".", times="steady"),
    Row(name="corrupt.mp4", make=corrupt, numbers=None, partial=True, error="."),
)

REFUSED = (
    Row(
        name="cover.mp3",
        make=lambda p: ffmpeg(*tone(), "-i", cover(p), "-map", 0, "-map", 1, "-c:v", "mjpeg", "-disposition:v", "attached_pic", p),
        error="no video",
    ),
    Row(name="audio.m4a", make=lambda p: ffmpeg(*tone(), p), error="no video"),
    Row(name="no_index.mp4", make=without_index, error="index|moov"),
    Row(name="empty.mp4", make=Path.touch, error="empty"),
    Row(name="text.mp4", make=lambda p: p.write_text("This is not a video. " * 100), error="not a video"),
    Row(name="random.mp4", make=lambda p: p.write_bytes(random.Random(1).randbytes(20000)), error="nor a video"),
    Row(name="encrypted.mp4", make=encrypted, error="encrypted"),
    *(Row(name=name, make=playlist, error="playlist|not a video") for name in PLAYLISTS),
    Row(name="folder.mp4", make=Path.mkdir, error="folder"),
    Row(name="pipe.mp4", make=os.mkfifo, error="not a file"),
    Row(name="._fork.mp4", make=apple_double, error="not a video"),
    Row(name="missing.mp4", make=lambda _: None, error="no such file"),
)

ROWS: Mapping[str, Row] = {row.name: row for row in (*TIMES, *SHAPES, *COLOURS, *TRACK_ROWS, *DAMAGED, *REFUSED)}


def make_clip(row: Row, folder: Path) -> Path:
    path = folder / row.file
    if not os.path.lexists(path):
        row.make(path)
    return path


def make_names(folder: Path) -> list[Path]:
    """Copies of one short clip under every name."""
    content = encode(folder / "short.mp4", numbers=range(2)).read_bytes()
    for name in NAMES:
        (folder / name).write_bytes(content)
    return [folder / name for name in NAMES]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for wanted in sys.argv[2:] or ROWS:
        print(make_clip(ROWS[wanted], target))
    if not sys.argv[2:]:
        (target / "names").mkdir(exist_ok=True)
        print(*(str(path).encode(errors="backslashreplace").decode() for path in make_names(target / "names")), sep="\n")
