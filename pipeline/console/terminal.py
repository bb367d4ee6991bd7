"""What the user sees: bars, lines and failures on stderr, data on stdout; and how a command begins and ends."""

from __future__ import annotations

import atexit
import gc
import io
import json
import logging
import os
import shlex
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from pipeline.console import signals
from pipeline.console.command_options import ConsoleOptions
from pipeline.errors import HeatreelError, OutputError, Stopped
from pipeline.records import Progress, printable

if TYPE_CHECKING:
    from pipeline.explain import Job

POLL_SECONDS = 0.25


def tell(message: str) -> None:
    """A line on stderr; that nobody is there to read it is no reason to stop."""
    try:
        print(message, file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still in its buffer would fail again at the end


def typed_command() -> str:
    """The command as it was typed, quoted for a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


# ------------------------------------------------------------------------------------------------ streams and bars


class Terminal:
    """Lines and bars on stderr, data on stdout."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.stopped_by: int | None = None
        self.unread = False  # whether nobody takes what is put on stdout any more
        self._warned: set[str] = set()
        self._passing = ""
        self._bar: Any = None

    def check(self) -> None:
        """Raise the signal's KeyboardInterrupt, again: one that is raised in the midst of a callback from C code is lost there."""
        if self.stopped_by is not None:
            raise KeyboardInterrupt(self.stopped_by)

    def say(self, message: str, *, only_verbose: bool = False) -> None:
        """A line on stderr, unless the user wants quiet; with `only_verbose` only where all is to be told."""
        if self.verbose or not (self.quiet or only_verbose):
            with self._cleared():
                tell(message)

    def warn(self, subject: object, warnings: Sequence[str]) -> None:
        """A line for each; what has been said of one input, as of the model, holds for all and is not said again."""
        for warning in warnings:
            if warning not in self._warned:
                self.say(printable(f"{subject}: warning: {warning}"))
        self._warned.update(warnings)

    @contextmanager
    def _cleared(self) -> Iterator[None]:
        """Around a line that is to stay: what is drawn on the terminal goes away for it, and comes back below."""
        self._draw("")
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()
        self._draw(self._passing)

    @contextmanager
    def passing(self, what: str) -> Iterator[None]:
        """Say what is going on while it lasts: on a terminal as a line that goes away, elsewhere only with --verbose."""
        if self.quiet or self.verbose or not sys.stderr.isatty():
            self.say(f"{what} ...", only_verbose=True)
            yield
            return
        self._passing = printable(f"{what} ...")[: shutil.get_terminal_size().columns - 1]
        self._draw(self._passing)
        try:
            yield
        finally:
            self._draw("")
            self._passing = ""

    def _draw(self, line: str) -> None:
        if self._passing:
            with suppress(OSError):
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def put(self, text: str) -> None:
        """A line on stdout, at once: at the interpreter's end it could not be told any more that nobody took it.

        Whoever closes it, as `head` does, has enough: that is no error, and what the command makes besides is still made. Raises
        OutputError where it cannot be written for another reason.
        """
        try:
            print(text, flush=True)
        except BrokenPipeError:
            _silence(sys.stdout)
            self.unread = True
        except OSError as error:
            _silence(sys.stdout)
            raise OutputError(f"stdout cannot be written: {error.strerror}") from error

    def put_json(self, value: Mapping[str, Any]) -> None:
        """As one line on stdout."""
        self.put(json.dumps(value))

    def put_record(self, value: Mapping[str, Any], lines: Sequence[str]) -> None:
        """The value where JSON is asked for, else the lines."""
        if self.as_json:
            self.put_json(value)
            return
        for line in lines:
            self.put(line)

    @contextmanager
    def starting_up(self) -> Iterator[None]:
        """Around the import of what is heavy.

        Nothing that an import makes is garbage: to look through it again and again took a quarter of a picture's time.
        """
        if not self.verbose:
            _divert_native_notes()
        gc.disable()
        yield
        gc.freeze()
        gc.enable()

    @contextmanager
    def counter(self, title: str, count: int) -> Iterator[Callable[[], None]]:
        """A progress bar over inputs."""
        with progress_bar(title, count, "inputs", hidden=self.quiet or count < 2) as bar:
            yield lambda: bar.update(1) and None

    @contextmanager
    def passes(self, title: str, total: int | None, made: Callable[[], int]) -> Iterator[Callable[[Progress], None]]:
        """A progress bar over passes of the network, where a picture takes many: a thread asks now and then how many are `made`."""
        before, ended = made(), threading.Event()
        with progress_bar(title, total, "passes", hidden=self.quiet) as self._bar:
            bar = self._bar
            teller = threading.Thread(target=_poll, args=(lambda: bar.update(made() - before - bar.n), ended), daemon=True)
            teller.start()
            try:
                yield lambda progress: bar.set_postfix_str("joining" if progress.joining else f"{progress.frames_done} frames")
            finally:
                ended.set()
                teller.join()
        self._bar = None

    @contextmanager
    def bar(self, job: Job, number: int, count: int) -> Iterator[Callable[[Progress], None]]:
        """A progress bar for one video: frames, rate, time left. Pictures are done before a bar could be read."""
        if self.quiet or job.is_still:
            yield lambda _: None
            return
        title = printable(job.input.name if count == 1 else f"{number + 1}/{count} {job.input.name}")
        with progress_bar(title[:40], None, "frames") as self._bar:
            bar = self._bar

            def tick(progress: Progress) -> None:
                total = progress.frames_total
                bar.total = total if total and total >= progress.frames_done else None  # a header may lie
                if progress.joining:
                    bar.set_postfix_str("joining")
                bar.update(progress.frames_done - bar.n)

            yield tick
        self._bar = None


def progress_bar(title: str, total: int | None, unit: str, *, hidden: bool = False) -> Any:
    """A bar of tqdm's on stderr that goes away at its end; only a terminal sees it."""
    from tqdm import tqdm

    disable = True if hidden else None
    return tqdm(desc=title, total=total, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True, leave=False, disable=disable)


def _divert_native_notes() -> None:
    """Send what native code of TensorFlow, oneDNN and CUDA writes to descriptor 2 nowhere; stderr gets a descriptor of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    sys.stderr.flush()
    real = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(real, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _poll(update: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        update()


# ------------------------------------------------------------------------------------------------ beginning and end


@contextmanager
def open_terminal(console: ConsoleOptions, *, drains: bool = False) -> Iterator[Terminal]:
    """Around every command: signals become exceptions, exceptions become one line and the contract's exit code, log records become lines.

    Where a command `drains`, the first signal only sets `stopped_by`, which the command heeds when it can.
    """
    terminal = Terminal(as_json=console.as_json, quiet=console.quiet, verbose=console.verbose)

    def stop(number: int) -> None:
        terminal.stopped_by = number
        if not drains:
            terminal.check()

    signals.listen(stop, drains=drains)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding cannot say is no reason to stop
    try:
        with show_log(terminal):
            yield terminal
    except KeyboardInterrupt as stopped:
        _leave(Stopped(signals.exit_code_of(stopped)), verbose=console.verbose)
    except Stopped as stopped:
        _leave(stopped, verbose=console.verbose)
    except HeatreelError as error:
        _fail(error, verbose=console.verbose, exit_code=error.exit_code)
    except typer.Exit:
        raise
    except Exception as error:
        if terminal.stopped_by is not None:
            _leave(Stopped(128 + terminal.stopped_by), verbose=console.verbose)
        _fail(error, verbose=console.verbose, exit_code=1)


@contextmanager
def show_log(terminal: Terminal) -> Iterator[None]:
    """While it lasts, warnings that the library logs are said on the terminal, and with --verbose its notes too."""
    logger, handler = logging.getLogger("pipeline"), _TerminalHandler(terminal)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if terminal.verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _TerminalHandler(logging.Handler):
    """A line on the terminal for each log record."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, as a warning where it is one."""
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        self._terminal.say(printable(f"{kind}{record.getMessage()}"), only_verbose=not kind)


def end(finished: SystemExit) -> None:
    """Leave with that exit code; with TensorFlow loaded, without taking a million objects apart, which takes a second.

    What was registered for the end is done, and nothing waits to be written any more. Rich, Click and Typer end with 1 where nobody
    takes what they print; as for `Terminal.put` that is no error.
    """
    if isinstance(finished.__context__, BrokenPipeError):
        _silence(sys.stdout)
        finished.code = 0
    if "tensorflow" not in sys.modules or not isinstance(finished.code, int | None):
        raise finished
    atexit._run_exitfuncs()  # as multiprocessing ends its processes
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(finished.code or 0)


def _leave(stopped: Stopped, *, verbose: bool) -> None:
    """Say so and end: threads that are still in native code could turn an orderly exit into a hang or a crash."""
    try:
        _fail(stopped, verbose=verbose, exit_code=stopped.exit_code)
    finally:
        os._exit(stopped.exit_code)


def _fail(error: BaseException, *, verbose: bool, exit_code: int) -> None:
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    known = isinstance(error, HeatreelError)
    hint = "" if known else " (this is a fault of the program; --verbose shows where)"
    tell(printable(f"error: {error if known else f'{type(error).__name__}: {error}'}{hint}"))
    raise typer.Exit(exit_code)


def open_missing_streams() -> None:
    """A stream that was closed from the start becomes /dev/null: else the next file opened has its number, and takes what is printed."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, so this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115  # as long as the program
