"""The shape of the tree, held by tests: how long a function may be, and that the README knows every option."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.command_tree import commands_of, root_command

ROOT = Path(__file__).parent.parent


def test_functions_stay_short() -> None:
    lengths = []
    for path in [ROOT / "cli.py", *(ROOT / "pipeline").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                lengths.append(((node.end_lineno or 0) - first.lineno + 1, f"{path.name}:{node.name}"))
    lengths.sort(reverse=True)
    assert lengths[0][0] <= 80 and sum(length > 45 for length, _ in lengths) <= len(lengths) // 10, lengths[:5]


def test_no_test_imports_a_test() -> None:
    """What tests share lies in tests/support."""
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            modules = [name for name in named if name.rpartition(".")[2].startswith("test_") or name.startswith("conftest")]
            assert not modules, f"{path.name}: {modules}"


def test_every_command_and_option_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    root = root_command()
    for name, command in commands_of(root):
        assert f"visualize {name}" in readme, name
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else []:
                assert re.search(rf"`[^`]*{re.escape(option)}\b", readme), f"{name} {option}"


def test_the_readme_names_no_option_that_does_not_exist() -> None:
    root = root_command()
    known = {"--version", "--help", "--help-all", "--install-completion"}
    known |= {option for _, command in commands_of(root) for p in command.params for option in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", (ROOT / "README.md").read_text()))
    assert named <= known, named - known
