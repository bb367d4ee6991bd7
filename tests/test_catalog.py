"""The 1000 classes, and how a class is found by what people type."""

from __future__ import annotations

import re

import pytest

from pipeline import catalog
from pipeline.errors import CommandError, ModelError
from pipeline.records import ClassName

CLASSES = catalog.imagenet_classes()


def test_there_are_1000_classes_in_order() -> None:
    assert [name.index for name in CLASSES] == list(range(1000))
    wnids = [name.wnid for name in CLASSES]
    assert len(set(wnids)) == 1000 and all(wnid is not None and re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert wnids == sorted(wnids, key=str)  # the order of ImageNet-1k is that of the WordNet ids
    assert all(name.label == name.label.strip() and "_" not in name.label and name.label for name in CLASSES)


# From the synset list of ILSVRC 2012.
@pytest.mark.parametrize(
    ("index", "wnid", "label"),
    [
        (0, "n01440764", "tench"),
        (263, "n02113023", "Pembroke"),
        (281, "n02123045", "tabby"),
        (954, "n07753592", "banana"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_a_class_is_found_by_index_id_and_label(index: int, wnid: str, label: str) -> None:
    spellings = [str(index), wnid, wnid.upper(), label, label.upper(), label.lower(), label.replace(" ", "_"), f" {label} "]
    assert {catalog.find_class(wanted, CLASSES) for wanted in spellings} == {ClassName(index=index, wnid=wnid, label=label)}


def test_every_label_leads_to_its_class_unless_several_share_it() -> None:
    labels = [name.label.casefold() for name in CLASSES]
    shared = {label for label in labels if labels.count(label) > 1}
    assert shared == {"crane", "maillot", "cardigan"}  # a bird and a machine, two bathing suits, a dog and a garment
    for name in CLASSES:
        assert catalog.find_class(name.wnid or "", CLASSES) is name
        if name.label.casefold() not in shared:
            assert catalog.find_class(name.label, CLASSES) is name


def test_a_label_of_two_classes_is_answered_with_both_ids() -> None:
    with pytest.raises(CommandError) as refused:
        catalog.find_class("Crane", CLASSES)
    for part in ("--target Crane", "several classes", "n02012849 (134)", "n03126707 (517)"):
        assert part in str(refused.value)
    assert refused.value.exit_code == 2
    assert catalog.find_class("n03126707", CLASSES).index == 517


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("banan", ["banana"]), ("Pembrok", ["pembroke"]), ("retriever", ["golden retriever", "labrador retriever"]), ("tabby_cat", ["tabby"])],
)
def test_an_unknown_label_is_answered_with_near_ones(wanted: str, near: list[str]) -> None:
    with pytest.raises(CommandError, match=f"--target {wanted}: the model has no such class; near to it: ") as refused:
        catalog.find_class(wanted, CLASSES)
    assert set(near) <= set(refused.value.remedy.removeprefix("near to it: ").split(", "))


def test_a_label_like_no_other_is_answered_with_what_to_give() -> None:
    with pytest.raises(CommandError, match="--target qqqqqqqq: the model has no such class; give a class name, wnid or index"):
        catalog.find_class("qqqqqqqq", CLASSES)


@pytest.mark.parametrize("wanted", ["1000", "99999999999999999999"])
def test_an_index_beyond_the_last_class_is_refused(wanted: str) -> None:
    with pytest.raises(CommandError, match=f"--target {wanted}: the model has 1000 classes, 0 to 999"):
        catalog.find_class(wanted, CLASSES)


@pytest.mark.parametrize("wanted", ["-1", "1.5", "n0012345", "", "²"])
def test_what_is_neither_index_nor_name_is_refused(wanted: str) -> None:
    with pytest.raises(CommandError, match="no such class"):
        catalog.find_class(wanted, CLASSES)


def test_classes_without_wordnet_ids_are_told_apart_by_index() -> None:
    mine = [ClassName(index=i, wnid=None, label=label) for i, label in enumerate(("left", "right", "Left"))]
    assert catalog.find_class("right", mine) is mine[1]
    with pytest.raises(CommandError, match=r"give one by its id: 0 \(0\), 2 \(2\)"):
        catalog.find_class("LEFT", mine)


def test_the_default_model_is_in_the_catalog() -> None:
    entry = catalog.entry(catalog.DEFAULT)
    assert (entry.name, entry.input_px, entry.short_side_px, entry.stride) == ("efficientnet_lite0", 224, 256, 32)
    with pytest.raises(ModelError, match=r"--model resnet9000: no such model; near to it: resnet50"):
        catalog.entry("resnet9000")
