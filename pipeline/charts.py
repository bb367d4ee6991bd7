"""Charts as pictures, the only ones that Matplotlib draws: how a training went, and where a model errs.

Every chart is a Figure of its own, drawn without pyplot and its list of open figures; Matplotlib's settings stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from pipeline.errors import CommandError
from pipeline.outputs import whole
from pipeline.records import printable

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Look:
    """The colours of a chart: those of the pages (data/page.css)."""

    ground: str
    ink: str
    soft: str
    line: str
    first: str
    second: str


LIGHT = Look(ground="#ffffff", ink="#1c1b18", soft="#5f5b53", line="#e2ded6", first="#0068a8", second="#c84e00")
DARK = Look(ground="#1a1c20", ink="#ecebe7", soft="#a9a69e", line="#2f3238", first="#4da3e0", second="#f08a4b")

_DPI = 160


# ------------------------------------------------------------------------------------------------ a training


def draw_learning_curve(path: Path, history: Sequence[Mapping[str, float]], *, title: str, overwrite: bool) -> None:
    """Loss and accuracy of every epoch, on what was trained on and on what was kept back, as .png or .svg; the suffix chooses.

    Rows of `history` have epoch, loss, accuracy, val_loss, val_accuracy (in [0, 1]) and phase: 0 the head alone, 1 fine-tuning; what is
    missing leaves a gap. Raises CommandError for another suffix, OutputError as `outputs.whole` does.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise CommandError(f"{path}: a chart is .svg or .png")
    figure = _figure(9.6, 3.9, LIGHT)
    figure.suptitle(printable(title), x=0.012, ha="left", color=LIGHT.ink, fontsize=12)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _draw_course(axes, history, name)
    lines, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, labelcolor=LIGHT.soft, fontsize=9, ncols=2, loc="upper right", borderaxespad=0.2)
    with whole(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(_bytes(figure, suffix[1:]))


def _draw_course(axes: Axes, history: Sequence[Mapping[str, float]], name: str) -> None:
    """One number over the epochs; a line stands where fine-tuning begins, a ring around the best of what was kept back."""
    epochs = np.array([row["epoch"] for row in history], float)
    training, validation = (np.array([row.get(key, np.nan) for row in history], float) for key in (name, f"val_{name}"))
    _bare(axes, LIGHT)
    size = 3.5 if len(epochs) < 40 else 0
    axes.plot(epochs, training, "o", ls=(0, (4, 2)), color=LIGHT.first, lw=1.4, ms=size, alpha=0.6, label="training")
    axes.plot(epochs, validation, "o-", color=LIGHT.second, lw=2.2, ms=size, label="validation")
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation) if name == "loss" else np.nanargmax(validation))
        axes.plot(epochs[best], validation[best], "o", markersize=10, markerfacecolor="none", color=LIGHT.second, markeredgewidth=1.6)
        shown = f"{validation[best]:.3f}" if name == "loss" else f"{100 * validation[best]:.1f} %"
        axes.set_title(f"{name.capitalize()}: best {shown} at epoch {epochs[best]:g}", loc="left", color=LIGHT.ink, fontsize=10)
    _mark_phases(axes, epochs, [row.get("phase", 0) for row in history], at_top=name == "loss")
    if name == "accuracy":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
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
            axes.axvline(middle, color=LIGHT.soft, linewidth=1, linestyle=":")
            axes.text(
                middle + 0.012 * (epochs.max() - epochs.min() + 1),
                0.98 if at_top else 0.02,
                "fine-tuning",
                transform=axes.get_xaxis_transform(),
                va="top" if at_top else "bottom",
                fontsize=8.5,
                color=LIGHT.soft,
            )


# ------------------------------------------------------------------------------------------------ what all have in common


def _figure(width_inches: float, height_inches: float, look: Look) -> Figure:
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI, layout="constrained", facecolor=look.ground)
    FigureCanvasAgg(figure)
    return figure


def _bare(axes: Axes, look: Look) -> None:
    """No frame, pale lines across, soft numbers."""
    axes.set_facecolor(look.ground)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(look.line)
    axes.grid(axis="y", color=look.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=look.soft, labelsize=9, length=0, pad=5)
    axes.xaxis.label.set_color(look.soft)
    axes.yaxis.label.set_color(look.soft)


def _bytes(figure: Figure, form: str) -> bytes:
    """The figure in that format, all its text in Inter; the same figure gives the same bytes."""
    figure.draw_without_rendering()  # the numbers on the axes are made by it
    with as_file(files("pipeline").joinpath("data", "Inter-Medium.otf")) as font:
        for text in figure.findobj(Text):
            properties = text.get_fontproperties().copy()
            properties.set_file(str(font))
            text.set_fontproperties(properties)
        content = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(content, format=form, facecolor=figure.get_facecolor(), metadata=metadata)
    return content.getvalue()
