"""Turns the groups of options in a command's signature into the flat options that Typer reads, and back into groups."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin

import typer

from pipeline.console import completion
from pipeline.options import Option, choices_of, option_of


@dataclass(frozen=True)
class Only:
    """In a signature: of a group only these groups or fields are options of the command; `fixed` are values that it gives itself."""

    chosen: tuple[type | str, ...]
    fixed: Mapping[str, Any]


def only(*chosen: type | str, **fixed: Any) -> Only:
    """An Only, to annotate a group with, as in Annotated[Options, only(MethodOptions, "overwrite", smooth=0.0)]."""
    return Only(chosen, fixed)


def flatten_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters may be groups of options, as Typer reads it: with an option for each field.

    A parameter that is annotated with an Option becomes that option; every other is left as it is. The command's attribute `less_used`
    has the names of the parameters that only --help-all shows.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    groups = {name: _Group.of(each.annotation) for name, each in parameters.items() if is_dataclass(_plain(each.annotation))}
    given: list[_Flat] = []
    for name, each in parameters.items():
        given += groups[name].flat if name in groups else [_Flat(name, each.annotation, each.default)]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        read = {each.name: each.read(values[each.name]) for each in given}
        made = {name: group.make(read) for name, group in groups.items()}
        command(**made, **{name: read[name] for name in parameters if name not in groups})

    shown = [each.parameter for each in _in_order(given)]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what inspect, and so Typer, looks at first
    run.__annotations__ = {each.name: each.annotation for each in shown}
    run.less_used = frozenset(each.name for each in given if each.option and each.option.less_used)  # type: ignore[attr-defined]
    return run


@dataclass(frozen=True)
class _Flat:
    """One parameter of Typer's: its annotation is the field's, with an Option, or any other that Typer knows."""

    name: str
    annotation: Any
    default: Any
    panel: str = ""

    @property
    def option(self) -> Option | None:
        return option_of(self.annotation)

    @property
    def parameter(self) -> inspect.Parameter:
        option, kind, default = self.option, self.annotation, self.default
        if option is not None:
            kind = Annotated[_typed_as(kind, option, default), _typer_option(kind, option, default, self.panel or option.panel)]
            default = option.unset if default is None else list(default) or None if isinstance(default, tuple) else default
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    def read(self, value: Any) -> Any:
        """The field's value of what Typer has read. Raises CommandError."""
        if self.option is None:
            return value
        if get_origin(_plain(self.annotation)) is tuple:
            return tuple(value or ())
        if value is None or value == self.option.unset:
            return None
        return value if self.option.parse is None else self.option.parse(self.option.name, value)


@dataclass(frozen=True)
class _Group:
    """A group in a signature, and those of its fields that are options."""

    kind: type
    flat: list[_Flat]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, annotation: Any) -> _Group:
        kind: Any = _plain(annotation)
        asked = next((each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Only)), only())
        known = {each.name: each for each in fields(kind)}
        names = _names(asked.chosen or (kind,))
        return cls(kind, [_Flat(name, known[name].type, known[name].default, _panel_of(kind, name)) for name in names], asked.fixed)

    def make(self, read: Mapping[str, Any]) -> Any:
        """The record. Raises CommandError for values that it refuses."""
        return self.kind(**{each.name: read[each.name] for each in self.flat}, **self.fixed)


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _names(chosen: tuple[Any, ...]) -> Iterator[str]:
    """Names of fields; of a record that is made of groups, group by group in the order in which it names them."""
    for each in chosen:
        if isinstance(each, str):
            yield each
        elif bases := [base for base in each.__bases__ if is_dataclass(base)]:
            yield from _names(tuple(bases))
        else:
            yield from (one.name for one in fields(each))


def _panel_of(kind: type, name: str) -> str:
    """That of the group which has the field."""
    [owner] = [each for each in kind.__mro__ if name in inspect.get_annotations(each)]
    return str(owner.panel)  # type: ignore[attr-defined]


def _typed_as(annotation: Any, option: Option, default: Any) -> Any:
    """The type that Typer is to read: text where the field's value is made of text, or checked by its record."""
    kind = _plain(annotation)
    if get_origin(kind) is tuple:
        return list[str] | None
    if option.parse is None and not choices_of(annotation):
        return kind
    return str | None if default is None and option.unset is None else str


def _typer_option(annotation: Any, option: Option, default: Any, panel: str) -> Any:
    told = option.default or ("none" if default is None and option.unset is None else "off" if default is False else True)
    return typer.Option(
        *option.names.split(),
        metavar=option.metavar,
        help=option.help,
        show_default=False if default is inspect.Parameter.empty else told,
        autocompletion=completion.completer(option.completes, choices_of(annotation)),
        rich_help_panel=panel,
    )


def _in_order(given: list[_Flat]) -> list[_Flat]:
    """Each behind the first that it wants to follow and that is there."""
    placed = list(given)
    for each in given:
        names = [other.name for other in placed]
        ahead = [name for name in (each.option.after if each.option else ()) if name in names]
        if ahead:
            placed.remove(each)
            placed.insert([other.name for other in placed].index(ahead[0]) + 1, each)
    return placed
