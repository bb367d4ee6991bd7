"""The encoders of the ffmpeg in use: tried with a real encode, not believed from a list."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.errors import CommandError
from pipeline.media import ffmpeg_process
from pipeline.options import Codec


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder of ffmpeg with its arguments; `passed_over` says which would have come first, and why they do not work here."""

    name: str
    arguments: Mapping[str, Any]
    hardware: bool = False
    pixels: str = "yuv420p"
    passed_over: tuple[str, ...] = ()


def _software(name: str, **arguments: Any) -> Encoder:
    return Encoder(name=name, arguments=arguments)


def _nvenc(name: str) -> Encoder:
    return Encoder(name=name, arguments={"preset": "p4", "rc": "vbr", "cq": 23, "b:v": 0}, hardware=True)


# In order of preference. The software presets are where more effort buys little on such pictures (table in benchmarks/RESULTS.md).
ENCODERS: Mapping[str, Sequence[Encoder]] = {
    "h264": (
        _nvenc("h264_nvenc"),
        Encoder(name="h264_videotoolbox", arguments={"q:v": 60}, hardware=True),
        Encoder(name="h264_qsv", arguments={"global_quality": 23}, hardware=True),
        _software("libx264", crf=20, preset="veryfast"),
    ),
    "hevc": (
        _nvenc("hevc_nvenc"),
        Encoder(name="hevc_videotoolbox", arguments={"q:v": 60, "tag:v": "hvc1"}, hardware=True),
        _software("libx265", crf=24, preset="superfast", **{"tag:v": "hvc1", "x265-params": "log-level=error"}),
    ),
    "av1": (_nvenc("av1_nvenc"), _software("libsvtav1", crf=32, preset="10")),
    "vp9": (_software("libvpx-vp9", crf=32, deadline="realtime", **{"cpu-used": 6, "row-mt": 1, "b:v": 0}),),
    "prores": (Encoder(name="prores_ks", arguments={"profile:v": 3, "vendor": "apl0"}, pixels="yuv422p10le"),),
}
_QUALITY_ARGUMENTS = ("crf", "cq", "global_quality")
CONTAINERS: Mapping[str, str] = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_CODECS_OF_CONTAINER: Mapping[str, Sequence[str]] = {
    "mp4": ("auto", "h264", "hevc", "av1", "vp9"),
    "mov": ("auto", "h264", "hevc", "prores"),
    "matroska": ("auto", "h264", "hevc", "av1", "vp9", "prores"),
    "webm": ("vp9", "av1"),
}


def default_suffix(codec: Codec) -> str:
    """The container that a codec's videos get where the user names none: ".mov" for ProRes, else ".mp4"."""
    return ".mov" if codec == "prores" else ".mp4"


def check_container(output: Path, codec: Codec) -> None:
    """Raises CommandError when the suffix is no video container, or one that cannot hold the codec."""
    container = CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise CommandError(f"{output}: no such video container; one of {', '.join(CONTAINERS)} is needed")
    if codec not in _CODECS_OF_CONTAINER[container]:
        fitting = ", ".join(c for c in _CODECS_OF_CONTAINER[container] if c != "auto")
        raise CommandError(f"{output}: {output.suffix} does not hold codec {codec}", remedy=f"name one with --codec: {fitting}")


def choose_encoder(
    codec: Codec, *, width_px: int, height_px: int, crf: int | None = None, preset: str | None = None, hardware: bool = True
) -> Encoder:
    """The first encoder for the codec that really encodes two frames of this size here; with `hardware` off a software one.

    Raises CommandError when a setting does not apply to the codec, or when none of its encoders works.
    """
    passed_over: list[str] = []
    for candidate in ENCODERS["h264" if codec == "auto" else codec]:
        if candidate.hardware and not (hardware and _has_hardware()):
            continue
        encoder = _adjust(candidate, codec, crf=crf, preset=preset)
        problem = try_encoder(encoder, width_px=width_px, height_px=height_px)
        if problem is None:
            return replace(encoder, passed_over=tuple(passed_over))
        passed_over.append(f"{encoder.name}: {problem}")
    failure = passed_over[-1] if passed_over else "none is known"
    raise CommandError(f"no encoder for codec {codec} takes {width_px}x{height_px} here ({failure})", remedy="see `visualize doctor`")


def _has_hardware() -> bool:
    # Without a device node no hardware encoder can work, and trying each would delay every start.
    devices = Path("/dev")
    return os.uname().sysname == "Darwin" or any(devices.glob("nvidia[0-9]*")) or any(devices.glob("dri/renderD*"))


def _adjust(encoder: Encoder, codec: Codec, *, crf: int | None, preset: str | None) -> Encoder:
    arguments = dict(encoder.arguments)
    if crf is not None:
        names = [name for name in _QUALITY_ARGUMENTS if name in arguments]
        if not names:
            raise CommandError(f"--crf {crf}: codec {codec} has no such setting with {encoder.name}")
        arguments[names[0]] = crf
    if preset is not None:
        if "preset" not in arguments:
            raise CommandError(f"--preset {preset}: codec {codec} has no such setting with {encoder.name}")
        arguments["preset"] = preset
    return replace(encoder, arguments=arguments)


def try_encoder(encoder: Encoder, *, width_px: int = 640, height_px: int = 360) -> str | None:
    """Encode two frames; None when that works, else what ffmpeg says."""
    graph = ffmpeg.input(f"color=black:size={width_px}x{height_px}:rate=25", f="lavfi").output(
        "pipe:1", f="null", vcodec=encoder.name, pix_fmt=encoder.pixels, **{"frames:v": 2}, **encoder.arguments
    )
    try:
        result = subprocess.run(ffmpeg_process.build_command(graph), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "two frames took it more than a minute"
    if result.returncode == 0:
        return None
    return (result.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]
