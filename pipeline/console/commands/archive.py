"""What `batch` and `search` do once their options are read."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batch import Request, Rules, parse_shard, parse_size, survey
from pipeline.console import outcome_printing, progress_displays, result_lines
from pipeline.console.command_options import ArchiveFileOptions, ArchiveRunOptions, SearchOptions, WorkerOptions
from pipeline.console.terminal import Terminal, typed_command
from pipeline.errors import HeatreelError, InputError, OutputError, Stopped
from pipeline.options import ModelChoice, Options
from pipeline.records import printable

if TYPE_CHECKING:
    from pipeline.batch import Executor, Hit, Setup, Summary

# ------------------------------------------------------------------------------------------------ batch


def make_request(
    sources: Sequence[str],
    output: Path,
    choice: ModelChoice,
    options: Options,
    files: ArchiveFileOptions,
    run: ArchiveRunOptions,
    *,
    shard: str | None,
    device: str,
) -> Request:
    """What a batch is asked for. Raises CommandError for a value that is none."""
    chosen = Rules(
        include=files.include,
        exclude=files.exclude,
        max_size_bytes=None if files.max_size is None else parse_size(files.max_size),
        shard=None if shard is None else parse_shard(shard),
    )
    return Request(
        sources=sources,
        output=output,
        choice=choice,
        options=replace(options, report=files.report),
        rules=chosen,
        device=device,
        predictions=files.predictions,  # type: ignore[arg-type]  # Request checks it
        maps=files.save_maps,
        limit=run.limit,
        retry_failed=run.retry_failed,
        dedupe=files.dedupe,
        command=typed_command(),
    )


def list_archive(request: Request, terminal: Terminal) -> None:
    """How each file of the archive stands, and how many stand so; nothing is made or changed."""
    counts: Counter[str] = Counter()
    for standing, relative, size_bytes, reason in survey(request):
        if terminal.unread:  # nothing is made here, so there is nothing to go on for
            return
        counts[standing] += 1
        path = os.fsdecode(relative)
        record = {"input": path, "state": standing, "size_bytes": size_bytes, "reason": reason or None}
        terminal.put_record(record, [result_lines.survey_line(standing, path, size_bytes, reason)])
    terminal.say(", ".join(f"{count} {standing}" for standing, count in counts.items()) or "nothing to look at")


def run_archive(request: Request, workers: WorkerOptions, terminal: Terminal, *, opens: bool) -> None:
    """Make what is to be made, and say what came of it. Raises as `_finish`."""
    from pipeline import batch

    def open_executor(setup: Setup, log: Path) -> Executor:
        if workers.engine == "ray":
            from pipeline import batch

            return batch.open_executor(setup, workers.workers, address=workers.address)
        from pipeline.batch import LocalExecutor, choose_worker_count

        return LocalExecutor(setup, workers.workers or choose_worker_count(), log=log)

    with progress_displays.open_batch(terminal) as display:
        summary = batch.run(request, open_executor=open_executor, watcher=display, stopping=lambda: terminal.stopped_by is not None)
    pages = [request.output / summary.page.name] if request.options.report and summary.page else []  # as the user calls it
    places = (("outputs", request.output if summary.done or summary.done_before else None), ("raw maps", request.maps))
    files = [*((kind, path) for kind, path in places if path is not None and path.exists()), *(("page", page) for page in pages)]
    finish_archive(terminal, summary, files=files, opens=(pages or [request.output]) if opens else ())


def finish_archive(terminal: Terminal, summary: Summary, *, files: Sequence[tuple[str, Path]] = (), opens: Sequence[Path] = ()) -> None:
    """What a batch has come to and where that is, the failures last; `files` has what each is, and its path; `opens` is to be shown.

    Raises InputError where there was nothing, OutputError where the batch has given up, Stopped where a signal ended it, typer.Exit where
    an input has failed.
    """
    if not summary.found and not summary.stopped:
        raise InputError("no video and no picture was found", remedy="what is hidden, and what lies in --output, is not looked at")
    outcome_printing.say_all(terminal, [*result_lines.batch_lines(summary), *result_lines.file_lines(files)])
    outcome_printing.open_files(terminal, () if summary.stopped else opens)
    outcome_printing.say_all(terminal, [printable(f"passed over: {passed.path}: {passed.reason}") for passed in summary.passed_over])
    failures = [result_lines.failure_line(path, error) for path, error in summary.failures]
    if summary.given_up:
        outcome_printing.tell_errors(failures)
        raise OutputError(summary.given_up)
    if summary.stopped:
        outcome_printing.tell_errors(failures)
        raise Stopped(128 + (terminal.stopped_by or signal.SIGINT), remedy="the same command goes on from there")
    outcome_printing.fail(failures)


# ------------------------------------------------------------------------------------------------ search


def search_archive(output: Path, query: str, asked: SearchOptions, terminal: Terminal, *, clip: Path | None, overwrite: bool) -> None:
    """Print the hits, the best first, and cut them out where `clip` names a folder. Raises typer.Exit where one cannot be cut."""
    from pipeline.batch import search

    hits = search(output, query, min_score=asked.min_score, min_seconds=asked.min_seconds, limit=asked.limit)
    if not hits:
        terminal.say("nothing was found")
    for hit in hits:
        terminal.put_record(hit.as_json(), [result_lines.hit_line(hit)])
    if clip is not None:
        _cut_clips(hits, clip, terminal, overwrite=overwrite)


def _cut_clips(hits: Sequence[Hit], folder: Path, terminal: Terminal, *, overwrite: bool) -> None:
    from pipeline.batch import cut_clip

    failures = []
    for hit in hits:
        try:
            cut = cut_clip(hit, folder, overwrite=overwrite)
        except HeatreelError as error:
            failures.append(str(error))
            continue
        if cut is not None:
            terminal.say(printable(f"{'cut out' if cut.made else 'there already'}: {cut.path}"))
    outcome_printing.fail(failures)
