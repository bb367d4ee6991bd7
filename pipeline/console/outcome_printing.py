"""What a command says of its inputs: a line for each that is done, and at the end files, counts and failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from pipeline.console import file_opener, result_lines
from pipeline.console.terminal import Terminal, tell
from pipeline.records import Outcome, printable

MOST_OPENED = 4  # windows at once


def report(terminal: Terminal, outcome: Outcome) -> None:
    """One line for an input that is done; failures come last, all together."""
    if terminal.as_json:
        terminal.put_json(outcome.as_json())
    terminal.warn(outcome.input, outcome.warnings)
    for line in result_lines.encoder_lines(outcome):
        terminal.say(line, only_verbose=True)
    if outcome.skipped:
        terminal.say(printable(f"{outcome.input}: skipped: {outcome.output} exists"), only_verbose=True)
    elif outcome.error is None or outcome.partial:
        terminal.say(result_lines.outcome_line(outcome))


def put_predictions(terminal: Terminal, outcomes: Sequence[Outcome]) -> None:
    """JSON, or a table with a row for each input and a column for each model."""
    if terminal.as_json:
        for outcome in outcomes:
            terminal.put_json(outcome.as_json())
        return
    for outcome in {outcome.input: outcome for outcome in outcomes}.values():
        for warning in outcome.warnings:
            terminal.say(printable(f"{outcome.input}: warning: {warning}"))
    for text in () if terminal.quiet else result_lines.predictions_table(outcomes):  # the table is its result line
        terminal.put(text)


def finish(
    terminal: Terminal,
    outcomes: Sequence[Outcome],
    *,
    files: Sequence[tuple[str, Path]] = (),
    noun: str = "inputs",
    opens: Sequence[Path] = (),
) -> None:
    """The end of a command: what was made besides the outputs, how many are done, and the failures, each with what to do.

    `files` has what each is, and its path; `opens` is to be shown. Raises typer.Exit where an input has failed.
    """
    say_all(terminal, result_lines.file_lines(files))
    open_files(terminal, opens)
    say_all(terminal, result_lines.count_lines(outcomes, noun))
    fail([outcome.error for outcome in outcomes if outcome.error is not None])


def say_all(terminal: Terminal, messages: Iterable[str]) -> None:
    """Each as a line on stderr, unless the user wants quiet."""
    for message in messages:
        terminal.say(message)


def open_files(terminal: Terminal, paths: Sequence[Path]) -> None:
    """Show them with the program that the desktop has for such files; a line says so where there is none."""
    for path in paths[:MOST_OPENED]:
        if not file_opener.open_file(path):
            terminal.say(printable(f"nothing here opens {path}: open it yourself"))


def tell_errors(errors: Sequence[str]) -> None:
    """Each as a line on stderr, quiet or not."""
    for error in errors:
        tell(printable(f"error: {error}"))


def fail(errors: Sequence[str]) -> None:
    """Name what has failed, and end with 1: raises typer.Exit, where there is anything."""
    tell_errors(errors)
    if errors:
        raise typer.Exit(1)
