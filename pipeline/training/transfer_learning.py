"""Transfer learning: a network of the zoo, frozen, with a small classifier of one's own behind it; then, if asked for, its last layers too.

While the base is frozen its features are all that the classifier ever sees. So an epoch is: features of the pictures, augmented or
not, in batches of one size; then the classifier's own steps on shuffled features. Without augmentation the features never change, and are
computed once. Pictures are shown to the network as by every other command: whole and undistorted.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.datasets import CachedDataset, cache_pixels, class_weights, warn_of_duplicates
from pipeline.evaluation import wilson_interval
from pipeline.explain import folder_of
from pipeline.files import lock_folder
from pipeline.models import frame_geometry, zoo
from pipeline.reports import draw_learning_curve
from pipeline.training.checkpoint import TrainingState, load_checkpoint
from pipeline.training.fitting import extract_features, fine_tune, fit
from pipeline.training.saved_model import save_model
from pipeline.training.trainable_network import build_network
from pipeline.training.training_plan import TRAINING_STATE, TrainingPlan
from pipeline.training.training_setup import Row, TrainingSetup, Watcher

UNEVEN = 1.5  # the largest class over the smallest, from which on classes are weighted


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training; the JSON object of `visualize train`. `interval` is the accuracy's, of 95 %."""

    plan: TrainingPlan
    train: int
    val: int
    history: Sequence[Row]
    best: Row
    interval: tuple[float, float]
    elapsed_seconds: float
    unreadable: Sequence[tuple[str, str]]
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the contract."""
        return {
            "input": str(self.plan.data.root),
            "output": str(self.plan.output),
            "base": zoo.find_entry(self.plan.recipe.base).name,
            "labels": list(self.plan.data.labels),
            "train": self.train,
            "val": self.val,
            "epochs": len(self.history),
            "best_epoch": int(self.best["epoch"]),
            "accuracy": self.best["val_accuracy"],
            "accuracy_interval": list(self.interval),
            "loss": self.best["val_loss"],
            "curve": str(self.plan.curve),
            "history": [dict(row) for row in self.history],
            "unreadable": [{"input": name, "error": error} for name, error in self.unreadable],
            "warnings": list(self.warnings),
            "elapsed_seconds": round(self.elapsed_seconds, 3),
        }


def train(plan: TrainingPlan, watcher: Watcher) -> TrainingResult:
    """Train, and write the model and its learning curve. From the first epoch on the output is the best model so far.

    Raises InputError when too few pictures can be read, CommandError when an interrupted training was another one, ModelError as
    load_classifier does, OutputError when the disk refuses.
    """
    started = time.perf_counter()
    with _open_folder(plan) as folder:
        pictures = _cache_pictures(plan, folder, watcher)
        setup = _set_up(plan, pictures, folder, watcher)
        state = _resume(setup) or TrainingState()
        if state.phase == 0:
            state = fit(setup, state, extract_features(setup))
        if plan.recipe.fine_tune:
            state = fine_tune(setup, state)
        return _save(setup, state, started)


@contextmanager
def _open_folder(plan: TrainingPlan) -> Iterator[Path]:
    """The hidden folder of the output. It is removed at the end; after an interruption the checkpoint stays, where there is one."""
    folder = folder_of(plan.output)
    with lock_folder(folder, plan.output):
        try:
            shutil.rmtree(folder / "pictures", ignore_errors=True)
            if not plan.resume:
                (folder / TRAINING_STATE).unlink(missing_ok=True)  # of a training that nobody goes on with
            yield folder
        except BaseException:
            shutil.rmtree(folder / "pictures", ignore_errors=True)
            if not (folder / TRAINING_STATE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _cache_pictures(plan: TrainingPlan, folder: Path, watcher: Watcher) -> CachedDataset:
    entry = zoo.find_entry(plan.recipe.base)
    size = (entry.input_px, entry.input_px)
    fit_whole = functools.partial(frame_geometry, fit="whole", input_px=size, short_side_px=entry.short_side_px, stride=entry.stride)
    limit = plan.recipe.max_megapixels
    return cache_pixels(plan.data, fit_whole, folder / "pictures", max_megapixels=limit, progress=watcher.read)


def _set_up(plan: TrainingPlan, pictures: CachedDataset, folder: Path, watcher: Watcher) -> TrainingSetup:
    entry = zoo.find_entry(plan.recipe.base)
    return TrainingSetup(
        plan=plan,
        entry=entry,
        pictures=pictures,
        network=build_network(entry, plan.recipe, len(plan.data.labels)),
        class_weights=class_weights(pictures.labels("train").tolist(), uneven=UNEVEN),
        folder=folder,
        watcher=watcher,
    )


def _resume(setup: TrainingSetup) -> TrainingState | None:
    """The state of the interrupted training; None where there is none, or where nobody asks for it."""
    if not setup.plan.resume:
        return None
    state = load_checkpoint(setup.folder / TRAINING_STATE, setup.identity)
    if state is None:
        setup.watcher.said(f"{setup.plan.output}: nothing to go on from, so it begins at the beginning")
    else:
        setup.watcher.said(f"{setup.plan.output}: goes on behind epoch {len(state.history)}")
    return state


def _save(setup: TrainingSetup, state: TrainingState, started: float) -> TrainingResult:
    """Write the best model as finished, and its learning curve."""
    plan, pictures, best = setup.plan, setup.pictures, state.best
    assert best is not None, "there is an epoch at least"
    train_count, val_count = len(pictures.train.numbers), len(pictures.val.numbers)
    warnings = [*plan.data.warnings, *warn_of_duplicates(pictures)]
    result = TrainingResult(
        plan=plan,
        train=train_count,
        val=val_count,
        history=state.history,
        best=best,
        interval=wilson_interval(round(best["val_accuracy"] * val_count), val_count),
        elapsed_seconds=time.perf_counter() - started,
        unreadable=[*plan.data.unreadable, *pictures.unreadable],
        warnings=warnings,
    )
    setup.network.whole.set_weights(state.kept)
    save_model(setup, state, finished=True)
    draw_learning_curve(plan.curve, state.history, title=plan.output.name, overwrite=True)
    return result
