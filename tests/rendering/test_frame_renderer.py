"""What a frame of a video shows: a title that holds, with the heat of its class, and means over the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.arrays import Array
from pipeline.options import Options
from pipeline.records import ClassGroup, ClassName, Colour, Geometry
from pipeline.rendering.frame_renderer import Explanation, FrameRenderer, ShownTitle
from pipeline.rendering.layouts import arrange_panels

CLASSES = [ClassName(index=i, wnid=None, label=label) for i, label in enumerate(("ant", "bee", "cat"))]
GEOMETRY = Geometry(scaled_width_px=32, scaled_height_px=32, width_px=32, height_px=32)
STILL = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def painter(**options: Any) -> FrameRenderer:
    canvas = arrange_panels("side-by-side", 32, 32, explanations=1, colour=Colour(matrix="rgb", full_range=True))
    asked = [ClassGroup(label=label, wnid=None, members=(2,)) for label in options.get("targets", ())] or None
    return FrameRenderer(
        Options(**options), CLASSES, GEOMETRY, canvas, targets=asked, map_of=lambda seen, target: seen.features[0][..., target]
    )


def seen(scores: tuple[float, float, float], level: float, pixels: Array = STILL) -> Explanation:
    """A frame whose map of class n is n + 1 times `level` in one cell and 0 in the other."""
    best, features = int(np.argmax(scores)), level * np.array([[[1, 2, 3], [0, 0, 0]]], np.float32)
    return Explanation(
        scores=np.array(scores, np.float32),
        targets=np.array([best]),
        maps=features[None, ..., best],
        target_scores=np.array([max(scores)], np.float32),
        features=(features,),
        pixels=pixels,
    )


ANT, BEE = (0.6, 0.4, 0.0), (0.4, 0.6, 0.0)


def shown_by(painted: FrameRenderer, frames: list[tuple[Any, float]], *, begin: int = 0) -> list[ShownTitle]:
    return [painted.remember(seen(*frame), (begin + number) * 0.1) for number, frame in enumerate(frames)]


def test_the_heat_is_that_of_the_title() -> None:
    frames = [(ANT, 1.0), (BEE, 5.0), (BEE, 7.0), (BEE, 9.0), (ANT, 2.0)]
    # Frames are 0.1 s apart, so older ones weigh 0.5 ** 2.5 of the next. Bee leads at 0.1, 0.2 and 0.3 s: from 0.3 on it is named.
    keep = 0.5**2.5
    found = shown_by(painter(smooth=0.5), frames)
    assert [int(each.targets[0]) for each in found] == [0, 0, 0, 1, 1]
    ant = [1, (keep * 1 + 5) / (keep + 1)]
    assert [each.maps[0, 0, 0] for each in found[:2]] == pytest.approx(ant)
    assert found[3].maps[0, 0, 0] == 2 * 9  # the mean before was another class'
    assert found[4].maps[0, 0, 0] == pytest.approx((keep * 18 + 4) / (keep + 1))  # ant leads in this frame, and bee is the title
    last = painter(smooth=0.5)
    assert last.title is None and shown_by(last, frames) and last.title == (1, pytest.approx(float(found[4].target_scores[0])))
    assert found[1].target_scores[0] == pytest.approx((keep * 0.6 + 0.4) / (keep + 1))  # of the ant, as it is written


def test_without_smoothing_each_frame_speaks_for_itself() -> None:
    found = shown_by(painter(smooth=0), [(ANT, 1.0), (BEE, 5.0), (ANT, 7.0)])
    assert [(int(each.targets[0]), float(each.maps[0, 0, 0]), float(each.target_scores[0])) for each in found] == [
        (0, 1, pytest.approx(0.6)),
        (1, 10, pytest.approx(0.6)),
        (0, 7, pytest.approx(0.6)),
    ]


def test_a_cut_begins_the_range_of_the_heat_anew() -> None:
    other = np.roll(STILL, 1, axis=2) // 3
    for cut, expected in ((True, 1.0), (False, None)):
        painted = painter(smooth=0.5)
        frames = [seen(ANT, 50.0), seen(ANT, 50.0), seen(ANT, 1.0, 255 - other if cut else STILL)]
        shown = [painted.remember(frame, number * 0.1) for number, frame in enumerate(frames)][-1]
        assert painted.cut is cut
        assert shown.scales[0] == (expected if cut else pytest.approx(50, rel=0.2))  # else it falls with 1.5 s


def test_a_map_of_no_class_goes_on_when_the_title_changes() -> None:
    keep = 0.5**2.5
    weight, mean = 0.0, 0.0
    for level in (1.0, 2.5, 3.5, 9.0):  # of the title, and the last of the bee
        weight, mean = keep * weight + 1, keep * mean + level
    found = shown_by(painter(smooth=0.5, method="eigencam"), [(ANT, 1.0), (BEE, 2.5), (BEE, 3.5), (BEE, 4.5)])
    assert int(found[-1].targets[0]) == 1 and found[-1].maps[0, 0, 0] == pytest.approx(mean / weight)


def test_a_class_that_is_asked_for_keeps_its_own_score() -> None:
    asked = seen(ANT, 1.0)._replace(targets=np.array([2]), target_scores=np.array([0.3], np.float32))
    found = painter(smooth=0.5, targets=("cat",)).remember(asked, 0.0)
    assert int(found.targets[0]) == 2 and found.target_scores[0] == pytest.approx(0.3)  # of its best window, and not scores[2], which is 0


def test_what_is_remembered_goes_on_from_its_state() -> None:
    frames = [(ANT, 1.0), (BEE, 5.0), (BEE, 7.0), (BEE, 9.0), (ANT, 2.0), (ANT, 4.0), (ANT, 3.0), (BEE, 1.0)]
    whole = shown_by(painter(smooth=0.5), frames)
    for at in range(1, len(frames)):
        first, second = painter(smooth=0.5), painter(smooth=0.5)
        shown_by(first, frames[:at])
        assert second.restore(first.state()) is not None and second.shown is not None
        assert second.shown.targets[0] == whole[at - 1].targets[0]
        for one, other in zip(shown_by(second, frames[at:], begin=at), whole[at:], strict=True):
            for name in ShownTitle._fields:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
