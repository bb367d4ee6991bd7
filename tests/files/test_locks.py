"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import BusyError, OutputError
from pipeline.files.locks import LOCK_NAME, lock_folder


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    folder, output = tmp_path / "new" / ".o.work", tmp_path / "o.mp4"
    with lock_folder(folder, output):
        assert (folder / LOCK_NAME).is_file()
        with pytest.raises(BusyError, match=r"o\.mp4: another run is making it"), lock_folder(folder, output):
            pass
    with lock_folder(folder, output):  # and is free again
        pass


@pytest.mark.process
def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    code = f"import os; from pathlib import Path; from pipeline.files.locks import lock_folder; p = Path({str(tmp_path)!r})\n"
    ended = subprocess.run([sys.executable, "-c", code + "with lock_folder(p / 'w', p / 'o'): os._exit(3)"], check=False)
    assert ended.returncode == 3 and (tmp_path / "w" / LOCK_NAME).exists()
    with lock_folder(tmp_path / "w", tmp_path / "o"):
        pass


def test_a_folder_that_was_removed_while_it_was_opened_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = tmp_path / "w", fcntl.flock

    def removed_meanwhile(descriptor: int, how: int) -> None:  # by the run that held it, at its end
        shutil.rmtree(folder)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with pytest.raises(BusyError), lock_folder(folder, tmp_path / "o"):
        pass


def test_a_folder_that_cannot_be_made_is_told_as_the_output(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"o\.mp4: cannot be written: Not a directory"),
        lock_folder(tmp_path / "file" / "w", tmp_path / "o.mp4"),
    ):
        pass
