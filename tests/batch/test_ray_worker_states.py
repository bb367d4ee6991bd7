"""The life of a worker on a Ray cluster, without Ray: what is asked, told and done in each state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.batch.executors.ray_worker_states import (
    Ask,
    Forget,
    Happening,
    Hello,
    Met,
    NodesSeen,
    NotOpened,
    Opened,
    Refused,
    Replace,
    Reported,
    Restart,
    Tick,
    WorkerState,
    step,
)
from pipeline.batch.messages import Advanced, Broken, Lost, Ready, Result, Timings
from pipeline.files.processes import Process

TIMINGS = Timings(ray_progress_seconds=1.0, ray_look_seconds=0.5, ray_lost_seconds=60.0)
NOW = 100.0
THERE = Process(host="far", boot="", pid=7, started=1)
NEW = WorkerState(number=3)
WAITED_FOR = replace(NEW, hello_due=None)
OPENING = replace(WAITED_FOR, phase="opening", instance="one", node="n1")
READY = replace(OPENING, phase="ready", progress_due=101.0)
LOST = replace(READY, phase="placing", hello_due=None, gone="ready", gone_since=90.0)
NOT_MET = replace(LOST, gone=None, gone_since=None)
LOST_OPENING = replace(LOST, gone="opening")


def hello(instance: str = "one", version: str = "1") -> Hello:
    return Hello(instance=instance, node="n1", process=THERE, version=version)


def met(instance: str = "one", *, version: str = "1", dead: frozenset[str] = frozenset()) -> Met:
    return Met(hello=hello(instance, version), version="1", dead_nodes=dead)


def refused(question: Any, how: Any, **more: Any) -> Refused:
    return Refused(question=question, how=how, error_class="ValueError", error=" torn\nhere ", **more)


def broken(error: str, exit_code: int = 1) -> Broken:
    return Broken(worker=3, error=error, exit_code=exit_code)


NO_OPENING = "a worker cannot be opened on the Ray cluster; heatreel has to be installed on every node: torn\nhere"
DIED_LOADING = "the worker died while it loaded its model: see Ray's logs"
OTHER_VERSION = "heatreel on the node far is 2, and here 1: install the same on every node"


def lost(reason: str, *, blameless: bool = False) -> Lost:
    return Lost(worker=3, reason=reason, blameless=blameless)


@pytest.mark.parametrize(
    ("state", "happening", "after", "actions"),
    [
        # Asked for, until it answers; then its model is loaded.
        (NEW, Tick(is_busy=False), WAITED_FOR, [Ask(question="hello")]),
        (WAITED_FOR, Tick(is_busy=False), WAITED_FOR, []),
        (replace(NEW, hello_due=100.5), Tick(is_busy=False), replace(NEW, hello_due=100.5), []),
        (WAITED_FOR, met(), OPENING, [Ask(question="open")]),
        (OPENING, Tick(is_busy=False), OPENING, []),
        (OPENING, Opened(pid=None), READY, [Ready(worker=3)]),
        (OPENING, Opened(pid=7), READY, [Ready(worker=3, pid=7)]),
        (OPENING, NotOpened(broken=Broken(worker=0, error="no model", exit_code=2)), OPENING, [broken("no model", 2)]),
        (WAITED_FOR, met(version="2"), WAITED_FOR, [broken(OTHER_VERSION)]),
        # At work it is asked for its progress, and idle it is not.
        (READY, Tick(is_busy=True), READY, []),
        (replace(READY, progress_due=100.0), Tick(is_busy=True), replace(READY, progress_due=None), [Ask(question="progress")]),
        (replace(READY, progress_due=None), Tick(is_busy=True), replace(READY, progress_due=None), []),
        (replace(READY, progress_due=None), Tick(is_busy=False), READY, []),
        (
            replace(READY, progress_due=None),
            Reported(frames={"t": (5, None), "u": (1, 9)}),
            READY,
            [Advanced(worker=3, token="t", frames_done=5, frames_total=None), Advanced(worker=3, token="u", frames_done=1, frames_total=9)],
        ),
        (READY, refused("progress", "unreachable"), READY, []),
        (READY, refused("progress", "died"), READY, []),
        (
            READY,
            refused("do", "raised", token="t"),
            READY,
            [Result(token="t", how="error", error_class="ValueError", error="ValueError:  torn", details="ValueError:  torn\nhere ")],
        ),
        # One that stops answering is asked for again, and nobody waits for its old answers.
        (READY, refused("do", "unreachable"), replace(LOST, hello_due=NOW, gone_since=NOW), [Forget()]),
        (READY, refused("do", "died"), replace(LOST, hello_due=NOW, gone_since=NOW), [Replace(), Forget()]),
        (
            OPENING,
            refused("open", "unreachable"),
            replace(OPENING, phase="placing", hello_due=NOW, gone="opening", gone_since=NOW),
            [Forget()],
        ),
        (OPENING, refused("open", "raised"), OPENING, [broken(NO_OPENING)]),
        (WAITED_FOR, refused("hello", "died"), WAITED_FOR, [broken(NO_OPENING)]),
        (WAITED_FOR, refused("hello", "unreachable"), replace(WAITED_FOR, hello_due=100.5), []),
        (LOST, refused("hello", "died"), replace(LOST, hello_due=100.5), [Replace()]),
        # Why it was gone is told when the cluster says it, or it answers again, or after a while.
        (LOST, NodesSeen(dead_nodes=frozenset(["n2"])), LOST, []),
        (LOST, NodesSeen(dead_nodes=frozenset(["n1"])), NOT_MET, [lost("its node was lost", blameless=True)]),
        (
            replace(LOST, gone_since=39.0),
            NodesSeen(dead_nodes=frozenset()),
            NOT_MET,
            [lost("its process ended unexpectedly")],
        ),
        (READY, NodesSeen(dead_nodes=frozenset(["n1"])), READY, []),
        (
            LOST,
            met("two"),
            replace(OPENING, instance="two", progress_due=101.0),
            [lost("its process ended unexpectedly"), Ask(question="open")],
        ),
        (
            LOST,
            met("two", dead=frozenset(["n1"])),
            replace(OPENING, instance="two", progress_due=101.0),
            [lost("its node was lost", blameless=True), Ask(question="open")],
        ),
        (LOST, met("two", version="2"), NOT_MET, [lost("its process ended unexpectedly"), broken(OTHER_VERSION)]),
        # The old process answers: it may be at tasks that others get now, so it has to begin anew.
        (LOST, met("one"), replace(LOST, cut_off=True, hello_due=100.5), [Restart()]),
        (
            replace(LOST, cut_off=True),
            met("two"),
            replace(OPENING, instance="two", progress_due=101.0),
            [lost("the way to its node was cut", blameless=True), Ask(question="open")],
        ),
        # While it loads there is no task to blame.
        (
            LOST_OPENING,
            met("two"),
            replace(OPENING, instance="two", progress_due=101.0),
            [broken(DIED_LOADING), Ask(question="open")],
        ),
        (LOST_OPENING, NodesSeen(dead_nodes=frozenset(["n1"])), NOT_MET, []),
    ],
)
def test_a_step(state: WorkerState, happening: Happening, after: WorkerState, actions: list[object]) -> None:
    assert step(state, happening, now=NOW, timings=TIMINGS) == (after, actions)


def test_a_life() -> None:
    """Placed, opened, at work, its node lost, placed elsewhere: the batch hears of two workers that were ready, and one that died."""
    state, told = NEW, list[object]()
    node_dies = [refused("do", "unreachable"), NodesSeen(dead_nodes=frozenset(["n1"]))]
    for happening in (Tick(is_busy=False), met(), Opened(pid=None), *node_dies, Tick(is_busy=False), met("two"), Opened(pid=None)):
        state, actions = step(state, happening, now=NOW, timings=TIMINGS)
        told += [action for action in actions if isinstance(action, Ready | Lost | Broken)]
    assert told == [Ready(worker=3), lost("its node was lost", blameless=True), Ready(worker=3)]
    assert (state.phase, state.instance, state.gone) == ("ready", "two", None)
