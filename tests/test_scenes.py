"""Scene cuts and means over a scene, against sums by hand and the cuts of a clip that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_media import decoded
from test_visualize import job_for

from pipeline import demo, film, scenes, visualize

Open = Callable[..., visualize.Session]


def test_a_mean_weighs_by_age_and_forgets_at_a_cut() -> None:
    mean = scenes.SceneMean(0.25)
    assert mean.add(np.array([8.0]), 10.0, cut=False) == [8]
    # 0.02 s later the first counts 0.25 ** (25 * 0.02) = 0.5: (0.5 * 8 + 2) / 1.5 = 4
    assert mean.add(np.array([2.0]), 10.02, cut=False) == pytest.approx([4])
    # another 0.04 s: both count a quarter of that: (0.125 * 8 + 0.25 * 2 + 1) / 1.375
    assert mean.add(np.array([1.0]), 10.06, cut=False) == pytest.approx([2.5 / 1.375])
    assert mean.add(np.array([5.0]), 10.1, cut=True) == [5]


def test_strength_0_is_the_newest_and_1_the_mean_of_all() -> None:
    values = np.random.default_rng(4).normal(size=(9, 2, 3)).astype(np.float32)
    newest, everything = scenes.SceneMean(0), scenes.SceneMean(1)
    for number, value in enumerate(values):
        assert np.array_equal(newest.add(value, number / 7, cut=False), value)
        said = everything.add(value, number / 7, cut=False)
        np.testing.assert_allclose(said, values[: number + 1].mean(axis=0), atol=1e-6)
        assert said.dtype == np.float32


def test_a_mean_goes_on_from_its_state() -> None:
    values = np.random.default_rng(5).normal(size=(6, 4))
    one, other = scenes.SceneMean(0.7), scenes.SceneMean(0.7)
    for number in range(3):
        one.add(values[number], number / 25, cut=False)
    other.restore(one.state())
    for number in range(3, 6):
        assert np.array_equal(one.add(values[number], number / 25, cut=False), other.add(values[number], number / 25, cut=False))


def test_change_is_counted_in_hue_saturation_and_value() -> None:
    gray = np.full((4, 6, 3), 100, np.uint8)
    assert scenes.change(gray, gray + 30) == pytest.approx(30 / 3)  # value alone
    red, magenta = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = magenta[..., 0] = 200
    magenta[..., 2] = 10  # hue 357 degrees: 178.5 of 180 and so 1 or 2 away from red, not 178
    assert scenes.change(red, magenta) < 1


def test_the_cuts_of_the_demo_are_found_and_no_others() -> None:
    small = [picture[::4, ::4] for picture in demo.clip_pictures()]
    cuts = [n for n in range(1, len(small)) if scenes.is_cut(small[n - 1], small[n])]
    assert cuts == [60, 120, 180]  # four shots of 2.5 seconds at 24 a second


def test_smoothed_heat_flickers_less_and_starts_anew_at_a_cut(tmp_path: Path, open_session: Open) -> None:
    demo.make_clip(tmp_path / "clip.mp4", overwrite=False)
    heat: dict[float, Any] = {}
    for smooth in (0.0, 0.9):
        options = {"smooth": smooth, "layout": "heatmap", "label": "none", "overwrite": True, "crf": 8}
        options |= {"start_seconds": 2.1, "end_seconds": 2.9}
        film.visualize_video(job_for(tmp_path / "clip.mp4", tmp_path / "out.mp4", **options), open_session(**options))
        heat[smooth] = np.array([luma.astype(float) for luma in decoded(tmp_path / "out.mp4")[1]])
    steps = {smooth: np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2)) for smooth, frames in heat.items()}
    cut = int(steps[0.0].argmax())
    assert cut == 8  # the range begins with frame 51, the shot after the cut with frame 60
    within = np.delete(np.arange(len(steps[0.0])), cut)
    assert steps[0.9][within].mean() < 0.6 * steps[0.0][within].mean()
    assert np.abs(heat[0.9][cut + 1] - heat[0.0][cut + 1]).mean() < 0.35 * np.abs(heat[0.9][cut + 1] - heat[0.9][cut]).mean()
