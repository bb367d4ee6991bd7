"""Charts as pictures, the only ones that Matplotlib draws: how a training went, and where a model errs.

Every chart is a Figure of its own, drawn without pyplot and its list of open figures; Matplotlib's settings stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.files import atomic_write
from pipeline.records import printable
from pipeline.rendering import open_font_file


@dataclass(frozen=True, kw_only=True)
class ChartColours:
    """The colours of a chart: those of the pages (templates/page.css)."""

    ground: str
    ink: str
    soft: str
    line: str
    first: str
    second: str


LIGHT_COLOURS = ChartColours(ground="#ffffff", ink="#1c1b18", soft="#5f5b53", line="#e2ded6", first="#0068a8", second="#c84e00")
DARK_COLOURS = ChartColours(ground="#1a1c20", ink="#ecebe7", soft="#a9a69e", line="#2f3238", first="#4da3e0", second="#f08a4b")

_DPI = 160
MOST_NAMED = 100  # classes of a confusion whose names could still be read


# ------------------------------------------------------------------------------------------------ a training


def draw_learning_curve(path: Path, history: Sequence[Mapping[str, float]], *, title: str, overwrite: bool) -> None:
    """Loss and accuracy of every epoch, on what was trained on and on what was kept back, as .png or .svg; the suffix chooses.

    Rows of `history` have epoch, loss, accuracy, val_loss, val_accuracy (in [0, 1]) and phase: 0 the head alone, 1 fine-tuning; what is
    missing leaves a gap. Raises CommandError for another suffix, OutputError as `atomic_write` does.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise CommandError(f"{path}: a chart is .svg or .png")
    figure = _figure(9.6, 3.9, LIGHT_COLOURS)
    figure.suptitle(printable(title).replace("$", r"\$"), x=0.012, ha="left", color=LIGHT_COLOURS.ink, fontsize=12)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _draw_curve(axes, history, name)
    lines, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, labelcolor=LIGHT_COLOURS.soft, fontsize=9, ncols=2, loc="upper right", borderaxespad=0.2)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(_encode(figure, suffix[1:]))


def _draw_curve(axes: Axes, history: Sequence[Mapping[str, float]], name: str) -> None:
    """One number over the epochs; a line stands where fine-tuning begins, a ring around the best of what was kept back."""
    epochs = np.array([row["epoch"] for row in history], float)
    training, validation = (np.array([row.get(key, np.nan) for row in history], float) for key in (name, f"val_{name}"))
    _simplify_axes(axes, LIGHT_COLOURS)
    size = 3.5 if len(epochs) < 40 else 0
    axes.plot(epochs, training, "o", ls=(0, (4, 2)), color=LIGHT_COLOURS.first, lw=1.4, ms=size, alpha=0.6, label="training")
    axes.plot(epochs, validation, "o-", color=LIGHT_COLOURS.second, lw=2.2, ms=size, label="validation")
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation) if name == "loss" else np.nanargmax(validation))
        axes.plot(
            epochs[best], validation[best], "o", markersize=10, markerfacecolor="none", color=LIGHT_COLOURS.second, markeredgewidth=1.6
        )
        shown = f"{validation[best]:.3f}" if name == "loss" else f"{100 * validation[best]:.1f} %"
        axes.set_title(f"{name.capitalize()}: best {shown} at epoch {epochs[best]:g}", loc="left", color=LIGHT_COLOURS.ink, fontsize=10)
    _mark_phases(axes, epochs, [row.get("phase", 0) for row in history], at_top=name == "loss")
    if name == "accuracy":
        axes.yaxis.set_major_formatter(_percents)
        lowest = np.nanmin([*training, *validation, 1.0])
        axes.set_ylim(max(0.0, min(0.9, lowest - 0.05)), 1.015)
    else:
        axes.set_ylim(bottom=0)
    if len(epochs):
        axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")


def _mark_phases(axes: Axes, epochs: Array, phases: Sequence[float], *, at_top: bool) -> None:
    for number in range(1, len(phases)):
        if phases[number] != phases[number - 1]:
            middle = (epochs[number - 1] + epochs[number]) / 2
            axes.axvline(middle, color=LIGHT_COLOURS.soft, linewidth=1, linestyle=":")
            axes.text(
                middle + 0.012 * (epochs.max() - epochs.min() + 1),
                0.98 if at_top else 0.02,
                "fine-tuning",
                transform=axes.get_xaxis_transform(),
                va="top" if at_top else "bottom",
                fontsize=8.5,
                color=LIGHT_COLOURS.soft,
            )


# ------------------------------------------------------------------------------------------------ where a model errs


def draw_confusion(counts: Array, rows: Sequence[str], columns: Sequence[str], *, colours: ChartColours = LIGHT_COLOURS) -> bytes:
    """What pictures of each class (a row) were taken for (a column), as PNG; `counts` int (rows, columns).

    The first columns are the classes of the rows. Depth is the share of its row: right answers in one colour, wrong ones in the other.
    More than MOST_NAMED classes have no names.
    """
    count = max(len(rows), len(columns))
    cell = 14 / count if count > MOST_NAMED else float(np.clip(14 / count, 0.16, np.clip(2.4 / count, 0.55, 1.1)))
    size = float(np.clip(cell * 24, 5, 10.5))
    left, below, upright = _margins(rows, columns, cell, size)
    width, height = left + cell * len(columns) + 0.15, below + cell * len(rows) + 0.15
    figure = _figure(width, height, colours, arranged=False)
    axes = figure.add_axes((left / width, below / height, cell * len(columns) / width, cell * len(rows) / height))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.arange(len(rows))[:, None] == np.arange(len(columns))
    strength = np.where(share > 0, 0.12 + 0.88 * share, 0)[..., None]
    ground, first, second = (np.array(_rgb(colour)) for colour in (colours.ground, colours.first, colours.second))
    picture = ground * (1 - strength) + np.where(right[..., None], first, second) * strength
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    _simplify_axes(axes, colours)
    axes.grid(visible=False)
    axes.set_xlabel("taken for", fontsize=10)
    axes.set_ylabel("is", fontsize=10)
    if count > MOST_NAMED:
        return _encode(figure, "png")
    axes.spines["bottom"].set_visible(False)
    axes.hlines(np.arange(len(rows) + 1) - 0.5, -0.5, len(columns) - 0.5, color=colours.line, linewidth=0.6)
    axes.vlines(np.arange(len(columns) + 1) - 0.5, -0.5, len(rows) - 0.5, color=colours.line, linewidth=0.6)
    axes.set_xticks(np.arange(len(columns)), [_shorten(name) for name in columns], rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(np.arange(len(rows)), [_shorten(name) for name in rows], fontsize=size)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for row, column in zip(*np.nonzero(counts), strict=True) if cell >= 0.3 else ():
        ink = "#ffffff" if picture[row, column] @ (0.299, 0.587, 0.114) < 0.55 else "#101114"
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=ink, fontsize=min(10.5, 20 * cell))
    return _encode(figure, "png")


def _margins(rows: Sequence[str], columns: Sequence[str], cell: float, size: float) -> tuple[float, float, bool]:
    """Inches to the left and below for names of `size` points, and whether those below stand upright."""
    if max(len(rows), len(columns)) > MOST_NAMED:
        return 0.75, 0.6, False
    with open_font_file("plain") as font:
        shape = FontProperties(fname=str(font), size=size)
        wide, tall = (max(TextPath((0, 0), _shorten(n), prop=shape).get_extents().width for n in names) / 72 for names in (rows, columns))
    upright = tall > 0.9 * cell
    return wide + 0.45, (tall if upright else size / 72) + 0.45, upright


def _shorten(name: str) -> str:
    shown = printable(name).replace("$", r"\$")  # else it would begin a formula
    return shown if len(shown) <= 30 else f"{shown[:29]}…"


def draw_calibration(
    confidence: Sequence[float],
    accuracy: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    sizes: Sequence[int],
    *,
    colours: ChartColours = LIGHT_COLOURS,
) -> bytes:
    """How many answers of each tenth of confidence are right, as PNG: a dot with its 95 % interval, and below how many answers there are.

    All in [0, 1] but `sizes`, the number of answers. A model that knows itself has its dots on the line.
    """
    figure = _figure(5.2, 4.6, colours)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for each in (axes, below):
        _simplify_axes(each, colours)
    axes.plot([0, 1], [0, 1], color=colours.soft, linewidth=1, linestyle=":")
    low, high = (np.array([each[end] for each in intervals]) for end in (0, 1))
    axes.vlines(confidence, low, high, color=colours.first, linewidth=1.4, alpha=0.55)
    axes.plot(confidence, accuracy, "o-", color=colours.first, linewidth=1.6, markersize=6)
    axes.set_ylabel("right")
    axes.set_ylim(-0.02, 1.02)
    bins = np.minimum((np.array(confidence) * 10).astype(int), 9)
    below.bar((bins + 0.5) / 10, sizes, width=0.09, color=colours.first, alpha=0.7)
    below.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=2))
    below.set_ylabel("answers")
    below.set_xlabel("confidence")
    below.set_xlim(-0.01, 1.02)
    for axis in (axes.yaxis, below.xaxis):
        axis.set_major_formatter(_percents)
    return _encode(figure, "png")


def draw_coverage(
    answered: Array, accuracy: Array, marks: Sequence[tuple[str, float, float]] = (), *, colours: ChartColours = LIGHT_COLOURS
) -> bytes:
    """How many answers are right when the least confident are withheld, as PNG; float (thresholds,), from all answers to the fewest.

    `marks` name points (coverage, accuracy) of the curve.
    """
    figure = _figure(5.2, 4.6, colours)
    axes = figure.subplots()
    _simplify_axes(axes, colours)
    # The share that is right of a few answers says nothing; it would only pull the scale down.
    enough = answered >= min(0.05, answered.max())
    axes.step(answered, accuracy, where="pre", color=colours.first, linewidth=2)
    for number, (name, at, height) in enumerate(marks):
        axes.plot(at, height, "o", markersize=8, color=colours.second, markeredgecolor=colours.ground, markeredgewidth=1.5, zorder=3)
        end = at > 0.6
        text = axes.annotate(
            _shorten(name),
            (at, height),
            (-9 if end else 9, -15 - 13 * (number % 2)),
            textcoords="offset points",
            ha="right" if end else "left",
            color=colours.ink,
            fontsize=9.5,
        )
        text.set_path_effects([withStroke(linewidth=3, foreground=colours.ground)])
    lowest = float(min(accuracy[enough].min(), *(height for _, _, height in marks), 1.0))
    lowest = max(0.0, lowest - 0.18 * (1.05 - lowest) - 0.02)
    axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))
    axes.set_xlim(0, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_percents)
    axes.set_xlabel("pictures that get an answer")
    axes.set_ylabel("answers that are right")
    return _encode(figure, "png")


def _percents(value: float, _place: float) -> str:
    return f"{100 * value:.4g} %"


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


# ------------------------------------------------------------------------------------------------ what all have in common


def _figure(width_inches: float, height_inches: float, colours: ChartColours, *, arranged: bool = True) -> Figure:
    """With `arranged`, room is made for what stands beside the axes."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained" if arranged else None, facecolor=colours.ground)
    FigureCanvasAgg(figure)
    return figure


def _simplify_axes(axes: Axes, colours: ChartColours) -> None:
    """No frame, pale lines across, soft numbers."""
    axes.set_facecolor(colours.ground)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(colours.line)
    axes.grid(axis="y", color=colours.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colours.soft, labelsize=9, length=0, pad=5)
    axes.xaxis.label.set_color(colours.soft)
    axes.yaxis.label.set_color(colours.soft)


def _encode(figure: Figure, form: str) -> bytes:
    """The figure in that format, all its text in Inter; the same figure gives the same bytes."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # how many numbers stand on an axis depends on the room that it has
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # they are made when they are asked for
    with open_font_file("plain") as font:
        for text in figure.findobj(Text):
            properties = text.get_fontproperties().copy()
            properties.set_file(str(font))
            text.set_fontproperties(properties)
        content = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(content, format=form, facecolor=figure.get_facecolor(), metadata=metadata)
    return content.getvalue()
