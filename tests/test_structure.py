"""The shape of the tree, held by tests: who imports whom, how long a function may be, and that the README knows every option."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer
from support.command_tree import commands_of

import cli

ROOT = Path(__file__).parent.parent
JOBS = {"visualize", "film", "parts", "predict", "planning", "pages", "anatomy", "demo", "doctor"}
JOBS |= {"training", "album", "analysis"}
JOBS |= {"archive", "batch", "copies", "gallery", "worker", "workers", "cluster", "status", "search"}
SHOWS = {"terminal", "usage", "completion"}  # what the user sees: bars, help, what a shell completes, beside the command line
BASE = {"errors", "records", "orders"}
# A part may stand on these besides the base: they are below it, and know nothing of it.
BELOW = {
    "catalog": {"class_names"},
    "models": {"cards", "catalog", "class_names", "embedded", "network", "folding", "processes"},
    "folding": {"network"},
    "maps": {"reading"},
    "outputs": {"processes"},
    "predictions": {"outputs"},
    "journal": {"outputs"},
    "ledger": {"processes"},
    "encoders": {"children"},
    "sources": {"children", "signatures"},
    "stills": {"signatures"},
    "dataset": {"signatures", "stills"},
    "charts": {"outputs"},
    "discovery": {"signatures"},
    "decoding": {"children", "sources"},
    "scaling": {"decoding"},
    "integrity": {"children", "sources"},
    "movie": {"children", "sources", "encoders"},
    "painting": {"compositing", "scenes", "predictions"},
    "report": {"outputs", "timeline"},
}
OUTSIDE = {
    "ffmpeg": {"children", "encoders", "decoding", "integrity", "movie"},
    "av": {"sources", "decoding", "scaling", "integrity", "movie"},
    "imageio_ffmpeg": {"children"},
    "sqlite3": {"ledger"},
    "ray": {"cluster"},
    "jinja2": {"report"},
    "sklearn": {"dataset", "evaluation"},
    "scipy": {"evaluation"},
    "matplotlib": {"charts"},
    "tensorflow": {
        "maps",
        "models",
        "network",
        "preprocessing",
        "anatomy",
        "visualize",
        "film",
        "worker",
        "doctor",
        "training",
        "album",
        "analysis",
    },
}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The project's modules and the other packages that a file imports when it runs (not those for type checkers alone)."""
    tree = ast.parse(path.read_text())
    checking = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    skipped = {id(inner) for node in checking for inner in ast.walk(node)}
    ours: set[str] = set()
    others: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            ours |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline."):
            ours.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.ImportFrom):
            others.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
    return ours, others


MODULES = sorted(path.stem for path in (ROOT / "pipeline").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    ours, others = imports(ROOT / "pipeline" / f"{name}.py")
    if name in BASE:
        assert ours <= BASE and not others & {"numpy", "tensorflow", "keras", "cv2", "av", "typer"}
    elif name not in JOBS | SHOWS:
        assert ours <= BASE | BELOW.get(name, set())
    assert "cli" not in ours | others
    for tool, owners in OUTSIDE.items():
        assert tool not in others or name in owners


def test_only_the_command_line_draws_and_logs() -> None:
    for name in MODULES:
        _, others = imports(ROOT / "pipeline" / f"{name}.py")
        assert not others & {"tqdm", "typer", "logging"} or name in SHOWS, name


def test_functions_stay_short() -> None:
    lengths = []
    for path in [ROOT / "cli.py", *(ROOT / "pipeline").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                lengths.append(((node.end_lineno or 0) - first.lineno + 1, f"{path.name}:{node.name}"))
    lengths.sort(reverse=True)
    assert lengths[0][0] <= 80 and sum(length > 45 for length, _ in lengths) <= len(lengths) // 10, lengths[:5]


def test_every_command_and_option_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    root = typer.main.get_command(cli.app)
    for name, command in commands_of(root):
        assert f"visualize {name}" in readme, name
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else []:
                assert re.search(rf"`[^`]*{re.escape(option)}\b", readme), f"{name} {option}"


def test_the_readme_names_no_option_that_does_not_exist() -> None:
    root = typer.main.get_command(cli.app)
    known = {"--version", "--help", "--help-all", "--install-completion"}
    known |= {option for _, command in commands_of(root) for p in command.params for option in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", (ROOT / "README.md").read_text()))
    assert named <= known, named - known
