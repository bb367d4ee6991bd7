"""What a file is by its name, and by its own first bytes: the suffixes and signatures of pictures and videos."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from pipeline.errors import CommandError, InputError

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"),
    *(".heic", ".heif", ".avif"),
)
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".3gp", ".wmv", ".flv", ".ogv")
JPEG_STREAM_SUFFIXES = (".mjpeg", ".mjpg")  # one JPEG after another: a video, though it begins as a picture does
HEAD_BYTES = 64
# A path that is made of "https://host" has one slash left. One letter and a colon is a drive.
_ADDRESS = re.compile(r"(?:https?|ftp|rtsp|rtmp|s3|gs)s?:|([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
_LIVE = re.compile(r"(?:rtsps?|rtmps?|udp|rtp|srt|mms):", re.IGNORECASE)

# Only what a file's own first bytes say is opened, by that one reader. Pillow's others would start Ghostscript for an EPS file,
# take an MPEG stream for a picture, or try their luck on anything.
_PICTURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "PPM": rb"P[1-6f][\s#]",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "PSD": rb"8BPS",
    "QOI": rb"qoif",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# Two letters begin a text as well; these say more. The header of a BMP gives its own length, that of a PPM its width.
_SURER = {
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6f]\s*(?:#[^\n]*\n\s*)*\d",
}
_VIDEOS = re.compile(
    rb"\x1a\x45\xdf\xa3"  # Matroska and WebM (EBML)
    rb"|RIFF....AVI[ \x19]"
    rb"|\0\0\x01[\xba\xb3]"  # MPEG program stream, MPEG-1 and 2 video
    rb"|\0\0\0\x01[\x67\x27\x09]|\0\0\0\x01[\x40\x46]\x01"  # H.264 and HEVC as they are, from a parameter set or delimiter on
    rb"|FLV\x01"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"  # ASF, WMV
    rb"|OggS.{24}(?:\x80theora|fishead\0|BBCD\0|OVP80|\x01video)"  # the first track, where video has to be
    rb"|\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"  # MXF (SMPTE 377)
    rb"|nut/multimedia container\0"
    rb"|DKIF\0\0|YUV4MPEG2 |\.RMF\0\0|\0\0\0\0\x01\xbc\0\0"  # IVF, Y4M, RealMedia, GXF
    rb"|\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d",  # WTV
    re.DOTALL,
)
_JPEG_XL = "a JPEG XL file, which is not read here"
# What people give by mistake, by what it is called in a message.
_OTHERS = {
    "a PDF document": rb"%PDF-",
    "a PostScript document": rb"%!PS",
    "a ZIP archive": rb"PK\x03\x04|PK\x05\x06",
    "a gzip archive": rb"\x1f\x8b\x08",
    "a 7z archive": rb"7z\xbc\xaf\x27\x1c",
    "a RAR archive": rb"Rar!\x1a\x07",
    "an HDF5 file": rb"\x89HDF\r\n\x1a\n",
    "an SQLite database": rb"SQLite format 3\0",
    "a sound recording": rb"ID3[\x02-\x04]|fLaC|RIFF....WAVE|FORM....AIF|\0\0\0.ftyp(?:M4A|M4B|M4P|F4A|F4B) ",
    _JPEG_XL: rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
}
_NO_VIDEO_BRANDS = {b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B ", b"crx "}  # sound, and a Canon camera's raw picture
_QUICKTIME_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # how files begin that are older than ftyp
_PACKETS = ((0, 188), (4, 192), (0, 204))  # MPEG-TS, with times before each packet (m2ts), with parity behind it
_SYNC = 0x47
_PACKETS_SEEN = 5  # a text may well have two letters G that far apart
_GIF_BYTES = 1 << 20
_PNG_CHUNKS = 1000


def explain_no_file(name: str) -> str:
    """Of a name that no file has: why it cannot be one, and what to do; "" where it might be one."""
    if os.path.lexists(name):
        return ""
    if name == "-":
        return "is no file, and pictures and videos are not read from stdin; save it to a file and give that"
    if _LIVE.match(name):
        return "is the address of a stream; record it to a file first, such as with ffmpeg, and give that"
    return "is an address; download it first, and give the file" if _ADDRESS.match(name) else ""


def refuse_address(path: Path) -> None:
    """Raises InputError for a web address or a stream's, and for "-"."""
    why = explain_no_file(str(path))
    if why:
        raise InputError(f"{str(path).replace(':/', '://', 1)}: {why}")  # a Path keeps one slash of two


def choose_command(argument: str) -> Literal["image", "video"] | None:
    """The command that an argument asks for which is a path, or looks like one: by its content, else by its suffix. None for a word.

    A folder stands for its pictures. Raises CommandError for one with videos in it, for which there are several ways. What cannot be
    read is for the command to refuse.
    """
    if not argument:  # a shell's unset variable; to Path it would be the current folder
        return None
    if os.path.isdir(argument):  # noqa: PTH112  # Path.is_dir raises for a name that is too long to exist
        videos = _count_videos(argument)
        if videos:
            named = shlex.quote(argument)
            raise CommandError(
                f"{argument}: a folder with {videos} video{'s' if videos > 1 else ''}",
                remedy=f"`visualize batch {named} -o OUT` makes all that is in it, `visualize image {named}` its pictures, "
                "`visualize video FILE...` some",
            )
        return "image"
    by_name: Literal["image", "video"] = "video" if _is_named_video(argument) else "image"
    if os.path.isfile(argument):  # noqa: PTH113  # as above
        if argument.lower().endswith(JPEG_STREAM_SUFFIXES):
            return "video"
        with suppress(OSError), Path(argument).open("rb") as file:
            return detect_type(file, size_bytes=os.fstat(file.fileno()).st_size) or by_name
        return by_name
    looks_like_one = os.sep in argument or _is_named_video(argument) or argument.lower().endswith(PICTURE_SUFFIXES)
    return by_name if looks_like_one or explain_no_file(argument) else None


def _count_videos(folder: str) -> int:
    """How many there are by their names; 0 in a folder that may not be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sum(_is_named_video(entry.name) and not entry.name.startswith(".") for entry in entries)
    return 0


def _is_named_video(name: str) -> bool:
    return name.lower().endswith((*VIDEO_SUFFIXES, *JPEG_STREAM_SUFFIXES))


def detect_image_format(head: bytes) -> str | None:
    """Pillow's name of the format that the first bytes of a file belong to, or None."""
    if head[4:8] == b"ftyp":  # ISO/IEC 14496-12: a major brand, a version, and all brands that the file keeps to
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else None
    return next((name for name, pattern in _PICTURES.items() if re.match(pattern, head, re.DOTALL)), None)


def detect_type(file: BinaryIO, *, size_bytes: int) -> Literal["video", "image"] | None:
    """ "image" for a still picture, "video" for one that moves and for what holds video; None for all else.

    Reads 64 bytes; more only of a PNG, a GIF (up to a megabyte) and what begins as MPEG-TS does.
    """
    head = file.read(HEAD_BYTES)
    picture = detect_image_format(head)
    if picture is not None:
        sure = re.match(_SURER.get(picture, b""), head, re.DOTALL)
        return None if not sure else "video" if _is_animated(picture, head, file) else "image"
    return "video" if _VIDEOS.match(head) or _is_mov(head, size_bytes) or _is_transport_stream(head, file) else None


def name_other_type(head: bytes) -> str | None:
    """What a file is that begins so and is neither a picture nor a video, such as "a ZIP archive" or "text"; None where nothing tells."""
    named = next((name for name, pattern in _OTHERS.items() if re.match(pattern, head, re.DOTALL)), None)
    if named or not head or not is_text(head):
        return named
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which takes half a letter at the end
    except UnicodeDecodeError:
        return None
    return "text"


def describe_other_type(other: str, is_not: str) -> str:
    """Of a file that `name_other_type` has named: what it is, and that it is not what was wanted, such as "not a picture"."""
    return f"is {other}" if other == _JPEG_XL else f"is {other}, {is_not}"  # which is a picture


def is_webp_animated(head: bytes) -> bool:
    """The flag of animation, https://developers.google.com/speed/webp/docs/riff_container."""
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def is_text(head: bytes) -> bool:
    """Whether bytes hold no control characters but white space, as text does."""
    return not re.search(rb"[\0-\x08\x0e-\x1f\x7f]", head)


def _is_mov(head: bytes, size_bytes: int) -> bool:
    box = head[4:8]
    if box == b"ftyp":
        return head[8:12] not in _NO_VIDEO_BRANDS
    length = int.from_bytes(head[:4], "big")
    return box in _QUICKTIME_BOXES and (length in (0, 1) or 8 <= length <= size_bytes)


def _is_transport_stream(head: bytes, file: BinaryIO) -> bool:
    if not any(head[start : start + 1] == bytes([_SYNC]) for start, _ in _PACKETS):
        return False
    more = head + file.read(_PACKETS_SEEN * max(step for _, step in _PACKETS) - len(head))
    marks = [more[start : start + step * _PACKETS_SEEN : step] for start, step in _PACKETS]
    return any(len(found) > 1 and set(found) == {_SYNC} for found in marks)


def _is_animated(picture: str, head: bytes, file: BinaryIO) -> bool:
    if picture == "WEBP":
        return is_webp_animated(head)
    if picture == "AVIF":
        return head[8:12] == b"avis"  # libavif, too, shows the sequence only where this is the major brand
    return _is_gif_animated(file) if picture == "GIF" else _is_png_animated(file) if picture == "PNG" else False


def _is_png_animated(file: BinaryIO) -> bool:
    """Whether an acTL chunk with more than one frame stands before the pixels (https://www.w3.org/TR/png-3/#acTL-chunk)."""
    at = 8
    for _ in range(_PNG_CHUNKS):
        file.seek(at)
        chunk = file.read(12)
        if len(chunk) < 12 or chunk[4:8] == b"IDAT":
            return False
        if chunk[4:8] == b"acTL":
            return 1 < int.from_bytes(chunk[8:], "big") < 1 << 31
        at += 12 + int.from_bytes(chunk[:4], "big")
    return False


def _is_gif_animated(file: BinaryIO) -> bool:
    """Whether there is a second image (https://www.w3.org/Graphics/GIF/spec-gif89a.txt).

    Where a megabyte ends before the first image does, what stands for endless repetition decides.
    """
    file.seek(0)
    data = file.read(_GIF_BYTES)
    images, at = 0, 13 + _measure_colour_table(data[10:11])
    while at < len(data):
        block = data[at]
        if block == 0x2C:  # an image: place and size, colours, the least code size, and its pixels
            images += 1
            at += 11 + _measure_colour_table(data[at + 9 : at + 10])
        elif block == 0x21:
            at += 2
        else:
            return False
        if images == 2:
            return at <= len(data)
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return len(data) == _GIF_BYTES and b"NETSCAPE2.0" in data[:1024]


def _measure_colour_table(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0
