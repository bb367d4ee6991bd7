"""What may be typed for an option: its choices, and how times, rates and numbers are read."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from pipeline.errors import CommandError

DEFAULT_MODEL = "efficientnet_lite0"  # the network that comes with the installation

Fit = Literal["whole", "crop", "squash"]
Layout = Literal["side-by-side", "stacked", "overlay", "heatmap", "grid"]
LabelPlace = Literal["top-left", "top-right", "bottom-left", "bottom-right", "none"]
Scale = Literal["frame", "shared"]
Codec = Literal["auto", "h264", "hevc", "av1", "vp9", "prores"]
Audio = Literal["copy", "none"]
Method = Literal["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "scorecam"]
Pixels = Literal["none", "unit", "tf", "torch", "caffe"]
Precision = Literal["auto", "float32", "mixed"]

METHODS: tuple[Method, ...] = get_args(Method)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
CODECS: tuple[Codec, ...] = get_args(Codec)


def require(fulfilled: bool, message: str) -> None:
    """Raises CommandError with that message where something is not fulfilled."""
    if not fulfilled:
        raise CommandError(message)


def parse_time(name: str, text: str) -> float:
    """Seconds, of seconds or HH:MM:SS.mmm. Raises CommandError."""
    try:
        parts = [float(part) for part in text.split(":")]
        if len(parts) > 3 or any(part < 0 for part in parts):
            raise ValueError
    except ValueError:
        raise CommandError(f"{name} {text}: not a time", remedy="give seconds or HH:MM:SS.mmm") from None
    return sum(part * 60.0**place for place, part in enumerate(reversed(parts)))


def parse_rate(name: str, text: str) -> Fraction:
    """Frames a second, of a number or a fraction. Raises CommandError."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    require(0 < rate <= 1000, f"{name} {text}: not a rate between 0 and 1000")
    return rate


def parse_batch_size(name: str, text: str) -> int:
    """Raises CommandError."""
    require(text.isascii() and text.isdecimal(), f"{name} {text}: not a number or auto")
    return int(text)
