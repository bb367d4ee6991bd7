"""The archive's page, from ledgers as batches leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_search import EGYPTIAN, TABBY, an_archive, seen

from pipeline import archive, gallery
from pipeline.ledger import Entry, open_ledger
from pipeline.processes import Process
from pipeline.records import Found


def test_what_is_shown_of_an_archive(tmp_path: Path) -> None:
    """Two shards; a failure before what is done; only what is there is linked; of a class its best stretch."""
    stretches = [seen(TABBY, 0, 5, 0.4), seen(EGYPTIAN, 1, 2, 0.8), seen(TABBY, 7, 9, 0.6)]
    out = an_archive(tmp_path, {"sub/a.mov": stretches, "b.mov": []}, shard=(1, 2), start_seconds=0.5)
    an_archive(tmp_path, {"c.mov": [seen(TABBY, 3, 4, 0.9)]}, shard=(2, 2))
    (out / "sub").mkdir()
    (out / "sub" / "a.mov_output.html").touch()
    files = archive.ledger_files(out)
    with open_ledger(files[0]) as one, open_ledger(files[1]) as two:
        number = one.newest_settings
        run = one.begin_run(settings=number, command="", version="", process=Process.here())
        for name in ("bad.mov", "later.mov"):
            found = Found(path=Path(name), relative=name.encode(), kind="video", size_bytes=1, mtime_ns=1)
            one.enter([Entry(found=found, outputs=[f"{name}.mp4".encode()])], run=run, settings=number, exists=lambda _: False)
        claim = one.claim(run=run, settings=number, owner=Process.here(), exists=lambda _: False)
        assert claim is not None
        one.fail(claim, error_class="InputError", error_text="/archive/bad.mov: no video in it", charge="error", final=True, how="error")
        job = next(row.job for row in one.jobs(["done"]))
        poster = archive.poster_of(one, out, job)
        poster.parent.mkdir()
        poster.touch()
        page = gallery.gallery([(one, number), (two, two.newest_settings)], out, refreshed="now")
        gallery.write_gallery([(one, number), (two, two.newest_settings)], out, refreshed="now")
    assert page.counts == {"done": 3, "failed": 1, "to do": 1, "missing": 0} and page.title == "archive"
    assert [(item.name, item.state, item.error) for item in page.items] == [
        ("bad.mov", "failed", "no video in it"),
        ("sub/a.mov", "done", None),
        ("b.mov", "done", None),
        ("c.mov", "done", None),
    ]
    first = page.items[1]
    assert (first.page, first.poster) == ("sub/a.mov_output.html", str(poster.relative_to(out))) and page.items[2].page is None
    assert first.seen == [("Egyptian cat", 0.5, pytest.approx(0.8)), ("tabby", 6.5, pytest.approx(0.6))]  # by the output's time
    assert "no video in it" in (out / "index.html").read_text()
