"""The archive's page, from ledgers as batches leave them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.commands import run
from support.indexed import EGYPTIAN, TABBY, an_archive, seen

from pipeline.batch import archive_layout, page_publisher, status_report
from pipeline.batch.scanning import folder_walk
from pipeline.batch.scanning.inclusion_rules import Rules
from pipeline.batch.store.attempt_outcomes import Failed
from pipeline.batch.store.job_store import open_store
from pipeline.batch.store.row_records import Entry
from pipeline.files.processes import Process
from pipeline.models import zoo
from pipeline.options import ModelChoice, Options
from pipeline.records import Found


def test_a_page_is_the_archives_where_one_of_its_ledgers_knows_of_it(tmp_path: Path) -> None:
    out = an_archive(tmp_path, {"a.mov": []}, shard=(1, 2))
    an_archive(tmp_path, {"b.mov": []}, shard=(2, 2))
    (out / "index.html").write_text("somebody else's")
    assert status_report.read_status(out, every_job=False).page is None
    with open_store(archive_layout.list_store_files(out)[1]) as store:
        store.set_meta("page", "final")
    assert status_report.read_status(out, every_job=False).page == out / "index.html"
    (out / "index.html").unlink()
    assert status_report.read_status(out, every_job=False).page is None


@pytest.mark.process
@pytest.mark.parametrize("option", ["--no-report", "--report"])
def test_without_a_page_of_its_own_a_batch_opens_its_folder(tmp_path: Path, option: str) -> None:
    """Somebody else's page is neither named nor opened; no worker is started, for the one picture has failed before."""
    out, given, opener = tmp_path / "out", tmp_path / "given", tmp_path / "bin" / "xdg-open"
    for folder in (given, opener.parent, archive_layout.home_folder(out)):
        folder.mkdir(parents=True)
    (given / "a.jpg").write_text("torn")
    (out / "index.html").write_text("somebody else's")
    opener.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/opened"\n')
    opener.chmod(0o755)
    request = archive_layout.Request(
        sources=["given"], output=out, choice=ModelChoice(model=zoo.DEFAULT_MODEL), options=Options(), rules=Rules()
    )
    with open_store(archive_layout.store_file(out, None)) as store:
        number = store.add_settings(request.settings)
        run_number = store.runs.begin(settings=number, command="", version="", process=Process.here())
        store.set_meta("root", str(given))
        [found] = [each for each in folder_walk.discover([given], root=given, output=out, rules=request.rules) if isinstance(each, Found)]
        store.entries.add([archive_layout.make_entry(found, request.options)], run=run_number, settings=number, exists=lambda _: False)
        lease = store.leases.take(run=run_number, settings=number, owner=Process.here(), exists=lambda _: False)
        assert lease is not None
        store.leases.settle(lease, Failed(charge="error", error_class="InputError", error_text="a.jpg: torn"), now=0.0)
        store.runs.end(run_number, 1)
    ended = run("batch", "given", "-o", "out", "--open", option, cwd=tmp_path, PATH=f"{opener.parent}:{os.environ['PATH']}")
    assert ended.code == 1 and "nothing to do" in ended.err and "page:" not in ended.err, ended.err
    assert (tmp_path / "opened").read_text() == f"{out}\n" and (out / "index.html").read_text() == "somebody else's"


def test_what_is_shown_of_an_archive(tmp_path: Path) -> None:
    """Two shards; a failure before what is done; only what is there is linked; of a class its best stretch."""
    stretches = [seen(TABBY, 0, 5, 0.4), seen(EGYPTIAN, 1, 2, 0.8), seen(TABBY, 7, 9, 0.6)]
    out = an_archive(tmp_path, {"sub/a.mov": stretches, "b.mov": []}, shard=(1, 2), start_seconds=0.5)
    an_archive(tmp_path, {"c.mov": [seen(TABBY, 3, 4, 0.9)]}, shard=(2, 2))
    (out / "sub").mkdir()
    (out / "sub" / "a.mov_output.html").touch()
    files = archive_layout.list_store_files(out)
    with open_store(files[0]) as one, open_store(files[1]) as two:
        number = one.newest_settings
        assert number is not None
        run = one.runs.begin(settings=number, command="", version="", process=Process.here())
        for name in ("bad.mov", "later.mov"):
            found = Found(path=Path(name), relative=name.encode(), kind="video", size_bytes=1, mtime_ns=1)
            one.entries.add([Entry(found=found, outputs=[f"{name}.mp4".encode()])], run=run, settings=number, exists=lambda _: False)
        lease = one.leases.take(run=run, settings=number, owner=Process.here(), exists=lambda _: False)
        assert lease is not None
        failed = Failed(charge="error", error_class="InputError", error_text="/archive/bad.mov: no video in it")
        one.leases.settle(lease, failed, now=0.0)
        job = next(row.job for row in one.jobs(["done"]))
        poster = archive_layout.poster_file(one, out, job)
        poster.parent.mkdir()
        poster.touch()
        page = page_publisher.make_gallery([(one, number), (two, two.newest_settings)], out, refreshed="now")
        page_publisher.write_gallery([(one, number), (two, two.newest_settings)], out, refreshed="now")
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
