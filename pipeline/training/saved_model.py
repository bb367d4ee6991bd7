"""The model file that a training writes: the whole network, and its metadata beside the weights."""

from __future__ import annotations

from importlib.metadata import version

import keras

from pipeline.files import atomic_write
from pipeline.models import ModelMetadata, add_metadata
from pipeline.training.checkpoint import TrainingState
from pipeline.training.training_setup import TrainingSetup


def save_model(setup: TrainingSetup, state: TrainingState, *, finished: bool) -> None:
    """Write the network as it is now, with its metadata, under its final name. Raises OutputError."""
    with atomic_write(setup.plan.output, overwrite=True) as temporary:
        setup.network.whole.save(temporary)
        add_metadata(temporary, _describe(setup, state, finished=finished))


def _describe(setup: TrainingSetup, state: TrainingState, *, finished: bool) -> ModelMetadata:
    entry = setup.entry
    return ModelMetadata(
        labels=setup.plan.data.labels,
        base=entry.name,
        input_px=entry.input_px,
        short_side_px=entry.short_side_px,
        stride=entry.stride,
        finished=finished,
        pooling="mean",  # as fitting.make_extractor has it
        facts=_list_facts(setup, state),
        history=list(state.history),
        learned=list(setup.pictures.learned.values()),
    )


def _list_facts(setup: TrainingSetup, state: TrainingState) -> dict[str, str]:
    recipe, pictures, best = setup.plan.recipe, setup.pictures, state.best
    assert best is not None, "what is saved is the best so far"
    return {
        "pictures": f"{len(pictures.train.numbers)} to train on, {len(pictures.val.numbers)} to validate on",
        "validation": f"accuracy {100 * best['val_accuracy']:.1f} %, loss {best['val_loss']:.4f}, epoch {best['epoch']}",
        "settings": f"rate {recipe.learning_rate:g}, batches of {recipe.batch_size}, seed {recipe.seed}, "
        f"{'augmented' if recipe.augment else 'not augmented'}, {recipe.fine_tune or 'no'} layers fine-tuned",
        "versions": f"heatreel {version('heatreel')}, keras {keras.__version__}",
    }
