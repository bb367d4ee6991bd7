"""The options that the work itself knows, said once: a group is a frozen dataclass, and a panel of --help."""

# No `from __future__ import annotations`: the fields' types are read as they are.
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar

from pipeline.options.option_declaration import COMPUTING, ENCODING, EXPLANATION, INPUTS, MODEL, PICTURE, RUNNING, TIME, TRAINING, Option
from pipeline.options.option_values import (
    DEFAULT_MODEL,
    Audio,
    Codec,
    Fit,
    LabelPlace,
    Layout,
    Method,
    Pixels,
    Precision,
    Scale,
    parse_batch_size,
    parse_rate,
    parse_time,
)

WeightsFile = Annotated[
    Path | None,
    Option(
        "--weights",
        metavar="FILE",
        help="Weights from a local file for a model of the zoo.",
        default="its ImageNet weights",
        less_used=True,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which network, and what a file of one does not say itself."""

    panel: ClassVar = MODEL
    model: Annotated[
        str,
        Option(
            "--model -m",
            metavar="NAME_OR_PATH",
            help="A name of the zoo, or a .keras or .h5 file; see `visualize models`.",
            completes="models",
        ),
    ] = DEFAULT_MODEL
    weights: WeightsFile = None
    labels: Annotated[
        Path | None,
        Option(
            "--labels",
            metavar="FILE",
            help="Class names, one a line, or Keras' class index as JSON.",
            default="the model's own",
            less_used=True,
        ),
    ] = None
    pixels: Annotated[
        Pixels | None,
        Option(
            "--preprocess",
            metavar="NAME",
            help="Pixel scaling for a model that does not do its own: auto, none, unit, tf, torch or caffe.",
            unset="auto",
            less_used=True,
        ),
    ] = None
    custom_objects: Annotated[
        Path | None,
        Option(
            "--custom-objects",
            metavar="MODULE.py",
            help="Run this file for the classes that a model of one's own needs.",
            less_used=True,
        ),
    ] = None
    allow_unsafe: Annotated[
        bool, Option("--allow-unsafe", help="Load a .keras file with Lambda layers, whose code then runs.", less_used=True)
    ] = False


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Where in the network the map is taken."""

    panel: ClassVar = EXPLANATION
    layers: Annotated[
        tuple[str, ...],
        Option(
            "--layer",
            metavar="NAME",
            help="Take the map from this layer's output; repeatable, maps are fused.",
            default="found by itself",
            less_used=True,
            after=("method",),
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions:
    """The numbers that the network computes with."""

    panel: ClassVar = COMPUTING
    precision: Annotated[
        Precision,
        Option(
            "--precision",
            metavar="NAME",
            help="auto, float32, or mixed, which computes in half the bits: float16 on a GPU, bfloat16 on a CPU. auto is mixed on a GPU "
            "with the units for it.",
            less_used=True,
            after=("device",),
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How the map is made."""

    panel: ClassVar = EXPLANATION
    method: Annotated[
        Method,
        Option(
            "--method",
            metavar="NAME",
            help="How the map is made: gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam (looks at no class) or scorecam (a "
            "forward pass for every channel, 1280 a picture with the embedded model). Behind global average pooling, as in the "
            "embedded model, gradcam, hirescam and xgradcam are the same map.",
        ),
    ] = "gradcam"


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Which classes are explained, and how many are named."""

    panel: ClassVar = EXPLANATION
    targets: Annotated[
        tuple[str, ...],
        Option(
            "--target",
            metavar="CLASS",
            help="Explain this class or kind (a name such as banana, corgi or bird, a wnid or an index), a panel each; repeatable.",
            default="the top prediction of each frame",
            completes="classes",
        ),
    ] = ()
    top_k: Annotated[int, Option("--top-k -k", metavar="N", help="Predictions written on the frame and in the data.")] = 3


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a frame meets the network."""

    panel: ClassVar = EXPLANATION
    fit: Annotated[
        Fit,
        Option(
            "--fit",
            metavar="whole|crop|squash",
            help="How a frame meets the network: whole and undistorted, the standard centre crop, or squashed to a square.",
        ),
    ] = "whole"
    short_side_px: Annotated[
        int | None,
        Option(
            "--short-side",
            metavar="N",
            help="Network resolution; larger is finer and slower.",
            default="the model's, 256",
            less_used=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """What the output looks like. `scale` None is "shared" where there are several targets."""

    panel: ClassVar = PICTURE
    layout: Annotated[
        Layout, Option("--layout", metavar="NAME", help="What the output shows: side-by-side, stacked, overlay, heatmap or grid.")
    ] = "side-by-side"
    colormap: Annotated[str, Option("--colormap", metavar="NAME", help="Any OpenCV colour map, in lower case.", completes="colormaps")] = (
        "inferno"
    )
    alpha: Annotated[float, Option("--alpha", metavar="X", help="Strength of the heat, 0 to 1.")] = 0.5
    label: Annotated[
        LabelPlace,
        Option(
            "--label",
            metavar="PLACE",
            help="Where the box with names and colours lies: top-left, top-right, bottom-left, bottom-right or none.",
        ),
    ] = "top-left"
    scale: Annotated[
        Scale | None,
        Option(
            "--scale",
            metavar="frame|shared",
            help="With several targets: frame shows each panel's heat up to full, shared one scale for all, by their scores: the highest "
            "up to full, a quarter of its score up to half. That means the same with every method.",
            default="shared",
        ),
    ] = None
    height_px: Annotated[
        int | None, Option("--height", metavar="N", help="Height of a panel in pixels; the width follows.", default="the source's")
    ] = None


@dataclass(frozen=True, kw_only=True)
class TimeOptions:
    """Which part of a video, how steadily and how often."""

    panel: ClassVar = TIME
    smooth: Annotated[
        float,
        Option(
            "--smooth",
            metavar="X",
            help="Steady heat, scores and title over time, 0 (not) to 1 (mean of the scene); a cut begins anew.",
        ),
    ] = 0.7
    every: Annotated[int, Option("--every", metavar="N", help="Run the network on every Nth frame; every frame is still written.")] = 1
    start_seconds: Annotated[
        float | None,
        Option("--start", metavar="T", help="Begin here: seconds or HH:MM:SS.mmm.", default="the beginning", parse=parse_time),
    ] = None
    end_seconds: Annotated[
        float | None, Option("--end", metavar="T", help="End before here: seconds or HH:MM:SS.mmm.", default="the end", parse=parse_time)
    ] = None
    fps: Annotated[
        Fraction | None,
        Option(
            "--fps",
            metavar="R",
            help="Frames in a second, for folders of frames and raw streams: 25, 29.97 or 30000/1001.",
            default="25",
            parse=parse_rate,
            less_used=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How the video is encoded."""

    panel: ClassVar = ENCODING
    codec: Annotated[
        Codec,
        Option("--codec", metavar="NAME", help="auto (H.264, on a hardware encoder where one works), h264, hevc, av1, vp9 or prores."),
    ] = "auto"
    crf: Annotated[
        int | None,
        Option("--crf", metavar="N", help="Quality; lower is better and larger.", default="20 for H.264, 24 for HEVC, 32 for AV1 and VP9"),
    ] = None
    preset: Annotated[
        str | None,
        Option(
            "--preset",
            metavar="NAME",
            help="The encoder's speed.",
            default="veryfast for H.264, superfast for HEVC, 10 for AV1",
            less_used=True,
        ),
    ] = None
    audio: Annotated[
        Audio,
        Option("--audio", metavar="copy|none", help="Keep the sound (AAC where the container cannot hold it), or leave it out."),
    ] = "copy"


@dataclass(frozen=True, kw_only=True)
class BatchSizeOptions:
    """How many frames the network gets together; None finds it by itself."""

    panel: ClassVar = COMPUTING
    batch_size: Annotated[
        int | None,
        Option(
            "--batch-size",
            metavar="N|auto",
            help="Frames that go to the network together; halved where memory runs out.",
            unset="auto",
            parse=parse_batch_size,
            less_used=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Which of a file's video tracks."""

    panel: ClassVar = INPUTS
    stream: Annotated[
        int | None,
        Option("--stream", metavar="N", help="Which of several video tracks, counted from 0.", default="the first", less_used=True),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is written besides the picture or video."""

    panel: ClassVar = INPUTS
    predictions: Annotated[
        Path | None, Option("--predictions", metavar="FILE", help="Per-frame predictions as .csv, .jsonl or .parquet.")
    ] = None
    save_maps: Annotated[
        Path | None, Option("--save-maps", metavar="FILE.npz", help="Raw maps; a folder for several inputs.", less_used=True)
    ] = None
    report: Annotated[bool, Option("--report", help="An HTML page beside the output.")] = False


@dataclass(frozen=True, kw_only=True)
class ChartOptions:
    """Pictures of a whole video."""

    panel: ClassVar = INPUTS
    timeline: Annotated[Path | None, Option("--timeline", metavar="FILE", help="A chart of what was seen when, .svg or .png.")] = None
    contact_sheet: Annotated[Path | None, Option("--contact-sheet", metavar="FILE", help="A picture of frames with their heat.")] = None
    contact_frames: Annotated[int, Option("--contact-frames", metavar="N", help="How many, evenly over the video.", less_used=True)] = 12


@dataclass(frozen=True, kw_only=True)
class SequenceOptions:
    """Folders of frames."""

    panel: ClassVar = INPUTS
    allow_gaps: Annotated[
        bool,
        Option("--allow-gaps", help="In a folder of frames, let those follow one another whose numbers do not.", less_used=True),
    ] = False


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """How large a picture or a frame may be; None is each kind's own limit."""

    panel: ClassVar = INPUTS
    max_megapixels: Annotated[
        float | None,
        Option(
            "--max-megapixels",
            metavar="X",
            help="Refuse larger pictures or frames by their header.",
            default="200 for pictures, 36 for videos",
            less_used=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OverwriteOptions:
    """What happens to outputs that exist."""

    panel: ClassVar = INPUTS
    overwrite: Annotated[bool, Option("--overwrite", help="Replace outputs that exist.")] = False
    skip_existing: Annotated[bool, Option("--skip-existing", help="Pass over inputs whose output exists.")] = False


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What an interrupted run leaves."""

    panel: ClassVar = RUNNING
    segment_seconds: Annotated[
        float,
        Option(
            "--segment-seconds",
            metavar="S",
            help="What an interrupted run loses at most; the same command goes on there.",
            less_used=True,
        ),
    ] = 60.0
    fresh: Annotated[bool, Option("--fresh", help="Discard what an interrupted run has finished.", less_used=True)] = False


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """The network that a training starts from."""

    panel: ClassVar = MODEL
    base: Annotated[
        str,
        Option("--base", metavar="NAME", help="The network whose features are used; see `visualize models`.", completes="models"),
    ] = DEFAULT_MODEL
    weights: WeightsFile = None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long, how fast and on what a training learns. `val` is the fraction of each class to validate on."""

    panel: ClassVar = TRAINING
    epochs: Annotated[int, Option("--epochs", metavar="N", help="At most so many; fewer where the validation loss no longer falls.")] = 30
    batch_size: Annotated[int, Option("--batch-size", metavar="N", help="Pictures for each step.", less_used=True)] = 32
    learning_rate: Annotated[float, Option("--learning-rate", metavar="X", help="Of the new classifier.", less_used=True)] = 1e-3
    val: Annotated[
        float,
        Option("--val", metavar="FRACTION", help="Part of each class to validate on, where DATA has no val/ of its own."),
    ] = 0.2
    fine_tune: Annotated[
        int, Option("--fine-tune", metavar="N", help="Then train the last N layers of the base too, at a hundredth of the rate.")
    ] = 0
    augment: Annotated[
        bool,
        Option("--augment/--no-augment", help="Turn, shift, zoom and flip training pictures; without it epochs take seconds."),
    ] = True
    seed: Annotated[int, Option("--seed", metavar="N", help="Chooses the split and all that is left to chance.", less_used=True)] = 0
