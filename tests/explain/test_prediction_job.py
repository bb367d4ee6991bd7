"""Predictions alone: every input once, in order, with what the network says of it by itself."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from pyarrow import parquet
from support.commands import COMMAND, call, visualize

from pipeline.cam import batching, explainer, graph_compilation
from pipeline.console import outcome_printing
from pipeline.console.terminal import Terminal
from pipeline.explain import demo_clip, job_planning, prediction_job
from pipeline.media import images, resizing
from pipeline.options import Options
from pipeline.records import ClassName, Outcome, Prediction
from pipeline.results.explanations import Explanations
from pipeline.results.tables import write_predictions

Clip = Callable[[str], Path]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Seventy pictures of two sizes in folders, one damaged, one that is no picture, one hidden."""
    folder = tmp_path / "photos"
    for number in range(70):
        name = ("chelsea.png", "coffee.png", "rocket.jpg")[number % 3]
        size = (160, 120) if number % 5 else (120, 160)
        (folder / f"class {number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(demo_clip.read_photograph(name)).resize(size).save(folder / f"class {number % 2}" / f"{number}.jpg", quality=95)
    damaged = folder / "class 1" / "33.jpg"
    damaged.write_bytes(damaged.read_bytes()[:700])
    (folder / "class 0" / "note.txt").write_text("not looked at")
    (folder / "class 0" / "._10.jpg").write_text("what macOS leaves")
    return folder


def answers_for(paths: list[Path], classifier: Any, **options: Any) -> list[prediction_job.InputPrediction]:
    plan = job_planning.plan_predictions(paths)
    return prediction_job.predict(
        [job for job in plan if isinstance(job, job_planning.Job)], prediction_job.make_scorer(classifier, Options(**options))
    )


@pytest.mark.parametrize("given", ["pictures", "a video"])
def test_two_small_batches_are_at_the_network_at_once(given: str, photographs: Path, clip: Clip, classifier: Any) -> None:
    scorer, lock = prediction_job.make_scorer(classifier, Options()), threading.Lock()
    here, most, sizes = 0, 0, []

    def score(pixels: Any) -> Any:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        time.sleep(0.05)
        with lock:
            here -= 1
            sizes.append(len(pixels))
        return scorer.score(pixels)

    path = photographs if given == "pictures" else clip("variable.mp4")
    answers = prediction_job.predict(
        [job for job in job_planning.plan_predictions([path]) if isinstance(job, job_planning.Job)], replace(scorer, score=score)
    )
    assert (
        most == batching.AT_ONCE
        and max(sizes) == graph_compilation.default_batch_size()
        and sum(sizes) == sum(a.outcome.frames or 0 for a in answers)
    )


def test_batches_give_what_single_pictures_give_in_natural_order(photographs: Path, classifier: Any) -> None:
    answers = answers_for([photographs], classifier)
    names = [answer.outcome.input.name for answer in answers]
    assert names == [f"{n}.jpg" for n in range(0, 70, 2)] + [f"{n}.jpg" for n in range(1, 70, 2)]
    failed = [answer.outcome for answer in answers if answer.outcome.error]
    assert [outcome.input.name for outcome in failed] == ["33.jpg"] and "damaged" in (failed[0].error or "")
    explain = explainer.make_explainer(classifier.networks[0])
    geometry = prediction_job.make_scorer(classifier, Options()).geometry
    for answer in (answers[1], answers[5], answers[40]):  # of both sizes, from different batches
        image = images.read_image(answer.outcome.input)
        alone = explain(resizing.resize_for_network(resizing.image_to_frame(image), geometry(*image.size))[None]).scores.numpy()[0]
        assert answer.outcome.top[0].name.index == alone.argmax()
        assert [p.score for p in answer.outcome.top] == pytest.approx(np.sort(alone)[:-4:-1].tolist(), abs=1e-5)


def test_a_video_is_judged_over_its_whole_length(clip: Clip, classifier: Any) -> None:
    [answer] = answers_for([clip("variable.mp4")], classifier, top_k=1000)
    [every] = answers_for([clip("variable.mp4")], classifier, every=29, top_k=1000)
    assert answer.outcome.frames == 30 and every.outcome.frames == 2
    assert answer.outcome.duration_seconds == pytest.approx(2.9, abs=0.7)
    assert sum(p.score for p in answer.outcome.top) == pytest.approx(1, abs=1e-4)
    assert answer.thumbnail is not None and answer.thumbnail.shape == (180, 320, 3)


@pytest.mark.process
def test_table_csv_grid_and_failures_in_one_call(photographs: Path, tmp_path: Path) -> None:
    shutil.rmtree(photographs / "class 0")
    result = visualize("predict", "photos", "lost.jpg", "--csv", "all.csv", "--grid", "all.png", "-k", 2, cwd=tmp_path)
    assert result.returncode == 1 and "oneDNN" not in result.stderr  # TensorFlow's greetings
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()[-2:]] == ["lost.jpg", "photos/class 1/33.jpg"]
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["input", "efficientnet_lite0"] and len(lines) == 34
    assert any("photos/class 1/1.jpg" in line and "espresso" in line and "%" in line for line in lines)
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["input", "rank", "index", "wnid", "label", "score"] and len(rows) == 2 * 34
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "1", "2"] and float(rows[0]["score"]) >= float(rows[1]["score"])
    with Image.open(tmp_path / "all.png") as grid:  # 35 cells: 6 columns of 320, 6 rows of 240 and two lines of text
        assert grid.size == (6 * 328 + 8, 6 * (240 + 2 * 24 + 16) + 8)


@pytest.mark.slow
def test_several_models_stand_side_by_side(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    mine = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    keras.Sequential([keras.Input((64, 64, 3)), *mine]).save(tmp_path / "mine.keras")
    Image.fromarray(demo_clip.read_photograph("chelsea.png")).save(tmp_path / "cat.png")
    arguments = ["predict", "*.png", "-m", "efficientnet_lite0", "-m", "mine.keras"]
    result = visualize(*arguments, "--json", "--csv", "p.csv", cwd=tmp_path)
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    assert [(o["input"], o["model"], o["output"]) for o in outcomes] == [
        ("cat.png", "efficientnet_lite0", None),
        ("cat.png", "mine.keras", None),
    ]
    assert "cat" in outcomes[0]["top"][0]["label"] and outcomes[1]["top"][0]["label"].startswith("class ")
    assert (tmp_path / "p.csv").read_text().splitlines()[0].endswith(",score,model")
    table = visualize(*arguments, cwd=tmp_path).stdout.splitlines()
    assert table[0].split() == ["input", "efficientnet_lite0", "mine.keras"] and "Egyptian cat" in table[1] and "class " in table[1]


def test_the_prediction_of_a_picture_that_is_cut_off_is_partial(tmp_path: Path, classifier: Any) -> None:
    cat = Image.fromarray(demo_clip.read_photograph("chelsea.png"))
    cat.save(tmp_path / "cat.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cat.jpg").read_bytes()[: (tmp_path / "cat.jpg").stat().st_size * 4 // 5])
    jobs = [job for job in job_planning.plan_predictions([tmp_path]) if isinstance(job, job_planning.Job)]
    whole, cut = (answer.outcome for answer in prediction_job.predict(jobs, prediction_job.make_scorer(classifier, Options())))
    assert not whole.partial and whole.error is None and cut.partial and "cat" in cut.top[0].name.label
    told = r"cut\.jpg: the file ends after about \d\d % of its rows; the rest is gray; the prediction is of what decodes$"
    assert cut.error is not None and re.search(told, cut.error)


def test_quiet_predictions_name_failures_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tabby = ClassName(index=281, wnid=None, label="tabby")
    outcomes = [
        Outcome(input=Path("good.jpg"), model="net", method="none", top=[Prediction(name=tabby, score=0.5)]),
        Outcome(input=Path("bad.jpg"), model="net", method="none", error="bad.jpg: the file is empty"),
    ]
    terminal = Terminal(as_json=False, quiet=True, verbose=False)
    outcome_printing.put_predictions(terminal, outcomes)
    with pytest.raises(typer.Exit):
        outcome_printing.finish(terminal, outcomes)
    assert tuple(capsys.readouterr()) == ("", "error: bad.jpg: the file is empty\n")
    outcome_printing.put_predictions(Terminal(as_json=False, quiet=False, verbose=False), outcomes)
    assert capsys.readouterr().out.splitlines() == ["input     net", "good.jpg  tabby 50.0%"]
    outcome_printing.put_predictions(Terminal(as_json=True, quiet=True, verbose=False), outcomes)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_zoo_as_table_and_json_with_what_is_cached(tmp_path: Path) -> None:
    table = call("models", cwd=tmp_path).out.splitlines()
    assert len(table) == 42 and table[1].split()[0] == "efficientnet_lite0" and table[1].split()[-1] == "embedded"
    rows = {row["name"]: row for row in json.loads(call("models", "--json", cwd=tmp_path).out)["models"]}
    assert rows["resnet50"]["top-1"] == 74.9 and rows["vgg16"]["pixels"] == "caffe" and rows["xception"]["input"] == 299


@pytest.mark.process
def test_what_is_in_a_model(tmp_path: Path) -> None:
    shown = json.loads(visualize("models", "show", "efficientnet_lite0", "--input-size", "256x448", "--json", cwd=tmp_path).stdout)
    assert shown["map"] == "top_activation, 8x14x1280" and shown["head"].startswith("closed form") and shown["classes"] == 1000
    assert shown["parameters"] == pytest.approx(4.65e6, rel=0.01)  # 4 652 008 with batch norm, arXiv 1905.11946's Lite0; less when folded
    assert call("models", "show", "resnet5", cwd=tmp_path).code == 2
    assert "not HxW" in call("models", "show", "mobilenet", "--input-size", "big", cwd=tmp_path).err


NAMES = [
    b"with space.png",
    b"quo'\"te.png",
    b"new\nline.png",
    b"-dash.png",
    b"f%03d.png",
    b"a[1].png",
    b"c:d.png",
    b"bad\xff.png",
    b"\x1b[31m.png",
]


@pytest.mark.slow
def test_names_of_any_bytes_in_every_output(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xff\n[1]")
    folder.mkdir()
    names = [os.fsdecode(name) for name in (*NAMES, "\U0001f468\u200d\U0001f469.png".encode())]
    for name in names:
        Image.fromarray(demo_clip.read_photograph("chelsea.png")[:64, :96]).save(folder / name)
    strict = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    arguments = [COMMAND, "predict", "-k", "1", "--csv", "p.csv", "--grid", "g.png", "--", "lost\n.png", *(folder / name for name in names)]
    result = subprocess.run(arguments, cwd=tmp_path, env=strict, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "error: lost\\n.png: no such file" in result.stderr.splitlines(), result.stderr
    assert len(result.stdout.splitlines()) == 1 + len(names) and "\x1b" not in result.stdout + result.stderr
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        written = [row["input"] for row in csv.DictReader(file)]
    assert [name.encode("ascii", "backslashreplace") for name in written] == [
        str(folder / n).encode("ascii", "backslashreplace") for n in names
    ]
    assert (tmp_path / "g.png").exists()


def test_rows_of_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    track = Explanations(Path(os.fsdecode(b"bad\xff.png")), 1)
    track.add(0.0, np.array([0.25, 0.75]))
    classes = [ClassName(index=i, wnid=None, label=f"class {i}") for i in range(2)]
    for suffix in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{suffix}", [track], classes, overwrite=False, name_inputs=True)
    assert json.loads((tmp_path / "p.jsonl").read_text())["input"] == str(track.input)
    assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith("bad\\udcff.png,")
    assert parquet.read_table(tmp_path / "p.parquet")["input"].to_pylist() == ["bad\\udcff.png"]
