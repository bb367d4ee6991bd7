"""Where frames belong in a video, and how they travel to the network, against places counted by hand."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.jobs import job_for

from pipeline.explain import model_session, video_explaining, video_plan
from pipeline.media import resizing
from pipeline.records import Frame

Open = Callable[..., model_session.Session]


@pytest.fixture
def plan(clip: Callable[[str], Path], tmp_path: Path, open_session: Open) -> Callable[..., video_plan.VideoPlan]:
    def make(*, batch_size: int, frames_between: int = 1000, **options: Any) -> video_plan.VideoPlan:
        found = video_plan.plan_video(job_for(clip("constant.mp4"), tmp_path / "o.mp4", **options), open_session(**options))
        return replace(found, batch_size=batch_size, frames_between=frames_between)

    return make


def frames(count: int) -> Iterator[Frame]:
    """At 25 a second, each of another gray."""
    pictures = (np.full((64, 64, 3), 100 + number, np.uint8) for number in range(count))
    times = (Fraction(number, 25) for number in range(count))
    return resizing.images_to_frames(pictures, times_seconds=times, time_base=Fraction(1, 25))


def test_padding_fills_the_batch_at_the_end_of_a_segment_but_the_last(plan: Callable[..., video_plan.VideoPlan]) -> None:
    """Segments of 5 frames, every second for the network, 2 in a batch: three pictures, then two, then one."""
    placed = list(video_explaining.place_frames(frames(12), plan(batch_size=2, every=2, segment_seconds=0.19), begin=None, done=0))
    assert [p.frame.pts for p in placed] == list(range(12))
    assert [p.segment for p in placed] == [0] * 5 + [1] * 5 + [2] * 2
    assert [n for n, p in enumerate(placed) if p.ends_segment] == [4, 9, 11]
    assert [n for n, p in enumerate(placed) if p.is_key] == [0, 2, 4, 6, 8, 10]
    assert [(n, p.padding) for n, p in enumerate(placed) if p.padding] == [(4, 1)]
    # Taken up behind the first segment: what follows has the same places.
    rest = list(
        video_explaining.place_frames(list(frames(12))[5:], plan(batch_size=2, every=2, segment_seconds=0.19), begin=Fraction(0), done=5)
    )
    assert [p[1:] for p in rest] == [p[1:] for p in placed[5:]]


def test_frames_that_wait_for_a_batch_of_one_are_sent_on_with_padding(plan: Callable[..., video_plan.VideoPlan]) -> None:
    placed = list(video_explaining.place_frames(frames(6), plan(batch_size=1, frames_between=2, every=100), begin=None, done=0))
    assert [(n, p.padding) for n, p in enumerate(placed) if p.padding] == [(2, 1), (4, 1)]


def test_a_warm_up_is_of_no_segment_and_its_last_frame_is_known(plan: Callable[..., video_plan.VideoPlan]) -> None:
    """The first two frames come before the part's begin; the third is its first, and counted anew."""
    placed = list(video_explaining.place_frames(frames(5), plan(batch_size=4, every=3), begin=Fraction(2, 25), done=0))
    assert [p.segment for p in placed] == [None, None, 0, 0, 0] and [p.is_key for p in placed] == [True, False, True, False, False]
    assert [p.padding for p in placed] == [0, 3, 0, 0, 0]
    assert [p.follows for p in placed] == [None, None, (1, zlib.crc32(bytes([round(16 + 101 * 219 / 255)]) * 64 * 64)), None, None]


def test_frames_travel_with_their_pictures_and_an_error_behind_them(plan: Callable[..., video_plan.VideoPlan]) -> None:
    def broken() -> Iterator[Frame]:
        yield from frames(8)
        raise ValueError("here")

    found = plan(batch_size=2, every=2, segment_seconds=0.19)
    *batches, last = video_explaining.batch_frames(broken(), found, begin=None, done=0)
    assert [([p.frame.pts for p in b.frames], len(b.pixels)) for b in batches] == [([0, 1, 2], 2), ([3, 4], 2), ([5, 6], 1)]
    assert [b.pixels[:, 0, 0, 0].numpy().tolist()[-1] for b in batches][1] == 0  # padding is black
    assert not last.frames and isinstance(last.failure, ValueError)
    *_, end = video_explaining.batch_frames(frames(8), found, begin=None, done=0)
    assert [p.frame.pts for p in end.frames] == [7] and not len(end.pixels) and end.failure is None
