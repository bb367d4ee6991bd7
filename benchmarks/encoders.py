"""Encoders on what this program makes: processor time, size and likeness to the uncompressed picture; a Markdown table.

python benchmarks/encoders.py [--clip FILE] [--frames N] [--repeat N] [--json FILE]

The picture is that of `visualize video` on the demo's clip, or on FILE, made without loss; all encoders get the same. Likeness is by
ffmpeg's psnr, ssim and libvmaf, where it has them. "default" marks what `visualize video` takes without --codec, --crf and --preset.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from clips import beginning, ffmpeg, to_null, uncompressed, visualize_video
from harness import Row, Usage, report, spread

from pipeline.explain import make_clip
from pipeline.media import ENCODERS, Encoder, find_ffmpeg_with, probe, try_encoder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LOSSLESS = ("--codec", "h264", "--crf", 0, "--preset", "ultrafast")  # x264 at 0 keeps every bit of 8-bit pictures


class Picture(NamedTuple):
    """The uncompressed result, and what is needed to judge an encoding of it."""

    raw: Path
    width_px: int
    height_px: int
    frames: int
    seconds: float


def candidates(width_px: int, height_px: int) -> Iterator[Encoder]:
    """Hardware that proves to work here, then software from the fastest; the default among it."""
    known = {encoder.name: encoder for group in ENCODERS.values() for encoder in group}
    for encoder in known.values():
        if encoder.hardware and try_encoder(encoder, width_px=width_px, height_px=height_px) is None:
            yield encoder
    for preset in ("ultrafast", "superfast", "veryfast", "faster", "medium"):
        yield _with(known["libx264"], preset=preset)
    for crf in (21, 22):  # the next faster preset as good as the default, and as small
        yield _with(known["libx264"], preset="superfast", crf=crf)
    for preset in ("ultrafast", "superfast", "veryfast"):
        yield _with(known["libx265"], preset=preset)
    for preset in ("8", "10", "12", "13"):
        yield _with(known["libsvtav1"], preset=preset)
    yield known["libvpx-vp9"]
    for speed in (6, 8):
        yield _with(known["libvpx-vp9"], deadline="realtime", **{"cpu-used": speed})


def _with(encoder: Encoder, **arguments: Any) -> Encoder:
    return replace(encoder, arguments={**encoder.arguments, **arguments})


def is_default(encoder: Encoder) -> bool:
    return any(encoder == candidate for candidate in ENCODERS["h264"] if not candidate.hardware)


def words(encoder: Encoder) -> list[object]:
    arguments = [part for key, value in encoder.arguments.items() for part in (f"-{key}", value)]
    return ["-c:v", encoder.name, *arguments, "-pix_fmt", encoder.pixels]


def setting(encoder: Encoder) -> str:
    names = {"preset": "", "deadline": "", "cpu-used": "cpu-used ", "crf": "crf ", "cq": "cq ", "global_quality": "quality ", "q:v": "q "}
    return " ".join(f"{said}{encoder.arguments[key]}" for key, said in names.items() if key in encoder.arguments)


def prepared(folder: Path, given: Path | None, frames: int) -> Picture:
    """The composite without loss, uncompressed."""
    clip = folder / f"clip{given.suffix if given else '.mp4'}"
    if given is None:
        make_clip(clip, overwrite=True)
    else:
        beginning(given, clip, frames)
    lossless = folder / "lossless.mp4"
    visualize_video(clip, lossless, *LOSSLESS)
    made = probe(lossless)
    raw = uncompressed(lossless, folder / "raw.nut", frames=frames)
    count = min(frames, made.frames_estimate or frames)
    seconds = float(count / made.frame_rate)
    return Picture(raw, made.width_px, made.height_px, count, seconds)


def likeness(encoded: Path, raw: Path) -> Row:
    """Means over the frames: PSNR of all planes in dB, SSIM, VMAF; none of what no ffmpeg here can tell."""
    filters = {
        "PSNR_dB": ("psnr", r"average:([\d.]+|inf)"),
        "SSIM": ("ssim", r"All:([\d.]+)"),
        "VMAF": ("libvmaf", r"VMAF score: ([\d.]+)"),
    }
    return {name: _mean(encoded, raw, *how) for name, how in filters.items()}


def _mean(encoded: Path, raw: Path, name: str, pattern: str) -> float | None:
    binary = find_ffmpeg_with(name)
    if binary is None:
        return None
    same_times = "settb=AVTB,setpts=N/25/TB"
    graph = f"[0:v]{same_times}[encoded];[1:v]{same_times}[raw];[encoded][raw]{name}{'=n_threads=2' if name == 'libvmaf' else ''}"
    command = [binary, "-hide_banner", "-nostdin", "-i", str(encoded), "-i", str(raw), "-lavfi", graph, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.findall(pattern, said)[-1])


def encoded_row(encoder: Encoder, picture: Picture, reading: Usage, repeat: int) -> Row:
    """What one encoder takes and gives; reading the uncompressed pictures is not counted."""
    output = picture.raw.with_name("encoded.mp4")
    usages = [ffmpeg("-i", picture.raw, "-map", "0:v:0", *words(encoder), "-fps_mode", "passthrough", output) for _ in range(repeat)]
    beyond = [usage.beyond(reading) for usage in usages]
    return {
        "encoder": f"{encoder.name} {setting(encoder)}" + (" (default)" if is_default(encoder) else ""),
        "cpu_ms_a_frame": spread([1000 * usage.cpu_seconds / picture.frames for usage in beyond]),
        "wall_ms_a_frame": spread([1000 * usage.wall_seconds / picture.frames for usage in beyond]),
        "kB/s": output.stat().st_size / 1000 / picture.seconds,
        **likeness(output, picture.raw),
    }


def encoders(options: argparse.Namespace) -> list[Row]:
    """Processor and wall time of encoding alone, size of the result, and likeness to what was encoded."""
    with tempfile.TemporaryDirectory() as name:
        picture = prepared(Path(name), options.clip, options.frames)
        readings = [to_null(picture.raw) for _ in range(options.repeat)]
        reading = Usage(median(usage.cpu_seconds for usage in readings), median(usage.wall_seconds for usage in readings))
        print(f"{picture.frames} frames of {picture.width_px}x{picture.height_px}\n", flush=True)
        return [encoded_row(encoder, picture, reading, options.repeat) for encoder in candidates(picture.width_px, picture.height_px)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, metavar="FILE", help="explain this video (default: the demo's clip)")
    parser.add_argument("--frames", type=int, default=240, metavar="N", help="its first frames")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="encodings of each; medians are shown, with min and max")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    options = parser.parse_args()
    options.markdown = True
    report(["encoders"], {"encoders": encoders}, options)


if __name__ == "__main__":
    main()
