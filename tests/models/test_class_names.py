"""The 1000 classes, and how classes and kinds are found by what people type."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from pipeline.errors import CommandError
from pipeline.models import class_names
from pipeline.records import ClassGroup, ClassName

CLASSES = class_names.imagenet_classes()


def own(*labels: str) -> list[ClassName]:
    return [ClassName(index=i, wnid=None, label=label) for i, label in enumerate(labels)]


def found(query: str, classes: list[ClassName] | tuple[ClassName, ...] = CLASSES) -> tuple[str, list[list[str]]] | None:
    """The stage that finds something first, and the labels of what it finds."""
    match = next(class_names.find_matches(query, classes), None)
    return None if match is None else (match.stage, [[classes[i].label for i in group.members] for group in match.groups])


# ------------------------------------------------------------------------------------------------ the tables


def test_there_are_1000_classes_in_order() -> None:
    assert [name.index for name in CLASSES] == list(range(1000))
    wnids = [name.wnid for name in CLASSES]
    assert len(set(wnids)) == 1000 and all(wnid is not None and re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert wnids == sorted(wnids, key=str)  # the order of ImageNet-1k is that of the WordNet ids
    assert all(name.label == name.label.strip() and "_" not in name.label and name.label for name in CLASSES)


def test_no_two_labels_are_equal_in_any_case() -> None:
    assert max(Counter(name.label.casefold() for name in CLASSES).values()) == 1


# By their glosses in WordNet 3.0: "large long-necked wading bird", "lifts and moves heavy objects", "slightly bowlegged variety of corgi",
# "knitted jacket", "tights for dancers or gymnasts", "a woman's one-piece bathing suit", "a flat-bottomed motor vehicle that can travel on
# land or water", "a memorial made of brass", "a carpenter's hand tool with an adjustable blade". The last three would be taken for the
# kinds of that name: frogs, horns, airliners.
@pytest.mark.parametrize(
    ("wnid", "label"),
    [
        ("n02012849", "crane (bird)"),
        ("n03126707", "crane (machine)"),
        ("n02113186", "Cardigan (Welsh corgi)"),
        ("n02963159", "cardigan (garment)"),
        ("n03710637", "maillot (tights)"),
        ("n03710721", "maillot (swimsuit)"),
        ("n02704792", "amphibian (vehicle)"),
        ("n02892201", "brass (memorial plate)"),
        ("n03954731", "plane (carpenter's tool)"),
    ],
)
def test_labels_that_are_shared_say_which_they_are(wnid: str, label: str) -> None:
    [name] = [name for name in CLASSES if name.wnid == wnid]
    assert name.label == label and class_names.synonyms(name)[0] == label.split(" (")[0]


def test_only_those_have_words_behind_their_name() -> None:
    assert sum(name.label != class_names.synonyms(name)[0] for name in CLASSES) == 9


# Counted by the table of ancestors that was made from WordNet by another program.
@pytest.mark.parametrize(
    ("wnid", "label", "count"),
    [
        ("n01503061", "bird", 59),
        ("n02084071", "dog", 118),
        ("n02121620", "cat", 7),
        ("n02512053", "fish", 16),
        ("n00015388", "animal", 398),
        ("n02112826", "corgi", 2),
    ],
)
def test_kinds_join_as_many_classes_as_wordnet_says(wnid: str, label: str, count: int) -> None:
    [kind] = [group for group in class_names.find_kinds(CLASSES) if group.wnid == wnid]
    assert (kind.label, len(kind.members)) == (label, count)
    assert list(kind.members) == sorted(kind.members)


def test_kinds_are_neither_single_nor_of_nearly_everything_nor_there_twice() -> None:
    kinds = class_names.find_kinds(CLASSES)
    assert all(2 <= len(kind.members) <= 500 for kind in kinds)
    assert len({kind.members for kind in kinds}) == len({kind.wnid for kind in kinds}) == len(kinds) == 391
    # "chordate" joins the same as "vertebrate", which is nearer; "artifact" joins 522 classes.
    assert {"vertebrate"} == {kind.label for kind in kinds if len(kind.members) == 337}
    assert not {"entity", "object", "whole", "artifact"} & {kind.label for kind in kinds}


def test_of_some_classes_kinds_have_those_alone() -> None:
    some = [CLASSES[263], CLASSES[954], *own("mine")]
    kinds = {kind.label: kind.members for kind in class_names.find_kinds(some)}
    assert kinds["corgi"] == kinds["dog"] == (0,) and "bird" not in kinds
    assert class_names.find_kinds(own("dog", "cat")) == ()


@pytest.mark.process
def test_the_tables_are_read_when_they_are_asked_for() -> None:
    code = "import sys, cli; c = sys.modules['pipeline.models.class_names']; print(c.imagenet_classes.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"


# ------------------------------------------------------------------------------------------------ what is meant


# What somebody who types this expects. The count is of classes; where it is small their labels follow.
@pytest.mark.parametrize(
    ("query", "stage", "label", "count", "among"),
    [
        ("cat", "name", "cat", 7, "tabby"),  # no big cats, and no catamaran
        ("dog", "name", "dog", 118, "pug"),  # no hotdog
        ("dogs", "name", "dog", 118, "pug"),
        ("puppies", "name", "dog", 118, "pug"),
        ("bird", "name", "bird", 59, "cock"),
        ("corgi", "name", "corgi", 2, "Pembroke"),
        ("Welsh corgi", "name", "corgi", 2, "Cardigan (Welsh corgi)"),
        ("banana", "label", "banana", 1, "banana"),
        ("rooster", "name", "cock", 1, "cock"),
        ("tiger", "label", "tiger", 1, "tiger"),  # no tiger shark, no tiger cat
        ("car", "name", "car", 10, "sports car"),  # no freight car
        ("ball", "name", "ball", 10, "soccer ball"),
        ("fish", "name", "fish", 16, "tench"),
        ("snake", "name", "snake", 17, "boa constrictor"),
        ("cockatoo", "name", "sulphur-crested cockatoo", 1, "sulphur-crested cockatoo"),
        ("cup", "label", "cup", 1, "cup"),
        ("plane", "name", "airliner", 1, "airliner"),  # and not the carpenter's
        ("airplanes", "name", "airliner", 1, "airliner"),
        ("monkey", "name", "monkey", 13, "macaque"),
        ("people", "name", "person", 3, "scuba diver"),
        ("person", "name", "person", 3, "ballplayer"),
        ("great white shark", "label", "great white shark", 1, "great white shark"),
        ("white shark", "name", "great white shark", 1, "great white shark"),
        ("pug", "label", "pug", 1, "pug"),
        ("hot dog", "name", "hotdog", 1, "hotdog"),
        ("foxes", "name", "fox", 4, "red fox"),
        ("wolves", "name", "wolf", 4, "timber wolf"),
        ("laptop", "label", "laptop", 1, "laptop"),
        ("phone", "name", "telephone", 3, "pay-phone"),
        ("cell phone", "name", "cellular telephone", 1, "cellular telephone"),
        ("gun", "name", "gun", 4, "revolver"),
        ("tv", "name", "television", 1, "television"),
        ("bike", "name", "bike", 4, "mountain bike"),
        ("food", "name", "food", 48, "pizza"),
        ("chicken", "name", "chicken", 2, "hen"),
        ("cow", "name", "ox", 1, "ox"),  # no sea cow
        ("panther", "name", "panther", 2, "jaguar"),  # two classes, joined by "feline"
        ("maillot", "name", "maillot", 2, "maillot (tights)"),
        ("panda", "name", "panda", 2, "giant panda"),
        ("amphibian", "name", "amphibian", 8, "tree frog"),
        ("retriever", "name", "retriever", 5, "golden retriever"),
        ("welsh", "word", "welsh", 3, "Pembroke"),
        ("beer", "word", "beer", 2, "beer glass"),
        ("sporting", "kind", "sporting dog", 17, "vizsla"),
        ("crane (bird)", "label", "crane (bird)", 1, "crane (bird)"),
        ("Crane_bird", "label", "crane (bird)", 1, "crane (bird)"),
        ("shih tzu", "label", "Shih-Tzu", 1, "Shih-Tzu"),
        ("carpenters kit", "label", "carpenter's kit", 1, "carpenter's kit"),
        ("n02121620", "wnid", "cat", 7, "tabby"),
        ("N02084071", "wnid", "dog", 118, "pug"),
        ("n07739125", "wnid", "Granny Smith", 1, "Granny Smith"),  # the kind "apple" joins one class, and is that
        ("954", "index", "banana", 1, "banana"),
        ("catamar", "part", "catamaran", 1, "catamaran"),
    ],
)
def test_what_a_word_means(query: str, stage: str, label: str, count: int, among: str) -> None:
    match = next(class_names.find_matches(query, CLASSES))
    assert match.stage == stage and len(match.groups) == 1
    [group] = match.groups
    assert (group.label, len(group.members)) == (label, count) and among in {CLASSES[i].label for i in group.members}


def test_what_is_only_like_a_word_comes_behind_it() -> None:
    matches = class_names.find_matches("cat", CLASSES)
    stages = [(match.stage, {CLASSES[i].label for group in match.groups for i in group.members}) for match in matches]
    assert [stage for stage, _ in stages] == ["name", "name", "word", "kind", "part"]
    assert "lion" in stages[1][1] and "lion" not in stages[0][1]  # the word's seventh sense
    assert not any("catamaran" in labels for _, labels in stages[:4]) and "catamaran" in stages[4][1]


@pytest.mark.parametrize("query", ["", " ", "-", "qqqqqqqq", "n00001740", "n0012345", "-1", "1000"])
def test_what_means_nothing_finds_nothing(query: str) -> None:
    assert found(query) is None


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
    spellings = [str(index), wnid, wnid.upper(), label, label.upper(), label.lower(), label.replace(" ", "_"), f" {label} ", f"{label}s"]
    assert {class_names.find_target_class(wanted, CLASSES) for wanted in spellings} == {
        ClassGroup(label=label, wnid=wnid, members=(index,))
    }


def test_every_label_and_id_leads_to_its_class() -> None:
    for name in CLASSES:
        one = ClassGroup(label=name.label, wnid=name.wnid, members=(name.index,))
        assert class_names.find_target_class(name.wnid or "", CLASSES) == one == class_names.find_target_class(name.label, CLASSES)


@pytest.mark.parametrize(
    ("wanted", "first", "second"),
    [
        ("Crane", "crane (machine): n03126707 (517)", "crane (bird): n02012849 (134)"),
        ("cardigan", "cardigan (garment): n02963159 (474)", "Cardigan (Welsh corgi): n02113186 (264)"),
    ],
)
def test_a_name_of_two_things_is_answered_with_both_ids(wanted: str, first: str, second: str) -> None:
    with pytest.raises(CommandError) as refused:
        class_names.find_target_class(wanted, CLASSES)
    assert str(refused.value) == f"--target {wanted}: several classes have this name; give one by its id: {first}, {second}"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("banan", ["banana"]),
        ("Pembrok", ["Pembroke"]),
        ("roster", ["rooster (cock)"]),
        ("brid", ["bird"]),
        ("alsation", ["alsatian (German shepherd)"]),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(wanted: str, near: list[str]) -> None:
    with pytest.raises(CommandError, match=f"--target {wanted}: the model has no such class; near to it: ") as refused:
        class_names.find_target_class(wanted, CLASSES)
    assert set(near) <= set(refused.value.remedy.removeprefix("near to it: ").split(", "))


def test_a_label_like_no_other_is_answered_with_what_to_give() -> None:
    with pytest.raises(CommandError, match="--target qqqqqqqq: the model has no such class; give a class name, wnid or index"):
        class_names.find_target_class("qqqqqqqq", CLASSES)


@pytest.mark.parametrize("wanted", ["1000", "99999999999999999999"])
def test_an_index_beyond_the_last_class_is_refused(wanted: str) -> None:
    with pytest.raises(CommandError, match=f"--target {wanted}: the model has 1000 classes, 0 to 999"):
        class_names.find_target_class(wanted, CLASSES)


@pytest.mark.parametrize("wanted", ["-1", "1.5", "n0012345", "", "²"])
def test_what_is_neither_index_nor_name_is_refused(wanted: str) -> None:
    with pytest.raises(CommandError, match="no such class"):
        class_names.find_target_class(wanted, CLASSES)


# ------------------------------------------------------------------------------------------------ a model's own labels


def test_a_models_own_labels_are_searched_as_they_are() -> None:
    mine = own("left hand", "right hand", "handle", "dog", "Pug")
    assert found("right_hand", mine) == ("label", [["right hand"]])
    assert found("hand", mine) == ("word", [["left hand", "right hand"]])
    assert found("hands", mine) == ("word", [["left hand", "right hand"]])
    assert found("andl", mine) == ("part", [["handle"]])
    assert found("dog", mine) == ("label", [["dog"]])  # and no pug
    assert found("rooster", mine) is None and found("n02084071", mine) is None


def test_own_labels_without_letters_are_found_too() -> None:
    assert found("C++", own("C", "C++", "C#")) == ("label", [["C++"]]) and found("+", own("-", "+")) == ("label", [["+"]])


def test_classes_without_wordnet_ids_are_told_apart_by_index() -> None:
    mine = own("left", "right", "Left")
    assert class_names.find_target_class("right", mine).members == (1,)
    with pytest.raises(CommandError, match=r"several classes have this name; give one by its id: left: 0, Left: 2"):
        class_names.find_target_class("LEFT", mine)


# ------------------------------------------------------------------------------------------------ folders' names


@pytest.mark.parametrize(
    ("folder", "indices"),
    [
        ("cardigan", [474]),  # as it was unique before the labels said which they are
        ("Cardigan", [264]),
        ("CARDIGAN", [264, 474]),
        ("crane", [134, 517]),
        ("crane (bird)", [134]),
        ("plane", [726]),
        ("sports_car", [817]),
        ("N02113186", [264]),
        ("dog", []),  # a folder is of one class
        ("rooster", []),
    ],
)
def test_labels_name_folders_as_they_are_and_as_they_were(folder: str, indices: list[int]) -> None:
    assert [name.index for name in class_names.find_classes(folder, CLASSES)] == indices


def test_a_folder_is_the_class_of_that_label_before_one_that_had_it() -> None:
    mine = [CLASSES[726], ClassName(index=1, wnid="n02690373", label="plane")]  # the carpenter's was "plane" too
    assert class_names.find_classes("plane", mine) == [mine[1]]
