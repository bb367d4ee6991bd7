"""What an order costs on a Ray actor over what it costs in a worker process of this machine.

python benchmarks/ray_overhead.py [--orders N] [--repeat N]

The orders cost next to nothing themselves: files that are not there, and pictures of 32 x 32. A worker always holds two of them, as in a
batch. Prints milliseconds an order, as medians with the lowest and the highest, and the difference; the engines alternate.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from pipeline.batch import TASKS_AT_ONCE, Broken, Executor, LocalExecutor, Lost, Ready, Result, Setup, Task, open_executor
from pipeline.options import ModelChoice, Options
from pipeline.records import Found


def order(path: Path, output: Path, number: int) -> Task:
    size, mtime = (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (1, 1)
    found = Found(path=path, relative=os.fsencode(path.name), kind="image", size_bytes=size, mtime_ns=mtime)
    return Task(token=str(number), found=found, output=output, overwrite=True)


def until(engine: Executor, kind: type[Ready] | type[Result]) -> int:
    """How many of these events came, when the first of them did."""
    while True:
        events = engine.events(0.3)
        for event in events:
            if isinstance(event, Broken | Lost):
                raise SystemExit(str(event))
        if found := sum(isinstance(event, kind) for event in events):
            return found


def milliseconds(engine: Executor, path: Path, output: Path, count: int) -> float:
    """For each of so many orders, two at a time."""
    started, given, ended = time.perf_counter(), 0, 0
    while ended < count:
        while given < count and given - ended < TASKS_AT_ONCE:
            engine.give(0, order(path, output, given))
            given += 1
        ended += until(engine, Result)
    return 1000 * (time.perf_counter() - started) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    setup = Setup(choice=ModelChoice(model="efficientnet_lite0"), options=Options(), settings="", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(folder / "small.png")
        opened: dict[str, Executor] = {}
        try:
            opened["local"] = LocalExecutor(setup, 1, log=folder / "log")
            opened["ray"] = open_executor(setup, 1, address=None)
            for engine in opened.values():
                until(engine, Ready)
            for what in ("missing.png", "small.png"):
                for engine in opened.values():  # the network is traced for the picture's shape, once for each thread
                    milliseconds(engine, folder / what, folder / "out.png", 10)
                rounds = [
                    {k: milliseconds(e, folder / what, folder / "out.png", given.orders) for k, e in opened.items()}
                    for _ in range(given.repeat)
                ]
                for kind in opened:
                    times = [each[kind] for each in rounds]
                    print(f"{what:<12} {kind:<6} {median(times):7.2f} ms ({min(times):.2f}-{max(times):.2f})")
                print(f"{what:<12} more   {median(each['ray'] - each['local'] for each in rounds):7.2f} ms an order")
        finally:
            for engine in opened.values():
                engine.close()


if __name__ == "__main__":
    main()
