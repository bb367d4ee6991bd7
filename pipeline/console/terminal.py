"""What the user sees: bars, result lines and failures on stderr, data on stdout; and what his signals do."""

from __future__ import annotations

import atexit
import gc
import io
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from pipeline.errors import HeatreelError, InputError, OutputError, Stopped
from pipeline.models.class_names import FOUND_BY
from pipeline.records import Outcome, Progress, clock, percent, printable

if TYPE_CHECKING:
    from pipeline.batch.index_search import Hit
    from pipeline.batch.progress import Overview, Summary
    from pipeline.batch.status_report import Status
    from pipeline.explain.planning import Job
    from pipeline.training.transfer_learning import TrainingResult


POLL_SECONDS = 0.25
MOST_OPENED = 4  # windows at once
MOST_NAMED = 5  # files of a kind, one a line


def tell(message: str) -> None:
    """A line on stderr; that nobody is there to read it is no reason to stop."""
    try:
        print(message, file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still in its buffer would fail again at the end


class Terminal:
    """What the user sees: bars, result lines and failures on stderr, JSON on stdout."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.stopped_by: int | None = None
        self.unread = False  # whether nobody takes what is put on stdout any more
        self._said: set[str] = set()
        self._passing = ""
        self._bar: Any = None

    def check(self) -> None:
        """Raise the signal's KeyboardInterrupt again: one that is raised in the midst of a callback from C code is lost there."""
        if self.stopped_by is not None:
            raise KeyboardInterrupt(self.stopped_by)

    def say(self, message: str, *, only_verbose: bool = False) -> None:
        if self.verbose or not (self.quiet or only_verbose):
            with self._cleared():
                tell(message)

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

    def put_json(self, value: dict[str, Any]) -> None:
        self.put(json.dumps(value))

    @contextmanager
    def starting_up(self) -> Iterator[None]:
        """Around the import of what is heavy.

        Nothing that an import makes is garbage: to look through it again and again took a quarter of a picture's time.
        """
        self._divert_notes()
        gc.disable()
        yield
        gc.freeze()
        gc.enable()

    def _divert_notes(self) -> None:
        """The notes of TensorFlow, oneDNN and CUDA come from native code, straight to descriptor 2: they get another one."""
        if self.verbose:
            return
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        real = os.dup(2)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        sys.stderr = os.fdopen(real, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)

    def report(self, outcome: Outcome) -> None:
        """One line for an input that is done; failures come last, all together."""
        if self.as_json:
            self.put_json(outcome.as_json())
        for warning in outcome.warnings:
            if warning not in self._said:  # what is said of the model holds for every input
                self.say(printable(f"{outcome.input}: warning: {warning}"))
        self._said.update(outcome.warnings)
        for name in outcome.extra.get("encoders_passed_over", ()):
            self.say(f"{printable(str(outcome.input))}: {outcome.extra['encoder']} is used, for {name}", only_verbose=True)
        if outcome.skipped:
            self.say(printable(f"{outcome.input}: skipped: {outcome.output} exists"), only_verbose=True)
        elif outcome.error is None or outcome.partial:
            seconds = None if outcome.duration_seconds is None else outcome.elapsed_seconds
            seen = _seen(*([(each.name.label, each.score) for each in some] for some in (outcome.targets, outcome.top)))
            told = "" if seconds is None else f" ({outcome.frames} frames in {seconds:.1f} s)"
            self.say(printable(f"{outcome.input} -> {outcome.output}{told}{': ' if seen else ''}{seen}"))

    def put_predictions(self, outcomes: Sequence[Outcome]) -> None:
        """JSON, or a table with a row for each input and a column for each model."""
        if self.as_json:
            for outcome in outcomes:
                self.put_json(outcome.as_json())
            return
        for outcome in {outcome.input: outcome for outcome in outcomes}.values():
            for warning in outcome.warnings:
                self.say(printable(f"{outcome.input}: warning: {warning}"))
        if self.quiet:  # the table is its result line
            return
        rows: dict[Path, dict[str, Any]] = {}
        for outcome in outcomes:
            if outcome.error is None or outcome.partial:
                said = ", ".join(f"{p.name.label} {100 * p.score:.1f}%" for p in outcome.top)
                rows.setdefault(outcome.input, {"input": printable(str(outcome.input))})[outcome.model] = said
        if rows:
            self.put(table(list(rows.values())))

    def put_classes(self, listing: Mapping[str, Any]) -> None:
        """What `class_names.list_classes` has: a line of what the word found, and how, and a table of the classes."""
        groups, stage = listing["groups"], listing["stage"]
        if groups:
            [first, *others] = groups
            count = len(listing["classes"])
            many = f"{count} classes" if count > 1 else "one class"
            wnid = f" ({first['wnid']})" if first["wnid"] else ""
            what = f"{many} of several kinds" if others and stage != "part" else many if others else f"{first['label']}{wnid}: {many}"
            unlike = "; --target takes whole words" if stage == "part" else ""
            self.put(printable(f"{what}, found by {FOUND_BY[stage]}{unlike}"))
        rows = [{**each, "label": printable(each["label"]), "synonyms": ", ".join(each["synonyms"])} for each in listing["classes"]]
        columns = [column for column in rows[0] if column in ("index", "label") or any(row[column] for row in rows)]
        self.put(table([{column: row[column] for column in columns} for row in rows]))

    def put_analysis(self, found: dict[str, Any]) -> None:
        """JSON, or what one wants to know first: accuracy, classes, the best threshold, what to look at, and where the page is."""
        from pipeline.evaluation.analysis_plan import ANALYSIS_FILES

        for warning in found["warnings"]:
            self.say(printable(f"warning: {warning}"))
        if self.as_json:
            self.put_json(found)
            return
        low, high = (100 * end for end in found["accuracy_interval"])
        top5 = f"; {100 * found['top5']:.1f} % among the best five" if len(found["labels"]) > 5 else ""
        self.put(f"accuracy {100 * found['accuracy']:.1f} % of {found['count']} pictures (95 % interval {low:.1f} to {high:.1f} %){top5}")
        shown = [{**each, "label": printable(each["label"])} for each in found["per_class"]]
        for each in shown:
            each |= {key: None if each[key] is None else f"{100 * each[key]:.1f} %" for key in ("precision", "recall")}
        self.put(table(shown))
        for name, at in (("best threshold", found["threshold"]["best"]), ("--threshold", found["threshold"]["asked"])):
            if at is not None:
                right = "none" if at["accuracy"] is None else f"{100 * at['accuracy']:.1f} %"
                self.put(f"{name} {at['threshold']:g}: {100 * at['coverage']:.1f} % get an answer, {right} of these are right")
        across = sum(pair["across"] for pair in found["duplicates"])
        self.put(
            f"suspected labels: {len(found['suspects'])}; pairs of copies: {len(found['duplicates'])} "
            f"({across} across training and validation); unreadable pictures: {len(found['unreadable'])}"
        )
        self.put(printable(found["report"]))
        folder = Path(found["report"]).parent
        beside = [name for name in ANALYSIS_FILES if (folder / name).exists() and name != Path(found["report"]).name]
        self.say(printable(f"also in {folder}: {', '.join(beside)}"))

    @contextmanager
    def counter(self, title: str, count: int) -> Iterator[Callable[[], None]]:
        """A progress bar over inputs."""
        from tqdm import tqdm

        disable = True if self.quiet or count < 2 else None
        with tqdm(desc=title, total=count, unit=" inputs", file=sys.stderr, dynamic_ncols=True, leave=False, disable=disable) as bar:
            yield lambda: bar.update(1) and None

    @contextmanager
    def lesson(self, output: Path) -> Iterator[Lesson]:
        """The display of a training; it tells how to go on when it is interrupted."""
        display = Lesson(self)
        try:
            yield display
        except KeyboardInterrupt as stop:
            so_far = f"{display.best}; the same command with --resume goes on" if display.best else "no epoch was finished"
            raise Stopped(exit_code_of(stop), remedy=f"{output}: {so_far}") from None
        finally:
            display.close()

    def put_trained(self, trained: TrainingResult) -> None:
        """What a training has come to."""
        for warning in trained.warnings:
            self.say(printable(f"warning: {warning}"))
        if self.as_json:
            self.put_json(trained.as_json())
            return
        low, high = (100 * bound for bound in trained.interval)
        right = f"{100 * trained.best['val_accuracy']:.1f} % of {trained.val} pictures that it was not trained on"
        self.say(
            printable(f"{trained.plan.data.root} -> {trained.plan.output}: right on {right} (95 % interval: {low:.1f} to {high:.1f} %)")
        )
        epochs = f"{len(trained.history)} epochs in {_duration(trained.elapsed_seconds)}, the best was {trained.best['epoch']:.0f}"
        self.say(printable(f"{epochs}; {trained.plan.curve}"))

    @contextmanager
    def archive(self) -> Iterator[Archive]:
        """The display of a batch."""
        display = Archive(self)
        try:
            yield display
        finally:
            display.close()

    def finish_archive(self, summary: Summary, *, files: Sequence[tuple[str, Path]] = (), opens: Sequence[Path] = ()) -> None:
        """What a batch has come to and where that is, the failures last; `files` and `opens` as `finish` has them."""
        before = f", {summary.done_before} were done before" if summary.done_before else ""
        lost = f", {summary.missing} are not there any more" if summary.missing else ""
        left = f", {summary.left} are left" if summary.left else ""
        if not summary.found and not summary.stopped:
            raise InputError("no video and no picture was found", remedy="what is hidden, and what lies in --output, is not looked at")
        nothing = not (summary.ended or summary.left)
        text = "nothing to do" if nothing else f"{summary.done} done in {_duration(summary.seconds)}"
        failed = f", {len(summary.failures)} failed" if summary.failures else ""
        self.say(f"{text}{before}{failed}{lost}{left}; the log is {summary.log}")
        if summary.copies:
            files_of = "1 file" if summary.copies == 1 else f"{summary.copies} files"
            self.say(f"{files_of} {_copies(summary.copies)}{' and not made again' if summary.deduped else '; --dedupe makes each once'}")
        self.name_files(files)
        self.open(() if summary.stopped else opens)
        for passed in summary.passed_over:
            self.say(printable(f"passed over: {passed.path}: {passed.reason}"))
        for path, error in summary.failures:
            tell(printable(f"error: {error if path in error else f'{path}: {error}'}"))
        if summary.given_up:
            raise OutputError(summary.given_up)
        if summary.stopped:
            raise Stopped(128 + (self.stopped_by or signal.SIGINT), remedy="the same command goes on from there")
        if summary.failures:
            raise typer.Exit(1)

    def put_hits(self, hits: Sequence[Hit]) -> None:
        """A line for each, or JSON."""
        if not hits:
            self.say("nothing was found")
        for hit in hits:
            if self.as_json:
                self.put_json(hit.as_json())
                continue
            when = "" if hit.is_picture else f"{clock(hit.start_seconds)} to {clock(hit.end_seconds)}  "
            again = f" (and {len(hit.copies)} exact cop{'y' if len(hit.copies) == 1 else 'ies'})" if hit.copies else ""
            self.put(printable(f"{100 * hit.score:5.1f}%  {hit.label}  {when}{hit.input}{again}  {hit.command}"))

    def put_status(self, output: Path, status: Status) -> None:
        missing = f", {status.missing} not there any more" if status.missing else ""
        copies = f"; {status.copies} of them {_copies(status.copies)}" if status.copies else ""
        self.put(
            f"{output}: {status.total} inputs, {status.done} done, {status.failed} failed, {status.running} running, "
            f"{status.pending} pending{missing}{copies}"
        )
        for run in status.runs:
            self.put(f"at work since {run.begun_at}: process {run.process.pid} on {run.process.host}")
        if not status.runs:
            self.put("no run is at work")
        for at_work in status.at_work:
            total = f" of about {at_work.frames_total}" if at_work.frames_total else ""
            self.put(printable(f"running: {at_work.input}: {at_work.frames_done}{total} frames"))
        for path, error in status.failures:
            self.put(printable(f"failed: {error if path in error else f'{path}: {error}'}"))
        if status.page is not None:
            self.put(printable(f"page: {status.page}"))

    def open(self, paths: Sequence[Path]) -> None:
        """Show them with the program that the desktop has for such files; a line says so where there is none."""
        from pipeline.console import desktop

        for path in paths[:MOST_OPENED]:
            if not desktop.open_file(path):
                self.say(printable(f"nothing here opens {path}: open it yourself"))

    def name_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """What was made besides the outputs, each with what it is; many of a kind by their folder."""
        for kind in dict.fromkeys(kind for kind, _ in files):
            paths = [path for each, path in files if each == kind]
            folders = {path.parent for path in paths}
            for path in paths if len(paths) <= MOST_NAMED else ():
                self.say(printable(f"{kind}: {path}"))
            if len(paths) > MOST_NAMED:
                self.say(printable(f"{kind}: {len(paths)} files in {folders.pop() if len(folders) == 1 else f'{len(folders)} folders'}"))

    def finish(
        self, outcomes: Sequence[Outcome], *, files: Sequence[tuple[str, Path]] = (), noun: str = "inputs", opens: Sequence[Path] = ()
    ) -> None:
        """The end of a command: what was made besides the outputs, how many are done, and the failures, each with what to do.

        `files` has what each is, and its path; `opens` is to be shown. Raises typer.Exit where an input has failed.
        """
        self.name_files(files)
        self.open(opens)
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        inputs = len({outcome.input for outcome in outcomes})
        lost = len({outcome.input for outcome in failed})
        skipped = sum(outcome.skipped for outcome in outcomes)
        done = inputs - lost - skipped
        if inputs > 1 and (done or lost):
            self.say(f"{done} {noun if done != 1 else noun.removesuffix('s')} done{f', {lost} failed' if lost else ''}")
        if skipped:
            self.say(f"{skipped} skipped: {'its output exists' if skipped == 1 else 'their outputs exist'}")
        for outcome in failed:
            tell(printable(f"error: {outcome.error}"))
        if failed:
            raise typer.Exit(1)

    @contextmanager
    def passes(self, title: str, total: int | None, made: Callable[[], int]) -> Iterator[Callable[[Progress], None]]:
        """A progress bar over passes of the network, where a picture takes many: a thread asks now and then how many are `made`."""
        from tqdm import tqdm

        before, ended = made(), threading.Event()
        disable = True if self.quiet else None
        with tqdm(desc=title, total=total, unit=" passes", file=sys.stderr, dynamic_ncols=True, leave=False, disable=disable) as self._bar:
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
        from tqdm import tqdm

        if self.quiet or job.is_still:
            yield lambda _: None
            return
        title = printable(job.input.name if count == 1 else f"{number + 1}/{count} {job.input.name}")
        with tqdm(desc=title[:40], unit=" frames", file=sys.stderr, dynamic_ncols=True, leave=False, disable=None) as self._bar:
            bar = self._bar

            def tick(progress: Progress) -> None:
                total = progress.frames_total
                bar.total = total if total and total >= progress.frames_done else None  # a header may lie
                if progress.joining:
                    bar.set_postfix_str("joining")
                bar.update(progress.frames_done - bar.n)

            yield tick
        self._bar = None


def _poll(update: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        update()


def _seen(targets: Sequence[tuple[str, float]], best: Sequence[tuple[str, float]]) -> str:
    """Labels with their scores: the classes that were asked for, then the best ones."""
    groups = (", ".join(f"{label} {percent(score)}" for label, score in group) for group in (targets, best))
    return "; ".join(group for group in groups if group)


def _copies(count: int) -> str:
    return "is an exact copy of another" if count == 1 else "are exact copies of others"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


class Lesson:
    """A training as it goes: on a terminal a bar for what is under way, and a line for each epoch."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._bar, self._title = terminal, None, ""
        self.best = ""

    def read(self, done: int, count: int) -> None:
        self._show("reading", done, count)

    def trained(self, done: int, count: int) -> None:
        self._show("training", done, count)

    def epoch(self, row: Mapping[str, float], *, of: int, better: bool) -> None:
        self.close()
        self._terminal.check()
        if better:
            self.best = f"the best so far is of epoch {row['epoch']:.0f}, {100 * row['val_accuracy']:.1f} % right in validation"
        self._terminal.say(
            f"epoch {row['epoch']:>3.0f} of {of}: loss {row['loss']:.3f}, {100 * row['accuracy']:.1f} % right; "
            f"validation: loss {row['val_loss']:.3f}, {100 * row['val_accuracy']:.1f} % right{' (best so far)' if better else ''}"
        )

    def said(self, text: str) -> None:
        self._terminal.say(printable(text))

    def _show(self, title: str, done: int, count: int) -> None:
        from tqdm import tqdm

        self._terminal.check()
        if title != self._title:
            self.close()
            disable = True if self._terminal.quiet else None
            self._title = title
            self._bar = tqdm(desc=title, total=count, unit=" pictures", file=sys.stderr, dynamic_ncols=True, leave=False, disable=disable)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._title = None, ""


class Archive:
    """A batch as it goes: on a terminal a bar for the archive and a line for each worker, elsewhere a line now and then."""

    LINE_SECONDS = 60.0

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._bars: list[Any] = []
        self._drawn = sys.stderr.isatty() and not terminal.quiet
        self._next_line = time.monotonic() + self.LINE_SECONDS

    def said(self, text: str) -> None:
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
        if self._terminal.as_json:
            self._terminal.put_json(dict(outcome))
        if outcome["error"] is not None:
            self._line(printable(f"failed: {outcome['error']}"))
            return
        seconds = outcome["elapsed_seconds"]
        rate = f"{outcome['frames']} frames, {outcome['frames'] / max(seconds, 1e-3):.3g} a second"
        told = f"{seconds:.1f} s" if outcome["duration_seconds"] is None else rate
        asked = [(each["label"], each["score"]) for each in outcome.get("targets", ())]  # a receipt of an earlier version has none
        seen = _seen(asked, [(each["label"], each["score"]) for each in outcome["top"][:1]])
        self._line(printable(f"{name or outcome['input']}: {seen}{' ' if seen else ''}({told})"))

    def overview(self, overview: Overview) -> None:
        if self._drawn:
            self._draw(overview)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self.LINE_SECONDS
            self._line(f"{_files(overview)}; {_frames(overview)}")

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
        archive.unit = _frames(overview)
        archive.set_description_str(_files(overview))
        for bar, worker in zip(rest, overview.workers, strict=True):
            title, bar.n, bar.total = worker or ("waiting", 0, None)
            bar.set_description_str(printable(f"  {title}")[:40])

    def close(self) -> None:
        for bar in reversed(self._bars):
            bar.close()
        self._bars = []


def _files(overview: Overview) -> str:
    more = "+" if overview.listing else ""
    failed = f", {overview.failed} failed" if overview.failed else ""
    return f"{overview.done} of {overview.done + overview.failed + overview.left}{more} done{failed}"


def _frames(overview: Overview) -> str:
    if overview.paused:
        return f"paused: {overview.paused}"
    about = "" if overview.frames_left is None else f" of about {overview.frames_done + overview.frames_left}"
    left = "" if overview.seconds_left is None else f", about {_duration(overview.seconds_left)} left"
    return f"{overview.frames_done}{about} frames{left}"


@contextmanager
def open_terminal(*, as_json: bool, quiet: bool, verbose: bool, drains: bool = False) -> Iterator[Terminal]:
    """Around every command: signals become exceptions, exceptions become one line and the contract's exit code.

    Where a command `drains`, the first signal only sets `stopped_by`, which the command heeds when it can.
    """
    terminal = Terminal(as_json=as_json, quiet=quiet, verbose=verbose)
    _listen_for_signals(terminal, drains=drains)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding cannot say is no reason to stop
    try:
        yield terminal
    except KeyboardInterrupt as stop:
        _leave(Stopped(exit_code_of(stop)), verbose=verbose)
    except Stopped as stopped:
        _leave(stopped, verbose=verbose)
    except HeatreelError as error:
        _fail(error, verbose=verbose, exit_code=error.exit_code)
    except typer.Exit:
        raise
    except Exception as error:
        if terminal.stopped_by is not None:
            _leave(Stopped(128 + terminal.stopped_by), verbose=verbose)
        _fail(error, verbose=verbose, exit_code=1)


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


def _listen_for_signals(terminal: Terminal, *, drains: bool) -> None:
    """The first Ctrl-C or SIGTERM raises KeyboardInterrupt in the main thread, the second ends the program where it stands.

    A handler written in Python waits until the main thread comes back from C code, which may itself wait for a child that does
    nothing. So a thread listens too: it ends the children, and at the second signal the program.
    """
    listener, teller = os.pipe()
    os.set_blocking(teller, False)
    signal.set_wakeup_fd(teller, warn_on_full_buffer=False)
    threading.Thread(target=_end_children, args=(listener, drains), daemon=True).start()

    def interrupt(number: int, _frame: Any) -> None:
        if terminal.stopped_by is None:  # no second exception in the midst of tidying up
            terminal.stopped_by = number
            if not drains:
                terminal.check()

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
    return 128 + int(stop.args[0] if stop.args else signal.SIGINT)


def _leave(stopped: Stopped, *, verbose: bool) -> None:
    """Say so and end: threads that are still in native code could turn an orderly exit into a hang or a crash."""
    try:
        _fail(stopped, verbose=verbose, exit_code=stopped.exit_code)
    finally:
        os._exit(stopped.exit_code)


def _fail(error: BaseException, *, verbose: bool, exit_code: int) -> None:
    if verbose:
        import traceback

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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as aligned columns, numbers to the right."""
    texts = [list(rows[0]), *[["-" if value is None else str(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [isinstance(value, int | float) for value in rows[-1].values()]
    lines = [[cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)] for line in texts]
    return "\n".join("  ".join(line).rstrip() for line in lines)
