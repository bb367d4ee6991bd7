"""Fixtures that several test files share, what is slow to make is made once; and marks, which are held to what a test starts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.programs import watch_programs

import pipeline  # noqa: F401 - before the tests' own import of TensorFlow, as everywhere

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's background jobs have it; the tested programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from pipeline.explain.model_session import Session
    from pipeline.models.loading import Classifier


# ------------------------------------------------------------------------------------------------ marks

BY_FIXTURE = {"clip": "media", "classifier": "media", "open_session": "media", "trained": "media", "browser": "browser"}
STARTED: set[str] = set()  # the marks of what the test at hand has started so far
STARTED_BY_FIXTURE: dict[tuple[str, str], set[str]] = {}  # by the place and the name of fixtures that several tests share
watch_programs(STARTED)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a clip, a network that knows something or a browser is marked by that."""
    for item in items:
        for name in BY_FIXTURE.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(BY_FIXTURE[name])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    STARTED.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """What a shared fixture has started counts for every test that asks for it, not for the first alone."""
    before = set(STARTED)
    STARTED.clear()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            STARTED_BY_FIXTURE[fixturedef.baseid, fixturedef.argname] = set(STARTED)
        STARTED.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that starts a program is marked: so the tests without marks stay quick. Slow ones are left in peace."""
    result = yield
    names = getattr(item, "fixturenames", ())
    shared = [marks for (place, name), marks in STARTED_BY_FIXTURE.items() if name in names and item.nodeid.startswith(place)]
    missing = STARTED.union(*shared) - {mark.name for mark in item.iter_markers()}
    if missing and item.get_closest_marker("slow") is None:
        pytest.fail(f"it starts programs: mark it {', '.join(f'@pytest.mark.{mark}' for mark in sorted(missing))}", pytrace=False)
    return result


# ------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`clip("variable.mp4")`: the clip of that name from clips.py, made when it is first asked for."""
    from support.clips import CLIPS

    folder = tmp_path_factory.mktemp("clips")

    def get(name: str) -> Path:
        path = folder / name
        return path if path.exists() else CLIPS[name](path)

    return get


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    from pipeline.models import loading, zoo
    from pipeline.options import ModelChoice

    return loading.load_classifier(ModelChoice(model=zoo.DEFAULT_MODEL))


@pytest.fixture(scope="session")
def open_session(classifier: Classifier) -> Callable[..., Session]:
    """`open_session(top_k=5)`: a session with those options; the traced function is shared where it can be."""
    from pipeline.explain import model_session
    from pipeline.options import Options

    traced: dict[Any, Any] = {}

    def get(**options: Any) -> Session:
        given = Options(**options)
        key = (given.targets, given.method, given.holds_title)
        if key not in traced:
            traced[key] = model_session.open_session(classifier, given)
        return replace(traced[key], options=given)

    return get


@pytest.fixture(autouse=True)
def weights_are_drawn_alike() -> None:
    """A network's random weights are the same in every run: an error as large as a tolerance is then seen always or never."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(1)


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path) -> Iterator[None]:
    """No test may leave a temporary file, whatever went wrong in it."""
    yield
    assert not [*tmp_path.rglob(".*.part*"), *tmp_path.rglob(".*.heatreel")]
