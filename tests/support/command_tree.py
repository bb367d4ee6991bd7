"""Every command of the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def commands_of(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{prefix}{name} ")
