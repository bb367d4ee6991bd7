"""The contract: each clip of corpus.py through the library and through the command, and what came out read back with PyAV."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from support import clips, corpus
from support.corpus import ROWS, Row

from pipeline.arrays import Array
from pipeline.errors import HeatreelError
from pipeline.explain import job_planning, model_session, video_job
from pipeline.options import Options

ROOT = Path(__file__).parents[2]
Planes = tuple[Array, Array, Array]
Open = Callable[..., model_session.Session]
Said = Mapping[str, Any]

QUICK: dict[str, Any] = {"every": 50, "crf": 1, "preset": "ultrafast"}  # at crf 1 the panels are within a level of what was decoded
KR_KB = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
MATRICES = {1: "bt709", 5: "smpte170m", 6: "smpte170m", 9: "bt2020nc"}
PRIMARIES = {1: "bt709", 6: "smpte170m", 9: "bt2020"}
TRANSFERS = {1: "bt709", 6: "smpte170m", 14: "bt2020-10", 16: "smpte2084", 18: "arib-std-b67"}
FULL_RANGE = 2
ATTACHED_PICTURE = 0x400
# A track that does not come through must be named in a warning, by one of these words.
WORDS = {"attachment": "attach|font", "data": "data|timecode", "subtitle": "subtitle", "cover": "cover|picture"}


# ------------------------------------------------------------------------------------------------ reading back


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A video as PyAV sees it, without a line of the program's own."""

    times: Sequence[float | None]
    planes: Sequence[Planes]  # 8-bit 4:2:0 only, else empty
    size: tuple[int, int]
    aspect: Fraction
    rotation: int
    matrix: str | None
    primaries: str | None
    transfer: str | None
    full_range: bool


def planes_of(frame: av.VideoFrame) -> Planes:
    parts = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].copy() for p in frame.planes]
    return parts[0], parts[1], parts[2]


def read(path: Path) -> Reading:
    times, planes, rotation = [], [], 0
    with av.open(f"file:{path}") as container:
        stream = next(s for s in container.streams.video if not int(s.disposition) & ATTACHED_PICTURE)
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:  # the damaged sources
                continue
            for frame in frames:
                times.append(None if frame.pts is None else float(frame.time))
                planes += [planes_of(frame)] if frame.format.name in ("yuv420p", "yuvj420p") else []
                rotation = frame.rotation or rotation
        context = stream.codec_context
        return Reading(
            times=times,
            planes=planes,
            size=(context.width, context.height),
            aspect=Fraction(stream.sample_aspect_ratio or 1),
            rotation=rotation,
            matrix=MATRICES.get(int(context.colorspace)),
            primaries=PRIMARIES.get(int(context.color_primaries)),
            transfer=TRANSFERS.get(int(context.color_trc)),
            full_range=int(context.color_range) == FULL_RANGE,
        )


def tracks(path: Path) -> dict[str, list[Any]]:
    """For each kind the tracks' languages; of audio also the codec and the packets' times and contents; the chapters."""
    with av.open(f"file:{path}") as container:
        found: dict[str, list[Any]] = {"cover": [], "chapters": [], "sound": []}
        for stream in container.streams:
            cover = stream.type == "video" and int(stream.disposition) & ATTACHED_PICTURE
            found.setdefault("cover" if cover else stream.type, []).append(stream.metadata.get("language", "und"))
        for chapter in container.chapters():
            start, end = (float(chapter[key] * chapter["time_base"]) for key in ("start", "end"))
            found["chapters"].append((chapter["metadata"].get("title"), start, end))
        packets: dict[int, list[tuple[float, bytes]]] = {s.index: [] for s in container.streams.audio}
        for packet in container.demux(*container.streams.audio) if packets else ():
            if packet.size and packet.pts is not None:
                packets[packet.stream.index].append((float(packet.pts * packet.time_base), without_adts(bytes(packet))))
        found["sound"] = [(s.codec_context.name, packets[s.index]) for s in container.streams.audio]
        return found


def without_adts(payload: bytes) -> bytes:
    """MPEG-TS puts a header of 7 bytes before each AAC packet, which no other container has."""
    return payload[7:] if payload[:1] == b"\xff" and payload[1] & 0xF6 == 0xF0 else payload


def to_rgb(planes: Planes, area: tuple[slice, slice], matrix: str, full_range: bool) -> Array:
    """The mean colour of an area (even sides) as its tags say, float (3,) in [0, 255]."""
    rows, columns = area
    half = slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)
    y, u, v = planes[0][area].mean(), planes[1][half].mean() - 128, planes[2][half].mean() - 128
    if not full_range:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    kr, kb = KR_KB[matrix]
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def strip(width: int) -> list[tuple[slice, slice]]:
    """The middles of the chart's eight colours."""
    step, top, bottom = width // 8, corpus.STRIP.start + 6, corpus.STRIP.stop - 6
    return [(slice(top, bottom), slice(n * step + 6, (n + 1) * step - 6)) for n in range(8)]


def left_panel(row: Row, made: Reading, number: int) -> Planes:
    width, height = row.size or (made.size[0] // 2, made.size[1])
    y, u, v = made.planes[number]
    half = np.s_[: (height + 1) // 2, : (width + 1) // 2]
    return y[:height, :width], u[half], v[half]


# ------------------------------------------------------------------------------------------------ what is checked


def verify(row: Row, clip: Path, said: Said) -> None:
    """Everything that the row promises, of one result: the JSON object and the file that it names."""
    if row.refused:
        assert said["output"] is None and re.search(row.error, words(row, said["error"])), said["error"]
        return
    assert bool(said["error"]) == row.partial, said["error"]
    assert re.search(row.warning, words(row, *said["warnings"])), said["warnings"]
    made, source = read(Path(said["output"])), read(clip) if row.name not in UNREADABLE else None
    assert said["frames"] == len(made.times) == len(made.planes)
    if row.partial:
        check_partial(row, source, made, said)
    else:
        check_frames(row, source, made, said)
        check_sound(row, clip, said)
    check_shape(row, source, made)
    check_colours(row, source, made)
    SPECIAL.get(row.name, lambda *_: None)(row, made)


def words(row: Row, *messages: str) -> str:
    """Without the file's name, which may hold the very word that is looked for."""
    return "\n".join(messages).replace(row.file, "")


UNREADABLE = ("animated.webp",)  # by PyAV


def check_frames(row: Row, source: Reading | None, made: Reading, said: Said) -> None:
    count = row.frames or (len(row.numbers) if row.numbers is not None else len(source.times) if source else 0)
    assert len(made.times) == count
    assert all(a < b for a, b in itertools.pairwise(made.times)), "times that do not increase"
    spanned = (made.times[-1] or 0) - (made.times[0] or 0)
    assert spanned < said["duration_seconds"] < spanned + 0.6, "a duration that a header made up"
    tolerance = 1.1e-3 if row.file.endswith((".mkv", ".webm")) or row.output_suffix == ".mkv" else 1e-4
    if row.times == "steady":
        np.testing.assert_allclose(np.diff(made.times), 1 / corpus.RATE, atol=tolerance)
    elif row.times == "joined":
        off = np.sort(np.abs(np.diff(made.times) - 1 / corpus.RATE))
        assert off[-2] <= tolerance and off[-1] <= 0.06
    elif row.times == "source":
        assert source is not None
        np.testing.assert_allclose(made.times, source.times, atol=tolerance)
    else:
        np.testing.assert_allclose(made.times, row.times, atol=tolerance)
    if row.numbers is not None:
        assert read_numbers(row, made, source) == list(row.numbers)


def read_numbers(row: Row, made: Reading, source: Reading | None) -> list[int]:
    lumas = [left_panel(row, made, n)[0] for n in range(len(made.planes))]
    if row.size is None and source is not None:
        lumas = [np.asarray(Image.fromarray(luma).resize(source.size)) for luma in lumas]
    return [clips.read_number(luma) for luma in lumas]


def check_shape(row: Row, source: Reading | None, made: Reading) -> None:
    if row.size is not None:
        width, height = (side + side % 2 for side in row.size)
        assert made.size == (2 * width, height)
    elif source is not None:
        assert made.size[0] < 2 * source.size[0]
        assert made.size[0] / made.size[1] == pytest.approx(2 * source.size[0] / source.size[1], rel=0.05)
    assert made.aspect == row.aspect and made.rotation == 0


def check_colours(row: Row, source: Reading | None, made: Reading) -> None:
    for name in ("matrix", "primaries", "transfer"):
        wanted = getattr(row.tags, name)
        assert wanted is None or getattr(made, name) == wanted, name
    assert row.tags.full_range in (None, made.full_range)
    if row.same_planes:
        assert source is not None
        for number, planes in enumerate(source.planes):
            for ours, theirs in zip(left_panel(row, made, number), planes, strict=True):
                assert np.abs(ours.astype(float) - theirs).mean() <= 1
    if row.colours is not None and row.size is not None:
        for area, colour in zip(strip(row.size[0]), row.colours, strict=True):
            seen = to_rgb(left_panel(row, made, -1), area, made.matrix or "smpte170m", made.full_range)
            np.testing.assert_allclose(seen, colour, atol=row.tolerance)


def check_partial(row: Row, source: Reading | None, made: Reading, said: Said) -> None:
    """What PyAV decodes must be there at least, and in its place. The damage may lie on a barcode, so not all are read."""
    assert said["partial"] is True and source is not None
    assert len(source.times) - 1 <= len(made.times) <= corpus.COUNT
    expected = np.round((np.array(made.times) - made.times[0]) * corpus.RATE).astype(int).tolist()
    right = [a == b for a, b in zip(read_numbers(row, made, None), expected, strict=True)]
    assert sum(right) >= 0.8 * len(right) and all(a < b for a, b in itertools.pairwise(expected))
    if row.complete is not None and len(made.times) < row.complete:
        assert re.search(rf"\b{row.complete - len(made.times)}\b", said["error"]), said["error"]


def check_sound(row: Row, clip: Path, said: Said) -> None:
    if row.name in UNREADABLE:
        return
    before, after = tracks(clip), tracks(Path(said["output"]))
    for kind, any_of in WORDS.items():
        if len(after.get(kind, ())) < len(before.get(kind, ())):
            assert re.search(any_of, words(row, *said["warnings"])), f"{kind} is lost without a word"
    for kind, wanted in row.has.items():
        have = [title for title, *_ in after["chapters"]] if kind == "chapters" else after.get(kind.removesuffix("s"), [])
        assert have == list(wanted), kind
    assert [title for title, *_ in after["chapters"]] == [title for title, *_ in before["chapters"]]
    np.testing.assert_allclose([c[1:] for c in after["chapters"]], [c[1:] for c in before["chapters"]], atol=2e-3)
    assert len(after["sound"]) == len(before["sound"])
    old_start, new_start = (first_time(path) for path in (clip, Path(said["output"])))
    for (_, old), (codec, new) in zip(before["sound"], after["sound"], strict=True):
        check_packets(row, codec, [(time - old_start, data) for time, data in old], [(time - new_start, data) for time, data in new])


def first_time(path: Path) -> float:
    """Sound is compared by its distance from the first picture."""
    return next((time for time in read(path).times if time is not None), 0.0)


def check_packets(row: Row, codec: str, old: Sequence[tuple[float, bytes]], new: Sequence[tuple[float, bytes]]) -> None:
    times = np.array([time for time, _ in new])
    if row.audio == "copied":
        assert [data for _, data in new] == [data for _, data in old]
        np.testing.assert_allclose(times, [time for time, _ in old], atol=1.1e-3)
        return
    assert codec == "aac" and (np.diff(times) > 0).all()
    if row.audio == "aac":  # its encoder is fed with 1024 samples before the first
        assert times[0] == pytest.approx(old[0][0], abs=0.025) and times[-1] == pytest.approx(old[-1][0], abs=0.05)
    else:
        assert len(new) == len(old) and times[-1] - times[0] == pytest.approx(0.8, abs=0.1)


# ------------------------------------------------------------------------------------------------ rows with pictures of their own


def letterboxed(row: Row, made: Reading) -> None:
    """384 x 288 in 256 x 144 is 192 x 144, half its size, between black bars."""
    lumas = [left_panel(row, made, n)[0] for n in range(corpus.COUNT)]
    inner = [luma[:, 32:224].repeat(2, axis=0).repeat(2, axis=1) for luma in lumas[10:]]
    assert [clips.read_number(luma) for luma in lumas[:10]] + [clips.read_number(luma) for luma in inner] == list(range(corpus.COUNT))
    for number in range(10, corpus.COUNT):
        y, u, v = left_panel(row, made, number)
        assert max(y[:, :30].max(), y[:, 226:].max()) <= 20
        assert all(abs(float(plane[:, :14].mean()) - 128) < 2 for plane in (u, v))


def on_white(row: Row, made: Reading) -> None:
    planes = left_panel(row, made, -1)
    clear = to_rgb(planes, (slice(88, 136), slice(170, 246)), made.matrix or "", made.full_range)
    np.testing.assert_allclose(clear, 255, atol=row.tolerance)
    if not row.name.endswith(".gif"):  # which knows clear and not clear
        half = to_rgb(planes, (slice(88, 136), slice(106, 136)), made.matrix or "", made.full_range)
        np.testing.assert_allclose(half, 127, atol=row.tolerance + 2)


def plausible_hdr(row: Row, made: Reading) -> None:
    planes = left_panel(row, made, -1)
    black, white, mid, *hues, yellow, bright = [to_rgb(planes, area, "bt709", False) for area in strip(corpus.WIDTH)]
    luma = [16 + c.mean() * 219 / 255 for c in (black, mid, white, bright)]
    assert luma == sorted(luma) and luma[0] == pytest.approx(16, abs=2) and 170 <= luma[2] <= luma[3] <= 236
    for colour in (black, white, mid, bright):
        assert np.ptp(colour) < 6, "a gray that is not gray"
    for index, colour in enumerate(hues):
        assert colour.argmax() == index and colour[index] > 1.5 * np.delete(colour, index).max()
    assert yellow[:2].min() > 1.5 * yellow[2]


SPECIAL: Mapping[str, Callable[[Row, Reading], None]] = {
    "sizes.ts": letterboxed,
    "sizes.h264": letterboxed,
    "alpha.mov": on_white,
    "alpha.webm": on_white,
    "alpha.gif": on_white,
    "pq.mp4": plausible_hdr,
    "hlg.mp4": plausible_hdr,
}


# ------------------------------------------------------------------------------------------------ through the library


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def by_library(clip: Path, output: Path, open_session: Open, **more: Any) -> Said:
    options = {**QUICK, **more}
    [job] = job_planning.plan_videos([clip], output=output, options=Options(**options))
    try:
        if isinstance(job, job_planning.Refusal):
            raise job.error
        outcome, _ = video_job.visualize_video(job, open_session(**options))
    except HeatreelError as error:
        assert error.exit_code == 1 and not output.exists()
        return {"output": None, "error": str(error)}
    return outcome.as_json()


@pytest.mark.parametrize("name", list(ROWS))
def test_row(folder: Path, tmp_path: Path, open_session: Open, name: str) -> None:
    row = ROWS[name]
    clip = corpus.make_clip(row, folder)
    verify(row, clip, by_library(clip, tmp_path / f"out{row.output_suffix}", open_session))


@pytest.fixture(scope="session")
def named_clips(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return {path.name: path for path in corpus.make_names(tmp_path_factory.mktemp("names"))}


@pytest.mark.parametrize("name", corpus.NAMES)
def test_names_are_only_names(named_clips: Mapping[str, Path], tmp_path: Path, open_session: Open, name: str) -> None:
    """As the input, as the folder of the output, and as the output."""
    said = by_library(named_clips[name], tmp_path / name / name, open_session)
    assert said["error"] is None and len(read(tmp_path / name / name).times) == 2


# ------------------------------------------------------------------------------------------------ through the command


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quick = [part for key, value in QUICK.items() for part in (f"--{key}", str(value))]
    whole = [sys.executable, "-m", "cli", "video", "--json", *quick, *arguments]
    return subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False, timeout=300)


COMMANDED = [name for name, row in ROWS.items() if row.clip is None]
COMMANDED_NAMES = corpus.NAMES


@dataclass(frozen=True, kw_only=True)
class Called:
    """What one call of the command answered."""

    exit_code: int
    said: Mapping[str, Said]
    stderr: str


@pytest.fixture(scope="session")
def called(folder: Path, named_clips: Mapping[str, Path]) -> Mapping[bool, Called]:
    """Two calls for all clips: those that come through, and, under True, those that count as failed."""
    for name in COMMANDED:
        corpus.make_clip(ROWS[name], folder)
    good = [name for name in COMMANDED if not ROWS[name].error]
    good += [f"../{named_clips[name].parent.name}/{name}" for name in COMMANDED_NAMES]
    return {False: call(folder, good, False), True: call(folder, [name for name in COMMANDED if ROWS[name].error], True)}


def call(folder: Path, paths: Sequence[str], failing: bool) -> Called:
    out = folder / f"out_{failing}"
    result = command("-o", str(out), "--", *paths, cwd=folder)
    said = [json.loads(line) for line in result.stdout.splitlines()]
    outputs = sorted(s["output"] for s in said if s["output"])
    assert sorted(map(str, out.glob("*") if out.exists() else ())) == outputs, "what is said is not what is there"
    return Called(exit_code=result.returncode, said={Path(s["input"]).name: s for s in said}, stderr=result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDED)
def test_row_by_the_command(folder: Path, called: Mapping[bool, Called], name: str) -> None:
    row = ROWS[name]
    verify(row, folder / name, called[bool(row.error)].said[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDED_NAMES)
def test_names_are_only_names_to_the_command(called: Mapping[bool, Called], name: str) -> None:
    said = called[False].said[name]
    assert said["error"] is None and Path(said["output"]).exists() and said["frames"] == 2


@pytest.mark.slow
def test_the_exit_code_tells_whether_all_came_through(called: Mapping[bool, Called]) -> None:
    assert [called[failing].exit_code for failing in (False, True)] == [0, 1], called[False].stderr
    failures = [line for line in called[True].stderr.splitlines() if line.startswith("error: ")]
    assert len(failures) == sum(bool(ROWS[name].error) for name in COMMANDED)


@pytest.mark.slow
def test_every_result_says_whether_it_is_partial(called: Mapping[bool, Called]) -> None:
    for each in called.values():
        for file, said in each.said.items():
            assert said["partial"] is (file in ROWS and ROWS[file].partial)


@pytest.mark.slow
def test_another_video_track_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    corpus.make_clip(ROWS["two_videos.mp4"], folder)
    result = command("--stream", "1", "-o", str(tmp_path / "out.mp4"), "two_videos.mp4", cwd=folder)
    assert result.returncode == 0, result.stderr
    numbers = [clips.read_number(planes[0]) for planes in read(tmp_path / "out.mp4").planes]
    assert numbers == list(range(100, 100 + corpus.COUNT))
