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

import numpy as np
import pytest
from support import clips
from support.commands import ROOT, call
from support.decoding import decoded
from support.indexed import EGYPTIAN, TABBY, an_archive, seen

from pipeline.batch import archive_layout, sighting_search
from pipeline.batch.store.job_store import open_store
from pipeline.batch.store.row_records import Entry
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.files.processes import Process
from pipeline.models import class_names
from pipeline.records import ClassName, Found, KindInterval, LabelInterval

PEMBROKE = ClassName(index=263, wnid="n02113023", label="Pembroke")
CATAMARAN = ClassName(index=484, wnid="n02981792", label="catamaran")


def seen_kind(wnid: str, start: float, end: float, best: float) -> KindInterval:
    return KindInterval(wnid=wnid, start_seconds=start, end_seconds=end, frames=1, mean_score=best / 2, best_score=best)


CAT, DOG = "n02121620", "n02084071"


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    first: dict[str, Sequence[LabelInterval | KindInterval]] = {
        "a.mov": [seen(TABBY, 0, 5, 0.4), seen(EGYPTIAN, 1, 2, 0.8)],
        "b.jpg": [seen(EGYPTIAN, 0, 0, 0.6)],
    }
    an_archive(tmp_path / "out", first, shard=(1, 2))
    return an_archive(tmp_path / "out", {"sub/c.mov": [seen(CATAMARAN, 10, 20.5, 0.7), seen(EGYPTIAN, 3, 9, 0.5)]}, shard=(2, 2))


def told(hits: Sequence[sighting_search.Hit]) -> list[tuple[str, str, float, float, float]]:
    return [(str(hit.input), hit.label, hit.start_seconds, hit.end_seconds, hit.score) for hit in hits]


def test_hits_come_from_all_shards_the_best_first(cats: Path) -> None:
    hits = sighting_search.search(cats, "EGYPTIAN CAT")
    assert told(hits) == [
        ("/archive/a.mov", "Egyptian cat", 1, 2, 0.8),
        ("/archive/b.jpg", "Egyptian cat", 0, 0, 0.6),
        ("/archive/sub/c.mov", "Egyptian cat", 3, 9, 0.5),
    ]
    assert hits[2].output == cats / "sub" / "c.mov_output.mp4" and hits[1].is_picture


def test_a_kind_whose_classes_alone_were_recorded_is_found_by_those_once_each_time(cats: Path) -> None:
    """As in every archive that an earlier version has made. The tabby and the Egyptian cat of a.mov are there at the same time."""
    assert told(sighting_search.search(cats, "cat")) == [
        ("/archive/a.mov", "cat", 0, 5, 0.8),
        ("/archive/b.jpg", "cat", 0, 0, 0.6),
        ("/archive/sub/c.mov", "cat", 3, 9, 0.5),
    ]


def test_a_kind_is_found_by_its_record(tmp_path: Path) -> None:
    """Where there is none for an input, by its classes; a picture's classes of less than 5 % do not make a kind."""
    out = an_archive(
        tmp_path,
        {
            "a.mov": [seen(TABBY, 0, 2, 0.4), seen_kind(CAT, 0, 9, 0.45), seen_kind("n02075296", 0, 9, 0.6)],
            "b.mov": [seen(TABBY, 4, 5, 0.3), seen(EGYPTIAN, 6, 7, 0.5), seen(TABBY, 8.5, 9, 0.2)],
            "c.mov": [seen_kind(CAT, 1, 3, 0.07)],
            "d.jpg": [seen(TABBY, 0, 0, 0.04), seen(PEMBROKE, 0, 0, 0.02)],
        },
    )
    assert told(sighting_search.search(out, "cats")) == [
        ("/archive/b.mov", "cat", 4, 7, 0.5),
        ("/archive/a.mov", "cat", 0, 9, 0.45),
        ("/archive/b.mov", "cat", 8.5, 9, 0.2),
        ("/archive/c.mov", "cat", 1, 3, 0.07),
    ]
    assert [hit.score for hit in sighting_search.search(out, CAT, min_seconds=2.5)] == [0.5, 0.45]
    assert [hit.score for hit in sighting_search.search(out, "true cat", min_score=0.3, limit=2)] == [0.5, 0.45]
    assert told(sighting_search.search(out, "carnivore")) == [
        ("/archive/a.mov", "carnivore", 0, 9, 0.6),
        ("/archive/b.mov", "carnivore", 4, 7, 0.5),
        ("/archive/b.mov", "carnivore", 8.5, 9, 0.2),
    ]
    assert told(sighting_search.search(out, "Pembroke")) == [("/archive/d.jpg", "Pembroke", 0, 0, 0.02)]


def test_classes_under_one_name_are_found_together(tmp_path: Path) -> None:
    """ "Bike" is two kinds; of "panther" and "welsh" no kind is. Where nothing joins the classes each is found by itself."""
    names = {n: class_names.imagenet_classes()[n] for n in (134, 218, 263, 286, 290, 517, 665)}
    out = an_archive(
        tmp_path,
        {
            "a.mov": [seen(names[286], 0, 2, 0.4), seen(names[290], 2.5, 4, 0.6), seen(names[134], 0, 1, 0.3), seen(names[517], 0, 1, 0.2)],
            "b.mov": [seen(names[218], 0, 2, 0.4), seen(names[263], 3, 4, 0.5), seen(names[263], 5.5, 6, 0.2)],
            "c.mov": [seen_kind("n02834778", 1, 2, 0.3), seen(names[665], 2, 3, 0.2)],
        },
    )
    assert told(sighting_search.search(out, "panthers")) == [("/archive/a.mov", "panthers", 0, 4, 0.6)]
    assert told(sighting_search.search(out, "Welsh")) == [("/archive/b.mov", "Welsh", 0, 4, 0.5), ("/archive/b.mov", "Welsh", 5.5, 6, 0.2)]
    assert told(sighting_search.search(out, "bike")) == [("/archive/c.mov", "bike", 1, 3, 0.3)]
    assert told(sighting_search.search(out, "crane")) == [
        ("/archive/a.mov", "crane (bird)", 0, 1, 0.3),
        ("/archive/a.mov", "crane (machine)", 0, 1, 0.2),
    ]


def test_the_next_stage_answers_when_nothing_of_one_was_seen(tmp_path: Path) -> None:
    """No cat was seen, nor a big cat, nor anything with the word; a filter that leaves nothing over is no reason to look further."""
    out = an_archive(tmp_path / "boats", {"a.mov": [seen(CATAMARAN, 0, 5, 0.4)]})
    assert told(sighting_search.search(out, "cat")) == [("/archive/a.mov", "catamaran", 0, 5, 0.4)]
    out = an_archive(tmp_path / "both", {"a.mov": [seen(CATAMARAN, 0, 5, 0.4), seen(TABBY, 0, 5, 0.1)]})
    assert sighting_search.search(out, "cat", min_score=0.3) == []


def test_labels_of_an_earlier_version_and_of_ones_own_are_found(tmp_path: Path) -> None:
    """The bird was recorded as "crane"; another has its own names for classes of ImageNet, and one that is none."""
    old = ClassName(index=134, wnid="n02012849", label="crane")
    out = an_archive(tmp_path / "old", {"a.mov": [seen(old, 0, 5, 0.4)]})
    for query in ("crane", "crane (bird)", "wading bird", "n02012849"):
        [hit] = sighting_search.search(out, query)
        assert hit.start_seconds == 0 and hit.label in ("crane (bird)", "wading bird")
    mine = [ClassName(index=0, wnid="n02123045", label="Tigerkatze"), ClassName(index=1, wnid=None, label="Kater")]
    out = an_archive(tmp_path / "mine", {"a.mov": [seen(mine[0], 0, 5, 0.4), seen(mine[1], 7, 8, 0.3)]})
    assert [hit.label for hit in sighting_search.search(out, "tigerkatze")] == ["Tigerkatze"]
    assert [hit.score for hit in sighting_search.search(out, "tabby")] == [0.4] == [hit.score for hit in sighting_search.search(out, "cat")]
    assert [hit.label for hit in sighting_search.search(out, "kat")] == ["Tigerkatze", "Kater"]


@pytest.mark.parametrize(
    ("query", "how", "scores"),
    [
        ("tabby", {}, [0.4]),
        ("n02123045", {}, [0.4]),
        ("n021230", {}, []),
        ("281", {}, []),  # the index is of a model, and the archive may be of several
        ("egyptian cat", {"min_score": 0.6}, [0.8, 0.6]),
        ("cat", {"min_seconds": 1.0}, [0.8, 0.5]),
        ("cat", {"min_seconds": 5.5}, [0.5]),
        ("cat", {"limit": 2}, [0.8, 0.6]),
        ("yptian", {}, [0.8, 0.6, 0.5]),
        ("dog", {}, []),
        ("%", {}, []),
    ],
)
def test_what_matches(cats: Path, query: str, how: dict[str, Any], scores: list[float]) -> None:
    assert [hit.score for hit in sighting_search.search(cats, query, **how)] == scores


def test_what_is_wrong_with_a_query(cats: Path, tmp_path: Path) -> None:
    for query, limit in ((" ", 20), ("cat", 0)):
        with pytest.raises(CommandError):
            sighting_search.search(cats, query, limit=limit)
    with pytest.raises(InputError, match="no batch has been here"):
        sighting_search.search(tmp_path, "cat")


def test_what_is_made_anew_is_not_found_meanwhile(tmp_path: Path) -> None:
    out = an_archive(tmp_path, {"a.mov": [seen(TABBY, 0, 5, 0.4)]})
    with open_store(archive_layout.store_file(out, None)) as store:
        number = store.add_settings("{}")
        run = store.runs.begin(settings=number, command="", version="", process=Process.here())
        found = Found(path=Path("a.mov"), relative=b"a.mov", kind="video", size_bytes=2, mtime_ns=1)
        assert store.entries.add([Entry(found=found, outputs=[b"a.mov_output.mp4"])], run=run, settings=number, exists=lambda _: True) == [
            "changed"
        ]
    assert sighting_search.search(out, "tabby") == []


def test_a_hit_in_a_range_is_at_the_outputs_own_time(tmp_path: Path) -> None:
    [hit] = sighting_search.search(an_archive(tmp_path, {"a b.mov": [seen(TABBY, 12, 15, 0.4)]}, start_seconds=10.0), "tabby")
    assert hit.within_output == (2.0, 5.0) and hit.start_seconds == 12.0
    assert hit.command.split()[1].endswith("2.000") and hit.command.endswith(f"'{tmp_path}/a b.mov_output.mp4'")


@pytest.mark.media
def test_hits_are_cut_out_of_the_video(tmp_path: Path) -> None:
    """Every picture of it is there: from the last key frame before it, one a second in these clips, until its end."""
    out = an_archive(tmp_path / "out", {"v": [seen(TABBY, 1.5, 2.48, 0.9), seen(EGYPTIAN, 0, 0, 0.5)], "gone": [seen(TABBY, 0, 1, 0.8)]})
    clips.write_clip(out / "v_output.mp4", [Fraction(n, 25) for n in range(100)], audio_start=Fraction(0), audio_seconds=4.0)
    first, second, picture = [*sighting_search.search(out, "tabby"), *sighting_search.search(out, "Egyptian cat")]
    made = sighting_search.cut_clip(first, tmp_path / "cuts", overwrite=False)
    assert made is not None and made.made and made.path.name == "v_output_tabby_1.500.mp4"
    times, pictures = decoded(made.path)
    numbers = [clips.read_number(shown) for shown in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] in (25, 37) and numbers[-1] in (61, 62, 63, 64)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
    assert sighting_search.cut_clip(picture, tmp_path / "cuts", overwrite=False) is None
    with pytest.raises(InputError, match="not there any more"):
        sighting_search.cut_clip(second, tmp_path / "cuts", overwrite=False)


@pytest.mark.media
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_clip_that_is_there_is_kept_if_it_is_the_same_hit(tmp_path: Path, suffix: str) -> None:
    clips.write_clip(tmp_path / f"v_output.{suffix}", [Fraction(n, 25) for n in range(60)], audio_start=Fraction(0), audio_seconds=2.0)
    hit = sighting_search.Hit(
        input=Path("v"), output=tmp_path / f"v_output.{suffix}", label="tabby", start_seconds=0.5, end_seconds=1.0, score=0.9
    )
    first = sighting_search.cut_clip(hit, tmp_path / "cuts", overwrite=False)
    assert first is not None
    before = first.path.stat()
    assert sighting_search.cut_clip(hit, tmp_path / "cuts", overwrite=False) == (first.path, False)
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    longer = replace(hit, end_seconds=1.8)  # begins alike, so its clip has the same name
    with pytest.raises(OutputError, match="exists already, and shows something else than this hit; add --overwrite"):
        sighting_search.cut_clip(longer, tmp_path / "cuts", overwrite=False)
    size = before.st_size
    assert first.path.stat().st_ino == before.st_ino
    assert sighting_search.cut_clip(longer, tmp_path / "cuts", overwrite=True) == (first.path, True) and first.path.stat().st_size > size
    assert [path.name for path in (tmp_path / "cuts").iterdir()] == [first.path.name]


def test_the_command(cats: Path, tmp_path: Path) -> None:
    ended = call("search", "out", "CATS", "--min-score", "0.55", "--json", cwd=tmp_path)
    hits = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0 and [hit["score"] for hit in hits] == [0.8, 0.6]
    assert hits[0].pop("output") == "out/a.mov_output.mp4"
    assert hits[0] == {"input": "/archive/a.mov", "label": "cat", "start_seconds": 0.0, "end_seconds": 5.0, "score": 0.8}
    ended = call("search", "out", "catamaran", "--clip", "cuts", cwd=tmp_path)
    assert ended.code == 1 and "70.0%  catamaran  00:00:10.000 to 00:00:20.500  /archive/sub/c.mov" in ended.out
    assert ended.last.startswith("error: out/sub/c.mov_output.mp4: is not there any more")
    ended = call("search", "out", "zebra", cwd=tmp_path)
    assert (ended.code, ended.out, ended.last) == (0, "", "nothing was found")
    assert call("search", "nowhere", "cat", cwd=tmp_path).code == 1


@pytest.mark.process
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
