"""Small real videos for the tests, made with PyAV and the ffmpeg in use. Every frame carries its number as a barcode.

`PYTHONPATH=tests python -m support.clips FOLDER` makes them all, to look at.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.arrays import Array
from pipeline.media import ffmpeg_process

BITS, BLOCK = 8, 16  # the barcode: BITS squares of BLOCK pixels in the upper left corner, white for 1
WIDTH, HEIGHT = 256, 144


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Array:
    """RGB uint8 (height, width, 3): the number as a barcode, above a disc that moves over a coloured gradient."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([60 + x * 120 // width, 90 + y * 90 // height, np.full_like(x, 120)], axis=2).astype(np.uint8)
    rgb[np.hypot(x - 40 - 5 * (number % 30), y - height * 0.65) < 22] = (230, 60, 40)
    for bit in range(BITS):
        rgb[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    return rgb


def read_number(luma: Array) -> int:
    """The number in a decoded luma plane; the middle of each square decides."""
    quarter = BLOCK // 4
    squares = [luma[quarter : BLOCK - quarter, b * BLOCK + quarter : (b + 1) * BLOCK - quarter] for b in range(BITS)]
    return sum(int(square.mean() > 125) << bit for bit, square in enumerate(squares))


def write_clip(
    path: Path,
    times: Sequence[Fraction],
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    audio_start: Fraction | None = None,
    audio_seconds: float = 1.0,
    container_format: str | None = None,
    time_base: Fraction = Fraction(1, 90000),
) -> Path:
    """H.264 with B-frames, one frame at each time; AAC from `audio_start` on, a tone that rises."""
    with av.open(str(path), "w", format=container_format) as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "12", "bf": "2", "g": "25"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.time_base = video.codec_context.time_base = time_base
        audio = container.add_stream("aac", rate=48000) if audio_start is not None else None
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and audio_start is not None:
            _write_tone(container, audio, audio_start, audio_seconds)
    return path


def _write_tone(container: Any, stream: Any, start: Fraction, seconds: float) -> None:
    t = np.arange(int(48000 * seconds)) / 48000
    wave = (0.3 * np.sin(2 * np.pi * (300 + 200 * t) * t)).astype(np.float32)
    for first in range(0, len(wave), 1024):
        samples = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], "fltp", "mono")
        samples.sample_rate, samples.pts, samples.time_base = 48000, round(start * 48000) + first, Fraction(1, 48000)
        container.mux(stream.encode(samples))
    container.mux(stream.encode(None))


def constant(count: int = 30, rate: int = 25, start: Fraction = Fraction(0)) -> list[Fraction]:
    return [start + Fraction(n, rate) for n in range(count)]


def variable(count: int = 30) -> list[Fraction]:
    """As phones record: frames late by anything, a burst, and a pause of 1.3 seconds."""
    steps = [Fraction(3003 + 700 * (n * n % 7), 90000) for n in range(count)]
    steps[7] = steps[8] = Fraction(1, 240)
    steps[19] = Fraction(13, 10)
    return [sum(steps[:n], Fraction(0)) for n in range(count)]


def ffmpeg(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """What it writes to stdout, where the output is "-"."""
    command = [ffmpeg_process.bundled_ffmpeg_path(), "-y", "-hide_banner", "-loglevel", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE, cwd=cwd).stdout


def rotated(path: Path, degrees: int = 90) -> Path:
    """Frames stored lying on their side, with the display matrix that phones write."""
    upright = write_clip(path.with_name(f"plain_{path.name}"), constant())
    ffmpeg("-display_rotation", str(degrees), "-i", str(upright), "-c", "copy", str(path))
    return path


def full_range(path: Path) -> Path:
    plain = write_clip(path.with_name(f"plain_{path.name}"), constant())
    ffmpeg("-i", str(plain), "-vf", "scale=out_range=full,format=yuvj420p", "-color_range", "pc", "-c:v", "libx264", str(path))
    return path


CLIPS: dict[str, Callable[[Path], Path]] = {
    "constant.mp4": lambda p: write_clip(p, constant(), audio_start=Fraction(0)),
    "variable.mp4": lambda p: write_clip(p, variable(), audio_start=Fraction(0), audio_seconds=2.5),
    "variable.mkv": lambda p: write_clip(p, [Fraction(round(t * 1000), 1000) for t in variable()], time_base=Fraction(1, 1000)),
    "rotated.mov": rotated,
    "late_audio.mp4": lambda p: write_clip(p, constant(50), audio_start=Fraction(7, 10)),
    "late_video.mp4": lambda p: write_clip(p, constant(30, start=Fraction(4, 5)), audio_start=Fraction(0), audio_seconds=2),
    "late_start.mp4": lambda p: write_clip(p, constant(30, start=Fraction(5))),
    "stream.ts": lambda p: write_clip(p, constant(30, start=Fraction(2)), audio_start=Fraction(2), container_format="mpegts"),
    "odd.mkv": lambda p: odd(p),
    "full_range.mp4": full_range,
    "ntsc.mp4": lambda p: write_clip(p, [Fraction(1001 * n, 30000) for n in range(30)], time_base=Fraction(1, 30000)),
    "single.mp4": lambda p: write_clip(p, constant(1)),
}


def odd(path: Path) -> Path:
    """253 x 143 pixels, lossless FFV1: H.264 in 4:2:0 cannot have odd sides."""
    plain = write_clip(path.with_name("plain_odd.mp4"), constant())
    ffmpeg("-i", str(plain), "-vf", "crop=253:143:0:0:exact=1", "-c:v", "ffv1", str(path))
    return path


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in CLIPS.items():
        print(make(folder / name))
