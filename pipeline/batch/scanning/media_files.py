"""Which files of an archive are pictures and videos: by their content, or else their suffix."""

# A Path for each name would cost more than the walk itself, so names stay text until they are handed on.
# ruff: noqa: PTH116, PTH122

from __future__ import annotations

import os
import stat
from typing import Literal

from pipeline.files import HEAD_BYTES, JPEG_STREAM_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES, detect_type, is_text

MEDIA_SUFFIXES = frozenset((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
# Their containers can hold video, and then it is the cover.
_AUDIO_SUFFIXES = frozenset(
    (".mp3", ".wav", ".flac", ".m4a", ".m4b", ".aac", ".oga", ".opus", ".wma", ".mka", ".aif", ".aiff", ".ac3", ".dts")
)
_SOURCE_CODE_SUFFIXES = (".ts", ".mts")  # TypeScript, where they are texts
RAW_SUFFIXES = frozenset(
    (".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f")
)
# By their first bytes they are pictures and videos, and yet not what is meant.
NOT_TAKEN = {
    **dict.fromkeys(RAW_SUFFIXES, "a camera's raw picture, which is not read here"),
    **dict.fromkeys((".part", ".partial", ".crdownload"), "an unfinished download"),
    ".thm": "a camera's thumbnail of another file",
}


def is_input(path: str) -> bool:
    """Whether a batch would take that file."""
    suffix = suffix_of(path)
    if suffix in MEDIA_SUFFIXES and suffix not in _SOURCE_CODE_SUFFIXES:
        return True
    try:
        info = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and suffix not in NOT_TAKEN and detect_kind(path, suffix, info.st_size) is not None


def detect_kind(path: str, suffix: str, size_bytes: int) -> Literal["video", "image"] | None:
    """What the content says, or else the suffix; of a file that is empty or may not be read, the suffix alone."""
    if suffix in _AUDIO_SUFFIXES:
        return None
    said, text = None, False
    if size_bytes:
        try:
            # Not to wait for a writer, should it have become a named pipe.
            with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                said = detect_type(file, size_bytes=size_bytes)
                if said is None and suffix in _SOURCE_CODE_SUFFIXES:
                    file.seek(0)
                    text = is_text(file.read(HEAD_BYTES))
        except OSError:
            pass
    if said is not None:  # a bare stream of JPEGs begins as a JPEG does
        return "video" if suffix in JPEG_STREAM_SUFFIXES else said
    if text or suffix not in MEDIA_SUFFIXES:
        return None
    return "video" if suffix in VIDEO_SUFFIXES else "image"


def suffix_of(path: str) -> str:
    """In lower case, with its dot."""
    return os.path.splitext(path)[1].lower()
