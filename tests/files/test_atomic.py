"""Outputs appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.files.atomic import PendingFile, atomic_write


def test_a_file_gets_its_name_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "new" / "a.txt"
    with atomic_write(output, overwrite=False) as temporary:
        temporary.write_text("done")
        assert not output.exists() and temporary.parent == output.parent and temporary.suffix == ".txt"
    assert output.read_text() == "done"
    assert [p.name for p in output.parent.iterdir()] == ["a.txt"]


def test_a_file_that_failed_leaves_nothing_and_spares_what_was_there(tmp_path: Path) -> None:
    output = tmp_path / "a.txt"
    output.write_text("old")
    with pytest.raises(ValueError, match="stop"), atomic_write(output, overwrite=True) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert output.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_pending_file_waits_for_its_name(tmp_path: Path) -> None:
    output = tmp_path / "new" / "a.txt"
    with PendingFile(output, overwrite=False) as pending:
        pending.path.write_text("done")
    assert [p.name for p in output.parent.iterdir()] == [pending.path.name] != ["a.txt"]
    pending.commit()
    assert [p.name for p in output.parent.iterdir()] == ["a.txt"] and output.read_text() == "done"
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: full"), PendingFile(output, overwrite=True) as pending:
        pending.path.write_text("half")
        raise OSError(28, "full")
    with PendingFile(output, overwrite=False) as pending:
        pending.path.write_text("another")
    with pytest.raises(OutputError, match="appeared while"):
        pending.commit()
    assert [p.name for p in output.parent.iterdir()] == ["a.txt"] and output.read_text() == "done"


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "a.txt"
    with pytest.raises(OutputError, match="appeared while"), atomic_write(output, overwrite=False) as temporary:
        temporary.write_text("ours")
        output.write_text("theirs")
    assert output.read_text() == "theirs"


def test_a_disk_that_refuses_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"full: cannot be written"),
        atomic_write(tmp_path / "full", overwrite=False),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)


def test_two_outputs_whose_names_begin_alike_are_written_at_once(tmp_path: Path) -> None:
    names = [tmp_path / f"{'n' * 120}{number}.png" for number in (1, 2)]
    with atomic_write(names[0], overwrite=False) as one, atomic_write(names[1], overwrite=False) as other:
        one.write_text("1")
        other.write_text("2")
    assert [name.read_text() for name in names] == ["1", "2"] and len(list(tmp_path.iterdir())) == 2
