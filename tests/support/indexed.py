"""An archive whose index says what is to be found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.batch import archive
from pipeline.batch.store.job_store import Entry, open_ledger
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
    file = archive.ledger_file(output, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_ledger(file) as book:
        number = book.settings(json.dumps(settings))
        run = book.begin_run(settings=number, command="", version="", process=Process.here())
        book.set_meta("root", "/archive")
        for name, stretches in files.items():
            found = Found(path=Path(name), relative=name.encode(), kind="video", size_bytes=1, mtime_ns=1)
            book.enter([Entry(found=found, outputs=[f"{name}_output.mp4".encode()])], run=run, settings=number, exists=lambda _: False)
            claim = book.claim(run=run, settings=number, owner=Process.here(), exists=lambda _: False)
            classes, kinds = [[s for s in stretches if isinstance(s, wanted)] for wanted in (LabelInterval, KindInterval)]
            assert claim is not None and book.finish(claim, outcome={}, stretches=classes, kinds=kinds, frames=1)  # type: ignore[arg-type]
        book.end_run(run, 0)
    return output
