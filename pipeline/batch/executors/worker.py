"""A worker: it has the model, and makes what it is ordered to. It never raises for what an order brings; its result says all."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.batch.messages import Result, Setup, Task
from pipeline.cam import batching
from pipeline.errors import BusyError, ChangedError, HeatreelError, InputError, Stopped, ToolError, is_disk_full
from pipeline.explain import planning, run_pages, segment_journal, sessions, video_job, video_parts
from pipeline.explain.sessions import Session
from pipeline.files.atomic import atomic_write
from pipeline.models import class_names, loading
from pipeline.records import ClassName, Found, KindInterval, LabelInterval, Outcome, Progress
from pipeline.results.explanations import Explanations, write_predictions


class Worker:
    """Loads the model once; a network is traced once for each shape of picture. `do` may be called by several threads at once."""

    def __init__(self, setup: Setup) -> None:
        """Raises CommandError and ModelError as load_classifier and open_session do."""
        self.device = loading.use_device(setup.device, cores=setup.cores, at_once=batching.AT_ONCE)
        self.session = replace(sessions.open_session(loading.load_classifier(setup.choice), setup.options), network_lock=threading.Lock())
        self._settings = setup.settings
        self._kinds = class_names.groups_of(self.session.classifier.classes)

    def do(self, order: Task, *, progress: Callable[[Progress], None], stopping: Callable[[], bool]) -> Result:
        try:
            return self._done(order, progress, stopping)
        except (HeatreelError, OSError) as error:
            return _of_error(order, error)
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            return _result(order, error, how="error", text=f"{order.found.path}: memory ran out")
        except Exception as error:  # one file must not end the night
            return _result(order, error, how="error")

    def _done(self, order: Task, progress: Callable[[Progress], None], stopping: Callable[[], bool]) -> Result:
        before = _read_receipt(order, self._settings)
        if before is not None:
            segment_journal.discard(order.output)  # what was killed between the two left its folder
            return before
        _check_as_found(order.found)
        options = replace(self.session.options, overwrite=order.overwrite)
        session = replace(self.session, options=options)
        job = planning.plan_order(order.found.path, kind=order.found.kind, output=order.output, maps=order.maps, options=options)
        if job.is_still:
            outcome, track = sessions.visualize_image(job, session)
            _write_poster(order, track)
            return self._result(order, outcome, track)
        made = self._made(order, session)
        divided = [] if order.whole else video_parts.parts_of(job, options)
        if order.part >= len(divided) or (order.parts and order.parts != len(divided)):
            raise video_parts.SeamError(f"{job.input}: its parts are not those that it would have now")
        if order.parts:
            outcome, track = video_parts.join_parts(job, session, divided, before_publish=made)
        elif order.part >= 0:
            frames, seconds = video_parts.render_part(job, session, divided[order.part], progress=progress, stopping=stopping)
            return Result(token=order.token, how="part", frames=frames, outcome={"elapsed_seconds": seconds})
        elif divided:
            return Result(token=order.token, how="parts", bounds=[(part.begin_seconds, part.end_seconds) for part in divided])
        else:
            outcome, track = video_job.visualize_video(job, session, progress=progress, before_publish=made, stopping=stopping)
        return self._result(order, outcome, track)

    def _made(self, order: Task, session: Session) -> Callable[[Outcome, Explanations, Path], None]:
        """Writes what goes with a video before that has its name: predictions, and the receipt, by which it is known to be finished."""

        def made(outcome: Outcome, track: Explanations, file: Path) -> None:
            if order.predictions is not None:
                classes, targets = session.classifier.classes, session.targets
                write_predictions(order.predictions, [track], classes, targets=targets, overwrite=True, name_inputs=False)
            if order.poster is not None:
                run_pages.write(outcome, track, session, command=order.command, overwrite=True)
                _write_poster(order, track)
            if order.receipt is not None:
                result = self._result(order, outcome, track)
                _write_receipt(order.receipt, result, self._settings, order.found, file)

        return made

    def _result(self, order: Task, outcome: Outcome, track: Explanations) -> Result:
        classes = self.session.classifier.classes
        outcome = replace(outcome, elapsed_seconds=outcome.elapsed_seconds + order.spent_seconds)
        last_seconds = 0.0 if outcome.duration_seconds is None else track.last_frame_seconds(outcome.duration_seconds)
        if outcome.duration_seconds is None:
            stretches = [
                LabelInterval(name=p.name, start_seconds=0, end_seconds=0, frames=1, mean_score=p.score, best_score=p.score)
                for p in outcome.top
            ]
        else:
            stretches = track.stretches(classes, last_seconds=last_seconds)
        return Result(
            token=order.token,
            how="done",
            outcome=outcome.as_json(),
            stretches=stretches,
            kinds=track.kind_stretches(self._kinds, last_seconds=last_seconds),
            frames=outcome.frames,
        )


def _write_poster(order: Task, track: Explanations) -> None:
    """The picture in the middle. It stands for the output where many are shown, and nothing depends on it."""
    if order.poster is not None and track.thumbnails:
        middle = 0 if order.found.kind == "image" else len(track.thumbnails) // 2
        order.poster.write_bytes(track.thumbnails[middle].jpeg)


def _check_as_found(found: Found) -> None:
    try:
        now = found.path.stat()
    except OSError as error:
        raise InputError(f"{found.path}: cannot be read any more: {error.strerror or error}") from error
    if (now.st_size, now.st_mtime_ns) != (found.size_bytes, found.mtime_ns):
        raise ChangedError(f"{found.path}: was changed since it was found")


def _of_error(order: Task, error: HeatreelError | OSError) -> Result:
    """What an error comes to. One for which the source may be blamed is none, where that is not what was found any more."""
    if isinstance(error, Stopped):
        return Result(token=order.token, how="stopped")
    if isinstance(error, video_parts.SeamError):
        return _result(order, error, how="seam")
    if isinstance(error, BusyError):
        return _result(order, error, how="busy")
    if is_disk_full(error):
        return _result(order, error, how="full")
    if isinstance(error, ChangedError) or _is_changed(order.found):
        return _result(order, error, how="changed")
    final = isinstance(error, HeatreelError) and (isinstance(error, InputError) or error.exit_code == 2)
    return _result(order, error, how="error", final=final)


def _is_changed(found: Found) -> bool:
    try:
        _check_as_found(found)
    except InputError:  # or gone
        return True
    return False


def _result(order: Task, error: BaseException, *, how: Any, final: bool = False, text: str | None = None) -> Result:
    known = isinstance(error, HeatreelError)
    details = error.details if isinstance(error, ToolError) else "" if known else "".join(traceback.format_exception(error))
    said = text or (str(error) if known else f"{order.found.path}: {type(error).__name__}: {error}")
    return Result(token=order.token, how=how, error_class=type(error).__name__, error=said, details=details, final=final)


# ------------------------------------------------------------------------------------------------ receipts


def _write_receipt(receipt: Path, result: Result, settings: str, found: Found, file: Path) -> None:
    value = {"for": _what_for(settings, found), "file": _seal(file), "result": {**asdict(result), "token": ""}}
    with atomic_write(receipt, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value))


def _read_receipt(order: Task, settings: str) -> Result | None:
    """The result of a run that was killed after the output had its name, and before that was written down; else None."""
    if order.receipt is None or order.part >= 0:
        return None
    try:
        value = json.loads(order.receipt.read_text())
        if value["for"] != _what_for(settings, order.found) or value["file"] != _seal(order.output):
            return None
        result = value["result"]
        stretches = [LabelInterval(**{**s, "name": ClassName(**s["name"])}) for s in result.pop("stretches")]
        kinds = [KindInterval(**s) for s in result.pop("kinds", ())]  # a program that knew none wrote the receipt
        return Result(**{**result, "token": order.token, "stretches": stretches, "kinds": kinds})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _what_for(settings: str, found: Found) -> list[Any]:
    return [settings, found.relative.decode("utf-8", "backslashreplace"), found.size_bytes, found.mtime_ns]


def _seal(file: Path) -> list[int]:
    """What a file keeps when it is renamed, and no other file has."""
    status = file.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]
