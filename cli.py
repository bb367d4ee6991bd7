"""The command line: parses into one options object, makes one call, prints what came of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.batch.scanning import rules
from pipeline.console import completion
from pipeline.console.terminal import Terminal, end, exit_code_of, open_missing_streams, open_terminal, table, tell
from pipeline.console.usage import (
    COMPUTING,
    ENCODING,
    EXPLANATION,
    INPUTS,
    MODEL,
    PICTURE,
    RUNNING,
    SEARCH,
    TIME,
    TRAINING,
    Command,
    Group,
    Program,
)
from pipeline.errors import CommandError, HeatreelError, Stopped, ToolError
from pipeline.files import output_paths
from pipeline.models import class_names, zoo
from pipeline.records import ClassName, ModelChoice, Options, Outcome, Progress, Recipe, printable
from pipeline.results import tables

if TYPE_CHECKING:
    from pipeline.batch.archive import Request
    from pipeline.explain.planning import Job, Refusal, Skipped
    from pipeline.explain.sessions import Session
    from pipeline.results.explanations import Explanations

app = typer.Typer(
    cls=Program,
    help="Show what an image classifier sees in pictures and videos, and where it looks. A path where a command should be runs `image` or "
    "`video`, by what it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="visualize dog.jpg\nvisualize kitchen.mov --report",
)

# ------------------------------------------------------------------------------------------------ options

# Panels of commands.
SEEING, ARCHIVES, CLASSIFIERS, INSTALLATION = "What it sees", "Archives", "Models", "This installation"

Inputs = Annotated[list[Path], typer.Argument(metavar="PATH...", help="What to look at.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="A file for one input, a folder for several.",
        show_default="NAME_output beside the input",
        rich_help_panel=INPUTS,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME_OR_PATH",
        help="A name of the zoo, or a .keras or .h5 file; see `visualize models`.",
        autocompletion=completion.models,
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Weights from a local file for a model of the zoo.",
        show_default="its ImageNet weights",
        rich_help_panel=MODEL,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Class names, one a line, or Keras' class index as JSON.",
        show_default="the model's own",
        rich_help_panel=MODEL,
    ),
]
Preprocess = Annotated[
    str,
    typer.Option(
        "--preprocess",
        metavar="NAME",
        help="Pixel scaling for a model that does not do its own: auto, none, unit, tf, torch or caffe.",
        autocompletion=completion.scalings,
        rich_help_panel=MODEL,
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="How the map is made: gradcam, gradcam++, hirescam, xgradcam, layercam, eigencam (looks at no class) or scorecam (a forward "
        "pass for every channel, 1280 a picture with the embedded model). Behind global average pooling, as in the embedded model, "
        "gradcam, hirescam and xgradcam are the same map.",
        autocompletion=completion.methods,
        rich_help_panel=EXPLANATION,
    ),
]
Layer = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="Take the map from this layer's output; repeatable, maps are fused.",
        show_default="found by itself",
        rich_help_panel=EXPLANATION,
    ),
]
CustomObjects = Annotated[
    Path | None,
    typer.Option(
        "--custom-objects",
        metavar="MODULE.py",
        help="Run this file for the classes that a model of one's own needs.",
        show_default="none",
        rich_help_panel=MODEL,
    ),
]
AllowUnsafe = Annotated[
    bool,
    typer.Option(
        "--allow-unsafe",
        help="Load a .keras file with Lambda layers, whose code then runs.",
        show_default="off",
        rich_help_panel=MODEL,
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="CLASS",
        help="Explain this class or kind (a name such as banana, corgi or bird, a wnid or an index), a panel each; repeatable.",
        show_default="the top prediction of each frame",
        autocompletion=completion.classes,
        rich_help_panel=EXPLANATION,
    ),
]
TopK = Annotated[
    int,
    typer.Option("--top-k", "-k", metavar="N", help="Predictions written on the frame and in the data.", rich_help_panel=EXPLANATION),
]
Fit = Annotated[
    str,
    typer.Option(
        "--fit",
        metavar="whole|crop|squash",
        help="How a frame meets the network: whole and undistorted, the standard centre crop, or squashed to a square.",
        autocompletion=completion.fits,
        rich_help_panel=EXPLANATION,
    ),
]
ShortSide = Annotated[
    int | None,
    typer.Option(
        "--short-side",
        metavar="N",
        help="Network resolution; larger is finer and slower.",
        show_default="the model's, 256",
        rich_help_panel=EXPLANATION,
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        metavar="NAME",
        help="What the output shows: side-by-side, stacked, overlay, heatmap or grid.",
        autocompletion=completion.layouts,
        rich_help_panel=PICTURE,
    ),
]
Colormap = Annotated[
    str,
    typer.Option(
        "--colormap",
        metavar="NAME",
        help="Any OpenCV colour map, in lower case.",
        autocompletion=completion.colormaps,
        rich_help_panel=PICTURE,
    ),
]
Alpha = Annotated[float, typer.Option("--alpha", metavar="X", help="Strength of the heat, 0 to 1.", rich_help_panel=PICTURE)]
Label = Annotated[
    str,
    typer.Option(
        "--label",
        metavar="PLACE",
        help="Where the box with names and colours lies: top-left, top-right, bottom-left, bottom-right or none.",
        autocompletion=completion.places,
        rich_help_panel=PICTURE,
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="frame|shared",
        help="With several targets: frame shows each panel's heat up to full, shared one scale for all, by their scores: the highest "
        "up to full, a quarter of its score up to half. That means the same with every method.",
        show_default="shared",
        autocompletion=completion.scales,
        rich_help_panel=PICTURE,
    ),
]
Height = Annotated[
    int | None,
    typer.Option(
        "--height",
        metavar="N",
        help="Height of a panel in pixels; the width follows.",
        show_default="the source's",
        rich_help_panel=PICTURE,
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        "--smooth",
        metavar="X",
        help="Steady heat, scores and title over time, 0 (not) to 1 (mean of the scene); a cut begins anew.",
        rich_help_panel=TIME,
    ),
]
Stream = Annotated[
    int | None,
    typer.Option(
        "--stream",
        metavar="N",
        help="Which of several video tracks, counted from 0.",
        show_default="the first",
        rich_help_panel=INPUTS,
    ),
]
SegmentSeconds = Annotated[
    float,
    typer.Option(
        "--segment-seconds",
        metavar="S",
        help="What an interrupted run loses at most; the same command goes on there.",
        rich_help_panel=RUNNING,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Discard what an interrupted run has finished.", show_default="off", rich_help_panel=RUNNING),
]
Every = Annotated[
    int,
    typer.Option("--every", metavar="N", help="Run the network on every Nth frame; every frame is still written.", rich_help_panel=TIME),
]
Start = Annotated[
    str | None,
    typer.Option("--start", metavar="T", help="Begin here: seconds or HH:MM:SS.mmm.", show_default="the beginning", rich_help_panel=TIME),
]
End = Annotated[
    str | None,
    typer.Option("--end", metavar="T", help="End before here: seconds or HH:MM:SS.mmm.", show_default="the end", rich_help_panel=TIME),
]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        metavar="R",
        help="Frames in a second, for folders of frames and raw streams: 25, 29.97 or 30000/1001.",
        show_default="25",
        rich_help_panel=TIME,
    ),
]
Codec = Annotated[
    str,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="auto (H.264, on a hardware encoder where one works), h264, hevc, av1, vp9 or prores.",
        autocompletion=completion.codecs,
        rich_help_panel=ENCODING,
    ),
]
Crf = Annotated[
    int | None,
    typer.Option(
        "--crf",
        metavar="N",
        help="Quality; lower is better and larger.",
        show_default="20 for H.264, 24 for HEVC, 32 for AV1 and VP9",
        rich_help_panel=ENCODING,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="The encoder's speed.",
        show_default="veryfast for H.264, superfast for HEVC, 10 for AV1",
        rich_help_panel=ENCODING,
    ),
]
Audio = Annotated[
    str,
    typer.Option(
        "--audio",
        metavar="copy|none",
        help="Keep the sound (AAC where the container cannot hold it), or leave it out.",
        autocompletion=completion.sounds,
        rich_help_panel=ENCODING,
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Frames that go to the network together; halved where memory runs out.",
        rich_help_panel=COMPUTING,
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|gpu[:N]", help="Where the network runs.", rich_help_panel=COMPUTING)]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="auto, float32, or mixed, which computes in half the bits: float16 on a GPU, bfloat16 on a CPU. auto is mixed on a GPU with "
        "the units for it.",
        autocompletion=completion.precisions,
        rich_help_panel=COMPUTING,
    ),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Per-frame predictions as .csv, .jsonl or .parquet.",
        show_default="none",
        rich_help_panel=INPUTS,
    ),
]
SaveMaps = Annotated[
    Path | None,
    typer.Option(
        "--save-maps",
        metavar="FILE.npz",
        help="Raw maps; a folder for several inputs.",
        show_default="none",
        rich_help_panel=INPUTS,
    ),
]
Report = Annotated[bool, typer.Option("--report", help="An HTML page beside the output.", show_default="off", rich_help_panel=INPUTS)]
Open = Annotated[
    bool,
    typer.Option("--open", help="At the end open the page, or else the output.", show_default="off", rich_help_panel=INPUTS),
]
AllowGaps = Annotated[
    bool,
    typer.Option(
        "--allow-gaps",
        help="In a folder of frames, let those follow one another whose numbers do not.",
        show_default="off",
        rich_help_panel=INPUTS,
    ),
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="X",
        help="Refuse larger pictures or frames by their header.",
        show_default="200 for pictures, 36 for videos",
        rich_help_panel=INPUTS,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.", show_default="off", rich_help_panel=INPUTS)]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object per input on stdout.", show_default="off", rich_help_panel=RUNNING),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No bars and no result lines; failures are still named.", show_default="off", rich_help_panel=RUNNING
    ),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Pass over inputs whose output exists.", show_default="off", rich_help_panel=INPUTS)
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="TensorFlow's notes, ffmpeg's commands and tracebacks too.",
        show_default="off",
        rich_help_panel=RUNNING,
    ),
]


def _version(value: bool) -> None:
    if value:
        print(f"visualize {version('heatreel')}", flush=True)  # at the interpreter's end a closed pipe would be an error
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True, show_default="off", rich_help_panel=RUNNING),
    ] = False,
) -> None:
    pass


# ------------------------------------------------------------------------------------------------ commands


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize image dog.jpg --report --open\nvisualize image photos/ -o out --target banana",
)
def image(
    paths: Inputs,
    output: Output = None,
    model: Model = zoo.DEFAULT_MODEL,
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    method: Method = "gradcam",
    layer: Layer = None,
    target: Target = None,
    top_k: TopK = 3,
    fit: Fit = "whole",
    short_side: ShortSide = None,
    layout: Layout = "side-by-side",
    colormap: Colormap = "inferno",
    alpha: Alpha = 0.5,
    label: Label = "top-left",
    scale: Scale = None,
    height: Height = None,
    device: Device = "auto",
    precision: Precision = "auto",
    predictions: Predictions = None,
    save_maps: SaveMaps = None,
    report: Report = False,
    opens: Open = False,
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pictures, each with the heat beside it and the prediction written on it. A folder stands for the pictures in it."""
    choice = _choice(model, weights, labels, preprocess, layer, custom_objects, allow_unsafe, precision)
    options = _options(
        smooth=0.0,  # a picture has no time
        targets=tuple(target or ()),
        method=method,
        top_k=top_k,
        fit=fit,
        short_side_px=short_side,
        layout=layout,
        colormap=colormap,
        alpha=alpha,
        label=label,
        scale=scale,
        height_px=height,
        predictions=predictions,
        save_maps=save_maps,
        report=report,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
        skip_existing=skip_existing,
    )
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.explain import planning

        _run(planning.plan_images(paths, output=output, options=options), choice, device, options, terminal, opens=opens)


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize video kitchen.mov --report --open\nvisualize video kitchen.mov --start 5 --end 12.5 --target banana",
)
def video(
    paths: Inputs,
    output: Output = None,
    model: Model = zoo.DEFAULT_MODEL,
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    method: Method = "gradcam",
    layer: Layer = None,
    target: Target = None,
    top_k: TopK = 3,
    fit: Fit = "whole",
    short_side: ShortSide = None,
    layout: Layout = "side-by-side",
    colormap: Colormap = "inferno",
    alpha: Alpha = 0.5,
    label: Label = "top-left",
    scale: Scale = None,
    height: Height = None,
    smooth: Smooth = 0.7,
    every: Every = 1,
    start: Start = None,
    end: End = None,
    fps: Fps = None,
    stream: Stream = None,
    codec: Codec = "auto",
    crf: Crf = None,
    preset: Preset = None,
    audio: Audio = "copy",
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    predictions: Predictions = None,
    save_maps: SaveMaps = None,
    report: Report = False,
    opens: Open = False,
    timeline: Annotated[
        Path | None,
        typer.Option(
            "--timeline", metavar="FILE", help="A chart of what was seen when, .svg or .png.", show_default="none", rich_help_panel=INPUTS
        ),
    ] = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet", metavar="FILE", help="A picture of frames with their heat.", show_default="none", rich_help_panel=INPUTS
        ),
    ] = None,
    contact_frames: Annotated[
        int, typer.Option("--contact-frames", metavar="N", help="How many, evenly over the video.", rich_help_panel=INPUTS)
    ] = 12,
    allow_gaps: AllowGaps = False,
    segment_seconds: SegmentSeconds = 60.0,
    fresh: Fresh = False,
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Videos, each with the heat beside it, with its sound and exact timing. PATH is a file or a folder of frames."""
    choice = _choice(model, weights, labels, preprocess, layer, custom_objects, allow_unsafe, precision)
    options = _options(
        targets=tuple(target or ()),
        method=method,
        top_k=top_k,
        fit=fit,
        short_side_px=short_side,
        layout=layout,
        colormap=colormap,
        alpha=alpha,
        label=label,
        scale=scale,
        height_px=height,
        smooth=smooth,
        every=every,
        start_seconds=_parse_time("--start", start),
        end_seconds=_parse_time("--end", end),
        fps=_parse_rate(fps),
        stream=stream,
        codec=codec,
        crf=crf,
        preset=preset,
        audio=audio,
        batch_size=_parse_batch_size(batch_size),
        predictions=predictions,
        save_maps=save_maps,
        report=report,
        timeline=timeline,
        contact_sheet=contact_sheet,
        contact_frames=contact_frames,
        allow_gaps=allow_gaps,
        segment_seconds=segment_seconds,
        fresh=fresh,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
        skip_existing=skip_existing,
    )
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.explain import planning

        _run(planning.plan_videos(paths, output=output, options=options), choice, device, options, terminal, opens=opens)


@app.command(
    cls=Command,
    rich_help_panel=ARCHIVES,
    epilog="visualize batch archive/ -o out\nvisualize batch archive/ -o out --include '*.mov' --dry-run",
)
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Folders, files, patterns, and @list.txt with a path on each line.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Where everything goes, and the ledger.", show_default=False, rich_help_panel=INPUTS
        ),
    ],
    model: Model = zoo.DEFAULT_MODEL,
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    method: Method = "gradcam",
    layer: Layer = None,
    target: Target = None,
    top_k: TopK = 3,
    fit: Fit = "whole",
    short_side: ShortSide = None,
    layout: Layout = "side-by-side",
    colormap: Colormap = "inferno",
    alpha: Alpha = 0.5,
    label: Label = "top-left",
    scale: Scale = None,
    height: Height = None,
    smooth: Smooth = 0.7,
    every: Every = 1,
    start: Start = None,
    end: End = None,
    fps: Fps = None,
    codec: Codec = "auto",
    crf: Crf = None,
    preset: Preset = None,
    audio: Audio = "copy",
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    predictions: Annotated[
        str,
        typer.Option(
            "--predictions",
            metavar="FORMAT",
            help="Of each video's own file of predictions: parquet, csv, jsonl or none.",
            rich_help_panel=INPUTS,
        ),
    ] = "parquet",
    save_maps: Annotated[
        Path | None,
        typer.Option("--save-maps", metavar="FOLDER", help="Raw maps, in the archive's tree.", show_default="none", rich_help_panel=INPUTS),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="PATTERN",
            help="Only what matches, such as '*.mov'; repeatable.",
            show_default="everything",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="PATTERN", help="Leave out what matches; repeatable.", show_default="nothing", rich_help_panel=INPUTS
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="Pass over larger files, such as 2G.", show_default="no limit", rich_help_panel=INPUTS
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", help="Begin no more than so many inputs in this run.", show_default="no limit", rich_help_panel=RUNNING
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            metavar="N|auto",
            help="Processes with a model each; auto: one for each GPU, else for 4 cores.",
            rich_help_panel=COMPUTING,
        ),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="K/N",
            help="Only the Kth of N parts of the archive, from 1/N.",
            show_default="all of it",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="local|ray", help="This machine, or a Ray cluster (pip install '.[ray]').", rich_help_panel=COMPUTING
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="The Ray cluster.",
            show_default="one of its own, on this machine",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Of files that are exact copies make one.", show_default="off", rich_help_panel=INPUTS)
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what has failed for good.", show_default="off", rich_help_panel=RUNNING)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List what is new, changed, done, failed or missing; change nothing.",
            show_default="off",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="A page for each video, and one for the archive.", rich_help_panel=INPUTS)
    ] = True,
    opens: Open = False,
    segment_seconds: SegmentSeconds = 60.0,
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """A whole archive, unattended: every video and picture under the sources. The same command goes on where it was stopped or killed.

    What it has made before is passed over, as --skip-existing does elsewhere.
    """
    options = _options(
        targets=tuple(target or ()),
        method=method,
        top_k=top_k,
        fit=fit,
        short_side_px=short_side,
        layout=layout,
        colormap=colormap,
        alpha=alpha,
        label=label,
        scale=scale,
        height_px=height,
        smooth=smooth,
        every=every,
        start_seconds=_parse_time("--start", start),
        end_seconds=_parse_time("--end", end),
        fps=_parse_rate(fps),
        codec=codec,
        crf=crf,
        preset=preset,
        audio=audio,
        batch_size=_parse_batch_size(batch_size),
        report=report,
        segment_seconds=segment_seconds,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
    )
    count = _parse_workers(workers)
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose, drains=not dry_run) as terminal:
        from pipeline.batch import archive

        chosen = rules.Rules(
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            max_size_bytes=None if max_size is None else rules.parse_size(max_size),
            shard=None if shard is None else rules.parse_shard(shard),
        )
        request = archive.Request(
            sources=sources,
            output=output,
            choice=_choice(model, weights, labels, preprocess, layer, custom_objects, allow_unsafe, precision),
            options=options,
            rules=chosen,
            device=device,
            predictions=predictions,  # type: ignore[arg-type]  # Request checks it
            maps=save_maps,
            limit=limit,
            retry_failed=retry_failed,
            dedupe=dedupe,
            command=_command(),
        )
        if dry_run:
            _survey(request, terminal)
        else:
            _batch(request, terminal, count=count, engine=engine, address=address, opens=opens)


def _survey(request: Request, terminal: Terminal) -> None:
    from pipeline.batch import archive

    counts: Counter[str] = Counter()
    for standing, relative, size_bytes, reason in archive.survey(request):
        if terminal.unread:  # nothing is made here, so there is nothing to go on for
            return
        counts[standing] += 1
        path = os.fsdecode(relative)
        if terminal.as_json:
            terminal.put_json({"input": path, "state": standing, "size_bytes": size_bytes, "reason": reason or None})
        else:
            size = "" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
            terminal.put(printable(f"{standing:<12} {size:>12}  {path}{': ' if reason else ''}{reason}"))
    terminal.say(", ".join(f"{count} {standing}" for standing, count in counts.items()) or "nothing to look at")


def _batch(request: Request, terminal: Terminal, *, count: int | None, engine: str, address: str | None, opens: bool) -> None:
    from pipeline.batch import scheduler
    from pipeline.batch.executors import local_executor
    from pipeline.batch.messages import Executor, Setup

    if engine not in ("local", "ray"):
        raise CommandError(f"--engine {engine}: not local or ray")
    if address is not None and engine != "ray":
        raise CommandError("--address: only with --engine ray")

    def open_engine(setup: Setup, log: Path) -> Executor:
        if engine == "ray":
            from pipeline.batch.executors import ray_executor

            return ray_executor.open_executor(setup, count, address=address)
        return local_executor.LocalExecutor(setup, count or local_executor.choose_worker_count(), log=log)

    with terminal.archive() as display:
        summary = scheduler.run(request, open_executor=open_engine, watcher=display, stopping=lambda: terminal.stopped_by is not None)
    pages = [request.output / summary.page.name] if request.options.report and summary.page else []  # as the user calls it
    places = (("outputs", request.output if summary.done or summary.done_before else None), ("raw maps", request.maps))
    files = [*((kind, path) for kind, path in places if path is not None and path.exists()), *(("page", page) for page in pages)]
    terminal.finish_archive(summary, files=files, opens=(pages or [request.output]) if opens else ())


@app.command(
    cls=Command,
    rich_help_panel=ARCHIVES,
    epilog="visualize status out\nvisualize status out --json",
)
def status(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that a batch writes to.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """What a batch has done, is doing, and has failed at and why; at any moment, from any process."""
    with open_terminal(as_json=as_json, quiet=False, verbose=verbose) as terminal:
        from pipeline.batch import status_report as standing

        found = standing.read_status(output, every_job=as_json)
        if as_json:
            terminal.put_json(found.as_json())
        else:
            terminal.put_status(output, found)


@app.command(
    cls=Command,
    rich_help_panel=ARCHIVES,
    epilog="visualize search out cat\nvisualize search out banana --min-seconds 2 --clip hits",
)
def search(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that a batch writes to.")],
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="A class or a kind of things, such as corgi or bird, by a name, a part of one or a wnid.",
            autocompletion=completion.classes,
        ),
    ],
    min_score: Annotated[
        float, typer.Option("--min-score", metavar="X", help="The best score of a hit is at least this, 0 to 1.", rich_help_panel=SEARCH)
    ] = 0.0,
    min_seconds: Annotated[
        float, typer.Option("--min-seconds", metavar="S", help="A hit lasts at least so long; pictures last 0.", rich_help_panel=SEARCH)
    ] = 0.0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The best so many hits.", rich_help_panel=SEARCH)] = 20,
    clip: Annotated[
        Path | None,
        typer.Option(
            "--clip", metavar="FOLDER", help="Cut the hits out of the videos, by stream copy.", show_default="none", rich_help_panel=INPUTS
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Where in a batch's archive the model saw QUERY, the best first, each with the command that opens it there."""
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.batch import index_search as index

        hits = index.search(output, query, min_score=min_score, min_seconds=min_seconds, limit=limit)
        terminal.put_hits(hits)
        if clip is not None:
            failures = []
            for hit in hits:
                try:
                    made = index.cut_clip(hit, clip, overwrite=overwrite)
                    if made is not None:
                        terminal.say(printable(f"{'cut out' if made.made else 'there already'}: {made.path}"))
                except HeatreelError as error:
                    failures.append(str(error))
            for failure in failures:
                tell(printable(f"error: {failure}"))
            if failures:
                raise typer.Exit(1)


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize predict photos/ --csv all.csv --grid all.png\nvisualize predict dog.jpg -m efficientnet_lite0 -m resnet50",
)
def predict(
    paths: Inputs,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="NAME_OR_PATH",
            help="A name of the zoo or a model file; repeatable, several side by side.",
            autocompletion=completion.models,
            rich_help_panel=MODEL,
        ),
    ] = [zoo.DEFAULT_MODEL],  # noqa: B006  # Typer copies it
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    top_k: TopK = 3,
    fit: Fit = "whole",
    short_side: ShortSide = None,
    every: Every = 1,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="A row per input and rank.", show_default="none", rich_help_panel=INPUTS)
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(
            "--grid",
            metavar="FILE",
            help="A picture of all inputs with their label and score.",
            show_default="none",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Predictions only, for pictures, folders, patterns and videos (over their whole length): a table, JSON, CSV or a picture grid."""
    choices = [_choice(name, weights, labels, preprocess, None, custom_objects, allow_unsafe, precision) for name in model]
    options = _options(top_k=top_k, fit=fit, short_side_px=short_side, every=every, max_megapixels=max_megapixels, overwrite=overwrite)
    for choice in choices:
        zoo.check_choice(choice, ())
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.explain import planning
        from pipeline.media import images

        if grid is not None:
            images.check_writable_format(grid)
        for path in (csv, grid):
            if path is not None:
                output_paths.check_output(path, sources=output_paths.identify_files(paths), overwrite=overwrite)
        plan = planning.plan_predictions(paths, max_megapixels=max_megapixels)
        _predict(plan, choices, device, options, terminal, csv=csv, grid=grid)


@app.command(
    cls=Command,
    rich_help_panel=CLASSIFIERS,
    epilog="visualize train pets/ -o pets.keras\nvisualize train pets/ --base resnet50 --no-augment --epochs 10",
)
def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A folder with a folder of pictures for each class, or train/ and val/ with those.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="MODEL.keras", help="The model's file.", show_default="DATA.keras beside DATA", rich_help_panel=INPUTS
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="NAME",
            help="The network whose features are used; see `visualize models`.",
            autocompletion=completion.models,
            rich_help_panel=MODEL,
        ),
    ] = (zoo.DEFAULT_MODEL),
    weights: Weights = None,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs", metavar="N", help="At most so many; fewer where the validation loss no longer falls.", rich_help_panel=TRAINING
        ),
    ] = 30,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", help="Pictures for each step.", rich_help_panel=TRAINING)] = 32,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="X", help="Of the new classifier.", rich_help_panel=TRAINING)
    ] = 1e-3,
    val: Annotated[
        float,
        typer.Option(
            "--val",
            metavar="FRACTION",
            help="Part of each class to validate on, where DATA has no val/ of its own.",
            rich_help_panel=TRAINING,
        ),
    ] = 0.2,
    fine_tune: Annotated[
        int,
        typer.Option(
            "--fine-tune",
            metavar="N",
            help="Then train the last N layers of the base too, at a hundredth of the rate.",
            rich_help_panel=TRAINING,
        ),
    ] = 0,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment",
            help="Turn, shift, zoom and flip training pictures; without it epochs take seconds.",
            rich_help_panel=TRAINING,
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Chooses the split and all that is left to chance.", rich_help_panel=TRAINING)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training.", show_default="off", rich_help_panel=RUNNING)
    ] = False,
    device: Device = "auto",
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Teach a network your own classes, from a folder of class folders; the file it writes works with -m everywhere."""
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.training import training_plan

        recipe = Recipe(
            base=base,
            weights=weights,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            val=val,
            fine_tune=fine_tune,
            augment=augment,
            seed=seed,
            max_megapixels=max_megapixels,
        )
        plan = training_plan.plan_training(data, output=output, recipe=recipe, resume=resume, overwrite=overwrite)
        with terminal.passing(f"loading the model {base}"), terminal.starting_up():
            from pipeline.models.device import use_device
            from pipeline.training import transfer_learning

        terminal.say(f"running on {use_device(device)}", only_verbose=True)
        with terminal.lesson(plan.output) as watcher:
            trained = transfer_learning.train(plan, watcher)
        terminal.put_trained(trained)


@app.command(
    cls=Command,
    rich_help_panel=CLASSIFIERS,
    epilog="visualize analyze pets.keras pets/ --open\nvisualize analyze pets.keras pets/ -o found --examples 12",
)
def analyze(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name of the zoo, or a .keras or .h5 file.", show_default=False, autocompletion=completion.models
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder of pictures for each class, or train/ and val/ with those.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="A folder for what is found.", show_default="DATA_analysis", rich_help_panel=INPUTS
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            help="What withholding answers below this score buys, 0 to 1.",
            show_default="the best",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", help="Pictures of each kind that are shown of a class.", rich_help_panel=INPUTS)
    ] = 6,
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    method: Method = "gradcam",
    fit: Fit = "whole",
    short_side: ShortSide = None,
    colormap: Colormap = "inferno",
    alpha: Alpha = 0.5,
    device: Device = "auto",
    precision: Precision = "auto",
    max_megapixels: MaxMegapixels = None,
    opens: Open = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Where a model errs: its accuracy on labelled folders, what it confuses, and the pictures that show why, each with its heat."""
    choice = _choice(model, weights, labels, preprocess, None, custom_objects, allow_unsafe, precision)
    options = _options(
        smooth=0.0,
        method=method,
        fit=fit,
        short_side_px=short_side,
        colormap=colormap,
        alpha=alpha,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
    )
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.evaluation import analysis_plan
        from pipeline.rendering.heat_blending import colormap as known_colormap

        zoo.check_choice(choice, ())
        known_colormap(options.colormap)
        plan = analysis_plan.plan_analysis(data, output=output, threshold=threshold, examples=examples, options=options)
        with terminal.passing(f"loading the model {_name_of(choice)}"):
            with terminal.starting_up():
                from pipeline.cam import batching
                from pipeline.evaluation import analysis
                from pipeline.explain import sessions
                from pipeline.models import loading
                from pipeline.models.device import use_device

            terminal.say(f"running on {use_device(device, at_once=batching.AT_ONCE)}", only_verbose=True)
            session = sessions.open_session(loading.load_classifier(choice), options)
        found = analysis.analyze(plan, session, choice=choice, command=_command(), counter=terminal.counter)
        terminal.put_analysis(found.as_json())
        if opens:
            terminal.open([found.page])


@app.command(
    cls=Command,
    rich_help_panel=INSTALLATION,
    epilog="visualize demo\nvisualize demo -o demo --open",
)
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where photographs, clip and result go.", rich_help_panel=INPUTS)
    ] = Path(),
    opens: Open = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The whole pipeline on a real clip made from photographs that come with the installation."""
    with open_terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline.explain import demo_clip as clip
        from pipeline.explain import planning

        options = Options(overwrite=overwrite)
        source, result = output / "heatreel_demo.mp4", output / "heatreel_demo_output.mp4"
        clip.write_photographs(output / "heatreel_photos", overwrite=overwrite)
        clip.make_clip(source, overwrite=overwrite)
        terminal.say(f"made {output / 'heatreel_photos'}: {len(clip.PHOTOGRAPHS)} photographs that come with scikit-image")
        terminal.say(f"made {source}: a camera gliding over them, {clip.SECONDS:g} seconds")
        plan = planning.plan_videos([source], output=result, options=options)
        _run(plan, ModelChoice(model=zoo.DEFAULT_MODEL), "auto", options, terminal, opens=opens)


@app.command(
    cls=Command,
    rich_help_panel=INSTALLATION,
    epilog="visualize doctor\nvisualize doctor --json",
)
def doctor(as_json: Json = False, verbose: Verbose = False) -> None:
    """What this machine offers: ffmpeg and its encoders, GPU, TensorFlow, weights, free space."""
    with open_terminal(as_json=as_json, quiet=False, verbose=verbose) as terminal:
        with terminal.starting_up():
            from pipeline.console import doctor as examination

        findings = examination.examine()
        if as_json:
            terminal.put_json(findings)
        else:
            for key, value in findings.items():
                text = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
                terminal.put(f"{key:<14} {text}")


models_app = typer.Typer(
    cls=Group,
    help="The model zoo: what there is, what is in a model, and its weights.",
    invoke_without_command=True,
    epilog="visualize models\nvisualize models show resnet50",
)
app.add_typer(models_app, name="models", rich_help_panel=CLASSIFIERS)


@models_app.callback()
def models_table(context: typer.Context, as_json: Json = False) -> None:
    """The models that come by name, with what is published of them, and whether their weights are on this machine."""
    if context.invoked_subcommand is None:
        with open_terminal(as_json=as_json, quiet=False, verbose=False) as terminal:
            rows = [zoo.describe_entry(entry) for entry in zoo.ZOO_ENTRIES.values()]
            if as_json:
                terminal.put_json({"models": rows})
            else:
                terminal.put(table(rows))


@models_app.command(
    "show",
    cls=Command,
    epilog="visualize models show efficientnet_lite0\nvisualize models show vgg16 --json",
)
def models_show(
    model: Annotated[
        str, typer.Argument(metavar="NAME_OR_PATH", help="A name of the zoo, or a model file.", autocompletion=completion.models)
    ],
    input_size: Annotated[
        str | None,
        typer.Option(
            "--input-size", metavar="HxW", help="Shapes for pictures of this size.", show_default="the model's own", rich_help_panel=MODEL
        ),
    ] = None,
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> None:
    """Layers, output shapes, parameters, and where the map is taken."""
    size = _parse_size(input_size)
    choice = _choice(model, None, None, "auto", None, custom_objects, allow_unsafe)
    zoo.check_choice(choice, ())
    with open_terminal(as_json=as_json, quiet=False, verbose=False) as terminal:
        with terminal.passing(f"loading the model {_name_of(choice)}"):
            with terminal.starting_up():
                from pipeline.models import summary

            shown = summary.summarize_model(choice, size)
        if as_json:
            terminal.put_json(shown)
        else:
            terminal.put(table(shown["layers"]))
            terminal.put("\n".join(f"{key}: {value}" for key, value in shown.items() if key != "layers"))


@models_app.command("classes", cls=Command, epilog="visualize models classes dog\nvisualize models classes efficientnet_lite0 cockatoo")
def models_classes(
    model: Annotated[
        str, typer.Argument(metavar="NAME_OR_PATH", help="A name of the zoo, or a model file.", autocompletion=completion.models)
    ] = zoo.DEFAULT_MODEL,
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="WORD", help="Only what this finds, as --target and `search` would; alone it is enough.", show_default="all"
        ),
    ] = None,
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """The classes that a model knows, with their synonyms; and what a word finds: classes, or a kind of them such as "corgi" or "bird"."""
    if word is None and not zoo.is_known_model(model):
        model, word = zoo.DEFAULT_MODEL, model
    choice = _choice(model, None, None, "auto", None, custom_objects, allow_unsafe)
    with open_terminal(as_json=as_json, quiet=False, verbose=verbose) as terminal:
        zoo.check_choice(choice, ())
        classes: Sequence[ClassName] = class_names.imagenet_classes()
        if zoo.is_model_file(model):
            with terminal.passing(f"loading the model {_name_of(choice)}"):
                with terminal.starting_up():
                    from pipeline.models import loading

                classes = loading.load_classifier(choice).classes
        shown = class_names.list_classes(classes, word)
        if as_json:
            terminal.put_json({"model": model, **shown})
        else:
            terminal.put_classes(shown)


@models_app.command("fetch", cls=Command, epilog="visualize models fetch resnet50\nvisualize models fetch vgg16 xception")
def models_fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of the zoo.", autocompletion=completion.models)],
    verbose: Verbose = False,
) -> None:
    """Download the ImageNet weights of models of the zoo into Keras' cache."""
    entries = [zoo.find_entry(name) for name in names]
    with open_terminal(as_json=False, quiet=False, verbose=verbose) as terminal:
        with terminal.starting_up():
            from pipeline.models import loading

        failures = []
        for entry in entries:
            try:
                terminal.say(f"{entry.name}: {loading.fetch_weights(entry)}")
            except HeatreelError as error:
                failures.append(str(error))
        for failure in failures:
            tell(f"error: {failure}")
        if failures:
            raise typer.Exit(1)


# ------------------------------------------------------------------------------------------------ running


def _run(
    plan: Sequence[Job | Refusal | Skipped], choice: ModelChoice, device: str, options: Options, terminal: Terminal, *, opens: bool = False
) -> None:
    """Do every job of the plan, and say what came of it; the model is loaded when there is one to do.

    Raises CommandError for what no input could cure, typer.Exit where an input has failed.
    """
    from pipeline.explain.planning import Job, Refusal, Skipped
    from pipeline.rendering.heat_blending import colormap

    zoo.check_choice(choice, options.targets)
    colormap(options.colormap)
    if opens and len(plan) > 1 and not options.report:
        raise CommandError(f"--open: {len(plan)} outputs, and no page", remedy="add --report")
    name = _name_of(choice)
    outcomes = [Outcome(input=r.input, model=name, method=options.method, error=str(r.error)) for r in plan if isinstance(r, Refusal)]
    passed_over = [each for each in plan if isinstance(each, Skipped)]
    outcomes += [Outcome(input=s.input, output=s.output, model=name, method=options.method, skipped=True) for s in passed_over]
    for outcome in outcomes:
        terminal.report(outcome)
    jobs = [job for job in plan if isinstance(job, Job)]
    if not jobs:
        terminal.finish(outcomes)
        return
    pictures = all(job.is_still for job in jobs)
    session = _session(choice, device, jobs, options, terminal)
    tracks: list[Explanations] = []
    shown: list[tuple[Outcome, Explanations | None]] = [(outcome, None) for outcome in outcomes if not outcome.skipped]

    def write(done: Sequence[Explanations]) -> None:

        if options.predictions is not None and done:
            classes, more = session.classifier.classes, {"overwrite": options.overwrite, "name_inputs": len(plan) > 1}
            tables.write_predictions(options.predictions, done, classes, targets=session.targets, **more)

    # A single video gets its name after its predictions are written: should that fail, the next run need not begin anew.
    alone = len(jobs) == 1 and bool(jobs[0].source or jobs[0].pictures)

    def made(outcome: Outcome, track: Explanations, _file: Path) -> None:
        write([track] if alone else ())
        if options.keeps_thumbnails:
            from pipeline.explain import result_pages

            result_pages.write_video_extras(outcome, track, session, command=_command(), overwrite=options.overwrite)

    try:
        for outcome, track in _done(jobs, session, terminal, made, pictures=pictures):
            outcomes.append(outcome)
            terminal.report(outcome)
            tracks += [track] if track and not alone else []
            shown += [(outcome, track)] if pictures else []
    except KeyboardInterrupt as stop:
        job = jobs[min(len(outcomes) - len(plan) + len(jobs), len(jobs) - 1)]  # the refused and the skipped come first
        raise Stopped(exit_code_of(stop), remedy=_how_to_go_on(job, options, predictions_written=bool(tracks))) from None
    finally:
        write(tracks)
    done = _jobs_done(jobs, outcomes)
    files = _files_beside(done, options)
    if options.report and pictures:
        from pipeline.explain import result_pages

        page = result_pages.write_pictures_page(shown, options, command=_command(), overwrite=options.overwrite)
        files = [("page", page), *files] if page else files
    pages_made = [path for kind, path in files if kind == "page"]
    shows = (pages_made or [job.output for job in done]) if opens else ()
    terminal.finish(outcomes, files=files, noun="pictures" if pictures else "videos", opens=shows)


def _name_of(choice: ModelChoice) -> str:
    return Path(choice.model).name if zoo.is_model_file(choice.model) else zoo.find_entry(choice.model).name


def _session(choice: ModelChoice, device: str, jobs: Sequence[Job], options: Options, terminal: Terminal) -> Session:
    with terminal.passing(f"loading the model {_name_of(choice)}"):
        with terminal.starting_up():
            from pipeline.explain import sessions
            from pipeline.models import loading
            from pipeline.models.device import use_device

        terminal.say(f"running on {use_device(device, at_once=_at_once(jobs))}", only_verbose=True)
        return sessions.open_session(loading.load_classifier(choice), options)


def _jobs_done(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Job]:
    made = {outcome.output for outcome in outcomes}
    return [job for job in jobs if job.output in made]


def _files_beside(done: Sequence[Job], options: Options) -> list[tuple[str, Path]]:
    """What there is besides the outputs of the jobs that are done, each with what it is."""

    videos = [job for job in done if not job.is_still]
    of_all = (
        ("predictions", options.predictions, done),
        ("timeline", options.timeline, videos),
        ("contact sheet", options.contact_sheet, videos),
    )
    return [
        *(("page", output_paths.page_of(job.output)) for job in videos if options.report),
        *((kind, path) for kind, path, needed in of_all if path is not None and needed),
        *(("raw maps", job.maps) for job in done if job.maps is not None),
    ]


def _at_once(jobs: Sequence[Job]) -> int:
    """How many batches the network gets at once: a single picture is one, and has all cores to itself."""
    from pipeline.cam import batching

    return 1 if len(jobs) == 1 and jobs[0].is_still else batching.AT_ONCE


def _predict(
    plan: Sequence[Job | Refusal],
    choices: Sequence[ModelChoice],
    device: str,
    options: Options,
    terminal: Terminal,
    *,
    csv: Path | None,
    grid: Path | None,
) -> None:
    from pipeline.explain.planning import Job, Refusal

    jobs = [job for job in plan if isinstance(job, Job)]
    refused = [Outcome(input=r.input, model="", method="none", error=str(r.error)) for r in plan if isinstance(r, Refusal)]
    answers = []
    if jobs:
        with terminal.passing(f"loading the model {_name_of(choices[0])}"):
            with terminal.starting_up():
                from pipeline.explain import prediction_job
                from pipeline.models import loading
                from pipeline.models.device import use_device

            terminal.say(f"running on {use_device(device, at_once=_at_once(jobs))}", only_verbose=True)
        for choice in choices:
            with terminal.passing(f"loading the model {_name_of(choice)}"):
                classifier = loading.load_classifier(choice)
            with terminal.counter(f"{classifier.name}", len(jobs)) as tick:
                answers.append(prediction_job.predict(jobs, prediction_job.make_scorer(classifier, options), tick=tick))
        if grid is not None:
            from pipeline.explain import result_pages

            result_pages.write_prediction_grid(grid, answers, overwrite=options.overwrite)
    outcomes = [*refused, *(answer.outcome for each in zip(*answers, strict=True) for answer in each)]
    if csv is not None:
        from pipeline.results.tables import write_ranking

        write_ranking(csv, outcomes, overwrite=options.overwrite, name_models=len(choices) > 1)
    terminal.put_predictions(outcomes)
    made = (("table", csv), ("grid", grid if jobs else None))
    terminal.finish(outcomes, files=[(kind, path) for kind, path in made if path is not None])


def _done(
    jobs: Sequence[Job], session: Session, terminal: Terminal, made: Callable[[Outcome, Explanations, Path], None], *, pictures: bool
) -> Iterator[tuple[Outcome, Explanations | None]]:
    """Every job in order with what became of it: pictures many at a time, videos one by one."""
    from pipeline.explain import image_job

    if pictures:
        with _passes(jobs, session, terminal) or nullcontext():
            for job, done in image_job.visualize_images(jobs, session):
                terminal.check()
                yield _failed(job, done, session, terminal) if isinstance(done, HeatreelError) else done
        return
    for number, job in enumerate(jobs):
        with _passes([job], session, terminal) or terminal.bar(job, number, len(jobs)) as tick:
            ended = _video(job, session, terminal, tick, made)
        yield ended  # the bar is gone by then


def _passes(jobs: Sequence[Job], session: Session, terminal: Terminal) -> AbstractContextManager[Callable[[Progress], None]] | None:
    """A bar over passes of the network for a method that makes many of them for a picture; None where none is needed."""
    from pipeline.explain import sessions

    passes = sessions.count_scorecam_passes(session)
    if passes is None:
        return None
    each, made = passes
    frames = [job.frames_estimate(session.options) for job in jobs]
    total = None if None in frames else each * sum(count or 0 for count in frames)
    title = jobs[0].input.name if len(jobs) == 1 else f"{len(jobs)} pictures"
    return terminal.passes(printable(f"{session.options.method}: {title}"), total, made)


def _video(
    job: Job, session: Session, terminal: Terminal, tick: Callable[[Progress], None], made: Callable[[Outcome, Explanations, Path], None]
) -> tuple[Outcome, Explanations | None]:
    from pipeline.explain import video_job

    def progress(reached: Progress) -> None:
        terminal.check()
        tick(reached)

    try:
        return video_job.visualize_video(job, session, progress=progress, notice=terminal.say, before_publish=made)
    except HeatreelError as error:
        terminal.check()
        return _failed(job, error, session, terminal)


def _failed(job: Job, error: HeatreelError, session: Session, terminal: Terminal) -> tuple[Outcome, None]:
    if error.exit_code != 1:
        raise error
    if isinstance(error, ToolError):
        terminal.say(error.details, only_verbose=True)
    return Outcome(input=job.input, model=session.classifier.name, method=session.options.method, error=str(error)), None


def _how_to_go_on(job: Job, options: Options, *, predictions_written: bool) -> str:
    from pipeline.explain import segment_journal

    made = job.output.exists() and not options.overwrite
    if made or not segment_journal.folder_of(job.output).is_dir():
        return ""
    taken = predictions_written and options.predictions is not None and not options.overwrite
    return f"the same command goes on from there{', with another --predictions' if taken else ''}"


def _choice(
    model: str,
    weights: Path | None,
    labels: Path | None,
    preprocess: str,
    layers: Sequence[str] | None,
    custom_objects: Path | None,
    allow_unsafe: bool,
    precision: str = "auto",
) -> ModelChoice:
    return ModelChoice(
        model=model,
        weights=weights,
        labels=labels,
        pixels=None if preprocess == "auto" else preprocess,  # type: ignore[arg-type]  # ModelChoice checks it
        layers=tuple(layers or ()),
        custom_objects=custom_objects,
        allow_unsafe=allow_unsafe,
        precision=precision,  # type: ignore[arg-type]  # and this
    )


def _options(**given: Any) -> Options:
    return Options(**given)  # strings become literals there, or a CommandError


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _parse_time(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
        if len(parts) > 3 or any(part < 0 for part in parts):
            raise ValueError
    except ValueError:
        raise CommandError(f"{option} {text}: not a time", remedy="give seconds or HH:MM:SS.mmm") from None
    return sum(part * 60.0**place for place, part in enumerate(reversed(parts)))


def _parse_rate(text: str | None) -> Fraction | None:
    try:
        rate = None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and not 0 < rate <= 1000:
        raise CommandError(f"--fps {text}: not a rate between 0 and 1000")
    return rate


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise CommandError(f"--input-size {text}: not HxW, such as 224x320")
    return int(height), int(width)


def _parse_workers(text: str) -> int | None:
    if text != "auto" and not (text.isascii() and text.isdecimal() and int(text)):
        raise CommandError(f"--workers {text}: not a number of 1 or more, or auto")
    return None if text == "auto" else int(text)


def _parse_batch_size(text: str) -> int | None:
    if text != "auto" and not (text.isascii() and text.isdecimal()):
        raise CommandError(f"--batch-size {text}: not a number or auto")
    return None if text == "auto" else int(text)


def main() -> None:
    """The console command. Options that are wrong in themselves are refused before any command runs."""
    open_missing_streams()
    try:
        app()
    except CommandError as error:
        tell(printable(f"error: {error}"))
        sys.exit(error.exit_code)
    except SystemExit as finished:
        end(finished)


if __name__ == "__main__":
    main()
