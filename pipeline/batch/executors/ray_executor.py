"""The executor of a Ray cluster: one actor for each worker. Ray places them and starts them again; the batch keeps the store.

heatreel has to be installed on every node, in the batch's version and with the same Python, for the actors import it there; and archive,
output and model have to lie under the same paths on all of them, for what travels is paths and results, never frames.

Ray itself is imported only when an executor is opened.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.batch.executors import local_executor
from pipeline.batch.executors.ray_actor import WorkerActor
from pipeline.batch.executors.ray_worker_states import (
    Ask,
    Forget,
    Happening,
    Met,
    NodesSeen,
    NotOpened,
    Opened,
    Question,
    Refused,
    Replace,
    Reported,
    Restart,
    Tick,
    WorkerState,
    step,
)
from pipeline.batch.messages import TASKS_AT_ONCE, Broken, Event, Executor, Setup, Task
from pipeline.errors import CommandError, HeatreelError
from pipeline.files import is_running
from pipeline.models import zoo

ANSWER_SECONDS = 10.0  # a head's port answers by then, or nobody is there
STORE_BYTES = 128 << 20  # shared memory of a cluster of one's own: results are a few kilobytes
CONTROL = "control"  # a thread of its own in every actor, so that it answers while it works

_CORES = (local_executor.CORES, *(n for n in (4, 3, 2, 1, 0.5, 0.25) if n < local_executor.CORES))
_GPUS = (1, 1 / 2, 1 / 3, 1 / 4, 1 / 8)
# Read when Ray is imported, or started. What a node says (on stdout!) when it loses a process is told by the batch in its own words.
_QUIET = {
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def open_executor(setup: Setup, count: int | None, *, address: str | None) -> Executor:
    """Join the cluster at `address`, "host:port" or "auto", from one of its nodes; None: start one on this machine, until it is closed.

    `count` None: a worker for each GPU of the cluster, else for each local_executor.CORES cores. Raises CommandError when there is no
    Ray, no such cluster, or no room in it.
    """
    if setup.device.startswith("gpu:"):
        raise CommandError(f"--device {setup.device}: a Ray cluster chooses the GPU of each worker itself", remedy="use --device gpu")
    if address is not None:
        _check_answers(address)
    ray = _import_ray()
    with _signals_kept():
        _connect(ray, address)
    try:
        if address is None and count is None:
            count = local_executor.choose_worker_count()
        nodes = [(n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in ray.nodes() if n["Alive"]]
        count, cores, gpus = share_out(nodes, count, device=setup.device)
        granted = setup.cores or (None if address is None else max(1, int(cores)))  # on a cluster no more than was asked of it
        return RayExecutor(ray, _absolute(replace(setup, cores=granted)), count, cores=cores, gpus=gpus)
    except BaseException:
        ray.shutdown()
        raise


def share_out(nodes: Sequence[tuple[float, float]], count: int | None, *, device: str = "auto") -> tuple[int, float, float]:
    """How many workers, and how many cores and GPUs each is to have, on nodes with so many of both. Raises CommandError."""
    devices = 0 if device == "cpu" else sum(int(gpus) for _, gpus in nodes)
    if device == "gpu" and not devices:
        raise CommandError("--device gpu: the Ray cluster has no GPU", remedy="use --device cpu")
    if count is None:
        count = devices or sum(max(1, int(cores // local_executor.CORES)) for cores, _ in nodes if cores >= 1)
    for gpus in _GPUS if devices else (0,):
        for cores in _CORES:
            if 0 < count <= sum(int(min(has // cores, had // gpus if gpus else has // cores)) for has, had in nodes):
                return count, cores, gpus
    has = f"{sum(cores for cores, _ in nodes):g} cores and {devices} GPUs"
    raise CommandError(f"--workers {count or 'auto'}: the Ray cluster has {has}, too few for that", remedy="start its nodes first")


def _check_answers(address: str) -> None:
    """Ray itself waits for minutes, and ends the whole process then."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not (host and port.isascii() and port.isdecimal()) or "/" in host:
        raise CommandError(f"--address {address}: not a head's host:port, nor auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise CommandError(
            f"--address {address}: nobody answers there: {error}", remedy="see `ray status` on a node of the cluster"
        ) from error


def _import_ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise CommandError("--engine ray: Ray is not installed", remedy="pip install '.[ray]'") from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    more: Mapping[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False} if address is None else {}
    try:
        # "local" is a new one, whatever RAY_ADDRESS says or another run has left open.
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **more)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        if address is None:
            raise HeatreelError(f"Ray could not be started on this machine: {said}") from error
        raise CommandError(f"--address {address}: {said}", remedy="run it on a node of that cluster, and give its host:port") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it starts: the batch's own handler, which lets what is begun come to an end, is put back."""
    numbers = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    before = [(number, signal.getsignal(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _absolute(setup: Setup) -> Setup:
    """An actor has a working directory of its own."""
    choice = setup.choice
    given: dict[str, Path | None] = {name: getattr(choice, name) for name in ("weights", "labels", "custom_objects")}
    files: dict[str, Any] = {name: None if path is None else path.absolute() for name, path in given.items()}
    model = str(Path(choice.model).absolute()) if zoo.is_model_file(choice.model) else choice.model
    return replace(setup, choice=replace(choice, model=model, **files))


# ------------------------------------------------------------------------------------------------ the executor


@dataclass(frozen=True, kw_only=True)
class PendingCall:
    """A call of an actor whose answer is waited for."""

    worker: int
    question: Question
    token: str = ""


class RayExecutor:
    """Actors on a cluster. One whose process dies is started again by Ray, on another node where its own is lost.

    What happens to a worker, and what is to be done then, says `ray_worker_life.step`; here Ray is asked and told.
    """

    def __init__(self, ray: Any, setup: Setup, count: int, *, cores: float, gpus: float) -> None:
        self.count = count
        self._ray, self._setup = ray, setup
        # No task is repeated by Ray: only the store knows what may be tried again.
        self._remote = ray.remote(
            num_cpus=cores,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=TASKS_AT_ONCE,
            concurrency_groups={CONTROL: 1},
            scheduling_strategy="SPREAD",
        )(WorkerActor)
        self._actors = [self._remote.remote(number) for number in range(count)]
        self._states = [WorkerState(number=number) for number in range(count)]
        self._calls: dict[Any, PendingCall] = {}
        self._look_due = 0.0

    def give(self, worker: int, task: Task) -> None:
        if self._states[worker].phase == "ready":  # else it has just died, and that is told as an event
            maps = None if task.maps is None else task.maps.absolute()
            self._ask(worker, "do", replace(task, maps=maps), token=task.token)

    def events(self, seconds: float) -> list[Event]:
        deadline = time.monotonic() + seconds
        look_seconds = self._setup.timings.ray_look_seconds
        while True:
            busy = {call.worker for call in self._calls.values() if call.question == "do"}
            for worker in range(self.count):
                self._step(worker, Tick(is_busy=worker in busy))
            found = self._answers(max(0.0, min(look_seconds, deadline - time.monotonic())))
            found += self._look_for_the_gone()
            if found or time.monotonic() >= deadline:
                return found

    def nodes_at_work(self) -> dict[str, str]:
        """For each task in the making, by its token, the node where it is made."""
        nodes = {call.token: self._states[call.worker].node for call in self._calls.values() if call.question == "do"}
        return {token: node for token, node in nodes.items() if node is not None}

    def drain(self) -> None:
        for actor in self._actors:
            actor.drain.options(concurrency_group=CONTROL).remote()

    def close(self) -> None:
        with _signals_kept(), suppress(self._ray.exceptions.RayError):
            for actor in self._actors:
                self._ray.kill(actor)
        self._ray.shutdown()

    def _step(self, worker: int, happening: Happening) -> list[Event]:
        """Do what is to be done, and return the events for the batch."""
        state, actions = step(self._states[worker], happening, now=time.monotonic(), timings=self._setup.timings)
        self._states[worker] = state
        events: list[Event] = []
        for action in actions:
            match action:
                case Ask(question="open"):
                    self._ask(worker, "open", self._setup)
                case Ask():
                    self._ask(worker, action.question)
                case Restart():
                    self._ray.kill(self._actors[worker], no_restart=False)
                case Replace():
                    self._actors[worker] = self._remote.remote(worker)
                case Forget():
                    self._calls = {reference: call for reference, call in self._calls.items() if call.worker != worker}
                case _:
                    events.append(action)
        return events

    def _ask(self, worker: int, question: Question, *given: Any, token: str = "") -> None:
        method = getattr(self._actors[worker], question)
        if question in ("hello", "progress"):
            method = method.options(concurrency_group=CONTROL)
        self._calls[method.remote(*given)] = PendingCall(worker=worker, question=question, token=token)

    def _answers(self, seconds: float) -> list[Event]:
        if not self._calls:
            time.sleep(seconds)
            return []
        self._ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        there, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        answers = [(self._calls.pop(reference), *self._get(reference)) for reference in there]
        found: list[Event] = []
        for call, value, error in sorted(answers, key=lambda answer: answer[2] is not None):  # a result counts, whoever died since
            if error is None and call.question == "do":
                found.append(value)
            else:
                found += self._step(call.worker, self._read_answer(call, value) if error is None else self._read_error(call, error))
        return found

    def _get(self, reference: Any) -> tuple[Any, Exception | None]:
        try:
            return self._ray.get(reference), None
        except Exception as error:  # what an actor raises comes as its own class
            return None, error

    def _read_answer(self, call: PendingCall, value: Any) -> Happening:
        if call.question == "hello":
            return Met(hello=value, version=version("heatreel"), dead_nodes=self._dead_nodes())
        if call.question == "progress":
            return Reported(frames=value)
        if isinstance(value, Broken):
            return NotOpened(broken=value)
        return Opened(pid=value.pid if is_running(value) is not None else None)

    def _read_error(self, call: PendingCall, error: Exception) -> Refused:
        exceptions = self._ray.exceptions
        has_raised = not isinstance(error, exceptions.RayError) or isinstance(error, exceptions.RayTaskError)
        has_died = isinstance(error, exceptions.ActorDiedError)
        return Refused(
            question=call.question,
            how="raised" if has_raised else "died" if has_died else "unreachable",
            error_class=type(error).__name__,
            error=str(error),
            token=call.token,
        )

    def _look_for_the_gone(self) -> list[Event]:
        """Why those that are gone are gone, as far as the cluster knows it by now."""
        gone = [state.number for state in self._states if state.gone is not None]
        if not gone or time.monotonic() < self._look_due:
            return []
        self._look_due = time.monotonic() + self._setup.timings.ray_look_seconds
        seen = NodesSeen(dead_nodes=self._dead_nodes())
        return [event for worker in gone for event in self._step(worker, seen)]

    def _dead_nodes(self) -> frozenset[str]:
        return frozenset(node["NodeID"] for node in self._ray.nodes() if not node["Alive"])
