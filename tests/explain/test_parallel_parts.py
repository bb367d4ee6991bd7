"""A long video made in parts: each by itself, in any order, and joined as if it had been made in one go."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import clips
from support.decoding import audio_packets, decoded
from support.jobs import job_for

from pipeline.errors import InputError, Stopped
from pipeline.explain import model_session, parallel_parts, segment_journal, video_job
from pipeline.options import Options

pytestmark = pytest.mark.media

Open = Callable[..., model_session.Session]

# Parts of 2 seconds; 150 frames of uneven times in 7 seconds: three parts, of 2, 2 and 3 seconds.
QUICK: dict[str, Any] = {"segment_seconds": 0.2, "preset": "ultrafast", "crf": 8, "every": 3}
TIMES = [Fraction(n, 25) + Fraction(n % 3, 100) + (1 if n >= 60 else 0) for n in range(150)]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    clips.write_clip(path, TIMES, audio_start=Fraction(1, 2), audio_seconds=6.0)
    return path


def made_in_parts(source: Path, output: Path, open_session: Open, order: list[int] | None = None, **options: Any) -> tuple[Any, Any]:
    job, session = job_for(source, output, **options), open_session(**options)
    found = parallel_parts.parts_of(job, session.options)
    for part in [found[n] for n in order] if order else found:
        parallel_parts.render_part(job, session, part, progress=lambda _: None)
    return parallel_parts.join_parts(job, session, found)


def test_parts_are_as_long_as_ten_segments_and_the_last_has_the_rest(long: Path, tmp_path: Path) -> None:
    found = parallel_parts.parts_of(job_for(long, tmp_path / "o.mp4", **QUICK), Options(**QUICK))
    assert [(p.number, p.begin_seconds, p.end_seconds) for p in found] == [(0, 0, 2), (1, 2, 4), (2, 4, None)]


@pytest.mark.parametrize(
    "more", [{"start_seconds": 1.0}, {"end_seconds": 6.5}, {"smooth": 1.0}, {"segment_seconds": 0.4}, {"smooth": 0.998}]
)
def test_what_is_made_in_one_go(long: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    options = {**QUICK, **more}
    assert parallel_parts.parts_of(job_for(long, tmp_path / "o.mp4", **options), Options(**options)) == []


def test_a_transport_stream_is_made_in_one_go(clip: Callable[[str], Path], tmp_path: Path) -> None:
    options = {**QUICK, "segment_seconds": 0.01}
    for name, split in (("stream.ts", False), ("variable.mp4", True)):
        assert bool(parallel_parts.parts_of(job_for(clip(name), tmp_path / "o.mp4", **options), Options(**options))) == split


@pytest.mark.slow
def test_in_parts_it_is_the_same_video(long: Path, tmp_path: Path, open_session: Open) -> None:
    options = {**QUICK, "save_maps": tmp_path / "whole.npz"}
    whole, whole_track = video_job.visualize_video(job_for(long, tmp_path / "whole.mp4", **options), open_session(**options))
    options = {**QUICK, "save_maps": tmp_path / "parts.npz"}
    outcome, track = made_in_parts(long, tmp_path / "parts.mp4", open_session, [2, 0, 1], **options)
    times, pictures = decoded(tmp_path / "parts.mp4")
    reference_times, reference = decoded(tmp_path / "whole.mp4")
    np.testing.assert_allclose(times, [float(t - TIMES[0]) for t in TIMES], atol=1e-4)
    np.testing.assert_allclose(times, reference_times, atol=0)
    assert [clips.read_number(p) for p in pictures] == list(range(150))
    assert audio_packets(tmp_path / "parts.mp4") == audio_packets(tmp_path / "whole.mp4")
    assert outcome.frames == whole.frames == 150 and outcome.extra["parts"] == 3 and outcome.duration_seconds == whole.duration_seconds
    assert track.times_seconds.tolist() == whole_track.times_seconds.tolist()
    # The first part has the whole's frames to the network; behind it every third frame is counted anew from each part's first.
    first = [n for n, t in enumerate(TIMES) if t < 2]
    for number in first:
        assert np.array_equal(pictures[number], reference[number])
    saved, expected = np.load(tmp_path / "parts.npz"), np.load(tmp_path / "whole.npz")
    begins = [0, len(first), sum(t < 4 for t in TIMES)]
    keys = [n for begin, end in zip(begins, [*begins[1:], 150], strict=True) for n in range(begin, end, 3)]
    np.testing.assert_allclose(saved["time_seconds"], [float(TIMES[n]) for n in keys], atol=1e-5)
    shared = np.isin(expected["time_seconds"], saved["time_seconds"])
    assert shared.sum() > 20
    np.testing.assert_allclose(saved["maps"][np.isin(saved["time_seconds"], expected["time_seconds"])], expected["maps"][shared], atol=2e-5)
    assert not segment_journal.folder_of(tmp_path / "parts.mp4").exists()


@pytest.mark.slow
def test_the_heat_goes_on_over_a_seam(long: Path, tmp_path: Path, open_session: Open) -> None:
    """With the network on every frame nothing but the warm-up tells the two apart: less than a level in the mean."""
    options = {**QUICK, "every": 1, "smooth": 0.5}
    video_job.visualize_video(job_for(long, tmp_path / "whole.mp4", **options), open_session(**options))
    made_in_parts(long, tmp_path / "parts.mp4", open_session, **options)
    for one, other in zip(decoded(tmp_path / "parts.mp4")[1], decoded(tmp_path / "whole.mp4")[1], strict=True):
        assert np.abs(one.astype(int) - other).mean() < 0.5


@pytest.mark.slow
def test_a_part_that_is_stopped_goes_on_and_is_the_same(long: Path, tmp_path: Path, open_session: Open) -> None:
    options = {**QUICK, "smooth": 0.5}
    made_in_parts(long, tmp_path / "undisturbed.mp4", open_session, **options)
    job, session = job_for(long, tmp_path / "again.mp4", **options), open_session(**options)
    found = parallel_parts.parts_of(job, session.options)
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        parallel_parts.render_part(job, session, found[1], progress=lambda _: None, stopping=lambda: next(asked))
    progress: list[int] = []
    for part in found:
        parallel_parts.render_part(job, session, part, progress=lambda p: progress.append(p.frames_done))
    parallel_parts.join_parts(job, session, found)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()


@pytest.mark.slow
def test_parts_that_do_not_meet_are_not_joined(long: Path, tmp_path: Path, open_session: Open) -> None:
    job, session = job_for(long, tmp_path / "o.mp4", **QUICK), open_session(**QUICK)
    found = parallel_parts.parts_of(job, session.options)
    for part in found[:2]:
        parallel_parts.render_part(job, session, part, progress=lambda _: None)
    with pytest.raises(parallel_parts.SeamError, match="not there"):
        parallel_parts.join_parts(job, session, found)
    # A segment less at the end of the first part: its journal is whole, and yet a second is missing.
    folder = segment_journal.folder_of(tmp_path / "o.mp4")
    lines = (folder / "part00000" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "part00000" / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    parallel_parts.render_part(job, session, found[2], progress=lambda _: None)
    with pytest.raises(parallel_parts.SeamError, match="do not meet"):
        parallel_parts.join_parts(job, session, found)
    parallel_parts.render_part(job, session, found[0], progress=lambda _: None)
    outcome, _ = parallel_parts.join_parts(job, session, found)
    assert outcome.frames == 150 and not folder.exists()


def test_a_source_that_changes_between_its_parts_is_never_mixed(long: Path, tmp_path: Path, open_session: Open) -> None:
    source = tmp_path / "v.mp4"
    source.write_bytes(long.read_bytes())
    job, session = job_for(source, tmp_path / "o.mp4", **QUICK), open_session(**QUICK)
    found = parallel_parts.parts_of(job, session.options)
    parallel_parts.render_part(job, session, found[0], progress=lambda _: None)
    clips.write_clip(source, [t / 2 for t in TIMES])
    with pytest.raises((parallel_parts.SeamError, InputError)):
        parallel_parts.join_parts(job, session, found)
    assert not (tmp_path / "o.mp4").exists()
    segment_journal.discard(tmp_path / "o.mp4")
    assert not segment_journal.folder_of(tmp_path / "o.mp4").exists()
