"""The picture: colours against the standards, heat where the cell is, labels inside their panel, the source untouched."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.models import class_names
from pipeline.records import Colour, percent
from pipeline.rendering.colour_planes import Planes, plane_matrix
from pipeline.rendering.compositing import _list_all_classes, compose
from pipeline.rendering.fonts import load_font
from pipeline.rendering.heat_blending import _STRIP_ROWS, blend_table, colormap, heat_levels, lay_heat, make_style, opacity
from pipeline.rendering.label_box import (
    Caption,
    LabelSize,
    _draw_box,
    _layout_rows,
    _row_heights,
    draw_label,
    label_size,
    list_size,
    measure_longest_name,
    text_size,
)
from pipeline.rendering.layouts import Canvas, arrange_panels
from pipeline.rendering.smoothing import PanelRanges, RunningRange
from pipeline.rendering.text_rendering import draw_text_mask, fit_name

RGB = Colour(matrix="rgb", full_range=True)
BT709 = Colour(matrix="bt709", full_range=False)
BT601_FULL = Colour(matrix="bt601", full_range=True)


def planes_of(width: int, height: int, colour: Colour, seed: int = 0) -> Planes:
    random = np.random.default_rng(seed)
    chroma = ((height + 1) // 2, (width + 1) // 2) if colour.subsampled else (height, width)
    y, u, v = (random.integers(30, 220, shape, np.uint8) for shape in ((height, width), chroma, chroma))
    return y, u, v


def split(data: Array, canvas: Canvas) -> list[Array]:
    step = 2 if canvas.colour.subsampled else 1
    sizes = [(canvas.height, canvas.width), *[(canvas.height // step, canvas.width // step)] * 2]
    parts, start = [], 0
    for height, width in sizes:
        parts.append(data[start : start + height * width].reshape(height, width))
        start += height * width
    assert start == data.size
    return parts


def composed(width: int, height: int, colour: Colour, **more: Any) -> tuple[Planes, list[Array], Canvas]:
    placed = {name: more[name] for name in ("label", "longest_name") if name in more}
    canvas = arrange_panels(more.get("layout", "side-by-side"), width, height, explanations=1, colour=colour, **placed)
    planes = planes_of(width, height, colour)
    heat = more.get("heat", np.zeros((height, width), np.uint8))
    rows, note = more.get("rows", ()), more.get("note", "")
    look = make_style("turbo", more.get("alpha", 0.5), colour)
    return planes, split(compose(planes, [heat], [Caption(rows=rows, note=note)], canvas, look), canvas), canvas


# Code values by the equations of the standards, worked out by hand: ITU-R BT.709-6 item 3, BT.601-7 section 2.5, BT.2020-2 table 4.
@pytest.mark.parametrize(
    ("colour", "rgb", "expected"),
    [
        (BT709, (255, 255, 255), (235, 128, 128)),
        (BT709, (0, 0, 0), (16, 128, 128)),
        (BT709, (255, 0, 0), (62.56, 102.34, 240)),
        (BT709, (0, 0, 255), (31.81, 240, 117.73)),
        (Colour(matrix="bt601", full_range=False), (0, 255, 0), (144.55, 53.80, 34.21)),
        (BT601_FULL, (255, 0, 0), (76.25, 84.97, 255.5)),
        (Colour(matrix="bt2020", full_range=False), (255, 0, 0), (73.53, 96.73, 240)),
        (RGB, (1, 2, 3), (1, 2, 3)),
    ],
)
def test_planes_hold_the_code_values_of_the_standard(colour: Colour, rgb: tuple[int, ...], expected: tuple[float, ...]) -> None:
    matrix, offset = plane_matrix(colour)
    np.testing.assert_allclose(matrix @ np.array(rgb) + offset, expected, atol=0.01)


def test_a_colour_map_runs_from_cold_to_hot_in_rgb() -> None:
    turbo = colormap("turbo")
    assert turbo.shape == (256, 3)
    assert tuple(turbo[0]) == (48, 18, 59) and tuple(turbo[255]) == (122, 4, 3)  # the table published with Turbo, first and last row
    for wrong in ("Turbo", "no-such"):
        with pytest.raises(CommandError, match=r"one of .*turbo"):
            colormap(wrong)


@pytest.mark.parametrize("colour", [RGB, BT709, BT601_FULL])
def test_blending_in_planes_is_blending_in_rgb(colour: Colour) -> None:
    table = blend_table(colormap("turbo"), opacity(0.7), colour)
    matrix, offset = plane_matrix(colour)
    frame, level = np.array([200.0, 90.0, 40.0]), 190
    strength = opacity(0.7)[level]
    expected = matrix @ ((1 - strength) * frame + strength * colormap("turbo")[level]) + offset
    planes = tuple(np.full((4, 4), round(value), np.uint8) for value in matrix @ frame + offset)
    lay_heat(planes, np.full((4, 4), level, np.uint8), table)  # type: ignore[arg-type]
    np.testing.assert_allclose([plane[0, 0] for plane in planes], expected, atol=1.5)


@pytest.mark.parametrize("colour", [RGB, BT709])
def test_every_pixel_is_blended_by_its_own_level(colour: Colour) -> None:
    # More rows than are blended at a time, and a last strip that is shorter; chroma sees the same levels, as they come in twos.
    levels = np.random.default_rng(1).integers(0, 256, (2 * _STRIP_ROWS - 35, 71), np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    height, width = levels.shape
    table, planes = (
        blend_table(colormap("turbo"), opacity(0.5), colour),
        planes_of(width, height, colour),
    )
    before = [plane.copy() for plane in planes]
    apart = tuple(np.zeros_like(plane) for plane in planes)
    lay_heat(apart, levels, table, over=planes)  # type: ignore[arg-type]
    assert all(np.array_equal(plane, copy) for plane, copy in zip(planes, before, strict=True))
    lay_heat(planes, levels, table)
    for plane, other, source, add in zip(planes, apart, before, table.add, strict=True):
        own = levels[:: height // plane.shape[0], :: width // plane.shape[1]]
        assert np.array_equal(plane, np.rint(source * (table.keep[own] / 255)) + add[own])
        assert np.array_equal(plane, other)


def test_no_heat_or_no_strength_leaves_the_frame_as_it_is() -> None:
    for heat, alpha in ((0, 0.9), (255, 0.0)):
        planes, (y, u, v), _ = composed(64, 48, BT709, heat=np.full((48, 64), heat, np.uint8), alpha=alpha)
        for plane, out in zip(planes, (y, u, v), strict=True):
            assert np.array_equal(out[:, plane.shape[1] :], plane)


def test_opacity_rises_from_nothing_to_alpha() -> None:
    strength = opacity(0.6)
    assert strength[0] == 0 and strength[255] == pytest.approx(0.6)
    assert (np.diff(strength) >= 0).all()
    assert (strength[:39] == 0).all() and strength[39] > 0  # 38.25 is 0.15 of the range
    assert strength[102] == pytest.approx(0.6 * 0.5, abs=0.01)  # smoothstep(0.5) at 0.15 and a quarter
    assert strength[166] == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["turbo", "inferno", "magma"])
def test_the_cold_parts_of_a_frame_are_untouched(name: str) -> None:
    planes = planes_of(38, 60, RGB)
    before = [plane.copy() for plane in planes]
    lay_heat(planes, np.arange(38, dtype=np.uint8)[None].repeat(60, axis=0), make_style(name, 0.9, RGB).overlay)  # up to 37 of 255
    assert all(np.array_equal(plane, copy) for plane, copy in zip(planes, before, strict=True))
    assert np.array_equal(make_style(name, 0.9, RGB).heat.add.T, colormap(name))  # the heat alone has all its colours


@pytest.mark.parametrize("size", [(224, 224), (225, 223), (1920, 1080)])
def test_the_peak_of_the_heat_lies_in_the_middle_of_its_cell(size: tuple[int, int]) -> None:
    width, height = size
    cells = np.zeros((7, 8), np.float32)
    cells[2, 5] = 1
    levels = heat_levels(cells, width, height)
    assert levels.max() == 255
    weights = levels.astype(float)
    x = (weights.sum(0) * (np.arange(width) + 0.5)).sum() / weights.sum()
    y = (weights.sum(1) * (np.arange(height) + 0.5)).sum() / weights.sum()
    # A cell's value stands for its middle: (5 + 0.5) / 8 of the width and (2 + 0.5) / 7 of the height.
    assert x == pytest.approx(width * 5.5 / 8, abs=0.5)
    assert y == pytest.approx(height * 2.5 / 7, abs=0.5)


def test_enlarging_does_not_leave_the_range_of_the_map() -> None:
    cells = np.full((4, 4), 0.6, np.float32)
    cells[1, 1], cells[2, 2] = 0.8, 0.4  # bicubic would swing beyond both
    levels = heat_levels(cells, 400, 400)
    assert (levels.min(), levels.max()) == (102, 204)


def keys_matrix(cells: int, pixels: int) -> Array:
    """Bicubic weights with half-pixel centres, a = -0.75, the edge repeated: float64 (pixels, cells), by Keys 1981, equation 4."""
    matrix = np.zeros((pixels, cells))
    for pixel in range(pixels):
        centre = (pixel + 0.5) * cells / pixels - 0.5
        for cell in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            s, a = abs(centre - cell), -0.75
            weight = (a + 2) * s**3 - (a + 3) * s**2 + 1 if s < 1 else a * (s**3 - 5 * s**2 + 8 * s - 4)
            matrix[pixel, min(max(cell, 0), cells - 1)] += weight
    return matrix


def test_heat_is_enlarged_alike_whether_or_not_opencv_has_ipp() -> None:
    cells = np.random.default_rng(4).random((8, 14), dtype=np.float32)
    before, found = cv2.ipp.useIPP(), []
    try:
        for wanted in (False, True):
            cv2.ipp.setUseIPP(wanted)
            given = cv2.ipp.useIPP()  # off where OpenCV was built without
            found.append(heat_levels(cells, 448, 256))
            assert cv2.ipp.useIPP() == given  # others in this thread may count on it
    finally:
        cv2.ipp.setUseIPP(before)
    assert np.array_equal(*found)
    whole = np.rint(cells * 255).astype(float)
    exact = np.clip(keys_matrix(8, 256) @ whole @ keys_matrix(14, 448).T, whole.min(), whole.max())
    assert np.abs(found[0] - exact).max() < 0.8  # rounding, and that OpenCV's weights have 11 bits


def test_heat_stays_inside_the_region_that_the_network_saw() -> None:
    levels = heat_levels(np.ones((7, 7), np.float32), 160, 90, region=(0.25, 0.1, 0.75, 0.9))
    assert (levels[9:81, 40:120] == 255).all()
    assert levels.sum() == 255 * 72 * 80


@pytest.mark.parametrize("layout", ["side-by-side", "stacked", "overlay", "heatmap", "grid"])
@pytest.mark.parametrize("colour", [RGB, BT709])
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1)])
def test_layouts_hold_panels_of_the_true_size(layout: Any, colour: Colour, size: tuple[int, int]) -> None:
    planes, out, canvas = composed(*size, colour, layout=layout)
    columns, rows = {"side-by-side": (2, 1), "stacked": (1, 2), "overlay": (1, 1), "heatmap": (1, 1), "grid": (2, 2)}[layout]
    even = 2 if colour.subsampled else 1
    assert (canvas.width, canvas.height) == (columns * -(-size[0] // even) * even, rows * -(-size[1] // even) * even)
    if layout in ("side-by-side", "stacked", "grid"):
        for plane, whole in zip(planes, out, strict=True):
            assert np.array_equal(whole[: plane.shape[0], : plane.shape[1]], plane)
    if layout == "heatmap":  # no heat: the coldest colour everywhere
        matrix, offset = plane_matrix(colour)
        for plane, value in zip(out, matrix @ colormap("turbo")[0] + offset, strict=True):
            assert np.abs(plane.astype(float) - value).max() <= 1


@pytest.mark.parametrize("layout", ["side-by-side", "stacked", "overlay", "heatmap", "grid"])
@pytest.mark.parametrize("colour", [RGB, BT709])
def test_nothing_is_left_of_an_earlier_picture_in_the_same_memory(layout: Any, colour: Colour) -> None:
    canvas, look = arrange_panels(layout, 203, 151, explanations=1, colour=colour), make_style("turbo", 0.5, colour)
    given: list[Any] = [planes_of(203, 151, colour), [np.full((151, 203), 90, np.uint8)], [Caption(rows=ROWS)], canvas, look]
    fresh = compose(*given)
    for rest in (0, 255):
        assert np.array_equal(compose(*given, into=np.full_like(fresh, rest)), fresh)


def test_the_padding_of_odd_sides_repeats_the_edge() -> None:
    planes, (y, _, _), _ = composed(63, 47, BT709)
    assert np.array_equal(y[:47, 63], planes[0][:, 62]) and np.array_equal(y[47, :63], planes[0][46])


def test_the_frame_given_is_not_drawn_on() -> None:
    planes = planes_of(200, 200, BT709)
    before = [plane.copy() for plane in planes]
    canvas = arrange_panels("side-by-side", 200, 200, explanations=1, colour=BT709)
    heat, look = np.full((200, 200), 200, np.uint8), make_style("turbo", 0.5, BT709)
    compose(planes, [heat], [Caption(rows=[("cat", 0.5)])], canvas, look)
    assert all(np.array_equal(a, b) for a, b in zip(planes, before, strict=True))


Box = tuple[int, int, int, int]


def changed_box(width: int, height: int, rows: list[tuple[str, float]], **more: Any) -> Box:
    """The rectangle of a panel on which a label of those rows is drawn: left, top, right, bottom; all 0 where there is none."""
    planes, (y, _, _), _ = composed(width, height, BT709, rows=rows, layout="overlay", **more)
    rows_changed, columns_changed = (np.flatnonzero((y[:height, :width] != planes[0]).any(axis)) for axis in (1, 0))
    if not len(rows_changed):
        return 0, 0, 0, 0
    return int(columns_changed[0]), int(rows_changed[0]), int(columns_changed[-1]) + 1, int(rows_changed[-1]) + 1


ROWS = [("sulphur-crested cockatoo", 0.61), ("African grey", 0.2), ("macaw", 0.004)]
LONGEST = 14.5  # letters' heights of the embedded model's longest name, "American Staffordshire terrier"


def size_of(width: int = 640, height: int = 480, *, rows: int = 3, em: int = 24, foot: bool = True) -> LabelSize:
    size = label_size(width, height, rows=rows, longest=LONGEST, em=em, foot=foot)
    assert size is not None
    return size


@pytest.mark.parametrize("place", ["top-left", "top-right", "bottom-left", "bottom-right"])
@pytest.mark.parametrize("size", [(426, 240), (1280, 720), (608, 1080), (3000, 1000)])
def test_the_label_lies_in_its_corner_with_a_margin_and_its_share(size: tuple[int, int], place: str) -> None:
    (width, height), box = size, changed_box(*size, ROWS, label=place)
    left, top, right, bottom = box
    em = text_size(width, height)
    beside, above = left if "left" in place else width - right, top if "top" in place else height - bottom
    assert 0.5 * em <= beside <= 1.1 * em and 0.5 * em <= above <= 1.1 * em
    assert right - left <= width * 0.65 and (right - left) * (bottom - top) <= 0.2 * width * height
    assert em >= 11 and 0.02 < em / min(size) < 0.05


def test_without_a_label_nothing_but_heat_is_drawn() -> None:
    for layout in ("overlay", "heatmap"):
        given = {"layout": layout, "heat": np.full((480, 640), 200, np.uint8)}
        _, bare, _ = composed(640, 480, BT709, **given, rows=ROWS, label="none")
        _, empty, _ = composed(640, 480, BT709, **given)
        assert all(np.array_equal(a, b) for a, b in zip(bare, empty, strict=True))
    _, (y, _, _), _ = composed(640, 480, BT709, layout="grid", rows=ROWS, label="none")
    assert len(np.unique(y[480:, :640])) == 1


@pytest.mark.parametrize("layout", ["side-by-side", "stacked"])
def test_the_source_has_no_label_on_it(layout: Any) -> None:
    for place in ("top-left", "bottom-right"):
        planes, out, _ = composed(640, 480, BT709, rows=ROWS, layout=layout, label=place)
        for plane, whole in zip(planes, out, strict=True):
            assert np.array_equal(whole[: plane.shape[0], : plane.shape[1]], plane)


@pytest.mark.parametrize("place", ["top-left", "bottom-right"])
@pytest.mark.parametrize(
    ("size", "rows"),
    [((1, 1), 0), ((64, 48), 0), ((40, 300), 0), ((300, 40), 0), ((120, 90), 0), ((160, 120), 1), ((240, 180), 2), ((320, 240), 3)],
)
def test_small_panels_get_fewer_rows_or_none(size: tuple[int, int], rows: int, place: str) -> None:
    left, top, right, bottom = changed_box(*size, ROWS, longest_name=LONGEST, label=place)
    assert 0 <= left <= right <= size[0] and 0 <= top <= bottom <= size[1]
    assert (right - left) * (bottom - top) <= 0.2 * size[0] * size[1]
    planned = label_size(*size, rows=3, longest=LONGEST, em=text_size(*size), foot=True)
    assert (planned.rows if planned else 0) == rows and (right > left) == (rows > 0)
    assert planned is None or planned.em >= 9


def test_a_label_takes_no_more_than_a_fifth_of_any_panel() -> None:
    random = np.random.default_rng(7)
    for width, height in np.exp(random.uniform(np.log(20), np.log(5000), (300, 2))).astype(int):
        for rows in (0, 1, 3, 12):
            size = label_size(width, height, rows=rows, longest=LONGEST, em=text_size(width, height), foot=True)
            if size is not None:
                assert size.width * size.height <= 0.2 * width * height and size.em >= 9
                assert size.width + 2 * size.margin <= width and size.height + 2 * size.margin <= height
                assert size.width % 2 == size.height % 2 == 0  # it begins and ends between two chroma samples
            else:
                assert min(width, height) < 200 or rows == 0 or max(width, height) > 8 * min(width, height)


@pytest.mark.parametrize("size", [(200, 200), (320, 240), (500, 375), (1920, 1080), (1080, 1920)])
def test_no_name_of_the_model_is_cut_where_there_is_room(size: tuple[int, int]) -> None:
    names = tuple(each.label for each in class_names.imagenet_classes())
    longest = measure_longest_name(names)
    assert longest == pytest.approx(LONGEST, abs=0.05)
    planned = label_size(*size, rows=3, longest=longest, em=text_size(*size), foot=True)
    assert planned is not None
    for name in sorted(names, key=len)[-60:]:
        for line in _layout_rows([(name, 0.88), (name, 0.09), (name, 0.0)][: planned.rows], planned):
            assert [words.text for words in line.name] == [name] and line.name[0].size >= 9
            assert draw_text_mask(name, line.weight, line.name[0].size, 10_000).shape[1] <= line.width


def test_a_label_keeps_its_place_and_size_whatever_it_says() -> None:
    def box(rows: list[tuple[str, float]], note: str = "") -> Box:
        return changed_box(1280, 720, rows, note=note, longest_name=LONGEST)

    first = box(ROWS)
    assert box([("cat", 1.0), ("a", 0.0), ("American Staffordshire terrier", 0.0)]) == first
    assert box(ROWS, note="no heat: nothing here speaks for it") == first
    for name in ("sulphur-crested cockatoo", "soft-coated wheaten terrier"):  # nor do its letters change with the number beside them
        assert len({next(_layout_rows([(name, score)], size_of())).name for score in (0.004, 0.09, 0.11, 0.88)}) == 1


def test_a_long_name_shrinks_then_breaks_and_is_cut_last() -> None:
    room = load_font("bold", 30).getlength("soft-coated wheaten terrier")  # as wide as needed at full size
    [whole] = fit_name("soft-coated wheaten terrier", "bold", 30, int(room) + 1)
    assert whole == ("soft-coated wheaten terrier", 30, 0)
    [smaller] = fit_name("soft-coated wheaten terrier", "bold", 30, int(0.85 * room))
    assert smaller.text == whole.text and 23 <= smaller.size < 30
    # On one base line with the number beside it: what lies above that line is as much shorter as it begins lower.
    assert smaller.down + load_font("bold", smaller.size).getmetrics()[0] == load_font("bold", 30).getmetrics()[0]
    broken = fit_name("soft-coated wheaten terrier", "bold", 30, int(0.5 * room))
    assert [words.text for words in broken] == ["soft-coated wheaten", "terrier"]
    last = broken[-1]
    assert last.down + draw_text_mask(last.text, "bold", last.size, 999).shape[0] <= round(1.28 * 30)  # it stays above its bar
    cut = fit_name("soft-coated wheaten terrier", "bold", 30, int(0.25 * room))
    assert len(cut) == 2 and cut[1].text.endswith("…")
    [small] = fit_name("soft-coated wheaten terrier", "bold", 11, 60)
    assert small.size == 9 and small.text.endswith("…")  # two lines of nine pixels do not fit in that row
    assert [w.text for w in fit_name("three-toed-sloth-like", "bold", 30, 130)] == ["three-toed-", "sloth-like"]


def test_a_long_label_is_cut_with_an_ellipsis_inside_its_room() -> None:
    short, long = (
        draw_text_mask("cat", "plain", 20, 100),
        draw_text_mask("a very long name of a class", "plain", 20, 100),
    )
    assert short.shape[1] < 60 and 70 < long.shape[1] <= 100
    assert short.max() > 200 and long.max() > 200
    dots = draw_text_mask("…", "plain", 20, 100)
    assert np.array_equal(long[-9:, -dots.shape[1] + 4 :] > 128, dots[-9:, 4 : dots.shape[1]][:, : dots.shape[1] - 4] > 128)


def test_a_label_shows_nothing_of_the_one_before() -> None:
    def drawn(*scores: float) -> Array:
        caption = Caption(rows=[(label, score) for (label, _), score in zip(ROWS, scores, strict=True)])
        return draw_label(caption, size_of(), colour=BT709).layers

    first, second = (0.97, 0.02, 0.01), (0.4, 0.004, 0.3)
    before = drawn(*first).copy()
    after = drawn(*second).copy()
    assert np.array_equal(drawn(*first), before) and not np.array_equal(before, after)
    _draw_box.cache_clear()
    assert np.array_equal(drawn(*second), after)


@pytest.mark.parametrize("colour", [BT709, BT601_FULL])
def test_a_label_drawn_in_planes_is_the_one_drawn_in_rgb(colour: Colour) -> None:
    caption = Caption(rows=ROWS, note="no heat")
    rgb, planes = (draw_label(caption, size_of(), colour=each) for each in (RGB, colour))
    matrix, offset = plane_matrix(colour)
    expected = np.tensordot(matrix, rgb.layers[:3], 1) + offset[:, None, None] * rgb.layers[3]
    np.testing.assert_allclose(planes.layers[:3], expected, atol=1e-3)
    assert np.array_equal(planes.layers[3], rgb.layers[3]) and 0.7 < rgb.layers[3].mean() < 0.9


def test_bars_are_as_long_as_their_scores() -> None:
    lengths = []
    for score in (0.25, 0.5, 1.0):
        patch = draw_label(Caption(rows=[("", score)]), size_of(1000, 600, rows=1, em=40, foot=False), colour=RGB)
        amber = patch.layers[0] - patch.layers[2] > 150  # the bar's colour, and nothing else's
        lengths.append(int(amber.any(axis=0).sum()))
    assert lengths[1] / lengths[2] == pytest.approx(0.5, abs=0.01)
    assert lengths[0] / lengths[2] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("layout", "strength"), [("overlay", opacity(0.5)), ("heatmap", np.ones(256))])
def test_the_scale_has_the_colours_of_the_heat_as_that_layout_shows_it(layout: Any, strength: Array) -> None:
    _, out, _ = composed(1280, 720, RGB, rows=ROWS, layout=layout)
    shown = np.stack(out, axis=2)
    # By the definition of blending: the colour map over gray, each level with its own opacity.
    expected = np.rint(128 * (1 - strength[:, None]) + colormap("turbo") * strength[:, None])
    planned = label_size(1280, 720, rows=3, longest=12.0, em=text_size(1280, 720), foot=True)
    assert planned is not None and planned.foot
    y = planned.margin + planned.pad + sum(_row_heights(planned)) + draw_text_mask("low", "plain", planned.small, 99).shape[0] // 2
    row = shown[y, planned.margin : planned.margin + planned.width].astype(int)
    places = [np.abs(row - colour).max(axis=1) for colour in expected[[64, 128, 192]]]
    found = [int(np.argmin(place)) for place in places]
    assert all(place.min() <= 2 for place in places) and found[0] < found[1] < found[2]
    assert found[1] - found[0] == pytest.approx(found[2] - found[1], abs=2)  # level by level along the bar
    assert np.abs(row[: found[0]] - expected[8]).max(axis=1).min() <= 3 and np.abs(row[found[2] :] - expected[250]).max(axis=1).min() <= 3


def test_tiny_panels_have_no_scale_and_a_note_stands_in_its_place() -> None:
    small = label_size(330, 190, rows=3, longest=8.0, em=11, foot=True)
    large = size_of()
    assert small is not None and small.rows == 3 and not small.foot and large.foot
    legend = make_style("turbo", 0.5, RGB).overlay_legend

    def drawn(size: LabelSize, note: str = "", rows: Any = ROWS, legend: bytes = legend) -> Array:
        return draw_label(Caption(rows=rows, note=note), size, colour=RGB, legend=legend).layers

    assert not np.array_equal(drawn(large), drawn(large, legend=b""))
    assert np.array_equal(drawn(large, "no heat"), drawn(large, "no heat", legend=b""))
    last = small.pad + sum(_row_heights(small)[:-1])  # without a foot the note has the third row
    assert np.array_equal(drawn(small, "no heat")[:, :last], drawn(small)[:, :last])
    assert not np.array_equal(drawn(small, "no heat")[:, last:], drawn(small)[:, last:])
    assert np.array_equal(drawn(small, "no heat"), drawn(small, "no heat", rows=[*ROWS[:2], ("other", 0.9)]))


@pytest.mark.parametrize(("size", "least"), [((640, 480), 0.7), ((480, 640), 0.7), ((160, 120), 0.7), ((900, 200), 0.7)])
def test_the_corner_of_a_grid_is_filled_by_its_list(size: tuple[int, int], least: float) -> None:
    width, height = size
    planes, (y, _, _), _ = composed(*size, BT709, layout="grid", rows=ROWS, longest_name=LONGEST)
    assert np.array_equal(y[:height, width:], planes[0])  # the list says it all: nothing is written on the heat
    corner = y[height:, :width].astype(int)
    rows, columns = (np.flatnonzero((corner != corner[0, 0]).any(axis)) for axis in (1, 0))
    assert np.ptp(columns) >= 0.85 * width  # from margin to margin
    assert abs(rows[0] + rows[-1] - height) <= 0.1 * height  # in the middle
    large = list_size(*size, rows=3, longest=LONGEST)
    small = label_size(*size, rows=3, longest=LONGEST, em=text_size(*size), foot=True)
    assert large is not None and (small is None or large.em >= small.em)
    assert np.ptp(rows) >= least * large.height


def test_the_list_of_several_panels_names_all_of_them() -> None:
    captions = [
        Caption(rows=[("cat", 0.5), ("dog", 0.2), ("cow", 0.1)]),
        Caption(rows=[("dog", 0.2), ("cat", 0.5), ("cow", 0.1)]),
    ]
    assert _list_all_classes(captions).rows == [("cat", 0.5), ("dog", 0.2), ("cow", 0.1)]
    canvas, planes = arrange_panels("grid", 640, 480, explanations=2, colour=BT709), planes_of(640, 480, BT709)
    data = compose(planes, [np.zeros((480, 640), np.uint8)] * 2, captions, canvas, make_style("turbo", 0.5, BT709))
    whole = split(data, canvas)[0]
    row = label_size(640, 480, rows=1, longest=12.0, em=text_size(640, 480), foot=True)
    assert row is not None
    for panel in (whole[:480, 640:1280], whole[:480, 1280:]):  # above its heat each has its own name and the colours alone
        changed = np.flatnonzero((panel != planes[0]).any(axis=1))
        assert changed[0] == pytest.approx(row.margin, abs=1) and len(changed) == pytest.approx(row.height, abs=1)


@pytest.mark.parametrize(
    ("score", "text"),
    [(0, "0%"), (1e-6, "<1%"), (0.0099, "<1%"), (0.01, "1%"), (0.125, "13%"), (0.994, "99%"), (0.9999, "99%"), (1.0, "100%")],
)
def test_percents_never_round_to_certainty(score: float, text: str) -> None:
    assert percent(score) == text


def test_the_running_range_follows_by_its_time_constants() -> None:
    steady = RunningRange()
    assert steady.scale(2.0, 0.0) == 2.0
    # One step of an exponential: from 2 towards 4 with 0.15 s, from there towards 1 with 1.5 s.
    up = 2 + 2 * (1 - np.exp(-0.1 / 0.15))
    assert steady.scale(4.0, 0.1) == pytest.approx(up)
    assert steady.scale(1.0, 0.6) == pytest.approx(up + (1 - up) * (1 - np.exp(-0.5 / 1.5)))
    # The same time in more steps comes to the same, so the frame rate does not matter.
    fine, coarse = RunningRange(), RunningRange()
    fine.scale(2.0, 0.0), coarse.scale(2.0, 0.0)
    for step in range(1, 11):
        last = fine.scale(5.0, step / 100)
    assert last == pytest.approx(coarse.scale(5.0, 0.1))


def test_the_running_range_survives_maps_without_heat() -> None:
    running = RunningRange()
    assert [running.scale(peak, t) for t, peak in enumerate((0.0, 0.0, 3.0))] == [0.0, 0.0, 3.0]
    assert running.scale(0.0, 2.04) > 2.5


def test_panels_of_one_scale_end_where_their_scores_say() -> None:
    peaks, scores = np.array([8.0, 6.0, 0.5]), np.array([0.36, 0.09, 0.0036])
    apart = PanelRanges(3, shared=False).scales(peaks, scores, 0.0)
    together = PanelRanges(3, shared=True)
    heights = peaks / together.scales(peaks, scores, 0.0)
    assert apart == [8.0, 6.0, 0.5]
    np.testing.assert_allclose(heights, [1, 0.5, 0.1])  # the square roots of 1, 1/4 and 1/100
    # The units of a map do not count.
    np.testing.assert_allclose(peaks * [1, 50, 3] / PanelRanges(3, shared=True).scales(peaks * [1, 50, 3], scores, 0.0), heights)
    # One panel alone is as high as it is by itself, and so are all where nothing has a score.
    assert PanelRanges(1, shared=True).scales(peaks[:1], scores[2:], 0.0) == [8.0]
    assert PanelRanges(2, shared=True).scales(peaks[:2], np.zeros(2), 0.0) == [8.0, 6.0]


def test_one_scale_follows_scores_over_time_and_goes_on_from_its_state() -> None:
    ranges = PanelRanges(2, shared=True)
    assert ranges.scales(np.array([2.0, 3.0]), np.array([0.64, 0.16]), 0.0) == pytest.approx([2.0, 6.0])
    again = PanelRanges(2, shared=True)
    assert again.restore(ranges.state()) == pytest.approx([2.0, 6.0])
    # By hand: half a second of falling with 1.5 s for the first score, of rising with 0.15 s for the second; the peaks stay.
    first, second = 0.04 + 0.6 * np.exp(-0.5 / 1.5), 0.36 - 0.2 * np.exp(-0.5 / 0.15)
    given: list[Any] = [np.array([2.0, 3.0]), np.array([0.04, 0.36]), 0.5]
    assert ranges.scales(*given) == pytest.approx([2.0, 3.0 * (first / second) ** 0.5])
    assert again.scales(*given) == ranges.scales(*given[:2], 0.5) and len(PanelRanges(2, shared=False).state()) == 2


def grid(captions: list[Caption], height: int = 360) -> np.ndarray:
    """The planes of a grid of as many heats, all of them cold."""
    width = height * 16 // 9
    canvas = arrange_panels("grid", width, height, explanations=len(captions), colour=RGB)
    planes = tuple(np.full((height, width), 90, np.uint8) for _ in range(3))
    data = compose(planes, [np.zeros((height, width), np.uint8)] * len(captions), captions, canvas, make_style("turbo", 0.5, RGB))
    return data.reshape(3, canvas.height, canvas.width)


def test_a_grid_of_several_says_where_there_is_no_heat() -> None:
    rows, note = [("cup", 0.4), ("dog", 0.3)], "no heat: nothing here speaks for it"
    without, one = (grid([Caption(rows=rows, note=said), Caption(rows=rows)]) for said in ("", note))
    changed = np.flatnonzero((without != one).any(axis=(0, 1)))
    assert changed.min() >= 640 and changed.max() < 1280  # in the first heat's panel, and nowhere else


def test_the_list_of_a_grid_is_as_large_whether_or_not_what_was_asked_for_is_among_the_best() -> None:
    best = [("cup", 0.4), ("dog", 0.3), ("fox", 0.1)]
    pictures = [
        grid([Caption(rows=[("cup", 0.4), *rows]), Caption(rows=[("owl", 0.01), *rows])])
        for rows in ([("fox", 0.1), ("dog", 0.3), ("elk", 0.1)], best)
    ]
    boxes = [np.argwhere((picture[:, 360:, :640] != picture[0, 719, 0]).any(axis=0)) for picture in pictures]
    assert (boxes[0].min(0) == boxes[1].min(0)).all() and (boxes[0].max(0) == boxes[1].max(0)).all()


def test_a_label_of_one_row_says_where_there_is_no_heat() -> None:
    width, height = 160, 120
    canvas = arrange_panels("side-by-side", width, height, explanations=1, colour=RGB)
    planes, cold = tuple(np.full((height, width), 90, np.uint8) for _ in range(3)), [np.zeros((height, width), np.uint8)]
    said = [
        compose(
            planes,
            cold,
            [Caption(rows=[("cup", 0.4), ("dog", 0.3)], note=note)],
            canvas,
            make_style("turbo", 0.5, RGB),
        )
        for note in ("", "no heat: nothing here speaks for it")
    ]
    assert (said[0] != said[1]).any()
