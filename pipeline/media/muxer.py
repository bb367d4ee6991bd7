"""Segments become a video: joined by stream copy, with the sound, subtitles, chapters and tags of the source."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.arrays import Array
from pipeline.errors import OutputError, says_disk_full
from pipeline.media import ffmpeg_process, probing
from pipeline.media.damage_checks import verify_video
from pipeline.media.encoders import CONTAINERS
from pipeline.media.segment_writer import OutputVideo
from pipeline.options import Audio
from pipeline.records import VideoSource


@dataclass(frozen=True, kw_only=True)
class SegmentFile:
    """A finished segment: its file, and where it begins, in ticks of the joined video's clock."""

    path: Path
    first_pts: int


@dataclass(frozen=True, kw_only=True)
class SourceTracks:
    """What the joined video takes from its source besides the pictures.

    `offset_seconds` is the source's time that becomes 0 in the output, None where the source's own times are kept; sound is cut to
    begin there, and to end at `end_seconds` (from the beginning of the file). `last_seconds` is how long the last frame is shown, None
    for the target's frame rate.
    """

    source: VideoSource | None
    audio: Audio = "copy"
    encode_audio: bool = False
    subtitles: bool = True
    offset_seconds: Fraction | None = None
    end_seconds: float | None = None
    last_seconds: Fraction | None = None


# What each container holds as it is; the rest becomes AAC (Opus in WebM).
_AUDIO_OF_CONTAINER: Mapping[str, frozenset[str] | None] = {
    "mp4": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac", "mp2", "mp2float"}),
    "mov": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}),
    "matroska": None,
    "webm": frozenset({"opus", "libopus", "vorbis", "libvorbis"}),
}
_LIST = "list.ffconcat"
_TEXT_SUBTITLES = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
_SUBTITLES_AS: Mapping[str, str] = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}


def mux(
    pieces: Sequence[SegmentFile], times_seconds: Array, target: OutputVideo, original: SourceTracks, output: Path, *, folder: Path
) -> list[str]:
    """Join segments by stream copy, with what the source has besides pictures; returns what had to be changed or left out.

    All pieces lie in that folder or below it, named with letters and digits. `times_seconds` float64 (frames,) are the times of all frames,
    by the source's clock; the file is read back and must have each of them. Raises ToolError when ffmpeg fails, OutputError when the
    file is not right.
    """
    _write_list(folder, pieces, target.time_base)
    zero, reason = _find_zero(pieces, target, original), ""
    for attempt, given_up in _list_attempts(original):
        command = _build_mux_command(pieces, target, attempt, output, times_seconds)
        child = _run_ffmpeg(command, folder)
        if child.process.returncode == 0:
            _verify_or_mux_again(command, folder, target, times_seconds - float(zero), output)
            return [*([f"{given_up} ({reason})"] if given_up else []), *_describe_changes(attempt, output)]
        if child.was_killed or child.stalled or any(map(says_disk_full, child.lines)):
            break
        reason = child.lines[-1] if child.lines else f"ffmpeg ended with {child.process.returncode}"
    raise child.error(f"{target.output}: joining the segments failed")


def _run_ffmpeg(command: Sequence[str], folder: Path) -> ffmpeg_process.FfmpegProcess:
    """Run ffmpeg to its end in that folder."""
    child = ffmpeg_process.FfmpegProcess(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        child.wait()
    finally:
        child.kill()
    return child


def _verify_or_mux_again(command: Sequence[str], folder: Path, target: OutputVideo, times_seconds: Array, output: Path) -> None:
    """Read back what the command has made; where it is not right, let the ffmpeg that was installed with this program do it.

    Older ones (5.1) begin Matroska with the priming samples of its sound, and move the pictures with them.
    """
    try:
        verify_video(output, target.output, times_seconds)
    except OutputError:
        if command[0] == ffmpeg_process.bundled_ffmpeg_path():
            raise
        _run_ffmpeg([ffmpeg_process.bundled_ffmpeg_path(), *command[1:]], folder)
        verify_video(output, target.output, times_seconds)


def _list_attempts(original: SourceTracks) -> Iterator[tuple[SourceTracks, str]]:
    """As much of the source as can be had: what a damaged track spoils is left out, and said."""
    yield original, ""
    if original.source is not None and original.source.subtitle_codecs:
        original = replace(original, subtitles=False)
        yield original, "the subtitles could not be carried over"
    if original.source is not None and original.source.audio_codecs and original.audio == "copy":
        yield replace(original, encode_audio=True), "the sound could not be copied and is encoded anew"
        yield replace(original, audio="none"), "the sound could not be carried over"


def _write_list(folder: Path, pieces: Sequence[SegmentFile], time_base: Fraction) -> None:
    """The list that ffmpeg's concat demuxer reads: names and durations, each the difference of rounded sums, so that nothing adds up."""
    microseconds = [round((piece.first_pts - pieces[0].first_pts) * time_base * 1_000_000) for piece in pieces]
    lines = ["ffconcat version 1.0"]
    for piece, begin, end in zip(pieces, microseconds, [*microseconds[1:], None], strict=True):
        lines.append(f"file {piece.path.relative_to(folder)}")
        if end is not None:
            lines.append(f"duration {(end - begin) // 1_000_000}.{(end - begin) % 1_000_000:06d}")
    (folder / _LIST).write_text("\n".join(lines) + "\n")


def _build_mux_command(
    pieces: Sequence[SegmentFile], target: OutputVideo, original: SourceTracks, output: Path, times_seconds: Array
) -> list[str]:
    container = CONTAINERS[output.suffix.lower()]
    zero = _find_zero(pieces, target, original)
    # ffmpeg moves all of Matroska until nothing is negative, unless the inputs are moved; but then it cuts decoded sound wrongly.
    moved = zero if container in ("matroska", "webm") and not _encodes_audio(original, output) else Fraction(0)
    pictures = ffmpeg.input(
        _LIST, f="concat", itsoffset=_format_seconds(pieces[0].first_pts * target.time_base - moved), protocol_whitelist="file"
    )
    last = min(original.last_seconds or 1 / target.frame_rate, target.longest_frame_seconds)
    options: dict[str, Any] = {"f": container, "c:v": "copy", "bsf:v": _last_frame_filter(times_seconds - float(moved), float(last))}
    if container in ("mp4", "mov"):
        options |= _list_movie_options(target, original)
        if target.encoder.arguments.get("tag:v"):
            options["tag:v"] = target.encoder.arguments["tag:v"]
    streams = [pictures["v:0"]]
    if original.source is not None:
        more, taken = _take_streams(original, original.source, output, zero, moved)
        options |= more
        streams += taken
    if zero != moved:
        options["output_ts_offset"] = _format_seconds(moved - zero)
    return ffmpeg_process.build_command(ffmpeg.output(*streams, ffmpeg_process.file_url(output), **options))


def _last_frame_filter(times_seconds: Array, last_seconds: float) -> str:
    """The bitstream filter that says how long the last frame is shown.

    MP4's edit list ends where the latest packet ends, but for the last packet in the file, which may be another one: to it, as well.
    """
    last, end = float(times_seconds[-1]), float(times_seconds[-1]) + last_seconds
    packet = f"if(eq(N\\,{len(times_seconds) - 1})\\,{end:.6f}/TB-PTS\\,DURATION)"
    return f"setts=pts=PTS:dts=DTS:duration=if(gte(PTS*TB\\,{last - 1e-5:.6f})\\,{last_seconds:.6f}/TB\\,{packet})"


def _find_zero(pieces: Sequence[SegmentFile], target: OutputVideo, original: SourceTracks) -> Fraction:
    """The source's time that becomes 0: containers do not show what lies before it, so that is moved, sound and all."""
    if original.offset_seconds is not None:
        return original.offset_seconds
    begin = pieces[0].first_pts * target.time_base
    return min(begin, Fraction(0))


def _format_seconds(value: float | Fraction) -> str:
    return f"{float(value):.6f}"


def _list_movie_options(target: OutputVideo, original: SourceTracks) -> dict[str, Any]:
    clock = target.time_base.denominator
    rates = original.source.audio_rates_hz if original.source else ()
    # The offset of a track that begins late is stored in the movie's clock; it must be able to say every track's times.
    movie = math.lcm(clock, *[rate for rate in rates if rate])
    return {
        "video_track_timescale": clock,
        "movie_timescale": movie if movie < 2**31 else clock,
        "movflags": "+faststart",
        "write_tmcd": 0,  # a copied timecode tag makes a track that leaves the file without an index
        "metadata": "timecode=",
    }


def _take_streams(
    original: SourceTracks, source: VideoSource, output: Path, zero: Fraction, moved: Fraction
) -> tuple[dict[str, Any], list[Any]]:
    """Options and streams for what comes from the source file."""
    cut: dict[str, Any] = {**probing.SAFE, "itsoffset": _format_seconds(-moved)}
    if original.offset_seconds is not None:
        cut["ss"] = _format_seconds(original.offset_seconds - Fraction(source.start_seconds))
        if original.end_seconds is not None:
            cut["to"] = _format_seconds(original.end_seconds)
    given = ffmpeg.input(ffmpeg_process.file_url(source.path), **cut)
    options: dict[str, Any] = {"map_metadata": 1, "map_chapters": 1 if original.offset_seconds is None else -1}
    streams = [given["a?"]]  # named even without sound: a file of which nothing is taken is not opened, and its tags and chapters are lost
    if original.audio == "none":
        options["an"] = None
    else:
        for index, codec in enumerate(source.audio_codecs):
            kept = _fits(codec, output) and not original.encode_audio
            options[f"c:a:{index}"] = "copy" if kept else _fallback_audio_codec(output)
            if moved > 0:
                options[f"copypriorss:a:{index}"] = 0  # no edit list hides the packet that the range begins within
        options |= _name_quicktime_languages("a", source.audio_languages, output)
    kept_subtitles = [_choose_subtitle_codec(codec, output) for codec in source.subtitle_codecs] if original.subtitles else []
    for index, how in enumerate(kept_subtitles):
        if how is not None:
            options[f"c:s:{len(streams) - 1}"] = how
            streams.append(given[f"s:{index}?"])
    if original.offset_seconds is not None and kept_subtitles:
        # What is shown when the range begins is shown from there on: a negative time would move everything.
        before = f"max(0\\,{float(zero - moved):.6f}/TB-PTS)"
        options["bsf:s"] = f"setts=pts=PTS+{before}:dts=PTS+{before}:duration=max(0\\,DURATION-{before})"
    return options, streams


# QuickTime numbers languages, and ffmpeg's table of them knows these by their other ISO 639-2 code.
_QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "sqi": "alb", "zho": "chi", "mkd": "mac", "swe": "sve"}


def _name_quicktime_languages(kind: str, languages: Sequence[str | None], output: Path) -> dict[str, str]:
    if CONTAINERS[output.suffix.lower()] != "mov":
        return {}
    named = {n: _QUICKTIME_LANGUAGES[code] for n, code in enumerate(languages) if code in _QUICKTIME_LANGUAGES}
    return {f"metadata:s:{kind}:{n}": f"language={name}" for n, name in named.items()}


def _fits(audio_codec: str, output: Path) -> bool:
    held = _AUDIO_OF_CONTAINER[CONTAINERS[output.suffix.lower()]]
    return held is None or audio_codec in held


def _encodes_audio(original: SourceTracks, output: Path) -> bool:
    codecs = original.source.audio_codecs if original.source and original.audio == "copy" else ()
    return any(original.encode_audio or not _fits(codec, output) for codec in codecs)


def _fallback_audio_codec(output: Path) -> str:
    return "libopus" if output.suffix.lower() == ".webm" else "aac"


def _choose_subtitle_codec(codec: str, output: Path) -> str | None:
    """How subtitles go into the container; None where they cannot."""
    container = CONTAINERS[output.suffix.lower()]
    if container == "matroska":
        return "srt" if codec == "mov_text" else "copy"
    return _SUBTITLES_AS[container] if codec in _TEXT_SUBTITLES else None


def _describe_changes(original: SourceTracks, output: Path) -> Iterator[str]:
    """What the container made necessary."""
    if original.source is None:
        return
    for index, codec in enumerate(original.source.audio_codecs if original.audio == "copy" else ()):
        if not _fits(codec, output):
            name = "Opus" if _fallback_audio_codec(output) == "libopus" else "AAC"
            yield f"audio track {index + 1} ({codec}) does not fit into {output.suffix} and is encoded as {name}; -o with .mkv keeps it"
    for index, codec in enumerate(original.source.subtitle_codecs if original.subtitles else ()):
        if _choose_subtitle_codec(codec, output) is None:
            yield f"subtitle track {index + 1} ({codec}) does not fit into {output.suffix} and is left out; -o with .mkv keeps it"


def cut_clip(video: Path, start_seconds: float, end_seconds: float, output: Path) -> None:
    """Copy a stretch of a video, from the last picture before it that needs no other until it ends, sound and all.

    The same call writes the same bytes. Raises ToolError when ffmpeg fails.
    """
    given = ffmpeg.input(ffmpeg_process.file_url(video), ss=_format_seconds(start_seconds), to=_format_seconds(end_seconds), **probing.SAFE)
    options = {"c": "copy", "f": CONTAINERS[output.suffix.lower()], "avoid_negative_ts": "make_zero"}
    options["fflags"] = "+bitexact"  # else Matroska gets a number of its own each time
    graph = ffmpeg.output(given["v:0"], given["a?"], ffmpeg_process.file_url(output), **options)
    child = _run_ffmpeg([part for part in ffmpeg_process.build_command(graph) if part != "-copyts"], output.parent)
    if child.process.returncode != 0:
        raise child.error(f"{video}: a stretch of it cannot be copied")
