"""Geometries worked out by hand for the embedded model: input 224, short side 256, stride 32."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import pytest

from pipeline.models.input_geometry import frame_geometry
from pipeline.records import Geometry

Fit = Literal["whole", "crop", "squash"]


def geometry(width: int, height: int, fit: Fit, short_side_px: int = 256, *, any_size: bool = True) -> Geometry:
    return frame_geometry(width, height, fit=fit, input_px=(224, 224), short_side_px=short_side_px, stride=32, any_size=any_size)


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        ((1920, 1080), (448, 256)),  # 256 * 16 / 9 = 455.1, and 14.2 cells of 32
        ((1080, 1920), (256, 448)),
        ((640, 640), (256, 256)),
        ((640, 480), (352, 256)),  # 341.3, and 10.7 cells
        ((451, 300), (384, 256)),  # 384.9, and 12.03 cells
        ((3840, 1600), (608, 256)),  # 614.4, and 19.2 cells
        ((32, 18), (448, 256)),  # small frames are enlarged
        ((1000, 250), (1024, 256)),  # 1:4, the longest that keeps its aspect
        ((10000, 100), (1024, 256)),  # beyond it is squashed
        ((1, 5000), (256, 1024)),
        ((1, 1), (256, 256)),
    ],
)
def test_whole_keeps_the_aspect_to_the_nearest_cell(frame: tuple[int, int], seen: tuple[int, int]) -> None:
    whole = geometry(*frame, "whole")
    assert (whole.width_px, whole.height_px) == (whole.scaled_width_px, whole.scaled_height_px) == seen
    assert (whole.left_px, whole.top_px, whole.region) == (0, 0, (0, 0, 1, 1))


@pytest.mark.parametrize(("short_side_px", "seen"), [(32, (64, 32)), (384, (672, 384)), (250, (448, 256)), (512, (896, 512))])
def test_whole_takes_another_short_side(short_side_px: int, seen: tuple[int, int]) -> None:
    whole = geometry(1920, 1080, "whole", short_side_px)  # 56.9, 682.7, 444.4 and 910.2 pixels: 1.8, 21.3, 13.9 and 28.4 cells
    assert (whole.width_px, whole.height_px) == seen


@pytest.mark.parametrize(
    ("frame", "scaled", "corner"),
    [
        ((1920, 1080), (455, 256), (115, 16)),  # (455 - 224) / 2 = 115.5
        ((1080, 1920), (256, 455), (16, 115)),
        ((640, 640), (256, 256), (16, 16)),
        ((640, 480), (341, 256), (58, 16)),  # (341 - 224) / 2 = 58.5
        ((10000, 100), (1024, 256), (400, 16)),
    ],
)
def test_crop_takes_the_centre(frame: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]) -> None:
    crop = geometry(*frame, "crop")
    assert (crop.scaled_width_px, crop.scaled_height_px, crop.width_px, crop.height_px) == (*scaled, 224, 224)
    assert (crop.left_px, crop.top_px) == corner
    exact = [Fraction(c + p, s) for p in (0, 224) for c, s in zip(corner, scaled, strict=True)]
    assert crop.region == pytest.approx([float(f) for f in exact], abs=1e-12)


def test_the_region_of_a_square_crop_is_a_sixteenth_in_from_each_side() -> None:
    assert geometry(640, 640, "crop").region == (0.0625, 0.0625, 0.9375, 0.9375)  # 16 / 256 and 240 / 256
    left, top, right, bottom = geometry(1920, 1080, "crop").region
    assert (round(left, 4), top, round(right, 4), bottom) == (0.2527, 0.0625, 0.7451, 0.9375)  # 115 / 455 and 339 / 455


@pytest.mark.parametrize(("fit", "any_size"), [("squash", True), ("squash", False), ("whole", False)])
def test_squash_brings_every_frame_to_the_same_square(fit: Fit, any_size: bool) -> None:
    for frame in ((1920, 1080), (1080, 1920), (640, 640), (10000, 100)):
        squash = geometry(*frame, fit, any_size=any_size)
        assert (squash.scaled_width_px, squash.scaled_height_px, squash.width_px, squash.height_px) == (224,) * 4
        assert squash.region == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("frame", "scaled", "corner"),
    [
        ((1000, 1000), (366, 366), (23, 103)),  # the width decides: 320 * 183 / 160 = 366, and (366 - 160) / 2 = 103
        ((2000, 1000), (366, 183), (23, 11)),  # both do: 1000 * 0.183 = 183
        ((4000, 1000), (732, 183), (206, 11)),  # the height does: 160 * 183 / 160 = 183, and 183 * 4 = 732
    ],
)
def test_crop_fills_an_input_that_is_no_square(frame: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]) -> None:
    crop = frame_geometry(*frame, fit="crop", input_px=(320, 160), short_side_px=183, stride=32)
    assert (crop.scaled_width_px, crop.scaled_height_px, crop.width_px, crop.height_px) == (*scaled, 320, 160)
    assert (crop.left_px, crop.top_px) == corner


def test_crop_never_reaches_out_of_the_frame() -> None:
    crop = frame_geometry(640, 480, fit="crop", input_px=(64, 64), short_side_px=55, stride=32)  # less than the input
    assert (crop.width_px, crop.height_px) == (64, 64)
    left, top, right, bottom = crop.region
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def test_what_the_network_sees_lies_in_the_frame() -> None:
    for width, height in ((1, 1), (7, 3), (1920, 1080), (333, 4000), (719, 1281)):
        for fit in ("whole", "crop", "squash"):
            seen = geometry(width, height, fit)  # type: ignore[arg-type]
            left, top, right, bottom = seen.region
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            assert seen.width_px % 32 == seen.height_px % 32 == 0
            if fit == "crop":  # the centre, to the half pixel that an odd rest leaves
                assert abs(left + right - 1) * seen.scaled_width_px < 1.001 and abs(top + bottom - 1) * seen.scaled_height_px < 1.001


def test_a_short_side_below_the_input_does_not_distort_the_crop() -> None:
    crop = frame_geometry(1920, 1080, fit="crop", input_px=(64, 64), short_side_px=55, stride=32)
    assert (crop.scaled_width_px, crop.scaled_height_px) == (114, 64)  # 1920 / 1080 * 64 = 113.8
