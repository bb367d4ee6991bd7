"""What a GPU does with the maps: precision, XLA and batch size side by side, and the whole command on it and on the CPU.

python benchmarks/gpu.py [--device gpu:N|cpu] [--rounds N] [--seconds S] [--json FILE]

Prints Markdown tables. The first has pictures a second of scores with maps for the embedded model and, with weights at random, ResNet-50,
in float32 and mixed precision, plainly traced and compiled by XLA, in calls that alternate; median with lowest and highest. The second
has `visualize video` on a clip of 1080p. `--device cpu` tries the script where there is no GPU; XLA is left out there.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import pipeline  # noqa: F401 - before TensorFlow, as everywhere
from pipeline.arrays import Array

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from clips import VISUALIZE, make_clip
from harness import Usage, markdown, run, spread, surroundings
from measure import SIZES

from pipeline.cam import make_explainer
from pipeline.models import (
    build_embedded_network,
    build_zoo_model,
    fold_batch_norms,
    normalize_pixels,
    set_precision,
    split_model,
    use_device,
    zoo,
)

SIZE_PX = 224


def explainer(entry: zoo.ZooEntry, precision: Any, *, compiled: bool) -> Callable[[Array], Any]:
    model = build_embedded_network() if entry.builder is None else build_zoo_model(entry, weights=None)
    set_precision(model, precision)
    scale = functools.partial(normalize_pixels, mode=entry.pixels)
    explain = make_explainer(fold_batch_norms(split_model(model)), preprocess=scale)
    function = tf.function(explain, jit_compile=True, autograph=False) if compiled else explain
    return lambda pixels: [tensor.numpy() for tensor in function(pixels)]


def rates(functions: dict[str, Callable[[Array], Any]], batch: int, *, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Pictures a second of each, in turns of so many seconds."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, SIZE_PX, SIZE_PX, 3), np.uint8)
    for function in functions.values():
        function(pixels)
        function(pixels)
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started, calls = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                function(pixels)
                calls += 1
            found[name].append(batch * calls / (time.perf_counter() - started))
    return {name: spread(values) for name, values in found.items()}


def networks(options: argparse.Namespace, *, gpu: bool) -> list[dict[str, Any]]:
    rows = []
    for name in (zoo.DEFAULT_MODEL, "resnet50"):
        entry = zoo.find_entry(name)
        functions = {
            f"{precision}{', XLA' if compiled else ''}": explainer(entry, precision, compiled=compiled)
            for precision in ("float32", "mixed")
            for compiled in ([False, True] if gpu else [False])
        }
        for batch in (1, 8, 32, 64) if gpu else (8,):
            for way, rate in rates(functions, batch, rounds=options.rounds, seconds=options.seconds).items():
                rows.append({"model": name, "batch": batch, "way": way, "pictures a second": rate})
    return rows


def videos(devices: list[str], rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "clip.mp4", *SIZES["1080p"])
        found: dict[str, list[Usage]] = {device: [] for device in devices}
        for _ in range(rounds):
            for device in devices:
                output = Path(folder) / "output.mp4"
                found[device].append(run(VISUALIZE, "video", clip, "-o", output, "--overwrite", "-q", "--device", device))
    return [
        {
            "device": device,
            "frames": SIZES["1080p"][2],
            "wall_s": median(usage.wall_seconds for usage in usages),
            "cpu_s": median(usage.cpu_seconds for usage in usages),
        }
        for device, usages in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu", metavar="gpu[:N]|cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    device = use_device(options.device)
    gpu = device != "cpu"
    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0]) if gpu else {}
    found = {**surroundings(), "device": details.get("device_name", device)}
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n", flush=True)
    results = {"maps": networks(options, gpu=gpu), "video": videos(["cpu", device] if gpu else ["cpu"], options.rounds)}
    for rows in results.values():
        print(markdown(rows), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps({**found, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
