"""How many cores a process has, and which process it was, so that later another one can tell whether it still runs."""

from __future__ import annotations

import os
import socket
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_FIRST_NAMESPACE = "pid:[4026531836]"  # of every Linux outside containers: PROC_PID_INIT_INO in include/linux/proc_ns.h


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of one boot of one host. `started` is when, in the system's count (Linux: clock ticks since boot); ids are used again.

    A container's `host` carries its space of process ids, for two of them may share a name. `boot` is "" where the system tells none.
    """

    host: str
    boot: str
    pid: int
    started: int

    @classmethod
    def here(cls) -> Process:
        """This process itself."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """A process of this host. Raises ProcessLookupError when there is none, or it has ended and is only not waited for."""
        started = _read_start(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(host=host(), boot=_read_boot(), pid=pid, started=started)


def count_cores() -> int:
    """How many cores this process may use, by what the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_running(process: Process) -> bool | None:
    """Whether that very process runs. None where it cannot be known from here: it is another host's, or another container's."""
    if process.host != host():
        return None
    return process.boot == _read_boot() and _read_start(process.pid) == process.started


def host() -> str:
    """The name of this machine; in a container, with its space of process ids."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname()
    return socket.gethostname() if namespace == _FIRST_NAMESPACE else f"{socket.gethostname()} {namespace}"


def _read_boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _read_start(pid: int) -> int | None:
    """When it started; None when it has ended."""
    if not _BOOT.exists():
        return _read_start_by_ps(pid)
    try:
        # The name, in parentheses, may hold anything. Behind it, field 3 is the state and field 22 the start: man 5 proc.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:  # also ESRCH, when it ends between open and read
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _read_start_by_ps(pid: int) -> int | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    told = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False).stdout
    state, _, date = told.strip().partition(" ")
    return None if not state or state.startswith("Z") else zlib.crc32(date.strip().encode())
