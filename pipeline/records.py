"""Frozen records that cross the borders between stages. Units stand in the names; unknown is None."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pipeline.errors import CommandError

if TYPE_CHECKING:
    import numpy as np

    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

Fit = Literal["whole", "crop", "squash"]
Layout = Literal["side-by-side", "stacked", "overlay", "heatmap", "grid"]
LabelPlace = Literal["top-left", "top-right", "bottom-left", "bottom-right", "none"]
Scale = Literal["frame", "shared"]
Codec = Literal["auto", "h264", "hevc", "av1", "vp9", "prores"]
Audio = Literal["copy", "none"]
Method = Literal["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "scorecam"]
Pixels = Literal["none", "unit", "tf", "torch", "caffe"]
Precision = Literal["auto", "float32", "mixed"]
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


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model, as the user names it. `pixels` None lets the model say; `layers` empty lets the map's place be found.

    `precision` "mixed" computes in half the bits, on a GPU in float16, on a CPU in bfloat16; weights and scores stay float32. "auto" does
    so on a GPU that has the units for it, and leaves a model's own precision alone elsewhere.
    """

    model: str
    weights: Path | None = None
    labels: Path | None = None
    pixels: Pixels | None = None
    layers: tuple[str, ...] = ()
    custom_objects: Path | None = None
    allow_unsafe: bool = False
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        precisions = get_args(Precision)
        _require(self.precision in precisions, f"--precision {self.precision}: not one of {', '.join(precisions)}")
        allowed = ("auto", *get_args(Pixels))
        _require(self.pixels is None or self.pixels in allowed, f"--preprocess {self.pixels}: not one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything the user may ask of `image` and `video`; validated here and nowhere else.

    `scale` None is "shared" where there are several targets.
    """

    targets: tuple[str, ...] = ()
    method: Method = "gradcam"
    top_k: int = 3
    fit: Fit = "whole"
    short_side_px: int | None = None
    layout: Layout = "side-by-side"
    colormap: str = "inferno"
    alpha: float = 0.5
    label: LabelPlace = "top-left"
    scale: Scale | None = None
    height_px: int | None = None
    smooth: float = 0.7
    every: int = 1
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: Fraction | None = None
    codec: Codec = "auto"
    crf: int | None = None
    preset: str | None = None
    audio: Audio = "copy"
    batch_size: int | None = None
    predictions: Path | None = None
    save_maps: Path | None = None
    overwrite: bool = False
    skip_existing: bool = False
    allow_gaps: bool = False
    max_megapixels: float | None = None
    stream: int | None = None
    segment_seconds: float = 60.0
    fresh: bool = False
    report: bool = False
    timeline: Path | None = None
    contact_sheet: Path | None = None
    contact_frames: int = 12

    @property
    def holds_title(self) -> bool:
        """Whether a video's title and heat stay with one class until another has led for a while."""
        return self.smooth > 0 and not self.targets

    @property
    def keeps_thumbnails(self) -> bool:
        return self.report or self.timeline is not None or self.contact_sheet is not None

    @property
    def shares_scale(self) -> bool:
        return len(self.targets) > 1 and self.scale != "frame"

    @property
    def thumbnails(self) -> int:
        """How many, evenly over a video; also for those that a sheet does not name a number for."""
        return self.contact_frames if self.contact_sheet is not None else 24

    def __post_init__(self) -> None:
        choices = {"fit": Fit, "layout": Layout, "label": LabelPlace, "codec": Codec, "audio": Audio, "method": Method}
        for name, allowed in {**choices, **({} if self.scale is None else {"scale": Scale})}.items():
            value = getattr(self, name)
            _require(value in get_args(allowed), f"--{name} {value}: not one of {', '.join(get_args(allowed))}")
        _require(not (self.overwrite and self.skip_existing), "--skip-existing and --overwrite: one or the other")
        _require(0 <= self.alpha <= 1, f"--alpha {self.alpha}: not between 0 and 1")
        _require(0 <= self.smooth <= 1, f"--smooth {self.smooth}: not between 0 and 1")
        _require(self.stream is None or self.stream >= 0, f"--stream {self.stream}: less than 0, the first")
        _require(self.segment_seconds > 0, f"--segment-seconds {self.segment_seconds}: not more than 0")
        _require(self.top_k >= 0, f"--top-k {self.top_k}: less than 0")
        _require(self.every >= 1, f"--every {self.every}: less than 1")
        _require(self.height_px is None or self.height_px >= 16, f"--height {self.height_px}: less than 16 pixels")
        _require(self.short_side_px is None or 32 <= self.short_side_px <= 4096, "--short-side: not between 32 and 4096")
        _require(self.batch_size is None or self.batch_size >= 1, f"--batch-size {self.batch_size}: less than 1")
        _require(self.crf is None or 0 <= self.crf <= 63, f"--crf {self.crf}: not between 0 and 63")
        limit = self.max_megapixels
        _require(limit is None or limit > 0, f"--max-megapixels {limit}: not more than 0")
        start, end = self.start_seconds or 0.0, self.end_seconds
        _require(start >= 0, f"--start {start}: before the beginning")
        _require(end is None or end > start, f"--end {end}: not after --start {start}")
        _require(1 <= self.contact_frames <= 1000, f"--contact-frames {self.contact_frames}: not between 1 and 1000")
        if self.timeline is not None:
            _require(self.timeline.suffix.lower() in (".svg", ".png"), f"--timeline {self.timeline}: not .svg or .png")
        if self.predictions is not None:
            suffix = self.predictions.suffix.lower()
            _require(suffix in (".csv", ".jsonl", ".parquet"), f"--predictions {self.predictions}: not .csv, .jsonl or .parquet")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, as the user asks for it: `base` is a name of the zoo, `val` the fraction of each class to validate on."""

    base: str
    weights: Path | None = None
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    val: float = 0.2
    fine_tune: int = 0
    augment: bool = True
    seed: int = 0
    max_megapixels: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("fine_tune", 0), ("seed", 0)):
            value = getattr(self, name)
            _require(value >= least, f"--{name.replace('_', '-')} {value}: less than {least}")
        _require(0 < self.learning_rate < 10, f"--learning-rate {self.learning_rate:g}: not between 0 and 10")
        _require(0 < self.val < 1, f"--val {self.val:g}: not between 0 and 1")


def _require(fulfilled: bool, message: str) -> None:
    if not fulfilled:
        raise CommandError(message)


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
