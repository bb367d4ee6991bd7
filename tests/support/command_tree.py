"""Every command of the program."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any


@functools.cache
def root_command() -> Any:
    """What `visualize` is to Click. It is made once: `cli.app()` makes all commands anew at each call, in a fifth of a second."""
    import typer

    import cli

    return typer.main.get_command(cli.app)


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each command below a group with its full name, such as "models show"."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{prefix}{name} ")
