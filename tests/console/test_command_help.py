"""Help, completion, and what stands where a command should: in this process, with the real parser."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import typer
from PIL import Image
from support.command_tree import commands_of, root_command

import cli
from pipeline.batch.scanning import source_arguments
from pipeline.console import command_help, completion
from pipeline.errors import CommandError, InputError
from pipeline.evaluation import analysis_plan
from pipeline.explain import job_planning
from pipeline.files import file_types
from pipeline.models import class_names, model_metadata, zoo
from pipeline.options import Method, Options, Recipe
from pipeline.rendering import heat_blending
from pipeline.training import training_plan

ROOT_COMMAND: Any = root_command()
COMMANDS = dict(commands_of(ROOT_COMMAND))
LEAVES = [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]
Shown = Callable[..., str]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """What a command prints on a terminal so many columns wide."""

    def show(*words: str, columns: int = 100) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            ROOT_COMMAND.main(list(words), prog_name="visualize")
        assert ended.value.code == 0
        return capsys.readouterr().out

    return show


def words_of(text: str) -> str:
    return " ".join(re.sub("[─│╭╮╰╯]", " ", text).split())


# ------------------------------------------------------------------------------------------------ help


def default_in_the_source(command: Any, name: str) -> str:
    """As the function's own signature has it."""
    parameter = inspect.signature(command.callback, eval_str=True).parameters[name]
    [option] = [each for each in get_args(parameter.annotation) if isinstance(each, typer.models.OptionInfo)]
    value = parameter.default
    if isinstance(option.show_default, str):
        return option.show_default
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_in_the_whole_help_with_its_default(name: str, shown: Shown) -> None:
    text = words_of(shown(*name.split(), "--help-all"))
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name != "option":
            assert parameter.metavar in text
            continue
        told = "[required]" if parameter.required else f"[default: {default_in_the_source(COMMANDS[name], parameter.name)}]"
        behind = text.partition(f" {max(parameter.opts, key=len)} ")[2] or text.partition(f" {max(parameter.opts, key=len)}, ")[2]
        assert behind and told == re.search(r"\[(default: .*?|required)\](?= |$)", behind + " ")[0], (parameter.name, behind[:200])  # type: ignore[index]


def test_the_help_of_pictures_fits_a_screen(shown: Shown) -> None:
    short, whole = shown("image", "--help"), shown("image", "--help-all")
    assert short.count("\n") <= 60
    assert "--custom-objects" not in short and "more options: visualize image --help-all" in short and "--custom-objects" in whole
    assert set(re.findall(r"--[a-z-]+", short)) - {"--help-all"} < set(re.findall(r"--[a-z-]+", whole)) | {"--help"}


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_line_is_too_long_and_no_word_is_broken(name: str, columns: int, shown: Shown) -> None:
    for option in ("--help", "--help-all"):
        text = shown(*name.split(), option, columns=columns)
        assert max(map(len, text.splitlines())) <= min(columns, 110)
        assert "<" not in text.replace("<-", "") and "BOOLEAN" not in text and "\x1b" not in text
        if "--method" in text:
            assert set(get_args(Method)) <= set(re.split(r"[\s,.│]+", text))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_two_examples_end_each_help_and_the_parser_takes_them(name: str, shown: Shown) -> None:
    text = shown(*name.split(), "--help")
    command = COMMANDS[name] if name else ROOT_COMMAND
    examples = command.epilog.splitlines()
    assert len(examples) == 2 and all(f"│ {example} " in text for example in examples)
    assert text.index("─ Examples ─") > text.rindex("─ Running ─")
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "visualize"
        if words[0] not in ROOT_COMMAND.commands:
            words.insert(0, str(file_types.choose_command(words[0])))
        known, given = ROOT_COMMAND, ""
        while words and hasattr(known, "commands"):
            given = words.pop(0)
            known = known.commands[given]
        assert example.startswith(f"visualize {name}".rstrip())
        known.make_context(given, words)  # raises for what it does not know


def test_what_has_no_default_is_said_to_have_none() -> None:
    for default in (None, object()):  # Click 8.3 has a mark of its own in None's place
        assert command_help._default(SimpleNamespace(show_default=None, default=default)) == ""


def test_what_need_not_be_given_stands_in_brackets(shown: Shown) -> None:
    first = {name: shown(*name.split(), "--help").splitlines()[0] for name in ("image", "search", "models classes", "models show")}
    assert first["image"] == "Usage: visualize image PATH... [OPTIONS]" and first["search"] == "Usage: visualize search OUT QUERY [OPTIONS]"
    assert first["models classes"] == "Usage: visualize models classes [NAME_OR_PATH] [WORD] [OPTIONS]"


@pytest.mark.process
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["image", "--help-all"]])
def test_nobody_need_read_the_help(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; sys.argv[0] = 'visualize'; import cli; cli.main()"
    ended = subprocess.run([sys.executable, "-c", code, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_option_is_given_once(shown: Shown) -> None:
    for words, option, times in (
        (["image", "a.jpg", "--alpha", "0.1", "--alpha=0.2"], "--alpha", 2),
        (["image", "a.jpg", "-k", "1", "--top-k", "2", "-k3"], "--top-k", 3),
        (["video", "a.mov", "-q", "--quiet"], "--quiet", 2),
        (["batch", "in", "-o", "out", "--report", "--no-report"], "--report", 2),
        (["models", "show", "vgg16", "--json", "--json"], "--json", 2),
    ):
        with pytest.raises(CommandError, match=f"^{option}: given {times} times; it may be given once$"):
            cli.app(words)
    COMMANDS["image"].make_context("image", ["a.jpg", "--target", "cat", "--target", "dog", "--layer", "a", "--layer", "b"])
    COMMANDS["predict"].make_context("predict", ["a.jpg", "-m", "vgg16", "-m", "vgg19"])


# ------------------------------------------------------------------------------------------------ a path for a command


def test_a_path_is_what_its_content_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Callable[[str], Path]) -> None:
    monkeypatch.chdir(tmp_path)
    picture = Image.new("RGB", (8, 8), "red")
    for name in ("photos/a.jpg", "clips/a.jpg"):
        Path(name).parent.mkdir()
        picture.save(name)
    picture.save("really.mov", format="JPEG")
    picture.save("moves.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    Path("film").write_bytes(clip("single.mp4").read_bytes())
    Path("notes.txt").write_text("a text")
    picture.save("camera.MJPEG", format="JPEG")  # a bare stream of JPEGs begins so
    expected = {"photos": "image", "photos/a.jpg": "image", "really.mov": "image", "moves.gif": "video", "film": "video"}
    expected |= {
        "notes.txt": "image",
        "gone.jpg": "image",
        "gone.MOV": "video",
        "gone/at": "image",
        "https://a/b.mp4": "video",
        "-": "image",
        "camera.MJPEG": "video",
        "gone.mjpg": "video",
    }
    assert {name: file_types.choose_command(name) for name in expected} == expected
    assert [file_types.choose_command(word) for word in ("imag", "photo", "dog", "")] == [None] * 4
    Path("clips/b.MOV").touch()
    with pytest.raises(CommandError, match=r"^clips: a folder with 1 video; `visualize batch clips -o OUT` makes"):
        file_types.choose_command("clips")


def test_what_cannot_be_looked_at_is_for_the_command_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_types.choose_command("a" * 300 + ".jpg") == "image" and file_types.choose_command("a" * 300 + ".mov") == "video"
    for name in ("closed.mov", "closed.jpg"):
        Path(name).write_bytes(b"secret")
    Path("closed").mkdir()

    def refuse(*_: object, **__: object) -> None:  # root may open everything, so no mode of a file would
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_types.os, "scandir", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    assert [file_types.choose_command(name) for name in ("closed", "closed.jpg", "closed.mov")] == ["image", "image", "video"]


def test_a_path_runs_the_command_and_a_word_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context = ROOT_COMMAND.make_context("visualize", ["a.jpg", "--alpha", "0.2"], resilient_parsing=True)
    name, command, rest = ROOT_COMMAND.resolve_command(context, ["a.jpg", "--alpha", "0.2"])
    assert (name, command, rest) == ("image", COMMANDS["image"], ["a.jpg", "--alpha", "0.2"])
    Path("status").mkdir()  # a command is a command, whatever lies here
    assert ROOT_COMMAND.resolve_command(context, ["status", "out"])[1:] == (COMMANDS["status"], ["out"])


def test_a_word_that_is_no_command_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app(["imag"])
    assert ended.value.code == 2 and "No such command 'imag'. Did you mean 'image'?" in capsys.readouterr().err


def test_tab_behind_a_folder_of_videos_prints_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    Path("clips/a.mov").touch()
    asking = ROOT_COMMAND.make_context("visualize", ["clips"], resilient_parsing=True)
    assert ROOT_COMMAND.resolve_command(asking, ["clips", "--al"]) == ("image", COMMANDS["image"], ["clips", "--al"])
    asking.resilient_parsing = False
    with pytest.raises(CommandError, match="a folder with 1 video"):
        ROOT_COMMAND.resolve_command(asking, ["clips"])


# ------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://example.org/dog.jpg", "is an address; download it first, and give the file"),
        ("https:/example.org/dog.jpg?size=1", "is an address"),  # as a Path keeps it
        ("s3://bucket/kitchen.mov", "is an address"),
        ("gopher://old", "is an address"),
        ("RTSP://camera/1", "is the address of a stream; record it to a file first"),
        ("-", "not read from stdin"),
        ("c:/dog.jpg", ""),
        ("dog.jpg", ""),
        ("12:30.jpg", ""),
    ],
)
def test_addresses_are_known_by_their_scheme(name: str, why: str) -> None:
    assert file_types.explain_no_file(name).startswith(why) if not why or why.startswith("is") else why in file_types.explain_no_file(name)
    assert bool(file_types.explain_no_file(name)) == bool(why)


@pytest.mark.media
def test_every_command_refuses_them_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    address, said = "https://example.org/dog.jpg", "https://example.org/dog.jpg: is an address; download it first, and give the file"
    paths = [Path(address)]
    plans = [
        job_planning.plan_images(paths, output=None, options=Options()),
        job_planning.plan_videos(paths, output=None, options=Options()),
        job_planning.plan_predictions(paths),
    ]
    assert [str(refusal.error) for [refusal] in plans if isinstance(refusal, job_planning.Refusal)] == [said] * 3
    with pytest.raises(CommandError, match=re.escape(said)):
        source_arguments.expand_sources([address])
    with pytest.raises(CommandError, match="is an address"):
        source_arguments.expand_sources([f"{address}?size=1"])
    with pytest.raises(InputError, match=re.escape(said)):
        analysis_plan.plan_analysis(paths[0], output=Path("out"), threshold=None, examples=1, options=Options())
    with pytest.raises(InputError, match=re.escape(said)):
        training_plan.plan_training(paths[0], output=Path("m.keras"), recipe=Recipe(base=zoo.DEFAULT_MODEL))
    Image.new("RGB", (8, 8)).save("-", format="PNG")  # a file may have any name
    assert isinstance(job_planning.plan_predictions([Path("-")])[0], job_planning.Job)


# ------------------------------------------------------------------------------------------------ completion


def typed(command: str, option: str, incomplete: str) -> list[str]:
    """What the shell offers behind an option, asked as it asks."""
    [parameter] = [each for each in COMMANDS[command].params if option in each.opts]
    context = COMMANDS[command].make_context(command, [], resilient_parsing=True)
    return [item.value for item in parameter.shell_complete(context, incomplete)]


def test_completers_know_what_the_program_knows() -> None:
    assert list(completion.COLORMAPS) == heat_blending.colormap_names()
    assert typed("image", "--method", "grad") == ["gradcam", "gradcam++"] and typed("image", "--layout", "s") == ["side-by-side", "stacked"]
    assert typed("video", "--codec", "h") == ["h264", "hevc"] and completion.models("VGG") == ["vgg16", "vgg19"]
    assert typed("predict", "--preprocess", "") == ["auto", "none", "unit", "tf", "torch", "caffe"]
    assert typed("analyze", "--colormap", "tw") == ["twilight", "twilight_shifted"] and typed("train", "--base", "resnet50_") == [
        "resnet50_v2"
    ]
    assert typed("batch", "--target", "egyp") == ["egyptian_cat"] and typed("batch", "--device", "c") == []
    context: Any = ROOT_COMMAND.make_context("visualize", ["a.jpg"], resilient_parsing=True)
    assert completion.classes(context, "egyp") == ["egyptian_cat"] and completion.classes(context, "EGYP") == ["EGYPtian_cat"]
    assert class_names.find_target_class(*completion.classes(context, "great_wh"), class_names.imagenet_classes()).members == (2,)
    assert "bird" in completion.classes(context, "bi")  # a kind


def test_class_names_are_completed_as_a_shell_takes_them_and_kinds_with_them() -> None:
    """All that is completed leads to what it names, and no shell has a meaning for any of its signs."""
    context: Any = ROOT_COMMAND.make_context("visualize", ["a.jpg"], resilient_parsing=True)
    assert completion.classes(context, "crane") == ["crane_bird", "crane_machine"] and completion.classes(context, "corg") == ["corgi"]
    known = class_names.imagenet_classes()
    completed = completion.classes(context, "")
    assert all(re.fullmatch(r"[\w./-]+", name) for name in completed), [name for name in completed if not re.fullmatch(r"[\w./-]+", name)]
    changed = [name for name in known if name.label.replace(" ", "_") not in completed]
    assert len(changed) == 13 and completed[:2] == ["tench", "goldfish"]
    for name in changed:
        assert class_names.find_target_class(completed[name.index], known).members == (name.index,)


def test_class_names_are_those_of_the_model_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("round thing\nsquare thing\n")
    context: Any = COMMANDS["image"].make_context("image", ["a.jpg", "--labels", str(tmp_path / "names.txt")], resilient_parsing=True)
    assert completion.classes(context, "") == ["round_thing", "square_thing"]
    card = model_metadata.ModelMetadata(labels=["from the file"], base="none", input_px=96, short_side_px=96, stride=8, finished=True)
    model_metadata.add_metadata(tmp_path / "m.keras", card)
    context.params["model"] = str(tmp_path / "m.keras")
    assert completion.classes(context, "") == ["round_thing", "square_thing"]
    context.params["labels"] = None
    assert completion.classes(context, "") == ["from_the_file"]
    context.params["labels"] = tmp_path / "gone.txt"
    assert completion.classes(context, "") == []


@pytest.mark.process
def test_a_shell_is_told(tmp_path: Path) -> None:
    """By the protocol of bash, in a process of its own."""
    environment = {**os.environ, "_VISUALIZE_COMPLETE": "complete_bash", "COMP_WORDS": "visualize dog.jpg --colormap tw", "COMP_CWORD": "3"}
    code = "import sys; sys.argv[0] = 'visualize'; import cli; cli.main()"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.split() == ["twilight", "twilight_shifted"]
