"""What an analysis is to do: everything that can be refused is refused here, before a model is loaded or a file is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets import Dataset, load_dataset
from pipeline.errors import CommandError, OutputError
from pipeline.files import check_output
from pipeline.options import Options

ANALYSIS_FILES = ("scores.csv", "confusion.png", "calibration.png", "coverage.png", "analysis.json", "report.html")


@dataclass(frozen=True, kw_only=True)
class AnalysisPlan:
    """Labelled pictures to judge a model by, and where the results go: ANALYSIS_FILES in the folder `output`.

    `threshold`, in [0, 1], is one that is asked for besides the best. The page shows `examples` pictures of each kind of a class.
    """

    data: Dataset
    output: Path
    threshold: float | None = None
    examples: int = 6


def plan_analysis(data: Path, *, output: Path | None, threshold: float | None, examples: int, options: Options) -> AnalysisPlan:
    """Check the call, the output folder and the header of every picture. `output` None is DATA_analysis beside the data.

    Raises CommandError where the call is wrong, InputError for data that cannot be read, OutputError for a folder that must not be
    written to.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise CommandError(f"--threshold {threshold:g}: not between 0 and 1")
    if examples < 0:
        raise CommandError(f"--examples {examples}: less than 0")
    folder = output or _default_output(data)
    _check_folder(folder, data, overwrite=options.overwrite)
    found = load_dataset(data, max_megapixels=options.max_megapixels)
    return AnalysisPlan(data=found, output=folder, threshold=threshold, examples=examples)


def _default_output(data: Path) -> Path:
    absolute = Path(os.path.abspath(data))  # noqa: PTH100  # Path.resolve would name what a link leads to
    return (data if data.name == absolute.name else absolute).with_name(f"{absolute.name}_analysis")


def _check_folder(folder: Path, data: Path, *, overwrite: bool) -> None:
    if folder.resolve().is_relative_to(data.resolve()):
        raise CommandError(f"--output {folder}: lies in {data}, where every folder is a class", remedy="name a folder elsewhere")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file", remedy="name a folder with --output")
    for name in ANALYSIS_FILES:
        check_output(folder / name, sources=frozenset(), overwrite=overwrite)
