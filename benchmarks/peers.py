"""This program beside others that do the same: maps a second, whole programs on a video, and the forward pass in other runtimes.

python benchmarks/peers.py --peers FOLDER [maps] [programs] [forward] [--repeat N] [--json FILE]

Peers need packages that this project does not: make_peers.sh FOLDER installs them, in environments of their own, and --peers may also
name the python of any other environment. A peer that is in none of them is listed as such. README.md beside this file explains the numbers.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import cv2
import lite0
import numpy as np
from clips import beginning, make_clip, pictures, visualize_video
from harness import Row, alternating, cpus, report, spread
from networks import Networks, embedded
from one_peer import FORWARD, MAPS, WHOLE, Peer
from whole_programs import PROGRAMS

from pipeline.arrays import Array
from pipeline.media import ffmpeg_path

HERE = Path(__file__).parent
BATCH_SIZE, SIDE = 32, 224
LARGEST_DIFFERENCE = 1e-4  # of probabilities; a peer that differs by more does something else and is not compared
PORTRAIT = (1080, 1920, 100)  # width, height, frames
CLASSIC_FRAMES = 5
TIMEOUT_SECONDS = 600
Call = Callable[[], None]


# ------------------------------------------------------------------------------------------------ where peers are installed


def add_option(parser: argparse.ArgumentParser) -> None:
    about = "the python of an environment with peers, or a folder of environments (make_peers.sh); repeatable"
    parser.add_argument("--peers", type=Path, action="append", default=[], metavar="PYTHON", help=about)


def _pythons(given: Sequence[Path]) -> tuple[str, ...]:
    found = [python for path in given for python in (sorted(path.glob("*/bin/python")) if path.is_dir() else [path])]
    return (*map(str, found), sys.executable)


@functools.cache
def _python_with(packages: tuple[str, ...], pythons: tuple[str, ...]) -> str | None:
    """The first environment that has them all."""
    check = "import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))"
    return next((p for p in pythons if subprocess.run([p, "-c", check, *packages], check=False).returncode == 0), None)


class PeerError(Exception):
    """A peer that is not there, or does not run; the message is for the table."""


def _run_program(name: str, packages: Sequence[str], folder: Path, pythons: tuple[str, ...]) -> dict[str, Any]:
    """The line of JSON that it prints at its end, and under "wall_seconds" how long its process was there."""
    command, started = _command("whole_programs.py", name, packages, folder, pythons), time.perf_counter()
    try:
        result = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise PeerError(f"took more than {TIMEOUT_SECONDS} s") from None
    if result.returncode:
        raise PeerError(_why(result.stderr))
    return {**json.loads(result.stdout.strip().splitlines()[-1]), "wall_seconds": time.perf_counter() - started}


def _command(script: str, name: str, packages: Sequence[str], folder: Path, pythons: tuple[str, ...]) -> list[str]:
    python = _python_with(tuple(packages), pythons)
    if python is None:
        raise PeerError("not installed in any environment named by --peers")
    return [python, str(HERE / script), name, str(folder)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}


def _why(errors: str) -> str:
    return f"fails: {(errors.strip().splitlines() or ['no reason given'])[-1][:200]}"


# ------------------------------------------------------------------------------------------------ calls on a batch


def forward(options: argparse.Namespace) -> list[Row]:
    """Pictures a second of the forward pass alone, beside other runtimes with the same weights in float32; 32 pictures of 224x224."""
    networks = embedded()
    rows, standings = _beside(FORWARD, networks, networks.forward, options, turns=6, calls=4)
    whole = [standing for name, standing in standings.items() if name in WHOLE]
    return [*rows, _over_best("ours/best with one batch", whole), _over_best("ours/best", list(standings.values()))]


def _over_best(name: str, standings: Sequence[Standing]) -> Row:
    best = [min(values) for values in zip(*(one.ratios for one in standings if not one.failure), strict=True)]
    return {"runtime": name, "ours/it": spread(best) if best else "unknown"}


def maps(options: argparse.Namespace) -> list[Row]:
    """Pictures a second with a map each, beside other libraries on the same weights and frames; batch 32, 224x224."""
    networks = embedded()
    return _beside(MAPS, networks, networks.explain, options, turns=4, calls=1)[0]


@dataclass
class Standing:
    """A peer so far: seconds of its calls, ours over its rate in each round, and what the table says of it."""

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    said: Row = field(default_factory=dict)
    failure: str | None = None

    def row(self, name: str, lacks: str) -> Row:
        if self.failure or not self.ratios:
            return {"runtime": name, "note": self.failure}
        return {"runtime": name, "img/s": _rates(self.seconds), "ours/it": spread(self.ratios), **self.said, "note": lacks}


def _beside(
    peers: Mapping[str, Peer], networks: Networks, ours: Callable[[Array], Any], options: argparse.Namespace, *, turns: int, calls: int
) -> tuple[list[Row], dict[str, Standing]]:
    """Each round: for every peer, in a new process of its own, so many calls in turn with as many of this program's.

    Threads of a peer may wait for more work in a loop when a call is done, at the cost of the call that follows.
    """
    pythons, frames = _pythons(options.peers), np.stack(list(pictures(SIDE, SIDE, BATCH_SIZE)))
    scores, classes, heat = networks.explain(frames)
    standings = {name: Standing() for name in peers}
    mine: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = _job(Path(name), frames, classes[:, 0])
        for number in range(options.repeat):
            for name in list(peers)[:: -1 if number % 2 else 1]:
                standing = standings[name]
                if standing.failure:
                    continue
                try:
                    with _prepared(name, peers[name].packages, folder, pythons) as (versions, its):
                        standing.said = {"version": _versions(versions), **_agreement(folder / f"{name}.npz", scores, heat[:, 0])}
                        taken = alternating(
                            {"ours": _often(functools.partial(ours, frames), calls), "its": _often(its, calls)},
                            most=turns,
                            least=turns,
                            budget_seconds=0,
                        )
                except PeerError as error:
                    standing.failure = str(error)
                    continue
                mine += [seconds / calls for seconds in taken["ours"]]
                standing.seconds += [seconds / calls for seconds in taken["its"]]
                standing.ratios.append(median(its / our for its, our in zip(taken["its"], taken["ours"], strict=True)))
    rows = [standing.row(name, peers[name].lacks) for name, standing in standings.items()]
    return [{"runtime": "this program", "img/s": _rates(mine) if mine else "not beside any"}, *rows], standings


def _often(call: Callable[[], object], calls: int) -> Call:
    def several() -> None:
        for _ in range(calls):
            call()

    return several


@contextmanager
def _prepared(name: str, packages: Sequence[str], folder: Path, pythons: tuple[str, ...]) -> Iterator[tuple[Mapping[str, str], Call]]:
    """A peer that is ready, in a process of its own: versions, and a call of it. Raises PeerError, as the call does."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            _command("one_peer.py", name, packages, folder, pythons),
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        late = threading.Timer(TIMEOUT_SECONDS, process.kill)
        late.start()

        def answer(beginning: str) -> str:
            for line in process.stdout or ():
                if line.startswith(beginning):
                    return line
            if not late.is_alive():
                raise PeerError(f"took more than {TIMEOUT_SECONDS} s")
            errors.seek(0)
            raise PeerError(_why(errors.read()))

        def call() -> None:
            with suppress(BrokenPipeError):  # why it has died, answer tells
                print("go", file=process.stdin, flush=True)
            answer("done")

        try:
            yield json.loads(answer('{"versions"'))["versions"], call
        finally:
            late.cancel()
            process.kill()


def _job(folder: Path, frames: Array, classes: Array) -> Path:
    lite0.export(folder / "weights.npz")
    np.savez(folder / "frames.npz", frames=frames, classes=classes)
    (folder / "job.json").write_text(json.dumps({"threads": cpus()}))
    return folder


def _agreement(path: Path, scores: Array, heat: Array) -> dict[str, Any]:
    """How far a peer's answers are from ours. Raises PeerError when it says something else of the pictures."""
    if not path.exists():
        return {"agreement": "not checked"}
    with np.load(path) as made:
        if "scores" in made:
            difference = float(np.abs(made["scores"] - scores).max())
            if not difference <= LARGEST_DIFFERENCE:
                raise PeerError(f"its scores differ from ours by {difference:.2g}, so it is not compared")
            return {"agreement": f"scores within {difference:.0e}"}
        small = [cv2.resize(one.astype(np.float32), heat.shape[:0:-1], interpolation=cv2.INTER_AREA) for one in made["maps"]]
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, heat, strict=True)]
    return {"agreement": f"maps, r = {np.median(alike):.3f}"}


def _rates(seconds: Sequence[float]) -> dict[str, float]:
    return spread([BATCH_SIZE / one for one in seconds])


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


# ------------------------------------------------------------------------------------------------ whole programs


def programs(options: argparse.Namespace) -> list[Row]:
    """Seconds a frame on a clip of 100 frames, 1080x1920, beside what people write themselves; start-up of each aside, and with it."""
    pythons, width_height, frames = _pythons(options.peers), PORTRAIT[:2], PORTRAIT[2]
    found: dict[str, list[tuple[float, float]]] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder / "clip.mp4", *width_height, frames)
        one = beginning(clip, folder / "one.mp4", 1)
        lite0.export(folder / "weights.npz")
        job = {"clip": str(clip), "frames": CLASSIC_FRAMES, "ffmpeg": ffmpeg_path(), "threads": cpus()}
        (folder / "job.json").write_text(json.dumps(job))
        for _ in range(options.repeat):
            found.setdefault("visualize video", []).append(_ours(clip, one, frames))
            for program, (packages, _, _) in PROGRAMS.items():
                if program in failed:
                    continue
                try:
                    result = _run_program(program, packages, folder, pythons)
                except PeerError as error:
                    failed[program] = str(error)
                    continue
                start = result["wall_seconds"] - result["seconds"]
                found.setdefault(program, []).append((result["seconds"] / result["frames"], start))
    return [_program_row(program, found, failed.get(program), frames) for program in ("visualize video", *PROGRAMS)]


def _ours(clip: Path, one: Path, frames: int) -> tuple[float, float]:
    """Seconds a frame beyond start-up, and start-up."""
    start, whole = (visualize_video(path, path.with_stem("output")).wall_seconds for path in (one, clip))
    return (whole - start) / (frames - 1), start


def _program_row(name: str, found: Mapping[str, Sequence[tuple[float, float]]], failure: str | None, frames: int) -> Row:
    lacks = PROGRAMS[name].lacks if name in PROGRAMS else ""
    if name not in found:
        return {"program": name, "lacks": failure}
    ours = [a_frame for a_frame, _ in found["visualize video"]]
    return {
        "program": name,
        "s_a_frame": spread([a_frame for a_frame, _ in found[name]]),
        "it/ours": spread([a / b for (a, _), b in zip(found[name], ours, strict=False)]),
        "start-up_s": fmean(start for _, start in found[name]),
        f"{frames}_frames_s": spread([start + frames * a_frame for a_frame, start in found[name]]),
        "lacks": lacks,
    }


BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {"maps": maps, "programs": programs, "forward": forward}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds; medians are shown, with min and max")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    add_option(parser)
    options = parser.parse_args()
    options.markdown = True
    report(options.names or list(BENCHMARKS), BENCHMARKS, options)


if __name__ == "__main__":
    main()
