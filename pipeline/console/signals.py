"""What Ctrl-C and SIGTERM do: the first stops the command in good order, the second at once."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any


def listen(stop: Callable[[int], None], *, drains: bool) -> None:
    """From now on the first Ctrl-C or SIGTERM calls `stop` with its number in the main thread, and the second ends the program at once.

    A handler written in Python waits until the main thread comes back from C code, which may itself wait for a child that does
    nothing. So a thread listens too: it ends the children, and at the second signal the program. Where a command `drains`, its children
    work on after the first.
    """
    listener, teller = os.pipe()
    os.set_blocking(teller, False)
    signal.set_wakeup_fd(teller, warn_on_full_buffer=False)
    threading.Thread(target=_end_children, args=(listener, drains), daemon=True).start()
    seen: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        if not seen:  # no second exception in the midst of tidying up
            seen.append(number)
            stop(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's background jobs have it
            signal.signal(number, interrupt)


def _end_children(listener: int, drains: bool) -> None:
    for count in itertools.count(1):
        [number] = os.read(listener, 1)
        children = sys.modules.get("pipeline.media.ffmpeg_process")  # no import: the main thread may be within one, and hold its lock
        if children is not None and (count == 2 or not drains):
            children.kill_all()
        if count == 2:
            os._exit(128 + number)


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as a shell has it."""
    return 128 + int(stop.args[0] if stop.args else signal.SIGINT)
