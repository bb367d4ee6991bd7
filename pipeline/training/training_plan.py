"""What a training is to do: everything that can be refused is refused here, before a network is built or a file is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets import Dataset, check_trainable, load_dataset, split_dataset
from pipeline.errors import CommandError, OutputError
from pipeline.explain import folder_of
from pipeline.files import check_output
from pipeline.models import read_metadata, zoo
from pipeline.options import Recipe

TRAINING_STATE = "state.npz"  # what an interrupted training goes on from, in the hidden folder of its output


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training that can start: the pictures with their parts, and where the model and its learning curve go."""

    data: Dataset
    recipe: Recipe
    output: Path
    curve: Path
    resume: bool = False


def plan_training(root: Path, *, output: Path | None, recipe: Recipe, resume: bool = False, overwrite: bool = False) -> TrainingPlan:
    """Check the recipe, the output and the header of every picture. `output` None is ROOT.keras beside the data.

    Raises InputError for data that cannot be trained on, OutputError for an output that must not be replaced, CommandError for a name that
    is no .keras file.
    """
    _check_base(recipe)
    output = output or root.absolute().with_name(f"{root.absolute().name}.keras")
    if output.suffix != ".keras":
        raise CommandError(f"--output {output}: a model is written as .keras", remedy="name a file that ends so")
    curve = output.with_name(f"{output.stem}_learning_curve.png")
    _check_outputs(output, curve, resume=resume, overwrite=overwrite)
    found = load_dataset(root, max_megapixels=recipe.max_megapixels)
    check_trainable(found)
    data = split_dataset(found, val=recipe.val, seed=recipe.seed)
    return TrainingPlan(data=data, recipe=recipe, output=output, curve=curve, resume=resume)


def _check_base(recipe: Recipe) -> None:
    if zoo.is_model_file(recipe.base):
        raise CommandError(f"--base {recipe.base}: is a file", remedy="name a model of the zoo; `visualize models` lists them")
    if zoo.find_entry(recipe.base).builder is None and recipe.weights:
        raise CommandError(f"--weights {recipe.weights}: the embedded model has its own weights")


def _check_outputs(output: Path, curve: Path, *, resume: bool, overwrite: bool) -> None:
    """The files of an interrupted training may be replaced where it goes on."""
    goes_on = resume and (folder_of(output) / TRAINING_STATE).is_file()
    card = read_metadata(output) if output.is_file() else None
    unfinished = card is not None and not card.finished
    if unfinished and not (goes_on or overwrite):
        raise OutputError(f"{output}: a training of it was interrupted", remedy="add --resume to go on, or --overwrite to begin anew")
    for path in (output, curve):
        check_output(path, sources=frozenset(), overwrite=overwrite or (goes_on and unfinished))
