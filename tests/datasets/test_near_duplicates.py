"""Copies of pictures: found when they are, and strangers left alone, on photographs and on drawings."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipeline.arrays import Array
from pipeline.datasets import near_duplicates
from pipeline.explain import demo_clip

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "astronaut.png", "camera.png", "coins.png", "page.png")


def photographs() -> list[Array]:
    """Whole photographs and quarters of them."""
    found = []
    for name in PHOTOGRAPHS:
        whole = demo_clip.read_photograph(name)
        height, width = whole.shape[0] // 2, whole.shape[1] // 2
        found += [whole, *(whole[y : y + height, x : x + width] for y in (0, height) for x in (0, width))]
    return found


def drawings(count: int) -> list[Array]:
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        picture = np.full((96, 96, 3), 255, np.uint8)
        colour = tuple(int(value) for value in random.integers(0, 200, 3))
        radius = int(random.integers(12, 30))
        x, y = (int(value) for value in random.integers(radius, 96 - radius, 2))
        if number % 2:
            cv2.circle(picture, (x, y), radius, colour, -1)
        else:
            cv2.rectangle(picture, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
        found.append(picture)
    return found


def jpeg(picture: Array, quality: int) -> Array:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


COPIES: dict[str, Callable[[Array], Array]] = {
    "compressed": lambda p: jpeg(p, 30),
    "smaller": lambda p: jpeg(cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 60),
    "brighter": lambda p: np.asarray(ImageEnhance.Brightness(Image.fromarray(p)).enhance(1.2)),
    "cut at its edges": lambda p: p[1 + p.shape[0] // 150 : -1, 1 + p.shape[1] // 150 : -1],
    "mirrored": lambda p: jpeg(np.ascontiguousarray(p[:, ::-1]), 60),
}


def signatures(pictures: list[Array], name: str = "") -> list[near_duplicates.PictureSignature]:
    return [near_duplicates.make_signature(picture, f"{name}{number}") for number, picture in enumerate(pictures)]


def test_different_pictures_are_no_copies() -> None:
    assert len(near_duplicates.find_pairs(signatures(photographs()))) == 0
    assert len(near_duplicates.find_pairs(signatures(drawings(80)))) == 0  # by fingerprint alone one in ten of these pairs would be
    blank = [np.full((40, 40, 3), level, np.uint8) for level in (0, 128, 255)]
    assert len(near_duplicates.find_pairs(signatures(blank))) == 0


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found(kind: str) -> None:
    for pictures, least in ((photographs(), 0.94), (drawings(40), 0.9)):
        found = near_duplicates.find_pairs(signatures([COPIES[kind](picture) for picture in pictures], "copy"), signatures(pictures))
        own = [first == second for first, second in found]
        assert sum(own) >= least * len(pictures) and all(own)
        assert found.mirrored.all() == (kind == "mirrored") and not found.same.any()


def test_the_same_file_is_told_from_one_that_looks_so() -> None:
    first, second, *_ = signatures(photographs())
    found = near_duplicates.find_pairs([first, second, first._replace(sha256="other"), second])
    assert list(found) == [(0, 2), (1, 3)] and found.same.tolist() == [False, True] and not found.mirrored.any()
    blank = near_duplicates.make_signature(np.full((40, 40, 3), 9, np.uint8), "a")  # of which nothing else could tell
    assert list(near_duplicates.find_pairs([blank, blank])) == [(0, 1)]


def test_fingerprints_alone_find_photographs_and_leave_drawings() -> None:
    """As a model's file has them: without a thumbnail."""
    pictures, drawn = photographs(), drawings(40)
    known = [near_duplicates.PictureSignature("other", each.difference_hash) for each in signatures(pictures + drawn)]
    found = near_duplicates.find_pairs(signatures([jpeg(picture, 60) for picture in pictures + drawn]), known)
    assert all(first == second < len(pictures) for first, second in found) and len(found) >= 0.8 * len(pictures)
    turned = near_duplicates.find_pairs(signatures([np.ascontiguousarray(picture[:, ::-1]) for picture in pictures[::5]]), known)
    assert turned.mirrored.all() and len(turned) >= 6


def test_many_are_compared_in_parts_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = photographs()
    several = signatures([*pictures, *(jpeg(picture, 50) for picture in pictures)])
    whole = near_duplicates.find_pairs(several)
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    assert list(near_duplicates.find_pairs(several)) == list(whole) and len(whole) >= 38
    assert len(near_duplicates.find_pairs([])) == 0 and len(near_duplicates.find_pairs(several, [])) == 0


def test_agreement_is_kappa() -> None:
    random = np.random.default_rng(0)
    a, b = random.random((5, 256)) < 0.2, random.random((4, 256)) < 0.7
    found = near_duplicates._compute_agreement(2.0 * a - 1, 2.0 * b - 1)
    for i in range(5):
        for j in range(4):
            observed = np.mean(a[i] == b[j])
            p, q = a[i].mean(), b[j].mean()
            chance = p * q + (1 - p) * (1 - q)
            assert found[i, j] == pytest.approx((observed - chance) / (1 - chance))
