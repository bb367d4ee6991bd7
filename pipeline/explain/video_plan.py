"""What is settled about a video before its first frame is read: sizes, encoder, batches, memory, and what identifies the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from typing import Any

from pipeline.cam import AT_ONCE, default_batch_size
from pipeline.errors import ChangedError, CommandError, InputError
from pipeline.explain.job_planning import Job
from pipeline.explain.model_session import Session
from pipeline.media import PICTURES_COLOUR, PICTURES_COLOUR_TAGS, Encoder, OutputVideo, choose_encoder, ffmpeg_version, images
from pipeline.options import Options
from pipeline.records import Colour, Geometry, VideoSource
from pipeline.rendering import Canvas
from pipeline.results import STATE_VERSION

UNKNOWN_LENGTH_SECONDS = 240.0
FRAMES_BUDGET_BYTES = 256 << 20  # what the waiting frames of all stages together may take
# Canvases that encoders and players take; what is larger is scaled down to the first that works, what is smaller up.
MOST_CANVAS_PIXELS = 139_264 * 256  # of the highest level of H.264 (ITU-T H.264, table A-1); an encoder holds dozens of frames
LARGEST_CANVASES_PX = (16384, 8192, 4096, 2048)
SMALLEST_CANVASES_PX = (64, 128, 256)
# Options that change no pixel of the video, or that are part of the identity in another form.
_NOT_IN_IDENTITY = (
    "predictions",
    "overwrite",
    "skip_existing",
    "scale",
    "fresh",
    "audio",
    "report",
    "timeline",
    "contact_sheet",
    "contact_frames",
)


@dataclass(frozen=True, kw_only=True)
class VideoPart:
    """A part of a long video that is made by itself: from `begin_seconds` until before `end_seconds` of its source (None: its end).

    The network begins `warm_up_seconds` earlier, so that what is remembered from frame to frame has settled when the part begins.
    """

    number: int
    begin_seconds: float
    end_seconds: float | None
    warm_up_seconds: float


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """All that is settled about a video, or a part of one, before its first frame is read.

    `source` is what is read: the job's own source, or a copy of it whose times run on; None for pictures that stand for a video. The
    network is given `batch_size` pictures at once; at most `frames_between` frames that it does not see wait for the next that it does.
    `fingerprint` has name, size in bytes and time of change in nanoseconds of each of the source's files.
    """

    job: Job
    options: Options
    source: VideoSource | None
    part: VideoPart | None
    geometry: Geometry
    canvas: Canvas
    encoder: Encoder
    encoders_passed_over: tuple[str, ...]
    batch_size: int
    frames_between: int
    fingerprint: tuple[tuple[str, int, int], ...]
    settings: Mapping[str, Any]  # all that the finished pictures depend on besides the source
    warnings: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """All that the finished segments depend on: segments of another identity are of no use."""
        return {**self.settings, "source": self.fingerprint, **({} if self.part is None else {"part": asdict(self.part)})}

    @property
    def colour(self) -> Colour:
        """How the planes of frames encode colour, of what is read and of what is written."""
        return _colour(self.job)

    @property
    def is_interlaced(self) -> bool:
        """Whether a frame holds the lines of two moments; the network is shown one of them."""
        return bool(self.job.source and self.job.source.interlaced)

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, as the source says or as it is on average; each frame keeps its own time."""
        return _shape(self.job).frame_rate

    @property
    def read_range_seconds(self) -> tuple[float | None, float | None]:
        """From where to where the source is read, counted from its beginning; a part's warm-up is in it. None where nothing is cut off."""
        if self.part is None:
            return self.options.start_seconds, self.options.end_seconds
        return max(0.0, self.part.begin_seconds - self.part.warm_up_seconds), self.part.end_seconds

    @property
    def frames_estimate(self) -> int | None:
        """About how many frames the video, or the part, will have; None where that is not known."""
        source, options, part = self.job.source, self.options, self.part
        if part is not None and source is not None:
            end = part.end_seconds or source.duration_seconds or part.begin_seconds
            return max(1, round((end - part.begin_seconds) * float(self.frame_rate)))
        if self.job.pictures is not None:
            return len(self.job.pictures.between(options.start_seconds, options.end_seconds))
        total = source.frames_estimate if source else None
        if total is None or not (options.start_seconds or options.end_seconds):
            return total
        end = min(options.end_seconds or float("inf"), float(total / self.frame_rate))
        return max(1, round((end - (options.start_seconds or 0)) * float(self.frame_rate)))

    def target(self, time_base: Fraction) -> OutputVideo:
        """What is written, by a clock of `time_base` seconds a tick."""
        source = self.job.source
        return OutputVideo(
            output=self.job.output,
            width_px=self.canvas.width,
            height_px=self.canvas.height,
            time_base=time_base,
            frame_rate=self.frame_rate,
            encoder=self.encoder,
            colour_tags=source.colour_tags if source else PICTURES_COLOUR_TAGS,
            sample_aspect=source.sample_aspect if source else Fraction(1),
        )

    def thumbnail_place(self, time_seconds: float) -> int:
        """In which of the equal spans, numbered from 0, that have a thumbnail each a time lies; by the length of the whole, if known."""
        source, pictures = self.job.source, self.job.pictures
        begin = source.start_seconds if source else 0.0
        length = source.duration_seconds if source else float(pictures.end_seconds) if pictures else None
        start, end = self.options.start_seconds or 0.0, self.options.end_seconds or length or UNKNOWN_LENGTH_SECONDS
        return int((time_seconds - begin - start) / max(end - start, 1e-3) * self.options.thumbnails)

    def check_unchanged(self) -> None:
        """Raise ChangedError if the source is not what it was when the plan was made, InputError if it is gone."""
        if _fingerprint(self.job) != self.fingerprint:
            raise ChangedError(f"{self.job.input}: changed while it was read", remedy="run the same command again")


def plan_video(job: Job, session: Session, *, hardware_failure: str | None = None, part: VideoPart | None = None) -> VideoPlan:
    """Settle sizes, encoder, batch size and identity of a video, or of a part of it.

    `hardware_failure` says how a hardware encoder has failed at work: then one of software is taken.
    Raises InputError when no encoder takes pictures of its size, or the source is gone.
    """
    options, shape = session.options, _shape(job)
    geometry = session.geometry(shape.width_px, shape.height_px)
    canvas, encoder, warnings = _choose_canvas(job, session, hardware=hardware_failure is None)
    batch_size, frames_between = _choose_batch(session, shape.width_px, shape.height_px, geometry)
    said = job.source.warnings if job.source else job.pictures.warnings if job.pictures else ()
    return VideoPlan(
        job=job,
        options=options,
        source=job.source,
        part=part,
        geometry=geometry,
        canvas=canvas,
        encoder=encoder,
        encoders_passed_over=tuple(encoder.passed_over) if hardware_failure is None else (hardware_failure,),
        batch_size=batch_size,
        frames_between=frames_between,
        fingerprint=_fingerprint(job),
        settings={**_collect_settings(job, options, canvas, encoder, batch_size), "model": session.classifier.identity},
        warnings=(*said, *warnings),
    )


def _shape(job: Job) -> VideoSource | images.ImageSequence:
    shape = job.source or job.pictures
    assert shape is not None, "a video has a source or pictures"
    return shape


def _colour(job: Job) -> Colour:
    return job.source.colour if job.source else PICTURES_COLOUR


# ------------------------------------------------------------------------------------------------ sizes


def _choose_canvas(job: Job, session: Session, *, hardware: bool) -> tuple[Canvas, Encoder, list[str]]:
    """Panels of the size asked for, or of the nearest that an encoder takes, with that encoder and what is to be said of it."""
    options, colour, failure = session.options, _colour(job), None
    width, height = _shape(job).width_px, _shape(job).height_px
    wanted = options.height_px or height
    for panel_height in _panel_heights(session, width, height, wanted, colour):
        panel = max(1, round(width * panel_height / height)), panel_height
        canvas = session.make_canvas(panel, colour)
        size = {"width_px": canvas.width, "height_px": canvas.height}
        try:
            encoder = choose_encoder(options.codec, **size, crf=options.crf, preset=options.preset, hardware=hardware)
        except CommandError as error:
            failure = failure or error
            continue
        scaled = f"panels {wanted} pixels high are more than encoders take; they are scaled to {panel[0]}x{panel[1]}"
        return canvas, encoder, [scaled] if panel_height != wanted else []
    raise InputError(f"{job.input}: {failure or 'no encoder takes pictures of its size'}")


def _panel_heights(session: Session, width: int, height: int, wanted: int, colour: Colour) -> Iterator[int]:
    """The height wanted, and then those that make the canvas' longer side shorter, or its shorter side longer, than usual limits."""
    canvas = session.make_canvas((max(1, round(width * wanted / height)), wanted), colour)
    fitting = min(wanted, int(wanted * (MOST_CANVAS_PIXELS / (canvas.width * canvas.height)) ** 0.5))
    yield max(1, fitting)
    longer, shorter = max(canvas.width, canvas.height), min(canvas.width, canvas.height)
    yield from (wanted * limit // longer for limit in LARGEST_CANVASES_PX if longer > limit and 0 < wanted * limit // longer < fitting)
    yield from (-(-wanted * limit // shorter) for limit in SMALLEST_CANVASES_PX if shorter < limit <= LARGEST_CANVASES_PX[-1])


def _choose_batch(session: Session, width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    """How many pictures the network is given at once, and how many frames that it does not see may wait for the next that it does."""
    options = session.options
    held = 3 * width * height // 2 + session.kept_bytes(geometry)
    batches = 4 + AT_ONCE + 1  # being filled, waiting, queued, rendered, and at the network, with one that is next there
    fitting = max(1, FRAMES_BUDGET_BYTES // (batches * options.every * held))
    # With --every a thousand frames may lie between two pictures for the network: they do not wait for the second.
    return options.batch_size or min(fitting, default_batch_size()), max(1, FRAMES_BUDGET_BYTES // (batches * held))


# ------------------------------------------------------------------------------------------------ identity


def _collect_settings(job: Job, options: Options, canvas: Canvas, encoder: Encoder, batch_size: int) -> dict[str, Any]:
    """All that the finished pictures depend on besides the source and the model."""
    return {
        **{name: value for name, value in asdict(options).items() if name not in _NOT_IN_IDENTITY},
        "shares_scale": options.shares_scale,
        "save_maps": job.maps is not None,
        "thumbnails": options.thumbnails if options.keeps_thumbnails else 0,
        "encoder": [encoder.name, dict(encoder.arguments)],
        "panel": (canvas.panel_width, canvas.panel_height),
        "batch": batch_size,
        "state": STATE_VERSION,
        "versions": [version("heatreel"), version("tensorflow"), ffmpeg_version()],
    }


def _fingerprint(job: Job) -> tuple[tuple[str, int, int], ...]:
    """By what a source is known again: name, size in bytes and time of change in nanoseconds, of each file of a folder."""
    paths = [job.input] if job.pictures is None else job.pictures.files
    try:
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read any more: {error.strerror}") from error
