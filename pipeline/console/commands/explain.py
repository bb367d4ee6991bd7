"""What `image`, `video`, `predict` and `demo` do once their options are read: load the network, do every job, say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cam import AT_ONCE
from pipeline.console import outcome_printing
from pipeline.console.command_options import TableOptions
from pipeline.console.signals import exit_code_of
from pipeline.console.terminal import Terminal, typed_command
from pipeline.errors import CommandError, HeatreelError, Stopped, ToolError
from pipeline.explain import Job, Refusal, Skipped, plan_predictions, plan_videos
from pipeline.files import check_output, identify_files, page_of
from pipeline.models import zoo
from pipeline.options import ModelChoice, Options
from pipeline.records import Outcome, Progress, printable
from pipeline.rendering import colormap

# What imports TensorFlow is imported when there is something to do.
if TYPE_CHECKING:
    from pipeline.explain import InputPrediction, Session
    from pipeline.results import Explanations

Done = tuple[Outcome, "Explanations | None"]

# ------------------------------------------------------------------------------------------------ pictures and videos


def run_jobs(
    plan: Sequence[Job | Refusal | Skipped],
    choice: ModelChoice,
    options: Options,
    terminal: Terminal,
    *,
    device: str = "auto",
    opens: bool = False,
) -> None:
    """Do every job of the plan, and say what came of it; the model is loaded when there is one to do.

    Raises CommandError for what no input could cure, typer.Exit where an input has failed.
    """
    zoo.check_choice(choice, options.targets)
    colormap(options.colormap)
    if opens and len(plan) > 1 and not options.report:
        raise CommandError(f"--open: {len(plan)} outputs, and no page", remedy="add --report")
    before = _outcomes_without_work(plan, choice, options)
    for outcome in before:
        outcome_printing.report(terminal, outcome)
    jobs = [job for job in plan if isinstance(job, Job)]
    if not jobs:
        outcome_printing.finish(terminal, before)
        return
    session = load_session(choice, options, terminal, device=device, at_once=at_once(jobs))
    ended = _do_all(jobs, session, terminal, name_inputs=len(plan) > 1)
    outcomes = [*before, *(outcome for outcome, _ in ended)]
    done = _done_jobs(jobs, outcomes)
    files = _files_beside(done, options)
    pictures = all(job.is_still for job in jobs)
    if options.report and pictures:
        failed: list[Done] = [(outcome, None) for outcome in before if not outcome.skipped]
        files = [*_write_page([*failed, *ended], options), *files]
    pages = [path for kind, path in files if kind == "page"]
    shows = (pages or [job.output for job in done]) if opens else ()
    outcome_printing.finish(terminal, outcomes, files=files, noun="pictures" if pictures else "videos", opens=shows)


def _outcomes_without_work(plan: Sequence[Job | Refusal | Skipped], choice: ModelChoice, options: Options) -> list[Outcome]:
    """Of what was refused, then of what is passed over."""
    model, method = zoo.name_model(choice), options.method
    refused = [each for each in plan if isinstance(each, Refusal)]
    passed_over = [each for each in plan if isinstance(each, Skipped)]
    return [
        *(Outcome(input=each.input, model=model, method=method, error=str(each.error)) for each in refused),
        *(Outcome(input=each.input, model=model, method=method, output=each.output, skipped=True) for each in passed_over),
    ]


def _do_all(jobs: Sequence[Job], session: Session, terminal: Terminal, *, name_inputs: bool) -> list[Done]:
    """Every job, each reported when it is done, with its predictions in the file for all; pictures keep their explanations for a page."""
    from pipeline.explain import write_video_extras

    pictures = all(job.is_still for job in jobs)
    # A single video gets its name after its predictions are written: should that fail, the next run need not begin anew.
    alone = len(jobs) == 1 and not jobs[0].is_still
    ended: list[Done] = []
    tracks: list[Explanations] = []

    def before_publish(outcome: Outcome, track: Explanations, _file: Path) -> None:
        if alone:
            _write_predictions([track], session, name_inputs=name_inputs)
        if session.options.keeps_thumbnails:
            write_video_extras(outcome, track, session, command=typed_command(), overwrite=session.options.overwrite)

    try:
        for outcome, track in _results(jobs, session, terminal, before_publish, pictures=pictures):
            ended.append((outcome, track if pictures else None))
            outcome_printing.report(terminal, outcome)
            tracks += [track] if track and not alone else []
    except KeyboardInterrupt as stop:
        job = jobs[min(len(ended), len(jobs) - 1)]
        remedy = _how_to_go_on(job, session.options, predictions_written=bool(tracks))
        raise Stopped(exit_code_of(stop), remedy=remedy) from None
    finally:
        _write_predictions(tracks, session, name_inputs=name_inputs)
    return ended


def _write_predictions(tracks: Sequence[Explanations], session: Session, *, name_inputs: bool) -> None:
    from pipeline.results import write_predictions

    options = session.options
    if options.predictions is not None and tracks:
        write_predictions(
            options.predictions,
            tracks,
            session.classifier.classes,
            targets=session.targets,
            overwrite=options.overwrite,
            name_inputs=name_inputs,
        )


def _write_page(ended: Sequence[Done], options: Options) -> list[tuple[str, Path]]:
    from pipeline.explain import write_pictures_page

    page = write_pictures_page(ended, options, command=typed_command(), overwrite=options.overwrite)
    return [("page", page)] if page else []


def _done_jobs(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Job]:
    made = {outcome.output for outcome in outcomes}
    return [job for job in jobs if job.output in made]


def _files_beside(done: Sequence[Job], options: Options) -> list[tuple[str, Path]]:
    """What there is besides the outputs of the jobs that are done, each with what it is."""
    videos = [job for job in done if not job.is_still]
    of_all = (
        ("predictions", options.predictions, done),
        ("timeline", options.timeline, videos),
        ("contact sheet", options.contact_sheet, videos),
    )
    return [
        *(("page", page_of(job.output)) for job in videos if options.report),
        *((kind, path) for kind, path, needed in of_all if path is not None and needed),
        *(("raw maps", job.maps) for job in done if job.maps is not None),
    ]


def _results(
    jobs: Sequence[Job],
    session: Session,
    terminal: Terminal,
    before_publish: Callable[[Outcome, Explanations, Path], None],
    *,
    pictures: bool,
) -> Iterator[Done]:
    """Every job in order with what became of it: pictures many at a time, videos one by one."""
    from pipeline.explain import visualize_images

    if pictures:
        with _bar_of_passes(jobs, session, terminal) or nullcontext():
            for job, result in visualize_images(jobs, session):
                terminal.check()
                yield _failure(job, result, session, terminal) if isinstance(result, HeatreelError) else result
        return
    for number, job in enumerate(jobs):
        with _bar_of_passes([job], session, terminal) or terminal.bar(job, number, len(jobs)) as tick:
            ended = _run_video(job, session, terminal, tick, before_publish)
        yield ended  # the bar is gone by then


def _bar_of_passes(jobs: Sequence[Job], session: Session, terminal: Terminal) -> AbstractContextManager[Callable[[Progress], None]] | None:
    """A bar over passes of the network for a method that makes many of them for a picture; None where none is needed."""
    from pipeline.explain import count_scorecam_passes

    passes = count_scorecam_passes(session)
    if passes is None:
        return None
    each, made = passes
    frames = [job.frames_estimate(session.options) for job in jobs]
    total = None if None in frames else each * sum(count or 0 for count in frames)
    title = jobs[0].input.name if len(jobs) == 1 else f"{len(jobs)} pictures"
    return terminal.passes(printable(f"{session.options.method}: {title}"), total, made)


def _run_video(
    job: Job,
    session: Session,
    terminal: Terminal,
    tick: Callable[[Progress], None],
    before_publish: Callable[[Outcome, Explanations, Path], None],
) -> Done:
    from pipeline.explain import visualize_video

    def progress(reached: Progress) -> None:
        terminal.check()
        tick(reached)

    try:
        return visualize_video(job, session, progress=progress, notice=terminal.say, before_publish=before_publish)
    except HeatreelError as error:
        terminal.check()
        return _failure(job, error, session, terminal)


def _failure(job: Job, error: HeatreelError, session: Session, terminal: Terminal) -> Done:
    """The outcome of an input that has failed. Raises the error where it is one of the whole command."""
    if error.exit_code != 1:
        raise error
    if isinstance(error, ToolError):
        terminal.say(error.details, only_verbose=True)
    return Outcome(input=job.input, model=session.classifier.name, method=session.options.method, error=str(error)), None


def _how_to_go_on(job: Job, options: Options, *, predictions_written: bool) -> str:
    from pipeline.explain import folder_of

    finished = job.output.exists() and not options.overwrite
    if finished or not folder_of(job.output).is_dir():
        return ""
    in_the_way = predictions_written and options.predictions is not None and not options.overwrite
    return f"the same command goes on from there{', with another --predictions' if in_the_way else ''}"


# ------------------------------------------------------------------------------------------------ the network


def load_session(choice: ModelChoice, options: Options, terminal: Terminal, *, device: str, at_once: int) -> Session:
    """The network, loaded on a device that is to have so many batches at once."""
    with terminal.passing(f"loading the model {zoo.name_model(choice)}"):
        with terminal.starting_up():
            from pipeline.explain import open_session as _  # noqa: F401  # what is heavy

        return open_session(choice, options, terminal, device=device, at_once=at_once)


def open_session(choice: ModelChoice, options: Options, terminal: Terminal, *, device: str, at_once: int) -> Session:
    """As load_session, where TensorFlow is imported already."""
    from pipeline import explain
    from pipeline.models import load_classifier, use_device

    terminal.say(f"running on {use_device(device, at_once=at_once)}", only_verbose=True)
    return explain.open_session(load_classifier(choice), options)


def at_once(jobs: Sequence[Job]) -> int:
    """How many batches the network gets at once: a single picture is one, and has all cores to itself."""
    return 1 if len(jobs) == 1 and jobs[0].is_still else AT_ONCE


# ------------------------------------------------------------------------------------------------ predictions


def run_predictions(
    paths: Sequence[Path], choices: Sequence[ModelChoice], options: Options, tables: TableOptions, terminal: Terminal, *, device: str
) -> None:
    """What each model says of each input: a table, or JSON, and the files that `tables` names.

    Raises CommandError for what no input could cure, OutputError for a file that cannot be written, typer.Exit where an input has failed.
    """
    for choice in choices:
        zoo.check_choice(choice, ())
    _check_tables(tables, paths, overwrite=options.overwrite)
    plan = plan_predictions(paths, max_megapixels=options.max_megapixels)
    jobs = [job for job in plan if isinstance(job, Job)]
    answers = _predict(jobs, choices, options, terminal, device=device) if jobs else []
    grid = tables.grid if jobs else None
    if grid is not None:
        from pipeline.explain import write_prediction_grid

        write_prediction_grid(grid, answers, overwrite=options.overwrite)
    refused = [Outcome(input=each.input, model="", method="none", error=str(each.error)) for each in plan if isinstance(each, Refusal)]
    outcomes = [*refused, *(answer.outcome for each in zip(*answers, strict=True) for answer in each)]
    if tables.csv is not None:
        from pipeline.results import write_ranking

        write_ranking(tables.csv, outcomes, overwrite=options.overwrite, name_models=len(choices) > 1)
    outcome_printing.put_predictions(terminal, outcomes)
    files = (("table", tables.csv), ("grid", grid))
    outcome_printing.finish(terminal, outcomes, files=[(kind, path) for kind, path in files if path is not None])


def _check_tables(tables: TableOptions, paths: Sequence[Path], *, overwrite: bool) -> None:
    from pipeline.media import images

    if tables.grid is not None:
        images.check_writable_format(tables.grid)
    for path in (tables.csv, tables.grid):
        if path is not None:
            check_output(path, sources=identify_files(paths), overwrite=overwrite)


def _predict(
    jobs: Sequence[Job], choices: Sequence[ModelChoice], options: Options, terminal: Terminal, *, device: str
) -> list[Sequence[InputPrediction]]:
    """Each model's answers, in the order of the jobs."""
    with terminal.passing(f"loading the model {zoo.name_model(choices[0])}"):
        with terminal.starting_up():
            from pipeline.explain import make_scorer, predict
            from pipeline.models import load_classifier, use_device

        terminal.say(f"running on {use_device(device, at_once=at_once(jobs))}", only_verbose=True)
    answers: list[Sequence[InputPrediction]] = []
    for choice in choices:
        with terminal.passing(f"loading the model {zoo.name_model(choice)}"):
            classifier = load_classifier(choice)
        with terminal.counter(f"{classifier.name}", len(jobs)) as tick:
            answers.append(predict(jobs, make_scorer(classifier, options), tick=tick))
    return answers


# ------------------------------------------------------------------------------------------------ the demo


def run_demo(folder: Path, options: Options, terminal: Terminal, *, opens: bool) -> None:
    """Make the clip and its photographs in a folder, and a video of it. Raises as run_jobs."""
    from pipeline.explain import PHOTOGRAPHS, SECONDS, make_clip, write_photographs

    source, photographs = folder / "heatreel_demo.mp4", folder / "heatreel_photos"
    write_photographs(photographs, overwrite=options.overwrite)
    make_clip(source, overwrite=options.overwrite)
    terminal.say(f"made {photographs}: {len(PHOTOGRAPHS)} photographs that come with scikit-image")
    terminal.say(f"made {source}: a camera gliding over them, {SECONDS:g} seconds")
    plan = plan_videos([source], output=folder / "heatreel_demo_output.mp4", options=options)
    run_jobs(plan, ModelChoice(), options, terminal, opens=opens)
