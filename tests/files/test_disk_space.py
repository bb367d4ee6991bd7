"""Whether there is room is found by writing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.commands import small_disk

from pipeline.errors import OutputError, ToolError, is_disk_full, says_disk_full
from pipeline.files.disk_space import find_disk_full


def test_room_is_found_by_writing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 256 << 10):
        assert find_disk_full(tmp_path / "small") is None
        (tmp_path / "small" / "most").write_bytes(bytes(200 << 10))  # 56 KiB are left
        refused = find_disk_full(tmp_path / "small")
        assert refused is not None and refused.errno == errno.ENOSPC
        assert [path.name for path in (tmp_path / "small").iterdir()] == ["most"]
    assert find_disk_full(tmp_path / "no such folder") is None  # which is another fault


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EDQUOT, "Disk quota exceeded")])
def test_a_quota_that_is_used_up_is_a_full_disk(number: int, words: str) -> None:
    told = OutputError("o.mp4: cannot be written")
    told.__cause__ = OSError(number, words)
    assert is_disk_full(told) and is_disk_full(told.__cause__)
    assert is_disk_full(ToolError("o.mp4: failed", command=["ffmpeg"], stderr_tail=f"av_interleaved_write_frame(): {words}\nlater"))
    assert says_disk_full(f"o.mp4: {words}") and not says_disk_full("o.mp4: Input/output error")
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))
