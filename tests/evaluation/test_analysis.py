"""`visualize analyze` on drawn shapes: planted errors are found, the figures are of the right pictures, the scores those of predict."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.commands import call, exit_codes_without_tensorflow
from support.pages import Elements

from pipeline.console.commands import classifier
from pipeline.console.terminal import Terminal
from pipeline.datasets import class_folders, near_duplicates
from pipeline.errors import CommandError, InputError, OutputError
from pipeline.evaluation import analysis, analysis_plan, analysis_result, class_matching, example_pictures
from pipeline.explain import job_planning, model_session, prediction_job
from pipeline.media import images
from pipeline.models import class_names, loading, model_metadata
from pipeline.options import ModelChoice, Options
from pipeline.records import ClassName

ROOT = Path(__file__).parents[2]
SHAPES = ("circle", "square")


def drawn(shape: str, seed: int) -> Image.Image:
    """A red circle or a blue square somewhere on a gray ground that has some structure, as a photograph has."""
    random = np.random.default_rng(seed)
    ground = Image.fromarray(random.integers(90, 170, (9, 9), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC).convert("RGB")
    radius = int(random.integers(16, 26))
    x, y = (int(value) for value in random.integers(radius, 96 - radius, 2))
    box, pen = (x - radius, y - radius, x + radius, y + radius), ImageDraw.Draw(ground)
    if shape == "circle":
        pen.ellipse(box, fill=(205, 60, 50))
    else:
        pen.rectangle(box, fill=(50, 70, 200))
    return ground


def draw_folder(folder: Path, count: int, *, first: int = 0) -> Path:
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            drawn(shape, 1000 * SHAPES.index(shape) + number).save(folder / shape / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small seeded network, its last layer fitted to drawn shapes, with a card that names its classes."""
    import keras
    from sklearn.linear_model import LogisticRegression

    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(12, 5, activation="relu", padding="same"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    pictures = np.stack([np.asarray(drawn(shape, 5000 + n)) for shape in SHAPES for n in range(40)]).astype(np.float32)
    features = keras.Model(model.inputs, layers[2].output).predict(pictures, verbose=0)
    fitted = LogisticRegression(C=1e4, max_iter=5000).fit(features, np.repeat([0, 1], 40))
    layers[3].set_weights([np.concatenate([-fitted.coef_.T, fitted.coef_.T], axis=1), np.array([-1, 1]) * fitted.intercept_])
    path = tmp_path_factory.mktemp("model") / "shapes.keras"
    model.save(path)
    card = model_metadata.ModelMetadata(labels=SHAPES, base="none", input_px=96, short_side_px=96, stride=8, finished=True)
    model_metadata.add_metadata(path, card)
    return path


def carrying(model: Path, path: Path, learned: list[model_metadata.LearnedPicture]) -> Path:
    """The same model with what it learned from in its card."""
    import zipfile

    card = model_metadata.read_metadata(model)
    assert card is not None
    with zipfile.ZipFile(model) as archive, zipfile.ZipFile(path, "w") as copy:
        for name in archive.namelist():
            if name != model_metadata.METADATA_MEMBER:
                copy.writestr(name, archive.read(name))
    model_metadata.add_metadata(path, replace(card, learned=learned))
    return path


def learned_from(root: Path, name: str, part: Any) -> model_metadata.LearnedPicture:
    path = root / name
    fingerprint = near_duplicates.difference_hash(np.asarray(images.read_image(path))).hex()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return model_metadata.LearnedPicture(name=name, label=SHAPES.index(path.parent.name), part=part, sha256=digest, fingerprint=fingerprint)


def analyzed(
    model: Path, data: Path, output: Path | None = None, *, threshold: float | None = None, **given: Any
) -> analysis_result.Analysis:
    options, choice = Options(**given), ModelChoice(model=str(model))
    plan = analysis_plan.plan_analysis(data, output=output, threshold=threshold, examples=3, options=options)
    session = model_session.open_session(loading.load_classifier(choice), options)
    return analysis.analyze(
        plan, session, choice=choice, command="visualize analyze", counter=lambda _title, _count: nullcontext(lambda: None)
    )


@pytest.fixture(scope="session")
def found(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> analysis_result.Analysis:
    """Two times 24 pictures; a square among the circles, a mirrored copy, the same file twice, and one that is cut off."""
    data = draw_folder(tmp_path_factory.mktemp("data") / "shapes", 24)
    drawn("square", 9000).save(data / "circle" / "wrong.png")
    file = io.BytesIO()
    Image.open(data / "square" / "3.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "JPEG", quality=70)
    (data / "square" / "copy.jpg").write_bytes(file.getvalue())
    shutil.copy(data / "circle" / "5.png", data / "circle" / "again.png")
    whole = (data / "circle" / "7.png").read_bytes()
    (data / "circle" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (data / "square" / "note.jpg").write_text("no picture")
    return analyzed(trained, data, threshold=0.6)


def test_the_planted_errors_are_found_and_nothing_else(found: analysis_result.Analysis) -> None:
    assert [found.scored.examples[each.number].name for each in found.suspects] == ["circle/wrong.png"]
    assert found.suspects[0].score > 0.9 and found.label(found.suspects[0].looks_like) == "square"
    names = [example.name for example in found.scored.examples]
    pairs = {(frozenset((names[copy.first], names[int(copy.second)])), copy.kind) for copy in found.copies}
    assert pairs == {
        (frozenset(("square/3.png", "square/copy.jpg")), "mirrored"),
        (frozenset(("circle/5.png", "circle/again.png")), "the same file"),
    }
    assert sorted(name for name, _ in found.unreadable) == ["circle/broken.png", "square/note.jpg"]


def test_the_json_is_the_contracts(found: analysis_result.Analysis) -> None:
    data = json.loads((found.plan.output / "analysis.json").read_text())
    assert data == json.loads(json.dumps(found.as_json()))
    assert {"accuracy", "top5", "count", "per_class", "confusion", "labels", "report"} <= data.keys()
    assert data["count"] == 51 and data["accuracy"] == pytest.approx(50 / 51) and data["top5"] == 1 and data["labels"] == list(SHAPES)
    assert data["confusion"] == [[25, 1], [0, 25]]
    assert data["per_class"] == [
        {"label": "circle", "precision": 1.0, "recall": pytest.approx(25 / 26), "count": 26},
        {"label": "square", "precision": pytest.approx(25 / 26), "recall": 1.0, "count": 25},
    ]
    assert data["examples"]["circle"]["wrong"] == ["circle/wrong.png"] and len(data["examples"]["square"]["right"]) == 3
    assert data["threshold"]["asked"]["threshold"] == 0.6 and data["report"] == str(found.plan.output / "report.html")
    low, high = data["accuracy_interval"]
    assert low < data["accuracy"] < high


def test_the_table_has_predicts_scores(found: analysis_result.Analysis, trained: Path) -> None:
    with (found.plan.output / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    plan = [job for job in job_planning.plan_predictions([found.plan.data.root]) if isinstance(job, job_planning.Job)]
    scorer = prediction_job.make_scorer(loading.load_classifier(ModelChoice(model=str(trained))), Options(top_k=2))
    answers = [each.outcome for each in prediction_job.predict(plan, scorer) if each.outcome.error is None]
    assert len(rows) == len(answers) == 51
    for outcome in answers:
        row = rows[str(outcome.input.relative_to(found.plan.data.root))]
        assert row["label"] == outcome.input.parent.name and row["predicted"] == outcome.top[0].name.label
        assert float(row["score"]) == pytest.approx(outcome.top[0].score, abs=2e-6)
        scores = {each.name.label: each.score for each in outcome.top}
        assert [float(row[f"score {label}"]) for label in SHAPES] == pytest.approx([scores[label] for label in SHAPES], abs=2e-6)
        assert float(row["score_true"]) == float(row[f"score {row['label']}"])
        assert row["correct"] == str(row["label"] == row["predicted"]).lower()
    assert [name for name, row in rows.items() if row["suspect"] == "true"] == ["circle/wrong.png"]


def test_the_page_shows_pictures_beside_their_heat(found: analysis_result.Analysis) -> None:
    elements = Elements(found.page.read_text(encoding="utf-8"))
    pictures = {a["alt"]: a["src"] for tag, a in elements.elements if tag == "img"}
    original, heat = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode((pictures[f"{kind} of circle/wrong.png"] or "").partition(",")[2]))))
        for kind in ("Original", "Heatmap")
    )
    assert original.shape == (96, 96, 3) and heat.shape == (180, 180, 3)
    # The heat is what `image` paints: where the square is, the picture changed most.
    small = np.asarray(Image.fromarray(heat).resize((96, 96))).astype(int)
    change = np.abs(small - original).sum(axis=2)
    square = (original[..., 2].astype(int) - original[..., 0]) > 60
    assert square.any() and change[square].mean() > 1.5 * change[~square].mean()
    text = " ".join(text for _, text in elements.text)
    assert "98.0 %" in text and "Likely mislabelled" in text and "Nothing says whether the model was trained" in text
    assert {"confusion.png", "calibration.png", "coverage.png"} <= {path.name for path in found.plan.output.iterdir()}


def test_nothing_is_replaced_unasked(found: analysis_result.Analysis, trained: Path) -> None:
    with pytest.raises(OutputError, match=r"exists already; add --overwrite"):
        analysis_plan.plan_analysis(found.plan.data.root, output=None, threshold=None, examples=6, options=Options())
    assert found.plan.output.name == "shapes_analysis" and found.plan.output.parent == found.plan.data.root.parent


# ------------------------------------------------------------------------------------------------ what the model was trained on


def test_the_figures_are_of_what_was_not_trained_on(trained: Path, tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "data", 20)
    drawn("circle", 9001).save(data / "square" / "wrong.png")  # learned with the wrong label
    Image.open(data / "circle" / "2.png").resize((64, 64)).save(
        data / "circle" / "small.jpg", quality=80
    )  # a copy of what was learned from
    drawn("square", 9002).save(data / "square" / "gone.png")
    Image.open(data / "square" / "gone.png").save(data / "square" / "stays.jpg", quality=85)
    trained_on = [f"{shape}/{number}.png" for shape in SHAPES for number in range(12)] + ["square/wrong.png", "square/gone.png"]
    validated = [f"{shape}/{number}.png" for shape in SHAPES for number in range(12, 16)]
    learned = [learned_from(data, name, "train") for name in trained_on] + [learned_from(data, name, "val") for name in validated]
    model = carrying(trained, tmp_path / "carries.keras", learned)
    (data / "square" / "gone.png").unlink()
    found = analyzed(model, data)
    judged = {found.scored.examples[number].name for number in found.judged}
    assert judged == set(validated) | {f"{s}/{n}.png" for s in SHAPES for n in range(16, 20)} | {"circle/small.jpg", "square/stays.jpg"}
    assert found.figures.count == 18 and found.left_out == 25 and found.warnings == []
    assert [found.scored.examples[each.number].name for each in found.suspects] == ["square/wrong.png"]
    across = {(found.scored.examples[c.first].name, found.scored.examples[c.second].name if isinstance(c.second, int) else c.second)
              for c in found.copies if c.across}  # fmt: skip
    assert across == {("circle/2.png", "circle/small.jpg"), ("square/stays.jpg", "square/gone.png")}
    assert found.without_copies is not None and found.without_copies[1] == 16
    text = found.page.read_text(encoding="utf-8")
    assert (
        "18 pictures that the model was not trained on; 25 that it was are left out" in text and "learned from, not in this folder" in text
    )


def test_a_model_that_was_trained_on_all_of_them_is_said_to_be(trained: Path, tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "data", 4)
    learned = [learned_from(data, f"{shape}/{number}.png", "train") for shape in SHAPES for number in range(4)]
    found = analyzed(carrying(trained, tmp_path / "carries.keras", learned), data)
    assert found.figures.count == 8 and found.left_out == 0
    assert any("trained on every one of these pictures" in warning for warning in found.warnings)
    assert "trained on every one" in found.page.read_text(encoding="utf-8")


def test_of_train_and_val_the_figures_are_of_val(trained: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    draw_folder(data / "train", 10)
    draw_folder(data / "val", 4, first=10)
    leaked = Image.open(data / "train" / "square" / "1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    leaked.save(data / "val" / "square" / "leaked.jpg", quality=75)
    found = analyzed(trained, data, tmp_path / "out", method="layercam")
    assert found.figures.count == 9 and found.left_out == 20
    [copy] = found.copies
    assert copy.across and copy.kind == "mirrored" and found.without_copies is not None and found.without_copies[1] == 8


def test_many_pictures_lie_beside_the_page(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_pictures, "MAX_EMBEDDED", 5)
    found = analyzed(trained, draw_folder(tmp_path / "data", 4))
    sources = {a["src"] for tag, a in Elements(found.page.read_text(encoding="utf-8")).elements if tag == "img" and a.get("loading")}
    beside = {f"pictures/{path.name}" for path in (found.plan.output / "pictures").iterdir()}
    assert sources == beside and len(beside) == 16


# ------------------------------------------------------------------------------------------------ folders and classes


def data_of(tmp_path: Path, *names: str) -> class_folders.Dataset:
    for name in names:
        (tmp_path / name).mkdir()
        drawn("circle", 1).save(tmp_path / name / "a.png")
    return class_folders.load_dataset(tmp_path)


def test_folders_are_named_by_label_or_wnid(tmp_path: Path) -> None:
    data = data_of(tmp_path, "Banana", "n07747607", "sports_car")
    classes = class_names.imagenet_classes()
    named = {
        label: classes[index or 0].label
        for label, index in zip(data.labels, class_matching.match_classes(data, classes, model="m"), strict=True)
    }
    assert named == {"Banana": "banana", "n07747607": "orange", "sports_car": "sports car"}


def test_a_folder_named_as_before_labels_said_which_they_are_still_means_that_class(tmp_path: Path) -> None:
    data = data_of(tmp_path, "Cardigan", "cardigan (garment)", "plane")
    assert class_matching.match_classes(data, class_names.imagenet_classes(), model="m") == [264, 474, 726]


def test_numbers_are_names_before_they_are_indices(tmp_path: Path) -> None:
    data = data_of(tmp_path, "1", "2")
    classes = [ClassName(index=0, wnid=None, label="1"), ClassName(index=1, wnid=None, label="2")]
    assert class_matching.match_classes(data, classes, model="m") == [0, 1]


def test_folders_that_are_no_class_are_named_with_the_nearest(tmp_path: Path) -> None:
    data = data_of(tmp_path, "banan", "crane", "zzzz", "espresso")
    with pytest.raises(CommandError) as caught:
        class_matching.match_classes(data, class_names.imagenet_classes(), model="efficientnet_lite0")
    message = str(caught.value)
    assert "3 folders are no classes of efficientnet_lite0" in message and "banan (near to it: banana" in message
    assert "crane (several classes: n02012849, n03126707)" in message and "zzzz (nothing is near to it)" in message
    assert "espresso" not in message


def test_an_empty_folder_does_not_matter(trained: Path, tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "data", 2)
    (data / "notes").mkdir()
    found = analyzed(trained, data)
    assert found.figures.count == 4


def test_where_nothing_can_be_read_that_is_said(trained: Path, tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "data", 1)
    for path in data.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="none of its 2 pictures can be read"):
        analyzed(trained, data)
    assert not (tmp_path / "data_analysis").exists()


# ------------------------------------------------------------------------------------------------ the command


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli", "analyze", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.process
def test_the_command_prints_one_object(trained: Path, tmp_path: Path) -> None:
    draw_folder(tmp_path / "data", 3)
    result = run(trained, "data", "-o", "out", "--json", "--examples", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert (
        data["accuracy"] == 1 and data["count"] == 6 and data["report"] == "out/report.html" and (tmp_path / "out" / "report.html").exists()
    )
    assert data["confusion"] == [[3, 0], [0, 3]]


def test_the_summary_says_what_one_wants_to_know_first(found: analysis_result.Analysis, capsys: pytest.CaptureFixture[str]) -> None:
    classifier.put_analysis(Terminal(as_json=False, quiet=False, verbose=False), found.as_json())
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "accuracy 98.0 % of 51 pictures (95 % interval 89.7 to 99.7 %)"
    assert [line.split() for line in lines[1:4]] == [
        ["label", "precision", "recall", "count"],
        ["circle", "100.0", "%", "96.2", "%", "26"],
        ["square", "96.2", "%", "100.0", "%", "25"],
    ]
    assert lines[4].startswith("best threshold 0: 100.0 % get an answer, 98.0 % of these are right")
    assert lines[5].startswith("--threshold 0.6: ")
    assert lines[6] == "suspected labels: 1; pairs of copies: 2 (0 across training and validation); unreadable pictures: 2"
    assert lines[7] == str(found.page) and "left out" in said.err and "broken.png" in said.err


REFUSED: list[tuple[list[str], int, str]] = [
    (["efficientnet_lite0", "data", "--threshold", "1.5"], 2, "--threshold 1.5: not between 0 and 1"),
    (["efficientnet_lite0", "data", "-o", "data/out"], 2, "every folder is a class"),
    (["efficientnet_lite0", "lost"], 1, "lost: cannot be read as a folder of class folders"),
    (["efficientnet_lite0", "data", "-o", "done"], 1, "done/report.html: exists already"),
    (["efficientnet_lite0", "data", "--colormap", "none"], 2, "--colormap none: unknown"),
]


@pytest.fixture
def refusing(tmp_path: Path) -> Path:
    """Where all of these are refused."""
    draw_folder(tmp_path / "data", 1)
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "report.html").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED)
def test_what_is_wrong_is_said(refusing: Path, arguments: list[str], code: int, message: str) -> None:
    ended = call("analyze", *arguments, cwd=refusing)
    assert ended.code == code and message in " ".join(ended.err.split()), ended.err
    assert (refusing / "done" / "report.html").read_text() == "mine"


@pytest.mark.process
def test_what_is_wrong_is_said_before_the_model_is_loaded(refusing: Path) -> None:
    calls = [["analyze", *arguments] for arguments, *_ in REFUSED]
    assert exit_codes_without_tensorflow(calls, cwd=refusing) == [code for _, code, _ in REFUSED]
