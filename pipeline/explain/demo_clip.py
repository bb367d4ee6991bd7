"""The demo's photographs, which come with scikit-image, and its clip: a camera gliding over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from pipeline.arrays import Array
from pipeline.errors import InputError
from pipeline.files import atomic_write, check_output
from pipeline.media import PICTURES_COLOUR_TAGS, OutputVideo, choose_encoder, images, images_to_frames, write_segment

WIDTH, HEIGHT = 640, 360
FPS = Fraction(24)
SHOT_SECONDS = 2.5
# File, then the camera's centre (x, y) and width at the begin and at the end of the shot, as fractions of the picture's width and height.
SHOTS = (
    ("chelsea.png", (0.45, 0.50, 0.95), (0.56, 0.42, 0.62)),
    ("coffee.png", (0.48, 0.55, 0.98), (0.54, 0.48, 0.70)),
    ("rocket.jpg", (0.42, 0.72, 0.70), (0.52, 0.42, 0.90)),
    ("motorcycle_left.png", (0.38, 0.55, 0.72), (0.56, 0.52, 0.95)),
)
SECONDS = SHOT_SECONDS * len(SHOTS)
PHOTOGRAPHS = {"cat.jpg": "chelsea.png", "coffee.jpg": "coffee.png", "rocket.jpg": "rocket.jpg", "motorcycle.jpg": "motorcycle_left.png"}


def read_photograph(name: str) -> Array:
    """RGB uint8 (height, width, 3) of a picture in scikit-image's data folder. Raises InputError when it is not there."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError("the demo's photographs are missing: scikit-image is not installed", remedy="reinstall heatreel with pip")
    return np.asarray(images.read_image(Path(spec.origin).parent / "data" / name))


def draw_frames() -> Iterator[Array]:
    """Every frame of the clip, RGB uint8 (HEIGHT, WIDTH, 3), with a hard cut between the shots."""
    count = round(SHOT_SECONDS * FPS)
    for name, begin, end in SHOTS:
        photo = read_photograph(name)
        for number in range(count):
            t = number / (count - 1)
            ease = t * t * (3 - 2 * t)  # starts and stops softly
            yield _crop_to_camera(photo, *(b + (e - b) * ease for b, e in zip(begin, end, strict=True)))


def _crop_to_camera(photo: Array, x: float, y: float, width: float) -> Array:
    full_height, full_width = photo.shape[:2]
    view_width = min(width * full_width, full_height * WIDTH / HEIGHT)
    view_height = view_width * HEIGHT / WIDTH
    left = min(max(x * full_width - view_width / 2, 0), full_width - view_width)
    top = min(max(y * full_height - view_height / 2, 0), full_height - view_height)
    scale = view_width / WIDTH
    to_photo = np.array([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])  # between pixel centres
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, to_photo, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def encode_pictures(pictures: Iterable[Array], path: Path, *, width: int, height: int, fps: Fraction, output: Path) -> None:
    """Write pictures, RGB uint8 (height, width, 3), as H.264 of high quality, `fps` in a second, without sound; messages name `output`."""
    target = OutputVideo(
        output=output,
        width_px=width,
        height_px=height,
        time_base=1 / fps,
        frame_rate=fps,
        encoder=choose_encoder("h264", width_px=width, height_px=height, crf=18),
        colour_tags=PICTURES_COLOUR_TAGS,
    )
    times = (number / fps for number in itertools.count())
    frames = images_to_frames(pictures, times_seconds=times, time_base=1 / fps)
    write_segment(((np.concatenate([plane.ravel() for plane in f.planes]), f.pts) for f in frames), target, path)


def write_photographs(folder: Path, *, overwrite: bool) -> None:
    """Write PHOTOGRAPHS into a folder. Raises OutputError when one is there already or cannot be written."""
    for name in PHOTOGRAPHS:
        check_output(folder / name, sources=frozenset(), overwrite=overwrite)
    for name, source in PHOTOGRAPHS.items():
        with atomic_write(folder / name, overwrite=overwrite) as temporary:
            images.save_image(read_photograph(source).transpose(2, 0, 1), temporary)


def make_clip(output: Path, *, overwrite: bool) -> None:
    """Write the clip as H.264. Raises OutputError when it exists already or cannot be written."""
    check_output(output, sources=frozenset(), overwrite=overwrite)
    with atomic_write(output, overwrite=overwrite) as temporary:
        encode_pictures(draw_frames(), temporary, width=WIDTH, height=HEIGHT, fps=FPS, output=output)
