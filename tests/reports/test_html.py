"""Pages and charts: their numbers against a second computation, their data to the bit, and names that stay text."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image
from support.pages import HOSTILE, Elements, analysis_page, archive_page, class_names, jpeg, pictures_page, video_page

from pipeline.errors import CommandError, OutputError
from pipeline.records import ClassName, Prediction, Thumbnail
from pipeline.reports import timeline
from pipeline.reports.analysis_page import AnalysisClass, AnalysisPair, AnalysisPicture, write_analysis_page
from pipeline.reports.archive_page import ArchiveItem, ArchivePage, Sighting, write_archive_page
from pipeline.reports.pictures_page import PictureItem, PicturesPage, write_pictures_page
from pipeline.reports.video_page import VideoPage, _build_timeline, _legend, write_timeline, write_video_page


def written(tmp_path: Path, page: VideoPage) -> Elements:
    write_video_page(tmp_path / "page.html", page, overwrite=True)
    return Elements((tmp_path / "page.html").read_text(encoding="utf-8"))


def data_of(elements: Elements) -> dict[str, Any]:
    html = [text for tag, text in elements.text if tag == "script"]
    return json.loads(next(text for text in html if text.startswith("{")))


# ------------------------------------------------------------------------------------------------ the chart's numbers


def mean_by_hand(times: list[float], scores: list[float], span: float, bins: int) -> tuple[list[float], list[float]]:
    """Each bin's time-weighted mean and its highest score, by going through every frame of every bin, in exact fractions."""
    begins = [Fraction(time) for time in times]
    ends = [*begins[1:], Fraction(span)]
    means, peaks = [], []
    for number in range(bins):
        low, high = Fraction(span) * number / bins, Fraction(span) * (number + 1) / bins
        within = [(max(Fraction(0), min(high, e) - max(low, b)), s) for b, e, s in zip(begins, ends, scores, strict=True)]
        means.append(float(sum(t * Fraction(s) for t, s in within) / (high - low)))
        peaks.append(max((s for t, s in within if t > (high - low) / 10**6), default=0.0))  # a millionth of a bin is rounding
    return means, peaks


def test_means_are_weighted_by_time_and_peaks_are_kept() -> None:
    # Frames that come late, a burst, a pause that spans many bins, and a beginning without a picture.
    times = np.cumsum([0.4, 0.03, 0.05, 0.001, 0.002, 1.7, 0.04, 0.04, 0.3, 0.0071] * 4)
    random = np.random.default_rng(3)
    indices = np.stack([random.permutation(4)[:2] for _ in times]).astype(np.int32)
    scores = random.uniform(0, 0.5, indices.shape).astype(np.float32)
    span = float(times[-1]) + 0.5
    chart = timeline.build_timeline(times, indices, scores, duration_seconds=span)
    assert {ribbon.index for ribbon in chart.ribbons} == {0, 1, 2, 3}
    assert [ribbon.share for ribbon in chart.ribbons] == sorted((ribbon.share for ribbon in chart.ribbons), reverse=True)
    for ribbon in chart.ribbons:
        score = [float(scores[f][indices[f] == ribbon.index].sum()) for f in range(len(times))]
        means, peaks = mean_by_hand(times.tolist(), score, span, timeline.BINS)
        np.testing.assert_allclose(ribbon.mean, means, atol=1e-9)
        np.testing.assert_allclose(ribbon.peak, peaks, atol=1e-7)
        assert ribbon.share == pytest.approx(sum(means) / timeline.BINS, abs=1e-9)


def test_one_frame_among_a_hundred_thousand_is_not_lost() -> None:
    frames = 108_000
    indices = np.zeros((frames, 1), np.int32)
    indices[50_000] = 1
    scores = np.full((frames, 1), 0.3, np.float32)
    scores[50_000] = 0.9
    chart = timeline.build_timeline(np.arange(frames) / 30, indices, scores, duration_seconds=frames / 30)
    common, rare = chart.ribbons
    assert (common.index, rare.index, chart.full_score) == (0, 1, 1.0)
    assert np.flatnonzero(rare.peak).tolist() == [50_000 * timeline.BINS // frames] and rare.peak.max() == pytest.approx(0.9)
    assert rare.mean.max() == pytest.approx(0.9 / 180) and common.mean.min() == pytest.approx(0.3 * 179 / 180)


def test_what_has_no_ribbon_is_summed() -> None:
    classes = np.arange(12, dtype=np.int32)
    indices = np.stack([classes, np.roll(classes, 1)], axis=1).repeat(10, axis=0)
    scores = (0.02 + 0.03 * (12 - indices) / 12).astype(np.float32)
    chart = timeline.build_timeline(np.arange(120) / 10, indices, scores, duration_seconds=12)
    assert [ribbon.index for ribbon in chart.ribbons] == [0, 1, 2, 3, 4, 5, 6, 7, None]
    total = sum(ribbon.mean for ribbon in chart.ribbons)
    np.testing.assert_allclose(total.reshape(120, 5), scores.sum(axis=1).repeat(5).reshape(120, 5), atol=1e-7)


@pytest.mark.parametrize("frames", [0, 1, 2])
@pytest.mark.parametrize("k", [0, 1])
def test_almost_nothing_makes_a_page_and_a_chart(tmp_path: Path, frames: int, k: int) -> None:
    page = video_page(
        times_seconds=np.arange(frames) / 25,
        indices=np.zeros((frames, k), np.int32),
        scores=np.full((frames, k), 0.5, np.float32),
        duration_seconds=0.0,
        intervals=[],
        thumbnails=[],
        cuts_seconds=[],
    )
    elements = written(tmp_path, page)
    assert any(tag == "video" for tag, _ in elements.elements)
    for suffix in (".svg", ".png"):
        write_timeline(tmp_path / f"chart{suffix}", page, overwrite=False)
    chart = timeline.build_timeline(page.times_seconds, page.indices, page.scores, duration_seconds=0)
    assert len(chart.ribbons) == min(frames, k, 1) and chart.span_seconds > 0


def test_paths_draw_the_numbers() -> None:
    """The area under a path is the ribbon's, and the path does not leave its lane."""
    heights = np.array([0, 0.5, 0.5, 0.25, 0, 0, 1.0, 0])
    path = timeline.ribbon_path(heights, full_score=1.0, bottom_px=34, width_px=80)
    assert path == "M10 34V21H30V27.5H40V34zM60 34V8H70V34z"
    assert timeline.ribbon_path(heights * 0.5, full_score=0.5, bottom_px=34, width_px=80) == path


@pytest.mark.parametrize(("span", "last", "text"), [(0.5, 0.5, "0:00.5"), (12, 12, "0:12"), (754, 720, "12:00"), (7200, 7200, "2:00:00")])
def test_ticks_are_round_and_few(span: float, last: float, text: str) -> None:
    page = video_page(2)
    chart = timeline.build_timeline(page.times_seconds, page.indices, page.scores, duration_seconds=span)
    assert 2 <= len(chart.ticks_seconds) <= 11 and chart.ticks_seconds[-1] == pytest.approx(last)
    assert timeline.tick_text(chart.ticks_seconds[-1], span) == text


# ------------------------------------------------------------------------------------------------ the page


@pytest.mark.parametrize("classes", [1000, 70_000])
def test_the_data_of_every_frame_comes_back_to_the_bit(tmp_path: Path, classes: int) -> None:
    names = [ClassName(index=i, wnid=None, label=f"class {i}") for i in range(classes)]
    page = video_page(100)
    page = video_page(100, classes=names, indices=page.indices + classes - 1000, intervals=[])
    elements = written(tmp_path, page)
    got = {}
    for tag, attributes in elements.elements:
        if tag == "script" and attributes.get("data-type"):
            got[attributes["id"]] = attributes["data-type"]
    texts = [text for tag, text in elements.text if tag == "script"][1:4]
    arrays = [np.frombuffer(base64.b64decode(text), f"<{kind}") for text, kind in zip(texts, got.values(), strict=True)]
    assert list(got) == ["times", "indices", "scores"] and got["indices"] == ("u2" if classes == 1000 else "i4")
    for array, given in zip(arrays, (page.times_seconds, page.indices, page.scores), strict=True):
        assert np.array_equal(array, given.ravel())
    assert {int(i) for i in data_of(elements)["classes"]} == set(np.unique(page.indices).tolist())


def test_times_are_those_of_the_output(tmp_path: Path) -> None:
    page = video_page(50)
    late = video_page(
        50,
        begins_seconds=100.0,
        times_seconds=page.times_seconds + 100,
        intervals=[
            type(s)(**{**vars(s), "start_seconds": s.start_seconds + 100, "end_seconds": s.end_seconds + 100}) for s in page.intervals
        ],
        cuts_seconds=[cut + 100 for cut in page.cuts_seconds],
        thumbnails=[Thumbnail(time_seconds=101.0, jpeg=jpeg(0), width_px=128, height_px=72)],
    )
    elements = written(tmp_path, late)
    data = data_of(elements)
    assert data["begins"] == 100 and data["span"] == pytest.approx(2)
    np.testing.assert_allclose([row[:2] for row in data["stretches"]], [(s.start_seconds, s.end_seconds) for s in page.intervals])
    assert [a["data-seconds"] for tag, a in elements.elements if tag == "button" and "data-seconds" in a] == ["1.0"]
    for ours, theirs in zip(_legend(late, _build_timeline(late)), _legend(page, _build_timeline(page)), strict=True):
        assert ours["peak"] == theirs["peak"]


def file_name(name: str) -> str:
    """What of it a file could be called: no NUL, and no surrogate but those that stand for a byte."""
    return name.translate({0: None, 0xD800: None})


def hostile_page(name: str) -> VideoPage:
    classes = [ClassName(index=c.index, wnid=name, label=f"{name} {c.index}") for c in class_names(30)]
    return video_page(120, classes=classes, title=name, video=file_name(name), facts={name: name}, warnings=[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_labels_stay_text(tmp_path: Path, name: str) -> None:
    classes = class_names(30)
    plain = video_page(120, classes=classes, facts={"a": "b"}, warnings=["c"])
    expected = [tag for tag, _ in written(tmp_path, plain).elements]
    elements = written(tmp_path, hostile_page(name))
    assert [tag for tag, _ in elements.elements] == expected
    assert not [attribute for _, attributes in elements.elements for attribute in attributes if attribute.startswith("on")]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search("[\u2028\u2029\u202a-\u202e\u2066-\u2069\x00\x1b]", text)
    # The data hold labels and names as they can be shown; the video's address holds the bytes of its name.
    address = next(attributes["src"] for tag, attributes in elements.elements if tag == "video")
    assert os.fsdecode(unquote_to_bytes(address or "")) == file_name(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_chart_of_hostile_names_is_well_formed(tmp_path: Path, name: str) -> None:
    write_timeline(tmp_path / "chart.svg", hostile_page(name), overwrite=False)
    root = ET.parse(tmp_path / "chart.svg").getroot()
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "title", "style", "rect", "text", "path", "g"}
    write_timeline(tmp_path / "chart.png", hostile_page(name), overwrite=False)


def test_a_page_asks_nobody(tmp_path: Path) -> None:
    elements = written(tmp_path, video_page())
    for tag, attributes in elements.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:") or (tag, value) == ("video", "kitchen_output.mp4"), (tag, value)
        assert "style" not in attributes  # the policy would not let it through
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "@import" not in text and "url(" not in text
    policy = next(a["content"] for tag, a in elements.elements if a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_a_page_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(OutputError, match="add --overwrite"):
        write_video_page(tmp_path / "page.html", video_page(30), overwrite=False)
    assert (tmp_path / "page.html").read_text() == "mine"


# ------------------------------------------------------------------------------------------------ pictures and archives


def test_a_set_of_pictures_is_there_without_a_script(tmp_path: Path) -> None:
    page = pictures_page(30)
    write_pictures_page(tmp_path / "page.html", page, overwrite=False)
    elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in elements.elements if tag == "img"]
    assert len(pictures) == 58 and all({"width", "height", "alt"} <= set(a) and a["loading"] == "lazy" for a in pictures)
    assert pictures[0]["src"] == "pictures/0.jpg" and pictures[1]["src"] == "pictures/0_output.jpg"
    embedded = [base64.b64decode((a["src"] or "").partition(",")[2]) for a in pictures[2:4]]
    assert embedded == [page.items[1].original, page.items[1].heat]
    texts = [text for _, text in elements.text]
    assert page.items[-1].error in texts and all(p.name.label in texts for item in page.items for p in item.top)


def test_an_archive_tells_its_counts_and_failures_without_a_script(tmp_path: Path) -> None:
    page = archive_page(2000)
    write_archive_page(tmp_path / "page.html", page, overwrite=False)
    elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    texts = [text for tag, text in elements.text if tag in ("dt", "dd", "td", "summary")]
    assert texts[:4] == ["done", "1,950", "failed", "50"]
    for item in page.items:
        assert (item.error in texts) == (item.state == "failed")
    assert "30 more" in texts


def test_the_data_of_an_archive_are_those_given(tmp_path: Path) -> None:
    page = archive_page(300)
    write_archive_page(tmp_path / "page.html", page, overwrite=False)
    data = data_of(Elements((tmp_path / "page.html").read_text(encoding="utf-8")))
    for item, row in zip(page.items, data["items"], strict=True):
        name, kind, state, output, _, _, duration, frames, top, seen, _, error = row
        assert (name, kind, state, frames, error) == (item.name, item.kind, item.state, item.frames, item.error)
        assert duration == item.duration_seconds and (output is None or unquote_to_bytes(output).decode() == item.output)
        assert [(data["labels"][label], score) for label, score in top] == [(p.name.label, round(p.score, 4)) for p in item.top]
        assert [(data["labels"][label], start) for label, start, _ in seen] == [(s.label, s.start_seconds) for s in item.seen]
    assert len(data["labels"]) == len(set(data["labels"]))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_sets_and_archives_stay_text(tmp_path: Path, name: str) -> None:
    hostile = ClassName(index=0, wnid=None, label=name)
    found = []
    for text, label in (("plain", class_names(1)[0]), (name, hostile)):
        top = [Prediction(name=label, score=0.5)]
        item = PictureItem(name=text, original=file_name(text), heat=b"x", top=top, error=text)
        write_pictures_page(tmp_path / "a.html", PicturesPage(title=text, items=[item], facts={text: text}), overwrite=True)
        paths = {"output": file_name(text), "page": file_name(text), "poster": file_name(text)}
        seen = [Sighting(label.label, 1.0, 0.5)]
        kept = ArchiveItem(name=text, kind="video", state=text, top=top, seen=seen, error=text, **paths)
        archive = ArchivePage(title=text, counts={text: 1}, refreshed=text, items=[kept])
        write_archive_page(tmp_path / "b.html", archive, overwrite=True)
        pages = [Elements((tmp_path / page).read_text(encoding="utf-8")) for page in ("a.html", "b.html")]
        found.append([[tag for tag, _ in page.elements] for page in pages])
        assert not [key for page in pages for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert found[0] == found[1]


def test_addresses_do_not_leave_the_folder_or_become_schemes(tmp_path: Path) -> None:
    item = ArchiveItem(name="a", kind="video", state="done", output="javascript:alert(1)", page="a b#c?.html", poster="\udcff.jpg")
    write_archive_page(tmp_path / "page.html", ArchivePage(title="a", counts={}, refreshed="now", items=[item]), overwrite=False)
    row = data_of(Elements((tmp_path / "page.html").read_text(encoding="utf-8")))["items"][0]
    assert row[3:6] == ["javascript%3Aalert%281%29", "a%20b%23c%3F.html", "%FF.jpg"]


# ------------------------------------------------------------------------------------------------ an analysis


def test_an_analysis_is_there_without_a_script(tmp_path: Path) -> None:
    page = analysis_page()
    write_analysis_page(tmp_path / "page.html", page, overwrite=False)
    elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in elements.elements if tag == "img"]
    assert all({"width", "height", "alt"} <= set(a) and (a["src"] or "").startswith("data:image/") for a in pictures)
    dark = [a["srcset"] for tag, a in elements.elements if tag == "source"]
    assert [base64.b64decode((address or "").partition(",")[2]) for address in dark] == [c.dark for c in page.charts.values()]
    with Image.open(io.BytesIO(page.charts["confusion"].light)) as chart:
        assert (pictures[0]["width"], pictures[0]["height"]) == (str(chart.width // 2), str(chart.height // 2))
    cells = [text for tag, text in elements.text if tag == "td"]
    assert cells[:4] == [page.classes[0].label, "30", "95.0 %", "90.0 %"] and "–" in cells and "no threshold reaches it" in cells
    for row in page.confusion:
        numbers = [str(count) for count in row]
        assert numbers in [cells[at : at + len(numbers)] for at in range(len(cells))]
    texts = " ".join(text for _, text in elements.text)
    for said in ("91.3 %", "84.4 % to 95.4 %", "tench/9.jpg", "the picture is damaged", "mirrored", "left out of them", "looks like"):
        assert said in texts
    policy = next(a["content"] for tag, a in elements.elements if a.get("http-equiv"))
    assert policy is not None and "unsafe" not in policy and not [a for _, a in elements.elements if "style" in a]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_an_analysis_are_text(tmp_path: Path, name: str) -> None:
    found = []
    for text in ("harmless", name):
        picture = AnalysisPicture(name=text, label=text, answer=text, original=jpeg(1), heat="pictures/1.jpg", note=text)
        item = AnalysisClass(label=text, count=1, precision=1.0, recall=1.0, right=[picture], least=[picture], wrong=[picture])
        page = analysis_page(
            title=text, classes=[item], columns=[text], confusion=[[1]], notes=[text], warnings=[text], unreadable=[(text, text)],
            suspects=[picture], pairs=[AnalysisPair(first=picture, second=picture, note=text)], facts={text: text},
        )  # fmt: skip
        write_analysis_page(tmp_path / "page.html", page, overwrite=True)
        elements = Elements((tmp_path / "page.html").read_text(encoding="utf-8"))
        found.append([tag for tag, _ in elements.elements])
        assert not [key for _, attributes in elements.elements for key in attributes if key.startswith("on")]
    assert found[0] == found[1]


# ------------------------------------------------------------------------------------------------ charts as files


def classes_of(page: VideoPage) -> dict[int, str]:
    return {name.index: name.label for name in page.classes}


def test_labels_that_are_too_long_end_in_an_ellipsis() -> None:
    long = "Great Pyrenees seen from very far away, or perhaps a polar bear"
    fitted = timeline.fit_label(long)
    assert fitted.endswith("…") and long.startswith(fitted[:-1]) and len(fitted) > 20 and timeline.fit_label("tench") == "tench"


def test_the_chart_as_files(tmp_path: Path) -> None:
    page = video_page()
    for suffix in (".svg", ".png"):
        write_timeline(tmp_path / f"chart{suffix}", page, overwrite=False)
    root = ET.parse(tmp_path / "chart.svg").getroot()
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    picture = np.asarray(Image.open(tmp_path / "chart.png"))
    assert picture.shape == (2 * height, 2 * width, 3)
    # A pixel low in a ribbon has its colour exactly where the mean is above it.
    chart = _build_timeline(page)
    plot = timeline.WIDTH_PX - timeline.LEFT_PX - timeline.RIGHT_PX
    for number, ribbon in enumerate(chart.ribbons):
        row = picture[2 * (timeline.TOP_PX + timeline.bottom_px(number)) - 5]
        colour = timeline.COLOURS[timeline.colour_of(ribbon, number)]
        middles = 2 * (timeline.LEFT_PX + plot * (np.arange(timeline.BINS) + 0.5) / timeline.BINS)
        drawn = (row[middles.astype(int)] == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=1)
        pixels = ribbon.mean / chart.full_score * timeline.LANE_PX
        assert drawn[pixels > 4].all() and not drawn[pixels < 1].any()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert (
        texts[0] == page.title
        and [classes_of(page)[r.index] for r in chart.ribbons if r.index is not None] == texts[1 : len(chart.ribbons)]
    )
    with pytest.raises(CommandError, match=r"\.svg or \.png"):
        write_timeline(tmp_path / "chart.pdf", page, overwrite=False)
