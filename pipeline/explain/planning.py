"""From paths to jobs: everything that can be refused is refused here, before a model is loaded or a file is made."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pipeline.datasets import class_folders
from pipeline.errors import CommandError, HeatreelError, InputError, KindError, OutputError
from pipeline.explain import segment_journal
from pipeline.files import atomic, file_types
from pipeline.files.file_types import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.media import encoders, images, probing
from pipeline.models import metadata, zoo
from pipeline.options import Options, Recipe
from pipeline.records import VideoSource, natural_key

DEFAULT_FPS = Fraction(25)
TRAINING_STATE = "state.npz"  # what an interrupted training goes on from, in the hidden folder of its output
LOOKED_AT = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One input that can be worked on.

    `source` is set for a video, `pictures` for a folder of frames or an animated WebP, neither for a picture. `warnings` are of a
    picture; those of the others stand in their own records.
    """

    input: Path
    output: Path
    maps: Path | None = None
    source: VideoSource | None = None
    pictures: images.PictureSequence | None = None
    warnings: Sequence[str] = ()

    @property
    def is_still(self) -> bool:
        return self.source is None and self.pictures is None

    def frames_estimate(self, options: Options) -> int | None:
        """About how many frames the network is to see; None where that is not known, or a range is asked for."""
        if options.start_seconds or options.end_seconds:
            return None
        frames = (
            1
            if self.is_still
            else len(self.pictures.times_seconds)
            if self.pictures
            else self.source.frames_estimate
            if self.source
            else None
        )
        return None if frames is None else -(-frames // options.every)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One input that cannot be worked on, and why."""

    input: Path
    error: HeatreelError


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """One input that is passed over, as --skip-existing asks: its output exists."""

    input: Path
    output: Path


Plan = list[Job | Refusal | Skipped]


def plan_images(paths: Sequence[Path], *, output: Path | None, options: Options) -> Plan:
    """A job for each picture; a folder stands for the pictures in it. Raises CommandError where the call itself is wrong."""
    pictures: list[Path] = []
    for path in paths:
        pictures.extend(_inputs_in(path) if _is_folder(path) else [path])
    suffixes = [images.output_suffix(path) for path in pictures]
    named = atomic.name_outputs(pictures, output=output, suffixes=suffixes)
    inputs = atomic.identified(pictures)
    made = [name for name in named if not _is_skipped(name, inputs, options)]
    if options.report and made:
        page = atomic.pictures_page_of(made[0], count=len(made))
        _check_output(page, inputs, options)
    for name in named:
        images.check_writable_format(name)
    return _plan(pictures, named, options, functools.partial(_image, options))


def plan_predictions(paths: Sequence[Path], *, max_megapixels: float | None = None) -> list[Job | Refusal]:
    """A job without an output for each picture and video; folders with all that is below them, patterns such as *.jpg."""
    plan: list[Job | Refusal] = []
    for path in _expanded(paths):
        try:
            plan.append(_prediction(path, max_megapixels))
        except HeatreelError as error:
            plan.append(Refusal(input=path, error=error))
    return plan


def _check_named(path: Path) -> None:
    """Raises InputError for an address, and for "-"."""
    why = file_types.why_no_file(str(path))
    if why:
        raise InputError(f"{str(path).replace(':/', '://', 1)}: {why}")  # a Path keeps one slash of two


def _prediction(path: Path, max_megapixels: float | None) -> Job:
    _check_named(path)
    suffix = path.suffix.lower()
    named_still = suffix in PICTURE_SUFFIXES and suffix != ".gif"
    if named_still or not os.path.isfile(path) or images.kind_of(path) in ("still", "animated webp"):  # noqa: PTH113  # see _is_folder
        try:
            return Job(input=path, output=path, warnings=images.check_still(path, max_megapixels=max_megapixels))
        except KindError as no_picture:  # a video by a picture's name is welcome
            with suppress(InputError):
                return Job(input=path, output=path, source=probing.probe(path, max_megapixels=max_megapixels))
            raise no_picture from None
    source = probing.probe(path, max_megapixels=max_megapixels, is_not="neither a picture nor a video")
    return Job(input=path, output=path, source=source)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises for a name that is too long to exist


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if _is_folder(path):
            below = [p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in LOOKED_AT and not p.name.startswith(".")]
            yield from sorted(below, key=lambda p: natural_key(str(p))) or [path]
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            yield from sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda p: natural_key(str(p))) or [path]  # noqa: PTH207  # a whole pattern, not one below a folder
        else:
            yield path


def _inputs_in(folder: Path) -> list[Path]:
    try:
        pictures = images.pictures_in(folder)
    except InputError:  # said of the folder itself, with all that is wrong
        return [folder]
    stems = {path.stem for path in pictures}
    # What an earlier run left beside its input is no input.
    found = [path for path in pictures if path.stem.removesuffix("_output") == path.stem or path.stem.removesuffix("_output") not in stems]
    return found or [folder]


def plan_videos(paths: Sequence[Path], *, output: Path | None, options: Options) -> Plan:
    """A job for each video file or folder of frames. Raises CommandError where the call itself is wrong."""
    named = atomic.name_outputs(paths, output=output, suffixes=[encoders.default_suffix(options.codec)] * len(paths))
    for name in named:
        encoders.check_container(name, options.codec)
    if options.contact_sheet is not None:
        images.check_writable_format(options.contact_sheet)
    encoders.choose_encoder(options.codec, width_px=640, height_px=360, crf=options.crf, preset=options.preset)

    return _plan(paths, named, options, functools.partial(_video, options))


def _video(options: Options, path: Path, output: Path, maps: Path | None) -> Job:
    _check_named(path)
    pictures = _sequence(path, options)
    return Job(input=path, output=output, maps=maps, source=None if pictures else _probed(path, options), pictures=pictures)


def _image(options: Options, path: Path, output: Path, maps: Path | None) -> Job:
    _check_named(path)
    said = images.check_still(path, max_megapixels=options.max_megapixels)
    return Job(input=path, output=output, maps=maps, warnings=said)


ANALYSIS_FILES = ("scores.csv", "confusion.png", "calibration.png", "coverage.png", "analysis.json", "report.html")


@dataclass(frozen=True, kw_only=True)
class AnalysisPlan:
    """Labelled pictures to judge a model by, and where what is found goes: ANALYSIS_FILES in the folder `output`.

    `threshold` is one that is asked for besides the best; `examples` is how many pictures of each kind a page shows of a class.
    """

    data: class_folders.Dataset
    output: Path
    threshold: float | None = None
    examples: int = 6


def plan_analysis(data: Path, *, output: Path | None, threshold: float | None, examples: int, options: Options) -> AnalysisPlan:
    """Look at every picture's header. Raises CommandError where the call is wrong, InputError and OutputError as usual."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise CommandError(f"--threshold {threshold:g}: not between 0 and 1")
    if examples < 0:
        raise CommandError(f"--examples {examples}: less than 0")
    named = Path(os.path.abspath(data))  # noqa: PTH100  # Path.resolve would name what a link leads to
    folder = output or (data if data.name == named.name else named).with_name(f"{named.name}_analysis")
    if folder.resolve().is_relative_to(data.resolve()):
        raise CommandError(f"--output {folder}: lies in {data}, where every folder is a class", remedy="name a folder elsewhere")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file", remedy="name a folder with --output")
    for name in ANALYSIS_FILES:
        atomic.check_output(folder / name, sources=frozenset(), overwrite=options.overwrite)
    _check_named(data)
    found = class_folders.open_dataset(data, max_megapixels=options.max_megapixels)
    return AnalysisPlan(data=found, output=folder, threshold=threshold, examples=examples)


def plan_order(path: Path, *, kind: Literal["video", "image"], output: Path, maps: Path | None, options: Options) -> Job:
    """The job for one input of a batch. Raises InputError when it cannot be read, OutputError when the output cannot be written."""
    job = (_image if kind == "image" else _video)(options, path, output, maps)
    for file in (output, maps) if maps else (output,):
        atomic.check_output(file, sources=atomic.identified([path]), overwrite=options.overwrite)
    return job


def _probed(path: Path, options: Options) -> VideoSource:
    return probing.probe(path, stream=options.stream, fps=options.fps, max_megapixels=options.max_megapixels)


def _sequence(path: Path, options: Options) -> images.PictureSequence | None:
    """The pictures that stand in for a video file, None for what ffmpeg is to read. Raises InputError for a single picture."""
    if _is_folder(path):
        fps = options.fps or DEFAULT_FPS
        return images.open_folder(path, fps=fps, allow_gaps=options.allow_gaps, max_megapixels=options.max_megapixels)
    kind = images.kind_of(path)
    if kind == "still":
        raise KindError(f"{path}: is a picture", remedy="use `visualize image`")
    return images.open_animation(path, max_megapixels=options.max_megapixels) if kind == "animated webp" else None


def _is_skipped(output: Path, inputs: frozenset[atomic.FileId], options: Options) -> bool:
    """Whether an output is there already, and that is no reason to complain; a folder, or an input itself, is no output of ours."""
    there = options.skip_existing and os.path.lexists(output) and not _is_folder(output)
    return there and not atomic.identified([output]) & inputs


def _check_output(file: Path, inputs: frozenset[atomic.FileId], options: Options, *, named: bool = False) -> None:
    """Raises OutputError. A page or table that --skip-existing would replace would lose what is passed over, so none is replaced.

    `named` says that an option names the file, so that there may be another.
    """
    away = f"move it away{', or name another file' if named else ''}"
    remedy = away if options.skip_existing else atomic.REPLACE
    atomic.check_output(file, sources=inputs, overwrite=options.overwrite, remedy=remedy)


def _plan(paths: Sequence[Path], named: Sequence[Path], options: Options, make: Callable[[Path, Path, Path | None], Job]) -> Plan:
    several, inputs = len(paths) > 1, atomic.identified(paths)
    skipped = [_is_skipped(name, inputs, options) for name in named]
    plan: Plan = []
    for file in (options.predictions, options.timeline, options.contact_sheet):
        if file is not None and not all(skipped):
            _check_output(file, inputs, options, named=True)
    if several and (options.timeline or options.contact_sheet):
        raise CommandError("--timeline and --contact-sheet are for one video at a time")
    for path, name, passed_over in zip(paths, named, skipped, strict=True):
        if passed_over:
            plan.append(Skipped(input=path, output=name))
            continue
        maps = options.save_maps
        if maps is not None and (several or maps.is_dir()):
            maps = maps / f"{name.stem.removesuffix('_output')}.npz"
        try:
            job = make(path, name, maps)
            page = atomic.page_of(name) if options.report and not job.is_still else None
            for output in (file for file in (name, maps, page) if file):
                _check_output(output, inputs, options, named=output == maps)
        except OSError as error:  # such as a name that is too long
            plan.append(Refusal(input=path, error=InputError(f"{path}: cannot be read: {error.strerror or error}")))
        except HeatreelError as error:
            if error.exit_code != 1:
                raise
            plan.append(Refusal(input=path, error=error))
        else:
            plan.append(job)
    return plan


# ------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training that nothing stands against: the pictures with their parts, and where the model and its learning curve go."""

    data: class_folders.Dataset
    recipe: Recipe
    output: Path
    curve: Path
    resume: bool = False


def plan_training(root: Path, *, output: Path | None, recipe: Recipe, resume: bool = False, overwrite: bool = False) -> TrainingPlan:
    """Look at the data and at where the model is to go, before anything heavy. `output` None is ROOT.keras beside the data.

    Raises InputError for data that cannot be trained on, OutputError for an output that must not be replaced, CommandError for a name that
    is no .keras file.
    """
    if zoo.is_file(recipe.base):
        raise CommandError(f"--base {recipe.base}: is a file", remedy="name a model of the zoo; `visualize models` lists them")
    if zoo.entry(recipe.base).builder is None and recipe.weights:
        raise CommandError(f"--weights {recipe.weights}: the embedded model has its own weights")
    output = output or root.absolute().with_name(f"{root.absolute().name}.keras")
    if output.suffix != ".keras":
        raise CommandError(f"--output {output}: a model is written as .keras", remedy="name a file that ends so")
    curve = output.with_name(f"{output.stem}_learning_curve.png")
    goes_on = resume and (segment_journal.folder_of(output) / TRAINING_STATE).is_file()
    card = metadata.read_metadata(output) if output.is_file() else None
    unfinished = card is not None and not card.finished
    if unfinished and not (goes_on or overwrite):
        raise OutputError(f"{output}: a training of it was interrupted", remedy="add --resume to go on, or --overwrite to begin anew")
    for path in (output, curve):
        atomic.check_output(path, sources=frozenset(), overwrite=overwrite or (goes_on and unfinished))
    _check_named(root)
    found = class_folders.open_dataset(root, max_megapixels=recipe.max_megapixels)
    class_folders.check_trainable(found)
    return TrainingPlan(
        data=class_folders.split(found, val=recipe.val, seed=recipe.seed), recipe=recipe, output=output, curve=curve, resume=resume
    )
