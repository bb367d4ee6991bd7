"""How commands read their arguments and explain themselves: help in panels, options given twice, a path in a command's place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.errors import CommandError
from pipeline.files import choose_command
from pipeline.options import COMPUTING, ENCODING, EXPLANATION, INPUTS, MODEL, PICTURE, RUNNING, SEARCH, TIME, TRAINING

if TYPE_CHECKING:
    from rich.console import RenderableType

    _Base = TyperCommand  # what a group has too
else:
    _Base = object

PANELS = (INPUTS, SEARCH, MODEL, TRAINING, EXPLANATION, PICTURE, TIME, ENCODING, COMPUTING, RUNNING)  # in the order in which they are shown
WIDEST, NARROWEST = 110, 40  # columns: longer lines are hard to read


class _Explained(_Base):
    """Help in panels, short with --help and whole with --help-all; `epilog` has its examples, one a line."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [*super().get_params(ctx), _help_all()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _check_given_once(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _show(self, ctx, everything=False)


class Command(_Explained, TyperCommand):
    """A command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return _usage_pieces(self)


class Group(_Explained, TyperGroup):
    """A command with commands of its own."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[COMMAND ...]" if self.invoke_without_command else "COMMAND ..."]


class Program(Group):
    """The program itself: a path that stands where a command should runs `image` or `video`, by what it is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        meant = None if self.get_command(ctx, args[0]) else _meant(ctx, args[0])
        return super().resolve_command(ctx, [meant, *args] if meant else args)


def _meant(ctx: Any, argument: str) -> str | None:
    try:
        return choose_command(argument)
    except CommandError:
        if not ctx.resilient_parsing:
            raise
        return "image"  # the shell asks what may follow, and a message would stand in the prompt


def _check_given_once(command: Any, ctx: Any, args: Sequence[str]) -> None:
    """Raises CommandError for an option that is given several times and is not repeatable: Click takes the last, and says nothing."""
    if ctx.resilient_parsing:  # the shell asks what may follow
        return
    _, _, order = command.make_parser(ctx).parse_args([*args])
    given = Counter(max(each.opts, key=len) for each in order if each.param_type_name == "option" and not each.multiple)
    for option, times in given.items():
        if times > 1:
            raise CommandError(f"{option}: given {times} times", remedy="it may be given once")


def _print_everything(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        _show(ctx.command, ctx, everything=True)
        raise typer.Exit


def _make_help_all() -> Any:
    """The option, made as Typer makes one: how that is done is each version's own."""
    donor = typer.Typer(add_completion=False)

    @donor.command()
    def _of(
        help_all: Annotated[
            bool,
            typer.Option(
                "--help-all",
                help="The same with every option.",
                is_eager=True,
                expose_value=False,
                callback=_print_everything,
                show_default=False,
                rich_help_panel=RUNNING,
            ),
        ] = False,
    ) -> None:
        pass

    return typer.main.get_command(donor).params[0]


_made: list[Any] = []


def _help_all() -> Any:
    if not _made:
        _made.append(_make_help_all())
    return _made[0]


# ------------------------------------------------------------------------------------------------ the text


def _show(command: Any, ctx: Any, *, everything: bool) -> None:
    """Print the help on stdout. It is built with Rich itself: Typer's own look breaks choices inside words and spends lines."""
    from rich.console import Console

    console = Console(highlight=False)
    console = Console(highlight=False, width=max(NARROWEST, min(WIDEST, console.width)))
    for part in _parts(command, ctx, everything):
        console.print(part, markup=False)


def _parts(command: Any, ctx: Any, everything: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text.assemble(("Usage: ", "bold"), (" ".join([ctx.command_path, *command.collect_usage_pieces(ctx)]), "bold"))
    if isinstance(command, Program):
        yield Text(f"       {ctx.command_path} PATH... [OPTIONS]", "bold")
    yield Text(" ".join((command.help or "").split()))
    shown, hidden = _chosen(command, ctx, everything)
    rows: dict[str, list[tuple[Text, Text]]] = defaultdict(list)
    for parameter in shown:
        rows[_panel_of(parameter)].append((_name(parameter), _told(parameter, everything=everything)))
    for below in (_commands(command, ctx) if isinstance(command, TyperGroup) else {}, rows):
        width = max((len(name) for each in below.values() for name, _ in each), default=0)
        for panel in sorted(below, key=lambda panel: PANELS.index(panel) if panel in PANELS else -1):
            yield _panel(panel, below[panel], width)
    if command.epilog:
        yield _panel("Examples", [(Text(line), Text("")) for line in command.epilog.splitlines()], 0)
    if hidden:
        yield Text(f"{len(hidden)} more options: {ctx.command_path} --help-all", "dim")


def _commands(group: Any, ctx: Any) -> dict[str, list[tuple[Any, Any]]]:
    """By panel, a group's commands with what each is for."""
    from rich.text import Text

    rows: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        panel = str(getattr(command, "rich_help_panel", None) or "Commands")
        rows[panel].append((Text(name, "bold cyan"), Text(_first_sentence(command.help or ""))))
    return rows


def _chosen(command: Any, ctx: Any, everything: bool) -> tuple[list[Any], list[Any]]:
    """The parameters to be shown, and those that are passed over."""
    known = [each for each in command.get_params(ctx) if not getattr(each, "hidden", False)]
    less_used: frozenset[str] = getattr(command.callback, "less_used", frozenset())  # of option_groups
    hidden = [each for each in known if each.name in less_used and not everything]
    shown = [each for each in known if each not in hidden]
    if everything or not hidden:
        shown = [each for each in shown if each.name != "help_all"]
    return shown, hidden


def _panel(title: str, rows: Sequence[tuple[Any, Any]], width: int) -> RenderableType:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=bool(width), width=width or None)
    if width:
        grid.add_column(ratio=1)
    for name, told in rows:
        grid.add_row(*((name, told) if width else (name,)))
    return Panel(grid, title=Text(title, "bold"), title_align="left", border_style="dim")


def _panel_of(parameter: Any) -> str:
    return INPUTS if parameter.param_type_name == "argument" else str(getattr(parameter, "rich_help_panel", None) or RUNNING)


def _name(parameter: Any) -> Any:
    """An argument by its name; an option as it is typed, the short form first, and what it takes."""
    from rich.text import Text

    if parameter.param_type_name == "argument":
        return Text(_argument_name(parameter), "bold yellow")
    short = [option for option in parameter.opts if not option.startswith("--")]
    long = [option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("--")]
    name = Text("".join(f"{option}, " for option in short) or "    ", "bold cyan")
    name.append(", ".join(long), "bold cyan")
    takes = "" if parameter.is_flag else parameter.metavar or "VALUE"
    return name.append(f" {takes}", "yellow") if takes else name


def _told(parameter: Any, *, everything: bool) -> Any:
    from rich.text import Text

    text = Text(" ".join((getattr(parameter, "help", None) or "").split()))
    default = _default(parameter)
    if parameter.required and parameter.param_type_name == "option":
        text.append(" [required]", "red")
    elif default and (everything or default not in ("off", "none")):
        text.append(f" [default: {default}]", "dim")
    return text


def _default(parameter: Any) -> str:
    """What holds where the parameter is not given, in words; "" for what has none, such as --help."""
    told, value = getattr(parameter, "show_default", None), parameter.default
    if isinstance(told, str):
        return told
    if isinstance(value, bool) and told is not False:
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    known = isinstance(value, str | int | float | Path) and told is not False  # Click has a mark of its own for what has no default
    return (f"{value:g}" if isinstance(value, float) else str(value)) if known else ""


def _usage_pieces(command: Any) -> list[str]:
    taken = [each for each in command.params if each.param_type_name == "argument"]
    arguments = [_argument_name(each) if each.required else f"[{_argument_name(each)}]" for each in taken]
    needed = [each for each in command.params if each.param_type_name == "option" and each.required]
    return [*arguments, *(f"{each.opts[-1]} {each.metavar}" for each in needed), "[OPTIONS]"]


def _argument_name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _first_sentence(text: str) -> str:
    plain = " ".join(text.split())
    return plain.partition(". ")[0].rstrip(".")
