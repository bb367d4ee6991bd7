"""How cost grows: with the length of a video, with its resolution, with the classes explained. Benchmarks of measure.py."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from clips import beginning, ffmpeg, make_clip, visualize_video
from harness import Row, Usage, alternating, middle, ratios, spread
from networks import embedded, noise

LENGTHS = (1, 10, 60)  # times the short clip
SHORT_FRAMES = 100
SIZES = {"240p": (426, 240, 400), "480p": (854, 480, 200), "720p": (1280, 720, 100), "1080p": (1920, 1080, 60), "2160p": (3840, 2160, 20)}
TARGETS = (1, 5, 20)
BATCH_SIZE = 32


def length(options: argparse.Namespace) -> list[Row]:
    """The same pictures 1, 10 and 60 times: wall time beyond start-up is to grow as the frames do, memory not at all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short, one, output = (folder / f"{part}.mp4" for part in ("short", "one", "output"))
        make_clip(short, 426, 240, SHORT_FRAMES)
        beginning(short, one, 1)
        clips = [(times, folder / f"{times}.mp4") for times in LENGTHS]
        for times, clip in clips:
            ffmpeg("-stream_loop", times - 1, "-i", short, "-c", "copy", clip)
        visualize_video(one, output)
        starts: list[Usage] = []
        rounds: list[list[Usage]] = []
        for _ in range(options.repeat):
            starts.append(visualize_video(one, output))
            rounds.append([visualize_video(clip, output, watch_memory=True) for _, clip in clips])
    return [_length_row(times, [r[number] for r in rounds], [r[1] for r in rounds], middle(starts)) for number, times in enumerate(LENGTHS)]


def _length_row(times: int, usages: list[Usage], of_ten: list[Usage], start: Usage) -> Row:
    """`of_ten` are those of the clip that is 10 times as long as the short one."""
    frames = times * SHORT_FRAMES
    cpu, wall = ([1000 * usage.beyond(start)[column] / (frames - 1) for usage in usages] for column in (0, 1))
    wall_of_ten = [1000 * usage.beyond(start).wall_seconds / (10 * SHORT_FRAMES - 1) for usage in of_ten]
    return {
        "frames": frames,
        "wall_s": spread([usage.wall_seconds for usage in usages]),
        "cpu_ms_a_frame": spread(cpu),
        "wall_ms_a_frame": spread(wall),
        "wall_over_10x": ratios(wall, wall_of_ten),
        "process_MiB": median(usage.own_peak_bytes for usage in usages) / 2**20,
        "tree_MiB": median(usage.tree_peak_bytes for usage in usages) / 2**20,
    }


def resolution(options: argparse.Namespace) -> list[Row]:
    """Milliseconds a frame beyond start-up, from 240p to 2160p."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        clip, one, output = (Path(folder) / f"{part}.mp4" for part in ("clip", "one", "output"))
        for name, (width, height, frames) in SIZES.items():
            beginning(make_clip(clip, width, height, frames), one, 1)
            usages = [visualize_video(clip, output).beyond(visualize_video(one, output)) for _ in range(options.repeat)]
            cpu, wall = ([1000 * usage[column] / (frames - 1) for usage in usages] for column in (0, 1))
            megapixels = width * height / 1e6
            row = {"size": f"{name} {width}x{height}", "frames": frames, "cpu_ms_a_frame": spread(cpu), "wall_ms_a_frame": spread(wall)}
            rows.append({**row, "wall_ms_a_megapixel": median(wall) / megapixels})
    return rows


def targets(options: argparse.Namespace) -> list[Row]:
    """A call that explains 1, 5 and 20 classes of each picture (batch 32, 224x224), over one that gives scores alone."""
    networks = {count: embedded(*(str(index) for index in range(count))) for count in TARGETS}
    pixels = noise(BATCH_SIZE, (224, 224))
    works: dict[str, Callable[[], object]] = {"0": partial(networks[1].forward, pixels)}
    works |= {str(count): partial(network.explain, pixels) for count, network in networks.items()}
    taken = alternating(works, most=8 * options.repeat, least=2, budget_seconds=20.0 * options.repeat)
    return [
        {"classes": name, "img/s": BATCH_SIZE / median(seconds), "seconds_over_scores_alone": ratios(seconds, taken["0"])}
        for name, seconds in taken.items()
    ]
