"""Raw maps on their way to an .npz file."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import report_write_errors
from pipeline.files import atomic_write


class RawMaps:
    """Raw maps on their way to an .npz: spooled to disk, so that memory does not grow with the video. Close it when done."""

    def __init__(self) -> None:
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this object
        self._shape: tuple[int, ...] | None = None
        self._targets: list[Array] = []
        self._scores: list[Array] = []
        self._times = array("d")

    def add(self, time_seconds: float, maps: Array, targets: Array, scores: Array) -> None:
        """One frame: maps float32 (targets, h, w), targets int (targets,), scores float32 (targets,)."""
        self._shape = maps.shape
        with _spooling():
            self._spool.write(np.ascontiguousarray(maps, np.float32).tobytes())
        self._targets.append(targets)
        self._scores.append(scores)
        self._times.append(time_seconds)

    @property
    def frames(self) -> int:
        """How many frames were added."""
        return len(self._times)

    def state(self, *, since: int) -> dict[str, Array]:
        """What was added from number `since` on, for `restore`."""
        if self._shape is None or since == self.frames:
            return {}
        return {
            "map_times": np.array(self._times[since:]),
            "maps": self._spooled()[since:],
            "map_targets": np.stack(self._targets[since:]),
            "map_scores": np.stack(self._scores[since:]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Add what `state` gave."""
        if "maps" in state:
            for row in zip(*(state[key] for key in ("map_times", "maps", "map_targets", "map_scores")), strict=True):
                self.add(*row)

    def _spooled(self) -> Array:
        assert self._shape is not None, "no frame was added"
        with _spooling():
            self._spool.flush()
        return np.memmap(self._spool, np.float32, "r", shape=(len(self._times), *self._shape))

    def close(self) -> None:
        """Give back the disk space."""
        with suppress(OSError):  # what a full disk did not take
            self._spool.close()

    def write(self, path: Path, *, region: tuple[float, float, float, float], overwrite: bool) -> None:
        """Write all frames as .npz, with `region` (left, top, right, bottom) in [0, 1], the part of a frame that its maps cover.

        It has `maps` float32 (frames, targets, h, w), `targets` int and `scores` float32 (frames, targets), and `time_seconds` float64
        (frames,). Raises OutputError as `atomic_write` does, or where the maps could not be kept until now.
        """
        maps = self._spooled()
        with atomic_write(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                maps=maps,
                targets=np.stack(self._targets),
                scores=np.stack(self._scores).astype(np.float32),
                time_seconds=np.frombuffer(self._times, np.float64),
                region=np.asarray(region, np.float32),
            )


def _spooling() -> AbstractContextManager[None]:
    return report_write_errors(Path(tempfile.gettempdir()), remedy="make room, or set TMPDIR to another folder")
