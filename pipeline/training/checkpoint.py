"""How far a training has come, and the file from which an interrupted one goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import CommandError
from pipeline.files import atomic_write
from pipeline.training.training_setup import Row

_FACTS = ("phase", "waited", "mark", "history", "best")
_LISTS = ("kept", "weights", "slots")


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a training goes on from. `phase` 0 trains the classifier, 1 fine-tunes the base too.

    `mark` is the validation loss on which `waited` epochs have not gained enough; `best` is the row of the best epoch so far, and `kept`
    every weight of its model; `weights` and `slots` are those of the model in training and of its optimizer.
    """

    phase: int = 0
    waited: int = 0
    mark: float = math.inf
    history: Sequence[Row] = ()
    best: Row | None = None
    kept: Sequence[Array] = ()
    weights: Sequence[Array] = ()
    slots: Sequence[Array] = ()

    def epochs_of(self, phase: int) -> int:
        """How many epochs of a phase are done."""
        return sum(row["phase"] == phase for row in self.history)


def save_checkpoint(path: Path, state: TrainingState, identity: Mapping[str, Any]) -> None:
    """Write a state with what its training depends on. Raises OutputError."""
    facts = {"identity": identity, **{name: getattr(state, name) for name in _FACTS}}
    arrays = {f"{name}{number}": value for name in _LISTS for number, value in enumerate(getattr(state, name))}
    with atomic_write(path, overwrite=True) as temporary:
        np.savez(temporary, allow_pickle=False, told=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> TrainingState | None:
    """The state of an interrupted training, None where there is none. Raises CommandError when that training had another identity."""
    if not path.is_file():
        return None
    with np.load(path) as saved:
        facts: dict[str, Any] = json.loads(saved["told"].tobytes())
        lists: dict[str, Any] = {
            name: [saved[f"{name}{n}"] for n in range(sum(key.startswith(name) for key in saved.files))] for name in _LISTS
        }
    _check_identity(facts.pop("identity"), identity)
    return TrainingState(**facts, **lists)


def _check_identity(interrupted: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    other = [name for name in now if interrupted.get(name) != now[name]]
    if other:
        was = ", ".join("other pictures" if name == "data" else f"{name} {interrupted.get(name)}" for name in other)
        raise CommandError(f"--resume: the interrupted training had {was}", remedy="ask for the same, or begin anew with --overwrite")
