"""The command line: parses into one options object, makes one call, prints. It alone draws bars, logs and handles signals."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from pipeline import catalog
from pipeline.errors import CommandError, HeatreelError, OutputError, Stopped, ToolError
from pipeline.records import ModelChoice, Options, Outcome, Progress, printable

if TYPE_CHECKING:
    from pipeline.planning import Job, Refusal
    from pipeline.predictions import Track
    from pipeline.visualize import Session

app = typer.Typer(
    help="Show what an image classifier sees in pictures and videos, and where it looks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

# ------------------------------------------------------------------------------------------------ options

LAYOUTS = "side-by-side|stacked|overlay|heatmap|grid"
METHODS = "gradcam|gradcam++|hirescam|xgradcam|layercam|eigencam|scorecam"
CODECS = "auto|h264|hevc|av1|vp9|prores"

Inputs = Annotated[list[Path], typer.Argument(metavar="PATH...", help="What to look at.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="A file for one input, a folder for several.", show_default="NAME_output beside the input"
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME_OR_PATH", help="A name of the zoo, or a .keras or .h5 file; see `visualize models`.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="Weights from a local file for a model of the zoo.", show_default="its ImageNet weights"
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE", help="Class names, one a line, or Keras' class index as JSON.", show_default="the model's own"
    ),
]
Preprocess = Annotated[
    str, typer.Option("--preprocess", metavar="auto|none|unit|tf|torch|caffe", help="Pixel scaling for a model that does not do its own.")
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar=METHODS,
        help="How the map is made. Where a network ends in global average pooling and one Dense layer (all of the zoo but VGG, MobileNet, "
        "MobileNetV3 and ConvNeXt), gradcam, hirescam and xgradcam are the same map; behind any head that follows global average pooling, "
        "too. eigencam looks at no class. scorecam takes a forward pass for every channel, 1280 a picture with the embedded model.",
    ),
]
Layer = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", metavar="NAME", help="Take the map from this layer's output; repeatable, maps are fused.", show_default="found by itself"
    ),
]
CustomObjects = Annotated[
    Path | None,
    typer.Option(
        "--custom-objects", metavar="MODULE.py", help="Run this file for the classes that a model of one's own needs.", show_default="none"
    ),
]
AllowUnsafe = Annotated[
    bool, typer.Option("--allow-unsafe", help="Load a .keras file with Lambda layers, whose code then runs.", show_default="off")
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="CLASS",
        help="Explain this class (name, wnid or index), a panel each; repeatable.",
        show_default="the top prediction of each frame",
    ),
]
TopK = Annotated[int, typer.Option("--top-k", "-k", metavar="N", help="Predictions written on the frame and in the data.")]
Fit = Annotated[
    str,
    typer.Option(
        "--fit",
        metavar="whole|crop|squash",
        help="How a frame meets the network: whole and undistorted, the standard centre crop, or squashed to a square.",
    ),
]
ShortSide = Annotated[
    int | None,
    typer.Option("--short-side", metavar="N", help="Network resolution; larger is finer and slower.", show_default="the model's, 256"),
]
Layout = Annotated[str, typer.Option("--layout", metavar=LAYOUTS, help="What the output shows.")]
Colormap = Annotated[str, typer.Option("--colormap", metavar="NAME", help="Any OpenCV colour map, in lower case.")]
Alpha = Annotated[float, typer.Option("--alpha", metavar="X", help="Strength of the heat, 0 to 1.")]
Height = Annotated[
    int | None, typer.Option("--height", metavar="N", help="Height of a panel in pixels; the width follows.", show_default="the source's")
]
Smooth = Annotated[
    float,
    typer.Option("--smooth", metavar="X", help="Steady heat and scores over time, 0 (not) to 1 (mean of the scene); a cut begins anew."),
]
Stream = Annotated[
    int | None,
    typer.Option("--stream", metavar="N", help="Which of several video tracks, counted from 0.", show_default="the first"),
]
SegmentSeconds = Annotated[
    float, typer.Option("--segment-seconds", metavar="S", help="What an interrupted run loses at most; the same command goes on there.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Discard what an interrupted run has finished.", show_default="off")]
Every = Annotated[int, typer.Option("--every", metavar="N", help="Run the network on every Nth frame; every frame is still written.")]
Start = Annotated[
    str | None, typer.Option("--start", metavar="T", help="Begin here: seconds or HH:MM:SS.mmm.", show_default="the beginning")
]
End = Annotated[str | None, typer.Option("--end", metavar="T", help="End before here: seconds or HH:MM:SS.mmm.", show_default="the end")]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps", metavar="R", help="Frames in a second, for folders of frames and raw streams: 25, 29.97 or 30000/1001.", show_default="25"
    ),
]
Codec = Annotated[str, typer.Option("--codec", metavar=CODECS, help="auto is H.264, on a hardware encoder where one works.")]
Crf = Annotated[
    int | None,
    typer.Option(
        "--crf", metavar="N", help="Quality; lower is better and larger.", show_default="20 for H.264, 24 for HEVC, 32 for AV1 and VP9"
    ),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="The encoder's speed.", show_default="veryfast for H.264 and HEVC, 10 for AV1"),
]
Audio = Annotated[
    str, typer.Option("--audio", metavar="copy|none", help="Keep the sound (AAC where the container cannot hold it), or leave it out.")
]
BatchSize = Annotated[str, typer.Option("--batch-size", metavar="N|auto", help="Frames per network call; halved where memory runs out.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|gpu[:N]", help="Where the network runs.")]
Predictions = Annotated[
    Path | None,
    typer.Option("--predictions", metavar="FILE", help="Per-frame predictions as .csv, .jsonl or .parquet.", show_default="none"),
]
SaveMaps = Annotated[
    Path | None, typer.Option("--save-maps", metavar="FILE.npz", help="Raw maps; a folder for several inputs.", show_default="none")
]
AllowGaps = Annotated[
    bool,
    typer.Option("--allow-gaps", help="In a folder of frames, let those follow one another whose numbers do not.", show_default="off"),
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="X",
        help="Refuse larger pictures or frames by their header.",
        show_default="200 for pictures, 36 for videos",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.", show_default="off")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per input on stdout.", show_default="off")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bars and no result lines; failures are still named.", show_default="off")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="TensorFlow's notes, ffmpeg's commands and tracebacks too.", show_default="off")
]


def _version(value: bool) -> None:
    if value:
        print(f"visualize {version('heatreel')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True, show_default="off")
    ] = False,
) -> None:
    pass


# ------------------------------------------------------------------------------------------------ commands


@app.command()
def image(
    paths: Inputs,
    output: Output = None,
    model: Model = catalog.DEFAULT,
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
    colormap: Colormap = "turbo",
    alpha: Alpha = 0.5,
    height: Height = None,
    device: Device = "auto",
    predictions: Predictions = None,
    save_maps: SaveMaps = None,
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pictures, each with the heat beside it and the prediction written on it. A folder stands for the pictures in it."""
    choice = _choice(model, weights, labels, preprocess, layer, custom_objects, allow_unsafe)
    options = _options(
        targets=tuple(target or ()),
        method=method,
        top_k=top_k,
        fit=fit,
        short_side_px=short_side,
        layout=layout,
        colormap=colormap,
        alpha=alpha,
        height_px=height,
        predictions=predictions,
        save_maps=save_maps,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
    )
    with _terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline import planning

        terminal.finish(_run(planning.plan_images(paths, output=output, options=options), choice, device, options, terminal))


@app.command()
def video(
    paths: Inputs,
    output: Output = None,
    model: Model = catalog.DEFAULT,
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
    colormap: Colormap = "turbo",
    alpha: Alpha = 0.5,
    height: Height = None,
    smooth: Smooth = 0.0,
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
    predictions: Predictions = None,
    save_maps: SaveMaps = None,
    allow_gaps: AllowGaps = False,
    segment_seconds: SegmentSeconds = 60.0,
    fresh: Fresh = False,
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Videos, each with the heat beside it, with its sound and exact timing. PATH is a file or a folder of frames."""
    choice = _choice(model, weights, labels, preprocess, layer, custom_objects, allow_unsafe)
    options = _options(
        targets=tuple(target or ()),
        method=method,
        top_k=top_k,
        fit=fit,
        short_side_px=short_side,
        layout=layout,
        colormap=colormap,
        alpha=alpha,
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
        allow_gaps=allow_gaps,
        segment_seconds=segment_seconds,
        fresh=fresh,
        max_megapixels=max_megapixels,
        overwrite=overwrite,
    )
    with _terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline import planning

        terminal.finish(_run(planning.plan_videos(paths, output=output, options=options), choice, device, options, terminal))


@app.command()
def predict(
    paths: Inputs,
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="NAME_OR_PATH", help="A name of the zoo or a model file; several side by side.")
    ] = [catalog.DEFAULT],  # noqa: B006  # Typer copies it
    weights: Weights = None,
    labels: Labels = None,
    preprocess: Preprocess = "auto",
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    top_k: TopK = 3,
    fit: Fit = "whole",
    short_side: ShortSide = None,
    every: Every = 1,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="A row per input and rank.", show_default="none")] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE", help="A picture of all inputs with their label and score.", show_default="none")
    ] = None,
    device: Device = "auto",
    max_megapixels: MaxMegapixels = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Predictions only, for pictures, folders, patterns and videos (over their whole length): a table, JSON, CSV or a picture grid."""
    choices = [_choice(name, weights, labels, preprocess, None, custom_objects, allow_unsafe) for name in model]
    options = _options(top_k=top_k, fit=fit, short_side_px=short_side, every=every, max_megapixels=max_megapixels, overwrite=overwrite)
    for choice in choices:
        catalog.check_choice(choice, ())
    with _terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline import outputs, planning, stills

        if grid is not None:
            stills.check_writable_format(grid)
        for path in (csv, grid):
            if path is not None:
                outputs.check_output(path, sources=paths, overwrite=overwrite)
        plan = planning.plan_predictions(paths, max_megapixels=max_megapixels)
        terminal.finish(_predict(plan, choices, device, options, terminal, csv=csv, grid=grid))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the clip and the result go.")] = Path(),
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The whole pipeline on a real clip made from photographs that come with the installation."""
    with _terminal(as_json=as_json, quiet=quiet, verbose=verbose) as terminal:
        from pipeline import demo as clip
        from pipeline import planning

        options = Options(overwrite=overwrite)
        source, result = output / "heatreel_demo.mp4", output / "heatreel_demo_output.mp4"
        clip.make_clip(source, overwrite=overwrite)
        terminal.say(f"made {source}: {clip.SECONDS:g} seconds of photographs from scikit-image")
        terminal.finish(
            _run(
                planning.plan_videos([source], output=result, options=options),
                ModelChoice(model=catalog.DEFAULT),
                "auto",
                options,
                terminal,
            )
        )


@app.command()
def doctor(as_json: Json = False, verbose: Verbose = False) -> None:
    """What this machine offers: ffmpeg and its encoders, GPU, TensorFlow, weights, free space."""
    with _terminal(as_json=as_json, quiet=False, verbose=verbose) as terminal:
        terminal.start_up()
        from pipeline import doctor as examination

        findings = examination.examine()
        if as_json:
            terminal.put_json(findings)
        else:
            for key, value in findings.items():
                text = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
                terminal.put(f"{key:<14} {text}")


models_app = typer.Typer(help="The model zoo: what there is, what is in a model, and its weights.", invoke_without_command=True)
app.add_typer(models_app, name="models")


@models_app.callback()
def models_table(context: typer.Context, as_json: Json = False) -> None:
    """The models that come by name, with what is published of them, and whether their weights are on this machine."""
    if context.invoked_subcommand is None:
        with _terminal(as_json=as_json, quiet=False, verbose=False) as terminal:
            rows = [catalog.describe(entry) for entry in catalog.ENTRIES.values()]
            if as_json:
                terminal.put_json({"models": rows})
            else:
                terminal.put(_table(rows))


@models_app.command("show")
def models_show(
    model: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="A name of the zoo, or a model file.")],
    input_size: Annotated[
        str | None, typer.Option("--input-size", metavar="HxW", help="Shapes for pictures of this size.", show_default="the model's own")
    ] = None,
    custom_objects: CustomObjects = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> None:
    """Layers, output shapes, parameters, and where the map is taken."""
    size = _parse_size(input_size)
    choice = _choice(model, None, None, "auto", None, custom_objects, allow_unsafe)
    catalog.check_choice(choice, ())
    with _terminal(as_json=as_json, quiet=False, verbose=False) as terminal:
        terminal.start_up()
        from pipeline import anatomy

        shown = anatomy.describe(choice, size)
        if as_json:
            terminal.put_json(shown)
        else:
            terminal.put(_table(shown["layers"]))
            terminal.put("\n".join(f"{key}: {value}" for key, value in shown.items() if key != "layers"))


@models_app.command("fetch")
def models_fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of the zoo.")], verbose: Verbose = False
) -> None:
    """Download the ImageNet weights of models of the zoo into Keras' cache."""
    entries = [catalog.entry(name) for name in names]
    with _terminal(as_json=False, quiet=False, verbose=verbose) as terminal:
        terminal.start_up()
        from pipeline import models

        failures = []
        for entry in entries:
            try:
                terminal.say(f"{entry.name}: {models.fetch(entry)}")
            except HeatreelError as error:
                failures.append(str(error))
        for failure in failures:
            _tell(f"error: {failure}")
        if failures:
            raise typer.Exit(1)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as aligned columns, numbers to the right."""
    texts = [list(rows[0]), *[["-" if value is None else str(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [isinstance(value, int | float) for value in rows[-1].values()]
    lines = [[cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)] for line in texts]
    return "\n".join("  ".join(line).rstrip() for line in lines)


# ------------------------------------------------------------------------------------------------ running


def _run(plan: Sequence[Job | Refusal], choice: ModelChoice, device: str, options: Options, terminal: Terminal) -> list[Outcome]:
    """Do every job of the plan; the model is loaded when there is one to do. Raises CommandError for what no input could cure."""
    from pipeline.compositing import colormap
    from pipeline.planning import Job, Refusal

    catalog.check_choice(choice, options.targets)
    colormap(options.colormap)
    name = Path(choice.model).name if catalog.is_file(choice.model) else catalog.entry(choice.model).name
    outcomes = [Outcome(input=r.input, model=name, method=options.method, error=str(r.error)) for r in plan if isinstance(r, Refusal)]
    for outcome in outcomes:
        terminal.report(outcome)
    jobs = [job for job in plan if isinstance(job, Job)]
    if not jobs:
        return outcomes
    terminal.start_up()
    from pipeline import models, predictions, visualize

    terminal.say(f"running on {models.use_device(device)}", only_verbose=True)
    session = visualize.open_session(models.load_classifier(choice), options)
    tracks: list[Track] = []

    def write(done: Sequence[Track]) -> None:
        if options.predictions is not None and done:
            classes, several = session.classifier.classes, len(plan) > 1
            predictions.write_predictions(options.predictions, done, classes, overwrite=options.overwrite, name_inputs=several)

    # A single video gets its name after its predictions are written: should that fail, the next run need not begin anew.
    alone = len(jobs) == 1 and bool(jobs[0].source or jobs[0].pictures)
    try:
        for number, job in enumerate(jobs):
            with terminal.bar(job, number, len(jobs)) as tick:
                outcome, track = _one(job, session, terminal, tick, lambda _outcome, track, _file: write([track] if alone else ()))
            outcomes.append(outcome)
            terminal.report(outcome)
            tracks += [track] if track and not alone else []
    except KeyboardInterrupt as stop:
        raise Stopped(_exit_code(stop), remedy=_how_to_go_on(job, options, predictions_written=bool(tracks))) from None
    finally:
        write(tracks)
    return outcomes


def _predict(
    plan: Sequence[Job | Refusal],
    choices: Sequence[ModelChoice],
    device: str,
    options: Options,
    terminal: Terminal,
    *,
    csv: Path | None,
    grid: Path | None,
) -> list[Outcome]:
    from pipeline.planning import Job, Refusal

    jobs = [job for job in plan if isinstance(job, Job)]
    refused = [Outcome(input=r.input, model="", method="none", error=str(r.error)) for r in plan if isinstance(r, Refusal)]
    answers = []
    if jobs:
        terminal.start_up()
        from pipeline import models, predict, visualize

        terminal.say(f"running on {models.use_device(device)}", only_verbose=True)
        for choice in choices:
            classifier = models.load_classifier(choice)
            with terminal.counter(f"{classifier.name}", len(jobs)) as tick:
                answers.append(predict.predict(jobs, tick=tick, **visualize.scoring(classifier, options)))
        if grid is not None:
            predict.write_grid(grid, answers, overwrite=options.overwrite)
    outcomes = [*refused, *(answer.outcome for each in zip(*answers, strict=True) for answer in each)]
    if csv is not None:
        from pipeline.predictions import write_ranking

        write_ranking(csv, outcomes, overwrite=options.overwrite, name_models=len(choices) > 1)
    terminal.put_predictions(outcomes)
    return outcomes


def _one(
    job: Job, session: Session, terminal: Terminal, tick: Callable[[Progress], None], made: Callable[[Outcome, Track, Path], None]
) -> tuple[Outcome, Track | None]:
    from pipeline import film, visualize

    def progress(reached: Progress) -> None:
        terminal.check()
        tick(reached)

    try:
        if job.source is None and job.pictures is None:
            return visualize.visualize_image(job, session)
        return film.visualize_video(job, session, progress=progress, notice=terminal.say, made=made)
    except HeatreelError as error:
        terminal.check()
        if error.exit_code != 1:
            raise
        if isinstance(error, ToolError):
            terminal.say(error.details, only_verbose=True)
        return Outcome(input=job.input, model=session.classifier.name, method=session.options.method, error=str(error)), None


def _how_to_go_on(job: Job, options: Options, *, predictions_written: bool) -> str:
    from pipeline import journal

    made = job.output.exists() and not options.overwrite
    if made or not journal.folder_of(job.output).is_dir():
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
) -> ModelChoice:
    return ModelChoice(
        model=model,
        weights=weights,
        labels=labels,
        pixels=None if preprocess == "auto" else preprocess,  # type: ignore[arg-type]  # ModelChoice checks it
        layers=tuple(layers or ()),
        custom_objects=custom_objects,
        allow_unsafe=allow_unsafe,
    )


def _options(**given: Any) -> Options:
    return Options(**given)  # strings become literals there, or a CommandError


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


def _parse_batch_size(text: str) -> int | None:
    if text != "auto" and not (text.isascii() and text.isdecimal()):
        raise CommandError(f"--batch-size {text}: not a number or auto")
    return None if text == "auto" else int(text)


# ------------------------------------------------------------------------------------------------ the terminal


def _tell(message: str) -> None:
    """A line on stderr; that nobody is there to read it is no reason to stop."""
    try:
        print(message, file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still in its buffer would fail again at the end


class Terminal:
    """What the user sees: bars, result lines and failures on stderr, JSON on stdout."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.stopped_by: int | None = None
        self._said: set[str] = set()

    def check(self) -> None:
        """Raise the signal's KeyboardInterrupt again: one that is raised in the midst of a callback from C code is lost there."""
        if self.stopped_by is not None:
            raise KeyboardInterrupt(self.stopped_by)

    def say(self, message: str, *, only_verbose: bool = False) -> None:
        if self.verbose or not (self.quiet or only_verbose):
            _tell(message)

    def put(self, text: str) -> None:
        """A line on stdout, at once: at the interpreter's end it could not be told any more that nobody took it."""
        try:
            print(text, flush=True)
        except OSError as error:
            _silence(sys.stdout)
            gone = isinstance(error, BrokenPipeError)
            raise OutputError("stdout was closed" if gone else f"stdout cannot be written: {error.strerror}") from error

    def put_json(self, value: dict[str, Any]) -> None:
        self.put(json.dumps(value))

    def start_up(self) -> None:
        """The notes of TensorFlow, oneDNN and CUDA come from native code, straight to descriptor 2: they get another one."""
        if self.verbose:
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        real = os.dup(2)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        sys.stderr = os.fdopen(real, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)

    def report(self, outcome: Outcome) -> None:
        """One line for an input that is done; failures come last, all together."""
        if self.as_json:
            self.put_json(outcome.as_json())
        for warning in outcome.warnings:
            if warning not in self._said:  # what is said of the model holds for every input
                self.say(printable(f"{outcome.input}: warning: {warning}"))
        self._said.update(outcome.warnings)
        for name in outcome.extra.get("encoders_passed_over", ()):
            self.say(f"{printable(str(outcome.input))}: {outcome.extra['encoder']} is used, for {name}", only_verbose=True)
        if outcome.error is None or outcome.partial:
            top = ", ".join(f"{p.name.label} {100 * p.score:.0f}%" for p in outcome.top)
            frames = "" if outcome.duration_seconds is None else f" ({outcome.frames} frames in {outcome.elapsed_seconds:.1f} s)"
            self.say(printable(f"{outcome.input} -> {outcome.output}{frames}{': ' if top else ''}{top}"))

    def put_predictions(self, outcomes: Sequence[Outcome]) -> None:
        """JSON, or a table with a row for each input and a column for each model."""
        if self.as_json:
            for outcome in outcomes:
                self.put_json(outcome.as_json())
            return
        for outcome in {outcome.input: outcome for outcome in outcomes}.values():
            for warning in outcome.warnings:
                self.say(printable(f"{outcome.input}: warning: {warning}"))
        rows: dict[Path, dict[str, Any]] = {}
        for outcome in outcomes:
            if outcome.error is None or outcome.partial:
                said = ", ".join(f"{p.name.label} {100 * p.score:.1f}%" for p in outcome.top)
                rows.setdefault(outcome.input, {"input": printable(str(outcome.input))})[outcome.model] = said
        if rows:
            self.put(_table(list(rows.values())))

    @contextmanager
    def counter(self, title: str, count: int) -> Iterator[Callable[[], None]]:
        """A progress bar over inputs."""
        from tqdm import tqdm

        disable = True if self.quiet or count < 2 else None
        with tqdm(desc=title, total=count, unit=" inputs", file=sys.stderr, dynamic_ncols=True, leave=False, disable=disable) as bar:
            yield lambda: bar.update(1) and None

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        for outcome in failed:
            _tell(printable(f"error: {outcome.error}"))
        if failed:
            raise typer.Exit(1)

    @contextmanager
    def bar(self, job: Job, number: int, count: int) -> Iterator[Callable[[Progress], None]]:
        """A progress bar for one video: frames, rate, time left. Pictures are done before a bar could be read."""
        from tqdm import tqdm

        if self.quiet or not (job.source or job.pictures):
            yield lambda _: None
            return
        title = printable(job.input.name if count == 1 else f"{number + 1}/{count} {job.input.name}")
        with tqdm(desc=title[:40], unit=" frames", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None) as bar:

            def tick(progress: Progress) -> None:
                total = progress.frames_total
                bar.total = total if total and total >= progress.frames_done else None  # a header may lie
                bar.update(progress.frames_done - bar.n)

            yield tick


@contextmanager
def _terminal(*, as_json: bool, quiet: bool, verbose: bool) -> Iterator[Terminal]:
    """Around every command: signals become exceptions, exceptions become one line and the contract's exit code."""
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    _listen_for_signals(terminal)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding cannot say is no reason to stop
    try:
        yield terminal
    except KeyboardInterrupt as stop:
        _leave(Stopped(_exit_code(stop)), verbose=verbose)
    except Stopped as stopped:
        _leave(stopped, verbose=verbose)
    except HeatreelError as error:
        _fail(error, verbose=verbose, exit_code=error.exit_code)
    except typer.Exit:
        raise
    except Exception as error:
        if terminal.stopped_by is not None:
            _leave(Stopped(128 + terminal.stopped_by), verbose=verbose)
        _fail(error, verbose=verbose, exit_code=1)


def _listen_for_signals(terminal: Terminal) -> None:
    """The first Ctrl-C or SIGTERM raises KeyboardInterrupt in the main thread, the second ends the program where it stands.

    A handler written in Python waits until the main thread comes back from C code, which may itself wait for a child that does
    nothing. So a thread listens too: it ends the children, and at the second signal the program.
    """
    listener, teller = os.pipe()
    os.set_blocking(teller, False)
    signal.set_wakeup_fd(teller, warn_on_full_buffer=False)
    threading.Thread(target=_end_children, args=(listener,), daemon=True).start()

    def interrupt(number: int, _frame: Any) -> None:
        if terminal.stopped_by is None:  # no second exception in the midst of tidying up
            terminal.stopped_by = number
            terminal.check()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's background jobs have it
            signal.signal(number, interrupt)


def _end_children(listener: int) -> None:
    for count in itertools.count(1):
        [number] = os.read(listener, 1)
        children = sys.modules.get("pipeline.children")  # no import: the main thread may be within one, and hold its lock
        if children is not None:
            children.kill_all()
        if count == 2:
            os._exit(128 + number)


def _exit_code(stop: KeyboardInterrupt) -> int:
    return 128 + int(stop.args[0] if stop.args else signal.SIGINT)


def _leave(stopped: Stopped, *, verbose: bool) -> None:
    """Say so and end: threads that are still in native code could turn an orderly exit into a hang or a crash."""
    try:
        _fail(stopped, verbose=verbose, exit_code=stopped.exit_code)
    finally:
        os._exit(stopped.exit_code)


def _fail(error: BaseException, *, verbose: bool, exit_code: int) -> None:
    if verbose:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    known = isinstance(error, HeatreelError)
    hint = "" if known else " (this is a fault of the program; --verbose shows where)"
    _tell(printable(f"error: {error if known else f'{type(error).__name__}: {error}'}{hint}"))
    raise typer.Exit(exit_code)


def _open_missing_streams() -> None:
    """A stream that was closed from the start becomes /dev/null: else the next file opened has its number, and takes what is printed."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, so this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115  # as long as the program


def main() -> None:
    """The console command. Options that are wrong in themselves are refused before any command runs."""
    _open_missing_streams()
    try:
        app()
    except CommandError as error:
        _tell(printable(f"error: {error}"))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
