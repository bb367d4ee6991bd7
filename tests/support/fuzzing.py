"""Clips and pictures of every kind, damaged by chance, through the program: what comes out must be whole, honest or refused.

`PYTHONPATH=tests python -m support.fuzzing CLIPS WORK SEED...` makes those cases again, one line of JSON before each and
one behind. `test_fuzz.py` runs this file as a child, which it can kill, and which may crash.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import json
import os
import random
import resource
import shutil
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from pipeline.errors import HeatreelError
from pipeline.explain import image_job, job_planning, model_session, segment_journal, video_job
from pipeline.media import encoders, ffmpeg_process
from pipeline.models import loading, zoo
from pipeline.options import ModelChoice, Options
from pipeline.records import Outcome
from support import corpus

SECONDS_A_CASE = 60.0
MOST_BYTES = 2 << 30
QUICK: dict[str, Any] = {"every": 1000, "preset": "ultrafast", "short_side_px": 32, "batch_size": 1}
EXTREMES = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0, 1)


# ------------------------------------------------------------------------------------------------ what is damaged


def picture(path: Path, **options: Any) -> None:
    Image.fromarray(corpus.chart(3, 128, 80)).save(path, **options)


def _with_sound(*arguments: object) -> Callable[[Path], object]:
    return lambda path: corpus.encode(path, *arguments, draw=corpus.noisy, more=corpus.tone())


STILLS: Mapping[str, Callable[[Path], object]] = {
    f"still{suffix}": picture for suffix in (".jpg", ".png", ".webp", ".gif", ".tif", ".avif", ".bmp")
}
# Kinds of files that the corpus has no row for.
OTHERS: Mapping[str, Callable[[Path], object]] = {
    "faststart.mp4": _with_sound("-g", 10, "-c:a", "aac", "-movflags", "+faststart"),
    "fragmented.mp4": _with_sound("-g", 10, "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"),
    "mpeg2.mpg": _with_sound("-c:v", "mpeg2video", "-bf", 2, "-c:a", "mp2"),
    "mpeg4.avi": _with_sound("-c:v", "mpeg4", "-bf", 2, "-c:a", "mp3"),
    "plain.flv": _with_sound("-c:a", "aac"),
    "hevc.mkv": _with_sound("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-c:a", "aac"),
}
ROWS = (
    *("variable.mp4", "variable.mkv", "variable.webm", "late_start.mp4", "edit_list.mp4", "late_long_audio.mp4", "open_gop.ts"),
    *("b_frames.h264", "duplicate.mkv", "wrap.ts", "discontinuity.ts", "lying_duration.mkv", "no_duration.mkv", "rotated90.mov"),
    *("odd.mkv", "aspect.mp4", "aspect_rotated.mp4", "interlaced.mp4", "sizes.ts", "sizes.h264", "single.mp4", "one_pixel.mkv"),
    *("full_range.mp4", "gray10.mkv", "rgb264.mkv", "png.mov", "mjpeg.avi", "pq.mp4", "alpha.mov", "alpha.webm", "alpha.gif"),
    *("animated.gif", "animated.apng", "animated.webp", "tracks.mp4", "tracks.mkv", "cover_first.mp4", "data.ts", "timecode.mov"),
    *("pcm.mov", "vorbis.mkv", "two_videos.mp4", "truncated.mp4", "truncated.mkv", "truncated.ts", "corrupt.mp4", "cover.mp3"),
)
NAMES = (*ROWS, *OTHERS, *STILLS)


def make(folder: Path) -> None:
    """Every clip and picture that is not there yet."""
    for name in ROWS:
        corpus.make_clip(corpus.ROWS[name], folder)
    for name, draw in {**OTHERS, **STILLS}.items():
        if not (folder / name).exists():
            draw(folder / name)


# ------------------------------------------------------------------------------------------------ damage


def flip_few(content: bytearray, rng: random.Random) -> None:
    _flip(content, rng, rng.randint(1, 8))


def flip_many(content: bytearray, rng: random.Random) -> None:
    _flip(content, rng, max(1, len(content) // rng.choice((20, 200, 2000))))


def _flip(content: bytearray, rng: random.Random, count: int) -> None:
    for _ in range(count):
        content[rng.randrange(len(content))] ^= rng.randrange(1, 256)


def truncate(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(1, len(content)) :]


def _chunk(content: bytearray, rng: random.Random) -> slice:
    length = rng.choice((1, 4, 16, 188, 188 * 3, 1024, max(1, len(content) // 10)))
    start = rng.randrange(len(content))
    return slice(start, start + length)


def remove(content: bytearray, rng: random.Random) -> None:
    del content[_chunk(content, rng)]


def repeat(content: bytearray, rng: random.Random) -> None:
    part = _chunk(content, rng)
    content[part.stop : part.stop] = content[part]


def swap(content: bytearray, rng: random.Random) -> None:
    one, other = sorted((_chunk(content, rng), _chunk(content, rng)), key=lambda part: part.start)
    first, second = content[one], content[other]
    if one.stop <= other.start:
        content[other], content[one] = first, second


def blank(content: bytearray, rng: random.Random) -> None:
    part = _chunk(content, rng)
    content[part] = bytes(len(content[part]))


def flip_header(content: bytearray, rng: random.Random) -> None:
    region = header(content, rng)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        content[rng.choice(region)] ^= 1 << rng.randrange(8)


def extreme_field(content: bytearray, rng: random.Random) -> None:
    """Sizes, clocks, durations, matrices: four bytes of a header that say too much, too little or nothing."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        region = header(content, rng)
        at = region[rng.randrange(0, max(1, len(region) - 3), 4 if rng.random() < 0.7 else 1)]
        struct.pack_into(rng.choice("<>") + "I", content, min(at, max(0, len(content) - 4)), rng.choice((*EXTREMES, rng.getrandbits(32))))


def extreme_time(content: bytearray, rng: random.Random) -> None:
    """The times of packets: PES headers (ISO/IEC 13818-1, 2.4.3.7), clusters and blocks of Matroska; elsewhere any field."""
    kinds = (
        (b"\x00\x00\x01\xe0", 9, 5),
        (b"\xe7\x82", 2, 2),
        (b"\xe7\x81", 2, 1),
        (b"\xa3", 2, 4),
        (b"\x21\xf9\x04", 4, 2),
        (b"fcTL", 24, 4),
    )
    found = [(at + skip, size) for kind, skip, size in kinds for at in _places(content, kind)]
    if not found:
        return extreme_field(content, rng)
    for at, size in rng.choices(found, k=rng.choice((1, 1, 3))):
        content[at : at + size] = (rng.choice(EXTREMES) | rng.getrandbits(5)).to_bytes(5, "big")[-size:]
    return None


def _places(content: bytearray, wanted: bytes) -> Iterator[int]:
    at = content.find(wanted)
    while 0 <= at < len(content) - 40:
        yield at
        at = content.find(wanted, at + 1)


DAMAGE: Mapping[str, Callable[[bytearray, random.Random], None]] = {
    each.__name__: each
    for each in (flip_few, flip_many, truncate, remove, repeat, swap, blank, flip_header, flip_header, extreme_field, extreme_time)
}
WEIGHTS = {"extreme_field": 5, "flip_header": 3, "extreme_time": 2}


def header(content: bytearray, rng: random.Random) -> range:
    """Where the header lies: a box of the index of an MP4, one packet of MPEG-TS, the first kilobyte of the others."""
    if content[4:8] == b"ftyp" and rng.random() < 0.9:
        leaves = [leaf for leaf in _leaves(bytes(content), 0, len(content)) if len(leaf)]
        if leaves:
            return rng.choice(leaves)
    if content[:1] == b"\x47" and len(content) > 188 * 8:
        start = 188 * rng.randrange(min(40, len(content) // 188))
        return range(start, start + 40)
    return range(min(len(content), rng.choice((64, 256, 1024, 1024, 1024))))


_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex"}


def _leaves(content: bytes, start: int, end: int) -> Iterator[range]:
    """The boxes of an MP4 that hold fields, without their heads of eight bytes and what lies far behind them."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        if size < 8:
            return
        if kind in _CONTAINERS:
            yield from _leaves(content, start + 8, min(start + size, end))
        elif kind != b"mdat":
            yield range(start + 8, min(start + size, end, start + 136))
        start += size


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged file; `damage` names what was done to it."""

    seed: int
    name: str
    damage: Sequence[str]
    content: bytes

    def __str__(self) -> str:
        return f"corpus seed {self.seed} of clip {self.name} ({', '.join(self.damage)})"


def case(seed: int, clips: Path) -> Case:
    """The same for the same seed; every clip has its turn."""
    rng = random.Random(seed)
    name = NAMES[seed % len(NAMES)]
    content = bytearray((clips / name).read_bytes())
    damage = rng.choices(list(DAMAGE), [WEIGHTS.get(each, 1) for each in DAMAGE], k=rng.choice((1, 1, 1, 2, 3)))
    if rng.random() < 0.05:
        other = rng.choice(NAMES)
        content[rng.randrange(len(content)) :] = (clips / other).read_bytes()[rng.choice((0, 512)) :]
        damage = [f"spliced with {other}", *damage]
    for each in damage:
        if content and each in DAMAGE:
            DAMAGE[each](content, rng)
    return Case(seed=seed, name=name, damage=damage, content=bytes(content))


# ------------------------------------------------------------------------------------------------ what must come out


@dataclass(kw_only=True)
class Verdict:
    """What became of a case, and what is wrong with that."""

    said: str = ""
    problems: list[str] = field(default_factory=list)


def run(case: Case, folder: Path, session: Callable[[Options], model_session.Session]) -> Verdict:
    path, verdict = folder / case.name, Verdict()
    path.write_bytes(case.content)
    output = folder / ("out.png" if case.name in STILLS else "out.mp4")
    try:
        outcome = _visualized(path, output, session, fresh=False)
    except HeatreelError as error:
        verdict.said = f"{type(error).__name__}: {error}"
        verdict.problems += [f"exit code {error.exit_code}"] if error.exit_code != 1 else []
        verdict.problems += _left_by_failure(path, output, session)
        if case.name not in STILLS and not isinstance(_planned(path, output), job_planning.Refusal):
            verdict.problems += _lost(path)
    except BaseException:
        verdict.problems.append(traceback.format_exc())
    else:
        verdict.said = f"{outcome.frames} frames in {outcome.duration_seconds} s{f', partial: {outcome.error}' if outcome.partial else ''}"
        verdict.problems += _left(folder, {path.name, output.name})
        verdict.problems += _still(output) if case.name in STILLS else _video(case, path, outcome)
    return verdict


def _visualized(path: Path, output: Path, session: Callable[[Options], model_session.Session], *, fresh: bool) -> Outcome:
    """As the commands do it."""
    options = Options(**QUICK, fresh=fresh)
    still = path.name in STILLS
    job = _planned(path, output)
    if isinstance(job, job_planning.Refusal):
        raise job.error
    outcome, _ = (image_job.visualize_image if still else video_job.visualize_video)(job, session(options))
    json.dumps(outcome.as_json(), allow_nan=False)
    return outcome


def _planned(path: Path, output: Path) -> job_planning.Job | job_planning.Refusal:
    plan = job_planning.plan_images if path.name in STILLS else job_planning.plan_videos
    [job] = plan([path], output=output, options=Options(**QUICK))
    return job


def _lost(path: Path) -> list[str]:
    """What was begun and has failed must have had nothing in it."""
    frames = 0
    with contextlib.suppress(av.FFmpegError, ValueError, IndexError), av.open(f"file:{path}", metadata_errors="replace") as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.FFmpegError):
                frames += len(packet.decode())
    return [f"PyAV decodes {frames} frames of it"] if frames else []


def _left(folder: Path, expected: set[str]) -> list[str]:
    left = {entry.name for entry in folder.iterdir()}
    return [f"in the folder: {sorted(left)}, and not {sorted(expected)}"] if left != expected else []


def _left_by_failure(path: Path, output: Path, session: Callable[[Options], model_session.Session]) -> list[str]:
    """A failed run may keep finished segments for the next; `fresh` begins without them."""
    kept = segment_journal.folder_of(output)
    expected = {path.name, *([kept.name] if kept.exists() else ())}
    problems = _left(path.parent, expected)
    if not kept.exists():
        return problems
    segments = sorted(kept.glob("0*.mp4"))
    if not segments:
        return [*problems, "a journal is kept that has no segment"]
    before = [(each, each.stat().st_ino) for each in segments]
    with contextlib.suppress(HeatreelError):
        _visualized(path, output, session, fresh=True)
    stale = [each.name for each, inode in before if each.exists() and each.stat().st_ino == inode]
    return [*problems, *([f"--fresh keeps {stale}"] if stale else [])]


def _video(case: Case, path: Path, outcome: Outcome) -> list[str]:
    assert outcome.output is not None
    problems = []
    with av.open(f"file:{outcome.output}", metadata_errors="replace") as container:
        times = [frame.time for frame in container.decode(video=0)]
    if len(times) != outcome.frames:
        problems.append(f"{len(times)} frames are in the output, and {outcome.frames} were announced")
    if any(time is None for time in times) or any(a >= b for a, b in itertools.pairwise(times)):
        problems.append(f"times do not increase: {times}")
    if outcome.partial != bool(outcome.error):
        problems.append(f"partial is {outcome.partial} and the error {outcome.error!r}")
    if not outcome.partial and set(case.damage) == {"truncate"} and path.suffix == ".mp4":
        listed = _listed(path)
        if listed and listed != outcome.frames:
            problems.append(f"the header lists {listed} frames, {outcome.frames} came out, and nobody says so")
    return problems


def _listed(path: Path) -> int:
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        return int(container.streams.video[0].frames)


def _still(output: Path) -> list[str]:
    with Image.open(output) as image:
        image.load()
        return [] if np.asarray(image).ndim >= 2 else ["no picture came out"]


# ------------------------------------------------------------------------------------------------ one after the other


class Memory:
    """The most that this process, and the ffmpeg children that run at one time, have taken since `start`."""

    def __init__(self) -> None:
        self.children_bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self) -> None:
        self.children_bytes = 0
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets VmHWM back to what is taken now

    @property
    def peak_bytes(self) -> int:
        return _peak_bytes(os.getpid()) + self.children_bytes

    def _watch(self) -> None:
        while True:
            running = [child.process.pid for child in list(ffmpeg_process._running) if child.process.returncode is None]
            self.children_bytes = max(self.children_bytes, sum(map(_peak_bytes, running)))
            time.sleep(0.02)


def _peak_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


class Watchdog:
    """Ends the process, and its children, when a case takes too long; where every thread stands goes to stderr."""

    def __init__(self) -> None:
        self._since: float | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self._since = time.monotonic()
        yield
        self._since = None

    def _watch(self) -> None:
        while (since := self._since) is None or time.monotonic() - since < SECONDS_A_CASE:
            time.sleep(0.2)
        faulthandler.dump_traceback()
        ffmpeg_process.kill_all()
        os._exit(99)


def session_opener() -> Callable[[Options], model_session.Session]:
    """One traced function for all options."""
    classifier = loading.load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL))
    shared = model_session.open_session(classifier, Options())
    return lambda options: replace(shared, options=options)


def try_once_for_each_size() -> None:
    """Whether an encoder takes a size is tried with ffmpeg: half of a short case's time, for the same few sizes."""
    tried: dict[Any, str | None] = {}
    really = encoders.try_encoder

    def try_encoder(encoder: encoders.Encoder, *, width_px: int = 640, height_px: int = 360) -> str | None:
        key = (encoder.name, width_px, height_px)
        if key not in tried:
            tried[key] = really(encoder, width_px=width_px, height_px=height_px)
        return tried[key]

    encoders.try_encoder = try_encoder


def main(clips: Path, work: Path, seeds: Sequence[int]) -> None:
    faulthandler.enable()
    loose: list[str] = []
    threading.excepthook = lambda args: loose.append(f"in a thread: {args.exc_type.__name__}: {args.exc_value}")
    sys.unraisablehook = lambda args: loose.append(f"unraisable: {args.exc_value!r} in {args.object!r}")
    try_once_for_each_size()
    session, memory, watchdog = session_opener(), Memory(), Watchdog()
    say = partial(print, flush=True)
    for seed in seeds:
        each, folder = case(seed, clips), work / f"seed{seed}"
        folder.mkdir(parents=True)
        say(json.dumps({"seed": seed, "case": str(each)}))
        memory.start()
        started = time.perf_counter()
        with watchdog():
            verdict = run(each, folder, session)
        seconds, peak = time.perf_counter() - started, memory.peak_bytes
        verdict.problems += loose
        loose.clear()
        if peak > MOST_BYTES:
            verdict.problems.append(f"{peak >> 20} MiB of memory")
        say(json.dumps({"seed": seed, "seconds": round(seconds, 2), "peak_mib": peak >> 20, **vars(verdict)}))
        shutil.rmtree(folder)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"largest child: {largest} MiB", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(seed) for seed in sys.argv[3:]])
