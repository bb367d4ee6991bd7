"""The examples do what they say: they parse, their options exist, and the command lines in them are run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import clips
from support.command_tree import commands_of, root_command

from pipeline.batch import status_report
from pipeline.media import probing

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
SLURM, KUBERNETES, RAY = (EXAMPLES / name for name in ("slurm_array.sh", "kubernetes_indexed_job.yaml", "ray_cluster.sh"))
OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])")


def test_all_are_named_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme, path.name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_may_be_run(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and not checked.stderr and os.access(script, os.X_OK)


@pytest.mark.parametrize("example", [*SCRIPTS, KUBERNETES], ids=lambda path: path.name)
def test_every_option_of_the_command_exists(example: Path) -> None:
    commands = dict(commands_of(root_command()))
    lines = [line for line in example.read_text().splitlines() if "visualize " in line and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        name, named = re.search(r"visualize (\w+)", line), OPTION.findall(line.partition("visualize ")[2])  # behind the command
        assert name and set(named) <= {option for p in commands[name[1]].params for option in p.opts} and named, line


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
def test_every_option_of_ray_start_exists() -> None:
    from ray.scripts.scripts import start

    named = {option for line in RAY.read_text().splitlines() if "ray start" in line for option in OPTION.findall(line)}
    assert {"--head", "--address"} <= named <= {option for p in start.params for option in p.opts}


# ------------------------------------------------------------------------------------------------ run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive of four pictures, two for each of two parts, and a `visualize` to be put on PATH."""
    (tmp_path / "in").mkdir()
    for number in (1, 2, 3, 5):
        Image.fromarray(clips.picture(number)).resize((64, 64)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "visualize", f'exec "{sys.executable}" -m cli "$@"')
    return tmp_path


@pytest.mark.slow
def test_a_classifier_of_ones_own_from_beginning_to_end(place: Path) -> None:
    done = run(["sh", EXAMPLES / "train_your_own.sh", "shapes"], place, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    told = json.loads((place / "shapes" / "analysis" / "analysis.json").read_text())
    assert told["accuracy"] == 1.0 and told["labels"] == ["circle", "cross", "triangle"]
    assert [Path(each["input"]).name for each in told["suspects"]] == ["really_a_cross.jpg"]
    assert len(list((place / "shapes" / "seen").iterdir())) == 6 and probing.probe(place / "shapes" / "frames.mp4").frames_listed == 40


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(command: list[Any], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **environment}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=300)


def check_divided(place: Path, errors: list[str]) -> None:
    """Both parts had something to do, and every picture was made once."""
    done = [re.search(r"^(\d+) done", text, re.MULTILINE) for text in errors]
    counts = [int(match[1]) for match in done if match]
    assert len(counts) == 2 and all(counts) and sum(counts) == 4, errors
    assert sorted(path.name for path in (place / "out").glob("*.png")) == [f"{n}_output.png" for n in (1, 2, 3, 5)]
    assert len(list((place / "out" / ".heatreel").glob("ledger-*-of-2.sqlite"))) == 2
    read = status_report.read_status(place / "out", every_job=False)
    assert read.done == read.total == 4


def job() -> Any:
    """The YAML of the Job, where PyYAML is there to read it: it comes with Ray."""
    return pytest.importorskip("yaml").safe_load(KUBERNETES.read_text())


def test_the_job_of_kubernetes_is_one() -> None:
    spec = job()["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] <= spec["completions"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy is refused otherwise
    assert all(
        rule["onExitCodes"]["containerName"] == container["name"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    )
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["args"][0].endswith(f'/{spec["completions"]}"')
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {each["value"] for each in container["env"] if each["name"] in ("ARCHIVE", "OUTPUT")} == paths


@pytest.mark.slow
def test_the_pods_divide_the_archive(place: Path) -> None:
    [container] = job()["spec"]["template"]["spec"]["containers"]
    command = [*container["command"], *container["args"]]
    command[-1] = command[-1].replace('/4"', '/2"')  # two are enough here
    errors = []
    for index in range(2):
        ended = run(command, place, ARCHIVE="in", OUTPUT="out", JOB_COMPLETION_INDEX=str(index))
        assert ended.returncode == 0, ended.stderr
        errors.append(ended.stderr)
    check_divided(place, errors)


@pytest.mark.slow
def test_the_tasks_of_slurm_divide_the_archive(place: Path) -> None:
    errors = []
    for task in (1, 2):
        ended = run([SLURM, "in", "out"], place, SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2")
        assert ended.returncode == 0, ended.stderr
        errors.append(ended.stderr)
    check_divided(place, errors)


def test_the_script_for_ray_says_what_it_should(place: Path) -> None:
    """Without a cluster: Ray starts none here, it would be everybody's on this machine."""
    for name in ("ray", "visualize"):
        program(place / "bin" / name, f'echo {name} "$@"')
    said = [run([RAY, *arguments], place).stdout.split() for arguments in (["head"], ["node", "first:6379"], ["batch", "in", "out"])]
    assert [words[:3] for words in said] == [["ray", "start", "--head"], ["ray", "start", "--address"], ["visualize", "batch", "in"]]
    assert said[1][3] == "first:6379" and said[2][3:] == ["--output", "out", "--engine", "ray", "--address", "auto"]
    wrong = run([RAY, "nonsense"], place)
    assert wrong.returncode == 2 and "usage:" in wrong.stderr
