"""Outputs go under the name that the contract gives them, and what must not be written is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import CommandError, OutputError
from pipeline.explain import job_planning
from pipeline.files.atomic import atomic_write
from pipeline.files.output_paths import check_output, identify_files, name_outputs
from pipeline.options import Options


def test_outputs_that_must_not_be_written_are_refused(tmp_path: Path) -> None:
    source, hard, soft = tmp_path / "in.mp4", tmp_path / "hard.mp4", tmp_path / "soft.mp4"
    source.write_text("x")
    hard.hardlink_to(source)
    soft.symlink_to(source)
    for output in (source, hard, soft):
        with pytest.raises(OutputError, match="is the input itself"):
            check_output(output, sources=identify_files([source]), overwrite=True)
    other = tmp_path / "other.mp4"
    other.write_text("y")
    with pytest.raises(OutputError, match=r"exists already; add --overwrite"):
        check_output(other, sources=identify_files([source]), overwrite=False)
    check_output(other, sources=identify_files([source]), overwrite=True)
    with pytest.raises(OutputError, match="is not a folder"):
        check_output(other / "below" / "a.mp4", sources=frozenset(), overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, sources=frozenset(), overwrite=True)
    check_output(tmp_path / "new" / "newer" / "a.mp4", sources=identify_files([source]), overwrite=False)
    assert sorted([p.name for p in tmp_path.iterdir()]) == ["hard.mp4", "in.mp4", "other.mp4", "soft.mp4"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        check_output(link, sources=frozenset(), overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        check_output(tmp_path / "a.mp4", sources=frozenset(), overwrite=False)
    tmp_path.chmod(0o700)


def names(inputs: list[str], output: str | None, suffix: str = ".mp4") -> list[str]:
    return [
        str(p) for p in name_outputs([Path(i) for i in inputs], output=Path(output) if output else None, suffixes=[suffix] * len(inputs))
    ]


def test_outputs_are_named_as_in_the_contract(tmp_path: Path) -> None:
    assert names(["kitchen.mov"], None) == ["kitchen_output.mp4"]
    assert names(["in/dog.jpg"], None, ".jpg") == ["in/dog_output.jpg"]
    assert names(["kitchen.mov"], "x.mkv") == ["x.mkv"]
    assert names(["kitchen.mov"], str(tmp_path)) == [f"{tmp_path}/kitchen_output.mp4"]
    assert names(["a/one.mov", "b/two.mov"], "out") == ["out/one_output.mp4", "out/two_output.mp4"]
    assert names(["vfr.mkv", "vfr.mp4", "x.mp4"], None) == ["vfr.mkv_output.mp4", "vfr.mp4_output.mp4", "x_output.mp4"]


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="several inputs would be written to this name"):
        names(["a/x.mp4", "b/x.mp4"], "out")
    with pytest.raises(CommandError, match="several inputs need a folder"):
        names(["a.mp4", "b.mp4"], "x.mp4")
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(CommandError, match="several inputs need a folder"):
        names(["a.mp4", "b.mp4"], str(taken))


@pytest.mark.parametrize("name", ["\U0001f600" * 50 + ".png", os.fsdecode(b"bad\xff\n%03d.png"), "-a b'\"[1]:c.png"])
def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name, sources=identify_files([tmp_path / "in.png"]), overwrite=False)
    with atomic_write(tmp_path / name, overwrite=False) as temporary:
        temporary.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_name_too_long_to_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"File name too long; name another file with --output"):
        check_output(tmp_path / ("n" * 250 + "_output.png"), sources=frozenset(), overwrite=False)


def test_every_file_is_asked_for_a_few_times_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    stat = os.stat

    def counting(*given: Any, **options: Any) -> os.stat_result:
        nonlocal asked
        asked += 1
        return stat(*given, **options)

    counts = []
    for count in (10, 40):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            Image.new("L", (8, 8)).save(folder / f"{number}.png")
            (folder / f"{number}_output.png").touch()
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", counting)
            asked = 0
            plan = job_planning.plan_images([folder], output=None, options=Options(overwrite=True))
        assert len(plan) == count
        counts.append(asked)
    assert counts[0] >= 20 and counts[1] <= 4 * counts[0]
