"""From paths to jobs: everything that can be refused is refused here, before a model is loaded or a file is made."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import media, outputs, stills
from pipeline.errors import HeatreelError, InputError
from pipeline.records import Options, VideoSource

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".3gp", ".wmv", ".flv", ".ogv")
LOOKED_AT = (*stills.READABLE_SUFFIXES, *VIDEO_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One input that can be worked on. `source` is set for a video, `frames` for a folder of frames, neither for a picture."""

    input: Path
    output: Path
    maps: Path | None = None
    source: VideoSource | None = None
    frames: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One input that cannot be worked on, and why."""

    input: Path
    error: HeatreelError


def plan_images(paths: Sequence[Path], *, output: Path | None, options: Options) -> list[Job | Refusal]:
    """A job for each picture; a folder stands for the pictures in it. Raises CommandError where the call itself is wrong."""
    pictures: list[Path] = []
    for path in paths:
        pictures.extend(_inputs_in(path) if path.is_dir() else [path])
    suffixes = [stills.output_suffix(path) for path in pictures]
    named = outputs.name_outputs(pictures, output=output, suffixes=suffixes)
    for name in named:
        stills.check_writable_format(name)

    def job(path: Path, name: Path, maps: Path | None) -> Job:
        stills.check_still(path)
        return Job(input=path, output=name, maps=maps)

    return _plan(pictures, named, options, job)


def plan_predictions(paths: Sequence[Path]) -> list[Job | Refusal]:
    """A job without an output for each picture and video; folders with all that is below them, patterns such as *.jpg."""
    plan: list[Job | Refusal] = []
    for path in _expanded(paths):
        try:
            is_still = path.suffix.lower() in stills.READABLE_SUFFIXES and path.suffix.lower() != ".gif"
            if is_still or not path.is_file():
                stills.check_still(path)
            plan.append(Job(input=path, output=path, source=None if is_still else media.probe(path)))
        except HeatreelError as error:
            plan.append(Refusal(input=path, error=error))
    return plan


def _expanded(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            below = [p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in LOOKED_AT and not p.name.startswith(".")]
            yield from sorted(below, key=lambda p: stills.natural_key(str(p))) or [path]
        elif not path.exists() and glob.has_magic(str(path)):
            yield from sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda p: stills.natural_key(str(p))) or [path]  # noqa: PTH207  # a whole pattern, not one below a folder
        else:
            yield path


def _inputs_in(folder: Path) -> list[Path]:
    pictures = stills.pictures_in(folder)
    stems = {path.stem for path in pictures}
    # What an earlier run left beside its input is no input.
    found = [path for path in pictures if path.stem.removesuffix("_output") == path.stem or path.stem.removesuffix("_output") not in stems]
    return found or [folder]


def plan_videos(paths: Sequence[Path], *, output: Path | None, options: Options) -> list[Job | Refusal]:
    """A job for each video file or folder of frames. Raises CommandError where the call itself is wrong."""
    named = outputs.name_outputs(paths, output=output, suffixes=[media.default_suffix(options.codec)] * len(paths))
    for name in named:
        media.check_container(name, options.codec)
    media.choose_encoder(options.codec, width_px=640, height_px=360, crf=options.crf, preset=options.preset)

    def job(path: Path, name: Path, maps: Path | None) -> Job:
        if not path.is_dir():
            return Job(input=path, output=name, maps=maps, source=media.probe(path))
        frames = stills.pictures_in(path)
        if not frames:
            raise InputError(f"{path}: the folder holds no pictures", remedy="give a video file or a folder of frames")
        stills.check_still(frames[0])
        return Job(input=path, output=name, maps=maps, frames=frames)

    return _plan(paths, named, options, job)


def _plan(
    paths: Sequence[Path], named: Sequence[Path], options: Options, make: Callable[[Path, Path, Path | None], Job]
) -> list[Job | Refusal]:
    several = len(paths) > 1
    plan: list[Job | Refusal] = []
    if options.predictions is not None:
        outputs.check_output(options.predictions, sources=paths, overwrite=options.overwrite)
    for path, name in zip(paths, named, strict=True):
        maps = options.save_maps
        if maps is not None and (several or maps.is_dir()):
            maps = maps / f"{name.stem.removesuffix('_output')}.npz"
        try:
            job = make(path, name, maps)
            for output in (name, maps) if maps else (name,):
                outputs.check_output(output, sources=paths, overwrite=options.overwrite)
        except HeatreelError as error:
            if error.exit_code != 1:
                raise
            plan.append(Refusal(input=path, error=error))
        else:
            plan.append(job)
    return plan
