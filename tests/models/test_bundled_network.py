"""The embedded net against PyTorch's run of the same checkpoint (embedded_reference.py), and the reading of that checkpoint."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from support.embedded_reference import PICTURES, REFERENCE, checksum, draw_picture

from pipeline.arrays import Array
from pipeline.errors import ModelError
from pipeline.models import bundled_network, class_names, network


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return bundled_network.build_embedded_network()


def softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def photograph(name: str, width: int, height: int) -> Array:
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    with Image.open(Path(spec.origin).parent / "data" / name) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


# ------------------------------------------------------------------------------------------------ the net


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_says_what_pytorch_says(model: keras.Model, seed: int, height: int, width: int) -> None:
    picture, reference = draw_picture(seed, height, width), np.load(REFERENCE)
    assert checksum(picture) == reference[f"{seed}_checksum"]  # else numpy draws another picture, and the next lines say nothing
    pixels, logits = picture[None].astype(np.float32), reference[f"{seed}_logits"]
    split = network.split_model(model)
    np.testing.assert_allclose(model(pixels)[0], softmax(logits), rtol=0, atol=1e-4)
    np.testing.assert_allclose(split.run_head(split.run_body(pixels))[0], logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("chelsea.png", {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}), ("coffee.png", {"espresso", "cup"})],
)
def test_names_what_a_photograph_shows(model: keras.Model, name: str, wanted: set[str]) -> None:
    scores = np.asarray(model(photograph(name, 384, 256)[None].astype(np.float32)))[0]
    assert class_names.imagenet_classes()[int(scores.argmax())].label in wanted


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 31), (96, 160), (257, 300)])
def test_takes_any_size(model: keras.Model, height: int, width: int) -> None:
    pixels = draw_picture(9, height, width)[None].astype(np.float32)
    assert network.split_model(model).run_body(pixels).shape == (1, math.ceil(height / 32), math.ceil(width / 32), 1280)
    scores = np.asarray(model(pixels))
    assert scores.shape == (1, 1000) and scores.sum() == pytest.approx(1, abs=1e-5) and scores.max() > 2e-3


def test_has_the_published_number_of_weights(model: keras.Model) -> None:
    # Counted from the table of arXiv 1905.11946: convolutions without bias, one bias a channel where the batch norm is folded in.
    weights, channels = 3 * 3 * 3 * 32 + 32, 32
    for repeats, kernel, _, expansion, filters in bundled_network._BLOCKS:
        for _ in range(repeats):
            wide = channels * expansion
            weights += (channels * wide + wide) * (expansion != 1) + kernel * kernel * wide + wide + wide * filters + filters
            channels = filters
    weights += channels * 1280 + 1280 + 1280 * 1000 + 1000
    assert model.count_params() == weights


# ------------------------------------------------------------------------------------------------ the checkpoint's bytes


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda c: c[:-1], lambda c: c[: len(c) // 3], lambda c: c + b"\0", lambda _: b""],
    ids=["one bit", "last byte missing", "cut off", "one byte more", "empty"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(damage(bundled_network.embedded_weights_path().read_bytes()))
    with pytest.raises(ModelError, match=r"weights\.pth.*damaged.*sha256.*reinstall"):
        bundled_network.read_embedded_weights(path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pth.*cannot be read: No such file"):
        bundled_network.read_embedded_weights(tmp_path / "nowhere.pth")


# ------------------------------------------------------------------------------------------------ checkpoints written here


def opcodes(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol in front and the stop behind


def checkpoint(*, elements: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A file as torch.save wrote it before 1.6, holding one tensor "t" that views a storage of 0, 1, 2 ..."""
    storage = b"(" + opcodes("storage") + b"ctorch\nFloatStorage\n" + opcodes("key") + opcodes("cpu") + opcodes(elements) + b"NtQ"
    view = b"".join(map(opcodes, (offset, shape, stride))) + b"\x89" + b"ccollections\nOrderedDict\n)R"
    state = b"\x80\x02}" + opcodes("t") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tRs."
    front = b"".join(pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    data = np.int64(elements).tobytes() + np.arange(elements, dtype="<f4").tobytes()
    return front + state + pickle.dumps(["key"], protocol=2) + data


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "values"),
    [
        (0, (2, 3), (3, 1), [[0, 1, 2], [3, 4, 5]]),
        (0, (3, 2), (1, 3), [[0, 3], [1, 4], [2, 5]]),  # a transposed view
        (2, (2, 2), (2, 1), [[2, 3], [4, 5]]),  # its last element is the storage's last
        (5, (), (), 5),
        (0, (0, 3), (3, 1), np.zeros((0, 3))),
    ],
)
def test_a_tensor_is_the_view_it_says(offset: int, shape: tuple[int, ...], stride: tuple[int, ...], values: Any) -> None:
    content = checkpoint(elements=6, offset=offset, shape=shape, stride=stride)
    [(name, tensor)] = bundled_network.read_legacy_checkpoint(io.BytesIO(content)).items()
    assert name == "t" and tensor.dtype == np.float32 and not tensor.flags.writeable
    np.testing.assert_array_equal(tensor, np.array(values, np.float32), strict=True)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(1, (2, 3), (3, 1)), (0, (7,), (1,)), (6, (), ()), (-1, (2,), (1,)), (5, (3,), (-1,)), (0, (2, 2), (5, 1)), (0, (-1,), (1,))],
)
def test_a_tensor_outside_its_storage_is_refused(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
    content = checkpoint(elements=6, offset=offset, shape=shape, stride=stride)
    with pytest.raises(ModelError, match="outside its storage"):
        bundled_network.read_legacy_checkpoint(io.BytesIO(content))


WHOLE = checkpoint(elements=6, offset=0, shape=(6,), stride=(1,))


@pytest.mark.parametrize(
    "content", [WHOLE[:10], WHOLE[:150], WHOLE[:-40], b"PK\3\4", b"\x89PNG\r\n"], ids=["10", "150", "-40", "zip", "png"]
)
def test_a_pickle_that_is_cut_off_or_none_is_refused(content: bytes) -> None:
    with pytest.raises((ModelError, pickle.UnpicklingError)):
        bundled_network.read_legacy_checkpoint(io.BytesIO(content))


@pytest.mark.parametrize(
    "content", [b"", WHOLE[:-32], WHOLE[:-24], WHOLE[:-1], pickle.dumps(1) * 5], ids=["empty", "header", "count", "data", "numbers"]
)
def test_a_checkpoint_without_its_data_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        bundled_network.read_legacy_checkpoint(io.BytesIO(content))


# ------------------------------------------------------------------------------------------------ no code from a pickle


def call(module: str, name: str, argument: str, opcode: str) -> bytes:
    """A pickle that calls module.name(argument), by each of the three ways in which a pickle can name a global."""
    given = b"(" + opcodes(argument)
    if opcode == "INST":
        return b"\x80\x02" + given + f"i{module}\n{name}\n.".encode()
    if opcode == "GLOBAL":
        return b"\x80\x02" + f"c{module}\n{name}\n".encode() + given + b"tR."
    return b"\x80\x04" + opcodes(module) + opcodes(name) + b"\x93" + given + b"tR."


@pytest.mark.parametrize("place", [0, 3], ids=["first pickle", "state dict"])
@pytest.mark.parametrize("opcode", ["GLOBAL", "STACK_GLOBAL", "INST"])
@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "eval"), ("builtins", "exec")])
def test_nothing_in_a_pickle_is_executed(tmp_path: Path, module: str, name: str, opcode: str, place: int) -> None:
    marker = tmp_path / "executed"
    payload = call(module, name, f"echo > {marker}" if module == "os" else f"open({str(marker)!r}, 'w').close()", opcode)
    with pytest.raises(pickle.UnpicklingError, match=f"{module}.{name} is not a tensor"):
        bundled_network.read_legacy_checkpoint(io.BytesIO(pickle.dumps(0) * place + payload + pickle.dumps([]) * 4))
    assert not marker.exists()
    pickle.loads(payload)
    assert marker.exists()  # the payload bites where it is let through


@pytest.mark.parametrize(
    "name", ["torch\nload", "torch._utils\n_rebuild_tensor", "collections\nCounter", "torch\nHalfStorage", "builtins\ngetattr"]
)
def test_names_near_to_the_admitted_ones_are_refused(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is not a tensor"):
        bundled_network.read_legacy_checkpoint(io.BytesIO(f"c{name}\n.".encode()))


def test_only_storages_are_persistent_objects() -> None:
    content = b"(" + opcodes("module") + b"ctorch\nFloatStorage\n" + opcodes("key") + b"tQ."
    with pytest.raises(pickle.UnpicklingError, match="unknown persistent object"):
        bundled_network.read_legacy_checkpoint(io.BytesIO(b"\x80\x02" + content))
