"""What is seen of long commands while they work: a training, and a batch."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import result_lines, signals
from pipeline.console.terminal import Terminal, progress_bar, tell
from pipeline.errors import Stopped
from pipeline.records import printable

if TYPE_CHECKING:
    from pipeline.batch import Overview

LINE_SECONDS = 60.0  # between two lines of a batch where there is no terminal


@contextmanager
def open_training(terminal: Terminal, output: Path) -> Iterator[TrainingDisplay]:
    """The display of a training; it tells how to go on when it is interrupted."""
    display = TrainingDisplay(terminal)
    try:
        yield display
    except KeyboardInterrupt as stop:
        so_far = f"{display.best}; the same command with --resume goes on" if display.best else "no epoch was finished"
        raise Stopped(signals.exit_code_of(stop), remedy=f"{output}: {so_far}") from None
    finally:
        display.close()


class TrainingDisplay:
    """A training as it goes: on a terminal a bar for what is under way, and a line for each epoch."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._bar, self._title = terminal, None, ""
        self.best = ""

    def read(self, done: int, count: int) -> None:
        """So many pictures of so many are read."""
        self._show("reading", done, count)

    def trained(self, done: int, count: int) -> None:
        """So many pictures of so many are through in this epoch."""
        self._show("training", done, count)

    def epoch(self, row: Mapping[str, float], *, of: int, better: bool) -> None:
        """An epoch has ended."""
        self.close()
        self._terminal.check()
        if better:
            self.best = f"the best so far is of epoch {row['epoch']:.0f}, {100 * row['val_accuracy']:.1f} % right in validation"
        self._terminal.say(result_lines.epoch_line(row, of=of, better=better))

    def said(self, text: str) -> None:
        """A note."""
        self._terminal.say(printable(text))

    def _show(self, title: str, done: int, count: int) -> None:
        self._terminal.check()
        if title != self._title:
            self.close()
            self._title = title
            self._bar = progress_bar(title, count, "pictures", hidden=self._terminal.quiet)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._title = None, ""


@contextmanager
def open_batch(terminal: Terminal) -> Iterator[BatchDisplay]:
    """The display of a batch."""
    display = BatchDisplay(terminal)
    try:
        yield display
    finally:
        display.close()


class BatchDisplay:
    """A batch as it goes: on a terminal a bar for the archive and a line for each worker, elsewhere a line now and then."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._bars: list[Any] = []
        self._drawn = sys.stderr.isatty() and not terminal.quiet
        self._next_line = time.monotonic() + LINE_SECONDS

    def said(self, text: str) -> None:
        """A note."""
        self._line(printable(text))

    def _line(self, text: str) -> None:
        if self._terminal.quiet:
            return
        if self._bars:
            with suppress(OSError):
                self._bars[0].write(text, file=sys.stderr)
        else:
            tell(text)

    def finished(self, outcome: Mapping[str, Any], *, name: str = "") -> None:
        """An input has ended, well or not; `outcome` as JSON has it."""
        if self._terminal.as_json:
            self._terminal.put_json(outcome)
        self._line(result_lines.receipt_line(outcome, name))

    def overview(self, overview: Overview) -> None:
        """How far the archive is."""
        if self._drawn:
            self._draw(overview)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._line(f"{result_lines.overview_files(overview)}; {result_lines.overview_frames(overview)}")

    def _draw(self, overview: Overview) -> None:
        from tqdm import tqdm

        if len(self._bars) != len(overview.workers) + 1:
            self.close()
            formats = ["{desc} |{bar}| {unit}", *["{desc} |{bar}| {n_fmt}/{total_fmt} frames"] * len(overview.workers)]
            self._bars = [
                tqdm(bar_format=form, file=sys.stderr, dynamic_ncols=True, leave=False, position=place)
                for place, form in enumerate(formats)
            ]
        archive, *rest = self._bars
        archive.n = overview.frames_done
        archive.total = None if overview.frames_left is None else overview.frames_done + overview.frames_left
        archive.unit = result_lines.overview_frames(overview)
        archive.set_description_str(result_lines.overview_files(overview))
        for bar, worker in zip(rest, overview.workers, strict=True):
            title, bar.n, bar.total = worker or ("waiting", 0, None)
            bar.set_description_str(printable(f"  {title}")[:40])

    def close(self) -> None:
        """Take the bars away."""
        for bar in reversed(self._bars):
            bar.close()
        self._bars = []
