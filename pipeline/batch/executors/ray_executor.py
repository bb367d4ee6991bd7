"""The engine of a Ray cluster: one actor for each worker. Ray places them and starts them again; the batch keeps the ledger.

heatreel has to be installed on every node, in the batch's version and with the same Python, for the actors import it there; and archive,
output and model have to lie under the same paths on all of them, for what travels is paths and results, never frames.

Ray itself is imported only when an engine is opened.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pipeline.batch.executors import local_executor
from pipeline.batch.messages import ORDERS, Advanced, Broken, Ended, Event, Executor, Lost, Ready, Result, Setup, Task
from pipeline.errors import CommandError, HeatreelError
from pipeline.files import processes
from pipeline.files.processes import Process
from pipeline.models import zoo
from pipeline.records import Progress

ANSWER_SECONDS = 10.0
PROGRESS_SECONDS = 1.0
LOOK_SECONDS = 0.5  # how often one that is gone is looked for
LOST_SECONDS = 60.0  # Ray declares a node dead after 5 x 3 seconds of silence; what is not dead by then has lost a process only
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

    `count` None: a worker for each GPU of the cluster, else for each workers.CORES cores. Raises CommandError when there is no Ray, no such
    cluster, or no room in it.
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
            count = local_executor.worker_count()
        nodes = [(n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in ray.nodes() if n["Alive"]]
        count, cores, gpus = shares(nodes, count, device=setup.device)
        granted = setup.cores or (None if address is None else max(1, int(cores)))  # on a cluster no more than was asked of it
        return RayExecutor(ray, _absolute(replace(setup, cores=granted)), count, cores=cores, gpus=gpus)
    except BaseException:
        ray.shutdown()
        raise


def shares(nodes: Sequence[tuple[float, float]], count: int | None, *, device: str = "auto") -> tuple[int, float, float]:
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


# ------------------------------------------------------------------------------------------------ in the batch's process


@dataclass
class _Member:
    """An actor as it was last met: `instance` is its process, `node` where that is.

    "placing" until it answers, "opening" while it loads its model. `gone` says what it was when it stopped answering, as long as nobody
    knows why it did.
    """

    actor: Any
    state: Literal["placing", "opening", "ready"] = "placing"
    instance: str = ""
    node: str = ""
    ask_after: float | None = 0.0
    tell_after: float = 0.0
    gone: Literal["opening", "ready"] | None = None
    gone_since: float = 0.0
    cut_off: bool = False


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A call of an actor whose answer is waited for."""

    worker: int
    what: Literal["hello", "open", "do", "progress"]
    token: str = ""


class RayExecutor:
    """Actors on a cluster. One whose process dies is started again by Ray, on another node where its own is lost."""

    def __init__(self, ray: Any, setup: Setup, count: int, *, cores: float, gpus: float) -> None:
        self.count = count
        self._ray, self._setup = ray, setup
        # No order is repeated by Ray: only the ledger knows what may be tried again.
        self._remote = ray.remote(
            num_cpus=cores,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=ORDERS,
            concurrency_groups={CONTROL: 1},
            scheduling_strategy="SPREAD",
        )(Seat)
        self._members = [_Member(self._remote.remote()) for _ in range(count)]
        self._asked: dict[Any, _Question] = {}
        self._look_after = 0.0

    def give(self, worker: int, order: Task) -> None:
        if self._members[worker].state == "ready":  # else it has just died, and that is told as an event
            maps = None if order.maps is None else order.maps.absolute()
            self._ask(worker, "do", replace(order, maps=maps), token=order.token)

    def events(self, seconds: float) -> list[Event]:
        deadline = time.monotonic() + seconds
        while True:
            self._ask_what_is_due()
            found = self._answers(max(0.0, min(LOOK_SECONDS, deadline - time.monotonic())))
            found += self._judged()
            if found or time.monotonic() >= deadline:
                return found

    def drain(self) -> None:
        for member in self._members:
            member.actor.drain.options(concurrency_group=CONTROL).remote()

    def close(self) -> None:
        with _signals_kept(), suppress(self._ray.exceptions.RayError):
            for member in self._members:
                self._ray.kill(member.actor)
        self._ray.shutdown()

    # -------------------------------------------------------------------------------------------- questions

    def _ask(self, worker: int, what: Literal["hello", "open", "do", "progress"], *given: Any, token: str = "") -> None:
        method = getattr(self._members[worker].actor, what)
        if what in ("hello", "progress"):
            method = method.options(concurrency_group=CONTROL)
        self._asked[method.remote(*given)] = _Question(worker=worker, what=what, token=token)

    def _ask_what_is_due(self) -> None:
        now = time.monotonic()
        busy = {question.worker for question in self._asked.values() if question.what == "do"}
        for number, member in enumerate(self._members):
            if member.state == "placing" and member.ask_after is not None and now >= member.ask_after:
                member.ask_after = None
                self._ask(number, "hello")
            elif member.state == "ready" and number not in busy:
                member.tell_after = now + PROGRESS_SECONDS
            elif member.state == "ready" and now >= member.tell_after:
                member.tell_after = float("inf")  # until it has answered
                self._ask(number, "progress")

    def _answers(self, seconds: float) -> list[Event]:
        if not self._asked:
            time.sleep(seconds)
            return []
        self._ray.wait(list(self._asked), num_returns=1, timeout=seconds)
        there, _ = self._ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        answers = [(self._asked.pop(reference), *self._got(reference)) for reference in there]
        found: list[Event] = []
        for question, value, error in sorted(answers, key=lambda answer: answer[2] is not None):  # a result counts, whoever died since
            found += self._taken(question, value) if error is None else self._refused(question, error)
        return found

    def _got(self, reference: Any) -> tuple[Any, Exception | None]:
        try:
            return self._ray.get(reference), None
        except Exception as error:  # what an actor raises comes as its own class
            return None, error

    def _taken(self, question: _Question, value: Any) -> list[Event]:
        number, member = question.worker, self._members[question.worker]
        if question.what == "do":
            return [Ended(worker=number, result=value)]
        if question.what == "progress":
            member.tell_after = time.monotonic() + PROGRESS_SECONDS
            return [Advanced(worker=number, token=token, frames_done=d, frames_total=t) for token, (d, t) in value.items()]
        if question.what == "hello":
            return self._met(number, value)
        if isinstance(value, Broken):
            return [replace(value, worker=number)]
        member.state, member.tell_after = "ready", time.monotonic() + PROGRESS_SECONDS
        return [Ready(worker=number, pid=value.pid if processes.is_running(value) is not None else None)]

    def _met(self, number: int, hello: Hello) -> list[Event]:
        member = self._members[number]
        if hello.instance == member.instance:  # only the way to it was cut: it may still be at its orders, which others get now
            self._ray.kill(member.actor, no_restart=False)
            member.cut_off, member.ask_after = True, time.monotonic() + LOOK_SECONDS
            return []
        found = self._explained(number, blameless=member.cut_off or member.node in self._dead_nodes())
        mine = version("heatreel")
        if hello.version != mine:
            text = f"heatreel on the node {hello.process.host} is {hello.version}, and here {mine}: install the same on every node"
            return [*found, Broken(worker=number, error=text, exit_code=1)]
        member.instance, member.node, member.state = hello.instance, hello.node, "opening"
        self._ask(number, "open", self._setup)
        return found

    def _refused(self, question: _Question, error: Exception) -> list[Event]:
        number, member = question.worker, self._members[question.worker]
        raised = not isinstance(error, self._ray.exceptions.RayError) or isinstance(error, self._ray.exceptions.RayTaskError)
        if question.what == "progress":
            return []
        if question.what == "do" and raised:
            text = f"{type(error).__name__}: {error}"
            result = Result(
                token=question.token, how="error", error_class=type(error).__name__, error=text.partition("\n")[0], details=text
            )
            return [Ended(worker=number, result=result)]
        died = isinstance(error, self._ray.exceptions.ActorDiedError)
        if raised or (died and not member.instance):
            text = f"a worker cannot be opened on the Ray cluster; heatreel has to be installed on every node: {str(error).strip()}"
            return [Broken(worker=number, error=text, exit_code=1)]
        if died:  # for good: somebody has ended it, and Ray does not start it again
            member.actor = self._remote.remote()
        if member.state != "placing":
            member.gone, member.gone_since, member.state = member.state, time.monotonic(), "placing"
            self._asked = {ref: asked for ref, asked in self._asked.items() if asked.worker != number}
        member.ask_after = time.monotonic() + (0 if question.what != "hello" else LOOK_SECONDS)
        return []

    # -------------------------------------------------------------------------------------------- the dead

    def _judged(self) -> list[Event]:
        """Why those that are gone are gone: that Ray says of a node seconds later than that its processes do not answer."""
        now = time.monotonic()
        gone = [number for number, member in enumerate(self._members) if member.gone]
        if not gone or now < self._look_after:
            return []
        self._look_after = now + LOOK_SECONDS
        dead, found = self._dead_nodes(), list[Event]()
        for number in gone:
            member = self._members[number]
            if member.node in dead or now - member.gone_since > LOST_SECONDS:
                found += self._explained(number, blameless=member.node in dead)
        return found

    def _explained(self, number: int, *, blameless: bool) -> list[Event]:
        member = self._members[number]
        was, cut_off = member.gone, member.cut_off
        member.gone, member.cut_off = None, False
        if was == "opening" and not blameless:
            return [Broken(worker=number, error="the worker died while it loaded its model: see Ray's logs", exit_code=1)]
        if was != "ready":
            return []
        why = "the way to its node was cut" if cut_off else "its node was lost" if blameless else "its process ended unexpectedly"
        return [Lost(worker=number, reason=why, blameless=blameless)]

    def _dead_nodes(self) -> set[str]:
        return {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}


# ------------------------------------------------------------------------------------------------ in the actor's process


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Which process answers: `instance` is another one after each start."""

    instance: str
    node: str
    process: Process
    version: str


class Seat:
    """The actor: a worker's place in the cluster. Two threads are for orders, one answers questions meanwhile.

    It raises nothing while it is made, for then Ray would call it dead without a reason; `open` answers with the reason.
    """

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._instance = secrets.token_hex(8)
        self._draining = threading.Event()
        self._reached: dict[str, tuple[int, int | None]] = {}

    def hello(self) -> Hello:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return Hello(instance=self._instance, node=node, process=Process.here(), version=version("heatreel"))

    def open(self, setup: Setup) -> Process | Broken:
        """Load the model. The process that has it, or why it could not be."""
        try:
            from pipeline.batch.executors.worker import Worker

            self._worker = Worker(setup)
        except HeatreelError as error:
            return Broken(worker=0, error=str(error), exit_code=error.exit_code)
        except ImportError as error:
            return Broken(worker=0, error=f"the node {Process.here().host} lacks a package: {error}", exit_code=1)
        return Process.here()

    def do(self, order: Task) -> Result:
        def progress(reached: Progress) -> None:
            self._reached[order.token] = reached.frames_done, reached.frames_total

        try:
            return self._worker.do(order, progress=progress, stopping=self._draining.is_set)
        finally:
            self._reached.pop(order.token, None)

    def progress(self) -> dict[str, tuple[int, int | None]]:
        """How many frames are done, and of how many, for each token."""
        return self._reached.copy()

    def drain(self) -> None:
        self._draining.set()
