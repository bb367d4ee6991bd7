"""Photographs in and out, against files made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import stills
from pipeline.errors import CommandError, InputError
from pipeline.framing import frame_geometry


def corners() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """RGB 40 x 60 with red, green, blue and white corners, clockwise from the upper left."""
    rgb = np.zeros((40, 60, 3), np.uint8)
    for (y, x), colour in {(0, 0): (250, 0, 0), (0, 30): (0, 250, 0), (20, 30): (0, 0, 250), (20, 0): (250, 250, 250)}.items():
        rgb[y : y + 20, x : x + 30] = colour
    return rgb


# EXIF 2.32, tag 0x0112: what has to be done to the stored rows and columns to see the picture upright.
UPRIGHT_TO_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", UPRIGHT_TO_STORED)
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](corners())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(stills.read_still(tmp_path / "a.png")), corners())


def test_other_kinds_of_pixels_become_8_bit_rgb(tmp_path: Path) -> None:
    deep = (np.arange(40 * 60).reshape(40, 60) * 27).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = np.asarray(stills.read_still(tmp_path / "deep.png")).astype(int)
    assert np.abs(read - (deep / 257)[..., None]).max() <= 0.5

    rgba = np.dstack([corners(), np.full((40, 60), 128, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    half = np.asarray(stills.read_still(tmp_path / "clear.png")).astype(float)
    np.testing.assert_allclose(half, corners() * (128 / 255) + 255 * (127 / 255), atol=1)

    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    assert np.asarray(stills.read_still(tmp_path / "print.jpg"))[4, 4].argmax() == 0


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    good, cut = tmp_path / "good.jpg", tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(good)
    cut.write_bytes(good.read_bytes()[:4000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture at all")
    cases = {"missing.jpg": "no such file", "empty.jpg": "empty", "text.jpg": "not a picture", "cut.jpg": "damaged", ".": "is a folder"}
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            stills.read_still(tmp_path / name)


def test_a_picture_too_large_to_be_one_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="too large"):
        stills.check_still(tmp_path / "bomb.png")


def test_the_network_picture_is_the_centre_of_the_scaled_picture() -> None:
    image = Image.fromarray(corners())
    geometry = frame_geometry(60, 40, fit="crop", input_px=(32, 32), short_side_px=40, stride=32)
    assert np.array_equal(stills.network_picture(image, geometry), corners()[4:36, 14:46])


def test_a_png_keeps_the_source_bit_for_bit(tmp_path: Path) -> None:
    planes = np.concatenate([corners()[..., i].ravel() for i in range(3)])
    stills.save_still(planes, 60, 40, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), corners())


def test_formats_follow_the_suffix() -> None:
    assert stills.output_suffix(Path("a.JPG")) == ".JPG" and stills.output_suffix(Path("a.gif")) == ".png"
    stills.check_writable_format(Path("a.webp"))
    with pytest.raises(CommandError, match="pictures are written as"):
        stills.check_writable_format(Path("a.mp4"))


def test_frames_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame2.png", "frame1.png", "Frame03.png", ".hidden.png", "note.txt"):
        Image.fromarray(corners()).save(tmp_path / name, format="png")
    assert [p.name for p in stills.pictures_in(tmp_path)] == ["frame1.png", "frame2.png", "Frame03.png", "frame10.png"]


def test_a_frame_of_another_size_is_fitted_on_black(tmp_path: Path) -> None:
    Image.fromarray(corners()).save(tmp_path / "1.png")
    Image.new("RGB", (30, 40), (255, 255, 255)).save(tmp_path / "2.png")
    first, second = stills.read_folder(stills.pictures_in(tmp_path), size=(60, 40))
    assert first.shape == second.shape == (40, 60, 3)
    assert (second[:, 20:40] == 255).all() and (second[:, :14] == 0).all() and (second[:, 46:] == 0).all()
