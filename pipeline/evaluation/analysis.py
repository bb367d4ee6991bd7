"""Where a model errs: labelled pictures through the network once, the figures of what it said, and the pictures that explain them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.arrays import Array
from pipeline.cam import batching, maps
from pipeline.datasets import near_duplicates, pixel_cache
from pipeline.datasets.class_folders import Dataset, Example
from pipeline.errors import CommandError, HeatreelError, InputError
from pipeline.evaluation import metrics
from pipeline.explain import sessions
from pipeline.explain.planning import AnalysisPlan
from pipeline.explain.run_pages import MOST_EMBEDDED
from pipeline.explain.sessions import Session
from pipeline.files.atomic import atomic_write
from pipeline.media import images
from pipeline.models import class_names, metadata, zoo
from pipeline.options import ModelChoice
from pipeline.records import ClassName, Thumbnail, printable
from pipeline.rendering.frame_renderer import THUMBNAIL_PX, as_thumbnail
from pipeline.reports import charts, html
from pipeline.results.explanations import write_table

Small = tuple[str | bytes, str | bytes | None]  # a picture and its heat, as JPEG or as a name of a file
Kind = Literal["the same file", "nearly the same", "mirrored"]
Counter = Callable[[str, int], AbstractContextManager[Callable[[], None]]]

MOST_SHOWN = 60  # suspects and pairs on the page; the data beside it has all
MOST_ROWS = 30  # classes of the table of what was taken for what; the chart and the data beside it have all
MOST_COLUMNS = 100  # classes whose scores are in the table of all pictures
_MOST_WRONG = 8  # folders that are no class, in the error
MOST_STRANGERS = 10  # classes that no picture is of, in the chart of what was taken for what


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the network says of every picture that could be read, in the data's order.

    `truth` int (pictures,), classes of the model; `scores` float32 (pictures, classes); `features` float32 (pictures, channels); `trained`
    bool (pictures,), whether the model was trained on it; `parts`: "train", "val", or "" where nothing says so.
    """

    examples: Sequence[Example]
    truth: Array
    scores: Array
    features: Array
    looks: Sequence[near_duplicates.Look]
    parts: Sequence[str]
    trained: Array

    @functools.cached_property
    def answers(self) -> Array:
        return np.asarray(self.scores.argmax(axis=1))


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Two pictures that show the same: numbers of pictures, or for one that only the model's file knows of, its name there.

    `across`: one of them was trained on, the other not. `classes` of the two; -1 where that is not known.
    """

    first: int
    second: int | str
    kind: Kind
    across: bool
    classes: tuple[int, int]

    @property
    def two_labels(self) -> bool:
        return self.classes[0] != self.classes[1] and min(self.classes) >= 0


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All that was found. `judged` int (pictures,): the pictures that the figures are of, by number into what was scored.

    `without_copies` is the accuracy on those of which nothing that was learned from is a copy, None where there are none such. `told`: the
    model's file says what it learned from.
    """

    model: str
    told: bool
    classes: Sequence[ClassName]
    plan: AnalysisPlan
    scored: Scored
    judged: Array
    figures: metrics.Evaluation
    examples: Mapping[int, metrics.Examples]
    suspects: Sequence[metrics.Suspect]
    copies: Sequence[Copy]
    without_copies: tuple[float, int] | None
    unreadable: Sequence[tuple[str, str]]
    left_out: int
    warnings: Sequence[str]

    @property
    def page(self) -> Path:
        return self.plan.output / "report.html"

    def label(self, index: int) -> str:
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
            "threshold": {
                "best": _as_json(found.best),
                "asked": _as_json(found.asked),
                "for_accuracy": {f"{accuracy:g}": _as_json(at) for accuracy, at in found.wanted.items()},
            },
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

    def _suspect_as_json(self, suspect: metrics.Suspect) -> dict[str, Any]:
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
            "labels": [None if index < 0 else self.label(index) for index in copy.classes],
        }


def _as_json(withheld: metrics.Withheld | None) -> dict[str, Any] | None:
    return None if withheld is None else asdict(withheld)


def analyze(plan: AnalysisPlan, session: Session, *, choice: ModelChoice, command: str, counter: Counter) -> Analysis:
    """Judge a model by labelled pictures and write what is found into the plan's folder.

    Raises CommandError for folders that are no class of the model, InputError when no picture can be read, OutputError.
    """
    classes = classes_of(plan.data, session.classifier.classes, model=session.classifier.name)
    unreadable = list(plan.data.unreadable)
    learned = _learned(choice)
    with counter("scores", len(plan.data.examples)) as tick:
        scored = _score(plan.data, classes, session, learned, unreadable, tick)
    analysis = _judge(plan, session, scored, learned, [c for c in classes if c is not None], unreadable)
    shown = _shown(analysis)
    with counter("heatmaps", len(shown)) as tick:
        pictures = _paint(analysis, shown, session, tick)
    _write(analysis, session, pictures, command=command)
    return analysis


# ------------------------------------------------------------------------------------------------ folders and classes


def classes_of(data: Dataset, classes: Sequence[ClassName], *, model: str) -> list[int | None]:
    """The class of the model that each label of the data means, by its label or wnid; None for a folder without a picture that means none.

    Raises CommandError for folders of pictures that are no class of the model, with the nearest, or several.
    """
    found: list[int | None] = []
    wrong = []
    for label, count in zip(data.labels, data.counts, strict=True):
        same = class_names.classes_called(label, classes)
        found.append(same[0].index if len(same) == 1 else None)
        if count and len(same) > 1:
            wrong.append(f"{printable(label)} (several classes: {', '.join(name.wnid or str(name.index) for name in same)})")
        elif count and not same:
            near = class_names.nearest_labels(label, classes)[:3] if len(wrong) < _MOST_WRONG else []
            wrong.append(f"{printable(label)} ({'near to it: ' + ', '.join(near) if near else 'nothing is near to it'})")
    if wrong:
        folders = "a folder is no class" if len(wrong) == 1 else f"{len(wrong)} folders are no classes"
        more = f" and {len(wrong) - _MOST_WRONG} more" if len(wrong) > _MOST_WRONG else ""
        raise CommandError(
            f"{data.root}: {folders} of {model}: {'; '.join(wrong[:_MOST_WRONG])}{more}",
            remedy="name folders as the model's classes or their wnids, or name its classes with --labels",
        )
    return found


def _learned(choice: ModelChoice) -> Sequence[metadata.Learned]:
    """What the model's own file says that it learned from."""
    card = metadata.read_metadata(Path(choice.model)) if zoo.is_file(choice.model) else None
    return () if card is None else card.learned


# ------------------------------------------------------------------------------------------------ the first pass


def _score(
    data: Dataset,
    classes: Sequence[int | None],
    session: Session,
    learned: Sequence[metadata.Learned],
    unreadable: list[tuple[str, str]],
    tick: Callable[[], None],
) -> Scored:
    """Every picture once through the network, as `predict` sends it; what cannot be read is added to `unreadable`."""
    describe = sessions.describing(session.classifier)

    def read(number: int) -> tuple[Array, near_duplicates.Look]:
        return pixel_cache.read_example(data.examples[number], session.geometry, max_megapixels=session.options.max_megapixels)

    def failed(number: int, error: HeatreelError) -> None:
        unreadable.append((data.examples[number].name, str(error)))
        tick()

    seen: dict[int, tuple[Array, Array, near_duplicates.Look]] = {}
    batches = batching.batches(range(len(data.examples)), read, batch_size=maps.batch_size(), failed=failed)
    for batch, described in batching.computed(lambda given: (given[1], describe(given[0])), batches):
        for (number, look), scores, features in zip(batch, *described, strict=True):
            seen[number] = scores, features, look
            tick()
    if not seen:
        raise InputError(f"{data.root}: none of its {len(data.examples)} pictures can be read: {unreadable[0][1]}")
    numbers = sorted(seen)
    examples = [data.examples[number] for number in numbers]
    looks = [seen[number][2] for number in numbers]
    parts = _parts(examples, looks, learned)
    by_folder = not learned and any(example.part == "val" for example in examples)
    taught = {each.sha256 for each in learned if each.part == "train"}
    return Scored(
        examples=examples,
        truth=np.array([classes[example.label] for example in examples], int),
        scores=np.stack([seen[number][0] for number in numbers]),
        features=np.stack([seen[number][1] for number in numbers]),
        looks=looks,
        parts=parts,
        trained=np.array([look.sha256 in taught or (by_folder and part == "train") for look, part in zip(looks, parts, strict=True)], bool),
    )


def _parts(examples: Sequence[Example], looks: Sequence[near_duplicates.Look], learned: Sequence[metadata.Learned]) -> list[str]:
    """As the model's file has it, by name and content or else by content; where it has nothing, as the folders do."""
    if not learned:
        return [example.part or "" for example in examples]
    named = {(each.name, each.sha256): each.part for each in learned}
    # What was trained on under any name counts as that.
    known = {each.sha256: each.part for each in sorted(learned, key=lambda each: each.part == "train")}
    return [named.get((e.name, look.sha256)) or known.get(look.sha256) or "" for e, look in zip(examples, looks, strict=True)]


# ------------------------------------------------------------------------------------------------ what it says


def _judge(
    plan: AnalysisPlan,
    session: Session,
    scored: Scored,
    learned: Sequence[metadata.Learned],
    classes: Sequence[int],
    unreadable: Sequence[tuple[str, str]],
) -> Analysis:
    judged, warnings = np.flatnonzero(~scored.trained), [*session.classifier.warnings, *plan.data.warnings]
    if not len(judged):
        judged = np.arange(len(scored.truth))
        warnings.append("the model was trained on every one of these pictures: the figures say how well it remembers, not how good it is")
    damaged = unreadable[len(plan.data.unreadable) :]  # the header was whole
    if damaged:
        warnings.append(
            f"{len(damaged)} damaged and left out: {'; '.join(reason for _, reason in damaged[:3])}{' ...' * (len(damaged) > 3)}"
        )
    pairs = near_duplicates.near(scored.looks)
    copies = _copies(scored, pairs, learned, session.classifier.classes)
    leaked = {number for copy in copies if copy.across for number in (copy.first, copy.second) if isinstance(number, int)}
    clean = [number for number in judged.tolist() if number not in leaked]
    right = scored.answers == scored.truth
    return Analysis(
        model=session.classifier.name,
        told=bool(learned),
        classes=session.classifier.classes,
        plan=plan,
        scored=scored,
        judged=judged,
        figures=metrics.evaluate(scored.scores[judged], scored.truth[judged], present=classes, threshold=plan.threshold),
        examples=metrics.examples(scored.scores[judged], scored.truth[judged], count=plan.examples),
        suspects=_suspects(scored, pairs),
        copies=copies,
        without_copies=(float(right[clean].mean()), len(clean)) if clean and len(clean) < len(judged) else None,
        unreadable=unreadable,
        left_out=len(scored.truth) - len(judged),
        warnings=warnings,
    )


def _suspects(scored: Scored, pairs: near_duplicates.Pairs) -> list[metrics.Suspect]:
    """Among all pictures; those that the model was trained on it may have learned by heart, label and all."""
    scores, trained = scored.scores.copy(), np.flatnonzero(scored.trained)
    if len(trained):
        classes = scores.shape[1]
        scores[trained] = metrics.scores_by_the_others(scored.features[trained], scored.truth[trained], classes=classes)
    return metrics.suspects(scores, scored.truth, scored.features, copies=pairs, groups=scored.trained.astype(int))


def _copies(scored: Scored, pairs: near_duplicates.Pairs, learned: Sequence[metadata.Learned], classes: Sequence[ClassName]) -> list[Copy]:
    """Pairs across training and validation first, then those under two labels, then the rest."""
    taught = np.array([part == "train" for part in scored.parts], bool)
    found = [
        Copy(
            first=first,
            second=second,
            kind=kind,
            across=bool(taught[first] != taught[second]),
            classes=(int(scored.truth[first]), int(scored.truth[second])),
        )
        for first, second, kind in _kinds(pairs)
    ]
    at_hand = {look.sha256 for look in scored.looks}
    elsewhere = [each for each in learned if each.part == "train" and each.sha256 not in at_hand]
    known = [near_duplicates.Look(each.sha256, bytes.fromhex(each.fingerprint)) for each in elsewhere]
    untaught = np.flatnonzero(~taught).tolist()
    for first, second, kind in _kinds(near_duplicates.near([scored.looks[number] for number in untaught], known)):
        number, other = untaught[first], elsewhere[second]
        labels = (int(scored.truth[number]), other.label if other.label < len(classes) else -1)
        found.append(Copy(first=number, second=other.name, kind=kind, across=True, classes=labels))
    return sorted(found, key=lambda copy: (not copy.across, not copy.two_labels))


def _kinds(pairs: near_duplicates.Pairs) -> Iterator[tuple[int, int, Kind]]:
    for (first, second), same, mirrored in zip(pairs, pairs.same, pairs.mirrored, strict=True):
        yield first, second, "the same file" if same else "mirrored" if mirrored else "nearly the same"


# ------------------------------------------------------------------------------------------------ the second pass


def _shown(analysis: Analysis) -> dict[int, bool]:
    """The pictures that the page shows, by number, each with whether its heat is shown too."""
    copies = analysis.copies[:MOST_SHOWN]
    shown = {number: False for copy in copies for number in (copy.first, copy.second) if isinstance(number, int)}
    shown |= {suspect.number: True for suspect in analysis.suspects[:MOST_SHOWN]}
    for each in analysis.examples.values():
        shown |= {int(analysis.judged[number]): True for number in (*each.right, *each.least, *each.wrong)}
    return dict(sorted(shown.items()))


def _paint(analysis: Analysis, shown: Mapping[int, bool], session: Session, tick: Callable[[], None]) -> dict[int, Small]:
    """Each picture small, and beside it its heat, as `visualize image` paints it but for the label, which the page has as text.

    As JPEG, or where they are many as names of files in the folder `pictures` of the output.
    """
    # The panel has twice the size of what is shown of it, whatever the picture's own.
    small = replace(session, options=replace(session.options, top_k=0, height_px=2 * THUMBNAIL_PX, layout="side-by-side"))
    folder = None if len(shown) <= MOST_EMBEDDED else analysis.plan.output / "pictures"
    overwrite = session.options.overwrite

    def painted(number: int) -> tuple[int, Thumbnail, Thumbnail | None] | None:
        path = analysis.scored.examples[number].path
        try:
            if shown[number]:
                return number, *sessions.pair_of(sessions.paint_image(path, small))
            image = images.read_still(path, max_megapixels=session.options.max_megapixels)
        except InputError:  # it was there a moment ago; the page has its name and its scores
            return None
        return number, as_thumbnail(images.thumbnail(image, 2 * THUMBNAIL_PX), 0.0), None

    found: dict[int, Small] = {}
    for each in batching.computed(painted, shown):
        if each is not None:
            number, original, heat = each
            found[number] = (
                _kept(original, folder, f"{number:06d}.jpg", overwrite=overwrite),
                None if heat is None else _kept(heat, folder, f"{number:06d}_heat.jpg", overwrite=overwrite),
            )
        tick()
    return found


def _kept(thumbnail: Thumbnail, folder: Path | None, name: str, *, overwrite: bool) -> str | bytes:
    if folder is None:
        return thumbnail.jpeg
    with atomic_write(folder / name, overwrite=overwrite) as temporary:
        temporary.write_bytes(thumbnail.jpeg)
    return f"{folder.name}/{name}"


# ------------------------------------------------------------------------------------------------ what is written


def _write(analysis: Analysis, session: Session, pictures: Mapping[int, Small], *, command: str) -> None:
    """The page last: where it is, all is."""
    folder, overwrite = analysis.plan.output, session.options.overwrite
    _write_scores(folder / "scores.csv", analysis, overwrite=overwrite)
    drawn = {name: tuple(draw(look) for look in (charts.LIGHT, charts.DARK)) for name, draw in _charts(analysis).items()}
    for name, (light, _) in drawn.items():
        with atomic_write(folder / f"{name}.png", overwrite=overwrite) as temporary:
            temporary.write_bytes(light)
    with atomic_write(folder / "analysis.json", overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(analysis.as_json(), indent=1) + "\n", encoding="utf-8")
    html.write_analysis_page(analysis.page, _page(analysis, session, pictures, drawn, command), overwrite=overwrite)


def _write_scores(path: Path, analysis: Analysis, *, overwrite: bool) -> None:
    """A row for every picture that could be read, also of those that the figures are not of."""
    scored, suspects = analysis.scored, {suspect.number for suspect in analysis.suspects}
    columns = ["input", "label", "part", "predicted", "score", "score_true", "correct", "suspect"]
    each = [f"score {name.label}" for name in analysis.classes] if len(analysis.classes) <= MOST_COLUMNS else []

    def rows() -> Iterator[dict[str, Any]]:
        for number, (example, truth, answer) in enumerate(zip(scored.examples, scored.truth, scored.answers, strict=True)):
            scores = scored.scores[number]
            yield {
                "input": example.name,
                "label": analysis.label(truth),
                "part": scored.parts[number],
                "predicted": analysis.label(answer),
                "score": round(float(scores[answer]), 6),
                "score_true": round(float(scores[truth]), 6),
                "correct": str(bool(answer == truth)).lower(),
                "suspect": str(number in suspects).lower(),
                **{column: round(float(score), 6) for column, score in zip(each, scores, strict=False)},
            }

    write_table(path, [*columns, *each], rows(), overwrite=overwrite)


def _charts(analysis: Analysis) -> dict[str, Callable[[charts.Style], bytes]]:
    found = analysis.figures
    counts, rows, columns = _taken_for(analysis)
    bins = found.calibration
    marks = [(f"best, {found.best.threshold:g}", found.best)]
    if found.asked is not None:
        marks.append((f"--threshold {found.asked.threshold:g}", found.asked))
    return {
        "confusion": lambda look: charts.confusion(counts, rows, columns, look=look),
        "calibration": lambda look: charts.calibration(
            [b.confidence for b in bins], [b.accuracy for b in bins], [b.interval for b in bins], [b.count for b in bins], look=look
        ),
        "coverage": lambda look: charts.coverage(
            found.course.coverage,
            found.course.accuracy,
            [(name, at.coverage, at.accuracy) for name, at in marks if at.accuracy is not None],
            look=look,
        ),
    }


def _taken_for(analysis: Analysis) -> tuple[Array, list[str], list[str]]:
    """The confusion with a row for each class of the data, and columns for these, the commonest others, and all the rest in one."""
    found = analysis.figures
    places = {index: place for place, index in enumerate(found.labels)}
    own = [places[each.index] for each in found.per_class]
    counts = found.confusion[own]
    strangers = [place for place in range(len(found.labels)) if place not in own]
    strangers.sort(key=lambda place: -int(counts[:, place].sum()))
    kept, rest = strangers[:MOST_STRANGERS], strangers[MOST_STRANGERS:]
    table = np.concatenate([counts[:, own], counts[:, kept], *([counts[:, rest].sum(axis=1, keepdims=True)] if rest else [])], axis=1)
    rows = [analysis.label(each.index) for each in found.per_class]
    others = [analysis.label(found.labels[place]) for place in kept] + ([f"{len(rest)} others"] if rest else [])
    return table, rows, [*rows, *others]


def _page(
    analysis: Analysis, session: Session, pictures: Mapping[int, Small], drawn: Mapping[str, tuple[bytes, ...]], command: str
) -> html.AnalysisPage:
    found = analysis.figures
    show = functools.partial(_picture, analysis, pictures)
    counts, rows, columns = _taken_for(analysis)
    return html.AnalysisPage(
        title=f"{analysis.model} on {analysis.plan.data.root.absolute().name}",
        accuracy=found.accuracy,
        interval=found.interval,
        top5=found.top5 if len(analysis.classes) > 5 else None,
        count=found.count,
        calibration_error=found.calibration_error,
        notes=_notes(analysis),
        classes=[_class(analysis, each, show) for each in found.per_class],
        confusion=counts.tolist() if len(rows) <= MOST_ROWS else (),
        columns=columns,
        charts={name: html.Chart(light=light, dark=dark) for name, (light, dark) in drawn.items()},
        thresholds=_thresholds(found),
        suspects=[show(each.number, note=_doubt(analysis, each)) for each in analysis.suspects[:MOST_SHOWN]],
        suspects_count=len(analysis.suspects),
        pairs=[_pair_of(analysis, copy, show) for copy in analysis.copies[:MOST_SHOWN]],
        pairs_count=len(analysis.copies),
        unreadable=analysis.unreadable,
        warnings=analysis.warnings,
        facts=_facts(analysis, session, command),
    )


def _picture(analysis: Analysis, pictures: Mapping[int, Small], number: int, *, note: str = "", heat: bool = True) -> html.AnalysisPicture:
    scored = analysis.scored
    original, hot = pictures.get(number, (None, None))
    answer = int(scored.answers[number])
    return html.AnalysisPicture(
        name=scored.examples[number].name,
        label=analysis.label(scored.truth[number]),
        answer=analysis.label(answer),
        score=float(scored.scores[number, answer]),
        right=bool(answer == scored.truth[number]),
        original=original,
        heat=hot if heat else None,
        note=note,
    )


def _class(analysis: Analysis, figures: metrics.ClassFigures, show: Callable[..., html.AnalysisPicture]) -> html.AnalysisClass:
    kinds = analysis.examples.get(figures.index, metrics.Examples(right=(), least=(), wrong=()))
    right, least, wrong = ([show(int(analysis.judged[number])) for number in kind] for kind in (kinds.right, kinds.least, kinds.wrong))
    return html.AnalysisClass(
        label=analysis.label(figures.index),
        count=figures.count,
        precision=figures.precision,
        recall=figures.recall,
        right=right,
        least=least,
        wrong=wrong,
    )


def _doubt(analysis: Analysis, suspect: metrics.Suspect) -> str:
    seen = f"looks like {analysis.label(suspect.looks_like)}, {100 * suspect.score:.1f} %"
    return f"{seen}; of the {suspect.of} pictures nearest to it {suspect.neighbours} are that"


def _pair_of(analysis: Analysis, copy: Copy, picture: Callable[..., html.AnalysisPicture]) -> html.AnalysisPair:
    said: list[str] = [copy.kind]
    if copy.across:
        said.append("one was trained on, the other not")
    if copy.two_labels:
        said.append("under two labels")
    first = picture(copy.first, heat=False)
    if isinstance(copy.second, int):
        return html.AnalysisPair(first=first, second=picture(copy.second, heat=False), note=", ".join(said))
    label = analysis.label(copy.classes[1]) if copy.classes[1] >= 0 else ""
    elsewhere = html.AnalysisPicture(name=copy.second, label=label, note="learned from, not in this folder")
    return html.AnalysisPair(first=first, second=elsewhere, note=", ".join(said))


def _thresholds(found: metrics.Evaluation) -> list[html.Threshold]:
    """Nothing withheld, the best, the one that was asked for, and what certain accuracies cost."""
    all_right = round(found.accuracy * found.count)
    rows: list[tuple[str, metrics.Withheld | None]] = [
        ("none", metrics.Withheld(
            threshold=0.0, coverage=1.0, accuracy=found.accuracy, right=all_right, wrong=found.count - all_right)),
        ("below the best threshold: most right less wrong", found.best),
        *([("below --threshold", found.asked)] if found.asked is not None else []),
        *((f"so that {100 * accuracy:.0f} % are right", at) for accuracy, at in found.wanted.items()),
    ]  # fmt: skip
    return [
        html.Threshold(name=name, threshold=None, coverage=0.0, accuracy=None, wrong=0)
        if at is None
        else html.Threshold(name=name, threshold=at.threshold, coverage=at.coverage, accuracy=at.accuracy, wrong=at.wrong)
        for name, at in rows
    ]


def _notes(analysis: Analysis) -> list[str]:
    """What the figures are of."""
    count, scored = analysis.figures.count, analysis.scored
    notes = []
    if analysis.left_out:
        notes.append(
            f"The figures are of {count} pictures that the model was not trained on; {analysis.left_out} that it was are left out of them."
        )
    elif not any(scored.parts):
        known = "None of them is among those that the model's file says it learned from." if analysis.told else ""
        notes.append(f"The figures are of all {count} pictures. {known or 'Nothing says whether the model was trained on any of them.'}")
    if analysis.without_copies is not None:
        accuracy, left = analysis.without_copies
        notes.append(
            f"Without those that are copies of what it was trained on, {left} are left, and the accuracy is {100 * accuracy:.1f} %."
        )
    return notes


def _facts(analysis: Analysis, session: Session, command: str) -> dict[str, str]:
    options, scored = session.options, analysis.scored
    size = "" if options.short_side_px is None else f", short side {options.short_side_px} pixels"
    parts = {"train": "trained on", "val": "for validation", "": "not known to the model"}
    found = [f"{scored.parts.count(part)} {said}" for part, said in parts.items() if part in scored.parts and any(scored.parts)]
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
