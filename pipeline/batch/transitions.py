"""What becomes of a job after an attempt: a table of cases, without clock, disk or store."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.batch.messages import Lost, Result, Task, Timings
from pipeline.batch.store.attempt_outcomes import Change, Charge, Failed, Finished, Interrupted, Retry, SourceChanged, Split, Undivided
from pipeline.batch.store.row_records import State
from pipeline.errors import InputError

MOST_TRIES = 3  # errors and crashes are counted apart
MOST_CHANGES = 10  # of a source while it is read, in one run


@dataclass(frozen=True, kw_only=True)
class Tries:
    """What happened to a job before this attempt: its errors and crashes, and in this run the changes of its source."""

    errors: int = 0
    crashes: int = 0
    changes: int = 0


@dataclass(frozen=True, kw_only=True)
class SourceNow:
    """A source as it is on the disk at this moment."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A source that cannot be looked at any more, and why."""

    reason: str


def next_change(result: Result, task: Task, tries: Tries, *, source: SourceNow | Unreadable | None = None, timings: Timings) -> Change:
    """What is to be written into the store of an attempt with this result.

    `source` is needed for a result that says "changed".
    """
    match result.how:
        case "done":
            error = result.outcome.get("error")
            return Finished(outcome=result.outcome, frames=result.frames, intervals=result.intervals, kinds=result.kinds, error=error)
        case "part":
            return Finished(outcome=result.outcome, frames=result.frames)
        case "parts":
            return Split(bounds=result.bounds)
        case "seam":
            return Undivided()
        case "changed":
            if source is None:
                raise ValueError("a changed source has to be looked at")
            return _after_source_change(task, tries, source, timings)
        case "busy":
            return Interrupted(how="busy", pause_seconds=timings.busy_seconds)
        case "full":
            return Interrupted(how="disk full")
        case "stopped" | "interrupted":
            return Interrupted(how=result.how)
        case "error":
            return _charge("error", result.error_class, result.error, tries, final=result.final, timings=timings)
        case "died":
            return _charge("crash", result.error_class, result.error, tries, final=False, timings=timings)


def _charge(charge: Charge, error_class: str, error_text: str, tries: Tries, *, final: bool, timings: Timings) -> Retry | Failed:
    """The third of its kind is the last, and so is one that trying again cannot cure."""
    errors, crashes = tries.errors + (charge == "error"), tries.crashes + (charge == "crash")
    if final or max(errors, crashes) >= MOST_TRIES:
        return Failed(charge=charge, error_class=error_class, error_text=error_text)
    before = tries.crashes if charge == "crash" else tries.errors
    pause_seconds = timings.backoff_seconds[min(before, len(timings.backoff_seconds) - 1)]
    return Retry(charge=charge, error_class=error_class, error_text=error_text, pause_seconds=pause_seconds)


def _after_source_change(task: Task, tries: Tries, source: SourceNow | Unreadable, timings: Timings) -> Change:
    if isinstance(source, Unreadable):
        text = f"{task.found.path}: cannot be read any more: {source.reason}"
        return Failed(charge="error", error_class="InputError", error_text=text)
    if tries.changes + 1 >= MOST_CHANGES:
        error = InputError(f"{task.found.path}: was changed at each of {MOST_CHANGES} attempts", remedy="is it still being written?")
        return Failed(charge="error", error_class="InputError", error_text=str(error))
    return SourceChanged(size_bytes=source.size_bytes, mtime_ns=source.mtime_ns, pause_seconds=timings.busy_seconds)


def result_of_loss(lost: Lost, task: Task, *, stopping: bool) -> Result:
    """What the dead worker cannot say itself: the task is charged for it, unless it is blameless or the run is being stopped."""
    if lost.blameless or stopping:
        return Result(token=task.token, how="interrupted")
    text = f"{task.found.path}: the worker died while it was at it: {lost.reason}"
    return Result(token=task.token, how="died", error_class="WorkerDied", error=text)


def describe_change(change: Change, result: Result, task: Task, state: State | None) -> tuple[str, str] | None:
    """The line for the run's log, with details; None where there is nothing to say. `state` is what the store says of the job now."""
    path = task.found.path
    match change:
        case Finished(error=error):
            if task.part is not None or state is None:
                return None
            return f"{'partly done' if error else 'done'} {path} -> {task.output}", str(error or "")
        case Split(bounds=bounds):
            return f"{path}: is long and made in {len(bounds)} parts", ""
        case Undivided():
            return f"{result.error}; it is made in one go", ""
        case SourceChanged():
            return f"{path}: was changed while it was read; it is taken up again", ""
        case Retry() | Failed():
            details = "" if result.how == "changed" else result.details
            return f"{'failed' if state == 'failed' else 'to be tried again'}: {change.error_text}", details
        case Interrupted():
            return None


def failure_pattern(change: Failed, task: Task) -> str:
    """The same for two inputs that fail alike: without their names, and without numbers."""
    text = re.sub(r"\d+", "#", change.error_text.replace(str(task.found.path), "").replace(str(task.output), ""))
    return f"{change.error_class}: {text}"
