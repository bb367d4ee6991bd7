"""What this machine offers, found out by trying."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import HeatreelError
from pipeline.explain import leftovers
from pipeline.media import ENCODERS, choose_encoder, ffmpeg_path, ffmpeg_version
from pipeline.models import zoo


def examine() -> dict[str, Any]:
    """Findings by name; each encoder is tried with a real encode, the embedded weights are read and checked.

    `interrupted` lists what interrupted videos have left in this folder and those directly below it, each with its size.
    """
    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "heatreel": version("heatreel"),
        "python": platform.python_version(),
        "ffmpeg": f"{ffmpeg_version()} ({ffmpeg_path()})",
        "encoders": {codec: _working_encoder(codec) for codec in ENCODERS},
        "tensorflow": f"{tf.__version__}, keras {version('keras')}",
        "gpu": ", ".join(gpus) or "none that TensorFlow can use",
        "weights": {zoo.DEFAULT_MODEL: _embedded_weights()},
        "free space": {place: f"{shutil.disk_usage(place).free / 1e9:.1f} GB" for place in dict.fromkeys((".", tempfile.gettempdir()))},
        "interrupted": {str(path): _size(path) for path in leftovers(Path())} or "none here",
    }


def _size(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.1f} MB kept"


def _working_encoder(codec: Any) -> str:
    try:
        return choose_encoder(codec, width_px=640, height_px=360).name
    except HeatreelError as error:
        return f"none ({error})"


def _embedded_weights() -> str:
    from pipeline.models import read_embedded_weights

    try:
        return f"{len(read_embedded_weights())} tensors, sha256 as published"
    except HeatreelError as error:
        return str(error)
