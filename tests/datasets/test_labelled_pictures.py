"""A labelled picture: its file is opened once, and the hash and the pixels are those of its bytes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import labelled_pictures, near_duplicates
from pipeline.datasets.class_folders import Example
from pipeline.errors import InputError
from pipeline.media import images, resizing
from pipeline.records import Geometry

GEOMETRY = Geometry(scaled_width_px=24, scaled_height_px=16, width_px=24, height_px=16)


def read(path: Path) -> labelled_pictures.LabelledPicture:
    example = Example(path=path, name=path.name, label=0)
    return labelled_pictures.read_labelled_picture(example, lambda _width, _height: GEOMETRY, max_megapixels=None)


def test_a_labelled_picture_is_opened_once(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    opened: dict[str, int] = {}  # of the paths in it

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]) in opened:
            opened[str(arguments[0])] += 1

    sys.addaudithook(count)
    for name in ("a.jpg", "a.png", "a.webp", "a.tif"):
        path = tmp_path / name
        Image.fromarray(values).save(path)
        opened[str(path)] = 0
        found = read(path)
        assert opened.pop(str(path)) == 1
        image = images.read_image(path)
        np.testing.assert_array_equal(found.pixels, resizing.resize_for_network(resizing.image_to_frame(image), GEOMETRY))
        assert found.signature.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        assert found.signature.difference_hash == near_duplicates.difference_hash(np.asarray(image))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: cannot be read: No such file"):
        read(tmp_path / "gone.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.png: the file is empty"):
        read(tmp_path / "empty.png")
    (tmp_path / "film.png").write_bytes(b"\x47" + b"\x00" * 400)
    with pytest.raises(InputError, match=r"film\.png: is neither a picture nor a video"):
        read(tmp_path / "film.png")
