"""`visualize image`: one photograph over the import of TensorFlow, and many over the forward pass. Benchmarks of measure.py."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
from clips import VISUALIZE
from harness import Row, Usage, middle, ratios, run, spread, used
from networks import embedded, noise

from pipeline.explain import SHOTS, read_photograph
from pipeline.media import images

PHOTOGRAPHS = 400  # fewer end too soon beside a start-up that takes a second more one time than another
BATCH_SIZE = 32


def startup(options: argparse.Namespace) -> list[Row]:
    """One photograph explained, and the help text, over the import of TensorFlow alone."""
    with tempfile.TemporaryDirectory() as folder:
        photo, result = Path(folder) / "photo.png", Path(folder) / "result.png"
        cv2.imwrite(str(photo), read_photograph(SHOTS[0][0])[..., ::-1])
        commands = {
            "import tensorflow": (sys.executable, "-c", "import tensorflow"),
            "visualize image": (VISUALIZE, "image", photo, "-o", result, "--overwrite"),
            "visualize --help": (VISUALIZE, "--help"),
        }
        rounds = [{name: run(*command) for name, command in commands.items()} for _ in range(options.repeat + 2)][1:]
    return [_startup_row(name, rounds) for name in commands]


def _startup_row(name: str, rounds: Sequence[dict[str, Usage]]) -> Row:
    return {
        "command": name,
        "wall_s": spread([r[name].wall_seconds for r in rounds]),
        "cpu_s": spread([r[name].cpu_seconds for r in rounds]),
        "wall/import": ratios([r[name].wall_seconds for r in rounds], [r["import tensorflow"].wall_seconds for r in rounds]),
    }


def photographs(options: argparse.Namespace) -> list[Row]:
    """Photographs through one `visualize image` beyond its start-up, over the forward pass alone at batch 32; and with decoding aside."""
    from predicting import make_photographs  # which imports TensorFlow

    networks = embedded()
    with tempfile.TemporaryDirectory() as name:
        many, one = Path(name) / "many", Path(name) / "one"
        for folder, count in ((many, PHOTOGRAPHS + 1), (one, 1)):
            folder.mkdir()
            make_photographs(folder, count)
        paths = sorted(many.iterdir())[1:]
        pixels = noise(BATCH_SIZE, networks.fitted(*images.read_image(paths[0]).size))
        batches = [pixels[: min(BATCH_SIZE, PHOTOGRAPHS - done)] for done in range(0, PHOTOGRAPHS, BATCH_SIZE)]
        for batch in (pixels, batches[-1]):
            networks.forward(batch)  # the first use of a shape is start-up
        rounds = []
        for _ in range(2 * options.repeat - 1):  # a start-up that takes a second more one time than another is in every ratio
            start, whole = (_images(folder, Path(name) / "out") for folder in (one, many))
            forward = used(lambda: [networks.forward(batch) for batch in batches])
            decode = used(lambda: [images.read_image(path) for path in paths])
            rounds.append((start, whole, forward, decode))
    return _photograph_rows(rounds, f"{BATCH_SIZE} of {pixels.shape[2]}x{pixels.shape[1]}")


def _images(folder: Path, output: Path) -> Usage:
    output.mkdir(exist_ok=True)
    return run(VISUALIZE, "image", folder, "-o", output, "--overwrite", "--quiet")


def _photograph_rows(rounds: Sequence[tuple[Usage, Usage, Usage, Usage]], batch: str) -> list[Row]:
    names = ("start-up", "whole beyond start-up", f"forward alone, batch {batch}", "decode alone, one thread")
    start = middle([usage for usage, *_ in rounds])
    columns = list(zip(*((first, whole.beyond(start), forward, decode) for first, whole, forward, decode in rounds), strict=True))
    rows: list[Row] = [
        {
            "part": name,
            "img/s": "" if name == "start-up" else PHOTOGRAPHS / median(usage.wall_seconds for usage in usages),
            "wall_s": spread([usage.wall_seconds for usage in usages]),
            "cpu_s": spread([usage.cpu_seconds for usage in usages]),
        }
        for name, usages in zip(names, columns, strict=True)
    ]
    _, whole, forward, decode = ([usage.wall_seconds for usage in usages] for usages in columns)
    aside = [a - b for a, b in zip(whole, decode, strict=True)]
    return [
        *rows,
        {"part": "whole/forward (rates)", "wall_s": ratios(forward, whole)},
        {"part": "whole/forward, decode aside", "wall_s": ratios(forward, aside)},
    ]
