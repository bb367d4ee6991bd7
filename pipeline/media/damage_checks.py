"""Whether a video is whole: what a source lacks and where, whether its clock jumps, and whether what was written is what was sent."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np

from pipeline.arrays import Array
from pipeline.errors import OutputError, ToolError, says_disk_full
from pipeline.media import ffmpeg_process, probing
from pipeline.records import VideoSource, clock

SAME_TIME_SECONDS = 0.0006
LAST_PACKETS = 20_000
WRITTEN_TOLERANCE_SECONDS = 0.0011  # Matroska keeps milliseconds
JUMP_SECONDS = 10.0  # ffmpeg's own dts_delta_threshold


def describe_damage(source: VideoSource, times_seconds: Sequence[float], problems: tuple[int, str], *, whole: bool) -> str | None:
    """What a damaged source lacks, in words: how many frames, and where. None where the decoder had nothing to say.

    `times_seconds` are those of all frames that came out, `whole` is False where only a range was asked for.
    """
    lines, first = problems
    promised = source.frames_listed if whole and source.frames_listed else 0
    if not lines and promised <= len(times_seconds):
        return None
    packets, count = _read_packet_times(source)
    inside = [t for t in packets if whole or times_seconds[0] - 1e-3 <= t <= times_seconds[-1] + 1e-3]
    there = np.sort(np.asarray(times_seconds))
    missing = _find_missing(inside, there)
    unread = max(0, promised - count)  # the header lists them, and the file ends before
    if not lines and not missing:
        return None  # the header lied
    said = f"; ffmpeg says: {_shorten(first)}" if first else ""
    if missing or unread:
        total = max(promised, len(inside), len(there))
        return f"damaged: {len(missing) + unread} of {total} frames are missing, {_describe_places(missing, unread, there)}{said}"
    end = _find_promised_end(source)
    if whole and end is not None and end - there[-1] > 3 / float(source.frame_rate):
        return f"damaged: it ends at {clock(there[-1])}, and its header says {clock(end)}{said}"
    return f"damaged: every frame came out, but some may show it ({lines} complaints){said}"


def _find_promised_end(source: VideoSource) -> float | None:
    """When the header says that the video ends, or else the whole file."""
    if source.end_seconds is not None:
        return float(source.end_seconds)
    return None if source.duration_seconds is None else source.start_seconds + source.duration_seconds


def _find_missing(packets_seconds: Sequence[float], there: Array) -> list[float]:
    """The packets that no frame stands for. With a frame for each none is missing, whatever a damaged clock says."""
    if len(there) >= len(packets_seconds):
        return []
    return [t for t in packets_seconds if np.abs(there[max(0, np.searchsorted(there, t) - 1) :][:2] - t).min(initial=9) > SAME_TIME_SECONDS]


def _read_packet_times(source: VideoSource) -> tuple[list[float], int]:
    """The presentation times of the packets that the container gives to be shown, and the count of all its packets."""
    times, count = [], 0
    for packet in _read_packets(source):
        count += 1
        if packet.pts is not None and not packet.is_discard:
            times.append(float(packet.pts * packet.time_base))
    return sorted(times), count


def _describe_places(missing: Sequence[float], unread: int, there: Array) -> str:
    spans: list[str] = []
    for t in missing:
        before = there[there < t]
        spans.append(f"after {clock(before[-1])}" if len(before) else "at the beginning")
    spans = list(dict.fromkeys(spans))
    if unread and f"after {clock(there[-1])}" not in spans:
        spans.append(f"after {clock(there[-1])}")
    return ", ".join(spans[:5]) + (f" and {len(spans) - 5} other places" if len(spans) > 5 else "")


def _shorten(line: str) -> str:
    return re.sub(r"^\[[^]]*\]\s*", "", line)[:160]


def find_last_frame_seconds(source: VideoSource, begin_seconds: float) -> Fraction | None:
    """How long the last frame, which begins then, is shown: until the header's end, or as its packet says; None where neither tells."""
    if source.end_seconds is not None and 0 < source.end_seconds - Fraction(begin_seconds) <= probing.LONGEST_LAST_FRAME_SECONDS:
        return source.end_seconds - Fraction(begin_seconds)
    seek = None if source.container in probing.UNSEEKABLE else begin_seconds - 1
    for packet in itertools.islice(_read_packets(source, from_seconds=seek), LAST_PACKETS):
        there = packet.pts is not None and abs(float(packet.pts * packet.time_base) - begin_seconds) < SAME_TIME_SECONDS
        if there and packet.duration and packet.duration * packet.time_base <= probing.LONGEST_LAST_FRAME_SECONDS:
            return Fraction(packet.duration * packet.time_base)
    return None


def _read_packets(source: VideoSource, *, from_seconds: float | None = None) -> Iterator[Any]:
    """The video's packets as far as the file can be read, from a key frame before that time on."""
    with suppress(av.FFmpegError), probing.open_container(source.path) as container:
        stream = container.streams[source.stream_index]
        if from_seconds is not None:
            container.seek(int(from_seconds / stream.time_base), stream=stream)
        yield from (packet for packet in container.demux(stream) if packet.size)


def has_jumps(source: VideoSource) -> bool:
    """Whether an MPEG transport or program stream jumps in time, backwards or by more than ten seconds, as joined recordings do."""
    if source.container not in ("mpegts", "mpeg"):
        return False
    last: float | None = None
    for packet in _read_packets(source):
        if packet.dts is not None:
            now = float(packet.dts * packet.time_base)
            if last is not None and not 0 <= now - last <= JUMP_SECONDS:
                return True
            last = now
    return False


def straighten_times(source: VideoSource, output: Path) -> bool:
    """Write the source's packets as NUT with times that run on across jumps; ffmpeg straightens them when it may choose times itself.

    Damaged sound must not keep the pictures from it, so the second attempt is without. False where no attempt succeeds.

    Raises ToolError when the disk is full.
    """
    given = ffmpeg.input(ffmpeg_process.file_url(source.path), fflags="+genpts", **probing.SAFE)
    video = str(source.stream_index)
    return any(_remux([given[kind] for kind in kinds], output) for kinds in ((video, "a?"), (video,)))


def _remux(streams: Sequence[Any], output: Path) -> bool:
    graph = ffmpeg.output(*streams, ffmpeg_process.file_url(output), f="nut", codec="copy")
    command = [part for part in ffmpeg_process.build_command(graph) if part != "-copyts"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    stderr = ended.stderr.decode(errors="replace")
    if ended.returncode != 0 and says_disk_full(stderr):
        raise ToolError(f"{output}: the source cannot be written with its times put right", command=command, stderr_tail=stderr)
    return ended.returncode == 0


def verify_video(path: Path, output: Path, expected_seconds: Array) -> None:
    """Raises OutputError unless the file's video has exactly the frames at those times, float64 (frames,); messages name `output`."""
    try:
        with probing.open_container(path, decoders=False) as container:
            stream = container.streams.video[0]
            pts = [packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None]
            written = np.sort(np.asarray(pts, np.float64)) * float(stream.time_base or 1)
    except (av.FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{output}: what was written cannot be read back ({reason})", remedy="is the disk full?") from error
    if len(written) != len(expected_seconds):
        raise OutputError(f"{output}: {len(expected_seconds)} frames were sent, and {len(written)} are in the file")
    worst = float(np.abs(written - expected_seconds).max(initial=0))
    if worst > WRITTEN_TOLERANCE_SECONDS:
        raise OutputError(f"{output}: a frame lies {worst:.4f} seconds from its time")
