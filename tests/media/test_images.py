"""Photographs in and out, against files made by hand."""

from __future__ import annotations

import gzip
import os
import random
import re
import socket
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile
from support import clips

from pipeline.arrays import Array
from pipeline.datasets import class_folders
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.explain import job_planning
from pipeline.media import images
from pipeline.media.images import damaged_images
from pipeline.options import Options


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


LOSSLESS: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 100, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
    "heic": {"quality": -1, "chroma": 444},
}


def write(path: Path, rgb: Any, exif: Image.Exif | None = None) -> Path:
    image, extra = Image.fromarray(np.ascontiguousarray(rgb)), {"exif": exif.tobytes()} if exif else {}
    if path.suffix == ".heic":
        pillow_heif.from_pillow(image).save(path, **LOSSLESS["heic"], **extra)
    else:
        image.save(path, **LOSSLESS[path.suffix[1:]], **extra)
    return path


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("orientation", UPRIGHT_TO_STORED)
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / f"1.{suffix}", UPRIGHT_TO_STORED[orientation](corners()), exif)
    upright = np.asarray(images.read_image(path)).astype(int)
    assert upright.shape == (40, 60, 3) and np.abs(upright - corners()).mean() < 3
    sequence = images.open_image_folder(tmp_path, fps=Fraction(25))
    assert (sequence.width_px, sequence.height_px) == (60, 40)
    if suffix == "heic" and orientation == 6:  # it says so twice, and is turned once
        data = path.read_bytes()
        assert b"irot" in data and b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06" in data


def test_other_kinds_of_pixels_become_8_bit_rgb(tmp_path: Path) -> None:
    deep = (np.arange(40 * 60).reshape(40, 60) * 27).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = np.asarray(images.read_image(tmp_path / "deep.png")).astype(int)
    assert np.abs(read - (deep / 257)[..., None]).max() <= 0.5

    rgba = np.dstack([corners(), np.full((40, 60), 128, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    half = np.asarray(images.read_image(tmp_path / "clear.png")).astype(float)
    np.testing.assert_allclose(half, corners() * (128 / 255) + 255 * (127 / 255), atol=1)

    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    assert np.asarray(images.read_image(tmp_path / "print.jpg"))[4, 4].argmax() == 0


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    good, cut = tmp_path / "good.jpg", tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(good)
    cut.write_bytes(good.read_bytes()[:4000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture at all")
    cases = {
        "missing.jpg": "no such file",
        "empty.jpg": "empty",
        "text.jpg": "is text, not a picture",
        "cut.jpg": "damaged",
        ".": "is a folder",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            images.read_image(tmp_path / name)


def test_a_picture_too_large_to_be_one_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="too large"):
        images.check_image(tmp_path / "bomb.png")


def test_a_png_keeps_the_source_bit_for_bit(tmp_path: Path) -> None:
    images.save_image(np.stack([corners()[..., i] for i in range(3)]), tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), corners())


def test_formats_follow_the_suffix() -> None:
    assert images.output_suffix(Path("a.JPG")) == ".JPG" and images.output_suffix(Path("a.gif")) == ".png"
    images.check_writable_format(Path("a.webp"))
    with pytest.raises(CommandError, match="pictures are written as"):
        images.check_writable_format(Path("a.mp4"))


def test_frames_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("frame10.png", "frame2.png", "frame1.png", "Frame03.png", ".hidden.png", "note.txt"):
        Image.fromarray(corners()).save(tmp_path / name, format="png")
    assert [p.name for p in images.list_images(tmp_path)] == ["frame1.png", "frame2.png", "Frame03.png", "frame10.png"]


def test_a_frame_of_another_size_is_fitted_on_black(tmp_path: Path) -> None:
    Image.fromarray(corners()).save(tmp_path / "1.png")
    Image.new("RGB", (30, 40), (255, 255, 255)).save(tmp_path / "2.png")
    first, second = images.read_image_sequence(images.open_image_folder(tmp_path, fps=Fraction(25)))
    assert first.shape == second.shape == (40, 60, 3)
    assert (second[:, 20:40] == 255).all() and (second[:, :14] == 0).all() and (second[:, 46:] == 0).all()


GRAY = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27
DEEP = np.dstack([GRAY, GRAY[::-1], np.full_like(GRAY, 65535)])
HALF = np.full_like(GRAY, 32768)
ON_WHITE = DEEP / 257 * (32768 / 65535) + 255 * (32767 / 65535)
TIFFS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gray 16": (GRAY, GRAY / 257, {}),
    "gray 16 big endian": (GRAY, GRAY / 257, {"byteorder": ">"}),
    "gray 16, white is zero": (GRAY, 255 - GRAY / 257, {"photometric": "miniswhite"}),
    "gray 16 signed": ((GRAY // 2).astype(np.int16), GRAY / 257, {}),
    "gray 32 unsigned": (GRAY.astype(np.uint32) * 65537, GRAY / 257, {}),
    "gray 32 as 16": (GRAY.astype(np.int32), GRAY / 257, {}),
    "gray 32 as 8": ((GRAY // 257).astype(np.int32), GRAY // 257, {}),
    "float to 1": ((GRAY / 65535).astype(np.float32), GRAY / 257, {}),
    "float to 255": ((GRAY / 257).astype(np.float32), GRAY / 257, {}),
    "float of any range": ((GRAY * 3e-3 - 50).astype(np.float32), GRAY * (255 / GRAY.max()), {}),
    "float with holes": (np.where(GRAY < 200, np.nan, GRAY / 65535).astype(np.float32), np.where(GRAY < 200, 0, GRAY) / 257, {}),
    "rgb 16": (DEEP, DEEP / 257, {"photometric": "rgb"}),
    "rgb 16 deflated": (DEEP, DEEP / 257, {"photometric": "rgb", "compression": "zlib"}),
    "rgba 16": (np.dstack([DEEP, HALF]), ON_WHITE, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_every_number_format_of_tiff_has_its_own_scale(tmp_path: Path, kind: str) -> None:
    data, expected, how = TIFFS[kind]
    tifffile.imwrite(tmp_path / "a.tif", data, **{"photometric": "minisblack", **how})
    read = np.asarray(images.read_image(tmp_path / "a.tif")).astype(float)
    np.testing.assert_allclose(read, np.broadcast_to(np.atleast_3d(expected), (40, 60, 3)), atol=1)


def test_a_tiff_that_pillow_reads_as_noise_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="separate colour planes"):
        images.read_image(tmp_path / "a.tif")


def test_deep_and_transparent_png(tmp_path: Path) -> None:
    def read(name: str) -> Any:
        return np.asarray(images.read_image(tmp_path / name)).astype(float)

    cv2.imwrite(str(tmp_path / "rgb.png"), DEEP[..., ::-1])
    np.testing.assert_allclose(read("rgb.png"), DEEP / 257, atol=1)
    cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([DEEP[..., ::-1], HALF]))
    np.testing.assert_allclose(read("rgba.png"), ON_WHITE, atol=1)
    eight = (GRAY // 257).astype(np.uint8)
    Image.fromarray(np.dstack([eight, np.full_like(eight, 128)])).save(tmp_path / "la.png")
    np.testing.assert_allclose(read("la.png")[..., 1], eight * (128 / 255) + 255 * (127 / 255), atol=1)
    Image.fromarray(GRAY).save(tmp_path / "key.png", transparency=int(GRAY[3, 3]))
    np.testing.assert_allclose(read("key.png")[..., 2], np.where(GRAY[3, 3] == GRAY, 255, GRAY / 257), atol=0.5)
    few = Image.fromarray(corners()).quantize(8)
    few.save(tmp_path / "p.png", transparency=few.getpixel((0, 0)))
    on_white = corners()
    on_white[:20, :30] = 255
    assert np.array_equal(read("p.png"), on_white)
    Image.fromarray(GRAY > 30000).save(tmp_path / "1.png")
    assert np.array_equal(read("1.png")[..., 0], (GRAY > 30000) * 255)


def test_cmyk_with_and_without_a_profile(tmp_path: Path) -> None:
    ink = Image.fromarray(corners()).convert("CMYK")
    for name, extra in {"plain": {}, "garbage": {"icc_profile": b"garbage" * 30}}.items():
        ink.save(tmp_path / f"{name}.jpg", quality=100, **extra)
        assert b"Adobe" in (tmp_path / f"{name}.jpg").read_bytes()  # and so stored inverted
        assert np.abs(np.asarray(images.read_image(tmp_path / f"{name}.jpg")).astype(int) - corners()).max() <= 2
    lab = ImageCms.profileToProfile(
        Image.fromarray(corners()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    assert np.abs(np.asarray(images.read_image(tmp_path / "lab.tif")).astype(int) - corners()).mean() < 8  # 8 bits of LAB are coarse


def test_an_animation_is_its_first_frame_and_says_so(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(corners(), 7 * n, axis=1)) for n in range(4)]
    for suffix in ("gif", "png", "webp", "avif"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=50, **LOSSLESS.get(suffix, {}))
        [warning] = images.check_image(tmp_path / f"a.{suffix}")
        assert warning == "animated: the first of 4 frames; `visualize video` shows them all"
        assert np.abs(np.asarray(images.read_image(tmp_path / f"a.{suffix}")).astype(int) - corners()).mean() < 3
        assert images.detect_image_kind(tmp_path / f"a.{suffix}") == ("animated webp" if suffix == "webp" else "animated")
        frames[0].save(tmp_path / f"s.{suffix}")
        assert images.check_image(tmp_path / f"s.{suffix}") == () and images.detect_image_kind(tmp_path / f"s.{suffix}") == "still"
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    assert images.check_image(tmp_path / "pages.tif") == ("the file holds 4 pictures; the first is shown",)
    [job] = job_planning.plan_images([tmp_path / "a.gif"], output=tmp_path / "o.png", options=Options())
    assert isinstance(job, job_planning.Job) and "first of 4" in job.warnings[0]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bombs(folder: Path) -> list[Path]:
    """Small files whose headers, tiles or text claim gigabytes."""
    zeros = zlib.compress(bytes(200 << 20))
    head, end = b"\x89PNG\r\n\x1a\n", chunk(b"IDAT", zlib.compress(bytes(200))) + chunk(b"IEND", b"")
    (folder / "wide.png").write_bytes(head + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 16, 6, 0, 0, 0)) + end)
    small = head + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    (folder / "text.png").write_bytes(small + chunk(b"zTXt", b"x\0\0" + zeros) + end)
    (folder / "profile.png").write_bytes(small + chunk(b"iCCP", b"x\0\0" + zeros) + end)
    frames = [Image.fromarray(corners()), Image.fromarray(corners()[::-1])]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:])
    data = bytearray((folder / "a.webp").read_bytes())
    data[24:30] = b"\xff\x3f\x00\xff\x3f\x01"
    (folder / "canvas.webp").write_bytes(data)
    (folder / "a.webp").unlink()
    tifffile.imwrite(folder / "tiles.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb", tile=(32, 32), compression="zlib")
    data = bytearray((folder / "tiles.tif").read_bytes())
    for tag in (322, 323):
        at = next(i for i in range(len(data)) if data[i : i + 2] == struct.pack("<H", tag) and data[i + 4 : i + 8] == b"\1\0\0\0")
        data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 60000)
    (folder / "tiles.tif").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.mark.process
def test_bombs_are_refused_without_the_memory_they_ask_for(tmp_path: Path) -> None:
    names = [str(path) for path in bombs(tmp_path)]
    assert len(names) == 5
    # VmHWM, because getrusage's peak is inherited from the process that starts another.
    code = """
import sys
from pathlib import Path
from pipeline.media import images
from pipeline.media.images import damaged_images
from pipeline.errors import InputError
for name in sys.argv[1:]:
    for read in (images.check_image, images.read_image, images.read_partial_image, images.detect_image_kind):
        try: result = read(Path(name))
        except InputError as error: result = error
    assert read(Path(name)) != 'animated' and not hasattr(result, 'size')
    try: sys.exit(f'{name}: {images.read_image(Path(name))}')
    except InputError as error: pass
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    result = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 200 << 10  # kilobytes


def test_the_cap_is_in_megapixels_and_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", corners())
    with pytest.raises(InputError, match=r"0\.0024 megapixels \(60 x 40\), above the limit of 0\.002; raise it with --max-megapixels"):
        images.read_image(path, max_megapixels=0.002)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit would refuse more than 200 pixels
    assert images.read_image(path, max_megapixels=0.0024).size == (60, 40)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(CommandError, match="--max-megapixels -1"):
        Options(max_megapixels=-1)
    [refusal] = job_planning.plan_predictions([path], max_megapixels=0.001)
    assert isinstance(refusal, job_planning.Refusal)


@pytest.mark.media
def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        for path in (tmp_path / "pipe.jpg", tmp_path / "socket.jpg", Path("/dev/zero")):
            for plan in (job_planning.plan_images, job_planning.plan_videos):
                [refusal] = plan([path], output=tmp_path / ("o.jpg" if plan is job_planning.plan_images else "o.mp4"), options=Options())
                assert isinstance(refusal, job_planning.Refusal) and "is not a file" in str(refusal.error)
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(InputError, match="Too many levels"):
        images.check_image(tmp_path / "loop.jpg")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7 macOS")
    with pytest.raises(InputError, match=r"macOS metadata file, not a picture; the picture itself is a\.jpg"):
        images.check_image(tmp_path / "._a.jpg")
    assert images.list_images(tmp_path) == []


def photograph() -> Any:
    y, x = np.mgrid[:96, :128]
    noise = np.random.default_rng(0).integers(0, 30, (96, 128, 3))
    return (np.stack([x, y * 2, x + y], axis=2) + noise).clip(0, 255).astype(np.uint8)


def one_of_each(folder: Path) -> list[Path]:
    image = Image.fromarray(photograph())
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 3, "a description"
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.avif", "a.heic"):
        write(folder / name, photograph(), exif)
    image.convert("CMYK").save(folder / "ink.jpg")
    image.save(folder / "fine.jpg", progressive=True)
    image.quantize(16).save(folder / "few.png")
    image.save(folder / "lzw.tif", compression="tiff_lzw")
    Image.fromarray(photograph()[..., 0].astype(np.float32)).save(folder / "float.tif", compression="tiff_deflate")
    for name in ("a.gif", "a.bmp", "a.ppm"):
        image.save(folder / name)
    image.save(folder / "moving.webp", save_all=True, append_images=[image.rotate(9), image.rotate(20)], duration=50)
    return sorted(folder.iterdir())


def test_a_picture_that_is_cut_off_is_damaged_in_every_format(tmp_path: Path) -> None:
    for path in one_of_each(tmp_path):
        whole = path.read_bytes()
        for part in (0.3, 0.6, 0.95):
            path.write_bytes(whole[: int(part * len(whole))])
            with pytest.raises(InputError, match="damaged"):
                images.read_image(path)


def rows_of(data: bytes, suffix: str) -> int:
    """How many whole rows there are in the first bytes of a picture of `one_of_each`, counted without Pillow."""
    row = 128 * 3
    if suffix in (".bmp", ".ppm"):
        start = int.from_bytes(data[10:14], "little") if suffix == ".bmp" else data.index(b"255\n") + 4
        return (len(data) - start) // row
    raw, at = b"", data.index(b"IDAT")
    unpacker = zlib.decompressobj()
    while data[at : at + 4] == b"IDAT":
        length = int.from_bytes(data[at - 4 : at], "big")
        raw += unpacker.decompress(data[at + 4 : at + 4 + length])
        at += length + 12
    return len(raw) // (1 + row)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_what_decodes_of_a_picture_that_is_cut_off(tmp_path: Path, part: float) -> None:
    """Every row that is there, gray for the rest, and how many that is; nothing is missing of a whole picture."""
    told = {}
    for path in one_of_each(tmp_path):
        image, missing = images.read_partial_image(path)
        full = np.asarray(images.read_image(path)).astype(int)
        assert missing is None and np.array_equal(image, full)
        data = path.read_bytes()[: int(part * path.stat().st_size)]
        path.write_bytes(data)
        try:
            image, missing = images.read_partial_image(path)
        except InputError as error:
            assert "damaged" in str(error)
            continue
        assert image.mode == "RGB" and missing is not None
        told[path.name] = missing
        cut, whole = np.asarray(image).astype(int), full
        if path.name in ("a.jpg", "a.png", "a.tif", "a.bmp"):  # stored on the head, the first three with an EXIF that says so
            cut, whole = cut[::-1], full[::-1]
        said = re.fullmatch(r"the file ends after about (\d+) % of its rows; the rest is gray", missing)
        if said is None:
            continue
        rows = int(int(said[1]) * 96 / 100)
        if path.suffix in (".png", ".bmp", ".ppm") and path.name != "few.png":
            assert abs(rows - rows_of(data, path.suffix)) <= 1
        assert np.abs(cut[: rows - 16] - whole[: rows - 16]).max(initial=0) <= 3, path.name  # libjpeg smooths the last row of blocks
        if path.name != "ink.jpg":
            assert (cut[rows + 18 :] == 128).all()
    rowwise = {"a.jpg", "a.png", "a.bmp", "a.ppm", "a.tif", "few.png", "ink.jpg"}
    assert {name for name, missing in told.items() if "of its rows" in missing} == rowwise
    assert told["a.gif"].endswith("% of its pixels; the others are filled in from these")
    if part > 0.5:
        assert told["fine.jpg"] == "the file ends before the picture is complete: what decodes of it is coarse, or gray"
    assert set(told) <= {*rowwise, "a.gif", "fine.jpg"}  # the others decode as a whole or not at all
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def adam7(rgb: Array) -> bytes:
    """An interlaced PNG (https://www.w3.org/TR/png-3/#8Interlace), which Pillow does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    raw = b"".join(b"\0" + row.tobytes() for y, x, down, right in passes for row in rgb[y::down, x::right])
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 0)) + chunk(b"IEND", b"")


def test_what_is_interlaced_is_seen_coarse(tmp_path: Path) -> None:
    rgb = cv2.GaussianBlur(photograph(), (0, 0), 2)
    data = adam7(rgb)
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(images.read_image(tmp_path / "a.png"), rgb)
    wrong = []
    for part in (0.1, 0.3, 0.6):
        (tmp_path / "a.png").write_bytes(data[: int(part * len(data))])
        image, missing = images.read_partial_image(tmp_path / "a.png")
        share = int(re.findall(r"about (\d+) % of its pixels", str(missing))[0])
        assert abs(share - 100 * part) <= 2  # stored without compression
        wrong.append(np.abs(np.asarray(image).astype(int) - rgb).mean())
    assert wrong[2] < wrong[1] < wrong[0] < 12 and wrong[2] < 3


def test_damage_behind_and_within_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write(path, photograph())
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-12] + chunk(b"tEXt", b"Title\0" + bytes(50))[:30])  # the pixels end before
    image, missing = images.read_partial_image(path)
    assert np.array_equal(image, photograph()) and missing is not None and missing.startswith("the file ends behind its last row (")
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    image, missing = images.read_partial_image(path)
    rows = int(re.findall(r"damaged after about (\d+) % of its rows", str(missing))[0]) * 96 // 100
    assert 40 <= rows <= 56 and np.array_equal(np.asarray(image)[:36], photograph()[:36])  # it is noticed late
    write(path, photograph())
    data = bytearray(path.read_bytes())
    at = data.index(b"IEND") - 12  # the checksum of the pixels, as zlib has it
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    image, missing = images.read_partial_image(path)
    assert missing == "the file is damaged after about 98 % of its rows; the rest is gray"  # they are given when the checksum is right
    told = damaged_images._describe_missing(OSError("broken data stream"), np.ones((2, 2), bool))
    assert told == "the file is damaged, and nothing tells where (broken data stream)"
    path.write_bytes(data[: data.index(b"IDAT") + 4])
    with pytest.raises(InputError, match="the picture is damaged"):
        images.read_partial_image(path)


def test_whole_and_cut_pictures_do_not_disturb_one_another(tmp_path: Path) -> None:
    """Many threads read both kinds at once: which is which is never a matter of what another thread does."""
    whole, cut = write(tmp_path / "whole.jpg", photograph()), tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: (n % 3, images.read_partial_image(cut if n % 3 == 0 else whole).missing), range(240)))
    assert all((missing is not None) == (kind == 0) for kind, missing in found)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of EXIF it cannot read
def test_no_mutation_makes_anything_but_a_picture_or_an_input_error(tmp_path: Path) -> None:
    chance = random.Random(1)
    for path in one_of_each(tmp_path):
        whole, outcomes = path.read_bytes(), set()
        for _ in range(15):
            data = bytearray(whole)
            for _ in range(chance.choice((1, 2, 4, 16))):
                place = int(chance.random() ** chance.choice((1, 3)) * len(data))  # headers oftener
                data[place] = chance.choice((0, 128, 255, chance.randrange(256)))
            path.write_bytes(data)
            images.detect_image_kind(path)
            for read in (
                images.check_image,
                images.read_image,
                images.read_partial_image,
                lambda p: list(images.read_image_sequence(images.open_animation(p))),
            ):
                try:
                    read(path)
                    outcomes.add("read")
                except InputError as error:
                    assert str(path) in str(error)
                    outcomes.add("refused")
        assert outcomes == {"read", "refused"}, path.name


@pytest.mark.media
def test_an_animated_webp_has_the_times_of_its_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(corners(), 9 * n, axis=1)) for n in range(5)]
    durations_ms = [40, 250, 10, 0, 70]
    frames[0].save(tmp_path / "a.mp4", format="webp", save_all=True, append_images=frames[1:], duration=durations_ms, lossless=True)
    sequence = images.open_animation(tmp_path / "a.mp4")
    expected_ms = [0, 40, 290, 390, 490]  # 10 and 0 count as 100
    assert list(sequence.times_seconds) == [Fraction(t, 1000) for t in expected_ms] and sequence.end_seconds == Fraction(560, 1000)
    assert all((t / sequence.time_base).denominator == 1 for t in sequence.times_seconds) and sequence.frame_rate == Fraction(5000, 560)
    for first, last in ((0, None), (2, 4), (4, None)):
        read = list(images.read_image_sequence(sequence, first=first, last=last))
        assert all(np.array_equal(a, b) for a, b in zip(read, map(np.asarray, frames[first:last]), strict=True))
    assert sequence.between(None, None) == range(5) and sequence.between(0.04, 0.39) == range(1, 3) and not sequence.between(0.5, None)
    assert sequence.seconds(range(1, 3)) == Fraction(350, 1000) and sequence.seconds(range(3, 5)) == Fraction(170, 1000)
    [job] = job_planning.plan_videos([tmp_path / "a.mp4"], output=tmp_path / "o.mp4", options=Options())
    assert isinstance(job, job_planning.Job) and job.pictures == sequence


@pytest.mark.media
def test_a_still_picture_is_no_video(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.heic", "a.webp"):
        path = write(tmp_path / name, corners()).rename(tmp_path / f"{name}.mp4")
        [refusal] = job_planning.plan_videos([path], output=tmp_path / "o.mp4", options=Options())
        assert isinstance(refusal, job_planning.Refusal) and str(refusal.error) == f"{path}: is a picture; use `visualize image`"


OTHERS = {
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3",
    "a ZIP archive": b"PK\x03\x04\x14\0\6\0",
    "a gzip archive": gzip.compress(b"a"),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n\0\0",
    "a sound recording": b"RIFF\x24\0\0\0WAVEfmt ",
    "text": "Grüße, und sonst nichts als Text, der länger ist als der Kopf einer Datei: mit ü am Ende".encode()[:64],
}


@pytest.mark.media
def test_what_is_neither_picture_nor_video_is_called_what_it_is(tmp_path: Path) -> None:
    def said(plan: Any, name: str) -> str:
        [refusal] = plan([tmp_path / name])
        assert isinstance(refusal, job_planning.Refusal), refusal
        return str(refusal.error).removeprefix(f"{tmp_path}/")

    def image(paths: list[Path]) -> Any:
        return job_planning.plan_images(paths, output=tmp_path / "o.png", options=Options())

    def video(paths: list[Path]) -> Any:
        return job_planning.plan_videos(paths, output=tmp_path / "o.mp4", options=Options())

    for kind, head in OTHERS.items():
        (tmp_path / "a.jpg").write_bytes(head)
        (tmp_path / "a.mp4").write_bytes(head)
        assert said(image, "a.jpg") == said(job_planning.plan_predictions, "a.jpg") == f"a.jpg: is {kind}, not a picture"
        assert said(video, "a.mp4").removesuffix("; check the file") == f"a.mp4: is {kind}, not a video"
        (tmp_path / "a.xyz").write_bytes(head)
        assert (
            said(job_planning.plan_predictions, "a.xyz").removesuffix("; check the file")
            == f"a.xyz: is {kind}, neither a picture nor a video"
        )
    for name in ("a.jpg", "a.mp4", "a.jxl"):
        (tmp_path / name).write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20))
    jpeg_xl = "is a JPEG XL file, which is not read here"
    assert said(image, "a.jpg") == f"a.jpg: {jpeg_xl}" and said(video, "a.mp4") == f"a.mp4: {jpeg_xl}"
    assert said(job_planning.plan_predictions, "a.jxl") == f"a.jxl: {jpeg_xl}"
    (tmp_path / "a.jpg").write_bytes(random.Random(3).randbytes(5000))
    (tmp_path / "a.mp4").write_bytes(random.Random(3).randbytes(5000))
    assert said(image, "a.jpg") == "a.jpg: is neither a picture nor a video of a kind that is known here; check the file"
    assert said(video, "a.mp4").startswith("a.mp4: is neither a picture nor a video that ffmpeg can read (")
    (tmp_path / "empty").mkdir()
    assert said(image, "empty") == said(job_planning.plan_predictions, "empty") == "empty: is a folder, and there is no picture in it"
    write(tmp_path / "a.png", photograph())
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.png").read_bytes()[:20])  # too short to be opened
    assert said(video, "cut.mp4") == "cut.mp4: is a picture; use `visualize image`"


def test_a_video_by_a_pictures_name(tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "a.mp4", [Fraction(n, 25) for n in range(3)]).rename(tmp_path / "a.jpg")
    [refusal] = job_planning.plan_images([path], output=tmp_path / "o.jpg", options=Options())
    assert isinstance(refusal, job_planning.Refusal) and str(refusal.error) == f"{path}: is a video; use `visualize video`"
    [job] = job_planning.plan_predictions([path])
    assert isinstance(job, job_planning.Job) and job.source is not None and job.source.width_px > 0
    for label in ("one", "two"):
        (tmp_path / "data" / label).mkdir(parents=True)
        write(tmp_path / "data" / label / "p.png", photograph())
    path.rename(tmp_path / "data" / "one" / "b.jpg")
    found = class_folders.load_dataset(tmp_path / "data")
    assert found.unreadable == [("one/b.jpg", f"{tmp_path}/data/one/b.jpg: is a video")]  # no command is recommended here


@pytest.mark.parametrize(
    ("names", "missing", "count"),
    [
        (["f1", "f2", "f3"], [], 0),
        (["8", "9", "10", "11"], [], 0),
        (["a_001", "a_002", "a_005", "A_007"], [3, 4, 6], 3),
        (["shot2_take1_7", "shot2_take1_9"], [8], 1),
        (["1", "01", "2"], [], 0),
        (["1", "100000000001"], [2, 3, 4, 5, 6], 99999999999),
        (["cat", "dog12", "dog99"], [], 0),
        (["1_1", "1_9", "2_4"], [], 0),
        (["only7"], [], 0),
    ],
)
def test_numbers_that_are_missing(names: list[str], missing: list[int], count: int) -> None:
    assert images.find_missing_numbers(names) == (missing, count)


def test_a_gap_stops_unless_it_is_allowed(tmp_path: Path) -> None:
    for number in (3, 4, 9):
        write(tmp_path / f"f{number}.png", corners()[:, : 60 if number < 9 else 30])
    with pytest.raises(InputError, match=r"4 frames missing by number \(5, 6, 7, 8\); --allow-gaps"):
        images.open_image_folder(tmp_path, fps=Fraction(10))
    sequence = images.open_image_folder(tmp_path, fps=Fraction(10), allow_gaps=True)
    assert list(sequence.times_seconds) == [0, Fraction(1, 10), Fraction(2, 10)] and sequence.end_seconds == Fraction(3, 10)
    assert "follow one another without a pause" in sequence.warnings[0]
    assert sequence.warnings[1].startswith("1 of 3 frames have another size than the first, 60 x 40")


def test_sizes_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"20000 x 1 pixels, and \.webp holds no more than 16383"):
        images.save_image(np.zeros((3, 1, 20000), np.uint8), tmp_path / "a.webp")


def test_avif_is_written_well(tmp_path: Path) -> None:
    planes = np.stack([photograph()[..., i] for i in range(3)])
    errors = {}
    for suffix in (".avif", ".jpg"):
        images.save_image(planes, tmp_path / f"a{suffix}")
        errors[suffix] = float(
            np.square(np.asarray(Image.open(tmp_path / f"a{suffix}").convert("RGB")).astype(float) - photograph()).mean()
        )
    assert errors[".avif"] < 1.5 * errors[".jpg"]
    assert images.output_suffix(Path("a.HEIC")) == ".jpg" and images.output_suffix(Path("a.avif")) == ".avif"
