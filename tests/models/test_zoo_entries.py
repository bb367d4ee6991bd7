"""The models that come by name."""

from __future__ import annotations

import pytest

from pipeline.errors import ModelError
from pipeline.models import zoo


def test_the_default_model_is_in_the_catalog() -> None:
    entry = zoo.find_entry(zoo.DEFAULT_MODEL)
    assert (entry.name, entry.input_px, entry.short_side_px, entry.stride) == ("efficientnet_lite0", 224, 256, 32)
    with pytest.raises(ModelError, match=r"--model resnet9000: no such model; near to it: resnet50"):
        zoo.find_entry("resnet9000")
