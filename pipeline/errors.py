"""What can go wrong, and with which exit code the command answers.

HeatreelError            the root; nothing else is meant to reach a user
├── CommandError   2     the command itself is wrong: an unknown option, class, layer, or a bad combination
│   └── ModelError 2     no such model, or its file or weights cannot be used
├── InputError     1     this input cannot be read, or is not what its name says
│   ├── KindError        it is something else: a video where a picture is wanted, a text, an archive
│   └── ChangedError     it was changed while it was read
├── OutputError    1     this output cannot be written, or must not be
│   └── BusyError        another run is making it at this moment
├── ToolError      1     a child process failed; carries its command and the tail of its stderr
└── Stopped  130/143     Ctrl-C or SIGTERM
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class HeatreelError(Exception):
    """What happened, with the value received; `remedy` says what to do next and may be empty."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}; {self.remedy}" if self.remedy else message


class CommandError(HeatreelError):
    """The command itself is wrong, whatever the inputs hold."""

    exit_code = 2


class ModelError(CommandError):
    """There is no such model, or its file or weights cannot be used."""


class InputError(HeatreelError):
    """An input cannot be read, or is not what its name says."""


class KindError(InputError):
    """An input is something else: a video where a picture is wanted, a text, an archive. `what` is for those who name no other command."""

    @property
    def what(self) -> str:
        """The message without its remedy."""
        return str(self.args[0])


class ChangedError(InputError):
    """An input was changed while it was read."""


class OutputError(HeatreelError):
    """An output cannot be written, or must not be."""


class BusyError(OutputError):
    """Another run is making this output at this moment."""


class ToolError(HeatreelError):
    """A child process failed. The message ends with the last line it wrote to stderr; `stderr_tail` has more."""

    def __init__(self, message: str, *, command: Sequence[str], stderr_tail: str, remedy: str = "") -> None:
        lines = stderr_tail.strip().splitlines()
        super().__init__(f"{message}: {lines[-1]}" if lines else message, remedy=remedy)
        self.command = tuple(command)
        self.stderr_tail = stderr_tail

    @property
    def details(self) -> str:
        """The command as a shell would take it, and what it wrote to stderr."""
        return f"{shlex.join(self.command)}\n{self.stderr_tail}"


class Stopped(HeatreelError):
    """The user or the system has stopped the command; `exit_code` is 128 and the signal's number."""

    def __init__(self, exit_code: int, *, remedy: str = "") -> None:
        super().__init__("stopped; what was finished is kept", remedy=remedy)
        self.exit_code = exit_code


def write_error(output: Path, error: Exception, *, remedy: str = "") -> OutputError:
    """What is told of an output that the system refuses to write, with the system's own reason; to be raised from that error."""
    return OutputError(f"{output}: cannot be written: {getattr(error, 'strerror', None) or error}", remedy=remedy)


@contextmanager
def report_write_errors(output: Path, *, remedy: str = "") -> Iterator[None]:
    """An OSError within the block is raised as an OutputError that names this file or folder."""
    try:
        yield
    except OSError as error:
        raise write_error(output, error, remedy=remedy) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that there is no room left; a child's says so on its stderr."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, ToolError) and says_disk_full(error.stderr_tail):
            return True
        error = error.__cause__
    return False


def says_disk_full(text: str) -> bool:
    """Whether a program's own words say that there is no room left: a full disk (ENOSPC), or a quota that is used up (EDQUOT)."""
    return "No space left" in text or "Disk quota exceeded" in text
