"""What `train`, `analyze` and `models` do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import models
from pipeline.console import outcome_printing, progress_displays, result_lines
from pipeline.console.command_options import AnalysisOptions
from pipeline.console.terminal import Terminal, typed_command
from pipeline.errors import HeatreelError
from pipeline.models import imagenet_classes, zoo
from pipeline.options import DEFAULT_MODEL, ModelChoice, Options
from pipeline.records import ClassName, printable

if TYPE_CHECKING:
    from pipeline.training import TrainingPlan, TrainingResult

# ------------------------------------------------------------------------------------------------ train and analyze


def run_training(plan: TrainingPlan, terminal: Terminal, *, device: str) -> None:
    """Train, and say what came of it."""
    with terminal.passing(f"loading the model {plan.recipe.base}"), terminal.starting_up():
        from pipeline.models import use_device
        from pipeline.training import train

    terminal.say(f"running on {use_device(device)}", only_verbose=True)
    with progress_displays.open_training(terminal, plan.output) as display:
        trained = train(plan, display)
    put_trained(terminal, trained)


def put_trained(terminal: Terminal, trained: TrainingResult) -> None:
    """What a training has come to: JSON on stdout, or lines on stderr."""
    for warning in trained.warnings:
        terminal.say(printable(f"warning: {warning}"))
    if terminal.as_json:
        terminal.put_json(trained.as_json())
    else:
        outcome_printing.say_all(terminal, result_lines.training_lines(trained))


def run_analysis(
    data: Path, choice: ModelChoice, options: Options, asked: AnalysisOptions, terminal: Terminal, *, device: str, opens: bool
) -> None:
    """Look at every picture of the folder, write the page, and say what was found."""
    from pipeline.cam import AT_ONCE
    from pipeline.console.commands import explain
    from pipeline.evaluation import plan_analysis
    from pipeline.rendering import colormap

    zoo.check_choice(choice, ())
    colormap(options.colormap)
    plan = plan_analysis(data, output=asked.output, threshold=asked.threshold, examples=asked.examples, options=options)
    with terminal.passing(f"loading the model {zoo.name_model(choice)}"):
        with terminal.starting_up():
            from pipeline.evaluation import analyze

        session = explain.open_session(choice, options, terminal, device=device, at_once=AT_ONCE)
    found = analyze(plan, session, choice=choice, command=typed_command(), counter=terminal.counter)
    put_analysis(terminal, found.as_json())
    outcome_printing.open_files(terminal, [found.page] if opens else ())


def put_analysis(terminal: Terminal, found: dict[str, Any]) -> None:
    """What an analysis has found: JSON or lines on stdout."""
    from pipeline.evaluation import ANALYSIS_FILES

    for warning in found["warnings"]:
        terminal.say(printable(f"warning: {warning}"))
    terminal.put_record(found, result_lines.analysis_lines(found))
    if not terminal.as_json:
        page = Path(found["report"])
        beside = [name for name in ANALYSIS_FILES if (page.parent / name).exists() and name != page.name]
        terminal.say(printable(f"also in {page.parent}: {', '.join(beside)}"))


# ------------------------------------------------------------------------------------------------ the zoo


def list_models(terminal: Terminal) -> None:
    """The zoo."""
    rows = [zoo.describe_entry(entry) for entry in zoo.ZOO_ENTRIES.values()]
    terminal.put_record({"models": rows}, [result_lines.table(rows)])


def show_model(choice: ModelChoice, input_size: tuple[int, int] | None, terminal: Terminal) -> None:
    """A model's layers, for pictures of that height and width in pixels, or of the model's own."""
    zoo.check_choice(choice, ())
    with terminal.passing(f"loading the model {zoo.name_model(choice)}"):
        with terminal.starting_up():
            from pipeline.models import summarize_model

        shown = summarize_model(choice, input_size)
    terminal.put_record(shown, result_lines.summary_lines(shown))


def list_classes(choice: ModelChoice, word: str | None, terminal: Terminal) -> None:
    """The classes of a model that a word finds, or all; a word alone may stand in the model's place.

    Raises CommandError for a word that finds none.
    """
    if word is None and not zoo.is_known_model(choice.model):
        choice, word = replace(choice, model=DEFAULT_MODEL), choice.model
    zoo.check_choice(choice, ())
    classes: Sequence[ClassName] = imagenet_classes()
    if zoo.is_model_file(choice.model):
        with terminal.passing(f"loading the model {zoo.name_model(choice)}"):
            with terminal.starting_up():
                from pipeline.models import load_classifier

            classes = load_classifier(choice).classes
    listing = models.list_classes(classes, word)
    terminal.put_record({"model": choice.model, **listing}, result_lines.class_lines(listing))


def fetch_weights(names: Sequence[str], terminal: Terminal) -> None:
    """Download the ImageNet weights of these models. Raises ModelError for an unknown name, typer.Exit where a download fails."""
    entries = [zoo.find_entry(name) for name in names]
    with terminal.starting_up():
        from pipeline import models

    failures = []
    for entry in entries:
        try:
            terminal.say(f"{entry.name}: {models.fetch_weights(entry)}")
        except HeatreelError as error:
            failures.append(str(error))
    outcome_printing.fail(failures)
