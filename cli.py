"""The command line: one function for each command, which reads its options and makes one call."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import (
    Command,
    Group,
    Program,
    command_options as given,
    end,
    flatten_groups,
    only,
    open_missing_streams,
    open_terminal,
    tell,
)
from pipeline.console.command_options import ConsoleOptions
from pipeline.errors import CommandError
from pipeline.options import (
    DEFAULT_MODEL,
    BatchSizeOptions,
    DataOptions,
    EncodingOptions,
    FitOptions,
    MethodOptions,
    ModelChoice,
    Options,
    OverwriteOptions,
    PictureOptions,
    Recipe,
    SizeOptions,
    TargetOptions,
    TimeOptions,
)
from pipeline.records import printable

app = typer.Typer(
    cls=Program,
    help="Show what an image classifier sees in pictures and videos, and where it looks. A path where a command should be runs `image` or "
    "`video`, by what it is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="visualize dog.jpg\nvisualize kitchen.mov --report",
)

# Panels of commands.
SEEING, ARCHIVES, CLASSIFIERS, INSTALLATION = "What it sees", "Archives", "Models", "This installation"

# Which of the options a command takes.
ImageOptions = Annotated[
    Options,
    only(
        *(MethodOptions, TargetOptions, FitOptions, PictureOptions, DataOptions, SizeOptions, OverwriteOptions),
        smooth=0.0,  # a picture has no time
    ),
]
BatchOptions = Annotated[
    Options,
    only(
        *(MethodOptions, TargetOptions, FitOptions, PictureOptions, TimeOptions, EncodingOptions, BatchSizeOptions),
        *("segment_seconds", SizeOptions, "overwrite"),
    ),
]
PredictOptions = Annotated[Options, only("top_k", FitOptions, "every", SizeOptions, "overwrite")]
AnalyzeOptions = Annotated[Options, only(MethodOptions, FitOptions, "colormap", "alpha", SizeOptions, "overwrite", smooth=0.0)]
OnlyOverwrite = Annotated[Options, only("overwrite")]
UnnamedModel = Annotated[ModelChoice, only("weights", "labels", "pixels", "custom_objects", "allow_unsafe", "precision")]
OwnCode = Annotated[ModelChoice, only("custom_objects", "allow_unsafe")]
OnlyJson = Annotated[ConsoleOptions, only("as_json")]
OnlyVerbose = Annotated[ConsoleOptions, only("verbose")]
JsonOrVerbose = Annotated[ConsoleOptions, only("as_json", "verbose")]


def _print_version(value: bool) -> None:
    if value:
        print(f"visualize {version('heatreel')}", flush=True)  # at the interpreter's end a closed pipe would be an error
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True, show_default="off")
    ] = False,
) -> None:
    pass


# ------------------------------------------------------------------------------------------------ what it sees


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize image dog.jpg --report --open\nvisualize image photos/ -o out --target banana",
)
@flatten_groups
def image(
    *,
    paths: given.Inputs,
    output: given.Output = None,
    choice: ModelChoice,
    options: ImageOptions,
    device: given.Device = "auto",
    opens: given.Open = False,
    console: ConsoleOptions,
) -> None:
    """Pictures, each with the heat beside it and the prediction written on it. A folder stands for the pictures in it."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import explain
        from pipeline.explain import plan_images

        plan = plan_images(paths, output=output, options=options)
        explain.run_jobs(plan, choice, options, terminal, device=device, opens=opens)


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize video kitchen.mov --report --open\nvisualize video kitchen.mov --start 5 --end 12.5 --target banana",
)
@flatten_groups
def video(
    *,
    paths: given.Inputs,
    output: given.Output = None,
    choice: ModelChoice,
    options: Options,
    device: given.Device = "auto",
    opens: given.Open = False,
    console: ConsoleOptions,
) -> None:
    """Videos, each with the heat beside it, with its sound and exact timing. PATH is a file or a folder of frames."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import explain
        from pipeline.explain import plan_videos

        plan = plan_videos(paths, output=output, options=options)
        explain.run_jobs(plan, choice, options, terminal, device=device, opens=opens)


@app.command(
    cls=Command,
    rich_help_panel=SEEING,
    epilog="visualize predict photos/ --csv all.csv --grid all.png\nvisualize predict dog.jpg -m efficientnet_lite0 -m resnet50",
)
@flatten_groups
def predict(
    *,
    paths: given.Inputs,
    models: given.Models = (DEFAULT_MODEL,),
    choice: UnnamedModel,
    tables: given.TableOptions,
    options: PredictOptions,
    device: given.Device = "auto",
    console: ConsoleOptions,
) -> None:
    """Predictions only, for pictures, folders, patterns and videos (over their whole length): a table, JSON, CSV or a picture grid."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import explain

        explain.run_predictions(paths, [replace(choice, model=name) for name in models], options, tables, terminal, device=device)


# ------------------------------------------------------------------------------------------------ archives


@app.command(
    cls=Command,
    rich_help_panel=ARCHIVES,
    epilog="visualize batch archive/ -o out\nvisualize batch archive/ -o out --include '*.mov' --dry-run",
)
@flatten_groups
def batch(
    *,
    sources: given.Sources,
    output: given.ArchiveOutput,
    choice: ModelChoice,
    files: given.ArchiveFileOptions,
    run: given.ArchiveRunOptions,
    options: BatchOptions,
    device: given.Device = "auto",
    workers: given.WorkerOptions,
    opens: given.Open = False,
    console: ConsoleOptions,
) -> None:
    """A whole archive, unattended: every video and picture under the sources. The same command goes on where it was stopped or killed.

    What it has made before is passed over, as --skip-existing does elsewhere.
    """
    with open_terminal(console, drains=not run.dry_run) as terminal:
        from pipeline.console.commands import archive

        request = archive.make_request(sources, output, choice, options, files, run, shard=workers.shard, device=device)
        if run.dry_run:
            archive.list_archive(request, terminal)
        else:
            archive.run_archive(request, workers, terminal, opens=opens)


@app.command(cls=Command, rich_help_panel=ARCHIVES, epilog="visualize status out\nvisualize status out --json")
@flatten_groups
def status(*, output: given.Archive, console: JsonOrVerbose) -> None:
    """What a batch has done, is doing, and has failed at and why; at any moment, from any process."""
    with open_terminal(console) as terminal:
        from pipeline.batch import read_status
        from pipeline.console import status_lines

        found = read_status(output, every_job=console.as_json)
        terminal.put_record(found.as_json(), status_lines(output, found))


@app.command(
    cls=Command,
    rich_help_panel=ARCHIVES,
    epilog="visualize search out cat\nvisualize search out banana --min-seconds 2 --clip hits",
)
@flatten_groups
def search(
    *,
    output: given.Archive,
    query: given.Query,
    hits: given.SearchOptions,
    clip: given.Clips = None,
    options: OnlyOverwrite,
    console: ConsoleOptions,
) -> None:
    """Where in a batch's archive the model saw QUERY, the best first, each with the command that opens it there."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import archive

        archive.search_archive(output, query, hits, terminal, clip=clip, overwrite=options.overwrite)


# ------------------------------------------------------------------------------------------------ models


@app.command(
    cls=Command,
    rich_help_panel=CLASSIFIERS,
    epilog="visualize train pets/ -o pets.keras\nvisualize train pets/ --base resnet50 --no-augment --epochs 10",
)
@flatten_groups
def train(
    *,
    data: given.TrainingData,
    output: given.ModelOutput = None,
    recipe: Recipe,
    resume: given.Resume = False,
    options: OnlyOverwrite,
    device: given.Device = "auto",
    console: ConsoleOptions,
) -> None:
    """Teach a network your own classes, from a folder of class folders; the file it writes works with -m everywhere."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import classifier
        from pipeline.training import plan_training

        plan = plan_training(data, output=output, recipe=recipe, resume=resume, overwrite=options.overwrite)
        classifier.run_training(plan, terminal, device=device)


@app.command(
    cls=Command,
    rich_help_panel=CLASSIFIERS,
    epilog="visualize analyze pets.keras pets/ --open\nvisualize analyze pets.keras pets/ -o found --examples 12",
)
@flatten_groups
def analyze(
    *,
    model: given.AnalyzedModel,
    data: given.AnalysisData,
    analysis: given.AnalysisOptions,
    choice: UnnamedModel,
    options: AnalyzeOptions,
    device: given.Device = "auto",
    opens: given.Open = False,
    console: ConsoleOptions,
) -> None:
    """Where a model errs: its accuracy on labelled folders, what it confuses, and the pictures that show why, each with its heat."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import classifier

        classifier.run_analysis(data, replace(choice, model=model), options, analysis, terminal, device=device, opens=opens)


models_app = typer.Typer(
    cls=Group,
    help="The model zoo: what there is, what is in a model, and its weights.",
    invoke_without_command=True,
    epilog="visualize models\nvisualize models show resnet50",
)
app.add_typer(models_app, name="models", rich_help_panel=CLASSIFIERS)


@models_app.callback()
@flatten_groups
def models_table(*, context: typer.Context, console: OnlyJson) -> None:
    """The models that come by name, with what is published of them, and whether their weights are on this machine."""
    if context.invoked_subcommand is None:
        with open_terminal(console) as terminal:
            from pipeline.console.commands import classifier

            classifier.list_models(terminal)


@models_app.command("show", cls=Command, epilog="visualize models show efficientnet_lite0\nvisualize models show vgg16 --json")
@flatten_groups
def models_show(*, model: given.Model, input_size: given.InputSize = None, choice: OwnCode, console: OnlyJson) -> None:
    """Layers, output shapes, parameters, and where the map is taken."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import classifier

        classifier.show_model(replace(choice, model=model), input_size, terminal)


@models_app.command("classes", cls=Command, epilog="visualize models classes dog\nvisualize models classes efficientnet_lite0 cockatoo")
@flatten_groups
def models_classes(*, model: given.Model = DEFAULT_MODEL, word: given.Word = None, choice: OwnCode, console: JsonOrVerbose) -> None:
    """The classes that a model knows, with their synonyms; and what a word finds: classes, or a kind of them such as "corgi" or "bird"."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import classifier

        classifier.list_classes(replace(choice, model=model), word, terminal)


@models_app.command("fetch", cls=Command, epilog="visualize models fetch resnet50\nvisualize models fetch vgg16 xception")
@flatten_groups
def models_fetch(*, names: given.ModelNames, console: OnlyVerbose) -> None:
    """Download the ImageNet weights of models of the zoo into Keras' cache."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import classifier

        classifier.fetch_weights(names, terminal)


# ------------------------------------------------------------------------------------------------ this installation


@app.command(cls=Command, rich_help_panel=INSTALLATION, epilog="visualize demo\nvisualize demo -o demo --open")
@flatten_groups
def demo(*, output: given.DemoFolder = Path(), opens: given.Open = False, options: OnlyOverwrite, console: ConsoleOptions) -> None:
    """The whole pipeline on a real clip made from photographs that come with the installation."""
    with open_terminal(console) as terminal:
        from pipeline.console.commands import explain

        explain.run_demo(output, options, terminal, opens=opens)


@app.command(cls=Command, rich_help_panel=INSTALLATION, epilog="visualize doctor\nvisualize doctor --json")
@flatten_groups
def doctor(*, console: JsonOrVerbose) -> None:
    """What this machine offers: ffmpeg and its encoders, GPU, TensorFlow, weights, free space."""
    with open_terminal(console) as terminal:
        with terminal.starting_up():
            from pipeline.console import examine, finding_lines

        findings = examine()
        terminal.put_record(findings, finding_lines(findings))


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
