"""A worker's place in a Ray cluster: the actor, in a process of its own on one of the nodes."""

from __future__ import annotations

import os
import secrets
import threading
from importlib.metadata import version

from pipeline.batch.executors.ray_worker_states import Hello
from pipeline.batch.messages import Broken, Result, Setup, Task
from pipeline.errors import HeatreelError
from pipeline.files import Process
from pipeline.records import Progress


class WorkerActor:
    """Two threads are for tasks, one answers questions meanwhile.

    It raises nothing while it is made, for then Ray would call it dead without a reason; `open` answers with the reason.
    """

    def __init__(self, number: int) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._number = number
        self._instance = secrets.token_hex(8)
        self._draining = threading.Event()
        self._reached: dict[str, tuple[int, int | None]] = {}

    def hello(self) -> Hello:
        """Which process this is, and where."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return Hello(instance=self._instance, node=node, process=Process.here(), version=version("heatreel"))

    def open(self, setup: Setup) -> Process | Broken:
        """Load the model. The process that has it, or why it could not be."""
        try:
            from pipeline.batch.executors.task_worker import Worker

            self._worker = Worker(setup)
        except HeatreelError as error:
            return Broken(worker=self._number, error=str(error), exit_code=error.exit_code)
        except ImportError as error:
            return Broken(worker=self._number, error=f"the node {Process.here().host} lacks a package: {error}", exit_code=1)
        return Process.here()

    def do(self, task: Task) -> Result:
        """Do a task in this process's worker."""

        def progress(reached: Progress) -> None:
            self._reached[task.token] = reached.frames_done, reached.frames_total

        try:
            return self._worker.do(task, progress=progress, stopping=self._draining.is_set)
        finally:
            self._reached.pop(task.token, None)

    def progress(self) -> dict[str, tuple[int, int | None]]:
        """How many frames are done, and of how many, for each token."""
        return self._reached.copy()

    def drain(self) -> None:
        """Stop behind the next segment."""
        self._draining.set()
