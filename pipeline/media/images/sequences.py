"""A folder of frames, or an animated image, in place of a video file: images with times."""

from __future__ import annotations

import bisect
import itertools
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.arrays import Array
from pipeline.errors import InputError
from pipeline.files import PICTURE_SUFFIXES
from pipeline.media.images.damaged_images import read_partial_image
from pipeline.media.images.reader import count_frames, damage_error, decode_upright, open_image, open_image_file, upright_size
from pipeline.records import natural_key

_NOTHING_SECONDS = Fraction(1, 10**9)


@dataclass(frozen=True, kw_only=True)
class ImageSequence:
    """A folder of frames, or an animated picture: pictures with times, in place of a video file.

    `path` is the folder or the animated file; `files` has one for each frame of a folder, or the one file of an animation.
    `times_seconds` are multiples of `time_base`, the first is 0; `end_seconds` is when the last frame ends. The size is that of
    the first picture, upright; others are fitted into it on black.
    """

    path: Path
    files: Sequence[Path]
    times_seconds: Sequence[Fraction]
    end_seconds: Fraction
    time_base: Fraction
    width_px: int
    height_px: int
    max_megapixels: float | None = None
    warnings: Sequence[str] = ()

    @property
    def frame_rate(self) -> Fraction:
        """Frames in a second, on average."""
        return len(self.times_seconds) / self.end_seconds

    def between(self, start_seconds: float | None, end_seconds: float | None) -> range:
        """The numbers of the frames that begin at or after the start and before the end; a nanosecond counts as nothing."""
        first = bisect.bisect_left(self.times_seconds, Fraction(start_seconds or 0) - _NOTHING_SECONDS)
        if end_seconds is None:
            return range(first, len(self.times_seconds))
        return range(first, bisect.bisect_left(self.times_seconds, Fraction(end_seconds) - _NOTHING_SECONDS))

    def seconds(self, numbers: range) -> Fraction:
        """How long these frames are shown."""
        ends = (*self.times_seconds[1:], self.end_seconds)
        return ends[numbers[-1]] - self.times_seconds[numbers[0]]


def open_image_folder(folder: Path, *, fps: Fraction, allow_gaps: bool = False, max_megapixels: float | None = None) -> ImageSequence:
    """A folder of frames in natural order, `fps` of them in a second; the header of every one is looked at.

    Raises InputError when there are none, one cannot be opened, or the numbers in their names have a gap that is not allowed.
    """
    files = list_images(folder)
    if not files:
        raise InputError(f"{folder}: the folder holds no pictures", remedy="give a video file or a folder of frames")
    said = [_warn_of_gaps(folder, files, allow_gaps)]
    sizes = [_read_upright_size(path, max_megapixels) for path in files]
    others = sum(size != sizes[0] for size in sizes)
    if others:
        width, height = sizes[0]
        said.append(
            f"{others} of {len(files)} frames have another size than the first, {width} x {height}: they are fitted into it on black"
        )
    return ImageSequence(
        path=folder,
        files=files,
        times_seconds=[number / fps for number in range(len(files))],
        end_seconds=len(files) / fps,
        time_base=1 / fps,
        width_px=sizes[0][0],
        height_px=sizes[0][1],
        max_megapixels=max_megapixels,
        warnings=[warning for warning in said if warning],
    )


def open_animation(path: Path, *, max_megapixels: float | None = None) -> ImageSequence:
    """An animated WebP, every frame at its own time.

    Raises InputError when it cannot be opened, or is cut off.
    """
    with open_image(path, max_megapixels) as image:
        count = count_frames(image)
        width, height = upright_size(image)
    ends = _read_frame_ends(path)
    if len(ends) != count:
        raise InputError(f"{path}: the picture is damaged ({len(ends)} frames where {count} are announced)")
    return ImageSequence(
        path=path,
        files=[path],
        times_seconds=[Fraction(0), *ends[:-1]],
        end_seconds=ends[-1],
        time_base=Fraction(1, 1000),
        width_px=width,
        height_px=height,
        max_megapixels=max_megapixels,
    )


def read_image_sequence(
    sequence: ImageSequence, *, first: int = 0, last: int | None = None, damaged: Callable[[int, str], None] = lambda *_: None
) -> Iterator[Array]:
    """RGB uint8 (height, width, 3) of the frames from number `first` on, before number `last`, one in memory at a time.

    Of a frame that is cut off what decodes, and `damaged` is told its number and what is missing. Raises InputError where nothing does,
    and for a damaged frame of an animation.
    """
    size = (sequence.width_px, sequence.height_px)
    numbers = range(len(sequence.times_seconds))[first:last]
    for image in _read_animation(sequence, numbers) if sequence.path in sequence.files else _read_files(sequence, numbers, damaged):
        yield np.asarray(image if image.size == size else ImageOps.pad(image, size, Image.Resampling.BICUBIC))


def _read_files(sequence: ImageSequence, numbers: range, damaged: Callable[[int, str], None]) -> Iterator[Image.Image]:
    for number in numbers:
        image, missing = read_partial_image(sequence.files[number], max_megapixels=sequence.max_megapixels)
        if missing is not None:
            damaged(number, missing)
        yield image


def _read_animation(sequence: ImageSequence, numbers: range) -> Iterator[Image.Image]:
    with open_image(sequence.path, sequence.max_megapixels) as image:
        for number in numbers:
            try:
                image.seek(number)
            except (EOFError, OSError, ValueError) as error:
                raise damage_error(sequence.path, error) from error
            yield decode_upright(sequence.path, image)


def _read_frame_ends(path: Path) -> list[Fraction]:
    """When each frame of an animated WebP ends, in seconds: the sums of the durations that its ANMF chunks carry.

    https://developers.google.com/speed/webp/docs/riff_container. Browsers show what claims 10 ms or less for 100 ms, and so do we.
    """
    ends, at_ms = [], 0
    with open_image_file(path) as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            start = file.read(min(size, 16))
            if name == b"ANMF" and len(start) == 16:
                duration_ms = int.from_bytes(start[12:15], "little")
                at_ms += duration_ms if duration_ms > 10 else 100
                ends.append(Fraction(at_ms, 1000))
            file.seek(size - len(start) + size % 2, os.SEEK_CUR)
    return ends


def _read_upright_size(path: Path, max_megapixels: float | None) -> tuple[int, int]:
    with open_image(path, max_megapixels) as image:
        return upright_size(image)


def list_images(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order (frame2 before frame10), hidden files left out."""
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read: {error.strerror or error}") from error
    return sorted(found, key=lambda path: natural_key(path.name))


def _warn_of_gaps(folder: Path, files: Sequence[Path], allowed: bool) -> str:
    """What to say of numbers that are missing, "" where none are. Raises InputError when that is not allowed."""
    first, count = find_missing_numbers([path.stem for path in files])
    if not count:
        return ""
    listed = ", ".join(map(str, first)) + (" ..." if count > len(first) else "")
    frames = f"{count} frame{'s' * (count > 1)} missing by number ({listed})"
    if not allowed:
        raise InputError(f"{folder}: {frames}", remedy="--allow-gaps shows those that are there without a pause")
    return f"{frames}; those that are there follow one another without a pause"


def find_missing_numbers(names: Sequence[str]) -> tuple[list[int], int]:
    """The first numbers (five at most) that are missing from a series of names, and how many are; ([], 0) where there is no series.

    A series has names that are equal but for one run of digits, padded or not.
    """
    parts = [re.split(r"(\d+)", name.casefold()) for name in names]
    if len({tuple(part[::2]) for part in parts}) != 1:
        return [], 0
    runs = [{int(digits) for digits in run} for run in zip(*(part[1::2] for part in parts), strict=True)]
    varying = [sorted(run) for run in runs if len(run) > 1]
    if len(varying) != 1:
        return [], 0
    [numbers] = varying
    holes = [range(a + 1, b) for a, b in itertools.pairwise(numbers) if b > a + 1]
    first = [number for hole in holes[:5] for number in hole[:5]][:5]
    return first, numbers[-1] - numbers[0] + 1 - len(numbers)
