"""What comes out of a finished file, read a second way."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from pipeline.arrays import Array


def decoded(path: Path) -> tuple[list[float], list[Array]]:
    """Times and luma planes by PyAV's own decoder: the independent reading."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video)
        frames = [(float(frame.time), luma_of(frame)) for frame in container.decode(stream)]
    return [time for time, _ in frames], [luma for _, luma in frames]


def luma_of(frame: av.VideoFrame) -> Array:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].copy()


def audio_packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.pts is not None and p.size]
