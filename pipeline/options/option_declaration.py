"""How one option of the command line is declared: what is typed, what help says, and in which panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

# The panels of --help.
INPUTS, MODEL, EXPLANATION = "Inputs and outputs", "Model", "Explanation"
PICTURE, TIME, ENCODING = "Picture", "Time", "Encoding"
COMPUTING, RUNNING = "Computing", "Running"
SEARCH, TRAINING = "Search", "Training"


@dataclass(frozen=True)
class Option:
    """How an option is typed and explained. It annotates a field of a group, whose type and default are the option's.

    `names` are what is typed, the long form first, such as "--top-k -k". `default` says the default in words, where its value does not;
    `unset` is what is typed for None. `parse` makes the field's value of the option's name and the text. `completes` names a completer of
    the console; choices complete themselves. What is `less_used` only `--help-all` shows. In its panel the option stands behind the
    first of the fields `after` that the command has, else where its group stands. `panel` is for an option outside of any group.
    """

    names: str
    _: KW_ONLY
    help: str
    metavar: str | None = None
    default: str | None = None
    unset: str | None = None
    parse: Callable[[str, str], Any] | None = None
    completes: str | None = None
    less_used: bool = False
    after: tuple[str, ...] = ()
    panel: str = RUNNING

    @property
    def name(self) -> str:
        """As messages call it, such as --top-k."""
        return self.names.partition(" ")[0]


def option_of(annotation: Any) -> Option | None:
    """The Option that a type is annotated with; None where there is none."""
    found = [each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Option)]
    return found[0] if found else None


def choices_of(annotation: Any) -> tuple[str, ...]:
    """What may be typed where a type is a Literal, or one with None; () for every other type."""
    if get_origin(annotation) is Annotated:
        unset, kind = getattr(option_of(annotation), "unset", None), get_args(annotation)[0]
        return ((unset,) if unset and choices_of(kind) else ()) + choices_of(kind)
    literals = [each for each in (annotation, *get_args(annotation)) if get_origin(each) is Literal]
    return get_args(literals[0]) if literals else ()
