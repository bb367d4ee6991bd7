"""The files that an analysis writes: the table of scores, the charts, the JSON object, and last the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.evaluation.analysis_result import Analysis
from pipeline.evaluation.example_pictures import SmallPicture
from pipeline.evaluation.page_records import build_page, tabulate_confusion
from pipeline.explain import Session
from pipeline.files import atomic_write
from pipeline.reports import DARK_COLOURS, LIGHT_COLOURS, ChartColours, draw_calibration, draw_confusion, draw_coverage, write_analysis_page
from pipeline.results import write_table

MAX_COLUMNS = 100  # classes whose scores are in the table of all pictures


def write_analysis(analysis: Analysis, session: Session, pictures: Mapping[int, SmallPicture], *, command: str) -> None:
    """Write all files of an analysis, the page last: where it is, all is. Raises OutputError."""
    folder, overwrite = analysis.plan.output, session.options.overwrite
    write_scores(folder / "scores.csv", analysis, overwrite=overwrite)
    drawn = {name: tuple(draw(colours) for colours in (LIGHT_COLOURS, DARK_COLOURS)) for name, draw in _make_charts(analysis).items()}
    for name, (light, _) in drawn.items():
        with atomic_write(folder / f"{name}.png", overwrite=overwrite) as temporary:
            temporary.write_bytes(light)
    with atomic_write(folder / "analysis.json", overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(analysis.as_json(), indent=1) + "\n", encoding="utf-8")
    write_analysis_page(analysis.page, build_page(analysis, session, pictures, drawn, command), overwrite=overwrite)


def write_scores(path: Path, analysis: Analysis, *, overwrite: bool) -> None:
    """A row for every picture that could be read, also of those that the figures are not of. Raises OutputError."""
    columns = ["input", "label", "part", "predicted", "score", "score_true", "correct", "suspect"]
    of_classes = [f"score {name.label}" for name in analysis.classes] if len(analysis.classes) <= MAX_COLUMNS else []
    suspects = {suspect.number for suspect in analysis.suspects}
    rows = (_make_row(analysis, number, of_classes, suspect=number in suspects) for number in range(len(analysis.scored.examples)))
    write_table(path, [*columns, *of_classes], rows, overwrite=overwrite)


def _make_row(analysis: Analysis, number: int, of_classes: list[str], *, suspect: bool) -> dict[str, Any]:
    scored = analysis.scored
    scores, truth, answer = scored.scores[number], scored.truth[number], scored.answers[number]
    return {
        "input": scored.examples[number].name,
        "label": analysis.label(truth),
        "part": scored.parts[number],
        "predicted": analysis.label(answer),
        "score": round(float(scores[answer]), 6),
        "score_true": round(float(scores[truth]), 6),
        "correct": str(bool(answer == truth)).lower(),
        "suspect": str(suspect).lower(),
        **{column: round(float(score), 6) for column, score in zip(of_classes, scores, strict=False)},
    }


def _make_charts(analysis: Analysis) -> dict[str, Callable[[ChartColours], bytes]]:
    found = analysis.figures
    counts, rows, columns = tabulate_confusion(analysis)
    bins = found.calibration
    marks = [(f"best, {found.best.threshold:g}", found.best)]
    if found.asked is not None:
        marks.append((f"--threshold {found.asked.threshold:g}", found.asked))
    return {
        "confusion": lambda colours: draw_confusion(counts, rows, columns, colours=colours),
        "calibration": lambda colours: draw_calibration(
            [b.confidence for b in bins], [b.accuracy for b in bins], [b.interval for b in bins], [b.count for b in bins], colours=colours
        ),
        "coverage": lambda colours: draw_coverage(
            found.curve.coverage,
            found.curve.accuracy,
            [(name, at.coverage, at.accuracy) for name, at in marks if at.accuracy is not None],
            colours=colours,
        ),
    }
