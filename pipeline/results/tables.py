"""Tables of what was seen: per-frame predictions as CSV, JSON lines or Parquet, and the ranking over an input's length."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipeline.files import atomic_write
from pipeline.records import ClassGroup, ClassName, Outcome
from pipeline.results.explanations import Explanations

# Of per-frame predictions: what was measured, and then what the title of the first panel says, which --smooth and --target make another.
COLUMNS = ("frame", "time_seconds", "rank", "index", "wnid", "label", "score", "shown_index", "shown_label", "shown_score")


def _text_file(path: Path) -> TextIO:
    """UTF-8; what is none in a file's name (surrogates in Python) becomes \\udcff, which JSON reads back as it was."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


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


def prediction_rows(explanations: Explanations, classes: Sequence[ClassName], target: ClassGroup | None = None) -> Iterator[dict[str, Any]]:
    """One row per frame and rank, with COLUMNS. `target` is what the title names in every frame, where something was asked for."""
    times, (indices, scores), (titles, title_scores) = explanations.times_seconds, explanations.top, explanations.shown
    for frame in range(explanations.frames):
        title = classes[titles[frame]]
        for rank in range(indices.shape[1]):
            name = classes[indices[frame, rank]]
            yield {
                "frame": frame,
                "time_seconds": round(float(times[frame]), 6),
                "rank": rank + 1,
                "index": name.index,
                "wnid": name.wnid,
                "label": name.label,
                "score": round(float(scores[frame, rank]), 6),
                "shown_index": title.index,
                "shown_label": target.label if target else title.label,
                "shown_score": round(float(title_scores[frame]), 6),
            }


def write_predictions(
    path: Path,
    inputs: Sequence[Explanations],
    classes: Sequence[ClassName],
    *,
    targets: Sequence[ClassGroup] | None = None,
    overwrite: bool,
    name_inputs: bool,
) -> None:
    """Write the rows of every input; with `name_inputs` a first column `input`. The suffix chooses CSV, JSON lines or Parquet.

    `targets` are what was asked for, if anything was.
    """
    target = targets[0] if targets else None

    def rows() -> Iterator[dict[str, Any]]:
        for explanations in inputs:
            for row in prediction_rows(explanations, classes, target):
                yield {"input": str(explanations.input), **row} if name_inputs else row

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
