"""Charts: that they say what they were given, in the project's font, at any number of classes, and leave Matplotlib as it was."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CommandError, OutputError
from pipeline.reports import charts

HISTORY = [
    {"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.4 / n, "val_loss": 1.2 / n, "val_accuracy": 1 - 0.5 / n, "phase": int(n > 4)}
    for n in range(1, 8)
]


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def near(picture: Any, colour: str) -> Any:
    return (np.abs(picture - [int(colour[at : at + 2], 16) for at in (1, 3, 5)]) <= 3).all(axis=2)


def test_a_learning_curve_is_drawn_in_both_formats(tmp_path: Path) -> None:
    for suffix in ("png", "svg"):
        for name in ("a", "b"):
            charts.draw_learning_curve(tmp_path / f"{name}.{suffix}", HISTORY, title="cat & dog, $x$ <b>", overwrite=False)
        if suffix == "png":
            assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = pixels((tmp_path / "a.png").read_bytes())
    assert near(picture, charts.LIGHT_COLOURS.second).sum() > 1000  # validation
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()[:400]
    with pytest.raises(CommandError, match=r"\.svg or \.png"):
        charts.draw_learning_curve(tmp_path / "a.pdf", HISTORY, title="", overwrite=False)
    with pytest.raises(OutputError, match="appeared"):
        charts.draw_learning_curve(tmp_path / "a.png", HISTORY, title="", overwrite=False)


@pytest.mark.parametrize("rows", [[], HISTORY[:1], [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": float("nan"), "val_loss": 0.4}]])
def test_a_training_that_has_hardly_begun_has_a_curve(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    charts.draw_learning_curve(tmp_path / "a.png", rows, title="", overwrite=False)
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize("look", [charts.LIGHT_COLOURS, charts.DARK_COLOURS])
def test_the_confusion_is_deep_where_pictures_are(look: charts.ChartColours) -> None:
    counts = np.array([[10, 0, 0], [0, 6, 4], [0, 0, 10]])
    picture = pixels(charts.draw_confusion(counts, ["a", "b", "c"], ["a", "b", "c"], colours=look))
    full = near(picture, look.first)
    # Two full cells on the diagonal, upper left and lower right.
    y, x = np.nonzero(full)
    assert np.corrcoef(x, y)[0, 1] > 0.8 and near(picture, look.ground).any()


@pytest.mark.parametrize("count", [1, 2, pytest.param(40, marks=pytest.mark.slow), 250])
def test_a_confusion_of_any_size_fits(count: int) -> None:
    counts = np.eye(count, dtype=int) * 3
    names = [f"class number {n} with $ and _ and a long name" for n in range(count)]
    with Image.open(io.BytesIO(charts.draw_confusion(counts, names, names))) as picture:
        assert 300 < picture.width < 8000 and 300 < picture.height < 8000


def test_calibration_and_coverage_are_drawn_of_little_and_much() -> None:
    for count in (1, 10):
        middles = np.linspace(0.5, 0.95, count).tolist()
        assert charts.draw_calibration(middles, middles, [(0.2, 1.0)] * count, [3] * count)[:4] == b"\x89PNG"
        answered = np.linspace(1, 1 / count, count)
        drawn = pixels(charts.draw_coverage(answered, np.ones(count), [("best, 0", 1.0, 1.0)], colours=charts.DARK_COLOURS))
        assert near(drawn, charts.DARK_COLOURS.second).sum() > 50


@pytest.mark.process
def test_nothing_of_matplotlib_is_changed() -> None:
    code = (
        "import numpy as np\n"
        "import matplotlib.figure; before = dict(matplotlib.rcParams)\n"
        "from pipeline.reports import charts\n"
        "charts.draw_confusion(np.eye(2, dtype=int), ['a', 'b'], ['a', 'b'])\n"
        "from matplotlib import pyplot\n"
        "assert not pyplot.get_fignums() and dict(matplotlib.rcParams) == before"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
