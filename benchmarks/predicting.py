"""How fast `predict` goes through photographs, against its two limits: reading them, and the network's forward pass.

python benchmarks/prediction_job.py [--count N] [--photos FOLDER] [--repeat N]

Prints pictures a second of reading alone, of the forward pass alone, and of both together, alternating; then the ratio of the whole to the
network, and to the slower of the two. Without a folder, JPEGs of 500 x 375 are made of scikit-image's photographs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.models import use_device

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from pipeline.cam import AT_ONCE, compute_batches
from pipeline.explain import SHOTS, Job, make_scorer, plan_predictions, predict, read_photograph
from pipeline.models import load_classifier, zoo
from pipeline.options import ModelChoice, Options


def make_photographs(folder: Path, count: int) -> Path:
    photos = [Image.fromarray(read_photograph(shot[0])) for shot in SHOTS]
    for number in range(count):
        photo = photos[number % len(photos)]
        inset = number % 40
        photo.crop((inset, inset, photo.width - inset, photo.height - inset)).resize((500, 375)).save(
            folder / f"{number:05}.jpg", quality=92
        )
    return folder


def rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    use_device("auto", at_once=AT_ONCE)
    scorer = make_scorer(load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL)), Options())
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.photos or make_photographs(Path(scratch), options.count)
        jobs = [job for job in plan_predictions([folder]) if isinstance(job, Job)]
        seen = scorer.geometry(500, 375)
        batch = np.random.default_rng(0).integers(0, 256, (scorer.batch_size, seen.height_px, seen.width_px, 3), np.uint8)
        batches = [batch] * -(-len(jobs) // len(batch))
        nothing = replace(scorer, score=lambda pixels: np.zeros((len(pixels), 1000), np.float32))
        predict(jobs[:64], scorer)  # the first use of a shape is start-up
        rounds = [
            (
                rate(len(jobs), lambda: predict(jobs, nothing)),
                rate(len(batches) * len(batch), lambda: list(compute_batches(scorer.score, batches))),
                rate(len(jobs), lambda: predict(jobs, scorer)),
            )
            for _ in range(options.repeat)
        ]
    read, forward, whole = (median(values) for values in zip(*rounds, strict=True))
    limit = 1 / (1 / read + 1 / forward)
    print(f"{len(jobs)} pictures: reading {read:.0f}/s, network {forward:.0f}/s, both on the same cores {limit:.0f}/s at best")
    print(f"predict {whole:.0f}/s: {whole / forward:.2f} of the network, {whole / limit:.2f} of what the cores allow")


if __name__ == "__main__":
    main()
