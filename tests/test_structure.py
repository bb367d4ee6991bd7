"""The shape of the tree, held by tests: how long functions, classes and modules may be, and that the README knows every option."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.command_tree import commands_of, root_command

ROOT = Path(__file__).parent.parent


# Counted as a reader sees them: a function from `def` to its last line, with its signature and docstring; a class by its methods.
MOST_LINES_OF_A_FUNCTION, MOST_METHODS, MOST_LINES_OF_A_MODULE, MOST_MODULES_OF_A_PACKAGE = 60, 15, 450, 12
SHORT_LINES, SHORT_SHARE = 30, 0.9

# What is longer, and why. What is no longer so must go from here.
EXCEPTIONS: dict[str, str] = {}


def modules() -> Iterator[tuple[str, str]]:
    for path in [ROOT / "cli.py", *sorted((ROOT / "pipeline").rglob("*.py"))]:
        yield path.relative_to(ROOT).as_posix(), path.read_text()


def lines_of_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1  # the line of `def`: decorators stand above it


def methods_of_classes(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            yield node.name, sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)


def test_the_measures_count_what_a_reader_sees() -> None:
    text = '@cache\ndef f(\n    a: int,\n) -> int:\n    """One."""\n    return a\n\n\nclass C:\n    n = 1\n\n    async def g(self): ...\n'
    assert list(lines_of_functions(text)) == [("f", 5), ("g", 1)] and list(methods_of_classes(text)) == [("C", 1)]


def test_functions_classes_and_modules_stay_small() -> None:
    longer = set()
    for name, text in modules():
        longer |= {f"{name}:{function}" for function, lines in lines_of_functions(text) if lines > MOST_LINES_OF_A_FUNCTION}
        longer |= {f"{name}:{class_name}" for class_name, methods in methods_of_classes(text) if methods > MOST_METHODS}
        longer |= {name} if len(text.splitlines()) > MOST_LINES_OF_A_MODULE else set()
    assert longer <= set(EXCEPTIONS), f"too long: {longer - set(EXCEPTIONS)}"
    assert longer >= set(EXCEPTIONS), f"no exception any more: {set(EXCEPTIONS) - longer}"


def test_most_functions_are_short() -> None:
    lengths = [lines for _, text in modules() for _, lines in lines_of_functions(text)]
    assert sum(lines < SHORT_LINES for lines in lengths) >= SHORT_SHARE * len(lengths)


def test_a_package_holds_a_dozen_modules_at_most() -> None:
    counts = Counter(name.rpartition("/")[0] for name, _ in modules() if not name.endswith("/__init__.py"))
    assert not {name: count for name, count in counts.items() if count > MOST_MODULES_OF_A_PACKAGE}


NOT_FACES = {"command_options", "commands", "images", "zoo"}  # modules and packages that are themselves part of a face


def test_nobody_imports_past_a_face() -> None:
    """What another package needs of one, its `__init__` names; the package itself imports from its own modules."""
    past = []
    for name, text in modules():
        own = ".".join(Path(name).with_suffix("").parts[:2])
        for node in ast.walk(ast.parse(text)):
            parts = (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
            if len(parts) > 2 and parts[0] == "pipeline" and ".".join(parts[:2]) != own and parts[2] not in NOT_FACES:
                past.append(f"{name}: {node.module}")
    assert not past


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
