"""What is asked for: checked where it is made, each option said once, and nothing heavy loaded for it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CommandError
from pipeline.options import METHODS, ModelChoice, Options, Recipe, choices_of, option_of


@pytest.mark.parametrize("record", [Options, ModelChoice, Recipe])
def test_each_option_is_declared_once(record: Any) -> None:
    declared = [option_of(each.type) for each in fields(record)]
    assert None not in declared
    names = Counter(name for each in declared if each for name in each.names.split())
    assert len(names) >= len(declared) and set(names.values()) == {1}


def test_choices_are_those_of_the_type() -> None:
    types = {each.name: each.type for record in (Options, ModelChoice) for each in fields(record)}  # type: ignore[arg-type]
    assert choices_of(types["method"]) == METHODS and len(METHODS) == 7
    assert choices_of(types["scale"]) == ("frame", "shared")  # None is what is not given
    assert choices_of(types["pixels"]) == ("auto", "none", "unit", "tf", "torch", "caffe")
    assert choices_of(types["batch_size"]) == choices_of(types["colormap"]) == ()


@pytest.mark.parametrize(
    ("record", "given", "message"),
    [
        (Options, {"codec": "divx"}, "--codec divx: not one of auto, h264, hevc, av1, vp9, prores"),
        (Options, {"scale": "own"}, "--scale own: not one of frame, shared"),
        (ModelChoice, {"pixels": "raw"}, "--preprocess raw: not one of auto, none, unit, tf, torch, caffe"),
        (ModelChoice, {"precision": "half"}, "--precision half: not one of auto, float32, mixed"),
        (Options, {"start_seconds": 3.0, "end_seconds": 2.0}, "--end 2.0: not after --start 3.0"),
        (Options, {"predictions": Path("p.txt")}, "--predictions p.txt: not .csv, .jsonl or .parquet"),
        (Recipe, {"fine_tune": -1}, "--fine-tune -1: less than 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(record: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        record(**given)
    assert str(refused.value) == message and refused.value.exit_code == 2


@pytest.mark.process
def test_workers_load_no_command_line_for_it() -> None:
    code = "import sys, pipeline.options; print(*{'typer', 'click', 'rich', 'numpy', 'cv2', 'tensorflow'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
