"""Frozen records that cross the borders between stages. Units stand in the names; unknown is None."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

Matrix = Literal["rgb", "bt601", "bt709", "bt2020"]


@dataclass(frozen=True, kw_only=True)
class ClassName:
    """One class of a model. `wnid` is the WordNet id of an ImageNet class, None for other models."""

    index: int
    wnid: str | None
    label: str


@dataclass(frozen=True, kw_only=True)
class ClassGroup:
    """One class or several that go by one name: `members` are their indices, ascending; `wnid` is that of the class or of the kind."""

    label: str
    wnid: str | None
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A class with its score, a probability in [0, 1]."""

    name: ClassName
    score: float

    def as_json(self) -> dict[str, Any]:
        return {"index": self.name.index, "wnid": self.name.wnid, "label": self.name.label, "score": round(self.score, 6)}


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """What was asked for with its score, of a group the sum of its classes', in [0, 1]."""

    name: ClassGroup
    score: float

    def as_json(self) -> dict[str, Any]:
        """As a prediction's; the index of a group of several is null."""
        index = self.name.members[0] if len(self.name.members) == 1 else None
        return {"index": index, "wnid": self.name.wnid, "label": self.name.label, "score": round(self.score, 6)}


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How three 8-bit planes encode colour; `full_range` False means 16 to 235 (ITU-R BT.601, BT.709, BT.2020).

    "rgb" planes are R, G, B at full size; the others are Y, Cb, Cr with chroma at half width and half height.
    """

    matrix: Matrix
    full_range: bool

    @property
    def subsampled(self) -> bool:
        return self.matrix != "rgb"


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """What is known of a video from its header and first frame. Size, sample aspect and colour are those of the upright, decoded frames.

    `rate` is set where the file holds no times and the user names a rate; `end_seconds` is when the header says the last frame ends;
    `frames_listed` is the header's count, `frames_estimate` may also be a guess; `decoder` is set where ffmpeg's own choice is wrong.
    """

    path: Path
    container: str
    stream_index: int
    width_px: int
    height_px: int
    sample_aspect: Fraction
    time_base: Fraction
    colour: Colour
    colour_tags: Mapping[str, str]
    is_rgb: bool
    has_alpha: bool
    hdr: Literal["PQ", "HLG"] | None
    interlaced: bool
    decoder: str | None
    rate: Fraction | None
    start_seconds: float
    duration_seconds: float | None
    end_seconds: Fraction | None
    frame_rate: Fraction
    frames_listed: int | None
    frames_estimate: int | None
    audio_codecs: Sequence[str]
    audio_rates_hz: Sequence[int]
    audio_languages: Sequence[str | None]
    subtitle_codecs: Sequence[str]
    max_pixels: int
    warnings: Sequence[str] = ()


class Frame(NamedTuple):
    """One picture: three uint8 planes (see Colour) and its presentation time, pts * time_base seconds.

    `picture` is the decoder's own object, which owns the planes' memory.
    """

    planes: tuple[Plane, Plane, Plane]
    pts: int
    time_base: Fraction
    picture: Any

    @property
    def time_seconds(self) -> float:
        return float(self.pts * self.time_base)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The network's view of a frame: the frame is scaled to one size, and its centre of another size goes in."""

    scaled_width_px: int
    scaled_height_px: int
    width_px: int
    height_px: int

    @property
    def left_px(self) -> int:
        return (self.scaled_width_px - self.width_px) // 2

    @property
    def top_px(self) -> int:
        return (self.scaled_height_px - self.height_px) // 2

    @property
    def region(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of what the network, and so its map, covers, in [0, 1] of the frame's width and height."""
        width, height = self.scaled_width_px, self.scaled_height_px
        left, top = self.left_px / width, self.top_px / height
        return left, top, left + self.width_px / width, top + self.height_px / height


def clock(seconds: float) -> str:
    """HH:MM:SS.mmm, as --start takes it."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def percent(score: float) -> str:
    """A score for people: whole percents, and never a rounded 0 % or 100 % for what is neither."""
    if 0 < score < 0.01:
        return "<1%"
    return f"{min(int(100 * score + 0.5), 99) if score < 1 else 100}%"


def printable(text: str) -> str:
    """For one line of a terminal or a picture: line breaks, control characters and what is no UTF-8 in a file's name as escapes."""
    return "".join(c if c.isprintable() or c == "\u200d" else c.encode("unicode_escape").decode() for c in text)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Compares runs of digits as numbers and the rest as text."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one input has come. `frames_total` is an estimate and may be None or wrong.

    `joining` says that all frames are done, and the segments are being joined and read back.
    """

    input: Path
    frames_done: int
    frames_total: int | None
    joining: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """One picture or video of an archive.

    `relative` is its path below the archive's root, the bytes of the file system, with "/" between the parts. `clashes` says that another
    input of the same folder has the same name but for the suffix. `copy_of` is the relative path of a file that this is an exact copy of,
    which is made in its place; `sha256` is of the content, `ends` of its beginning and end; None where that was not read.
    """

    path: Path
    relative: bytes
    kind: Literal["video", "image"]
    size_bytes: int
    mtime_ns: int
    clashes: bool = False
    copy_of: bytes | None = None
    sha256: bytes | None = None
    ends: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A time in which something was seen without a pause: from its first frame until its last one ends, in seconds.

    `mean_score` and `best_score` are over its frames.
    """

    start_seconds: float
    end_seconds: float
    frames: int
    mean_score: float
    best_score: float


@dataclass(frozen=True, kw_only=True)
class LabelInterval(Interval):
    """A class that stood among the top k of a video. A picture has one stretch for each of its top k, from 0 to 0."""

    name: ClassName


@dataclass(frozen=True, kw_only=True)
class KindInterval(Interval):
    """A kind of things, which is an ancestor of classes in WordNet, by the sum of its classes' scores."""

    wnid: str


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small picture of an output, as JPEG, with its time in the source."""

    time_seconds: float
    jpeg: bytes
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one input; the JSON object of the contract. `partial` marks a damaged source: what came through is in `output`.

    `skipped` marks an input that was passed over because `output` existed before.
    `targets` are the classes or kinds that were asked for, in that order, with their mean scores; empty where each frame's top class was
    explained.
    """

    input: Path
    model: str
    method: str
    output: Path | None = None
    frames: int = 0
    duration_seconds: float | None = None
    elapsed_seconds: float = 0.0
    top: Sequence[Prediction] = ()
    targets: Sequence[TargetScore] = ()
    warnings: Sequence[str] = ()
    partial: bool = False
    skipped: bool = False
    error: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "input": str(self.input),
            "output": None if self.output is None else str(self.output),
            "model": self.model,
            "method": self.method,
            "frames": self.frames,
            "duration_seconds": None if self.duration_seconds is None else round(self.duration_seconds, 6),
            "elapsed_seconds": round(self.elapsed_seconds, 3),
            "top": [prediction.as_json() for prediction in self.top],
            "targets": [target.as_json() for target in self.targets],
            "warnings": list(self.warnings),
            "partial": self.partial,
            "skipped": self.skipped,
            "error": self.error,
            **self.extra,
        }
