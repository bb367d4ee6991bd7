"""Video in and out: the same pictures at the same times with the same sound, read back with PyAV."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from support import clips, corpus
from support.commands import wrapper
from support.decoding import audio_packets, decoded

from pipeline.arrays import Array
from pipeline.errors import CommandError, InputError, OutputError, ToolError, is_disk_full
from pipeline.explain import demo_clip
from pipeline.media import damage_checks, encoders, ffmpeg_process, frame_reader, muxer, probing, resizing, segment_writer
from pipeline.models.input_geometry import frame_geometry
from pipeline.records import Colour, Frame, VideoSource

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Written = tuple[Array, int]


def copied(frames: Iterator[Frame]) -> Iterator[Written]:
    for frame in frames:
        y, u, v = frame.planes
        even = [np.pad(p, ((0, -p.shape[0] % k), (0, -p.shape[1] % k)), mode="edge") for p, k in ((y, 2), (u, 1), (v, 1))]
        yield np.concatenate([plane.ravel() for plane in even]), frame.pts


def target_like(source: VideoSource, output: Path, first: Frame, **more: Any) -> segment_writer.OutputVideo:
    height, width = first.planes[0].shape
    given: dict[str, Any] = {
        "output": output,
        "width_px": width + width % 2,
        "height_px": height + height % 2,
        "time_base": first.time_base,
        "frame_rate": source.frame_rate,
        "encoder": encoders.choose_encoder("h264", width_px=64, height_px=64, crf=12),
        "colour_tags": source.colour_tags,
        "sample_aspect": source.sample_aspect,
        **more,
    }
    return segment_writer.OutputVideo(**given)


def write_all(
    frames: list[Frame],
    target: segment_writer.OutputVideo,
    source: VideoSource,
    *,
    seconds: float = 0.5,
    ranged: bool = False,
    end: float | None = None,
) -> list[str]:
    """Frames in segments of that length, and joined; returns what had to be changed."""
    pieces = []
    folder = target.output.with_name(f"segments of {target.output.name}")
    folder.mkdir()
    for _, group in itertools.groupby(frames, key=lambda frame: int((frame.time_seconds - frames[0].time_seconds) / seconds)):
        path = folder / f"{len(pieces)}{target.segment_suffix}"
        sent = segment_writer.write_segment(copied(group), target, path)
        pieces.append(muxer.SegmentFile(path=path, first_pts=sent[0]))
    times = np.array([frame.time_seconds for frame in frames])
    offset = frames[0].pts * frames[0].time_base if ranged else None
    original = muxer.SourceTracks(source=source, offset_seconds=offset, end_seconds=end)
    return muxer.mux(pieces, times, target, original, target.output, folder=pieces[0].path.parent)


def round_trip(path: Path, output: Path, *, start: float | None = None, end: float | None = None) -> VideoSource:
    """Through the decoder, both pipes, the encoder and the joining of segments, with nothing done to the pictures."""
    source = probing.probe(path)
    with frame_reader.read_frames(source, start_seconds=start, end_seconds=end) as reading:
        frames = list(reading)
    write_all(frames, target_like(source, output, frames[0]), source, ranged=start is not None or end is not None, end=end)
    return source


@pytest.mark.parametrize("name", sorted(clips.CLIPS))
def test_every_frame_comes_out_at_its_own_time(clip: Clip, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.mp4"
    round_trip(clip(name), output)
    times, pictures = decoded(clip(name))
    new_times, new_pictures = decoded(output)
    assert len(new_times) == len(times) > 0
    np.testing.assert_allclose(new_times, times, rtol=0, atol=1e-4)
    if name != "rotated.mov":  # there the barcode lies on its side; the next test compares its pixels
        assert [clips.read_number(p) for p in new_pictures] == [clips.read_number(p) for p in pictures] == list(range(len(times)))


@pytest.mark.parametrize("name", sorted(clips.CLIPS))
def test_planes_are_bit_for_bit_what_the_codec_holds(clip: Clip, name: str) -> None:
    source = probing.probe(clip(name))
    with frame_reader.read_frames(source) as frames:
        ours = [(frame.time_seconds, frame.planes[0].copy()) for frame in frames]
    times, pictures = decoded(clip(name))
    turned = [np.rot90(picture, 1) for picture in pictures] if name == "rotated.mov" else pictures
    np.testing.assert_allclose([time for time, _ in ours], times, rtol=0, atol=1e-6)
    assert all(np.array_equal(a, b) for (_, a), b in zip(ours, turned, strict=True))


@pytest.mark.parametrize("name", ["constant.mp4", "variable.mp4", "late_audio.mp4", "late_video.mp4", "stream.ts"])
def test_sound_is_copied_packet_for_packet_at_its_times(clip: Clip, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.mkv" if name == "stream.ts" else tmp_path / "out.mp4"
    round_trip(clip(name), output)
    before, after = audio_packets(clip(name)), audio_packets(output)
    assert len(before) > 40
    if name != "stream.ts":  # ADTS headers are taken off on the way into another container
        assert [data for _, data in after] == [data for _, data in before]
    np.testing.assert_allclose([time for time, _ in after], [time for time, _ in before], rtol=0, atol=1.1e-3)


def test_the_last_frame_is_shown_as_long_as_in_the_source(clip: Clip, tmp_path: Path) -> None:
    round_trip(clip("constant.mp4"), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(30 / 25, abs=1e-3)


def test_a_range_is_cut_to_the_frame_with_its_sound_in_step(clip: Clip, tmp_path: Path) -> None:
    path = clip("late_audio.mp4")  # 50 frames at 25 a second; sound from 0.7 s on
    round_trip(path, tmp_path / "out.mp4", start=0.5, end=1.1)
    times, pictures = decoded(tmp_path / "out.mp4")
    # Frame 13 at 0.52 s is the first one not before 0.5 s, frame 27 at 1.08 s the last one before 1.1 s.
    assert [clips.read_number(p) for p in pictures] == list(range(13, 28))
    np.testing.assert_allclose(times, np.arange(15) / 25, atol=1e-4)
    sound = {data: time for time, data in audio_packets(path)}
    kept = audio_packets(tmp_path / "out.mp4")
    assert len(kept) > 15
    np.testing.assert_allclose([time for time, _ in kept], [sound[data] - 0.52 for _, data in kept], atol=1.1e-3)
    assert max(time for time, _ in kept) < 1.1 - 0.52 + 0.03


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "copy"), ("webm", "libopus")])
def test_a_range_begins_at_0_in_matroska_too(clip: Clip, tmp_path: Path, suffix: str, codec: str) -> None:
    """Where no edit list hides the packet that the range begins within; it must not move the pictures."""
    path = clip("constant.mp4")  # sound from 0 on
    source = probing.probe(path)
    with frame_reader.read_frames(source, start_seconds=0.3) as reading:
        frames = list(reading)
    encoder = encoders.choose_encoder("vp9" if suffix == "webm" else "h264", width_px=256, height_px=144)
    target = target_like(source, tmp_path / f"out.{suffix}", frames[0], encoder=encoder)
    said = write_all(frames, target, source, ranged=True)
    times, pictures = decoded(target.output)
    assert [clips.read_number(p) for p in pictures] == list(range(8, 30))  # frame 8 at 0.32 s is the first one not before 0.3 s
    np.testing.assert_allclose(times, np.arange(22) / 25, atol=1.1e-3)
    kept = audio_packets(target.output)
    assert len(said) == (codec != "copy") and -0.01 <= kept[0][0] < 0.025
    if codec == "copy":
        sound = {data: time for time, data in audio_packets(path)}
        np.testing.assert_allclose([time for time, _ in kept], [sound[data] - 0.32 for _, data in kept], atol=1.1e-3)


def test_a_range_in_a_file_that_starts_late_counts_from_its_beginning(clip: Clip, tmp_path: Path) -> None:
    source = probing.probe(clip("stream.ts"))
    assert source.start_seconds == pytest.approx(1.9787, abs=1e-3)
    with frame_reader.read_frames(source, start_seconds=0.5) as frames:
        numbers = [clips.read_number(frame.planes[0]) for frame in frames]
    # Frame n lies at 2 + n / 25; 0.5 s after the start is 2.4787, between frames 11 and 12.
    assert numbers == list(range(12, 30))


def test_a_range_behind_the_end_is_an_error(clip: Clip) -> None:
    with (
        frame_reader.read_frames(probing.probe(clip("constant.mp4")), start_seconds=9) as frames,
        pytest.raises(InputError, match="no frame"),
    ):
        next(frames)


def test_the_output_is_tagged_with_the_source_colour(clip: Clip, tmp_path: Path) -> None:
    for name, full in (("constant.mp4", False), ("full_range.mp4", True)):
        source = round_trip(clip(name), tmp_path / name)
        assert source.colour == Colour(matrix="bt601", full_range=full)  # 144 lines, untagged
        with av.open(str(tmp_path / name)) as container:
            context = container.streams.video[0].codec_context
            assert (int(context.colorspace), int(context.color_range)) == (6, 2 if full else 1)


def test_the_aspect_of_pixels_is_kept(clip: Clip, tmp_path: Path) -> None:
    source = probing.probe(clip("constant.mp4"))
    with frame_reader.read_frames(source) as frames:
        first = next(frames)
        target = target_like(source, tmp_path / "out.mp4", first, sample_aspect=Fraction(4, 3))
        write_all([first], target, source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [("h264", "mkv", "h264"), ("hevc", "mp4", "hevc"), ("av1", "mp4", "av1"), ("vp9", "webm", "vp9"), ("prores", "mov", "prores")],
)
def test_every_codec_keeps_frames_and_times(clip: Clip, tmp_path: Path, codec: Any, suffix: str, name: str) -> None:
    source, output = probing.probe(clip("variable.mp4")), tmp_path / f"out.{suffix}"
    with frame_reader.read_frames(source) as frames:
        first = next(frames)
        encoder = encoders.choose_encoder(codec, width_px=256, height_px=144)
        write_all(list(frames), target_like(source, output, first, encoder=encoder), source)
    with av.open(str(output)) as container:
        assert name in container.streams.video[0].codec_context.codec.canonical_name
    times, pictures = decoded(output)
    np.testing.assert_allclose(times, decoded(clip("variable.mp4"))[0][1:], atol=1.1e-3)
    if codec != "prores":  # 10 bits: the barcode reader takes 8
        assert [clips.read_number(p) for p in pictures] == list(range(1, 30))
    assert packets(output, decoders=False) == packets(output, decoders=True)


def packets(path: Path, *, decoders: bool) -> list[tuple[int | None, int, bytes]]:
    with probing.open_container(path, decoders=decoders) as container:
        stream = container.streams.video[0]
        assert (stream.pix_fmt is not None) == decoders  # found by decoding the first picture
        return [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(stream) if packet.size]


def test_network_pictures_are_pillows_bicubic(clip: Clip) -> None:
    source = probing.probe(clip("constant.mp4"))
    geometry = frame_geometry(256, 144, fit="whole", input_px=(64, 64), short_side_px=64, stride=32)
    with frame_reader.read_frames(source) as frames:
        frame = next(frames)
        ours = resizing.NetworkResizer(source.colour, geometry)(frame).astype(int)
    y, u, v = (plane.astype(float) for plane in frame.planes)
    # BT.601, limited range, inverted by hand (ITU-R BT.601-7, 2.5); chroma repeated, as it varies slowly here.
    cb, cr = (np.repeat(np.repeat(c - 128, 2, axis=0), 2, axis=1) for c in (u, v))
    luma = (y - 16) * 255 / 219
    rgb = np.stack([luma + 1.596 * cr, luma - 0.391 * cb - 0.813 * cr, luma + 2.018 * cb], axis=2).clip(0, 255).astype(np.uint8)
    reference = np.asarray(Image.fromarray(rgb).resize((geometry.width_px, geometry.height_px), Image.Resampling.BICUBIC)).astype(int)
    assert ours.shape == reference.shape == (64, 128, 3)
    assert np.abs(ours - reference).mean() < 1.0


def cubic_weights(length: int, wanted: int) -> Array:
    """Keys' kernel with a = -0.5, as wide as a step where the picture becomes smaller; float64 (wanted, length), by the formula."""
    step = length / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * step
    x = np.abs(np.arange(length) + 0.5 - centres) / max(step, 1)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("size", [(500, 375), (120, 90)])
def test_photographs_are_scaled_by_the_kernel_networks_learned_with(size: tuple[int, int]) -> None:
    photo = Image.fromarray(demo_clip.read_photograph("chelsea.png")).resize(size)
    geometry = frame_geometry(*size, fit="squash", input_px=(352, 256), short_side_px=256, stride=32)
    across, down = cubic_weights(size[0], 352), cubic_weights(size[1], 256)
    exact = np.einsum("yj,jkc,xk->yxc", down, np.asarray(photo, float), across, optimize=True).clip(0, 255)
    pillows = np.asarray(photo.resize((352, 256), Image.Resampling.BICUBIC))
    ours = resizing.resize_for_network(resizing.image_to_frame(photo), geometry)
    inner = np.s_[8:-8, 8:-8]  # what lies beyond the edge is nobody's to know
    error, pillows_error = (np.sqrt(np.square(each[inner] - exact[inner]).mean()) for each in (ours, pillows))
    assert ours.shape == (256, 352, 3) and error < 0.35 and error < 1.1 * pillows_error
    assert np.abs(ours[inner] - exact[inner]).max() < 3


def test_photographs_of_any_size_follow_one_another() -> None:
    colours = [np.full((h, w, 3), (200, 100, 50), np.uint8) for w, h in ((60, 40), (31, 77), (60, 40), (1, 1))]
    for colour in colours:
        for input_px in ((32, 32), (64, 32)):
            geometry = frame_geometry(*colour.shape[1::-1], fit="squash", input_px=input_px, short_side_px=32, stride=32)
            seen = resizing.resize_for_network(resizing.image_to_frame(Image.fromarray(colour)), geometry)
            assert seen.shape == (*input_px[::-1], 3) and (seen == colour[0, 0]).all()


def test_a_crop_is_the_centre_of_a_scaled_photograph() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    geometry = frame_geometry(60, 40, fit="crop", input_px=(32, 32), short_side_px=40, stride=32)
    assert np.array_equal(resizing.resize_for_network(resizing.image_to_frame(Image.fromarray(photo)), geometry), photo[4:36, 14:46])


def test_a_crop_is_the_centre_of_the_scaled_frame(clip: Clip) -> None:
    source = probing.probe(clip("constant.mp4"))
    with frame_reader.read_frames(source) as frames:
        frame = next(frames)
    crop = frame_geometry(256, 144, fit="crop", input_px=(96, 96), short_side_px=144, stride=32)
    part = resizing.NetworkResizer(source.colour, crop)(frame).astype(int)
    full = frame_geometry(256, 144, fit="crop", input_px=(144, 144), short_side_px=144, stride=32)
    assert (crop.left_px, crop.top_px) == (80, 24)
    assert np.array_equal(part[:, :, :], resizing.NetworkResizer(source.colour, full)(frame)[24:120, 24:120])


def test_pictures_of_a_folder_become_bt709_frames() -> None:
    red, grey = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 128, np.uint8)
    red[..., 0] = 255
    first, second = resizing.images_to_frames([red, grey], times_seconds=[Fraction(0), Fraction(1, 10)], time_base=Fraction(1, 20))
    # ITU-R BT.709-6, item 3.4, for pure red: 16 + 219 * 0.2126, 128 - 224 * 0.2126 / 1.8556, 128 + 224 / 2
    assert [round(float(plane.mean())) for plane in first.planes] == [63, 102, 240]
    assert [round(float(plane.mean())) for plane in second.planes] == [126, 128, 128]
    assert (second.time_seconds, second.pts) == (0.1, 2)


def broken_files(folder: Path, good: Path) -> dict[str, tuple[Path, str]]:
    def make(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    with av.open(str(folder / "sound.m4a"), "w", format="mp4") as container:
        clips._write_tone(container, container.add_stream("aac", rate=48000), Fraction(0), 0.2)
    return {
        "missing": (folder / "missing.mp4", "no such file"),
        "empty": (make("empty.mp4", b""), "empty"),
        "text": (make("text.mp4", b"a text that was named .mp4\n" * 40), "not a video"),
        "bytes": (make("bytes.mp4", np.random.default_rng(1).bytes(5000)), "nor a video"),
        "no index": (make("headless.mp4", good.read_bytes()[:6000]), "index"),
        "sound only": (folder / "sound.m4a", "no video in it, only sound"),
        "folder": (folder, "not a file"),
    }


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "bytes", "no index", "sound only", "folder"])
def test_what_is_no_video_is_named(clip: Clip, tmp_path: Path, kind: str) -> None:
    path, message = broken_files(tmp_path, clip("constant.mp4"))[kind]
    with pytest.raises(InputError, match=message) as caught:
        probing.probe(path)
    assert str(path) in str(caught.value)


def test_names_that_look_like_something_else_are_names(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("-y.mp4", "a b'c\"d.mp4", "pipe:0.mp4", "%03d.mp4", "[1].mp4", "zeile\nzwei.mp4", "http:.mp4", "🦜.mp4"):
        path = tmp_path / name
        path.write_bytes(clip("single.mp4").read_bytes())
        round_trip(path, tmp_path / "out" / f"{name}.mp4")
        assert len(decoded(tmp_path / "out" / f"{name}.mp4")[0]) == 1


def test_a_tag_that_is_no_utf8_does_not_hide_the_video(clip: Clip, tmp_path: Path) -> None:
    content = clip("constant.mp4").read_bytes()
    marker = b"Lavf"  # the writer's name, in the file's tags
    assert marker in content
    (tmp_path / "latin1.mp4").write_bytes(content.replace(marker, b"\xe9\xe8\xfc\xdf", 1))
    assert probing.probe(tmp_path / "latin1.mp4").frames_estimate == 30


def test_all_frames_may_come_in_the_same_memory(clip: Clip, tmp_path: Path) -> None:
    source, path = probing.probe(clip("constant.mp4")), tmp_path / "segment.mp4"
    with frame_reader.read_frames(source) as reading:
        frames = list(reading)

    def in_one_place() -> Iterator[Written]:
        memory = np.empty(256 * 144 * 3 // 2, np.uint8)
        for data, pts in copied(iter(frames)):
            memory[:] = data
            yield memory, pts
            memory[:] = 0  # the next is asked for: this one must be on its way

    segment_writer.write_segment(in_one_place(), target_like(source, path, frames[0]), path)
    assert [clips.read_number(picture) for picture in decoded(path)[1]] == list(range(30))


def test_an_encoder_that_refuses_is_an_error_with_its_reason(clip: Clip, tmp_path: Path) -> None:
    source = probing.probe(clip("constant.mp4"))
    refusing = encoders.Encoder(name="libx264", arguments={"preset": "no-such-preset"})
    with frame_reader.read_frames(source) as frames:
        first = next(frames)
        target = target_like(source, tmp_path / "out.mp4", first, encoder=refusing)
        with pytest.raises(ToolError, match=r"encoder failed after \d+ frames") as caught:
            segment_writer.write_segment(copied(frames), target, tmp_path / "segment.mp4")
    assert "no-such-preset" in caught.value.details


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_no_reason_to_leave_tracks_out(clip: Clip, tmp_path: Path, use_ffmpeg: Callable[..., None], words: str) -> None:
    """ffmpeg's own words end the joining at the first attempt; what else spoils one leads to attempts with less of the source."""
    source = probing.probe(clip("late_audio.mp4"))
    with frame_reader.read_frames(source) as reading:
        frames = list(reading)
    use_ffmpeg("-f concat", does=f'echo once >> "{tmp_path}/attempts"; echo "av_interleaved_write_frame(): {words}" >&2; exit 1')
    with pytest.raises(ToolError, match=f"joining the segments failed: .*{words}") as caught:
        write_all(frames, target_like(source, tmp_path / "out.mp4", frames[0]), source)
    assert is_disk_full(caught.value) and (tmp_path / "attempts").read_text() == "once\n"


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_no_clock_that_cannot_be_put_right(clip: Clip, tmp_path: Path, use_ffmpeg: Callable[..., None], words: str) -> None:
    source = probing.probe(clip("stream.ts"))
    use_ffmpeg("-f nut", does=f'echo once >> "{tmp_path}/attempts"; echo "{words}" >&2; exit 1')
    with pytest.raises(ToolError, match=f"straight.nut: .*{words}") as caught:
        damage_checks.straighten_times(source, tmp_path / "straight.nut")
    assert is_disk_full(caught.value) and (tmp_path / "attempts").read_text() == "once\n"
    use_ffmpeg("-f nut", does="echo codec not currently supported in container >&2; exit 1")
    assert not damage_checks.straighten_times(source, tmp_path / "straight.nut")


@pytest.fixture
def use_ffmpeg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes ffmpeg do something else where its command line has that word."""
    real = ffmpeg_process.ffmpeg_path

    def use(word: str, *, does: str) -> None:
        monkeypatch.undo()
        real.cache_clear()
        monkeypatch.setenv("PATH", wrapper(tmp_path_factory.mktemp("bin"), word, does=does))
        real.cache_clear()

    yield use
    monkeypatch.undo()
    real.cache_clear()


def test_a_decoder_that_dies_is_an_error(clip: Clip) -> None:
    source = probing.probe(clip("late_audio.mp4"))
    with frame_reader.read_frames(source) as frames:
        first = next(frames)
        assert first.pts == 0
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        running = [pid for pid in pids if parent_of(pid) == os.getpid() and is_ffmpeg(pid)]
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        assert running
        # Its pipe holds what it had already written, so frames come until that is used up.
        with pytest.raises(ToolError, match="decoding failed after"):
            for _ in frames:
                pass


@pytest.mark.parametrize(("word", "told"), [("pipe:1", "decoding failed after"), ("pipe:0", "the encoder failed after")])
def test_a_child_that_stands_still_is_given_up(clip: Clip, tmp_path: Path, word: str, told: str) -> None:
    source = probing.probe(clip("late_audio.mp4"))
    limits = ffmpeg_process.StallLimits(idle_seconds=0.4)
    with frame_reader.read_frames(source, limits=limits) as reading:
        target = target_like(source, tmp_path / "out.mp4", next(reading))

        def frames_from_a_frozen_child() -> Iterator[Written]:
            for number, written in enumerate(copied(itertools.chain.from_iterable(itertools.repeat(list(reading), 1000)))):
                if number == 2 and word == "pipe:0":
                    freeze(word)
                yield written[0], number

        began = time.monotonic()
        with pytest.raises(ToolError, match=rf"{told}.* ffmpeg did nothing for 0\.4 seconds and was stopped"):
            if word == "pipe:1":
                freeze(word)
                list(reading)
            segment_writer.write_segment(frames_from_a_frozen_child(), target, tmp_path / "segment.mp4", limits=limits)
    assert 0.4 < time.monotonic() - began < 10


def freeze(word: str) -> None:
    """Stop this process' ffmpeg that has that word in its command line."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    running = [pid for pid in pids if parent_of(pid) == os.getpid() and is_ffmpeg(pid)]
    [pid] = [pid for pid in running if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    os.kill(pid, signal.SIGSTOP)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def is_ffmpeg(pid: int) -> bool:
    return "ffmpeg" in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_file_that_lost_a_frame_is_not_believed(clip: Clip, tmp_path: Path) -> None:
    round_trip(clip("constant.mp4"), tmp_path / "out.mp4")
    sent = np.arange(30) / 25
    damage_checks.verify_video(tmp_path / "out.mp4", tmp_path / "out.mp4", sent)
    with pytest.raises(OutputError, match="31 frames were sent, and 30"):
        damage_checks.verify_video(tmp_path / "out.mp4", tmp_path / "out.mp4", np.arange(31) / 25)
    sent[-1] += 0.002
    with pytest.raises(OutputError, match=r"0\.0020 seconds from its time"):
        damage_checks.verify_video(tmp_path / "out.mp4", tmp_path / "out.mp4", sent)


def test_settings_that_a_codec_does_not_have_are_refused() -> None:
    with pytest.raises(CommandError, match="--crf 20: codec prores"):
        encoders.choose_encoder("prores", width_px=64, height_px=64, crf=20)
    with pytest.raises(CommandError, match="--preset fast: codec vp9"):
        encoders.choose_encoder("vp9", width_px=64, height_px=64, preset="fast")
    with pytest.raises(CommandError, match="no encoder for codec h264 takes 64x64 here"):
        encoders.choose_encoder("h264", width_px=64, height_px=64, preset="no-such-preset")


def test_containers_are_matched_with_codecs() -> None:
    encoders.check_container(Path("a.MP4"), "auto")
    with pytest.raises(CommandError, match="no such video container"):
        encoders.check_container(Path("a.txt"), "auto")
    with pytest.raises(CommandError, match="does not hold codec prores"):
        encoders.check_container(Path("a.mp4"), "prores")


def test_sound_that_a_container_cannot_hold_is_transcoded_and_said(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "opus.mkv"
    clips.ffmpeg("-i", str(clip("constant.mp4")), "-c:v", "copy", "-c:a", "pcm_s16le", str(path))
    source = probing.probe(path)
    with frame_reader.read_frames(source) as reading:
        frames = list(reading)
    [said] = write_all(frames, target_like(source, tmp_path / "out.mp4", frames[0]), source)
    assert "pcm_s16le" in said and "AAC" in said
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert write_all(frames, target_like(source, tmp_path / "out.mkv", frames[0]), source) == []


def pq(nits: Array) -> Array:
    """SMPTE ST 2084, equation 5.2: the inverse EOTF."""
    y = np.clip(nits / 10000, 0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hdr_clip(path: Path, rgb: Array) -> None:
    """A picture shown with its white at 203 cd/m2, as PQ in BT.2020, 10 bits; computed here, without ffmpeg's filters."""
    # ITU-R BT.2087, table 2: BT.709 primaries to BT.2020. A BT.709 display shows v ** 2.4 (ITU-R BT.1886).
    wide = rgb**2.4 @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    coded = pq(203 * wide)
    luma = coded @ np.array([0.2627, 0.6780, 0.0593])
    planes = 64 + 876 * luma, 512 + 896 * (coded[..., 2] - luma) / 1.8814, 512 + 896 * (coded[..., 0] - luma) / 1.4746
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *luma.shape, "yuv444p10le"
        frame = av.VideoFrame(stream.width, stream.height, "yuv444p10le")
        for target, plane in zip(frame.planes, planes, strict=True):
            target.update(np.rint(plane).astype("<u2").tobytes())
        for tagged in (stream.codec_context, frame):
            tagged.color_trc, tagged.color_primaries, tagged.colorspace, tagged.color_range = 16, 9, 9, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_hdr_below_reference_white_comes_out_as_it_looks(tmp_path: Path) -> None:
    rgb = np.asarray(Image.fromarray(demo_clip.read_photograph("chelsea.png")).resize((256, 160))) / 255
    hdr_clip(tmp_path / "hdr.mkv", rgb)
    source = probing.probe(tmp_path / "hdr.mkv")
    assert (source.hdr, source.colour) == ("PQ", Colour(matrix="bt709", full_range=False))
    with frame_reader.read_frames(source) as frames:
        luma = next(frames).planes[0].astype(float)
    wanted = 16 + 219 * rgb @ np.array([0.2126, 0.7152, 0.0722])
    assert np.abs(luma - wanted).mean() < 0.6 and np.abs(luma - wanted).max() < 3


def test_the_network_sees_one_field_of_interlaced_frames() -> None:
    """Lines of two pictures in turn: what comes out is the upper one's, as if the other were not there."""
    upper, lower = np.full((64, 64, 3), 200, np.uint8), np.zeros((64, 64, 3), np.uint8)
    upper[:, 32:] = 40
    times, tick = [Fraction(n, 25) for n in range(3)], Fraction(1, 25)
    alone, other, combed = resizing.images_to_frames([upper, lower, upper], times_seconds=times, time_base=tick)
    for plane, from_other in zip(combed.planes, other.planes, strict=True):
        plane[1::2] = from_other[1::2]  # planes are views: this changes the picture
    geometry = frame_geometry(64, 64, fit="whole", input_px=(32, 32), short_side_px=32, stride=32)
    colour = resizing.PICTURES_COLOUR
    seen = resizing.NetworkResizer(colour, geometry, interlaced=True)(combed).astype(int)
    assert np.abs(seen - resizing.NetworkResizer(colour, geometry)(alone).astype(int)).max() <= 2
    assert np.abs(seen - resizing.NetworkResizer(colour, geometry, interlaced=True)(other).astype(int)).mean() > 30


def test_transparent_vp9_is_tagged_as_it_is_converted(tmp_path: Path) -> None:
    """Its own tag says BT.601; laid on white it goes through RGB to BT.709, and must say so."""
    plain = ("-f", "lavfi", "-i", "color=red:size=64x64:rate=5:duration=1,format=yuva420p")
    clips.ffmpeg(*plain, "-c:v", "libvpx-vp9", "-colorspace", "smpte170m", "-color_range", "tv", str(tmp_path / "red.webm"))
    source = probing.probe(tmp_path / "red.webm")
    assert source.decoder == "libvpx-vp9" and source.colour_tags["colorspace"] == "bt709"
    assert source.colour == Colour(matrix="bt709", full_range=False)
    with frame_reader.read_frames(source) as frames:
        means = [float(plane.mean()) for plane in next(frames).planes]
    np.testing.assert_allclose(means, [63, 102, 240], atol=2)  # pure red by ITU-R BT.709-6, item 3.4


def test_quicktime_is_told_languages_as_it_knows_them(tmp_path: Path) -> None:
    source = probing.probe(corpus.make_clip(corpus.ROWS["tracks.mkv"], tmp_path))
    with frame_reader.read_frames(source) as reading:
        frames = list(reading)
    write_all(frames, target_like(source, tmp_path / "out.mov", frames[0]), source)
    with av.open(str(tmp_path / "out.mov")) as container:
        assert [s.metadata.get("language") for s in container.streams.audio] == ["eng", "ger"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_subtitle_that_has_begun_is_shown_from_where_the_range_begins(tmp_path: Path, suffix: str) -> None:
    source = probing.probe(corpus.make_clip(corpus.ROWS["tracks.mkv"], tmp_path))  # shown from 0.1 to 0.4 s, and from 0.5 s on
    with frame_reader.read_frames(source, start_seconds=0.3) as reading:
        frames = list(reading)
    write_all(frames, target_like(source, tmp_path / f"out.{suffix}", frames[0]), source, ranged=True)
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        shown = [float(p.pts * p.time_base) for p in container.demux(container.streams.subtitles[0]) if p.size > 2 and p.pts is not None]
    np.testing.assert_allclose(shown, [0.0, 0.5 - 0.32], atol=2e-3)  # the first frame of the range lies at 0.32 s
