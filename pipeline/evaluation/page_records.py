"""The page of an analysis: what the figures are of, classes, thresholds, suspects and copies, as records for the template."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np

from pipeline.arrays import Array
from pipeline.evaluation import metrics
from pipeline.evaluation.analysis_result import Analysis
from pipeline.evaluation.example_pictures import MAX_SHOWN, SmallPicture
from pipeline.evaluation.label_errors import Suspect
from pipeline.evaluation.leaked_copies import Copy
from pipeline.explain import Session
from pipeline.reports import AnalysisClass, AnalysisPage, AnalysisPair, AnalysisPicture, ChartPair, Threshold

MAX_ROWS = 30  # classes of the table of what was taken for what; the chart and the data beside it have all
MAX_OTHER_CLASSES = 10  # classes that no picture is of, in the chart of what was taken for what


def tabulate_confusion(analysis: Analysis) -> tuple[Array, list[str], list[str]]:
    """The confusion with a row for each class of the data, and columns for these, the commonest others, and all the rest in one."""
    found = analysis.figures
    places = {index: place for place, index in enumerate(found.labels)}
    own = [places[each.index] for each in found.per_class]
    counts = found.confusion[own]
    others_at = [place for place in range(len(found.labels)) if place not in own]
    others_at.sort(key=lambda place: -int(counts[:, place].sum()))
    kept, rest = others_at[:MAX_OTHER_CLASSES], others_at[MAX_OTHER_CLASSES:]
    table = np.concatenate([counts[:, own], counts[:, kept], *([counts[:, rest].sum(axis=1, keepdims=True)] if rest else [])], axis=1)
    rows = [analysis.label(each.index) for each in found.per_class]
    others = [analysis.label(found.labels[place]) for place in kept] + ([f"{len(rest)} others"] if rest else [])
    return table, rows, [*rows, *others]


def build_page(
    analysis: Analysis, session: Session, pictures: Mapping[int, SmallPicture], drawn: Mapping[str, tuple[bytes, ...]], command: str
) -> AnalysisPage:
    """The record of the page; `drawn` has each chart for a light page and for a dark one, as PNG."""
    found = analysis.figures
    show = functools.partial(_describe_picture, analysis, pictures)
    counts, rows, columns = tabulate_confusion(analysis)
    return AnalysisPage(
        title=f"{analysis.model} on {analysis.plan.data.root.absolute().name}",
        accuracy=found.accuracy,
        interval=found.interval,
        top5=found.top5 if len(analysis.classes) > 5 else None,
        count=found.count,
        calibration_error=found.calibration_error,
        notes=_write_notes(analysis),
        classes=[_describe_class(analysis, each, show) for each in found.per_class],
        confusion=counts.tolist() if len(rows) <= MAX_ROWS else (),
        columns=columns,
        charts={name: ChartPair(light=light, dark=dark) for name, (light, dark) in drawn.items()},
        thresholds=_list_thresholds(found),
        suspects=[show(each.number, note=_explain_suspect(analysis, each)) for each in analysis.suspects[:MAX_SHOWN]],
        suspects_count=len(analysis.suspects),
        pairs=[_describe_pair(analysis, copy, show) for copy in analysis.copies[:MAX_SHOWN]],
        pairs_count=len(analysis.copies),
        unreadable=analysis.unreadable,
        warnings=analysis.warnings,
        facts=_list_facts(analysis, session, command),
    )


def _describe_picture(
    analysis: Analysis, pictures: Mapping[int, SmallPicture], number: int, *, note: str = "", heat: bool = True
) -> AnalysisPicture:
    scored = analysis.scored
    original, hot = pictures.get(number, (None, None))
    answer = int(scored.answers[number])
    return AnalysisPicture(
        name=scored.examples[number].name,
        label=analysis.label(scored.truth[number]),
        answer=analysis.label(answer),
        score=float(scored.scores[number, answer]),
        right=bool(answer == scored.truth[number]),
        original=original,
        heat=hot if heat else None,
        note=note,
    )


def _describe_class(analysis: Analysis, figures: metrics.ClassFigures, show: Callable[..., AnalysisPicture]) -> AnalysisClass:
    kinds = analysis.examples.get(figures.index, metrics.Examples(right=(), least=(), wrong=()))
    right, least, wrong = ([show(int(analysis.judged[number])) for number in kind] for kind in (kinds.right, kinds.least, kinds.wrong))
    return AnalysisClass(
        label=analysis.label(figures.index),
        count=figures.count,
        precision=figures.precision,
        recall=figures.recall,
        right=right,
        least=least,
        wrong=wrong,
    )


def _explain_suspect(analysis: Analysis, suspect: Suspect) -> str:
    looks_like = f"looks like {analysis.label(suspect.looks_like)}, {100 * suspect.score:.1f} %"
    return f"{looks_like}; of the {suspect.of} pictures nearest to it {suspect.neighbours} are that"


def _describe_pair(analysis: Analysis, copy: Copy, picture: Callable[..., AnalysisPicture]) -> AnalysisPair:
    notes: list[str] = [copy.kind]
    if copy.across:
        notes.append("one was trained on, the other not")
    if copy.has_two_labels:
        notes.append("under two labels")
    first = picture(copy.first, heat=False)
    if isinstance(copy.second, int):
        return AnalysisPair(first=first, second=picture(copy.second, heat=False), note=", ".join(notes))
    label = "" if copy.classes[1] is None else analysis.label(copy.classes[1])
    elsewhere = AnalysisPicture(name=copy.second, label=label, note="learned from, not in this folder")
    return AnalysisPair(first=first, second=elsewhere, note=", ".join(notes))


def _list_thresholds(found: metrics.Evaluation) -> list[Threshold]:
    """Nothing withheld, the best, the one that was asked for, and what certain accuracies cost."""
    all_right = round(found.accuracy * found.count)
    rows: list[tuple[str, metrics.ThresholdFigures | None]] = [
        ("none", metrics.ThresholdFigures(
            threshold=0.0, coverage=1.0, accuracy=found.accuracy, right=all_right, wrong=found.count - all_right)),
        ("below the best threshold: most right less wrong", found.best),
        *([("below --threshold", found.asked)] if found.asked is not None else []),
        *((f"so that {100 * accuracy:.0f} % are right", at) for accuracy, at in found.wanted.items()),
    ]  # fmt: skip
    return [
        Threshold(name=name, threshold=None, coverage=0.0, accuracy=None, wrong=0)
        if at is None
        else Threshold(name=name, threshold=at.threshold, coverage=at.coverage, accuracy=at.accuracy, wrong=at.wrong)
        for name, at in rows
    ]


def _write_notes(analysis: Analysis) -> list[str]:
    """What the figures are of."""
    count, scored = analysis.figures.count, analysis.scored
    notes = []
    if analysis.left_out:
        notes.append(
            f"The figures are of {count} pictures that the model was not trained on; {analysis.left_out} that it was are left out of them."
        )
    elif not any(scored.parts):
        known = "None of them is among those that the model's file says it learned from." if analysis.has_record else ""
        notes.append(f"The figures are of all {count} pictures. {known or 'Nothing says whether the model was trained on any of them.'}")
    if analysis.without_copies is not None:
        accuracy, left = analysis.without_copies
        notes.append(
            f"Without those that are copies of what it was trained on, {left} are left, and the accuracy is {100 * accuracy:.1f} %."
        )
    return notes


def _list_facts(analysis: Analysis, session: Session, command: str) -> dict[str, str]:
    options, scored = session.options, analysis.scored
    size = "" if options.short_side_px is None else f", short side {options.short_side_px} pixels"
    parts = {"train": "trained on", "val": "for validation", "": "not known to the model"}
    found = [f"{scored.parts.count(part)} {text}" for part, text in parts.items() if part in scored.parts and any(scored.parts)]
    versions = ", ".join(f"{name} {version(package)}" for name, package in (
        ("heatreel", "heatreel"), ("TensorFlow", "tensorflow"), ("scikit-learn", "scikit-learn")))  # fmt: skip
    return {
        "Model": analysis.model,
        "Pictures": f"{len(scored.truth)} in {analysis.plan.data.root}" + (f": {', '.join(found)}" if found else ""),
        "Map": options.method,
        "Fit": f"{options.fit}{size}",
        "Versions": versions,
        "Command": command,
    }
