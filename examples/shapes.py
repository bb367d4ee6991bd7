"""Drawn shapes, each in a folder of its class: what a network can be taught in seconds, and where one knows where it should look.

python shapes.py FOLDER makes FOLDER/labelled with a folder for each class, one cross among the circles by mistake; FOLDER/unseen, six
pictures for later; and FOLDER/frames, a circle that wanders.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("circle", "cross", "triangle")
SIZES = ((240, 240), (240, 320), (300, 240))  # height, width


def draw(kind: str, rng: np.random.Generator, centre: tuple[int, int] | None = None) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A shape in colour on gray noise: RGB uint8 (height, width, 3), and its centre and radius (x, y, r) in pixels."""
    height, width = SIZES[rng.integers(len(SIZES))] if centre is None else SIZES[1]
    picture = np.clip(rng.normal(120, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    r = int(rng.integers(36, 56))
    x, y = centre or (int(rng.integers(r + 4, width - r - 4)), int(rng.integers(r + 4, height - r - 4)))
    colour = tuple(int(c) for c in rng.choice([(230, 60, 40), (40, 90, 230), (240, 220, 60), (30, 200, 90)]))
    if kind == "circle":
        cv2.circle(picture, (x, y), r, colour, -1, cv2.LINE_AA)
    elif kind == "cross":
        for points in (((x - r, y), (x + r, y)), ((x, y - r), (x, y + r))):
            cv2.line(picture, *points, colour, r // 2, cv2.LINE_AA)
    else:
        corners = np.array([(x, y - r), (x - r, y + r), (x + r, y + r)], np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA)
    return picture, (x, y, r)


def make(folder: Path, count: int, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """`count` JPEGs of each class below the folder."""
    rng = np.random.default_rng(seed)
    for kind in classes:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(folder / kind / f"{kind}{number:03d}.jpg", draw(kind, rng)[0])
    return folder


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def main() -> None:
    folder, rng = Path(sys.argv[1]), np.random.default_rng(1)
    make(folder / "labelled", 30)
    write(folder / "labelled" / "circle" / "really_a_cross.jpg", draw("cross", rng)[0])
    for number, kind in enumerate(CLASSES * 2):
        write(folder / "unseen" / f"{number}{kind}.jpg", draw(kind, rng)[0])
    for number in range(40):
        write(folder / "frames" / f"{number:03d}.jpg", draw("circle", np.random.default_rng(4), (70 + 4 * number, 120))[0])


if __name__ == "__main__":
    main()
