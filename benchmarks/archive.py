"""Many short clips through one worker of a batch, against one long clip of the same frames. README.md beside this file explains it.

python benchmarks/archive.py [--clips N] [--seconds S] [--repeat N]
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from clips import FPS, pictures
from harness import shown, spread

from pipeline.batch import TASKS_AT_ONCE, LocalExecutor, Ready, Result, Setup, Task
from pipeline.explain import encode_pictures
from pipeline.models import zoo
from pipeline.options import ModelChoice, Options
from pipeline.records import Found

WIDTH, HEIGHT = 640, 360


def make_clips(folder: Path, count: int, frames: int) -> tuple[list[Path], Path]:
    """Short clips, and a long one that shows the same."""
    shown = pictures(WIDTH, HEIGHT, count * frames)
    short = [folder / f"short_{number:03d}.mp4" for number in range(count)]
    for path in short:
        encode_pictures(itertools.islice(shown, frames), path, width=WIDTH, height=HEIGHT, fps=FPS, output=path)
    long = folder / "long.mp4"
    encode_pictures(pictures(WIDTH, HEIGHT, count * frames), long, width=WIDTH, height=HEIGHT, fps=FPS, output=long)
    return short, long


def seconds_for(clips: Sequence[Path], folder: Path) -> float:
    """From the moment a worker has its model until the last clip is done."""
    folder = Path(tempfile.mkdtemp(dir=folder))  # else the receipts of the run before would say that all is done
    options = Options()
    setup = Setup(choice=ModelChoice(model=zoo.DEFAULT_MODEL), options=options, settings="benchmark")
    engine = LocalExecutor(setup, 1, log=folder / "log")
    waiting, held, done, begun = list(enumerate(clips)), 0, 0, 0.0
    try:
        while done < len(clips):
            for event in engine.events(1):
                if isinstance(event, Ready):
                    begun = time.perf_counter()
                elif isinstance(event, Result):
                    assert event.how == "done", event
                    done, held = done + 1, held - 1
            while begun and waiting and held < TASKS_AT_ONCE:
                engine.give(0, order(*waiting.pop(0), folder))
                held += 1
        return time.perf_counter() - begun
    finally:
        engine.close()


def order(number: int, clip: Path, folder: Path) -> Task:
    status = clip.stat()
    found = Found(path=clip, relative=os.fsencode(clip.name), kind="video", size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
    output = folder / f"{number}.mp4"
    # A long clip is not made in parts: that is another question.
    return Task(
        token=str(number),
        found=found,
        output=output,
        overwrite=True,
        predictions=output.with_suffix(".parquet"),
        receipt=output.with_suffix(".json"),
        undivided=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    frames = round(options.seconds * FPS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short, long = make_clips(folder, options.clips, frames)
        rates: list[tuple[float, float]] = []
        for number in range(options.repeat):
            sides = [short, [long]] if number % 2 else [[long], short]
            taken = {len(clips): seconds_for(clips, folder) for clips in sides}
            rates.append((options.clips * frames / taken[options.clips], options.clips * frames / taken[1]))
            print(f"{rates[-1][0]:.1f} frames a second of {options.clips} clips, {rates[-1][1]:.1f} of one", flush=True)
    ratio = spread([short_rate / long_rate for short_rate, long_rate in rates])
    print(f"{options.clips} clips of {frames} frames ({WIDTH}x{HEIGHT}) over one of all: {shown(ratio)}")


if __name__ == "__main__":
    main()
