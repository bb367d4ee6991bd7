"""Results as lines of text. Every function is pure; names of files come out without control characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.models import FOUND_BY
from pipeline.records import Outcome, clock, percent, printable

if TYPE_CHECKING:
    from pipeline.batch import Hit, Overview, Status, Summary
    from pipeline.training import TrainingResult

MOST_NAMED = 5  # files of a kind, one a line

# ------------------------------------------------------------------------------------------------ parts of lines


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned columns, numbers to the right."""
    texts = [list(rows[0]), *[["-" if value is None else str(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [isinstance(value, int | float) for value in rows[-1].values()]
    lines = [[cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)] for line in texts]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def duration(seconds: float) -> str:
    """For people: hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def scores(targets: Sequence[tuple[str, float]], best: Sequence[tuple[str, float]]) -> str:
    """Labels with their scores: the classes that were asked for, then the best ones."""
    groups = (", ".join(f"{label} {percent(score)}" for label, score in group) for group in (targets, best))
    return "; ".join(group for group in groups if group)


def _are_copies(count: int) -> str:
    return "is an exact copy of another" if count == 1 else "are exact copies of others"


def failure_line(path: object, error: str) -> str:
    """An error, which names its file only where it does not do so itself."""
    return printable(error if str(path) in error else f"{path}: {error}")


# ------------------------------------------------------------------------------------------------ pictures and videos


def outcome_line(outcome: Outcome) -> str:
    """Where the output of one input is, and what was seen in it."""
    seen = scores(*([(each.name.label, each.score) for each in some] for some in (outcome.targets, outcome.top)))
    took = "" if outcome.duration_seconds is None else f" ({outcome.frames} frames in {outcome.elapsed_seconds:.1f} s)"
    return printable(f"{outcome.input} -> {outcome.output}{took}{': ' if seen else ''}{seen}")


def encoder_lines(outcome: Outcome) -> list[str]:
    """Which encoders were tried and passed over, and why."""
    used = outcome.extra.get("encoder")
    return [f"{printable(str(outcome.input))}: {used} is used, for {name}" for name in outcome.extra.get("encoders_passed_over", ())]


def predictions_table(outcomes: Sequence[Outcome]) -> list[str]:
    """A table with a row for each input and a column for each model; nothing where all have failed."""
    rows: dict[Path, dict[str, Any]] = {}
    for outcome in outcomes:
        if outcome.error is None or outcome.partial:
            top = ", ".join(f"{p.name.label} {100 * p.score:.1f}%" for p in outcome.top)
            rows.setdefault(outcome.input, {"input": printable(str(outcome.input))})[outcome.model] = top
    return [table(list(rows.values()))] if rows else []


def file_lines(files: Sequence[tuple[str, Path]]) -> list[str]:
    """What was made besides the outputs, each with what it is; many of a kind by their folder."""
    lines = []
    for kind in dict.fromkeys(kind for kind, _ in files):
        paths = [path for each, path in files if each == kind]
        folders = {path.parent for path in paths}
        if len(paths) <= MOST_NAMED:
            lines += [f"{kind}: {path}" for path in paths]
        else:
            lines.append(f"{kind}: {len(paths)} files in {folders.pop() if len(folders) == 1 else f'{len(folders)} folders'}")
    return [printable(line) for line in lines]


def count_lines(outcomes: Sequence[Outcome], noun: str) -> list[str]:
    """How many inputs are done, have failed and were skipped; `noun` is what they are, in the plural."""
    inputs = len({outcome.input for outcome in outcomes})
    failed = len({outcome.input for outcome in outcomes if outcome.error is not None})
    skipped = sum(outcome.skipped for outcome in outcomes)
    done, lines = inputs - failed - skipped, []
    if inputs > 1 and (done or failed):
        lines.append(f"{done} {noun if done != 1 else noun.removesuffix('s')} done{f', {failed} failed' if failed else ''}")
    if skipped:
        lines.append(f"{skipped} skipped: {'its output exists' if skipped == 1 else 'their outputs exist'}")
    return lines


# ------------------------------------------------------------------------------------------------ models


def class_lines(listing: Mapping[str, Any]) -> list[str]:
    """Of `class_names.listing`: a line of what the word found, and how, and a table of the classes."""
    rows = [{**each, "label": printable(each["label"]), "synonyms": ", ".join(each["synonyms"])} for each in listing["classes"]]
    columns = [column for column in rows[0] if column in ("index", "label") or any(row[column] for row in rows)]
    found = [_found_line(listing)] if listing["groups"] else []
    return [*found, table([{column: row[column] for column in columns} for row in rows])]


def _found_line(listing: Mapping[str, Any]) -> str:
    [first, *others], stage, count = listing["groups"], listing["stage"], len(listing["classes"])
    many = f"{count} classes" if count > 1 else "one class"
    wnid = f" ({first['wnid']})" if first["wnid"] else ""
    what = f"{many} of several kinds" if others and stage != "part" else many if others else f"{first['label']}{wnid}: {many}"
    unlike = "; --target takes whole words" if stage == "part" else ""
    return printable(f"{what}, found by {FOUND_BY[stage]}{unlike}")


def summary_lines(shown: Mapping[str, Any]) -> list[str]:
    """Of `summary.describe`: a table of the layers, and all else line by line."""
    return [table(shown["layers"]), "\n".join(f"{key}: {value}" for key, value in shown.items() if key != "layers")]


def finding_lines(findings: Mapping[str, Any]) -> list[str]:
    """What `doctor` has found, a line for each."""
    texts = {k: ", ".join(f"{name}: {each}" for name, each in v.items()) if isinstance(v, dict) else v for k, v in findings.items()}
    return [f"{key:<14} {text}" for key, text in texts.items()]


def epoch_line(row: Mapping[str, float], *, of: int, better: bool) -> str:
    """How one epoch of a training went, of so many at most."""
    return (
        f"epoch {row['epoch']:>3.0f} of {of}: loss {row['loss']:.3f}, {100 * row['accuracy']:.1f} % right; "
        f"validation: loss {row['val_loss']:.3f}, {100 * row['val_accuracy']:.1f} % right{' (best so far)' if better else ''}"
    )


def training_lines(trained: TrainingResult) -> list[str]:
    """What a training has come to."""
    low, high = (100 * bound for bound in trained.interval)
    right = f"{100 * trained.best['val_accuracy']:.1f} % of {trained.val} pictures that it was not trained on"
    epochs = f"{len(trained.history)} epochs in {duration(trained.elapsed_seconds)}, the best was {trained.best['epoch']:.0f}"
    return [
        printable(f"{trained.plan.data.root} -> {trained.plan.output}: right on {right} (95 % interval: {low:.1f} to {high:.1f} %)"),
        printable(f"{epochs}; {trained.plan.curve}"),
    ]


def analysis_lines(found: Mapping[str, Any]) -> list[str]:
    """What one wants to know first: accuracy, classes, the best threshold, what to look at, and where the page is."""
    low, high = (100 * end for end in found["accuracy_interval"])
    top5 = f"; {100 * found['top5']:.1f} % among the best five" if len(found["labels"]) > 5 else ""
    across = sum(pair["across"] for pair in found["duplicates"])
    return [
        f"accuracy {100 * found['accuracy']:.1f} % of {found['count']} pictures (95 % interval {low:.1f} to {high:.1f} %){top5}",
        table([_class_row(each) for each in found["per_class"]]),
        *_threshold_lines(found["threshold"]),
        f"suspected labels: {len(found['suspects'])}; pairs of copies: {len(found['duplicates'])} "
        f"({across} across training and validation); unreadable pictures: {len(found['unreadable'])}",
        printable(found["report"]),
    ]


def _class_row(each: Mapping[str, Any]) -> dict[str, Any]:
    rates = {key: None if each[key] is None else f"{100 * each[key]:.1f} %" for key in ("precision", "recall")}
    return {**each, "label": printable(each["label"]), **rates}


def _threshold_lines(threshold: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, at in (("best threshold", threshold["best"]), ("--threshold", threshold["asked"])):
        if at is not None:
            right = "none" if at["accuracy"] is None else f"{100 * at['accuracy']:.1f} %"
            lines.append(f"{name} {at['threshold']:g}: {100 * at['coverage']:.1f} % get an answer, {right} of these are right")
    return lines


# ------------------------------------------------------------------------------------------------ archives


def survey_line(standing: str, path: str, size_bytes: int | None, reason: str) -> str:
    """How a file of an archive stands, its size and its name."""
    size = "" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
    return printable(f"{standing:<12} {size:>12}  {path}{': ' if reason else ''}{reason}")


def receipt_line(outcome: Mapping[str, Any], name: str) -> str:
    """What became of one input of an archive; `outcome` as JSON has it."""
    if outcome["error"] is not None:
        return printable(f"failed: {outcome['error']}")
    seconds = outcome["elapsed_seconds"]
    rate = f"{outcome['frames']} frames, {outcome['frames'] / max(seconds, 1e-3):.3g} a second"
    took = f"{seconds:.1f} s" if outcome["duration_seconds"] is None else rate
    asked = [(each["label"], each["score"]) for each in outcome.get("targets", ())]  # a receipt of an earlier version has none
    seen = scores(asked, [(each["label"], each["score"]) for each in outcome["top"][:1]])
    return printable(f"{name or outcome['input']}: {seen}{' ' if seen else ''}({took})")


def overview_files(overview: Overview) -> str:
    """How many files of an archive are done."""
    more = "+" if overview.listing else ""
    failed = f", {overview.failed} failed" if overview.failed else ""
    return f"{overview.done} of {overview.done + overview.failed + overview.left}{more} done{failed}"


def overview_frames(overview: Overview) -> str:
    """How many frames of an archive are done, and how long the rest may take."""
    if overview.paused:
        return f"paused: {overview.paused}"
    about = "" if overview.frames_left is None else f" of about {overview.frames_done + overview.frames_left}"
    left = "" if overview.seconds_left is None else f", about {duration(overview.seconds_left)} left"
    return f"{overview.frames_done}{about} frames{left}"


def batch_lines(summary: Summary) -> list[str]:
    """What a batch has come to."""
    before = f", {summary.done_before} were done before" if summary.done_before else ""
    lost = f", {summary.missing} are not there any more" if summary.missing else ""
    left = f", {summary.left} are left" if summary.left else ""
    nothing = not (summary.ended or summary.left)
    text = "nothing to do" if nothing else f"{summary.done} done in {duration(summary.seconds)}"
    failed = f", {len(summary.failures)} failed" if summary.failures else ""
    lines = [f"{text}{before}{failed}{lost}{left}; the log is {summary.log}"]
    if summary.copies:
        files = "1 file" if summary.copies == 1 else f"{summary.copies} files"
        once = " and not made again" if summary.deduped else "; --dedupe makes each once"
        lines.append(f"{files} {_are_copies(summary.copies)}{once}")
    return lines


def hit_line(hit: Hit) -> str:
    """Where something was seen in an archive, and the command that opens it there."""
    when = "" if hit.is_picture else f"{clock(hit.start_seconds)} to {clock(hit.end_seconds)}  "
    again = f" (and {len(hit.copies)} exact cop{'y' if len(hit.copies) == 1 else 'ies'})" if hit.copies else ""
    return printable(f"{100 * hit.score:5.1f}%  {hit.label}  {when}{hit.input}{again}  {hit.command}")


def status_lines(output: Path, status: Status) -> list[str]:
    """How a batch stands: counts, runs, what is at work, and failures."""
    missing = f", {status.missing} not there any more" if status.missing else ""
    copies = f"; {status.copies} of them {_are_copies(status.copies)}" if status.copies else ""
    lines = [
        f"{output}: {status.total} inputs, {status.done} done, {status.failed} failed, {status.running} running, "
        f"{status.pending} pending{missing}{copies}",
        *(f"at work since {run.begun_at}: process {run.process.pid} on {run.process.host}" for run in status.runs),
        *(() if status.runs else ("no run is at work",)),
    ]
    for at_work in status.at_work:
        total = f" of about {at_work.frames_total}" if at_work.frames_total else ""
        lines.append(printable(f"running: {at_work.input}: {at_work.frames_done}{total} frames"))
    lines += [f"failed: {failure_line(path, error)}" for path, error in status.failures]
    return lines if status.page is None else [*lines, printable(f"page: {status.page}")]
