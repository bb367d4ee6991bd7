"""An archive whose index says what is to be found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.batch import archive_layout
from pipeline.batch.store.attempt_outcomes import Finished
from pipeline.batch.store.job_store import open_store
from pipeline.batch.store.row_records import Entry
from pipeline.files.processes import Process
from pipeline.records import ClassName, Found, KindInterval, LabelInterval

TABBY = ClassName(index=281, wnid="n02123045", label="tabby")


EGYPTIAN = ClassName(index=285, wnid="n02124075", label="Egyptian cat")


def seen(name: ClassName, start: float, end: float, best: float) -> LabelInterval:
    return LabelInterval(name=name, start_seconds=start, end_seconds=end, frames=1, mean_score=best / 2, best_score=best)


def an_archive(
    output: Path, files: dict[str, Sequence[LabelInterval | KindInterval]], *, shard: tuple[int, int] | None = None, **settings: Any
) -> Path:
    """A ledger as a batch leaves it."""
    file = archive_layout.store_file(output, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_store(file) as store:
        number = store.add_settings(json.dumps(settings))
        run = store.runs.begin(settings=number, command="", version="", process=Process.here())
        store.set_meta("root", "/archive")
        for name, stretches in files.items():
            found = Found(path=Path(name), relative=name.encode(), kind="video", size_bytes=1, mtime_ns=1)
            store.entries.add(
                [Entry(found=found, outputs=[f"{name}_output.mp4".encode()])], run=run, settings=number, exists=lambda _: False
            )
            lease = store.leases.take(run=run, settings=number, owner=Process.here(), exists=lambda _: False)
            classes, kinds = [[s for s in stretches if isinstance(s, wanted)] for wanted in (LabelInterval, KindInterval)]
            change = Finished(outcome={}, intervals=classes, kinds=kinds, frames=1)  # type: ignore[arg-type]
            assert lease is not None and store.leases.settle(lease, change, now=0.0) == "done"
        store.runs.end(run, 0)
    return output
