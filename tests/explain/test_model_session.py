"""Whole pictures and whole videos through the network: what is written, and that it is written right."""

from __future__ import annotations

import errno
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
from PIL import Image
from support import clips
from support.decoding import audio_packets, decoded
from support.jobs import job_for

from pipeline.arrays import Array
from pipeline.cam import batching, explainer
from pipeline.errors import InputError, OutputError, Stopped, ToolError
from pipeline.explain import demo_clip, image_job, job_planning, model_session, prediction_job, video_explaining, video_job, video_plan
from pipeline.files import atomic
from pipeline.media import encoders, images, resizing
from pipeline.models import class_names
from pipeline.options import Options
from pipeline.records import Colour
from pipeline.rendering import heat_blending
from pipeline.results.tables import prediction_rows, write_predictions

Clip = Callable[[str], Path]
Open = Callable[..., model_session.Session]


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    Image.fromarray(demo_clip.read_photograph("chelsea.png")).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_a_picture_comes_out_beside_its_heat(cat: Path, tmp_path: Path, open_session: Open) -> None:
    session = open_session(save_maps=tmp_path / "m.npz", label="none")
    outcome, _ = image_job.visualize_image(job_for(cat, tmp_path / "out.png", save_maps=tmp_path / "m.npz"), session)
    source, out = np.asarray(Image.open(cat)), np.asarray(Image.open(tmp_path / "out.png"))
    height, width = source.shape[:2]
    assert out.shape == (height, 2 * width, 3) and np.array_equal(out[:, :width], source)
    assert "cat" in outcome.top[0].name.label and outcome.frames == 1 and outcome.error is None
    # In the hottest cell of the raw map half of the picture is the last colour of inferno, as Matplotlib has it.
    raw = np.load(tmp_path / "m.npz")["maps"][0, 0]
    y, x = np.unravel_index(raw.argmax(), raw.shape)
    cell = np.s_[
        round((y + 0.4) * height / raw.shape[0]) : round((y + 0.6) * height / raw.shape[0]),
        round((x + 0.4) * width / raw.shape[1]) : round((x + 0.6) * width / raw.shape[1]),
    ]
    expected = (source[cell] + 255 * np.array(matplotlib.colormaps["inferno"](1.0)[:3])) / 2
    assert np.abs(out[:, width:][cell] - expected).mean() < 4


def test_several_classes_are_shown_on_one_scale(cat: Path, open_session: Open) -> None:
    options = {"targets": ("tabby", "Egyptian cat", "banana"), "layout": "heatmap", "colormap": "bone", "label": "none"}
    painted = {scale: image_job.read_and_render(cat, open_session(**options, scale=scale)) for scale in ("frame", "shared", None)}
    canvas, scores = painted[None].renderer.canvas, painted[None].explanation.target_scores
    peaks = {}
    for scale, each in painted.items():  # bone's green rises without a break, so it says the level
        greens = np.split(each.planes.reshape(3, canvas.height, canvas.width)[1], 3, axis=1)
        levels = heat_blending.colormap("bone")[:, 1]
        peaks[scale] = [int(np.searchsorted(levels, green.max())) for green in greens]
    assert peaks["frame"] == [pytest.approx(255, abs=2)] * 3 and peaks[None] == peaks["shared"]
    assert scores.max() > 10 * scores[2]
    assert peaks["shared"] == pytest.approx(list(255 * np.sqrt(scores / scores.max())), abs=3)


def test_a_label_has_as_many_rows_whether_or_not_its_class_is_among_the_best(cat: Path, open_session: Open) -> None:
    for targets, rows in (((), 3), (("tabby",), 4), (("banana",), 4)):
        painter = image_job.read_and_render(cat, open_session(targets=targets)).renderer
        [caption] = painter._captions
        assert painter.canvas.longest_name == pytest.approx(14.5, abs=0.1)  # "American Staffordshire terrier"
        names = [name for name, _ in caption.rows]
        assert len(names) == len(set(names)) == rows and names[0] == (targets or names)[0]


def test_a_scale_goes_on_over_an_interruption(cat: Path, open_session: Open) -> None:
    session = open_session(targets=("tabby", "banana"))
    painted = image_job.read_and_render(cat, session)
    again = session.make_renderer(painted.decoded.geometry, painted.renderer.canvas)
    again.restore(painted.renderer.state())
    assert all(np.array_equal(a, b) for a, b in zip(again._heats, painted.renderer._heats, strict=True))
    assert again._heats[0].max() > 3 * again._heats[1].max()


@pytest.mark.parametrize("pixels", [image_job.TOGETHER_PIXELS, 1])  # several together, and one at a time
def test_many_pictures_are_what_each_is_alone_and_in_order(
    pixels: int, tmp_path: Path, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_job, "TOGETHER_PIXELS", pixels)
    photos = [Image.fromarray(demo_clip.read_photograph(shot[0])) for shot in demo_clip.SHOTS]
    wide, tall = (300, 200), (200, 300)
    for number, size in enumerate([wide, tall, wide, (250, 250), tall, wide, tall, wide, wide]):
        photos[number % len(photos)].resize(size).save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir())
    jobs = [job_for(path, tmp_path / "many" / path.name) for path in paths]
    paths[2].write_bytes(paths[2].read_bytes()[:60_000])  # cut off since
    paths[4].unlink()
    session = open_session()
    found = list(image_job.visualize_images(jobs, session))
    assert [job for job, _ in found] == jobs
    for number, (job, done) in enumerate(found):
        if number == 4:
            assert isinstance(done, InputError) and str(job.input) in str(done) and not job.output.exists()
            continue
        assert isinstance(done, tuple)
        alone, _ = image_job.visualize_image(job_for(job.input, tmp_path / "alone" / job.input.name), session)
        assert [p.name for p in done[0].top] == [p.name for p in alone.top]
        for outcome in (done[0], alone):
            assert outcome.partial == (number == 2) == ("% of its rows; the rest is gray; what decodes is in" in (outcome.error or ""))
        difference = np.asarray(Image.open(job.output), int) - np.asarray(Image.open(tmp_path / "alone" / job.input.name))
        assert np.abs(difference).max() <= 2 and np.abs(difference).mean() < 0.01  # a batch rounds otherwise in the last digit


@pytest.fixture
def many(tmp_path: Path) -> list[job_planning.Job]:
    photo = Image.fromarray(demo_clip.read_photograph(demo_clip.SHOTS[0][0])).resize((96, 64))
    for number in range(14):
        photo.save(tmp_path / f"{number:02}.png")
    return [job_for(path, tmp_path / "many" / path.name) for path in sorted(tmp_path.iterdir())]


def test_pictures_go_on_while_the_disk_takes_its_time(
    many: list[job_planning.Job], open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, flush, seen, enough = open_session(), atomic.flush, [], threading.Event()
    waited = []

    def explain(pixels: Any) -> explainer.BatchExplanation:
        seen.extend(pixels)
        if len(seen) >= 12:
            enough.set()
        return session.explain(pixels)

    def slow(path: Path) -> None:
        waited.append(enough.wait(timeout=20))
        flush(path)

    monkeypatch.setattr(atomic, "flush", slow)
    found = list(image_job.visualize_images(many, replace(session, explain=explain)))
    assert [job for job, _ in found] == many and all(isinstance(done, tuple) for _, done in found)
    assert len(waited) == 2 * len(many) and all(waited)  # each picture and its folder


def test_no_more_than_some_pictures_wait_for_the_disk(
    many: list[job_planning.Job], open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_job, "TOGETHER_PIXELS", 1)  # one at a time
    monkeypatch.setattr(image_job, "MAX_UNFLUSHED", 2)
    session, flush, seen, too_many = open_session(), atomic.flush, [], threading.Event()
    waited = []

    def explain(pixels: Any) -> explainer.BatchExplanation:
        seen.extend(pixels)
        if len(seen) > image_job.MAX_UNFLUSHED + 1 + image_job.THREADS + 1:
            too_many.set()
        return session.explain(pixels)

    def slow(path: Path) -> None:
        if path.name.startswith(".00."):
            waited.append(too_many.wait(timeout=2))
        flush(path)

    monkeypatch.setattr(atomic, "flush", slow)
    found = list(image_job.visualize_images(many, replace(session, explain=explain)))
    assert waited == [False] and len(seen) == len(found) == len(many)


def test_a_picture_that_the_disk_refuses_is_told_and_not_there(
    many: list[job_planning.Job], open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = atomic.flush

    def refused(path: Path) -> None:
        if path.name.startswith(".05."):
            raise OSError(errno.EIO, "Input/output error")
        flush(path)

    monkeypatch.setattr(atomic, "flush", refused)
    found = list(image_job.visualize_images(many, open_session()))
    assert [job for job, done in found if not isinstance(done, tuple)] == [many[5]]
    assert isinstance(found[5][1], OutputError) and str(many[5].output) in str(found[5][1])
    assert sorted(many[0].output.parent.iterdir()) == [job.output for job in many if job is not many[5]]


def test_pictures_that_nobody_waits_for_any_more_have_their_name_or_are_gone(
    many: list[job_planning.Job], open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_job, "TOGETHER_PIXELS", 1)  # one at a time, and few ahead of a disk however slow: the last are not begun
    monkeypatch.setattr(image_job, "MAX_UNFLUSHED", 2)
    session = open_session()

    def explain(pixels: Any) -> explainer.BatchExplanation:
        time.sleep(0.2)  # so that some are at the network when nobody waits any more
        return session.explain(pixels)

    found = image_job.visualize_images(many, replace(session, explain=explain))
    job, _ = next(found)
    found.close()
    there = sorted(many[0].output.parent.iterdir())
    assert job is many[0] and there == [each.output for each in many[: len(there)]] and 1 <= len(there) < len(many)
    for path in there:
        Image.open(path).load()


def test_two_batches_are_at_the_network_at_once_and_come_out_in_order(open_session: Open) -> None:
    session, together, drawn = open_session(), threading.Barrier(2, timeout=20), []

    def explain(pixels: Any) -> explainer.BatchExplanation:
        together.wait()  # one by one, they would wait here for good
        time.sleep(0 if pixels[0, 0, 0, 0] % 2 else 0.05)  # the second of two is done first
        return session.explain(pixels)

    def batches() -> Iterator[Array]:
        for number in range(6):
            drawn.append(number)
            yield np.full((2, 64, 64, 3), number, np.uint8)

    answers = replace(session, explain=explain).explain_batches(batches())
    for number, answer in enumerate(answers):
        assert [seen.pixels.max() for seen in answer] == [number, number]
        assert len(drawn) <= number + 1 + batching.AT_ONCE  # no more of them wait
    assert drawn == list(range(6)) and number == 5


def test_an_error_of_one_batch_is_raised_and_no_further_one_is_begun(open_session: Open) -> None:
    begun: list[int] = []

    def explain(pixels: Any) -> explainer.BatchExplanation:
        begun.append(int(pixels[0, 0, 0, 0]))
        raise tf.errors.InternalError(None, None, "broken")

    answers = replace(open_session(), explain=explain).explain_batches(np.full((1, 64, 64, 3), n, np.uint8) for n in range(9))
    with pytest.raises(tf.errors.InternalError, match="broken"):
        next(answers)
    assert sorted(begun) == list(range(batching.AT_ONCE + 1))


def test_saved_maps_hold_what_the_contract_says(cat: Path, tmp_path: Path, open_session: Open) -> None:
    options = {"targets": ("banana", "n02123045"), "save_maps": tmp_path / "m.npz"}
    image_job.visualize_image(job_for(cat, tmp_path / "out.png", **options), open_session(**options))
    saved = np.load(tmp_path / "m.npz")
    banana, tabby = (class_names.find_target_class(name, class_names.imagenet_classes()).members[0] for name in ("banana", "tabby"))
    geometry = open_session().geometry(451, 300)
    assert (geometry.width_px, geometry.height_px) == (384, 256)
    assert saved["maps"].shape == (1, 2, 8, 12) and saved["maps"].dtype == np.float32 and (saved["maps"] >= 0).all()
    assert saved["targets"].tolist() == [[banana, tabby]]
    assert saved["region"].tolist() == [0, 0, 1, 1] and saved["time_seconds"].tolist() == [0]
    pixels = resizing.resize_for_network(resizing.image_to_frame(images.read_image(cat)), geometry)[None]
    alone = [explainer.make_explainer(open_session().classifier.networks[0], targets=[target])(pixels) for target in (banana, tabby)]
    np.testing.assert_allclose(saved["maps"][0, 1], alone[1].maps.numpy()[0, 0], atol=1e-5)
    np.testing.assert_allclose(saved["scores"][0], [each.target_scores.numpy()[0, 0] for each in alone], atol=1e-6)


def test_a_kind_is_explained_as_one(cat: Path, tmp_path: Path, open_session: Open) -> None:
    """Cropped to what the network was trained on there is one window, so the sum of the scores by another way is that of the cats."""
    options = {"targets": ("cats", "tabby"), "save_maps": tmp_path / "m.npz", "fit": "crop"}
    session = open_session(**options)
    image_job.visualize_image(job_for(cat, tmp_path / "out.png", **options), session)
    saved, geometry = np.load(tmp_path / "m.npz"), session.geometry(451, 300)
    pixels = resizing.resize_for_network(resizing.image_to_frame(images.read_image(cat)), geometry)[None]
    [scores] = prediction_job.make_scorer(session.classifier, session.options).score(pixels)
    cats = [281, 282, 283, 284, 285, 286, 287]  # tabby, tiger cat, Persian, Siamese, Egyptian, cougar, lynx
    np.testing.assert_allclose(saved["scores"], [[scores[cats].sum(), scores[281]]], atol=1e-5)
    assert saved["targets"].tolist() == [[cats[int(scores[cats].argmax())], 281]] and scores[cats].sum() > scores.max() + 0.01
    painter = session.make_renderer(geometry, session.make_canvas((448, 448), Colour(matrix="rgb", full_range=True)))
    painter._prepare(painter.remember(session.explain_batch(pixels)[0], 0.0))
    of_cats, of_tabbies = ([label for label, _ in caption.rows] for caption in painter._captions)
    best = [session.classifier.classes[i].label for i in np.argsort(-scores, kind="stable")[:4]]
    assert of_cats == ["cat", *best[:3]] and of_tabbies == ["tabby", *[label for label in best if label != "tabby"][:3]]
    assert painter._captions[0].rows[0][1] == pytest.approx(scores[cats].sum(), abs=1e-5)


@pytest.mark.parametrize("name", ["variable.mp4", "rotated.mov", "late_audio.mp4", "odd.mkv", "stream.ts", "single.mp4"])
def test_a_video_keeps_frames_times_sound_and_its_left_half(clip: Clip, tmp_path: Path, open_session: Open, name: str) -> None:
    output = tmp_path / "out.mp4"
    outcome, _ = video_job.visualize_video(job_for(clip(name), output, crf=6), open_session(crf=6))
    times, pictures = decoded(clip(name))
    new_times, new_pictures = decoded(output)
    assert outcome.frames == len(new_times) == len(times)
    np.testing.assert_allclose(new_times, times, atol=1.1e-3)
    if name == "rotated.mov":
        pictures = [np.rot90(picture) for picture in pictures]
    height, width = pictures[0].shape
    assert new_pictures[0].shape == (height + height % 2, 2 * (width + width % 2))
    for new, old in zip(new_pictures, pictures, strict=True):
        assert np.abs(new[:height, :width].astype(int) - old).mean() < 2  # the encoder's loss at crf 6, no more
    if name == "late_audio.mp4":
        assert [data for _, data in audio_packets(output)] == [data for _, data in audio_packets(clip(name))]


def test_every_frame_shows_the_explanation_of_that_frame(tmp_path: Path, open_session: Open) -> None:
    """Two photographs in turn: a frame that got its neighbour's heat or label would be wrong every time."""
    first, second = (Image.fromarray(demo_clip.read_photograph(name)).resize((320, 192)) for name in ("chelsea.png", "coffee.png"))
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(21):  # not a multiple of the batch size
        (first if number % 2 == 0 else second).save(folder / f"{number}.png")
    options = {"save_maps": tmp_path / "m.npz", "predictions": tmp_path / "p.csv", "label": "none"}
    _, track = video_job.visualize_video(job_for(folder, tmp_path / "out.mp4", **options), open_session(**options))
    rows = [row for row in prediction_rows(track, class_names.imagenet_classes()) if row["rank"] == 1]
    assert ["cat" in row["label"] for row in rows] == [number % 2 == 0 for number in range(21)]
    assert [row["time_seconds"] for row in rows] == [number / 25 for number in range(21)]
    saved = np.load(tmp_path / "m.npz")["maps"]
    np.testing.assert_allclose(saved[::2], np.repeat(saved[:1], 11, axis=0), atol=1e-4)
    assert np.abs(saved[0] - saved[1]).max() > 0.05
    _, pictures = decoded(tmp_path / "out.mp4")
    left, right = [p[:, :320].astype(int) for p in pictures], [p[:, 320:].astype(int) for p in pictures]
    change = [np.abs(r - le).mean(axis=0) for r, le in zip(right, left, strict=True)]
    like_first, like_second = (np.mean([change[n] for n in numbers], axis=0) for numbers in (range(0, 21, 2), range(1, 21, 2)))
    for number, profile in enumerate(change):
        nearer = np.abs(profile - like_first).sum() < np.abs(profile - like_second).sum()
        assert nearer == (number % 2 == 0)


def test_an_animated_webp_keeps_its_times_and_a_part_of_it_too(tmp_path: Path, open_session: Open) -> None:
    frames = [Image.fromarray(clips.picture(number)) for number in range(6)]
    durations_ms, begins_ms = [40, 300, 80, 5, 200, 120], [0, 40, 340, 420, 520, 720]  # 5 counts as 100
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=durations_ms, lossless=True)
    for first, options in ((0, {}), (2, {"start_seconds": 0.3, "end_seconds": 0.6})):
        output, last = tmp_path / f"{first}.mp4", 6 if first == 0 else 5
        outcome, track = video_job.visualize_video(job_for(tmp_path / "a.webp", output, **options), open_session(**options))
        times, pictures = decoded(output)
        np.testing.assert_allclose(times, np.array(begins_ms[first:last]) / 1000 - begins_ms[first] / 1000, atol=1.1e-3)
        assert [clips.read_number(picture) for picture in pictures] == list(range(first, last))
        assert [row["time_seconds"] for row in prediction_rows(track, class_names.imagenet_classes()) if row["rank"] == 1] == [
            t / 1000 for t in begins_ms[first:last]
        ]
        end_ms = 840 if first == 0 else 720
        assert outcome.duration_seconds == pytest.approx((end_ms - begins_ms[first]) / 1000) and outcome.frames == last - first


@pytest.mark.parametrize("every", [2, 7, 100])
def test_frames_between_show_the_nearest_earlier_map(clip: Clip, tmp_path: Path, open_session: Open, every: int) -> None:
    options = {"every": every, "save_maps": tmp_path / "m.npz", "batch_size": 2}
    _, track = video_job.visualize_video(job_for(clip("constant.mp4"), tmp_path / "out.mp4", **options), open_session(**options))
    times, pictures = decoded(tmp_path / "out.mp4")
    assert [clips.read_number(p) for p in pictures] == list(range(30)) and len(times) == 30
    assert np.load(tmp_path / "m.npz")["time_seconds"].tolist() == pytest.approx([n / 25 for n in range(0, 30, every)])
    scores = [row["score"] for row in prediction_rows(track, class_names.imagenet_classes()) if row["rank"] == 1]
    assert all(scores[n] == scores[n // every * every] for n in range(30)) and len(scores) == 30


def test_panels_take_the_height_asked_for(clip: Clip, tmp_path: Path, open_session: Open) -> None:
    for layout, shape in (("side-by-side", (72, 256)), ("stacked", (144, 128)), ("grid", (144, 256)), ("overlay", (72, 128))):
        options = {"height_px": 72, "layout": layout, "overwrite": True, "every": 30}
        video_job.visualize_video(job_for(clip("constant.mp4"), tmp_path / "out.mp4", **options), open_session(**options))
        assert decoded(tmp_path / "out.mp4")[1][0].shape == shape


def test_predictions_are_the_same_in_every_format(clip: Clip, tmp_path: Path, open_session: Open) -> None:
    session = open_session(every=10)
    _, track = video_job.visualize_video(job_for(clip("constant.mp4"), tmp_path / "out.mp4"), session)
    classes = class_names.imagenet_classes()
    for suffix in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{suffix}", [track, track], classes, overwrite=False, name_inputs=True)
    header, *lines = (tmp_path / "p.csv").read_text().splitlines()
    assert header == "input,frame,time_seconds,rank,index,wnid,label,score,shown_index,shown_label,shown_score" and len(lines) == 2 * 30 * 3
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [",".join(str(value) for value in row.values()) for row in rows] == [line.replace('"', "") for line in lines]
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["frame"] for row in table] == [row["frame"] for row in rows] and table[5]["wnid"] == rows[5]["wnid"]
    assert sum(row["score"] for row in table) == pytest.approx(sum(row["score"] for row in rows), abs=1e-4)


def test_the_ranking_of_a_video_is_by_mean_score(clip: Clip, tmp_path: Path, open_session: Open) -> None:
    options = {"top_k": 1000}
    job, reached = job_for(clip("constant.mp4"), tmp_path / "out.mp4"), []
    outcome, track = video_job.visualize_video(job, open_session(**options), progress=reached.append)
    assert [each.joining for each in reached] == [False] * 30 + [True]
    sums = np.zeros(1000)
    for row in prediction_rows(track, class_names.imagenet_classes()):
        sums[row["index"]] += row["score"] / 30
    assert [p.name.index for p in outcome.top[:5]] == np.argsort(-sums)[:5].tolist()
    assert outcome.top[0].score == pytest.approx(sums.max(), abs=1e-5)


def test_passes_are_counted_where_a_picture_takes_many(clip: Clip, tmp_path: Path, open_session: Open) -> None:
    assert model_session.count_scorecam_passes(open_session()) is None
    passes = model_session.count_scorecam_passes(open_session(method="scorecam"))
    assert passes is not None and passes[0] == 1280  # the channels of EfficientNet's last convolution
    job = job_for(clip("constant.mp4"), tmp_path / "out.mp4")
    assert [job.frames_estimate(Options(**each)) for each in ({}, {"every": 4}, {"end_seconds": 1.0})] == [30, 8, None]


def test_a_failure_in_the_middle_leaves_nothing(clip: Clip, tmp_path: Path, open_session: Open) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(30):
        Image.fromarray(clips.picture(number)).save(folder / f"{number}.jpg")
    whole = (folder / "17.jpg").read_bytes()
    (folder / "17.jpg").write_bytes(whole[: whole.index(b"\xff\xda") + 20])
    with pytest.raises(InputError, match=r"17\.jpg: the picture is damaged"):
        video_job.visualize_video(job_for(folder, tmp_path / "out.mp4"), open_session())
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_a_frame_that_is_cut_off_shows_what_decodes(tmp_path: Path, open_session: Open) -> None:
    """The video is whole but for that, also when its making was interrupted before or behind the frame."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(clips.picture(number)).save(folder / f"{number}.png")
    whole = (folder / "9.png").read_bytes()
    (folder / "9.png").write_bytes(whole[: len(whole) // 2])
    options = {"segment_seconds": 0.2, "every": 4, "start_seconds": 0.08}
    for name, stops in (("one.mp4", 0), ("before.mp4", 1), ("behind.mp4", 3)):
        job, session = job_for(folder, tmp_path / name, **options), open_session(**options)
        if stops:
            asked = itertools.count(1)
            with pytest.raises(Stopped):
                video_job.visualize_video(job, session, stopping=lambda: next(asked) > stops)  # noqa: B023  # called within the turn
        outcome, _ = video_job.visualize_video(job, session)
        assert outcome.partial and outcome.frames == 18 and outcome.duration_seconds == pytest.approx(18 / 25)
        said = (
            r"frames: 1 frame is cut off or damaged: 9\.png: the file ends after about \d\d % of its rows; the rest is gray; what decodes"
        )
        assert outcome.error is not None and re.search(said, outcome.error)
        times, pictures = decoded(tmp_path / name)
        assert len(times) == 18 and [clips.read_number(p) for p in pictures] == list(range(2, 20))  # the number stands at the top
        bottom = [p[-20:, : p.shape[1] // 2].astype(float) for p in pictures]
        assert abs(bottom[7].mean() - 126) < 2 and bottom[7].std() < 3 and bottom[6].std() > 5  # 16 + 219 * 128 / 255


def test_an_encoder_that_dies_stops_the_whole_line(clip: Clip, tmp_path: Path, open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = encoders.Encoder(name="libx264", arguments={"preset": "veryfast", "frames:v": 5})
    broken = encoders.Encoder(name="libx264", arguments={"x264-params": "level=1:vbv-maxrate=1", "preset": "no-such"})
    for encoder in (dying, broken):
        monkeypatch.setattr(video_plan, "choose_encoder", lambda *_, encoder=encoder, **__: encoder)
        with pytest.raises((ToolError, OutputError)):
            video_job.visualize_video(job_for(clip("late_audio.mp4"), tmp_path / "out.mp4"), open_session())
    deadline = time.monotonic() + 10
    while (working := [t.name for t in threading.enumerate() if "fill" in t.name]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not working and not list(tmp_path.iterdir())


def test_beside_keeps_order_raises_errors_and_stops(tmp_path: Path) -> None:
    made: list[int] = []

    def numbers(fail_at: int | None) -> Iterator[int]:
        for number in range(1000):
            if number == fail_at:
                raise ValueError("here")
            made.append(number)
            yield number

    assert list(video_explaining.prefetch(numbers(None), depth=2)) == list(range(1000))
    with pytest.raises(ValueError, match="here"):
        list(video_explaining.prefetch(numbers(50), depth=2))
    made.clear()
    ahead = video_explaining.prefetch(numbers(None), depth=2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # one in the maker's hands, two waiting, one taken
    ahead.close()
    time.sleep(0.3)
    assert len(made) <= 5


def test_a_folder_of_pictures_leaves_out_what_an_earlier_run_made(cat: Path, tmp_path: Path) -> None:
    for name in ("cat_output.png", "other_output.png"):
        (tmp_path / name).write_bytes(cat.read_bytes())
    plan = job_planning.plan_images([tmp_path], output=tmp_path / "out", options=Options())
    assert [job.input.name for job in plan] == ["cat.png", "other_output.png"]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mkv"])
def test_the_last_frame_is_shown_as_long_as_its_own_duration_says(tmp_path: Path, open_session: Open, name: str) -> None:
    """Five frames of unequal length; with B-frames the last to be shown is not the last in the file."""
    pictures = [Image.fromarray(clips.picture(number)) for number in range(5)]
    made = tmp_path / ("a.gif" if name == "a.mkv" else name)
    pictures[0].save(made, save_all=True, append_images=pictures[1:], duration=[100, 300, 50, 200, 2000], loop=0)
    if name == "a.mkv":
        clips.ffmpeg("-i", str(made), "-fps_mode", "passthrough", "-c:v", "ffv1", "-pix_fmt", "yuv420p", str(tmp_path / name))
    [job] = job_planning.plan_videos([tmp_path / name], output=tmp_path / "out.mp4", options=Options())
    assert isinstance(job, job_planning.Job)
    outcome, _ = video_job.visualize_video(job, open_session())
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.65, abs=2e-3)
    assert outcome.duration_seconds == pytest.approx(2.65, abs=2e-3)


def test_a_hardware_encoder_that_fails_makes_way_for_software(
    clip: Clip, tmp_path: Path, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails its trial is passed over, one that takes it and dies at work is replaced; both are named."""
    refusing = encoders.Encoder(name="libx264", arguments={"preset": "no-such-preset"}, hardware=True)
    dying = encoders.Encoder(name="libx264", arguments={"t": 0.1}, hardware=True)  # ends after three frames
    monkeypatch.setitem(encoders.ENCODERS, "h264", (refusing, dying, *encoders.ENCODERS["h264"]))  # type: ignore[arg-type]
    monkeypatch.setattr(encoders, "_has_hardware", lambda: True)
    chosen = encoders.choose_encoder("h264", width_px=64, height_px=64)
    assert chosen.arguments == dying.arguments and "no-such-preset" in chosen.passed_over[0]
    outcome, _ = video_job.visualize_video(job_for(clip("late_audio.mp4"), tmp_path / "out.mp4"), open_session())
    assert outcome.error is None and len(decoded(tmp_path / "out.mp4")[0]) == 50
    said = outcome.as_json()
    assert said["encoder"] == "libx264" and "failed after" in said["encoders_passed_over"][0]


def test_a_canvas_stays_within_the_highest_level_of_h264(open_session: Open) -> None:
    """8192x4320 is within, two of them are not: 139264 macroblocks of 16x16 (ITU-T H.264, table A-1)."""
    heights = list(video_plan._panel_heights(open_session(), 8192, 4320, 4320, Colour(matrix="bt709", full_range=False)))
    assert heights[0] == int(4320 * (139264 * 256 / (2 * 8192 * 4320)) ** 0.5) and heights == sorted(heights, reverse=True)
    assert next(video_plan._panel_heights(open_session(), 1920, 1080, 1080, Colour(matrix="bt709", full_range=False))) == 1080


def test_what_does_not_change_the_picture_does_not_begin_it_anew(clip: Clip, open_session: Open) -> None:
    def identity(**options: Any) -> dict[str, Any]:
        job = job_for(clip("single.mp4"), Path("out.mp4"), **options)
        return video_plan.plan_video(job, open_session(**options), hardware_failure="").identity

    assert identity() == identity(skip_existing=True) == identity(scale="shared") != identity(smooth=0.5)
    two = {"targets": ("tabby", "banana")}
    assert identity(**two) == identity(**two, scale="shared") != identity(**two, scale="frame")
