"""The chart of a video: a ribbon over time for each of the classes seen most, as numbers, as SVG paths and as a picture.

Pages and files draw the same numbers. Pure NumPy and Pillow; nothing is read but the font, and nothing is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from pipeline.arrays import Array
from pipeline.rendering import Weight, load_font

BINS, LANES = 600, 8
LANE_PX, GAP_PX = 26, 8  # a ribbon at full score, and the room above it
PLOT_PX = 1000  # the width that paths are written for
FULL_SCORES = (0.1, 0.25, 0.5, 1.0)
# Told apart by people with each kind of colour blindness (after Okabe and Ito, https://jfly.uni-koeln.de/color/), and darkened
# until each has a contrast of 3 to 1 against white. The last is for what is not shown by itself.
COLOURS = ("#0068a8", "#c84e00", "#00805c", "#b0508a", "#a87400", "#3a8fb7", "#6b6b00", "#5b4fc4", "#77736a")
INK, SOFT, LINE = "#1c1b18", "#5f5b53", "#e2ded6"
STEPS_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True, kw_only=True)
class Ribbon:
    """One class over time, or (`index` None) all that have no ribbon: mean over time and highest score in each bin, float64 (bins,)."""

    index: int | None
    share: float
    mean: Array
    peak: Array


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The ribbons, the most seen first; bins of equal width fill 0 to `span_seconds`. A ribbon's full height is `full_score`."""

    span_seconds: float
    full_score: float
    ribbons: Sequence[Ribbon]
    ticks_seconds: Sequence[float]

    @property
    def height_px(self) -> int:
        """Of all ribbons with the room above each."""
        return max(1, len(self.ribbons)) * (LANE_PX + GAP_PX)


def build_timeline(times_seconds: Array, indices: Array, scores: Array, *, duration_seconds: float, lanes: int = LANES) -> Timeline:
    """From each frame's time in the output, float64 (frames,), and its top k: classes int32 and scores float32 (frames, k).

    A frame counts for as long as it is shown: until the next, the last until the end.
    """
    frames, k = indices.shape
    span = _span(times_seconds, duration_seconds)
    ticks = _ticks(span)
    if not frames or not k:
        return Timeline(span_seconds=span, full_score=1.0, ribbons=(), ticks_seconds=ticks)
    starts = np.clip(times_seconds, 0, span)
    lasts = np.diff(starts, append=span)
    totals = np.bincount(indices.ravel(), weights=(scores * lasts[:, None]).ravel())
    ranked = np.argsort(-totals, kind="stable")
    chosen = [int(c) for c in ranked[:lanes] if totals[c] > 0]
    edges = np.linspace(0, span, BINS + 1)
    ribbons = [_ribbon(c, np.where(indices == c, scores, 0).sum(axis=1), starts, lasts, edges) for c in chosen]
    rest = np.where(np.isin(indices, chosen), 0, scores).sum(axis=1)
    if rest.any():
        ribbons.append(_ribbon(None, rest, starts, lasts, edges))
    highest = max((float(ribbon.peak.max()) for ribbon in ribbons), default=1.0)
    full = next((score for score in FULL_SCORES if score >= highest), 1.0)
    return Timeline(span_seconds=span, full_score=full, ribbons=ribbons, ticks_seconds=ticks)


def _span(times_seconds: Array, duration_seconds: float) -> float:
    if not len(times_seconds):
        return max(duration_seconds, 0.001)
    usual = float(np.median(np.diff(times_seconds))) if len(times_seconds) > 1 else 0.04
    return max(duration_seconds, float(times_seconds[-1]) + max(usual, 0.001))


def _ribbon(index: int | None, score: Array, starts: Array, lasts: Array, edges: Array) -> Ribbon:
    """Means and peaks of a score float (frames,) that holds from `starts` for `lasts` seconds."""
    span = edges[-1]
    area = np.concatenate([[0.0], np.cumsum(score.astype(np.float64) * lasts)])
    at_edges = np.interp(edges, np.append(starts, span), area)
    hair = span / len(edges) * 1e-6  # a frame that begins with a bin, but for rounding, is not in the bin before
    first = np.maximum(np.searchsorted(starts, edges[:-1] + hair, side="right") - 1, 0)
    behind = np.maximum(np.searchsorted(starts, edges[1:] - hair, side="left"), first + 1)
    peak = np.maximum.reduceat(np.append(score, 0.0), np.stack([first, behind], axis=1).ravel())[::2]
    peak[edges[1:] - hair <= starts[0]] = 0  # before the first frame
    return Ribbon(index=index, share=float(area[-1] / span), mean=np.diff(at_edges) / np.diff(edges), peak=peak)


def _ticks(span_seconds: float) -> list[float]:
    step = next((step for step in STEPS_SECONDS if span_seconds / step <= 10), STEPS_SECONDS[-1])
    return [number * step for number in range(int(span_seconds / step + 1e-9) + 1)]


def tick_text(seconds: float, span_seconds: float) -> str:
    """0:05, 1:02:00; with tenths where the whole is that short."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    text = f"{hours}:{minutes:02d}:{rest // 10:02d}" if span_seconds >= 3600 else f"{minutes}:{rest // 10:02d}"
    return f"{text}.{rest % 10}" if span_seconds < 5 else text


def outlines(heights: Array, width: float) -> list[list[tuple[float, float]]]:
    """Heights float (bins,) as steps over `width`: for each run of what is not 0 the points (x, height) of its upper edge."""
    rounded = np.round(heights, 2)
    changes = np.flatnonzero(np.diff(rounded)) + 1
    bounds = np.concatenate([[0], changes, [len(rounded)]])
    runs: list[list[tuple[float, float]]] = []
    before = 0.0
    for begin, end in itertools.pairwise(bounds):
        height = float(rounded[begin])
        if height > 0:
            if before == 0:
                runs.append([])
            runs[-1] += [(float(begin) * width / len(rounded), height), (float(end) * width / len(rounded), height)]
        before = height
    return runs


def ribbon_path(values: Array, *, full_score: float, bottom_px: float, width_px: float = PLOT_PX) -> str:
    """The `d` of an SVG path that fills values in [0, 1] above the line `bottom_px`."""
    commands = []
    for run in outlines(np.clip(values / full_score, 0, 1) * LANE_PX, width_px):
        commands.append(f"M{_short(run[0][0])} {_short(bottom_px)}")
        for (_, height), (x, _) in zip(run[::2], run[1::2], strict=True):
            commands.append(f"V{_short(bottom_px - height)}H{_short(x)}")
        commands.append(f"V{_short(bottom_px)}z")
    return "".join(commands)


def bottom_px(number: int) -> int:
    """Where the ribbon of that number stands."""
    return (number + 1) * (LANE_PX + GAP_PX)


def marks_path(seconds: Iterable[float], *, span_seconds: float, top_px: float, bottom_px: float, width_px: float = PLOT_PX) -> str:
    """Upright lines at these times, those that lie within."""
    inside = (time for time in seconds if 0 <= time <= span_seconds)
    return "".join(f"M{_short(time / span_seconds * width_px)} {_short(top_px)}V{_short(bottom_px)}" for time in inside)


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


# ------------------------------------------------------------------------------------------------ a file of its own

WIDTH_PX, LEFT_PX, RIGHT_PX, TOP_PX, FOOT_PX = 1200, 230, 30, 60, 56


def colour_of(ribbon: Ribbon, number: int) -> int:
    """The index in COLOURS for the ribbon of that number."""
    return len(COLOURS) - 1 if ribbon.index is None else number % (len(COLOURS) - 1)


def fit_label(text: str) -> str:
    """As much of a ribbon's label as fits beside the chart."""
    return _fit(text, size_px=13, weight="plain", width_px=LEFT_PX - 24)


def fit_title(text: str) -> str:
    """As much of the title as fits above the chart."""
    return _fit(text, size_px=18, weight="bold", width_px=WIDTH_PX - LEFT_PX - RIGHT_PX)


def chart_note(chart: Timeline) -> str:
    """The line below a chart that says how to read it."""
    return f"Height is the score, full height {100 * chart.full_score:.0f} %. Solid: mean over time; pale: highest frame."


def draw_timeline(chart: Timeline, *, title: str, labels: Sequence[str], note: str, cuts_seconds: Sequence[float]) -> Image.Image:
    """The chart as a picture for print, RGB, two pixels for each of the layout's; `labels` has one for each ribbon."""
    picture = Image.new("RGB", (2 * WIDTH_PX, 2 * (TOP_PX + chart.height_px + FOOT_PX)), "white")
    pen = ImageDraw.Draw(picture)
    plot = WIDTH_PX - LEFT_PX - RIGHT_PX
    foot = TOP_PX + chart.height_px
    _write(pen, fit_title(title), (LEFT_PX, 30), size_px=18, weight="bold", colour=INK)
    _write(pen, note, (LEFT_PX, foot + 40), size_px=11, weight="plain", colour=SOFT)
    for tick in chart.ticks_seconds:
        x = LEFT_PX + plot * tick / chart.span_seconds
        pen.line([2 * x, 2 * TOP_PX, 2 * x, 2 * foot + 8], fill=LINE, width=2)
        _write(pen, tick_text(tick, chart.span_seconds), (x, foot + 18), size_px=11, weight="plain", colour=SOFT, anchor="ms")
    for cut in cuts_seconds:
        if 0 <= cut <= chart.span_seconds:
            x = 2 * (LEFT_PX + plot * cut / chart.span_seconds)
            pen.line([x, 2 * TOP_PX - 20, x, 2 * TOP_PX - 6], fill=INK, width=2)
    for number, (ribbon, label) in enumerate(zip(chart.ribbons, labels, strict=True)):
        bottom = TOP_PX + bottom_px(number)
        pen.line([2 * LEFT_PX, 2 * bottom, 2 * (LEFT_PX + plot), 2 * bottom], fill=LINE, width=2)
        _fill(pen, chart, ribbon, bottom, plot, COLOURS[colour_of(ribbon, number)])
        _write(pen, fit_label(label), (LEFT_PX - 12, bottom - 6), size_px=13, weight="plain", colour=INK, anchor="rs")
    return picture


def _fill(pen: ImageDraw.ImageDraw, chart: Timeline, ribbon: Ribbon, bottom: float, plot: float, colour: str) -> None:
    strong = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    pale = np.rint(255 - (255 - strong) * 0.35).astype(int)
    for values, rgb in ((ribbon.peak, pale), (ribbon.mean, strong)):
        for run in outlines(np.clip(values / chart.full_score, 0, 1) * LANE_PX, plot):
            upper = [(2 * (LEFT_PX + x), 2 * (bottom - height)) for x, height in run]
            pen.polygon([(upper[0][0], 2 * bottom), *upper, (upper[-1][0], 2 * bottom)], fill=tuple(int(v) for v in rgb))


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    where_px: tuple[float, float],
    *,
    size_px: int,
    weight: Weight,
    colour: str,
    anchor: str = "ls",
) -> None:
    pen.text((2 * where_px[0], 2 * where_px[1]), text, fill=colour, font=load_font(weight, 2 * size_px), anchor=anchor)


def _fit(text: str, *, size_px: int, weight: Weight, width_px: float) -> str:
    """What does not fit into the width ends in an ellipsis."""
    font, shown = load_font(weight, 2 * size_px), text
    while text and font.getlength(shown) > 2 * width_px:
        text = text[:-1]
        shown = f"{text.rstrip()}…"
    return shown
