"""Both engines keep one contract; a Ray cluster loses a node and nothing else; its noise stays its own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import clips
from support.decoding import decoded

from pipeline.batch import archive_layout, progress, scheduler
from pipeline.batch.executors import local_executor, ray_executor
from pipeline.batch.messages import TASKS_AT_ONCE, Advanced, Broken, Event, Executor, Lost, Ready, Result, Setup, Task
from pipeline.batch.scanning.inclusion_rules import Rules
from pipeline.errors import CommandError
from pipeline.options import ModelChoice, Options
from pipeline.records import Found

ROOT = Path(__file__).parents[2]
WITH_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
# Ray leaves the sockets and log files of its own threads to the interpreter.
QUIETLY = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("ResourceWarning", "FutureWarning", "DeprecationWarning")]
ENGINES = ["local", pytest.param("ray", marks=WITH_RAY)]
OPTIONS = Options(segment_seconds=0.4, preset="ultrafast")


@pytest.fixture(autouse=True)
def on_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of the test's own clusters import the project from here, and tell nobody that they run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in ray_executor._QUIET.items():
        monkeypatch.setenv(name, value)


def setup(model: str = "efficientnet_lite0", **more: Any) -> Setup:
    return Setup(choice=ModelChoice(model=model), options=OPTIONS, settings="s", device="cpu", **more)


@contextmanager
def opened(kind: str, given: Setup, tmp_path: Path, count: int = 1) -> Iterator[Executor]:
    if kind == "local":
        engine: Executor = local_executor.LocalExecutor(given, count, log=tmp_path / "workers.log")
    else:
        engine = ray_executor.open_executor(given, count, address=None)
    try:
        yield engine
    finally:
        engine.close()


def until(engine: Executor, kind: type[Event], seen: list[Event] | None = None, *, seconds: float = 90) -> Any:
    """The first event of that kind; all that came are put into `seen`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events = engine.events(0.3)
        if seen is not None:
            seen += events
        for event in events:
            if isinstance(event, kind):
                return event
            assert not isinstance(event, Broken | Lost), event
    raise AssertionError(f"no {kind.__name__} in {seconds} s")


def order(path: Path, output: Path, token: str = "t", **more: Any) -> Task:
    status = path.stat() if path.exists() else ROOT.stat()
    found = Found(
        path=path,
        relative=os.fsencode(path.name),
        kind="image" if path.suffix == ".png" else "video",
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    return Task(token=token, found=found, output=output, overwrite=True, **more)


def picture(path: Path, number: int = 3, size: tuple[int, int] = (64, 64)) -> Path:
    Image.fromarray(clips.picture(number, 256, 144)).resize(size).save(path)
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster") / "long.mp4"
    return clips.write_clip(path, clips.constant(600))


# ------------------------------------------------------------------------------------------------ the contract


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
def test_orders_end_and_workers_die_and_drain(kind: str, long: Path, tmp_path: Path) -> None:
    """One engine, for it takes long to open: what is done, what is not, what is begun, a death, and the end."""
    with opened(kind, setup(), tmp_path) as engine:
        ready = until(engine, Ready)
        assert ready.worker == 0 and ready.pid is not None
        engine.give(0, order(picture(tmp_path / "p.png"), tmp_path / "p_out.png", "picture"))
        engine.give(0, order(tmp_path / "none.png", tmp_path / "none_out.png", "none"))
        results = {}
        while len(results) < 2:
            result = until(engine, Result)
            results[result.token] = result
        assert results["picture"].how == "done" and results["picture"].frames == 1 and (tmp_path / "p_out.png").exists()
        assert results["none"].how == "changed" and "cannot be read any more" in results["none"].error

        engine.give(0, order(long, tmp_path / "long_out.mp4", "long", undivided=True))
        advanced = until(engine, Advanced)
        assert (advanced.worker, advanced.token) == (0, "long") and advanced.frames_done >= 0
        os.kill(ready.pid, signal.SIGKILL)
        seen: list[Event] = []
        lost = until(engine, Lost, seen)
        assert lost.worker == 0 and not lost.blameless and not any(isinstance(event, Result) for event in seen)
        again = until(engine, Ready)
        assert again.worker == 0 and again.pid not in (None, ready.pid)

        engine.give(0, order(long, tmp_path / "long_out.mp4", "again", undivided=True))
        until(engine, Advanced)
        engine.drain()
        ended = until(engine, Result)
        assert ended.token == "again" and ended.how == "stopped" and not (tmp_path / "long_out.mp4").exists()
    for pid in (ready.pid, again.pid):
        wait_until(lambda pid=pid: not alive(pid))
    for file in sorted(tmp_path.glob(".long_out*/**/*"), reverse=True):  # what the next run would go on with
        file.unlink() if file.is_file() else file.rmdir()
    for folder in tmp_path.glob(".long_out*"):
        folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
def test_a_model_that_does_not_load_is_told(kind: str, tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with opened(kind, setup(str(tmp_path / "bad.keras")), tmp_path) as engine:
        broken = until(engine, Broken)
        assert broken.exit_code == 2 and "bad.keras" in broken.error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENGINES)
def test_a_worker_that_dies_while_it_loads_is_told(kind: str, tmp_path: Path) -> None:
    """It would do so again and again: there is no order to blame, and nobody else to do it. Processes of this machine get three starts."""
    (tmp_path / "deadly.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    (tmp_path / "m.keras").write_bytes(b"")
    choice = ModelChoice(model=str(tmp_path / "m.keras"), custom_objects=tmp_path / "deadly.py", allow_unsafe=True)
    with opened(kind, Setup(choice=choice, options=OPTIONS, settings="s", device="cpu"), tmp_path) as engine:
        for _ in range(local_executor.MOST_STARTS - 1 if kind == "local" else 0):
            until(engine, Lost)
        broken = until(engine, Broken)
        assert broken.exit_code == 1 and "died while it loaded its model" in broken.error


def alive(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def wait_until(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return found


# ------------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("nodes", "count", "device", "expected"),
    [
        ([(16, 0)], None, "auto", (4, 4, 0)),
        ([(2, 0)], None, "auto", (1, 2, 0)),
        ([(0, 0), (8, 0), (3, 0)], None, "auto", (3, 3, 0)),  # a head without cores has none of them
        ([(16, 4), (16, 2)], None, "auto", (6, 4, 1)),
        ([(4, 2)], None, "auto", (2, 2, 1)),
        ([(16, 4)], None, "cpu", (4, 4, 0)),
        ([(16, 2)], 4, "auto", (4, 4, 0.5)),
        ([(1, 0), (1, 0), (1, 0)], 2, "auto", (2, 1, 0)),
        ([(2, 0)], 3, "auto", (3, 0.5, 0)),
    ],
)
def test_each_worker_has_its_share(nodes: list[tuple[float, float]], count: int | None, device: str, expected: Any) -> None:
    assert ray_executor.share_out(nodes, count, device=device) == expected


@pytest.mark.parametrize(
    ("nodes", "count", "device"), [([(0, 0)], None, "auto"), ([(1, 0)], 9, "cpu"), ([(4, 0)], None, "gpu"), ([], 1, "auto")]
)
def test_a_cluster_without_room_is_refused(nodes: list[tuple[float, float]], count: int | None, device: str) -> None:
    with pytest.raises(CommandError, match="the Ray cluster has"):
        ray_executor.share_out(nodes, count, device=device)


def test_what_no_cluster_can_do_is_refused() -> None:
    with pytest.raises(CommandError, match="chooses the GPU"):
        ray_executor.open_executor(Setup(choice=ModelChoice(model="m"), options=OPTIONS, settings="s", device="gpu:1"), None, address=None)
    for address in ("ray://far:1", "local", "far", "far:", ":1"):
        with pytest.raises(CommandError, match="not a head's host:port"):
            ray_executor.open_executor(setup(), None, address=address)
    with socket.create_server(("127.0.0.1", 0)) as server:  # where nobody listens any more
        closed = server.getsockname()[1]
    for port in (closed, 70000):
        with pytest.raises(CommandError, match="nobody answers there"):
            ray_executor.open_executor(setup(), None, address=f"127.0.0.1:{port}")


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CommandError, match=r"Ray is not installed; pip install '\.\[ray\]'"):
        ray_executor.open_executor(setup(), None, address=None)


# ------------------------------------------------------------------------------------------------ a cluster of several nodes


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A head and two more, a core each; that one is dead is noticed in two seconds instead of fifteen."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 4, "health_check_initial_delay_ms": 0}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": soon})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
    finally:
        made.shutdown()


class Watcher:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.outcomes: list[Any] = []

    def said(self, text: str) -> None:
        self.texts.append(text)

    def finished(self, outcome: Any, *, name: str = "") -> None:
        self.outcomes.append(outcome)

    def overview(self, overview: progress.Overview) -> None:
        pass


def an_archive(folder: Path, videos: int, pictures: int, frames: int = 60) -> Path:
    folder.mkdir()
    for number in range(videos):
        clips.write_clip(folder / f"v{number:02}.mp4", clips.constant(frames, start=Fraction(number, 10)))
    for number in range(pictures):
        picture(folder / f"p{number}.png", number)
    return folder


@WITH_RAY
@pytest.mark.slow
def test_a_lost_node_costs_nobody_anything(nodes: Any, tmp_path: Path) -> None:
    given, output, watcher = an_archive(tmp_path / "in", 12, 3), tmp_path / "out", Watcher()
    engines: list[Any] = []
    removed: list[tuple[str, list[str]]] = []

    def open_engine(wanted: Setup, _log: Path) -> Executor:
        engines.append(ray_executor.open_executor(wanted, 2, address=nodes.address))
        return engines[0]  # type: ignore[no-any-return]

    def looks_on() -> bool:
        """Called in each turn of the loop: after the third result a node goes, in the midst of a task."""
        if len(watcher.outcomes) >= 3 and not removed:
            places = engines[0].nodes_at_work()
            for node in nodes.worker_nodes:
                tokens = [token for token, place in places.items() if place == node.node_id]
                if tokens:
                    removed.append((node.node_id, tokens))
                    nodes.remove_node(node, allow_graceful=False)
                    break
        return False

    request = archive_layout.Request(
        sources=[str(given)], output=output, choice=ModelChoice(model="efficientnet_lite0"), options=OPTIONS, rules=Rules()
    )
    summary = scheduler.run(request, open_executor=open_engine, watcher=watcher, stopping=looks_on)
    assert removed and summary.done == 15 and not summary.failures and not summary.left
    assert any("has died: its node was lost" in text for text in watcher.texts), watcher.texts
    with sqlite3.connect(output / ".heatreel" / "ledger.sqlite") as store:
        assert store.execute("SELECT state, count(*), sum(crashes), sum(errors) FROM job GROUP BY state").fetchall() == [("done", 15, 0, 0)]
        assert store.execute("SELECT count(*), count(DISTINCT job) FROM attempt WHERE how = 'done'").fetchall() == [(15, 15)]
        lost = [token for (token,) in store.execute("SELECT token FROM attempt WHERE how = 'interrupted'")]
    store.close()
    # The worker of that node had two, and may have been given another one in place of an ended one before it was lost.
    assert set(lost) & set(removed[0][1]) and len(lost) <= TASKS_AT_ONCE
    for source in given.glob("*.mp4"):
        assert len(decoded(output / f"{source.stem}_output.mp4")[0]) == 60
    assert len(list(output.glob("*.png"))) == 3
    assert len(watcher.outcomes) == 15


@WITH_RAY
@pytest.mark.slow
def test_a_joined_cluster_is_left_as_it_was(nodes: Any, tmp_path: Path) -> None:
    import ray

    engine = ray_executor.open_executor(setup(), 1, address=nodes.address)
    ready = until(engine, Ready)
    engine.close()
    assert not ray.is_initialized()
    wait_until(lambda: not alive(ready.pid))
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        assert sum(node["Alive"] for node in ray.nodes()) == 3
        wait_until(lambda: ray.available_resources().get("CPU") == 3)
    finally:
        ray.shutdown()


# ------------------------------------------------------------------------------------------------ the command


def visualize(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "batch", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_of(session: int) -> dict[int, str]:
    """What still runs in that session, with command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                found[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue
    return found


@WITH_RAY
@pytest.mark.slow
def test_the_command_writes_what_the_local_one_writes(tmp_path: Path) -> None:
    an_archive(tmp_path / "in", 1, 2, frames=30)
    outcomes = {}
    for kind in ("local", "ray"):
        process = visualize("in", "-o", kind, "--engine", kind, "--json", cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        outcomes[kind] = sorted(Path(json.loads(line)["input"]).name for line in out.splitlines())
        lines = err.splitlines()
        assert "raylet" not in err and len(lines) == 6 and [line.split(":")[0] for line in lines[-2:]] == ["outputs", "page"], err
        assert "ray" not in err.replace("/ray/", "").replace(": ray", "").lower().split(), err
        wait_until(lambda session=process.pid: not left_of(session), seconds=10)
    assert outcomes["ray"] == outcomes["local"] == ["p0.png", "p1.png", "v00.mp4"]
    for name in ("p0_output.png", "p1_output.png", "v00_output.mp4", "v00_output.parquet"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name


@WITH_RAY
@pytest.mark.slow
def test_a_signal_lets_what_is_begun_come_to_an_end(long: Path, tmp_path: Path) -> None:
    """Ray puts a handler of its own in place of the batch's when it starts, and must not keep it."""
    process = visualize(long, "-o", "out", "--engine", "ray", "--segment-seconds", "1", "--preset", "ultrafast", cwd=tmp_path)
    log = tmp_path / "out" / ".heatreel" / "logs"
    work = tmp_path / "out"
    wait_until(lambda: list(work.glob(".*/journal.jsonl")) or list(work.glob(".*/**/journal.jsonl")), seconds=60)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopping: what is begun comes to an end" in err, (process.returncode, err, list(log.glob("*")))
    wait_until(lambda: not left_of(process.pid), seconds=10)
    with sqlite3.connect(work / ".heatreel" / "ledger.sqlite") as store:
        assert store.execute("SELECT DISTINCT how FROM attempt ORDER BY how").fetchall() == [
            ("split",),
            ("stopped",),
        ]  # it is long, and made in parts
    store.close()
    # What Ray says of a dead process, and it says much on stdout, stays with Ray.
    again = visualize(long, "-o", "out", "--engine", "ray", "--json", "--segment-seconds", "1", "--preset", "ultrafast", cwd=tmp_path)
    # The oldest of them: what it forks has its title until it is ffmpeg.
    seats = wait_until(lambda: [pid for pid, title in left_of(again.pid).items() if title.startswith("ray::WorkerActor.do")], seconds=60)
    os.kill(min(seats), signal.SIGKILL)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0 and [json.loads(line)["frames"] for line in out.splitlines()] == [600], (out, err)
    assert "has died: its process ended unexpectedly" in err and "raylet" not in err
    assert len(decoded(work / "long_output.mp4")[0]) == 600
