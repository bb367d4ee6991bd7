"""What the benchmarks share: one run of a command, work that alternates, medians with their range, tables, and what the machine was."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipeline.media import ffmpeg_version

Row = dict[str, Any]

SAMPLE_SECONDS = 0.1


# ------------------------------------------------------------------------------------------------ one run of a command


class Usage(NamedTuple):
    """What a process and all its children took. Memory is that of the process alone and of the whole tree at one moment."""

    cpu_seconds: float
    wall_seconds: float
    own_peak_bytes: int = 0
    tree_peak_bytes: int = 0

    def beyond(self, other: Usage) -> Usage:
        """The seconds of this less those of the other."""
        return Usage(self.cpu_seconds - other.cpu_seconds, self.wall_seconds - other.wall_seconds)


def middle(usages: Sequence[Usage]) -> Usage:
    """The medians of their seconds."""
    return Usage(median(usage.cpu_seconds for usage in usages), median(usage.wall_seconds for usage in usages))


def run(*command: object, watch_memory: bool = False, memory_bytes: int = 2 << 30) -> Usage:
    """Run a command to its end, once so much memory was just used. Exits with the end of its stderr when it fails."""
    words = [str(part) for part in command]
    _take_back(memory_bytes)
    with tempfile.TemporaryFile() as notes:
        started, peaks = time.perf_counter(), [(0, 0)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=notes)
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG if watch_memory else 0)
            if done:
                break
            peaks.append(resident_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            notes.seek(0)
            sys.exit(f"{' '.join(words)}\n{notes.read()[-2000:].decode(errors='replace')}")
        own, tree = (max(values) for values in zip(*peaks, strict=True))
        return Usage(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, own, tree)


def _take_back(memory_bytes: int) -> None:
    """Use memory and free it again, in a process of its own; half of what is free at most.

    A virtual machine may give free memory back to its host (virtio's balloon, free page reporting), and then the first touch of a page
    costs several times more: which of two commands pays for that would depend on what ran before them.
    """
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return  # macOS
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    subprocess.run([sys.executable, "-c", f"b'1' * {min(memory_bytes, free_bytes // 2)}"], check=True)


def resident_bytes(pid: int) -> tuple[int, int]:
    """The peak so far of the process itself, and what it and its descendants hold now. Linux only: (0, 0) elsewhere.

    ru_maxrss would not do: it begins at the size of the process that started this one.
    """
    own = _status(pid, "VmHWM")
    return own, sum(_status(member, "VmRSS") for member in _tree(pid))


def _status(pid: int, field: str) -> int:
    with suppress(OSError):  # it may have ended just now
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _tree(pid: int) -> Iterator[int]:
    """The process and its descendants, but for one that is just being made: until it runs a program its memory is its parent's."""
    yield pid
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/cmdline").read_bytes() != words:
                    yield from _tree(int(child))


# ------------------------------------------------------------------------------------------------ work in this process


def used(work: Callable[[], object]) -> Usage:
    """Seconds of work in this process, all threads of it."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return Usage(time.process_time() - cpu, time.perf_counter() - started)


def alternating(works: Mapping[str, Callable[[], object]], *, most: int, least: int, budget_seconds: float) -> dict[str, list[float]]:
    """Wall seconds of each work, one after the other in changing order: `most` rounds, fewer when time is up, after two to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for number in range(most + 2):
        if number == 2:
            begun = time.perf_counter()
        if number >= least + 2 and time.perf_counter() - begun > budget_seconds:
            break
        for name in list(works)[:: 1 if number % 2 else -1]:
            taken[name].append(used(works[name]).wall_seconds)
    return {name: seconds[2:] for name, seconds in taken.items()}


# ------------------------------------------------------------------------------------------------ the report


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The spread of the ratios of each round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def table(title: str, rows: Sequence[Row]) -> str:
    """Columns are those of all rows, in the order in which they come up."""
    cells = _cells(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([f"{title}", *lines, ""])


def markdown(rows: Sequence[Row]) -> str:
    head, *body = _cells(rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [columns, *[[shown(row.get(name, "")) for name in columns] for row in rows]]


def shown(value: object) -> str:
    if isinstance(value, dict):
        low, middle, high = (shown(value[key]) for key in ("min", "median", "max"))
        return middle if low == high else f"{middle} ({low} to {high})"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "unknown" if value is None else str(value)


def cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    with suppress(OSError, IndexError):
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")).split(": ")[1]
    return platform.processor() or "unknown"


def surroundings() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "heatreel": version("heatreel"),
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
        "ffmpeg": ffmpeg_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cpus": cpus(),
        "load": round(os.getloadavg()[0], 2),
    }


def report(names: Sequence[str], benchmarks: Mapping[str, Callable[[Any], list[Row]]], options: Any) -> None:
    """Make and print each, then write all as JSON where `options.json` names a file; as Markdown where `options.markdown` is set."""
    found = surroundings()
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n", flush=True)
    results: dict[str, list[Row]] = {}
    for name in names:
        started = time.perf_counter()
        results[name] = benchmarks[name](options)
        title = f"{name}: {benchmarks[name].__doc__} ({time.perf_counter() - started:.0f} s)"
        as_markdown = getattr(options, "markdown", False)
        print(f"{title}\n\n{markdown(results[name])}\n" if as_markdown else table(title, results[name]), flush=True)
        if options.json:  # after each, so that a run that is stopped leaves what it has
            options.json.write_text(json.dumps({**found, "results": results}, indent=2) + "\n")
