"""Where something was seen: from the ledger, by the command, and cut out of the video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from test_faults import ROOT, run
from test_media import decoded

from pipeline import archive, search
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.ledger import Entry, open_ledger
from pipeline.processes import Process
from pipeline.records import ClassName, Found, Stretch

TABBY = ClassName(index=281, wnid="n02123045", label="tabby")
EGYPTIAN = ClassName(index=285, wnid="n02124075", label="Egyptian cat")
CATAMARAN = ClassName(index=484, wnid="n02981792", label="catamaran")


def seen(name: ClassName, start: float, end: float, best: float) -> Stretch:
    return Stretch(name=name, start_seconds=start, end_seconds=end, frames=1, mean_score=best / 2, best_score=best)


def an_archive(output: Path, files: dict[str, Sequence[Stretch]], *, shard: tuple[int, int] | None = None, **settings: Any) -> Path:
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
            assert claim is not None and book.finish(claim, outcome={}, stretches=stretches, frames=1)
        book.end_run(run, 0)
    return output


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    first = {"a.mov": [seen(TABBY, 0, 5, 0.4), seen(EGYPTIAN, 1, 2, 0.8)], "b.jpg": [seen(EGYPTIAN, 0, 0, 0.6)]}
    an_archive(tmp_path / "out", first, shard=(1, 2))
    return an_archive(tmp_path / "out", {"sub/c.mov": [seen(CATAMARAN, 10, 20.5, 0.7), seen(EGYPTIAN, 3, 9, 0.5)]}, shard=(2, 2))


def test_hits_come_from_all_shards_the_best_first(cats: Path) -> None:
    hits = search.search(cats, "CAT")
    assert [(str(hit.input), hit.label, hit.start_seconds, hit.end_seconds, hit.score) for hit in hits] == [
        ("/archive/a.mov", "Egyptian cat", 1, 2, 0.8),
        ("/archive/sub/c.mov", "catamaran", 10, 20.5, 0.7),
        ("/archive/b.jpg", "Egyptian cat", 0, 0, 0.6),
        ("/archive/sub/c.mov", "Egyptian cat", 3, 9, 0.5),
    ]
    assert hits[1].output == cats / "sub" / "c.mov_output.mp4" and hits[2].is_picture


@pytest.mark.parametrize(
    ("query", "how", "scores"),
    [
        ("tabby", {}, [0.4]),
        ("n02123045", {}, [0.4]),
        ("n021230", {}, []),
        ("egyptian cat", {"min_score": 0.6}, [0.8, 0.6]),
        ("cat", {"min_seconds": 1.0}, [0.8, 0.7, 0.5]),
        ("cat", {"min_seconds": 1.5}, [0.7, 0.5]),
        ("cat", {"limit": 2}, [0.8, 0.7]),
        ("dog", {}, []),
        ("%", {}, []),
    ],
)
def test_what_matches(cats: Path, query: str, how: dict[str, Any], scores: list[float]) -> None:
    assert [hit.score for hit in search.search(cats, query, **how)] == scores


def test_what_is_wrong_with_a_query(cats: Path, tmp_path: Path) -> None:
    for query, limit in ((" ", 20), ("cat", 0)):
        with pytest.raises(CommandError):
            search.search(cats, query, limit=limit)
    with pytest.raises(InputError, match="no batch has been here"):
        search.search(tmp_path, "cat")


def test_what_is_made_anew_is_not_found_meanwhile(tmp_path: Path) -> None:
    out = an_archive(tmp_path, {"a.mov": [seen(TABBY, 0, 5, 0.4)]})
    with open_ledger(archive.ledger_file(out, None)) as book:
        number = book.settings("{}")
        run = book.begin_run(settings=number, command="", version="", process=Process.here())
        found = Found(path=Path("a.mov"), relative=b"a.mov", kind="video", size_bytes=2, mtime_ns=1)
        assert book.enter([Entry(found=found, outputs=[b"a.mov_output.mp4"])], run=run, settings=number, exists=lambda _: True) == [
            "changed"
        ]
    assert search.search(out, "tabby") == []


def test_a_hit_in_a_range_is_at_the_outputs_own_time(tmp_path: Path) -> None:
    [hit] = search.search(an_archive(tmp_path, {"a b.mov": [seen(TABBY, 12, 15, 0.4)]}, start_seconds=10.0), "tabby")
    assert hit.within_output == (2.0, 5.0) and hit.start_seconds == 12.0
    assert hit.command.split()[1].endswith("2.000") and hit.command.endswith(f"'{tmp_path}/a b.mov_output.mp4'")


def test_hits_are_cut_out_of_the_video(tmp_path: Path) -> None:
    """Every picture of it is there: from the last key frame before it, one a second in these clips, until its end."""
    out = an_archive(tmp_path / "out", {"v": [seen(TABBY, 1.5, 2.48, 0.9), seen(EGYPTIAN, 0, 0, 0.5)], "gone": [seen(TABBY, 0, 1, 0.8)]})
    clips.write_clip(out / "v_output.mp4", [Fraction(n, 25) for n in range(100)], audio_start=Fraction(0), audio_seconds=4.0)
    first, second, picture = search.search(out, "t", limit=9)
    made = search.cut(first, tmp_path / "cuts", overwrite=False)
    assert made is not None and made.made and made.path.name == "v_output_tabby_1.500.mp4"
    times, pictures = decoded(made.path)
    numbers = [clips.read_number(shown) for shown in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] in (25, 37) and numbers[-1] in (61, 62, 63, 64)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
    assert search.cut(picture, tmp_path / "cuts", overwrite=False) is None
    with pytest.raises(InputError, match="not there any more"):
        search.cut(second, tmp_path / "cuts", overwrite=False)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_clip_that_is_there_is_kept_if_it_is_the_same_hit(tmp_path: Path, suffix: str) -> None:
    clips.write_clip(tmp_path / f"v_output.{suffix}", [Fraction(n, 25) for n in range(60)], audio_start=Fraction(0), audio_seconds=2.0)
    hit = search.Hit(input=Path("v"), output=tmp_path / f"v_output.{suffix}", label="tabby", start_seconds=0.5, end_seconds=1.0, score=0.9)
    first = search.cut(hit, tmp_path / "cuts", overwrite=False)
    assert first is not None
    before = first.path.stat()
    assert search.cut(hit, tmp_path / "cuts", overwrite=False) == (first.path, False)
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    longer = replace(hit, end_seconds=1.8)  # begins alike, so its clip has the same name
    with pytest.raises(OutputError, match="exists already, and shows something else than this hit; add --overwrite"):
        search.cut(longer, tmp_path / "cuts", overwrite=False)
    size = before.st_size
    assert first.path.stat().st_ino == before.st_ino
    assert search.cut(longer, tmp_path / "cuts", overwrite=True) == (first.path, True) and first.path.stat().st_size > size
    assert [path.name for path in (tmp_path / "cuts").iterdir()] == [first.path.name]


def test_the_command(cats: Path, tmp_path: Path) -> None:
    ended = run("search", "out", "CAT", "--min-score", "0.55", "--json", cwd=tmp_path)
    hits = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0 and [hit["score"] for hit in hits] == [0.8, 0.7, 0.6]
    assert hits[0].pop("output") == "out/a.mov_output.mp4"
    assert hits[0] == {"input": "/archive/a.mov", "label": "Egyptian cat", "start_seconds": 1.0, "end_seconds": 2.0, "score": 0.8}
    ended = run("search", "out", "catamaran", "--clip", "cuts", cwd=tmp_path)
    assert ended.code == 1 and "70.0%  catamaran  00:00:10.000 to 00:00:20.500  /archive/sub/c.mov" in ended.out
    assert ended.last.startswith("error: out/sub/c.mov_output.mp4: is not there any more")
    ended = run("search", "out", "zebra", cwd=tmp_path)
    assert (ended.code, ended.out, ended.last) == (0, "", "nothing was found")
    assert run("search", "nowhere", "cat", cwd=tmp_path).code == 1


def test_a_reader_that_has_enough_is_no_error(cats: Path, tmp_path: Path) -> None:
    """`head` takes one line and goes; a full disk is told."""
    program = f"{sys.executable} -m cli search out CAT --json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def bash(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    ended = bash(f"{program} | (exec <&-; sleep 0); echo ${{PIPESTATUS[0]}}; {program} | head -1; echo ${{PIPESTATUS[0]}}")
    first, hit, second = ended.stdout.splitlines()
    assert (first, second, ended.stderr) == ("0", "0", "") and json.loads(hit)["score"] == 0.8
    full = bash(f"{program} > /dev/full")
    assert full.returncode == 1 and "stdout cannot be written: No space left" in full.stderr
