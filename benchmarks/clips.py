"""The clips of the benchmarks, and ffmpeg and `visualize` as commands on them."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from harness import Usage, run

from pipeline.arrays import Array
from pipeline.explain import SHOTS, encode_pictures, read_photograph
from pipeline.media import ffmpeg_path

VISUALIZE = str(Path(sysconfig.get_path("scripts")) / "visualize")
FPS = Fraction(25)


def ffmpeg(*arguments: object) -> Usage:
    return run(ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments, memory_bytes=1 << 30)


def to_null(path: Path, *arguments: object) -> Usage:
    """Decode the video of a file, do to it what the arguments say, and write it nowhere."""
    return ffmpeg("-i", path, "-map", "0:v:0", *arguments, "-fps_mode", "passthrough", "-f", "null", "-")


def visualize_video(clip: Path, output: Path, *arguments: object, watch_memory: bool = False) -> Usage:
    return run(VISUALIZE, "video", clip, "-o", output, "--overwrite", "--quiet", *arguments, watch_memory=watch_memory)


def uncompressed(video: Path, output: Path, *, frames: int | None = None) -> Path:
    """The pictures of a video as they come out of its decoder."""
    count = () if frames is None else ("-frames:v", frames)
    ffmpeg("-i", video, "-map", "0:v:0", "-c", "rawvideo", *count, "-fps_mode", "passthrough", output)
    return output


def wall() -> Array:
    """Photographs from scikit-image side by side and one over the other, none of them enlarged: RGB (1500, 2250, 3)."""
    names = [shot[0] for shot in SHOTS]
    photos = [read_photograph(name)[:300, :450] for name in names]
    rows = [np.concatenate([photos[(column + 3 * row) % len(photos)] for column in range(5)], axis=1) for row in range(5)]
    return np.concatenate(rows, axis=0)


def pictures(width: int, height: int, count: int) -> Iterator[Array]:
    """A camera that glides over the wall and comes nearer, with the grain of a sensor."""
    photo, rng = wall(), np.random.default_rng(0)
    grain = rng.normal(0, 3, (height + 64, width + 64, 1)).astype(np.float32)
    for number in range(count):
        t = number / max(count - 1, 1)
        scale, (y, x) = 1.1 - 0.15 * t, rng.integers(0, 64, 2)
        left, top = t * (photo.shape[1] - width * scale), 0.5 * (photo.shape[0] - height * scale)
        to_photo = np.array([[scale, 0, left], [0, scale, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(photo, to_photo, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        yield np.clip(view + grain[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def make_clip(path: Path, width: int, height: int, count: int, *, fps: Fraction = FPS) -> Path:
    encode_pictures(pictures(width, height, count), path, width=width, height=height, fps=fps, output=path)
    return path


def beginning(clip: Path, output: Path, frames: int) -> Path:
    """The first frames of a clip as they are, without its sound."""
    ffmpeg("-i", clip, "-map", "0:v:0", "-c", "copy", "-frames:v", frames, output)
    return output
