"""Do the maps point at what the network uses? Deletion and insertion areas of every method, of noise, and of a blob in the middle.

python benchmarks/faithfulness.py [--photos FOLDER] [--methods NAME ...] [--steps N]

Pixels are taken out of a picture (replaced by its blurred self) in the order of the map, or put into the blurred picture, and
the score of the top class is followed (RISE, arXiv 1806.07421, section 4.3). A faithful map has a small deletion area and a
large insertion area. Each area is the mean over the steps, as a share of the score of the whole picture; the table shows means
over the photographs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.cam import make_explainer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from pipeline.explain import make_scorer, read_photograph
from pipeline.media import image_to_frame, images, resize_for_network
from pipeline.models import Classifier, load_classifier, normalize_pixels, zoo
from pipeline.options import Method, ModelChoice, Options

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "astronaut.png")


def photographs(folder: Path | None) -> list[Image.Image]:
    if folder is not None:
        return [images.read_image(path) for path in images.list_images(folder)]
    return [Image.fromarray(read_photograph(name)) for name in PHOTOGRAPHS]


def areas(pixels: Array, heat: Array, score: Callable[[Array], Array], steps: int) -> tuple[float, float]:
    """Deletion and insertion area of a map float (h, w) for pixels uint8 (height, width, 3); `score` gives the class' score of a batch."""
    height, width = pixels.shape[:2]
    large = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rank = np.empty(height * width, int)
    rank[np.argsort(-large.ravel(), kind="stable")] = np.arange(height * width)
    share = rank.reshape(height, width, 1) / (height * width)
    blurred = cv2.GaussianBlur(pixels, (0, 0), 11)
    levels = np.linspace(0, 1, steps + 1)
    deleted = np.stack([np.where(share < level, blurred, pixels) for level in levels])
    inserted = np.stack([np.where(share < level, pixels, blurred) for level in levels])
    whole = score(pixels[None])[0]
    return float(score(deleted).mean() / whole), float(score(inserted).mean() / whole)


def ways(classifier: Classifier, methods: Sequence[str]) -> dict[str, Callable[[Array, int], Array]]:
    """By name, what makes a map float (h, w) of pixels for a class."""
    scale = partial(normalize_pixels, mode=classifier.pixels)

    def by_method(method: str, pixels: Array, index: int) -> Array:
        explain = make_explainer(classifier.networks[0], method=method, targets=[index], preprocess=scale)
        heat: Array = explain(pixels[None]).maps.numpy()[0, 0]
        return heat

    def centre(pixels: Array, _: int) -> Array:
        y, x = (np.linspace(-1, 1, side // classifier.stride) for side in pixels.shape[:2])
        return np.exp(-2 * (y[:, None] ** 2 + x[None] ** 2))

    def noise(pixels: Array, index: int) -> Array:
        return np.random.default_rng(index).random([side // classifier.stride for side in pixels.shape[:2]])

    return {**{method: partial(by_method, method) for method in methods}, "centred blob": centre, "noise": noise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photographs (default: those of scikit-image)")
    parser.add_argument("--methods", nargs="*", choices=get_args(Method), default=get_args(Method))
    parser.add_argument("--steps", type=int, default=32)
    options = parser.parse_args()
    classifier = load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL))
    scorer = make_scorer(classifier, Options())
    pictures = [resize_for_network(image_to_frame(photo), scorer.geometry(*photo.size)) for photo in photographs(options.photos)]
    print(f"{len(pictures)} photographs, {options.steps} steps\n{'map':<14} {'deletion':>9} {'insertion':>9}")
    for name, make in ways(classifier, options.methods).items():
        results = []
        for pixels in pictures:
            index = int(scorer.score(pixels[None])[0].argmax())
            results.append(areas(pixels, make(pixels, index), lambda batch, index=index: scorer.score(batch)[:, index], options.steps))
        deletion, insertion = np.mean(results, axis=0)
        print(f"{name:<14} {deletion:>9.3f} {insertion:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
