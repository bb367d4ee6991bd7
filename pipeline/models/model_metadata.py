"""What belongs to a model that was trained here, inside its own .keras file: class names, what it wants to see, what it learned from.

A .keras file is a ZIP archive (https://keras.io/guides/serialization_and_saving/); Keras reads the members that it knows and passes over
others, so that a file with metadata is a plain Keras model to everybody else.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ModelError

METADATA_MEMBER = "heatreel.json"
METADATA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LearnedPicture:
    """One picture that a model was trained ("train") or validated ("val") on.

    `sha256` is the first 16 hex digits of its file's; `fingerprint` that of `near_duplicates.fingerprint`, in hex.
    """

    name: str
    label: int
    part: Literal["train", "val"]
    sha256: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """What every command needs to know of a trained model besides its layers. The model takes RGB in [0, 255] and scales it itself.

    `pooling` is how it was trained: "mean" over the whole of its feature map, "window" over as many cells as a picture of `input_px` has.
    `finished` is False while it is the best so far of a training that goes on or was interrupted. `facts` are settings and results, to be
    shown; `history` has a row for every epoch.
    """

    labels: Sequence[str]
    base: str
    input_px: int
    short_side_px: int
    stride: int
    finished: bool
    pooling: Literal["mean", "window"] = "mean"
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    learned: Sequence[LearnedPicture] = ()


def add_metadata(path: Path, metadata: ModelMetadata) -> None:
    """Put the metadata into a .keras file that has none."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA_MEMBER, json.dumps({"version": METADATA_VERSION, **asdict(metadata)}))


def read_metadata(path: Path) -> ModelMetadata | None:
    """The metadata of a model file; None where there is none, such as in every file that was not made here.

    Raises ModelError when there is one and it cannot be understood.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if METADATA_MEMBER not in archive.namelist():
                return None
            content = json.loads(archive.read(METADATA_MEMBER))
        if content.pop("version") != METADATA_VERSION:
            raise ModelError(f"--model {path}: was trained by another version of this program", remedy="update heatreel")
        learned = [LearnedPicture(**each) for each in content.pop("learned")]
        return ModelMetadata(**content, learned=learned)
    except (OSError, zipfile.BadZipFile):
        return None  # no .keras file; what is wrong with it is said where it is loaded
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"--model {path}: its class names cannot be read ({type(error).__name__}: {error})") from error
