"""What the product costs, as ratios of things measured side by side in one run. README.md beside this file explains the numbers.

python benchmarks/measure.py [NAME ...] [--clip FILE] [--peers PYTHON ...] [--repeat N] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import growth
import images
import peers
from clips import beginning, ffmpeg, make_clip, to_null, uncompressed, visualize_video
from harness import Row, Usage, alternating, cpus, middle, ratios, report, spread, used
from networks import Networks, embedded, noise, of_zoo

from pipeline.cam import compute_batches
from pipeline.media import choose_encoder, probe

# Width, height, frames. Long enough that what a video costs once (pages that are touched for the first time, the last frames in the
# encoder) is little of it.
SIZES = {"1080p": (1920, 1080, 240), "240p": (426, 240, 750)}
LONGEST_CLIP_FRAMES = 300  # of a given clip: its uncompressed result has to lie on the disk
SQUARE = (224, 224)


# ------------------------------------------------------------------------------------------------ cost


class Costs(NamedTuple):
    """Seconds of one repetition, each less those of the same on one frame."""

    decode: Usage
    network: Usage
    encode: Usage
    whole: Usage

    @property
    def floor(self) -> Usage:
        """Processor time that cannot be saved, and wall time at best: that spread over all cores, and no less than the slowest stage."""
        stages = (self.decode, self.network, self.encode)
        cpu = sum(stage.cpu_seconds for stage in stages)
        return Usage(cpu, max(cpu / cpus(), *(stage.wall_seconds for stage in stages)))


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
    networks = embedded()
    rows: list[Row] = []
    for name in ["given"] if options.clip else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            clip = _prepared(name, Path(folder), options.clip)
            rows += _cost_rows(clip, networks, options.repeat)
    return rows


def _prepared(name: str, folder: Path, given: Path | None) -> Clip:
    """Makes the clip and runs the command once on it and on its first frame, which warms the disk's cache too."""
    path = folder / f"clip{given.suffix if given else '.mp4'}"
    clip = beginning(given, path, LONGEST_CLIP_FRAMES) if given else make_clip(path, *SIZES[name])
    one, output, output_one = (folder / f"{n}{path.suffix}" for n in ("one", "output", "output_one"))
    beginning(clip, one, 1)
    raw, raw_one = folder / "raw.nut", folder / "raw_one.nut"
    for source, result, pictures_of_it in ((clip, output, raw), (one, output_one, raw_one)):
        visualize_video(source, result, "--crf", 0)  # without loss: what was encoded once has lost its grain, and is encoded faster
        uncompressed(result, pictures_of_it)
    os.sync()  # gigabytes are on their way to the disk, and the command that is measured waits until its own result is there
    made = probe(output)
    encoder = choose_encoder("auto", width_px=made.width_px, height_px=made.height_px)
    arguments = [part for key, value in encoder.arguments.items() for part in (f"-{key}", value)]
    chosen = ("-c:v", encoder.name, *arguments, "-pix_fmt", encoder.pixels)
    return Clip(name, made.frames_estimate or 0, clip, one, raw, raw_one, chosen, (made.width_px // 2, made.height_px))


def _cost_rows(clip: Clip, networks: Networks, repeat: int) -> list[Row]:
    output = clip.clip.with_stem("again")
    starts, runs = [], []
    for _ in range(repeat):
        starts.append(visualize_video(clip.one, output))
        runs.append(_repetition(clip, networks, output))
    costs = [c._replace(whole=c.whole.beyond(middle(starts))) for c in runs]
    name = f"{clip.name} {clip.size[0]}x{clip.size[1]}"
    parts = {part: [getattr(c, part) for c in costs] for part in ("decode", "network", "encode", "floor", "whole")}
    rows = [_part_row(name, part, usages, frames) for part, usages, frames in _with_start(starts, parts, clip.frames)]
    over = {
        field: ratios([getattr(c.whole, field) for c in costs], [getattr(c.floor, field) for c in costs])
        for field in ("cpu_seconds", "wall_seconds")
    }
    return [*rows, {"clip": name, "part": "whole/floor", "cpu_s": over["cpu_seconds"], "wall_s": over["wall_seconds"]}]


def _with_start(starts: list[Usage], parts: dict[str, list[Usage]], frames: int) -> Iterable[tuple[str, list[Usage], int]]:
    return [("start-up", starts, 1), *((part, usages, frames) for part, usages in parts.items())]


def _part_row(name: str, part: str, usages: Sequence[Usage], frames: int) -> Row:
    cpu, wall = ([getattr(usage, field) for usage in usages] for field in ("cpu_seconds", "wall_seconds"))
    per_frame = {"cpu_ms_a_frame": 1000 * median(cpu) / frames, "wall_ms_a_frame": 1000 * median(wall) / frames}
    return {"clip": name, "part": part, "cpu_s": spread(cpu), "wall_s": spread(wall), **(per_frame if frames > 1 else {})}


def _repetition(clip: Clip, networks: Networks, output: Path) -> Costs:
    decode = to_null(clip.clip).beyond(to_null(clip.one))
    whole = visualize_video(clip.clip, output)
    network = _network_usage(networks, clip)
    encode = _encoding_usage(clip.raw, clip.encoder).beyond(_encoding_usage(clip.raw_one, clip.encoder))
    return Costs(decode, network, encode, whole)


def _encoding_usage(raw: Path, encoder: Sequence[object]) -> Usage:
    return to_null(raw, *encoder).beyond(to_null(raw))


def _network_usage(networks: Networks, clip: Clip) -> Usage:
    """The forward pass alone on as many frames, as many batches at once as the command has there, the last one short, less one frame."""
    from pipeline.cam import default_batch_size  # which imports TensorFlow

    size = default_batch_size()
    pixels = noise(size, networks.fitted(*clip.size))
    batches = [pixels[: min(size, clip.frames - done)] for done in range(0, clip.frames, size)]
    for batch in (pixels, batches[-1], pixels[:1]):
        networks.forward(batch)  # the kernels of a shape are made at its first use, which is start-up
    whole = used(lambda: list(compute_batches(networks.forward, batches)))
    return whole.beyond(used(lambda: networks.forward(pixels[:1])))


# ------------------------------------------------------------------------------------------------ maps, memory


def maps(options: argparse.Namespace) -> list[Row]:
    """Pictures a second with scores and maps, over those with scores alone; calls alternate. ResNet-50 and VGG-16 have random weights."""
    ours = embedded()
    rows = [
        _maps_row("embedded", ours, 32, SQUARE, options.repeat),
        _maps_row("embedded", ours, 8, ours.fitted(1920, 1080), options.repeat),
    ]
    for name in ("resnet50", "vgg16"):
        networks = of_zoo(name)
        rows.append(_maps_row(name, networks, 32, networks.fitted(*SQUARE), options.repeat))
    return rows


def _maps_row(name: str, networks: Networks, batch: int, size: tuple[int, int], repeat: int) -> Row:
    pixels = noise(batch, size)
    works = {"explain": lambda: networks.explain(pixels), "forward": lambda: networks.forward(pixels)}
    taken = alternating(works, most=20 * repeat, least=2, budget_seconds=12.0 * repeat)
    return {
        "network": name,
        "batch": f"{batch} of {size[0]}x{size[1]}",
        "calls": len(taken["explain"]),
        "explain_img/s": batch / median(taken["explain"]),
        "forward_img/s": batch / median(taken["forward"]),
        "explain/forward": ratios(taken["forward"], taken["explain"]),  # of rates, so the other way round
    }


def memory(options: argparse.Namespace) -> list[Row]:
    """Peak resident memory on a short and on a long clip of the same pictures."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        short, long, output = (Path(folder) / f"{name}.mp4" for name in ("short", "long", "output"))
        make_clip(short, 320, 180, 100, fps=Fraction(5))
        ffmpeg("-stream_loop", 14, "-i", short, "-c", "copy", long)
        usages = [visualize_video(clip, output, watch_memory=True) for clip in (short, long)]
    peaks = [(usage.own_peak_bytes / 2**20, usage.tree_peak_bytes / 2**20) for usage in usages]
    rows = [
        {"clip": name, "process_MiB": own, "tree_MiB": tree, "wall_s": usage.wall_seconds}
        for name, (own, tree), usage in zip(("20 s", "300 s"), peaks, usages, strict=True)
    ]
    own, tree = (after / before if before else None for before, after in zip(*peaks, strict=True))
    return [*rows, {"clip": "ratio", "process_MiB": own, "tree_MiB": tree, "wall_s": usages[1].wall_seconds / usages[0].wall_seconds}]


# ------------------------------------------------------------------------------------------------ all of them

BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "cost": cost,
    "maps": maps,
    "forward": peers.forward,
    "photographs": images.photographs,
    "memory": memory,
    "startup": images.startup,
}
ON_REQUEST: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "length": growth.length,
    "resolution": growth.resolution,
    "targets": growth.targets,
    "peers": peers.maps,
    "programs": peers.programs,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ratios measured side by side in one run; nothing is asserted.")
    help_of_names = f"which of {', '.join(BENCHMARKS)}, which are made when none is named; or {', '.join(ON_REQUEST)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=help_of_names)
    parser.add_argument("--clip", type=Path, metavar="FILE", help=f"cost: this video (its first {LONGEST_CLIP_FRAMES} frames)")
    parser.add_argument(
        "--repeat", type=int, default=3, metavar="N", help="repetitions; the median is shown, with min and max; photographs takes 2N - 1"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    peers.add_option(parser)
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS) - set(ON_REQUEST):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join([*BENCHMARKS, *ON_REQUEST])}")
    report(options.names or list(BENCHMARKS), BENCHMARKS | ON_REQUEST, options)


if __name__ == "__main__":
    main()
