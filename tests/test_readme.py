"""The README's lines do what they say: all of its first minutes, one after another, as somebody would type them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def lines_of(heading: str) -> list[str]:
    """The commands of the first block behind a heading."""
    [block] = re.findall(rf"^## {heading}$.*?^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return block.splitlines()


@pytest.mark.slow
def test_the_first_minutes_run_from_top_to_bottom(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    lines = ["visualize demo", *lines_of("The first minutes")]
    assert len(lines) > 15 and all(line.startswith(("visualize ", "python ")) for line in lines)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for line in lines:
        made = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, f"{line}\n{made.stderr}"
    for name in re.findall(r"(?:-o|--csv|--grid) (\S+)", "\n".join(lines)):
        assert (tmp_path / name).exists(), name
    for name in re.findall(r"#.*?([\w/]+\.(?:jpg|html))", "\n".join(lines)):  # what the remarks promise
        assert (tmp_path / name).exists(), name
