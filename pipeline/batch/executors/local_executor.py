"""The executor of one machine: worker processes, each with a pipe. TensorFlow hangs after a fork, so they are spawned."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pipeline.batch.messages import TASKS_AT_ONCE, Advanced, Broken, Event, Lost, Ready, Result, Setup, Task
from pipeline.files import count_cores
from pipeline.records import Progress

MOST_STARTS = 3  # of a worker that dies each time before it has its model
MEMORY_BYTES = 3 << 30  # of one worker with its ffmpeg children, 1080p (benchmarks/measure.py memory: 1.2 GB; models of the zoo take more)
CORES = 4  # below that, a second worker gains nothing: one worker's decoder, network and encoder keep two cores busy


def choose_worker_count() -> int:
    """As many workers as pay on this machine: one for each GPU, else by cores and memory."""
    gpus = count_gpus()
    if gpus:
        return gpus
    return max(1, min(count_cores() // CORES, _memory_bytes() // MEMORY_BYTES))


def count_gpus() -> int:
    """NVIDIA devices, by what the driver lists and what the environment leaves visible; no CUDA is loaded for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    with suppress(OSError):
        return len(list(Path("/proc/driver/nvidia/gpus").iterdir()))
    return 0


def _memory_bytes() -> int:
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return MEMORY_BYTES


@dataclass
class _WorkerProcess:
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    starts: int = 1


class LocalExecutor:
    """Worker processes on this machine. One that dies is replaced; where MOST_STARTS in a row die before they are ready, it is Broken."""

    def __init__(self, setup: Setup, count: int, *, log: Path) -> None:
        self.count = count
        self._setup, self._log = setup, log
        self._gpus = count_gpus() if setup.device == "auto" else 0
        self._context = multiprocessing.get_context("spawn")
        self._members = [self._start(number) for number in range(count)]

    def _start(self, number: int) -> _WorkerProcess:
        ours, its = self._context.Pipe()
        environment = {"CUDA_VISIBLE_DEVICES": _name_gpu(number % self._gpus)} if self._gpus > 1 else {}
        process = self._context.Process(
            target=_main, args=(number, its, self._setup, self._log, environment), name=f"worker {number + 1}", daemon=True
        )
        process.start()
        its.close()
        return _WorkerProcess(process, ours)

    def give(self, worker: int, task: Task) -> None:
        with suppress(OSError):  # it has just died, and that is told as an event
            self._members[worker].pipe.send(task)

    def events(self, seconds: float) -> list[Event]:
        owners: dict[Any, int] = {member.pipe: number for number, member in enumerate(self._members)}
        found: list[Event] = []
        for pipe in wait(list(owners), seconds):
            number = owners[pipe]
            member = self._members[number]
            try:
                event: Event = member.pipe.recv()
            except (EOFError, OSError):
                event = self._replace(number)
            if isinstance(event, Ready):
                member.ready = True
            found.append(event)
        return found

    def _replace(self, number: int) -> Event:
        member = self._members[number]
        member.pipe.close()
        member.process.kill()  # a process without its pipe is of no use
        member.process.join(10)
        code = member.process.exitcode
        reason = f"it was killed by signal {-code}" if code is not None and code < 0 else f"it ended with exit code {code}"
        if not member.ready and member.starts >= MOST_STARTS:
            return Broken(worker=number, error=f"the worker died while it loaded its model: {reason}", exit_code=1)
        self._members[number] = self._start(number)
        self._members[number].starts = 1 if member.ready else member.starts + 1
        return Lost(worker=number, reason=reason)

    def drain(self) -> None:
        for member in self._members:
            with suppress(OSError):
                member.pipe.send("drain")

    def close(self) -> None:
        for member in self._members:
            member.process.kill()  # they heed no other signal
        for member in self._members:
            member.process.join()
            member.pipe.close()


def _name_gpu(number: int) -> str:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[number] if named else str(number)


# ------------------------------------------------------------------------------------------------ in the worker's process


def _main(number: int, pipe: Connection, setup: Setup, log: Path, environment: Mapping[str, str]) -> None:
    """Do tasks until the pipe is closed: then the batch is over, or dead."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the whole group gets a terminal's; it is the batch that says what to do
    os.environ.update(environment)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)  # what native code says of itself
        os.dup2(file.fileno(), 2)
    inbox: queue.SimpleQueue[Task] = queue.SimpleQueue()
    draining = threading.Event()
    threading.Thread(target=_receive, args=(pipe, inbox, draining), daemon=True).start()
    from pipeline.errors import HeatreelError

    try:
        from pipeline.batch.executors.task_worker import Worker

        worker = Worker(setup)
    except HeatreelError as error:
        pipe.send(Broken(worker=number, error=str(error), exit_code=error.exit_code))
        return
    sending = threading.Lock()

    def send(message: object) -> None:
        with sending:
            pipe.send(message)

    def work() -> None:
        try:
            while True:
                task = inbox.get()
                if draining.is_set():  # it was waiting, and is not begun
                    send(Result(token=task.token, how="stopped"))
                else:
                    send(
                        worker.do(
                            task,
                            progress=_ProgressSender(send, number, task.token, setup.timings.progress_seconds),
                            stopping=draining.is_set,
                        )
                    )
        except BaseException:  # one thread less would be noticed by nobody
            traceback.print_exc()
            os._exit(70)

    send(Ready(worker=number, pid=os.getpid()))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(TASKS_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _receive(pipe: Connection, inbox: queue.SimpleQueue[Task], draining: threading.Event) -> None:
    try:
        while True:
            message = pipe.recv()
            if isinstance(message, Task):
                inbox.put(message)
            else:
                draining.set()
    except (EOFError, OSError):
        from pipeline.media import kill_all

        kill_all()
        os._exit(1)  # the batch is dead: what is made for nobody would stand in the next one's way


class _ProgressSender:
    """Sends progress on, a few times a second."""

    def __init__(self, send: Callable[[Advanced], None], worker: int, token: str, pause_seconds: float) -> None:
        self._send, self._worker, self._token, self._pause_seconds = send, worker, token, pause_seconds
        self._due_seconds = 0.0  # by the monotonic clock

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._due_seconds:
            self._due_seconds = now + self._pause_seconds
            frames_done, frames_total = progress.frames_done, progress.frames_total
            self._send(Advanced(worker=self._worker, token=self._token, frames_done=frames_done, frames_total=frames_total))
