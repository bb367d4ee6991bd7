"""What a score is worth, and where the map points: on photographs that are named by their class, and on some with drawn boxes.

    python benchmarks/scores.py PICTURES [--boxes FOLDER --wnid n01877812] [-m MODEL]

PICTURES are files whose names begin with a wnid of ImageNet, as in n01877812_wallaby.JPEG. FOLDER holds `images/` and `annots/` with the
boxes as Pascal VOC has them (XML). Each way of pooling is judged on the same pictures: over the whole feature map, or over the window that
the network is surest of.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import explain
from pipeline.arrays import Array
from pipeline.explain import Session
from pipeline.media import image_to_frame, images, resize_for_network
from pipeline.models import Classifier, load_classifier, use_device, zoo
from pipeline.options import ModelChoice, Options

BINS = 15  # of the expected calibration error, arXiv 1706.04599
WAYS = (("crop", None, "mean"), ("whole", None, "mean"), ("whole", None, "window"), ("whole", 384, "mean"), ("whole", 384, "window"))


def open_session(classifier: Classifier, fit: Any, short_side: int | None, pooling: str, targets: Sequence[str] = ()) -> Session:
    networks = [net if pooling == "window" else replace(net, window=None) for net in classifier.networks]
    options = Options(fit=fit, short_side_px=short_side, targets=tuple(targets), smooth=0)
    return explain.open_session(replace(classifier, networks=networks), options)


def see(session: Session, path: Path) -> tuple[Any, tuple[int, int]]:
    """What the network says of a picture, and its width and height."""
    picture = images.read_image(path)
    pixels = resize_for_network(image_to_frame(picture), session.geometry(picture.width, picture.height))
    return session.explain_batch(pixels[None])[0], picture.size


def judge(scores: Array, truth: Array) -> dict[str, float]:
    """Of scores (pictures, classes) and the right classes (pictures,)."""
    best, answers = scores.max(1), scores.argmax(1)
    right = answers == truth
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    apart = [abs(right[bins == n].mean() - best[bins == n].mean()) * (bins == n).mean() for n in np.unique(bins)]
    return {
        "top-1 %": 100 * float(right.mean()),
        "mean score of right answers": float(best[right].mean()),
        "of them under 10 %": int((best[right] < 0.1).sum()),
        "log loss": float(-np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-12)).mean()),
        "calibration error": float(sum(apart)),
    }


def boxes_of(file: Path) -> list[tuple[int, ...]]:
    return [tuple(int(box.findtext(side) or 0) for side in ("xmin", "ymin", "xmax", "ymax")) for box in ET.parse(file).iter("bndbox")]


def points_at(heat: Array, size: tuple[int, int], boxes: Sequence[tuple[int, ...]]) -> bool:
    """Whether the middle of the hottest cell lies in a box (pointing game, arXiv 1608.00507)."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    x, y = (column + 0.5) / heat.shape[1] * size[0], (row + 0.5) / heat.shape[0] * size[1]
    return any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--wnid", default="n01877812", help="the class of what is in the boxes (a wallaby stands for a kangaroo)")
    parser.add_argument("-m", "--model", default=zoo.DEFAULT_MODEL)
    given = parser.parse_args()
    use_device("auto")
    classifier = load_classifier(ModelChoice(model=given.model))
    index = {name.wnid: name.index for name in classifier.classes}
    files = [path for path in sorted(given.pictures.iterdir()) if path.name.partition("_")[0] in index]
    truth = np.array([index[path.name.partition("_")[0]] for path in files])

    def named(fit: str, short: int | None, pooling: str) -> str:
        what = "the best window" if pooling == "window" else "mean of the whole"
        return f"--fit {fit}, short side {short or classifier.short_side_px}, {what}"

    print(f"{classifier.name}, {len(files)} pictures of {given.pictures.name}")
    for fit, short, pooling in WAYS:
        session = open_session(classifier, fit, short, pooling)
        found = judge(np.stack([see(session, path)[0].scores for path in files]), truth)
        figures = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
        print(f"{named(fit, short, pooling)}: {figures}")
    if given.boxes is not None:
        pairs = [(given.boxes / "images" / f"{file.stem}.jpg", boxes_of(file)) for file in sorted((given.boxes / "annots").glob("*.xml"))]
        for fit, short, pooling in WAYS:
            hits = []
            for targets in ((), (given.wnid,)):
                session = open_session(classifier, fit, short, pooling, targets)
                seen = [see(session, path) for path, _ in pairs]
                hits.append([points_at(said.maps[0], size, boxes) for (said, size), (_, boxes) in zip(seen, pairs, strict=True)])
            print(
                f"{len(pairs)} with boxes, {named(fit, short, pooling)}: "
                f"the map of the top class points into a box in {sum(hits[0])}, that of {given.wnid} in {sum(hits[1])}"
            )


if __name__ == "__main__":
    main()
