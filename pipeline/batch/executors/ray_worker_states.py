"""The life of a worker on a Ray cluster: a step from state to state for whatever happens to it, without Ray.

placing -> opening -> ready. One that stops answering is placed anew at once; why it was gone is told when that is known, for Ray says
of a node that it is lost seconds later than its processes do not answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.batch.messages import Advanced, Broken, Event, Lost, Ready, Result, Timings
from pipeline.files import Process

Question = Literal["hello", "open", "do", "progress"]


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """An actor as it was last met: `instance` is its process, `node` where that is; None before it was. Times are monotonic, in seconds.

    "placing" until it answers, "opening" while it loads its model. `gone` says what it was when it stopped answering, as long as nobody
    knows why it did. `hello_due` and `progress_due` are when it is to be asked next, None while an answer is waited for. `cut_off`: the
    process that answers is the old one, and only the way to it was cut.
    """

    number: int
    phase: Literal["placing", "opening", "ready"] = "placing"
    instance: str | None = None
    node: str | None = None
    hello_due: float | None = 0.0
    progress_due: float | None = None
    gone: Literal["opening", "ready"] | None = None
    gone_since: float | None = None
    cut_off: bool = False


# ------------------------------------------------------------------------------------------------ what happens to it


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time has passed. `is_busy`: it has a task."""

    is_busy: bool


@dataclass(frozen=True, kw_only=True)
class NodesSeen:
    """The cluster was asked which of its nodes are lost."""

    dead_nodes: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Which process answers: `instance` is another one after each start."""

    instance: str
    node: str
    process: Process
    version: str


@dataclass(frozen=True, kw_only=True)
class Met:
    """It has answered to "hello". `version` is heatreel's where the batch is."""

    hello: Hello
    version: str
    dead_nodes: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """It has its model; `pid` where it is a process of this machine."""

    pid: int | None


@dataclass(frozen=True, kw_only=True)
class NotOpened:
    """It cannot have its model."""

    broken: Broken


@dataclass(frozen=True, kw_only=True)
class Reported:
    """It has answered to "progress": frames done and expected, by the tokens of its tasks."""

    frames: dict[str, tuple[int, int | None]]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A question was not answered: the actor "raised" an error, has "died" for good, or is "unreachable"."""

    question: Question
    how: Literal["raised", "died", "unreachable"]
    error_class: str
    error: str
    token: str = ""


Happening = Tick | NodesSeen | Met | Opened | NotOpened | Reported | Refused


# ------------------------------------------------------------------------------------------------ what is to be done


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Call the actor's method of that name."""

    question: Question


@dataclass(frozen=True, kw_only=True)
class Restart:
    """Kill its process; Ray starts it again."""


@dataclass(frozen=True, kw_only=True)
class Replace:
    """Make a new actor, for Ray does not start this one again."""


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Wait no longer for the answers of this worker."""


Action = Ask | Restart | Replace | Forget | Event


def step(state: WorkerState, happening: Happening, *, now: float, timings: Timings) -> tuple[WorkerState, list[Action]]:
    """The state after something happened, and what is to be done, in order; the events among it are for the batch."""
    match happening:
        case Tick():
            return _ask_what_is_due(state, happening, now, timings)
        case NodesSeen():
            is_lost = state.node in happening.dead_nodes
            if state.gone_since is not None and (is_lost or now - state.gone_since > timings.ray_lost_seconds):
                return _explain(state, blameless=is_lost)
            return state, []
        case Met():
            return _meet(state, happening, now, timings)
        case Opened():
            ready = replace(state, phase="ready", progress_due=now + timings.ray_progress_seconds)
            return ready, [Ready(worker=state.number, pid=happening.pid)]
        case NotOpened():
            return state, [replace(happening.broken, worker=state.number)]
        case Reported():
            told = [
                Advanced(worker=state.number, token=token, frames_done=done, frames_total=total)
                for token, (done, total) in happening.frames.items()
            ]
            return replace(state, progress_due=now + timings.ray_progress_seconds), list(told)
        case Refused():
            return _miss(state, happening, now, timings)


def _ask_what_is_due(state: WorkerState, tick: Tick, now: float, timings: Timings) -> tuple[WorkerState, list[Action]]:
    if state.phase == "placing" and state.hello_due is not None and now >= state.hello_due:
        return replace(state, hello_due=None), [Ask(question="hello")]
    if state.phase == "ready" and not tick.is_busy:
        return replace(state, progress_due=now + timings.ray_progress_seconds), []
    if state.phase == "ready" and state.progress_due is not None and now >= state.progress_due:
        return replace(state, progress_due=None), [Ask(question="progress")]
    return state, []


def _meet(state: WorkerState, met: Met, now: float, timings: Timings) -> tuple[WorkerState, list[Action]]:
    hello = met.hello
    if hello.instance == state.instance:  # only the way to it was cut: it may still be at its tasks, which others get now
        return replace(state, cut_off=True, hello_due=now + timings.ray_look_seconds), [Restart()]
    state, told = _explain(state, blameless=state.cut_off or state.node in met.dead_nodes)
    if hello.version != met.version:
        text = f"heatreel on the node {hello.process.host} is {hello.version}, and here {met.version}: install the same on every node"
        return state, [*told, Broken(worker=state.number, error=text, exit_code=1)]
    return replace(state, instance=hello.instance, node=hello.node, phase="opening"), [*told, Ask(question="open")]


def _miss(state: WorkerState, refused: Refused, now: float, timings: Timings) -> tuple[WorkerState, list[Action]]:
    if refused.question == "progress":
        return state, []
    if refused.question == "do" and refused.how == "raised":
        text = f"{refused.error_class}: {refused.error}"
        first_line = text.partition("\n")[0]
        result = Result(token=refused.token, how="error", error_class=refused.error_class, error=first_line, details=text)
        return state, [result]
    if refused.how == "raised" or (refused.how == "died" and state.instance is None):
        why = refused.error.strip()
        text = f"a worker cannot be opened on the Ray cluster; heatreel has to be installed on every node: {why}"
        return state, [Broken(worker=state.number, error=text, exit_code=1)]
    actions: list[Action] = [Replace()] if refused.how == "died" else []  # somebody has ended it, and Ray does not start it again
    if state.phase != "placing":
        state = replace(state, gone=state.phase, gone_since=now, phase="placing")
        actions.append(Forget())
    return replace(state, hello_due=now + (timings.ray_look_seconds if refused.question == "hello" else 0.0)), actions


def _explain(state: WorkerState, *, blameless: bool) -> tuple[WorkerState, list[Action]]:
    """Tell why it was gone, if it was."""
    was, cut_off = state.gone, state.cut_off
    state = replace(state, gone=None, gone_since=None, cut_off=False)
    if was == "opening" and not blameless:
        return state, [Broken(worker=state.number, error="the worker died while it loaded its model: see Ray's logs", exit_code=1)]
    if was != "ready":
        return state, []
    why = "the way to its node was cut" if cut_off else "its node was lost" if blameless else "its process ended unexpectedly"
    return state, [Lost(worker=state.number, reason=why, blameless=blameless)]
