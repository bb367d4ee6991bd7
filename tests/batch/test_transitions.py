"""What becomes of a job after an attempt, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.batch.messages import Lost, Result, Task, Timings
from pipeline.batch.store.attempt_outcomes import Failed, Finished, Interrupted, Retry, SourceChanged, Split, Undivided
from pipeline.batch.transitions import SourceNow, Tries, Unreadable, describe_change, failure_pattern, next_change, result_of_loss
from pipeline.records import Found

FOUND = Found(path=Path("/in/a 12.mp4"), relative=b"a 12.mp4", kind="video", size_bytes=10, mtime_ns=1)
TASK = Task(token="t", found=FOUND, output=Path("/out/a_output.mp4"), overwrite=True)
TIMINGS = Timings(backoff_seconds=(10.0, 60.0), busy_seconds=5.0)
ERROR = {"how": "error", "error_class": "ToolError", "error": "torn", "details": "frame 7"}
DIED = {"how": "died", "error_class": "WorkerDied", "error": "killed"}


def result(**given: Any) -> Result:
    return Result(token="t", **given)


@pytest.mark.parametrize(
    ("given", "tries", "source", "expected"),
    [
        (
            {"how": "done", "outcome": {"frames": 3}, "frames": 3},
            Tries(errors=2, crashes=2),
            None,
            Finished(outcome={"frames": 3}, frames=3),
        ),
        (
            {"how": "done", "outcome": {"error": "ends early"}, "frames": 3},
            Tries(),
            None,
            Finished(outcome={"error": "ends early"}, frames=3, error="ends early"),
        ),
        (
            {"how": "part", "outcome": {"elapsed_seconds": 2}, "frames": 9},
            Tries(),
            None,
            Finished(outcome={"elapsed_seconds": 2}, frames=9),
        ),
        ({"how": "parts", "bounds": [(0, 60), (60, None)]}, Tries(), None, Split(bounds=[(0, 60), (60, None)])),
        ({"how": "seam", "error": "do not meet"}, Tries(), None, Undivided()),
        ({"how": "busy"}, Tries(errors=2), None, Interrupted(how="busy", pause_seconds=5.0)),
        ({"how": "full"}, Tries(errors=2), None, Interrupted(how="disk full")),
        ({"how": "stopped"}, Tries(errors=2), None, Interrupted(how="stopped")),
        ({"how": "interrupted"}, Tries(crashes=2), None, Interrupted(how="interrupted")),
        # Errors and crashes are counted apart, and the third of a kind is the last.
        (ERROR, Tries(), None, Retry(charge="error", error_class="ToolError", error_text="torn", pause_seconds=10.0)),
        (ERROR, Tries(errors=1), None, Retry(charge="error", error_class="ToolError", error_text="torn", pause_seconds=60.0)),
        (ERROR, Tries(errors=1, crashes=2), None, Retry(charge="error", error_class="ToolError", error_text="torn", pause_seconds=60.0)),
        (ERROR, Tries(errors=2), None, Failed(charge="error", error_class="ToolError", error_text="torn")),
        (DIED, Tries(errors=2), None, Retry(charge="crash", error_class="WorkerDied", error_text="killed", pause_seconds=10.0)),
        (DIED, Tries(crashes=1), None, Retry(charge="crash", error_class="WorkerDied", error_text="killed", pause_seconds=60.0)),
        (DIED, Tries(crashes=2), None, Failed(charge="crash", error_class="WorkerDied", error_text="killed")),
        ({**ERROR, "final": True}, Tries(), None, Failed(charge="error", error_class="ToolError", error_text="torn")),
        # A source that changes is not charged for it, until it was never the same.
        (
            {"how": "changed"},
            Tries(errors=2, crashes=2, changes=8),
            SourceNow(size_bytes=11, mtime_ns=2),
            SourceChanged(size_bytes=11, mtime_ns=2, pause_seconds=5.0),
        ),
        (
            {"how": "changed"},
            Tries(changes=9),
            SourceNow(size_bytes=11, mtime_ns=2),
            Failed(
                charge="error",
                error_class="InputError",
                error_text="/in/a 12.mp4: was changed at each of 10 attempts; is it still being written?",
            ),
        ),
        (
            {"how": "changed"},
            Tries(),
            Unreadable(reason="No such file or directory"),
            Failed(charge="error", error_class="InputError", error_text="/in/a 12.mp4: cannot be read any more: No such file or directory"),
        ),
    ],
)
def test_what_an_attempt_comes_to(given: dict[str, Any], tries: Tries, source: SourceNow | Unreadable | None, expected: object) -> None:
    assert next_change(result(**given), TASK, tries, source=source, timings=TIMINGS) == expected


def test_a_changed_source_has_to_be_looked_at() -> None:
    with pytest.raises(ValueError, match="looked at"):
        next_change(result(how="changed"), TASK, Tries(), timings=TIMINGS)


@pytest.mark.parametrize(
    ("blameless", "stopping", "how"), [(False, False, "died"), (True, False, "interrupted"), (False, True, "interrupted")]
)
def test_a_dead_worker_is_charged_to_its_task_unless_it_is_blameless(blameless: bool, stopping: bool, how: str) -> None:
    told = result_of_loss(Lost(worker=0, reason="it was killed by signal 9", blameless=blameless), TASK, stopping=stopping)
    assert (told.token, told.how) == ("t", how)
    assert told.error == ("/in/a 12.mp4: the worker died while it was at it: it was killed by signal 9" if how == "died" else "")


@pytest.mark.parametrize(
    ("change", "given", "state", "expected"),
    [
        (Finished(outcome={}, frames=1), {"how": "done"}, "done", ("done /in/a 12.mp4 -> /out/a_output.mp4", "")),
        (
            Finished(outcome={}, frames=1, error="ends early"),
            {"how": "done"},
            "failed",
            ("partly done /in/a 12.mp4 -> /out/a_output.mp4", "ends early"),
        ),
        (Finished(outcome={}, frames=1), {"how": "done"}, None, None),
        (Split(bounds=[(0, 1), (1, None)]), {"how": "parts"}, "split", ("/in/a 12.mp4: is long and made in 2 parts", "")),
        (Undivided(), {"how": "seam", "error": "a: do not meet"}, "ready", ("a: do not meet; it is made in one go", "")),
        (
            SourceChanged(size_bytes=1, mtime_ns=1),
            {"how": "changed"},
            "waiting",
            ("/in/a 12.mp4: was changed while it was read; it is taken up again", ""),
        ),
        (Retry(charge="error", error_class="E", error_text="torn"), ERROR, "waiting", ("to be tried again: torn", "frame 7")),
        (Failed(charge="error", error_class="E", error_text="torn"), ERROR, "failed", ("failed: torn", "frame 7")),
        (Failed(charge="error", error_class="E", error_text="torn"), ERROR, None, ("to be tried again: torn", "frame 7")),
        (Failed(charge="error", error_class="E", error_text="gone"), {"how": "changed", "details": "x"}, "failed", ("failed: gone", "")),
        (Interrupted(how="stopped"), {"how": "stopped"}, "ready", None),
    ],
)
def test_what_the_log_says_of_it(change: Any, given: dict[str, Any], state: Any, expected: object) -> None:
    assert describe_change(change, result(**given), TASK, state) == expected


def test_inputs_that_fail_alike_have_one_pattern() -> None:
    other = Task(
        token="u",
        found=Found(path=Path("/in/b.mp4"), relative=b"b.mp4", kind="video", size_bytes=1, mtime_ns=1),
        output=Path("/out/b_output.mp4"),
        overwrite=True,
    )
    one = failure_pattern(Failed(charge="error", error_class="E", error_text="/in/a 12.mp4: frame 7 is torn"), TASK)
    assert one == "E: : frame # is torn"
    assert failure_pattern(Failed(charge="error", error_class="E", error_text="/in/b.mp4: frame 12 is torn"), other) == one
    assert failure_pattern(Failed(charge="error", error_class="F", error_text="/in/b.mp4: frame 12 is torn"), other) != one
