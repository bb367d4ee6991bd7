"""A worker: it has the model, and does tasks. It never raises for what a task brings; its result says all."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.batch.messages import How, Result, Setup, Task
from pipeline.cam import AT_ONCE
from pipeline.errors import BusyError, ChangedError, HeatreelError, InputError, Stopped, ToolError, is_disk_full
from pipeline.explain import (
    SeamError,
    Session,
    discard,
    join_parts,
    open_session,
    parts_of,
    plan_task,
    render_part,
    visualize_image,
    visualize_video,
    write_video_extras,
)
from pipeline.files import atomic_write
from pipeline.models import find_kinds, load_classifier, use_device
from pipeline.records import ClassName, Found, KindInterval, LabelInterval, Outcome, Progress
from pipeline.results import Explanations, find_kind_intervals, find_label_intervals, write_predictions


class Worker:
    """Loads the model once; a network is traced once for each shape of picture. `do` may be called by several threads at once."""

    def __init__(self, setup: Setup) -> None:
        """Raises CommandError and ModelError as load_classifier and open_session do."""
        self.device = use_device(setup.device, cores=setup.cores, at_once=AT_ONCE)
        self.session = replace(open_session(load_classifier(setup.choice), setup.options), network_lock=threading.Lock())
        self._settings = setup.settings
        self._kinds = find_kinds(self.session.classifier.classes)

    def do(self, task: Task, *, progress: Callable[[Progress], None], stopping: Callable[[], bool]) -> Result:
        """Do a task to its end, or to the next segment's when `stopping` says so; `progress` is told how far it is."""
        try:
            return self._run(task, progress, stopping)
        except (HeatreelError, OSError) as error:
            return _explain_error(task, error)
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            return _result(task, error, how="error", text=f"{task.found.path}: memory ran out")
        except Exception as error:  # one file must not end the batch
            return _result(task, error, how="error")

    def _run(self, task: Task, progress: Callable[[Progress], None], stopping: Callable[[], bool]) -> Result:
        before = _read_receipt(task, self._settings)
        if before is not None:
            discard(task.output)  # what was killed between the two left its folder
            return before
        _check_as_found(task.found)
        options = replace(self.session.options, overwrite=task.overwrite)
        session = replace(self.session, options=options)
        job = plan_task(task.found.path, kind=task.found.kind, output=task.output, maps=task.maps, options=options)
        if job.is_still:
            outcome, track = visualize_image(job, session)
            _write_poster(task, track)
            return self._result(task, outcome, track)
        before_publish = self._before_publish(task, session)
        divided = [] if task.undivided else parts_of(job, options)
        if (task.part is not None and task.part >= len(divided)) or (task.parts and task.parts != len(divided)):
            raise SeamError(f"{job.input}: its parts are not those that it would have now")
        if task.parts:
            outcome, track = join_parts(job, session, divided, before_publish=before_publish)
        elif task.part is not None:
            frames, seconds = render_part(job, session, divided[task.part], progress=progress, stopping=stopping)
            return Result(token=task.token, how="part", frames=frames, outcome={"elapsed_seconds": seconds})
        elif divided:
            return Result(token=task.token, how="parts", bounds=[(part.begin_seconds, part.end_seconds) for part in divided])
        else:
            outcome, track = visualize_video(job, session, progress=progress, before_publish=before_publish, stopping=stopping)
        return self._result(task, outcome, track)

    def _before_publish(self, task: Task, session: Session) -> Callable[[Outcome, Explanations, Path], None]:
        """Writes what goes with a video before that has its name: predictions, and the receipt, by which it is known to be finished."""

        def write_companions(outcome: Outcome, track: Explanations, file: Path) -> None:
            if task.predictions is not None:
                classes, targets = session.classifier.classes, session.targets
                write_predictions(task.predictions, [track], classes, targets=targets, overwrite=True, name_inputs=False)
            if task.poster is not None:
                write_video_extras(outcome, track, session, command=task.command, overwrite=True)
                _write_poster(task, track)
            if task.receipt is not None:
                result = self._result(task, outcome, track)
                _write_receipt(task.receipt, result, self._settings, task.found, file)

        return write_companions

    def _result(self, task: Task, outcome: Outcome, track: Explanations) -> Result:
        classes = self.session.classifier.classes
        outcome = replace(outcome, elapsed_seconds=outcome.elapsed_seconds + task.spent_seconds)
        last_seconds = 0.0 if outcome.duration_seconds is None else track.last_frame_seconds(outcome.duration_seconds)
        if outcome.duration_seconds is None:
            intervals = [
                LabelInterval(name=p.name, start_seconds=0, end_seconds=0, frames=1, mean_score=p.score, best_score=p.score)
                for p in outcome.top
            ]
        else:
            intervals = find_label_intervals(track, classes, last_seconds=last_seconds)
        return Result(
            token=task.token,
            how="done",
            outcome=outcome.as_json(),
            intervals=intervals,
            kinds=find_kind_intervals(track, self._kinds, last_seconds=last_seconds),
            frames=outcome.frames,
        )


def _write_poster(task: Task, track: Explanations) -> None:
    """The picture in the middle. It stands for the output where many are shown, and nothing depends on it."""
    if task.poster is not None and track.thumbnails:
        middle = 0 if task.found.kind == "image" else len(track.thumbnails) // 2
        task.poster.write_bytes(track.thumbnails[middle].jpeg)


def _check_as_found(found: Found) -> None:
    try:
        now = found.path.stat()
    except OSError as error:
        raise InputError(f"{found.path}: cannot be read any more: {error.strerror or error}") from error
    if (now.st_size, now.st_mtime_ns) != (found.size_bytes, found.mtime_ns):
        raise ChangedError(f"{found.path}: was changed since it was found")


def _explain_error(task: Task, error: HeatreelError | OSError) -> Result:
    """What an error comes to. One for which the source may be blamed is none, where that is not what was found any more."""
    if isinstance(error, Stopped):
        return Result(token=task.token, how="stopped")
    if isinstance(error, SeamError):
        return _result(task, error, how="seam")
    if isinstance(error, BusyError):
        return _result(task, error, how="busy")
    if is_disk_full(error):
        return _result(task, error, how="full")
    if isinstance(error, ChangedError) or _is_changed(task.found):
        return _result(task, error, how="changed")
    final = isinstance(error, HeatreelError) and (isinstance(error, InputError) or error.exit_code == 2)
    return _result(task, error, how="error", final=final)


def _is_changed(found: Found) -> bool:
    try:
        _check_as_found(found)
    except InputError:  # or gone
        return True
    return False


def _result(task: Task, error: BaseException, *, how: How, final: bool = False, text: str | None = None) -> Result:
    known = isinstance(error, HeatreelError)
    details = error.details if isinstance(error, ToolError) else "" if known else "".join(traceback.format_exception(error))
    said = text or (str(error) if known else f"{task.found.path}: {type(error).__name__}: {error}")
    return Result(token=task.token, how=how, error_class=type(error).__name__, error=said, details=details, final=final)


# ------------------------------------------------------------------------------------------------ receipts


def _write_receipt(receipt: Path, result: Result, settings: str, found: Found, file: Path) -> None:
    record = asdict(replace(result, token=""))
    record = {"stretches" if key == "intervals" else key: value for key, value in record.items()}  # its name in the file is older
    value = {"for": _identify_source(settings, found), "file": _identify_file(file), "result": record}
    with atomic_write(receipt, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value))


def _read_receipt(task: Task, settings: str) -> Result | None:
    """The result of a run that was killed after the output had its name, and before that was written down; else None."""
    if task.receipt is None or task.part is not None:
        return None
    try:
        value = json.loads(task.receipt.read_text())
        if value["for"] != _identify_source(settings, task.found) or value["file"] != _identify_file(task.output):
            return None
        result = value["result"]
        intervals = [LabelInterval(**{**s, "name": ClassName(**s["name"])}) for s in result.pop("stretches")]
        kinds = [KindInterval(**s) for s in result.pop("kinds", ())]  # a program that knew none wrote the receipt
        return Result(**{**result, "token": task.token, "intervals": intervals, "kinds": kinds})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identify_source(settings: str, found: Found) -> list[Any]:
    return [settings, found.relative.decode("utf-8", "backslashreplace"), found.size_bytes, found.mtime_ns]


def _identify_file(file: Path) -> list[int]:
    """What a file keeps when it is renamed, and no other file has."""
    status = file.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]
