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

from pipeline.errors import CommandError, HeatreelError, InputError, KindError
from pipeline.files import (
    PICTURE_SUFFIXES,
    REPLACE,
    VIDEO_SUFFIXES,
    FileId,
    check_output,
    identify_files,
    name_outputs,
    page_of,
    pictures_page_of,
    refuse_address,
)
from pipeline.media import check_container, choose_encoder, default_suffix, images, probe
from pipeline.options import Options
from pipeline.records import VideoSource, natural_key

DEFAULT_FPS = Fraction(25)
_PREDICTED_SUFFIXES = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)


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
    pictures: images.ImageSequence | None = None
    warnings: Sequence[str] = ()

    @property
    def is_still(self) -> bool:
        """Whether it is a single picture."""
        return self.source is None and self.pictures is None

    def frames_estimate(self, options: Options) -> int | None:
        """About how many frames the network is to see; None where that is not known, or a range is asked for."""
        if options.start_seconds or options.end_seconds:
            return None
        frames: int | None = 1
        if self.pictures is not None:
            frames = len(self.pictures.times_seconds)
        elif self.source is not None:
            frames = self.source.frames_estimate
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
        pictures.extend(_find_inputs(path) if _is_folder(path) else [path])
    suffixes = [images.output_suffix(path) for path in pictures]
    named = name_outputs(pictures, output=output, suffixes=suffixes)
    inputs = identify_files(pictures)
    made = [name for name in named if not _is_skipped(name, inputs, options)]
    if options.report and made:
        page = pictures_page_of(made[0], count=len(made))
        _check_output(page, inputs, options)
    for name in named:
        images.check_writable_format(name)
    return _plan_all(pictures, named, options, functools.partial(_plan_image, options))


def plan_predictions(paths: Sequence[Path], *, max_megapixels: float | None = None) -> list[Job | Refusal]:
    """A job without an output for each picture and video; folders with all that is below them, patterns such as *.jpg."""
    plan: list[Job | Refusal] = []
    for path in _expand(paths):
        try:
            plan.append(_plan_prediction(path, max_megapixels))
        except HeatreelError as error:
            plan.append(Refusal(input=path, error=error))
    return plan


def _plan_prediction(path: Path, max_megapixels: float | None) -> Job:
    refuse_address(path)
    suffix = path.suffix.lower()
    named_still = suffix in PICTURE_SUFFIXES and suffix != ".gif"
    if named_still or not os.path.isfile(path) or images.detect_image_kind(path) in ("still", "animated webp"):  # noqa: PTH113  # see _is_folder
        try:
            return Job(input=path, output=path, warnings=images.check_image(path, max_megapixels=max_megapixels))
        except KindError as no_picture:  # a video by a picture's name is welcome
            with suppress(InputError):
                return Job(input=path, output=path, source=probe(path, max_megapixels=max_megapixels))
            raise no_picture from None
    source = probe(path, max_megapixels=max_megapixels, is_not="neither a picture nor a video")
    return Job(input=path, output=path, source=source)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises for a name that is too long to exist


def _expand(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if _is_folder(path):
            below = [p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in _PREDICTED_SUFFIXES and not p.name.startswith(".")]
            yield from sorted(below, key=lambda p: natural_key(str(p))) or [path]
        elif not os.path.lexists(path) and glob.has_magic(str(path)):
            yield from sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda p: natural_key(str(p))) or [path]  # noqa: PTH207  # a whole pattern, not one below a folder
        else:
            yield path


def _find_inputs(folder: Path) -> list[Path]:
    try:
        pictures = images.list_images(folder)
    except InputError:  # the folder itself is refused later, with everything that is wrong with it
        return [folder]
    stems = {path.stem for path in pictures}
    # What an earlier run left beside its input is no input.
    found = [path for path in pictures if path.stem.removesuffix("_output") == path.stem or path.stem.removesuffix("_output") not in stems]
    return found or [folder]


def plan_videos(paths: Sequence[Path], *, output: Path | None, options: Options) -> Plan:
    """A job for each video file or folder of frames. Raises CommandError where the call itself is wrong."""
    named = name_outputs(paths, output=output, suffixes=[default_suffix(options.codec)] * len(paths))
    for name in named:
        check_container(name, options.codec)
    if options.contact_sheet is not None:
        images.check_writable_format(options.contact_sheet)
    choose_encoder(options.codec, width_px=640, height_px=360, crf=options.crf, preset=options.preset)

    return _plan_all(paths, named, options, functools.partial(_plan_video, options))


def _plan_video(options: Options, path: Path, output: Path, maps: Path | None) -> Job:
    refuse_address(path)
    pictures = _open_sequence(path, options)
    return Job(input=path, output=output, maps=maps, source=None if pictures else _probe(path, options), pictures=pictures)


def _plan_image(options: Options, path: Path, output: Path, maps: Path | None) -> Job:
    refuse_address(path)
    warnings = images.check_image(path, max_megapixels=options.max_megapixels)
    return Job(input=path, output=output, maps=maps, warnings=warnings)


def plan_task(path: Path, *, kind: Literal["video", "image"], output: Path, maps: Path | None, options: Options) -> Job:
    """The job for one input of a batch. Raises InputError when it cannot be read, OutputError when the output cannot be written."""
    job = (_plan_image if kind == "image" else _plan_video)(options, path, output, maps)
    for file in (output, maps) if maps else (output,):
        check_output(file, sources=identify_files([path]), overwrite=options.overwrite)
    return job


def _probe(path: Path, options: Options) -> VideoSource:
    return probe(path, stream=options.stream, fps=options.fps, max_megapixels=options.max_megapixels)


def _open_sequence(path: Path, options: Options) -> images.ImageSequence | None:
    """The pictures that stand in for a video file, None for what ffmpeg is to read. Raises InputError for a single picture."""
    if _is_folder(path):
        fps = options.fps or DEFAULT_FPS
        return images.open_image_folder(path, fps=fps, allow_gaps=options.allow_gaps, max_megapixels=options.max_megapixels)
    kind = images.detect_image_kind(path)
    if kind == "still":
        raise KindError(f"{path}: is a picture", remedy="use `visualize image`")
    return images.open_animation(path, max_megapixels=options.max_megapixels) if kind == "animated webp" else None


def _is_skipped(output: Path, inputs: frozenset[FileId], options: Options) -> bool:
    """Whether an output is there already, and that is no reason to complain; a folder, or an input itself, is no output of ours."""
    there = options.skip_existing and os.path.lexists(output) and not _is_folder(output)
    return there and not identify_files([output]) & inputs


def _check_output(file: Path, inputs: frozenset[FileId], options: Options, *, named: bool = False) -> None:
    """Raises OutputError. A page or table that --skip-existing would replace would lose what is passed over, so none is replaced.

    `named` says that an option names the file, so that there may be another.
    """
    away = f"move it away{', or name another file' if named else ''}"
    remedy = away if options.skip_existing else REPLACE
    check_output(file, sources=inputs, overwrite=options.overwrite, remedy=remedy)


def _plan_all(paths: Sequence[Path], named: Sequence[Path], options: Options, make: Callable[[Path, Path, Path | None], Job]) -> Plan:
    """A job of `make` for each path and its output's name, or why there is none. Raises what is wrong with the call itself."""
    several, inputs = len(paths) > 1, identify_files(paths)
    skipped = [_is_skipped(name, inputs, options) for name in named]
    for file in (options.predictions, options.timeline, options.contact_sheet):
        if file is not None and not all(skipped):
            _check_output(file, inputs, options, named=True)
    if several and (options.timeline or options.contact_sheet):
        raise CommandError("--timeline and --contact-sheet are for one video at a time")
    return [
        Skipped(input=path, output=name) if passed_over else _plan_one(path, name, inputs, options, make, several=several)
        for path, name, passed_over in zip(paths, named, skipped, strict=True)
    ]


def _plan_one(
    path: Path,
    output: Path,
    inputs: frozenset[FileId],
    options: Options,
    make: Callable[[Path, Path, Path | None], Job],
    *,
    several: bool,
) -> Job | Refusal:
    try:
        maps = _name_maps(output, options, several=several)
        job = make(path, output, maps)
        page = page_of(output) if options.report and not job.is_still else None
        for file in (file for file in (output, maps, page) if file):
            _check_output(file, inputs, options, named=file == maps)
    except OSError as error:  # such as a name that is too long
        return Refusal(input=path, error=InputError(f"{path}: cannot be read: {error.strerror or error}"))
    except HeatreelError as error:
        if error.exit_code != 1:
            raise
        return Refusal(input=path, error=error)
    return job


def _name_maps(output: Path, options: Options, *, several: bool) -> Path | None:
    """Where --save-maps writes the maps of an input: the file itself, or one named for the output in that folder."""
    maps = options.save_maps
    if maps is not None and (several or maps.is_dir()):
        return maps / f"{output.stem.removesuffix('_output')}.npz"
    return maps
