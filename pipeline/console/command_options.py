"""The options that only the command line has, said once: groups of single commands, and what every command takes."""

# No `from __future__ import annotations`: the fields' types are read as they are.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from pipeline.console import completion
from pipeline.errors import CommandError
from pipeline.options import COMPUTING, INPUTS, MODEL, RUNNING, SEARCH, Option

# ------------------------------------------------------------------------------------------------ reading


def parse_size(name: str, text: str) -> tuple[int, int]:
    """Height and width in pixels, of HxW. Raises CommandError."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise CommandError(f"{name} {text}: not HxW, such as 224x320")
    return int(height), int(width)


def parse_workers(name: str, text: str) -> int:
    """Raises CommandError."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise CommandError(f"{name} {text}: not a number of 1 or more, or auto")
    return int(text)


# ------------------------------------------------------------------------------------------------ arguments

Inputs = Annotated[list[Path], typer.Argument(metavar="PATH...", help="What to look at.", show_default=False)]
Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Folders, files, patterns, and @list.txt with a path on each line.", show_default=False),
]
Archive = Annotated[Path, typer.Argument(metavar="OUT", help="The folder that a batch writes to.")]
Query = Annotated[
    str,
    typer.Argument(
        metavar="QUERY",
        help="A class or a kind of things, such as corgi or bird, by a name, a part of one or a wnid.",
        autocompletion=completion.classes,
    ),
]
TrainingData = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder with a folder of pictures for each class, or train/ and val/ with those.")
]
AnalysisData = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder of pictures for each class, or train/ and val/ with those.", show_default=False)
]
AnalyzedModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A name of the zoo, or a .keras or .h5 file.", show_default=False, autocompletion=completion.models
    ),
]
Model = Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="A name of the zoo, or a model file.", autocompletion=completion.models)]
ModelNames = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of the zoo.", autocompletion=completion.models)]
Word = Annotated[
    str | None,
    typer.Argument(metavar="WORD", help="Only what this finds, as --target and `search` would; alone it is enough.", show_default="all"),
]

# ------------------------------------------------------------------------------------------------ options of several commands

Output = Annotated[
    Path | None,
    Option(
        "--output -o",
        metavar="PATH",
        help="A file for one input, a folder for several.",
        default="NAME_output beside the input",
        panel=INPUTS,
    ),
]
Device = Annotated[str, Option("--device", metavar="auto|cpu|gpu[:N]", help="Where the network runs.", panel=COMPUTING)]
Open = Annotated[
    bool,
    Option("--open", help="At the end open the page, or else the output.", panel=INPUTS, after=("report", "max_megapixels")),
]


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """What is printed, and how much of it."""

    panel: ClassVar = RUNNING
    as_json: Annotated[bool, Option("--json", help="One JSON object per input on stdout.")] = False
    quiet: Annotated[bool, Option("--quiet -q", help="No bars and no result lines; failures are still named.")] = False
    verbose: Annotated[bool, Option("--verbose -v", help="TensorFlow's notes, ffmpeg's commands and tracebacks too.")] = False


# ------------------------------------------------------------------------------------------------ batch and search

ArchiveOutput = Annotated[Path, Option("--output -o", metavar="FOLDER", help="Where everything goes, and the ledger.", panel=INPUTS)]
Clips = Annotated[Path | None, Option("--clip", metavar="FOLDER", help="Cut the hits out of the videos, by stream copy.", panel=INPUTS)]


@dataclass(frozen=True, kw_only=True)
class ArchiveFileOptions:
    """Which files of an archive, and what is written for each."""

    panel: ClassVar = INPUTS
    predictions: Annotated[
        str, Option("--predictions", metavar="FORMAT", help="Of each video's own file of predictions: parquet, csv, jsonl or none.")
    ] = "parquet"
    save_maps: Annotated[Path | None, Option("--save-maps", metavar="FOLDER", help="Raw maps, in the archive's tree.", less_used=True)] = (
        None
    )
    include: Annotated[
        tuple[str, ...],
        Option("--include", metavar="PATTERN", help="Only what matches, such as '*.mov'; repeatable.", default="everything"),
    ] = ()
    exclude: Annotated[
        tuple[str, ...], Option("--exclude", metavar="PATTERN", help="Leave out what matches; repeatable.", default="nothing")
    ] = ()
    max_size: Annotated[
        str | None,
        Option("--max-size", metavar="SIZE", help="Pass over larger files, such as 2G.", default="no limit", less_used=True),
    ] = None
    dedupe: Annotated[bool, Option("--dedupe", help="Of files that are exact copies make one.")] = False
    report: Annotated[bool, Option("--report/--no-report", help="A page for each video, and one for the archive.")] = True


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who makes an archive."""

    panel: ClassVar = COMPUTING
    workers: Annotated[
        int | None,
        Option(
            "--workers",
            metavar="N|auto",
            help="Processes with a model each; auto: one for each GPU, else for 4 cores.",
            unset="auto",
            parse=parse_workers,
        ),
    ] = None
    shard: Annotated[
        str | None,
        Option("--shard", metavar="K/N", help="Only the Kth of N parts of the archive, from 1/N.", default="all of it", less_used=True),
    ] = None
    engine: Annotated[
        str, Option("--engine", metavar="local|ray", help="This machine, or a Ray cluster (pip install '.[ray]').", less_used=True)
    ] = "local"
    address: Annotated[
        str | None,
        Option("--address", metavar="ADDRESS", help="The Ray cluster.", default="one of its own, on this machine", less_used=True),
    ] = None

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise CommandError(f"--engine {self.engine}: not local or ray")
        if self.address is not None and self.engine != "ray":
            raise CommandError("--address: only with --engine ray")


@dataclass(frozen=True, kw_only=True)
class ArchiveRunOptions:
    """What this run of a batch does."""

    panel: ClassVar = RUNNING
    limit: Annotated[
        int | None, Option("--limit", metavar="N", help="Begin no more than so many inputs in this run.", default="no limit")
    ] = None
    retry_failed: Annotated[bool, Option("--retry-failed", help="Try again what has failed for good.")] = False
    dry_run: Annotated[bool, Option("--dry-run", help="List what is new, changed, done, failed or missing; change nothing.")] = False


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Which hits are shown."""

    panel: ClassVar = SEARCH
    min_score: Annotated[float, Option("--min-score", metavar="X", help="The best score of a hit is at least this, 0 to 1.")] = 0.0
    min_seconds: Annotated[float, Option("--min-seconds", metavar="S", help="A hit lasts at least so long; pictures last 0.")] = 0.0
    limit: Annotated[int, Option("--limit", metavar="N", help="The best so many hits.")] = 20


# ------------------------------------------------------------------------------------------------ predict, train, analyze, models

Models = Annotated[
    tuple[str, ...],
    Option(
        "--model -m",
        metavar="NAME_OR_PATH",
        help="A name of the zoo or a model file; repeatable, several side by side.",
        completes="models",
        panel=MODEL,
    ),
]
ModelOutput = Annotated[
    Path | None, Option("--output -o", metavar="MODEL.keras", help="The model's file.", default="DATA.keras beside DATA", panel=INPUTS)
]
Resume = Annotated[bool, Option("--resume", help="Go on with an interrupted training.")]
DemoFolder = Annotated[Path, Option("--output -o", metavar="FOLDER", help="Where photographs, clip and result go.", panel=INPUTS)]
InputSize = Annotated[
    tuple[int, int] | None,
    Option(
        "--input-size",
        metavar="HxW",
        help="Shapes for pictures of this size.",
        default="the model's own",
        parse=parse_size,
        panel=MODEL,
    ),
]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Where predictions are written."""

    panel: ClassVar = INPUTS
    csv: Annotated[Path | None, Option("--csv", metavar="FILE", help="A row per input and rank.")] = None
    grid: Annotated[Path | None, Option("--grid", metavar="FILE", help="A picture of all inputs with their label and score.")] = None


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """Where an analysis goes and what it shows."""

    panel: ClassVar = INPUTS
    output: Annotated[Path | None, Option("--output -o", metavar="OUT", help="A folder for what is found.", default="DATA_analysis")] = None
    threshold: Annotated[
        float | None,
        Option("--threshold", metavar="X", help="What withholding answers below this score buys, 0 to 1.", default="the best"),
    ] = None
    examples: Annotated[int, Option("--examples", metavar="N", help="Pictures of each kind that are shown of a class.")] = 6
