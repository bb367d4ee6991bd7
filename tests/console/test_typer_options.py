"""Groups of options become what is typed, and come back as records: with the real parser."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from pipeline.console.command_options import ConsoleOptions, Device, Inputs, Open
from pipeline.console.typer_options import flatten_groups, only
from pipeline.errors import CommandError
from pipeline.options import FitOptions, ModelChoice, Options, OverwriteOptions, PictureOptions, SizeOptions

Parsed = Callable[..., dict[str, Any]]


def parser_of(command: Callable[..., None]) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(flatten_groups(command))
    return typer.main.get_command(app)


@pytest.fixture
def parsed() -> Parsed:
    """What a command like `video` is given for words."""
    found: dict[str, Any] = {}

    def video(*, paths: Inputs, choice: ModelChoice, options: Options, device: Device = "auto", console: ConsoleOptions) -> None:
        found.update(paths=paths, choice=choice, options=options, device=device, console=console)

    command = parser_of(video)

    def parse(*words: str) -> dict[str, Any]:
        command(["a.mov", *words], standalone_mode=False)
        return found

    return parse


def test_what_is_not_typed_is_the_default_of_the_record(parsed: Parsed) -> None:
    nothing = {"paths": [Path("a.mov")], "choice": ModelChoice(), "options": Options(), "device": "auto", "console": ConsoleOptions()}
    assert parsed() == nothing


def test_what_is_typed_is_read_into_the_fields(parsed: Parsed) -> None:
    words = [
        "--target",
        "cat",
        "--target",
        "dog",
        "-k",
        "5",
        "--smooth",
        "0.25",
        "--start",
        "1:02.5",
        "--end",
        "0:1:3",
        "--fps",
        "30000/1001",
    ]
    options = parsed(*words, "--batch-size", "8", "--scale", "frame", "--timeline", "t.svg", "--report")["options"]
    assert options == Options(
        targets=("cat", "dog"),
        top_k=5,
        smooth=0.25,
        start_seconds=62.5,
        end_seconds=63.0,
        fps=Fraction(30000, 1001),
        batch_size=8,
        scale="frame",
        timeline=Path("t.svg"),
        report=True,
    )
    read = parsed("-m", "vgg16", "--layer", "a", "--preprocess", "tf", "--weights", "w.h5", "--device", "cpu", "-q")
    assert read["choice"] == ModelChoice(model="vgg16", layers=("a",), pixels="tf", weights=Path("w.h5"))
    assert read["device"] == "cpu" and read["console"] == ConsoleOptions(quiet=True)


def test_auto_is_what_is_found_by_itself(parsed: Parsed) -> None:
    read = parsed("--batch-size", "auto", "--preprocess", "auto")
    assert read["options"].batch_size is None and read["choice"].pixels is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "soon"], "--start soon: not a time; give seconds or HH:MM:SS.mmm"),
        (["--batch-size", "²"], "--batch-size ²: not a number or auto"),
        (["--method", "guess"], "--method guess: not one of gradcam, gradcam++"),
        (["--precision", "half"], "--precision half: not one of auto, float32, mixed"),
    ],
)
def test_what_cannot_be_read_is_refused(parsed: Parsed, words: list[str], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        parsed(*words)
    assert str(refused.value).startswith(message)


def test_a_command_may_take_part_of_a_group() -> None:
    found: list[Options] = []

    def part(*, options: Annotated[Options, only(FitOptions, "alpha", "overwrite", smooth=0.0)]) -> None:
        found.append(options)

    command = parser_of(part)
    assert [each.opts for each in command.params] == [["--fit"], ["--short-side"], ["--alpha"], ["--overwrite"]]
    command(["--alpha", "0.2", "--short-side", "300"], standalone_mode=False)
    assert found == [Options(alpha=0.2, short_side_px=300, smooth=0.0)]


def test_an_option_stands_behind_what_it_follows() -> None:
    """--open has its place behind --max-megapixels; where that is not there, it stays where it was."""

    def follows(*, options: Annotated[Options, only(SizeOptions, OverwriteOptions)], opens: Open = False) -> None: ...

    def stays(*, options: Annotated[Options, only(OverwriteOptions, PictureOptions)], opens: Open = False) -> None: ...

    names = [[each.opts[0] for each in parser_of(command).params] for command in (follows, stays)]
    assert names[0] == ["--max-megapixels", "--open", "--overwrite", "--skip-existing"] and names[1][-1] == "--open"


def test_the_panel_is_that_of_the_group() -> None:
    def all_of_it(*, choice: ModelChoice, device: Device = "auto") -> None: ...

    panels = {each.opts[0]: each.rich_help_panel for each in parser_of(all_of_it).params}
    assert (panels["--model"], panels["--layer"], panels["--precision"]) == ("Model", "Explanation", "Computing")
    assert list(panels)[-2:] == ["--device", "--precision"]
