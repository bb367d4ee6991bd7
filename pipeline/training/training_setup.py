"""What all stages of a training share: the plan, the pictures, the network, and who is told of its progress."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from pipeline.arrays import Array
from pipeline.datasets import CachedDataset, Part
from pipeline.models import zoo
from pipeline.options import ModelChoice
from pipeline.training.trainable_network import TrainableNetwork
from pipeline.training.training_plan import TrainingPlan

Row = Mapping[str, float]  # of the history: an epoch's number and phase, loss and accuracy of both parts


class Watcher(Protocol):
    """Is told how a training goes. Raising from any of these stops it; what it has come to is kept."""

    def read(self, done: int, count: int) -> None:
        """So many of the pictures are read."""

    def trained(self, done: int, count: int) -> None:
        """So many of this epoch's pictures went through the base."""

    def epoch(self, row: Row, *, of: int, better: bool) -> None:
        """An epoch has ended; `better` says that this is the best model so far, and is kept."""

    def said(self, text: str) -> None:
        """A line for the user."""


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """`class_weights` float32 (classes,) weigh the loss; in `folder` lie the checkpoint and the cached pixels."""

    plan: TrainingPlan
    entry: zoo.ZooEntry
    pictures: CachedDataset
    network: TrainableNetwork
    class_weights: Array
    folder: Path
    watcher: Watcher

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What a training that goes on must have in common with the interrupted one. More epochs may be asked for."""
        recipe = asdict(self.plan.recipe)
        del recipe["epochs"], recipe["max_megapixels"]
        recipe["weights"] = zoo.identify_model(ModelChoice(model=self.entry.name, weights=self.plan.recipe.weights))["weights"]
        return {**recipe, "base": self.entry.name, "data": self.pictures.digest(), "keras": keras.__version__}

    def targets(self, part: Part) -> tuple[Array, Array]:
        """Labels int64 (pictures,) and weights float32 (pictures,) in the order of the part's cache."""
        labels = self.pictures.labels(part)
        return labels, self.class_weights[labels] if part == "train" else np.ones(len(labels), np.float32)

    def make_ticker(self) -> Callable[[int], None]:
        """A function that tells the watcher how many pictures of an epoch are done."""
        count = len(self.pictures.train.numbers)
        return lambda done: self.watcher.trained(done, count)
