"""What a command is asked for, as one validated record made of groups of options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pipeline.options.option_declaration import choices_of, option_of
from pipeline.options.option_groups import (
    BaseOptions,
    BatchSizeOptions,
    ChartOptions,
    DataOptions,
    EncodingOptions,
    FitOptions,
    LayerOptions,
    MethodOptions,
    ModelOptions,
    OverwriteOptions,
    PictureOptions,
    PrecisionOptions,
    SegmentOptions,
    SequenceOptions,
    SizeOptions,
    StreamOptions,
    TargetOptions,
    TimeOptions,
    TrainingOptions,
)
from pipeline.options.option_values import require


@dataclass(frozen=True, kw_only=True)
class ModelChoice(ModelOptions, LayerOptions, PrecisionOptions):
    """Which model, as the user names it. `pixels` None lets the model say; `layers` empty lets the map's place be found.

    `precision` "mixed" computes in half the bits, on a GPU in float16, on a CPU in bfloat16; weights and scores stay float32. "auto" does
    so on a GPU that has the units for it, and leaves a model's own precision alone elsewhere. Raises CommandError for what is no choice.
    """

    def __post_init__(self) -> None:
        _check_choices(self)


@dataclass(frozen=True, kw_only=True)
class Options(
    MethodOptions,
    TargetOptions,
    FitOptions,
    PictureOptions,
    TimeOptions,
    StreamOptions,
    EncodingOptions,
    BatchSizeOptions,
    DataOptions,
    ChartOptions,
    SequenceOptions,
    SizeOptions,
    OverwriteOptions,
    SegmentOptions,
):
    """Everything the user may ask of `image` and `video`; validated here and nowhere else. Raises CommandError."""

    @property
    def holds_title(self) -> bool:
        """Whether a video's title and heat stay with one class until another has led for a while."""
        return self.smooth > 0 and not self.targets

    @property
    def keeps_thumbnails(self) -> bool:
        """Whether small pictures of the frames are wanted, for a page, a timeline or a contact sheet."""
        return self.report or self.timeline is not None or self.contact_sheet is not None

    @property
    def shares_scale(self) -> bool:
        """Whether the heat of all panels is on one scale."""
        return len(self.targets) > 1 and self.scale != "frame"

    @property
    def thumbnails(self) -> int:
        """How many, evenly over a video; also for those that a sheet does not name a number for."""
        return self.contact_frames if self.contact_sheet is not None else 24

    def __post_init__(self) -> None:
        _check_choices(self)
        require(not (self.overwrite and self.skip_existing), "--skip-existing and --overwrite: one or the other")
        require(0 <= self.alpha <= 1, f"--alpha {self.alpha}: not between 0 and 1")
        require(0 <= self.smooth <= 1, f"--smooth {self.smooth}: not between 0 and 1")
        require(self.stream is None or self.stream >= 0, f"--stream {self.stream}: less than 0, the first")
        require(self.segment_seconds > 0, f"--segment-seconds {self.segment_seconds}: not more than 0")
        require(self.top_k >= 0, f"--top-k {self.top_k}: less than 0")
        require(self.every >= 1, f"--every {self.every}: less than 1")
        require(self.height_px is None or self.height_px >= 16, f"--height {self.height_px}: less than 16 pixels")
        require(self.short_side_px is None or 32 <= self.short_side_px <= 4096, "--short-side: not between 32 and 4096")
        require(self.batch_size is None or self.batch_size >= 1, f"--batch-size {self.batch_size}: less than 1")
        require(self.crf is None or 0 <= self.crf <= 63, f"--crf {self.crf}: not between 0 and 63")
        limit = self.max_megapixels
        require(limit is None or limit > 0, f"--max-megapixels {limit}: not more than 0")
        start, end = self.start_seconds or 0.0, self.end_seconds
        require(start >= 0, f"--start {start}: before the beginning")
        require(end is None or end > start, f"--end {end}: not after --start {start}")
        require(1 <= self.contact_frames <= 1000, f"--contact-frames {self.contact_frames}: not between 1 and 1000")
        if self.timeline is not None:
            require(self.timeline.suffix.lower() in (".svg", ".png"), f"--timeline {self.timeline}: not .svg or .png")
        if self.predictions is not None:
            suffix = self.predictions.suffix.lower()
            require(suffix in (".csv", ".jsonl", ".parquet"), f"--predictions {self.predictions}: not .csv, .jsonl or .parquet")


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseOptions, TrainingOptions, SizeOptions):
    """How to train, as the user asks for it: `base` is a name of the zoo. Raises CommandError."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("fine_tune", 0), ("seed", 0)):
            value = getattr(self, name)
            require(value >= least, f"--{name.replace('_', '-')} {value}: less than {least}")
        require(0 < self.learning_rate < 10, f"--learning-rate {self.learning_rate:g}: not between 0 and 10")
        require(0 < self.val < 1, f"--val {self.val:g}: not between 0 and 1")


def _check_choices(asked: Any) -> None:
    """Raises CommandError for a field that is none of its type's choices."""
    for each in fields(asked):
        allowed, value, declared = choices_of(each.type), getattr(asked, each.name), option_of(each.type)
        if allowed and value is not None and declared is not None:
            require(value in allowed, f"{declared.name} {value}: not one of {', '.join(allowed)}")
