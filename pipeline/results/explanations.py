"""What a network said of each frame, kept while an input is worked on, and written to the formats of the contract."""

from __future__ import annotations

import csv
import itertools
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import OutputError
from pipeline.files.atomic import atomic_write
from pipeline.records import ClassGroup, ClassName, Interval, KindInterval, LabelInterval, Outcome, Prediction, Thumbnail

SHOWN_SCORE = 0.05  # what is less likely is not worth finding
KEPT_SCORE = 0.01  # what is less likely is not counted in the sum of a kind's classes
# What was seen again so soon is one stretch: somebody turned away, or came too close. Across a cut it is another scene's.
# The millionth is for times in floating point: 4.15 less 3.15 is more than 1.
PAUSE_SECONDS, PAUSE_WITH_CUT_SECONDS = 3.0 + 1e-6, 1.0 + 1e-6
# Of per-frame predictions: what was measured, and then what the title of the first panel says, which --smooth and --target make another.
COLUMNS = ("frame", "time_seconds", "rank", "index", "wnid", "label", "score", "shown_index", "shown_label", "shown_score")
# Of what `state` gives, of Track, RawMaps and painting.Painter: a run that was interrupted by a program with another begins anew.
STATE_VERSION = 2


def top_predictions(scores: Array, classes: Sequence[ClassName], k: int) -> list[Prediction]:
    """The k highest of scores float (classes,), best first; the lower index first where two are equal."""
    best = np.argsort(-scores, kind="stable")[:k]
    return [Prediction(name=classes[i], score=float(scores[i])) for i in best]


def _text_file(path: Path) -> TextIO:
    """UTF-8; what is none in a file's name (surrogates in Python) becomes \\udcff, which JSON reads back as it was."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


class Explanations:
    """The top k of every frame of one input (a few bytes each), and the sum of all scores for the ranking over its length.

    For kinds, whose classes' scores are summed, also all classes of KEPT_SCORE or more: 8 bytes each, of which a frame seldom has ten.
    For a report also the times of scene cuts, and thumbnails, which whoever paints may append.
    """

    def __init__(self, input: Path, top_k: int) -> None:
        self.input = input
        self.top_k = top_k
        self.frames = 0
        self._sum: Array | None = None
        self._asked_sum: Array | None = None
        self._times = array("d")
        self._indices = array("i")
        self._scores = array("f")
        self._kept_counts = array("i")
        self._kept_indices = array("i")
        self._kept_scores = array("f")
        self._shown_indices = array("i")
        self._shown_scores = array("f")
        self._cuts = array("d")
        self.thumbnails: list[Thumbnail] = []

    def add(
        self, time_seconds: float, scores: Array, *, asked: Array | None = None, shown: tuple[int, float] | None = None, cut: bool = False
    ) -> None:
        """The scores float (classes,) of the next frame, those of the targets float (t,), and whether a scene begins with it.

        `shown` is the class that the title names with the score beside it, where it is not the best of these scores.
        """
        if cut:
            self._cuts.append(time_seconds)
        self._sum = scores.astype(np.float64) if self._sum is None else self._sum + scores
        self._asked_sum = _added(self._asked_sum, None if asked is None else asked.astype(np.float64))
        best = np.argsort(-scores, kind="stable")[: self.top_k]
        self.frames += 1
        self._times.append(time_seconds)
        self._indices.extend(int(i) for i in best)
        self._scores.extend(float(scores[i]) for i in best)
        index, score = shown or (int(np.argmax(scores)), float(np.max(scores)))
        self._shown_indices.append(index)
        self._shown_scores.append(score)
        kept = np.flatnonzero(scores >= KEPT_SCORE)
        self._kept_counts.append(len(kept))
        self._kept_indices.extend(kept.tolist())
        self._kept_scores.extend(scores[kept].tolist())

    @property
    def times_seconds(self) -> Array:
        """Of every frame, float64 (frames,)."""
        return np.array(self._times, np.float64)

    def state(self, *, since: int) -> dict[str, Array]:
        """What was added from frame number `since` on, with the sums so far, for `restore`."""
        k = len(self._indices) // self.frames if self.frames else 0
        kept = sum(self._kept_counts[:since])
        return {
            "times": np.array(self._times[since:]),
            "indices": np.array(self._indices[since * k :], np.int32),
            "scores": np.array(self._scores[since * k :], np.float32),
            "shown_indices": np.array(self._shown_indices[since:], np.int32),
            "shown_scores": np.array(self._shown_scores[since:], np.float32),
            "kept_counts": np.array(self._kept_counts[since:], np.int32),
            "kept_indices": np.array(self._kept_indices[kept:], np.int32),
            "kept_scores": np.array(self._kept_scores[kept:], np.float32),
            "sum": np.zeros(0) if self._sum is None else self._sum,
            **({} if self._asked_sum is None else {"asked_sum": self._asked_sum}),
            "cuts": np.array([t for t in self._cuts if since < self.frames and t >= self._times[since]]),
            **_as_arrays([t for t in self.thumbnails if since < self.frames and t.time_seconds >= self._times[since]]),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Add what `state` gave for the frames that follow those added so far."""
        self._times.extend(state["times"].tolist())
        self._indices.extend(state["indices"].tolist())
        self._scores.extend(state["scores"].tolist())
        self._shown_indices.extend(state["shown_indices"].tolist())
        self._shown_scores.extend(state["shown_scores"].tolist())
        self._kept_counts.extend(state["kept_counts"].tolist())
        self._kept_indices.extend(state["kept_indices"].tolist())
        self._kept_scores.extend(state["kept_scores"].tolist())
        self._cuts.extend(state["cuts"].tolist())
        self.thumbnails += _from_arrays(state)
        self._sum, self._asked_sum = state["sum"], state.get("asked_sum")
        self.frames = len(self._times)

    def extend(self, following: Explanations) -> None:
        """Add the frames of a part that follows."""
        self._times.extend(following._times)
        self._indices.extend(following._indices)
        self._scores.extend(following._scores)
        self._shown_indices.extend(following._shown_indices)
        self._shown_scores.extend(following._shown_scores)
        self._kept_counts.extend(following._kept_counts)
        self._kept_indices.extend(following._kept_indices)
        self._kept_scores.extend(following._kept_scores)
        self._cuts.extend(following._cuts)
        self.thumbnails += following.thumbnails
        if following._sum is not None:
            self._sum = following._sum if self._sum is None else self._sum + following._sum
        self._asked_sum = _added(self._asked_sum, following._asked_sum)
        self.frames = len(self._times)

    def stretches(self, classes: Sequence[ClassName], *, last_seconds: float) -> list[LabelInterval]:
        """What was seen from when to when, by begin: each class while it is among the top k with SHOWN_SCORE or more.

        A pause of up to PAUSE_SECONDS does not end a stretch, or PAUSE_WITH_CUT_SECONDS where a scene begins in it. `last_seconds` is how
        long the last frame is shown.
        """
        k = len(self._indices) // self.frames if self.frames else 0
        if not k:
            return []
        indices, scores, shows = np.array(self._indices), np.array(self._scores), self._shows(last_seconds)
        shown = np.flatnonzero(scores >= SHOWN_SCORE)
        shown = shown[np.lexsort((shown, indices[shown]))]
        found: list[LabelInterval] = []
        for run in np.split(shown, np.flatnonzero(np.diff(indices[shown])) + 1) if len(shown) else ():
            name = classes[indices[run[0]]]
            found += [LabelInterval(name=name, **vars(each)) for each in _intervals(run // k, scores[run], shows)]
        return sorted(found, key=lambda stretch: (stretch.start_seconds, -stretch.best_score))

    def kind_stretches(self, kinds: Sequence[ClassGroup], *, last_seconds: float) -> list[KindInterval]:
        """What kinds of things were seen from when to when, by begin: each while the scores of its classes come to SHOWN_SCORE or more.

        A class counts in the frames in which it has KEPT_SCORE or more. Pauses and `last_seconds` are as in `stretches`.
        """
        indices, shows = np.array(self._kept_indices, np.int32), self._shows(last_seconds)
        order = np.argsort(indices, kind="stable")
        kept = np.array(self._kept_scores)[order]
        frames = np.repeat(np.arange(self.frames), np.array(self._kept_counts, np.int32))[order]
        begins = np.searchsorted(indices[order], np.arange(1 + max((kind.members[-1] + 1 for kind in kinds), default=0)))
        seen = set(np.flatnonzero(np.diff(begins)).tolist())
        found: list[KindInterval] = []
        for kind in kinds:
            members = [i for i in kind.members if i in seen]
            if not members:
                continue
            of_kind = np.concatenate([np.arange(begins[i], begins[i + 1]) for i in members])
            scores = np.minimum(np.bincount(frames[of_kind], kept[of_kind], self.frames), 1.0)
            shown = np.flatnonzero(scores >= SHOWN_SCORE)
            runs = _intervals(shown, scores[shown], shows)
            found += [KindInterval(wnid=kind.wnid or "", **vars(each)) for each in runs]
        return sorted(found, key=lambda stretch: (stretch.start_seconds, -stretch.best_score))

    def _shows(self, last_seconds: float) -> tuple[Array, Array, Array]:
        """When each frame begins and ends, float64 (frames,), and the number of its scene."""
        times = self.times_seconds
        return times, np.append(times[1:], times[-1:] + last_seconds), np.searchsorted(np.array(self._cuts), times, side="right")

    @property
    def cuts_seconds(self) -> list[float]:
        return self._cuts.tolist()

    @property
    def top(self) -> tuple[Array, Array]:
        """Of every frame the classes' indices int32 (frames, k) and their scores float32 (frames, k), the best first."""
        shape = self.frames, len(self._indices) // max(1, self.frames)
        return np.array(self._indices, np.int32).reshape(shape), np.array(self._scores, np.float32).reshape(shape)

    @property
    def shown(self) -> tuple[Array, Array]:
        """Of every frame the class that its title names, int32 (frames,), and the score beside it, float32 (frames,)."""
        return np.array(self._shown_indices, np.int32), np.array(self._shown_scores, np.float32)

    @property
    def first_seconds(self) -> float:
        return self._times[0]

    @property
    def last_seconds(self) -> float:
        return self._times[-1]

    def last_frame_seconds(self, duration_seconds: float) -> float:
        """How long the last frame is shown, where all frames together are shown so long."""
        return max(0.0, duration_seconds - (self.last_seconds - self.first_seconds))

    def mean_scores(self) -> Array:
        assert self._sum is not None, "no frame was added"
        return self._sum / self.frames

    def mean_asked(self) -> Array:
        """Of the targets, float64 (t,); empty where none were given."""
        return np.zeros(0) if self._asked_sum is None else self._asked_sum / self.frames

    def rows(self, classes: Sequence[ClassName], target: ClassGroup | None = None) -> Iterator[dict[str, Any]]:
        """One row per frame and rank, with COLUMNS. `target` is what the title names in every frame, where something was asked for."""
        k = len(self._indices) // self.frames if self.frames else 0
        for frame, time_seconds in enumerate(self._times):
            title = classes[self._shown_indices[frame]]
            for rank in range(k):
                name, score = classes[self._indices[frame * k + rank]], self._scores[frame * k + rank]
                yield {
                    "frame": frame,
                    "time_seconds": round(time_seconds, 6),
                    "rank": rank + 1,
                    "index": name.index,
                    "wnid": name.wnid,
                    "label": name.label,
                    "score": round(score, 6),
                    "shown_index": title.index,
                    "shown_label": target.label if target else title.label,
                    "shown_score": round(self._shown_scores[frame], 6),
                }


def _added(sums: Array | None, more: Array | None) -> Array | None:
    return more if sums is None else sums if more is None else sums + more


def _intervals(frames: Array, scores: Array, shows: tuple[Array, Array, Array]) -> list[Interval]:
    """From frames in which something was seen, int (n,), ascending, with its scores (n,). `shows` is as Track._shows has it."""
    begins, ends, scenes = shows
    most = np.where(np.diff(scenes[frames]) > 0, PAUSE_WITH_CUT_SECONDS, PAUSE_SECONDS)
    pauses = np.flatnonzero(begins[frames[1:]] - ends[frames[:-1]] > most) + 1
    return [
        Interval(
            start_seconds=float(begins[run[0]]),
            end_seconds=float(ends[run[-1]]),
            frames=len(run),
            mean_score=float(score.mean()),
            best_score=float(score.max()),
        )
        for run, score in zip(np.split(frames, pauses), np.split(scores, pauses), strict=True)
        if len(run)
    ]


def _as_arrays(thumbnails: Sequence[Thumbnail]) -> dict[str, Array]:
    shapes = [(t.width_px, t.height_px, len(t.jpeg)) for t in thumbnails]
    return {
        "thumbnail_times": np.array([t.time_seconds for t in thumbnails]),
        "thumbnail_shapes": np.array(shapes, np.int64).reshape(-1, 3),
        "thumbnail_data": np.frombuffer(b"".join(t.jpeg for t in thumbnails), np.uint8),
    }


def _from_arrays(state: Mapping[str, Array]) -> list[Thumbnail]:
    data, begin, found = state["thumbnail_data"].tobytes(), 0, []
    for time_seconds, (width, height, length) in zip(state["thumbnail_times"].tolist(), state["thumbnail_shapes"].tolist(), strict=True):
        found.append(Thumbnail(time_seconds=time_seconds, jpeg=data[begin : begin + length], width_px=width, height_px=height))
        begin += length
    return found


def write_ranking(path: Path, outcomes: Sequence[Outcome], *, overwrite: bool, name_models: bool) -> None:
    """CSV with a row for each input and rank, over its whole length; with `name_models` a last column `model`."""
    columns = ["input", "rank", "index", "wnid", "label", "score", *(["model"] if name_models else [])]
    rows = (
        {"input": outcome.input, "rank": rank + 1, **prediction.as_json(), "model": outcome.model}
        for outcome in outcomes
        for rank, prediction in enumerate(outcome.top)
    )
    write_table(path, columns, rows, overwrite=overwrite)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, overwrite: bool) -> None:
    """Rows as CSV; what they have besides the columns is left out. Raises OutputError as `atomic_write` does."""
    with atomic_write(path, overwrite=overwrite) as temporary, _text_file(temporary) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_predictions(
    path: Path,
    tracks: Sequence[Explanations],
    classes: Sequence[ClassName],
    *,
    targets: Sequence[ClassGroup] | None = None,
    overwrite: bool,
    name_inputs: bool,
) -> None:
    """Write every track's rows; with `name_inputs` a first column `input`. The suffix chooses CSV, JSON lines or Parquet.

    `targets` are what was asked for, if anything was.
    """
    target = targets[0] if targets else None

    def rows() -> Iterator[dict[str, Any]]:
        for track in tracks:
            for row in track.rows(classes, target):
                yield {"input": str(track.input), **row} if name_inputs else row

    columns = [*(["input"] if name_inputs else []), *COLUMNS]
    with atomic_write(path, overwrite=overwrite) as temporary:
        if path.suffix.lower() == ".parquet":
            # Arrow's text is UTF-8 and nothing else.
            clean = ({**row, "input": row["input"].encode("utf-8", "backslashreplace").decode()} for row in rows())
            _write_parquet(temporary, clean if name_inputs else rows(), columns)
            return
        with _text_file(temporary) as file:
            if path.suffix.lower() == ".csv":
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows())
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {"frame": "int64", "time_seconds": "float64", "rank": "int32", "index": "int32", "score": "float32"}
    types |= {"shown_index": "int32", "shown_score": "float32"}
    schema = pyarrow.schema([(column, types.get(column, "string")) for column in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, 50_000)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


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
        with suppress(OSError):  # what a full disk did not take
            self._spool.close()

    def write(self, path: Path, *, region: tuple[float, float, float, float], overwrite: bool) -> None:
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


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "make room, or set TMPDIR to another folder"
        raise OutputError(f"{tempfile.gettempdir()}: cannot be written: {error.strerror or error}", remedy=remedy) from error
