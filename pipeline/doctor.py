"""What this machine offers, found out by trying."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.metadata import version
from typing import Any

from pipeline import catalog, media
from pipeline.errors import HeatreelError


def examine() -> dict[str, Any]:
    """Findings by name; each encoder is tried with a real encode, the embedded weights are read and checked."""
    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "heatreel": version("heatreel"),
        "python": platform.python_version(),
        "ffmpeg": f"{media.ffmpeg_version()} ({media.ffmpeg_path()})",
        "encoders": {codec: _working_encoder(codec) for codec in media.ENCODERS},
        "tensorflow": f"{tf.__version__}, keras {version('keras')}",
        "gpu": ", ".join(gpus) or "none that TensorFlow can use",
        "weights": {catalog.DEFAULT: _embedded_weights()},
        "free space": {place: f"{shutil.disk_usage(place).free / 1e9:.1f} GB" for place in dict.fromkeys((".", tempfile.gettempdir()))},
    }


def _working_encoder(codec: Any) -> str:
    try:
        return media.choose_encoder(codec, width_px=640, height_px=360).name
    except HeatreelError as error:
        return f"none ({error})"


def _embedded_weights() -> str:
    from pipeline import embedded

    try:
        return f"{len(embedded.read_weights())} tensors, sha256 as published"
    except HeatreelError as error:
        return str(error)
