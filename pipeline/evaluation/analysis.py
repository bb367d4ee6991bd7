"""Where a model errs: labelled pictures through the network once, the figures of what it said, and the pictures that explain them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from pipeline.arrays import Array
from pipeline.datasets import DuplicatePairs, find_pairs
from pipeline.evaluation import label_errors, metrics
from pipeline.evaluation.analysis_outputs import write_analysis
from pipeline.evaluation.analysis_plan import AnalysisPlan
from pipeline.evaluation.analysis_result import Analysis
from pipeline.evaluation.class_matching import match_classes
from pipeline.evaluation.example_pictures import choose_pictures, render_pictures
from pipeline.evaluation.leaked_copies import Copy, find_copies, find_leaked
from pipeline.evaluation.scoring import Learned, ScoredPictures, score_pictures
from pipeline.explain import Session
from pipeline.models import read_metadata, zoo
from pipeline.options import ModelChoice

ProgressBar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]  # a progress bar: title and count to a tick


def analyze(plan: AnalysisPlan, session: Session, *, choice: ModelChoice, command: str, counter: ProgressBar) -> Analysis:
    """Judge a model by labelled pictures and write what is found into the plan's folder.

    Raises CommandError for folders that are no class of the model, InputError when no picture can be read, OutputError.
    """
    classes = match_classes(plan.data, session.classifier.classes, model=session.classifier.name)
    learned = _read_learned(choice)
    with counter("scores", len(plan.data.examples)) as tick:
        scored = score_pictures(plan.data, classes, session, learned, tick)
    analysis = judge(plan, session, scored, learned, present=[index for index in classes if index is not None])
    shown = choose_pictures(analysis)
    with counter("heatmaps", len(shown)) as tick:
        pictures = render_pictures(analysis, shown, session, tick)
    write_analysis(analysis, session, pictures, command=command)
    return analysis


def _read_learned(choice: ModelChoice) -> Learned:
    """What the model's own file says that it learned from."""
    card = read_metadata(Path(choice.model)) if zoo.is_model_file(choice.model) else None
    return () if card is None else card.learned


def judge(plan: AnalysisPlan, session: Session, scored: ScoredPictures, learned: Learned, *, present: Sequence[int]) -> Analysis:
    """The figures and all findings; `present` are the classes of the data."""
    classes = session.classifier.classes
    judged, warnings = _choose_judged(scored)
    pairs = find_pairs(scored.signatures)
    copies = find_copies(scored, pairs, learned, class_count=len(classes))
    scores, truth = scored.scores[judged], scored.truth[judged]
    return Analysis(
        model=session.classifier.name,
        has_record=bool(learned),
        classes=classes,
        plan=plan,
        scored=scored,
        judged=judged,
        figures=metrics.evaluate(scores, truth, present=present, threshold=plan.threshold),
        examples=metrics.choose_examples(scores, truth, count=plan.examples),
        suspects=_find_suspects(scored, pairs),
        copies=copies,
        without_copies=_measure_without_copies(scored, judged, copies),
        unreadable=[*plan.data.unreadable, *scored.unreadable],
        left_out=len(scored.truth) - len(judged),
        warnings=[*session.classifier.warnings, *plan.data.warnings, *warnings, *_warn_of_damage(scored)],
    )


def _choose_judged(scored: ScoredPictures) -> tuple[Array, list[str]]:
    """The pictures that the figures are of, int (judged,), and a warning where the model was trained on all."""
    judged = np.flatnonzero(~scored.trained)
    if len(judged):
        return judged, []
    warning = "the model was trained on every one of these pictures: the figures say how well it remembers, not how good it is"
    return np.arange(len(scored.truth)), [warning]


def _warn_of_damage(scored: ScoredPictures) -> list[str]:
    damaged = scored.unreadable  # their headers were whole
    if not damaged:
        return []
    return [f"{len(damaged)} damaged and left out: {'; '.join(reason for _, reason in damaged[:3])}{' ...' * (len(damaged) > 3)}"]


def _measure_without_copies(scored: ScoredPictures, judged: Array, copies: Sequence[Copy]) -> tuple[float, int] | None:
    """Accuracy and count of the judged pictures without those that training has a copy of; None where there are no such, or only such."""
    leaked = find_leaked(copies)
    clean = [number for number in judged.tolist() if number not in leaked]
    if not clean or len(clean) == len(judged):
        return None
    return float((scored.answers == scored.truth)[clean].mean()), len(clean)


def _find_suspects(scored: ScoredPictures, pairs: DuplicatePairs) -> list[label_errors.Suspect]:
    """Among all pictures; those that the model was trained on it may have learned by heart, label and all."""
    scores, trained = scored.scores.copy(), np.flatnonzero(scored.trained)
    if len(trained):
        count = scores.shape[1]
        scores[trained] = label_errors.cross_validated_scores(scored.features[trained], scored.truth[trained], classes=count)
    return label_errors.find_suspects(scores, scored.truth, scored.features, copies=pairs, groups=scored.trained.astype(int))
