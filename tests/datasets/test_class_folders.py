"""Labelled folders: what is found, what is refused, how they are split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import class_folders
from pipeline.errors import InputError


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value % 256, value // 256, 0)).save(path, "PNG")
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., Path]:
    """`folders(cat=3, dog=2)`: so many pictures in folders of these names; a name may be a path ("train/cat")."""

    def make(**counts: int) -> Path:
        for name, count in counts.items():
            folder = tmp_path / "data" / name.replace("__", "/")
            folder.mkdir(parents=True)
            for number in range(count):
                picture(folder / f"{number}.png", number)
        return tmp_path / "data"

    return make


def test_classes_and_pictures_are_in_natural_order(folders: Callable[..., Path]) -> None:
    root = folders(class10=1, class2=12)
    picture(root / "class10" / "below" / "deeper.png")
    found = class_folders.load_dataset(root)
    assert found.labels == ["class2", "class10"] and found.counts == [12, 2]
    names = [example.name for example in found.examples]
    assert names[:3] == ["class2/0.png", "class2/1.png", "class2/2.png"] and names[11:] == [
        "class2/11.png",
        "class10/0.png",
        "class10/below/deeper.png",
    ]
    assert {example.part for example in found.examples} == {None} and not found.warnings and not found.unreadable


def test_what_is_no_picture_is_left_out_and_counted(folders: Callable[..., Path]) -> None:
    root = folders(cat=2, dog=2)
    (root / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "cat" / ".hidden.png").write_bytes(b"")
    (root / ".cache").mkdir()
    picture(root / "dog" / "picture without suffix")
    picture(root / "loose.png")
    found = class_folders.load_dataset(root)
    assert found.counts == [2, 3]
    assert [name for name, _ in found.unreadable] == ["cat/broken.jpg"] and "broken.jpg" in found.unreadable[0][1]
    assert [warning.split(" left out")[0] for warning in found.warnings] == [
        "1 picture cannot be read and",
        "1 file in the class folders",
        f"1 picture directly in {root}",
    ]


def test_a_class_folder_may_be_a_link(folders: Callable[..., Path], tmp_path: Path) -> None:
    root = folders(cat=2)
    picture(tmp_path / "elsewhere" / "a.png")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    assert class_folders.load_dataset(root).counts == [2, 1]


@pytest.mark.parametrize("names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("\ufb01sh", "fish")])
def test_classes_that_differ_in_case_or_form_alone_are_refused(names: tuple[str, str], folders: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="have the same name"):
        class_folders.load_dataset(folders(**dict.fromkeys(names, 1)))


def test_what_is_no_folder_of_class_folders_is_refused(folders: Callable[..., Path], tmp_path: Path) -> None:
    for root, said in (
        (tmp_path / "none", "No such file"),
        (picture(tmp_path / "a.png"), "Not a directory"),
        (tmp_path, "holds no folders"),
    ):
        with pytest.raises(InputError, match=said):
            class_folders.load_dataset(root)
    with pytest.raises(InputError, match="there is no picture"):
        class_folders.load_dataset(folders(cat=0, dog=0))


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    for number, (counts, said) in enumerate(
        [
            ({"cat": 3}, "one class only, 'cat'"),
            ({"cat": 3, "dog": 0}, "no readable picture of 'dog'"),
            ({"cat": 3, "dog": 1}, "fewer than 2 pictures of 'dog'"),
            ({"train/cat": 3, "train/dog": 1, "val/cat": 1}, None),
            ({"train/cat": 3, "val/dog": 1, "val/cat": 1}, "train: fewer than 1 picture of 'dog'"),
        ]
    ):
        root = tmp_path / str(number)
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for each in range(count):
                picture(root / name / f"{each}.png")
        found = class_folders.load_dataset(root)
        if said is None:
            class_folders.check_trainable(found)
            continue
        with pytest.raises(InputError, match=said):
            class_folders.check_trainable(found)


def test_train_and_val_folders_are_taken_as_they_are(folders: Callable[..., Path]) -> None:
    root = folders(Train__cat=3, Train__dog=2, validation__cat=1, validation__dog=2)
    picture(root / "test" / "cat" / "later.png")
    found = class_folders.load_dataset(root)
    assert found.labels == ["cat", "dog"] and Counter(example.part for example in found.examples) == {"train": 5, "val": 3}
    assert [warning for warning in found.warnings if "test" in warning]
    assert class_folders.split_dataset(found, val=0.5, seed=1) is found


def test_a_folder_beside_train_that_is_no_part_makes_it_a_class(folders: Callable[..., Path]) -> None:
    assert class_folders.load_dataset(folders(train=2, bus=2)).labels == ["bus", "train"]


def test_the_split_takes_its_share_of_every_class(folders: Callable[..., Path]) -> None:
    found = class_folders.load_dataset(folders(cat=20, dog=11, owl=2))
    drawn = class_folders.split_dataset(found, val=0.2, seed=7)
    assert [(e.path, e.label) for e in drawn.examples] == [(e.path, e.label) for e in found.examples]
    assert Counter(e.label for e in drawn.examples if e.part == "val") == {0: 4, 1: 2, 2: 1}  # 4, 2.2, and at least one
    assert Counter(e.part for e in drawn.examples) == {"val": 7, "train": 26}
    assert class_folders.split_dataset(found, val=0.2, seed=7) == drawn != class_folders.split_dataset(found, val=0.2, seed=8)
    assert Counter(e.label for e in class_folders.split_dataset(found, val=0.99, seed=7).examples if e.part == "train") == {
        0: 1,
        1: 1,
        2: 1,
    }


def test_uneven_classes_are_weighted_in_inverse_proportion() -> None:
    labels = [0] * 6 + [1] * 3 + [2] * 3
    # n / (classes * n_c) = 12 / (3 * 6) and 12 / (3 * 3): every class weighs 4 in all
    np.testing.assert_allclose(class_folders.class_weights(labels, uneven=1.5), [2 / 3, 4 / 3, 4 / 3], rtol=1e-6)
    np.testing.assert_array_equal(class_folders.class_weights(labels, uneven=2.5), [1, 1, 1])
