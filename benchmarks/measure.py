"""What the product costs, as ratios of things measured side by side in one run. README.md beside this file explains the numbers.

python benchmarks/measure.py [cost] [maps] [memory] [startup] [--clip FILE] [--repeat N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np

from pipeline import children, demo, encoders, sources

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

VISUALIZE = str(Path(sysconfig.get_path("scripts")) / "visualize")
FPS = Fraction(25)
BATCH_SIZE = 8  # what --batch-size auto is on a CPU for frames up to 1080p
SIZES = {"1080p": (1920, 1080, 120), "240p": (426, 240, 500)}  # width, height, frames: about as long to run
LONGEST_CLIP_FRAMES = 300  # of a given clip: its uncompressed result has to lie on the disk
SAMPLE_SECONDS = 0.1


# ------------------------------------------------------------------------------------------------ one run of a command


class Usage(NamedTuple):
    """What a process and all its children took. Memory is that of the process alone and of the whole tree at one moment."""

    cpu_seconds: float
    wall_seconds: float
    own_peak_bytes: int = 0
    tree_peak_bytes: int = 0


def run(*command: object, watch_memory: bool = False) -> Usage:
    """Run a command to its end. Exits with the end of its stderr when it fails."""
    words = [str(part) for part in command]
    with tempfile.TemporaryFile() as notes:
        started, peaks = time.perf_counter(), [(0, 0)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=notes)
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG if watch_memory else 0)
            if done:
                break
            peaks.append(resident_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            notes.seek(0)
            sys.exit(f"{' '.join(words)}\n{notes.read()[-2000:].decode(errors='replace')}")
        own, tree = (max(values) for values in zip(*peaks, strict=True))
        return Usage(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, own, tree)


def resident_bytes(pid: int) -> tuple[int, int]:
    """The peak so far of the process itself, and what it and its descendants hold now. Linux only: (0, 0) elsewhere.

    ru_maxrss would not do: it begins at the size of the process that started this one.
    """
    own = _status(pid, "VmHWM")
    return own, sum(_status(member, "VmRSS") for member in _tree(pid))


def _status(pid: int, field: str) -> int:
    with suppress(OSError):  # it may have ended just now
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def ffmpeg(*arguments: object) -> Usage:
    return run(children.ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments)


def to_null(path: Path, *arguments: object) -> Usage:
    """Decode the video of a file, do to it what the arguments say, and write it nowhere."""
    return ffmpeg("-i", path, "-map", "0:v:0", *arguments, "-fps_mode", "passthrough", "-f", "null", "-")


def visualize_video(clip: Path, output: Path, *, watch_memory: bool = False) -> Usage:
    arguments = (clip, "-o", output, "--overwrite", "--quiet", "--batch-size", BATCH_SIZE)
    return run(VISUALIZE, "video", *arguments, watch_memory=watch_memory)


# ------------------------------------------------------------------------------------------------ clips


def wall() -> Array:
    """Photographs from scikit-image side by side and one over the other, none of them enlarged: RGB (1500, 2250, 3)."""
    names = [shot[0] for shot in demo.SHOTS]
    photos = [demo.photograph(name)[:300, :450] for name in names]
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


def make_clip(path: Path, width: int, height: int, count: int) -> Path:
    demo.encode_pictures(pictures(width, height, count), path, width=width, height=height, fps=FPS, output=path)
    return path


def beginning(clip: Path, output: Path, frames: int) -> Path:
    """The first frames of a clip as they are, without its sound."""
    ffmpeg("-i", clip, "-map", "0:v:0", "-c", "copy", "-frames:v", frames, output)
    return output


# ------------------------------------------------------------------------------------------------ the network


class Networks(NamedTuple):
    """The network with its maps, as the command runs it, and its forward pass alone; both from pixels uint8, traced once."""

    explain: Callable[[Array], Any]
    forward: Callable[[Array], Any]
    pixels: Callable[[int, int, int], Array]


def load_networks() -> Networks:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipeline import catalog, maps, models, visualize
    from pipeline.records import ModelChoice, Options

    session = visualize.open_session(models.load_classifier(ModelChoice(model=catalog.DEFAULT)), Options())
    forward, rng = maps.scorer(session.classifier.networks[0]), np.random.default_rng(0)

    def pixels(batch: int, width: int, height: int) -> Array:
        seen = session.geometry(width, height)
        return rng.integers(0, 256, (batch, seen.height_px, seen.width_px, 3), np.uint8)

    return Networks(lambda batch: [t.numpy() for t in session.explain(batch)], lambda batch: forward(batch).numpy(), pixels)


# ------------------------------------------------------------------------------------------------ cost


class Costs(NamedTuple):
    """CPU seconds of one repetition, each less those of the same on one frame; `wall_seconds` is the whole command's, all of it."""

    whole: float
    decode: float
    network: float
    encode: float
    wall_seconds: float

    @property
    def ratio(self) -> float:
        return self.whole / (self.decode + self.network + self.encode)


class Clip(NamedTuple):
    """A clip, its first frame, and what the command made of both; `raw` and `raw_one` are the results uncompressed."""

    name: str
    frames: int
    clip: Path
    one: Path
    raw: Path
    raw_one: Path
    encoder: Sequence[object]
    size: tuple[int, int]


def cost(options: argparse.Namespace) -> list[Row]:
    """The whole command beyond its start-up, over decoding, the network and encoding, each alone."""
    networks = load_networks()
    rows = []
    for name in ["given"] if options.clip else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            clip = _prepared(name, Path(folder), options.clip)
            rows.append(_cost_row(clip, networks, options.repeat))
    return rows


def _prepared(name: str, folder: Path, given: Path | None) -> Clip:
    """Makes the clip and runs the command once on it and on its first frame, which warms the disk's cache too."""
    path = folder / f"clip{given.suffix if given else '.mp4'}"
    clip = beginning(given, path, LONGEST_CLIP_FRAMES) if given else make_clip(path, *SIZES[name])
    one, output, output_one = (folder / f"{n}{path.suffix}" for n in ("one", "output", "output_one"))
    beginning(clip, one, 1)
    raw, raw_one = folder / "raw.nut", folder / "raw_one.nut"
    for source, result, uncompressed in ((clip, output, raw), (one, output_one, raw_one)):
        visualize_video(source, result)
        ffmpeg("-i", result, "-map", "0:v:0", "-c", "rawvideo", "-fps_mode", "passthrough", uncompressed)
    made = sources.probe(output)
    encoder = encoders.choose_encoder("auto", width_px=made.width_px, height_px=made.height_px)
    arguments = [part for key, value in encoder.arguments.items() for part in (f"-{key}", value)]
    chosen = ("-c:v", encoder.name, *arguments, "-pix_fmt", encoder.pixels)
    return Clip(name, made.frames_estimate or 0, clip, one, raw, raw_one, chosen, (made.width_px // 2, made.height_px))


def _cost_row(clip: Clip, networks: Networks, repeat: int) -> Row:
    output = clip.clip.with_stem("again")
    starts, runs = [], []
    for _ in range(repeat):
        starts.append(visualize_video(clip.one, output))
        runs.append(_repetition(clip, networks, output))
    start = median(usage.cpu_seconds for usage in starts)
    costs = [c._replace(whole=c.whole - start) for c in runs]
    per_frame = {f"{n}_ms": 1000 * median(getattr(c, n) for c in costs) / clip.frames for n in ("whole", "decode", "network", "encode")}
    return {
        "clip": f"{clip.name} {clip.size[0]}x{clip.size[1]}",
        "frames": clip.frames,
        "startup_s": start,
        **per_frame,
        "whole/floor": spread([c.ratio for c in costs]),
        "wall_s": median(c.wall_seconds for c in costs),
        "startup_wall_s": median(usage.wall_seconds for usage in starts),
    }


def _repetition(clip: Clip, networks: Networks, output: Path) -> Costs:
    decode = to_null(clip.clip).cpu_seconds - to_null(clip.one).cpu_seconds
    whole = visualize_video(clip.clip, output)
    network = _network_seconds(networks, clip)
    encode = _encoding_seconds(clip.raw, clip.encoder) - _encoding_seconds(clip.raw_one, clip.encoder)
    return Costs(whole.cpu_seconds, decode, network, encode, whole.wall_seconds)


def _encoding_seconds(raw: Path, encoder: Sequence[object]) -> float:
    return to_null(raw, *encoder).cpu_seconds - to_null(raw).cpu_seconds


def _network_seconds(networks: Networks, clip: Clip) -> float:
    """The forward pass alone on as many frames, the last batch short, less one frame."""
    pixels = networks.pixels(BATCH_SIZE, *clip.size)
    batches = [pixels[: min(BATCH_SIZE, clip.frames - done)] for done in range(0, clip.frames, BATCH_SIZE)]
    for batch in (pixels, batches[-1], pixels[:1]):
        networks.forward(batch)  # the kernels of a shape are made at its first use, which is start-up
    return _cpu_seconds(lambda: [networks.forward(batch) for batch in batches]) - _cpu_seconds(lambda: networks.forward(pixels[:1]))


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


# ------------------------------------------------------------------------------------------------ maps, memory, start-up


def maps(options: argparse.Namespace) -> list[Row]:
    """Scores and maps over scores alone, calls alternating."""
    networks = load_networks()
    return [_maps_row(networks, batch, 8 * options.repeat if batch <= 8 else 4 * options.repeat) for batch in (32, 8)]


def _maps_row(networks: Networks, batch: int, pairs: int) -> Row:
    pixels = networks.pixels(batch, 1920, 1080)
    functions = (networks.explain, networks.forward)
    seconds: dict[Any, list[float]] = {function: [] for function in functions}
    for number in range(pairs + 2):
        for function in functions if number % 2 else functions[::-1]:
            started = time.perf_counter()
            function(pixels)
            seconds[function].append(time.perf_counter() - started)
    explain, forward = (seconds[function][2:] for function in functions)  # the first two are set-up
    return {
        "batch": f"{batch} of {pixels.shape[2]}x{pixels.shape[1]}",
        "explain_img/s": batch / median(explain),
        "forward_img/s": batch / median(forward),
        "explain/forward": spread([a / b for a, b in zip(explain, forward, strict=True)]),
    }


def memory(options: argparse.Namespace) -> list[Row]:
    """Peak resident memory on a short and on a long clip of the same pictures."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        short, long, output = (Path(folder) / f"{name}.mp4" for name in ("short", "long", "output"))
        make_clip(short, 320, 180, int(20 * FPS))
        ffmpeg("-stream_loop", 14, "-i", short, "-c", "copy", long)
        usages = [visualize_video(clip, output, watch_memory=True) for clip in (short, long)]
    peaks = [(usage.own_peak_bytes / 2**20, usage.tree_peak_bytes / 2**20) for usage in usages]
    rows = [
        {"clip": name, "process_MiB": own, "tree_MiB": tree, "wall_s": usage.wall_seconds}
        for name, (own, tree), usage in zip(("20 s", "300 s"), peaks, usages, strict=True)
    ]
    own, tree = (after / before if before else None for before, after in zip(*peaks, strict=True))
    return [*rows, {"clip": "ratio", "process_MiB": own, "tree_MiB": tree, "wall_s": usages[1].wall_seconds / usages[0].wall_seconds}]


def startup(options: argparse.Namespace) -> list[Row]:
    """One photograph explained, and the help text, over the import of TensorFlow alone."""
    with tempfile.TemporaryDirectory() as folder:
        photo, result = Path(folder) / "photo.png", Path(folder) / "result.png"
        cv2.imwrite(str(photo), demo.photograph(demo.SHOTS[0][0])[..., ::-1])
        commands = {
            "import tensorflow": (sys.executable, "-c", "import tensorflow"),
            "visualize image": (VISUALIZE, "image", photo, "-o", result, "--overwrite"),
            "visualize --help": (VISUALIZE, "--help"),
        }
        rounds = [{name: run(*command) for name, command in commands.items()} for _ in range(options.repeat + 3)][1:]
    return [_startup_row(name, rounds) for name in commands]


def _startup_row(name: str, rounds: Sequence[dict[str, Usage]]) -> Row:
    return {
        "command": name,
        "wall_s": median(r[name].wall_seconds for r in rounds),
        "cpu_s": median(r[name].cpu_seconds for r in rounds),
        "wall/import": spread([r[name].wall_seconds / r["import tensorflow"].wall_seconds for r in rounds]),
    }


# ------------------------------------------------------------------------------------------------ the report


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def table(title: str, rows: Sequence[Row]) -> str:
    cells = [list(rows[0]), *[[_shown(value) for value in row.values()] for row in rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([f"{title}", *lines, ""])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return f"{value['median']:.3f} ({value['min']:.3f} to {value['max']:.3f})"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return "unknown" if value is None else str(value)


def surroundings() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "heatreel": version("heatreel"),
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "ffmpeg": children.ffmpeg_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {"cost": cost, "maps": maps, "memory": memory, "startup": startup}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ratios measured side by side in one run; nothing is asserted.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)}; all when none is named")
    parser.add_argument("--clip", type=Path, metavar="FILE", help=f"cost: this video (its first {LONGEST_CLIP_FRAMES} frames)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions; the median is shown, with min and max")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    found = surroundings()
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n", flush=True)
    results = {}
    for name in options.names or BENCHMARKS:
        results[name] = BENCHMARKS[name](options)
        print(table(f"{name}: {BENCHMARKS[name].__doc__}", results[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({**found, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
