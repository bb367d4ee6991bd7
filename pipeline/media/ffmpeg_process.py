"""ffmpeg as a child process: which binary, its command line, and a watch over it while it runs."""

from __future__ import annotations

import fcntl
import functools
import math
import os
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from pipeline.errors import InputError, ToolError

PIPE_BYTES = 1 << 20  # the kernel's 64 KiB would mean fifty task switches for one 1080p frame
MOST_BYTES_AT_ONCE = 1 << 30  # no single allocation of ffmpeg's may exceed it, whatever a header claims

# Of a NUT pipe both ends know the format: nothing is probed, and the first frame comes as soon as it is there.
NO_PROBE = {"probesize": "32", "analyzeduration": "0", "fpsprobesize": "0"}


@dataclass(frozen=True, kw_only=True)
class StallLimits:
    """When an ffmpeg that is waited for is given up: after `idle_seconds` of doing nothing, or `frame_seconds` at work on one frame."""

    idle_seconds: float = 60.0
    frame_seconds: float = 1200.0


DEFAULT_STALL_LIMITS = StallLimits()

_running: weakref.WeakSet[FfmpegProcess] = weakref.WeakSet()


@functools.cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, or else the one that imageio-ffmpeg brought along. Raises InputError when there is neither."""
    return shutil.which("ffmpeg") or bundled_ffmpeg_path()


@functools.cache
def bundled_ffmpeg_path() -> str:
    """The ffmpeg that imageio-ffmpeg brought along. Raises InputError when there is none."""
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise InputError("no ffmpeg was found", remedy="install ffmpeg, or reinstall imageio-ffmpeg") from error


@functools.cache
def find_ffmpeg_with(filter_name: str) -> str | None:
    """The ffmpeg of ffmpeg_path if it has that filter, else the bundled one if it has, else None."""
    for path in (ffmpeg_path(), bundled_ffmpeg_path()):
        listed = subprocess.run([path, "-hide_banner", "-filters"], capture_output=True, text=True, check=False).stdout
        if any(line.split()[1:2] == [filter_name] for line in listed.splitlines()):
            return path
    return None


@functools.cache
def ffmpeg_version() -> str:
    """The version of the ffmpeg of ffmpeg_path, such as "7.1"; "unknown" where it tells none."""
    result = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, text=True, check=False)
    return (result.stdout.splitlines() or ["unknown"])[0].removeprefix("ffmpeg version ").split(" Copyright")[0]


def build_command(graph: Any, *, binary: str | None = None) -> list[str]:
    """The argument list for a graph of ffmpeg-python's; times are taken as they are (-copyts)."""
    start = [binary or ffmpeg_path(), "-hide_banner", "-nostdin", "-loglevel", "error", "-max_alloc", str(MOST_BYTES_AT_ONCE)]
    return [part.translate(_BYTES) for part in ffmpeg.compile(graph, cmd=[*start, "-copyts", "-y"])]


def file_url(path: Path) -> str:
    """A path for `build_command`: a file, never a protocol, whatever the name looks like; absolute, as children may run elsewhere."""
    return f"file:{path.absolute()}".translate(_STANDINS)


# ffmpeg-python hashes its arguments as UTF-8. Bytes of a name that are none (PEP 383) go through it as characters of private use.
_STANDINS = {0xDC80 + n: 0x10FF00 + n for n in range(128)}
_BYTES = {standin: byte for byte, standin in _STANDINS.items()}


class FfmpegProcess:
    """A running ffmpeg in its own process group, its stderr always drained, its last lines kept.

    Whoever waits for it does so inside `watch`: a child that is waited for and neither answers nor uses the processor for longer than
    `limits` (None: DEFAULT_STALL_LIMITS) allow is killed, and `stalled` is True. `pipes` are those of subprocess.Popen.
    """

    def __init__(self, arguments: Sequence[str], *, limits: StallLimits | None = None, **pipes: Any) -> None:
        self.command = arguments
        self.limits = limits or DEFAULT_STALL_LIMITS
        self.lines: deque[str] = deque(maxlen=200)
        self.line_count = 0
        self.stalled = False
        self._waited_since: float | None = None
        self._limit_seconds = self.limits.frame_seconds
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True, **pipes)
        _running.add(self)
        self._drain = threading.Thread(target=self._keep_lines, daemon=True)
        self._drain.start()
        threading.Thread(target=self._kill_if_stalled, daemon=True).start()

    def _keep_lines(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.line_count += 1

    @contextmanager
    def watch(self, *, limit_seconds: float | None = None) -> Iterator[None]:
        """Within the block somebody waits for the child; for `limit_seconds` at most (None: those of one frame), however busy it is."""
        self._limit_seconds = self.limits.frame_seconds if limit_seconds is None else limit_seconds
        self._waited_since = time.monotonic()
        try:
            yield
        finally:
            self._waited_since = None

    def _kill_if_stalled(self) -> None:
        idle_seconds = self.limits.idle_seconds
        used, active = _read_cpu_seconds(self.process.pid), time.monotonic()
        while self.process.poll() is None:
            time.sleep(min(1.0, idle_seconds / 10))
            since, now = self._waited_since, time.monotonic()
            before, used = used, _read_cpu_seconds(self.process.pid)
            if since is None or (used is not None and used != before):
                active = now
            idle = since is not None and now - max(since, active) > idle_seconds
            # Without /proc nobody knows whether a child works; then only frames are waited for with a limit.
            if since is not None and ((idle and (used is not None or self._limit_seconds < math.inf)) or now - since > self._limit_seconds):
                self.stalled = True
                self.signal_group(signal.SIGKILL)
                return

    def wait(self) -> int:
        """Its exit code, when it has ended and its stderr is read."""
        with self.watch(limit_seconds=math.inf):  # an hour's flush, or the copy of a night's video, is work while it uses time
            code = self.process.wait()
        self._drain.join()
        return code

    def kill(self) -> None:
        """End it and all that it has started; nothing where it has ended."""
        self.signal_group(signal.SIGKILL)
        self.wait()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it has started; nothing where it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def was_killed(self) -> bool:
        """Ended by a signal; 255 is ffmpeg's own code for "Exiting normally, received signal"."""
        code = self.process.returncode
        return code is not None and (code < 0 or code == 255)

    def error(self, message: str) -> ToolError:
        """What is told of its failure: the message with the reason behind it, whether it stalled, was killed or gave up itself."""
        if self.stalled:
            return self._error(f"{message}: ffmpeg did nothing for {self.limits.idle_seconds:g} seconds and was stopped")
        if self.was_killed:
            return self._error(f"{message}: ffmpeg was killed (exit code {self.process.returncode})")
        return ToolError(message, command=self.command, stderr_tail="\n".join(self.lines))

    def _error(self, message: str) -> ToolError:
        error = ToolError(message, command=self.command, stderr_tail="", remedy="run the same command again")
        error.stderr_tail = "\n".join(self.lines)
        return error


def widen_pipe(descriptor: int) -> None:
    """Make a pipe as large as Linux lets a user have; elsewhere nothing."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _read_cpu_seconds(pid: int) -> float | None:
    """Processor time of a process by proc(5); None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_all() -> None:
    """For a program that must end at once: no child outlives it."""
    for child in list(_running):
        if child.process.returncode is None:
            child.signal_group(signal.SIGKILL)
