"""What an analysis has found, and its JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.arrays import Array
from pipeline.evaluation import metrics
from pipeline.evaluation.analysis_plan import AnalysisPlan
from pipeline.evaluation.label_errors import Suspect
from pipeline.evaluation.leaked_copies import Copy
from pipeline.evaluation.scoring import ScoredPictures
from pipeline.records import ClassName


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that was found. `judged` int (pictures,): the pictures that the figures are of, by number into what was scored.

    `has_record` says that the model's file lists what it learned from. `examples` are by class, and count into `judged`. `without_copies`
    has accuracy and count of the judged pictures that are no copies of what the model learned from, None where all or none are.
    """

    model: str
    has_record: bool
    classes: Sequence[ClassName]
    plan: AnalysisPlan
    scored: ScoredPictures
    judged: Array
    figures: metrics.Evaluation
    examples: Mapping[int, metrics.Examples]
    suspects: Sequence[Suspect]
    copies: Sequence[Copy]
    without_copies: tuple[float, int] | None
    unreadable: Sequence[tuple[str, str]]
    left_out: int
    warnings: Sequence[str]

    @property
    def page(self) -> Path:
        """Where the page lies."""
        return self.plan.output / "report.html"

    def label(self, index: int) -> str:
        """The label of a class."""
        return self.classes[index].label

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the contract, and what else was found."""
        found = self.figures
        return {
            "data": str(self.plan.data.root),
            "model": self.model,
            "accuracy": found.accuracy,
            "accuracy_interval": list(found.interval),
            "top5": found.top5,
            "count": found.count,
            "per_class": [
                {"label": self.label(each.index), "precision": each.precision, "recall": each.recall, "count": each.count}
                for each in found.per_class
            ],
            "confusion": found.confusion.tolist(),
            "labels": [self.label(index) for index in found.labels],
            "calibration_error": found.calibration_error,
            "threshold": _thresholds_as_json(found),
            "examples": self._examples_as_json(),
            "suspects": [self._suspect_as_json(each) for each in self.suspects],
            "duplicates": [self._copy_as_json(each) for each in self.copies],
            "accuracy_without_duplicates": None if self.without_copies is None else self.without_copies[0],
            "trained_on": self.left_out,
            "unreadable": [{"input": name, "error": reason} for name, reason in self.unreadable],
            "warnings": list(self.warnings),
            "report": str(self.page),
        }

    def _examples_as_json(self) -> dict[str, Any]:
        names = [self.scored.examples[number].name for number in self.judged]
        return {
            self.label(index): {
                kind: [names[number] for number in numbers]
                for kind, numbers in (("right", each.right), ("least_confident", each.least), ("wrong", each.wrong))
            }
            for index, each in self.examples.items()
        }

    def _suspect_as_json(self, suspect: Suspect) -> dict[str, Any]:
        return {
            "input": self.scored.examples[suspect.number].name,
            "label": self.label(self.scored.truth[suspect.number]),
            "looks_like": self.label(suspect.looks_like),
            "score": suspect.score,
            "neighbours": suspect.neighbours,
            "of": suspect.of,
        }

    def _copy_as_json(self, copy: Copy) -> dict[str, Any]:
        return {
            "inputs": [self.scored.examples[each].name if isinstance(each, int) else each for each in (copy.first, copy.second)],
            "kind": copy.kind,
            "across": copy.across,
            "labels": [None if index is None else self.label(index) for index in copy.classes],
        }


def _thresholds_as_json(found: metrics.Evaluation) -> dict[str, Any]:
    return {
        "best": _as_json(found.best),
        "asked": _as_json(found.asked),
        "for_accuracy": {f"{accuracy:g}": _as_json(at) for accuracy, at in found.wanted.items()},
    }


def _as_json(figures: metrics.ThresholdFigures | None) -> dict[str, Any] | None:
    return None if figures is None else asdict(figures)
