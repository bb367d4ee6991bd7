"""Scene cuts and means over a scene, against sums by hand and the cuts of a clip that is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.decoding import decoded
from support.jobs import job_for

from pipeline.explain import demo_clip, model_session, video_job
from pipeline.rendering import scene_cuts, smoothing, steady_title

Open = Callable[..., model_session.Session]


def test_a_mean_weighs_by_age_and_forgets_at_a_cut() -> None:
    mean = smoothing.SceneMean(0.25)
    assert mean.add(np.array([8.0]), 10.0, cut=False) == [8]
    # 0.02 s later the first counts 0.25 ** (25 * 0.02) = 0.5: (0.5 * 8 + 2) / 1.5 = 4
    assert mean.add(np.array([2.0]), 10.02, cut=False) == pytest.approx([4])
    # another 0.04 s: both count a quarter of that: (0.125 * 8 + 0.25 * 2 + 1) / 1.375
    assert mean.add(np.array([1.0]), 10.06, cut=False) == pytest.approx([2.5 / 1.375])
    assert mean.add(np.array([5.0]), 10.1, cut=True) == [5]


def test_strength_0_is_the_newest_and_1_the_mean_of_all() -> None:
    values = np.random.default_rng(4).normal(size=(9, 2, 3)).astype(np.float32)
    newest, everything = smoothing.SceneMean(0), smoothing.SceneMean(1)
    for number, value in enumerate(values):
        assert np.array_equal(newest.add(value, number / 7, cut=False), value)
        said = everything.add(value, number / 7, cut=False)
        np.testing.assert_allclose(said, values[: number + 1].mean(axis=0), atol=1e-6)
        assert said.dtype == np.float32


def test_a_mean_goes_on_from_its_state() -> None:
    values = np.random.default_rng(5).normal(size=(6, 4))
    one, other = smoothing.SceneMean(0.7), smoothing.SceneMean(0.7)
    for number in range(3):
        one.add(values[number], number / 25, cut=False)
    other.restore(one.state())
    for number in range(3, 6):
        assert np.array_equal(one.add(values[number], number / 25, cut=False), other.add(values[number], number / 25, cut=False))


def test_change_is_counted_in_hue_saturation_and_value() -> None:
    gray = np.full((4, 6, 3), 100, np.uint8)
    assert scene_cuts.change(gray, gray + 30) == pytest.approx(30 / 3)  # value alone
    red, magenta = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = magenta[..., 0] = 200
    magenta[..., 2] = 10  # hue 357 degrees: 178.5 of 180 and so 1 or 2 away from red, not 178
    assert scene_cuts.change(red, magenta) < 1


def test_the_colours_that_change_are_counted_as_a_part_of_the_pixels() -> None:
    red, half = np.full((4, 4, 3), (0, 255, 200), np.uint8), np.full((4, 4, 3), (0, 255, 200), np.uint8)  # HSV
    half[:, 2:, 0] = 120
    assert scene_cuts.colour_change(red, red[::-1]) == 0 and scene_cuts.colour_change(red, half) == 0.5


def cuts_of(pictures: list[Any]) -> list[int]:
    finder = scene_cuts.CutFinder()
    return [number for number in range(1, len(pictures)) if finder.is_cut(pictures[number - 1], pictures[number])]


def test_the_cuts_of_the_demo_are_found_and_no_others() -> None:
    assert cuts_of([*demo_clip.draw_frames()]) == [60, 120, 180]  # four shots of 2.5 seconds at 24 a second


COLD, WARM = [(0, 0, 90), (40, 120, 255), (210, 235, 255)], [(90, 0, 0), (255, 150, 20), (255, 230, 190)]


def pan(seed: int, count: int, colours: Any) -> list[Any]:
    """A camera that turns so fast that half of the view is new in every picture: a wall of blocks in these colours."""
    blocks = np.random.default_rng(seed).integers(0, len(colours), (8, 4 * count + 16))
    wall = np.kron(np.array(colours)[blocks], np.ones((4, 4, 1)))
    return [wall[:, 16 * n : 16 * n + 32].astype(np.uint8) for n in range(count)]


def test_a_fast_pan_is_no_cut_and_a_cut_within_one_is() -> None:
    cold, warm = pan(1, 9, COLD), pan(2, 9, WARM)
    assert min(scene_cuts.change(a, b) for a, b in itertools.pairwise(cold)) > scene_cuts.CUT_LEVELS  # by that alone all would be
    assert cuts_of(cold) == [] and cuts_of([*cold, *warm]) == [9]


def test_a_cut_finder_goes_on_from_its_state() -> None:
    still, [other] = pan(3, 1, COLD) * 3, pan(4, 1, COLD)
    one, two = scene_cuts.CutFinder(), scene_cuts.CutFinder()
    assert [one.is_cut(still[0], still[1]), one.is_cut(still[1], still[2])] == [False, False]
    assert not two.is_cut(still[2], other)  # of the same colours, and what is usual here is not known
    two.restore(one.state())
    assert two.is_cut(still[2], other)  # nothing moved before


def titles(leaders: str, seconds: float, cuts: str = "", others: float = 0.5) -> str:
    """The titles of frames in which classes lead, a letter each, `seconds` apart; the other classes have that part of its score."""
    title = steady_title.SteadyTitle()
    shown = [title.add(led(each, others), n * seconds, cut=cuts[n : n + 1] == "|") for n, each in enumerate(leaders)]
    return "".join("abc"[number] for number in shown)


def led(by: str, others: float = 0.5) -> Any:
    return np.where(np.arange(3) == "abc".index(by), 1.0, others)


def test_a_title_changes_when_another_class_has_led_for_a_fifth_of_a_second() -> None:
    assert titles("aabaaabbaaa", 0.04) == "a" * 11
    assert titles("aabbbbbbbbb", 0.04) == "aaaaaaabbbb"  # b leads from 0.08 s on, so 0.28 s it is
    assert titles("aabbb", 0.1) == "aaaab"  # by time and not by frames
    assert titles("aabcbcbcbcb", 0.04) == "a" * 11  # neither leads for long
    assert titles("ab", 5) == "aa" and titles("abb", 5) == "aab"


def test_a_title_that_is_weak_for_a_fifth_of_a_second_goes_whoever_leads() -> None:
    assert titles("aabcbcbcbcb", 0.04, others=0.31) == "a" * 11
    assert titles("aabcbcbcbcb", 0.04, others=0.29) == "aaaaaaacccc"  # weak from 0.08 s on, so at 0.28 s it is who leads then
    assert titles("abcbcaabcbc", 0.04, others=0.0) == "a" * 11  # it was strong again in between


def test_a_cut_begins_a_title_anew() -> None:
    assert titles("aabbcc", 0.04, "   |  ") == "aaabbb"


def test_a_title_goes_on_from_its_state() -> None:
    for leaders, others in (("aabbbbbbbaacccccc", 0.5), ("aabcbcbcbcbaaccbb", 0.1)):
        whole = titles(leaders, 0.04, others=others)
        for at in range(1, len(leaders)):
            first, second = steady_title.SteadyTitle(), steady_title.SteadyTitle()
            for n in range(at):
                first.add(led(leaders[n], others), n * 0.04, cut=False)
            second.restore(first.state())
            rest = [second.add(led(leaders[n], others), n * 0.04, cut=False) for n in range(at, len(leaders))]
            assert "".join("abc"[number] for number in rest) == whole[at:]


def test_smoothed_heat_flickers_less_and_starts_anew_at_a_cut(tmp_path: Path, open_session: Open) -> None:
    demo_clip.make_clip(tmp_path / "clip.mp4", overwrite=False)
    heat: dict[float, Any] = {}
    for smooth in (0.0, 0.9):
        options = {"smooth": smooth, "layout": "heatmap", "label": "none", "overwrite": True, "crf": 8}
        options |= {"start_seconds": 2.1, "end_seconds": 2.9}
        video_job.visualize_video(job_for(tmp_path / "clip.mp4", tmp_path / "out.mp4", **options), open_session(**options))
        heat[smooth] = np.array([luma.astype(float) for luma in decoded(tmp_path / "out.mp4")[1]])
    steps = {smooth: np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2)) for smooth, frames in heat.items()}
    cut = int(steps[0.0].argmax())
    assert cut == 8  # the range begins with frame 51, the shot after the cut with frame 60
    within = np.delete(np.arange(len(steps[0.0])), cut)
    assert steps[0.9][within].mean() < 0.6 * steps[0.0][within].mean()
    assert np.abs(heat[0.9][cut + 1] - heat[0.0][cut + 1]).mean() < 0.35 * np.abs(heat[0.9][cut + 1] - heat[0.9][cut]).mean()
