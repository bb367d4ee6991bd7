"""The pages and charts that the commands write: what is in them is what was seen."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import clips
from support.jobs import job_for

from pipeline.errors import CommandError, OutputError, Stopped
from pipeline.explain import demo_clip, image_job, job_planning, model_session, parallel_parts, result_pages, video_job
from pipeline.options import Options
from pipeline.results.explanations import Explanations
from pipeline.results.tables import prediction_rows

Open = Callable[..., model_session.Session]
QUICK: dict[str, Any] = {"segment_seconds": 0.5, "preset": "ultrafast", "report": True}


def data_of(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_videos_page_is_made_with_it(tmp_path: Path, open_session: Open) -> None:
    """Before the video has its name; of a run that was stopped and goes on it is the same."""
    clips.write_clip(tmp_path / "v.mp4", [clips.Fraction(n, 25) for n in range(60)])
    session = open_session(**QUICK)

    def made(outcome: Any, track: Explanations, _: Path) -> None:
        assert not outcome.output.exists()
        result_pages.write_video_extras(outcome, track, session, command="visualize <video>", overwrite=False)

    outcome, track = video_job.visualize_video(job_for(tmp_path / "v.mp4", tmp_path / "o.mp4", **QUICK), session, before_publish=made)
    data = data_of(tmp_path / "o.html")
    assert (data["frames"], data["ranks"]) == (60, 3) and "visualize &lt;video&gt;" in (tmp_path / "o.html").read_text()
    indices, scores = track.top
    rows = list(prediction_rows(track, session.classifier.classes))
    assert [row["index"] for row in rows] == indices.ravel().tolist()
    np.testing.assert_allclose([row["score"] for row in rows], scores.ravel(), atol=1e-6)
    # A thumbnail for each 24th of 2.4 seconds: the first frame behind each tenth of a second, and each shows that frame.
    times = [t.time_seconds for t in track.thumbnails]
    assert times == pytest.approx([min(n for n in range(60) if n / 25 >= place / 10 - 1e-9) / 25 for place in range(24)])
    assert {(t.width_px, t.height_px) for t in track.thumbnails} == {(512, 144)}
    stops = iter([False, True])
    again = job_for(tmp_path / "v.mp4", tmp_path / "again.mp4", **QUICK)
    with pytest.raises(Stopped):
        video_job.visualize_video(again, session, stopping=lambda: next(stops))
    _, resumed = video_job.visualize_video(again, session)
    assert resumed.thumbnails == track.thumbnails and resumed.cuts_seconds == track.cuts_seconds and outcome.frames == 60


@pytest.mark.slow
def test_parts_have_the_same_thumbnails(tmp_path: Path, open_session: Open) -> None:
    clips.write_clip(tmp_path / "v.mp4", [clips.Fraction(n, 25) for n in range(60)])
    options = {**QUICK, "segment_seconds": 0.1}
    job, session = job_for(tmp_path / "v.mp4", tmp_path / "o.mp4", **options), open_session(**options)
    _, whole = video_job.visualize_video(job_for(tmp_path / "v.mp4", tmp_path / "w.mp4", **options), session)
    for part in parallel_parts.parts_of(job, session.options):
        parallel_parts.render_part(job, session, part, progress=lambda _: None)
    _, joined = parallel_parts.join_parts(job, session, parallel_parts.parts_of(job, session.options))
    assert [t.time_seconds for t in joined.thumbnails] == [t.time_seconds for t in whole.thumbnails]


def test_a_thumbnail_shows_the_picture_and_its_heat(tmp_path: Path, open_session: Open) -> None:
    """Three thumbnails of a picture: the whole, the picture alone, the heat alone, in true colours."""
    cat = demo_clip.read_photograph("chelsea.png")
    Image.fromarray(cat).save(tmp_path / "cat.png")
    _, track = image_job.visualize_image(job_for(tmp_path / "cat.png", tmp_path / "o.png", report=True), open_session(report=True))
    (tmp_path / "t.jpg").write_bytes(track.thumbnails[1].jpeg)
    original = np.asarray(Image.open(tmp_path / "t.jpg")).astype(int)
    expected = np.asarray(Image.fromarray(cat).resize(original.shape[1::-1], Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(original - expected).mean() < 4
    (tmp_path / "h.jpg").write_bytes(track.thumbnails[2].jpeg)
    heat = np.asarray(Image.open(tmp_path / "h.jpg"))
    out = np.asarray(Image.open(tmp_path / "o.png"))
    panel = Image.fromarray(out[:, cat.shape[1] :]).resize(heat.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(heat.astype(int) - np.asarray(panel)).mean() < 4


def test_a_sheet_and_a_chart(tmp_path: Path, open_session: Open) -> None:
    clips.write_clip(tmp_path / "v.mp4", [clips.Fraction(n, 25) for n in range(50)])
    options = {**QUICK, "report": False, "timeline": tmp_path / "t.svg", "contact_sheet": tmp_path / "s.png", "contact_frames": 4}
    session = open_session(**options)
    outcome, track = video_job.visualize_video(job_for(tmp_path / "v.mp4", tmp_path / "o.mp4", **options), session)
    result_pages.write_video_extras(outcome, track, session, command="", overwrite=False)
    assert [t.time_seconds for t in track.thumbnails] == pytest.approx([0.0, 0.52, 1.0, 1.52], abs=1e-6)
    assert (tmp_path / "t.svg").read_text().startswith("<svg") and not (tmp_path / "o.html").exists()
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width == 2 * 320 + 3 * 8 and sheet.height == 2 * (90 + 2 * 24 + 8 + 8) + 8
    with pytest.raises(OutputError, match="exists already"):
        job_planning.plan_videos([tmp_path / "v.mp4"], output=tmp_path / "p.mp4", options=Options(**options))
    several = Options(contact_sheet=tmp_path / "new.png")
    with pytest.raises(CommandError, match="one video"):
        job_planning.plan_videos([tmp_path / "v.mp4", tmp_path / "w.mp4"], output=tmp_path, options=several)


def test_pictures_that_failed_are_on_the_page_too(tmp_path: Path, open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(demo_clip.read_photograph("chelsea.png")).save(tmp_path / "cat.png")
    session = open_session(report=True)
    outcome, track = image_job.visualize_image(job_for(tmp_path / "cat.png", tmp_path / "out" / "o.png", report=True), session)
    bad = type(outcome)(input=tmp_path / "bad.png", model="m", method="gradcam", error="bad.png: the file is empty")
    page = result_pages.write_pictures_page([(bad, None), (outcome, track)], session.options, command="visualize image", overwrite=False)
    assert page == tmp_path / "out" / "report.html"
    text = page.read_text()
    assert "bad.png: the file is empty" in text and outcome.top[0].name.label in text
    assert base64.b64encode(track.thumbnails[2].jpeg).decode() in text
    monkeypatch.setattr(result_pages, "MAX_EMBEDDED", 1)  # as of hundreds
    result_pages.write_pictures_page([(bad, None), (outcome, None)], session.options, command="", overwrite=True)
    assert 'src="../cat.png"' in page.read_text() and 'src="o.png"' in page.read_text() and "base64" not in page.read_text()
    assert result_pages.write_pictures_page([(bad, None)], session.options, command="", overwrite=False) is None
