"""What is found in an archive: trees made by hand, and what should be found in them written down beside them."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import shutil
import socket
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.batch.scanning import media_files
from pipeline.batch.scanning.folder_walk import PassedOver, discover
from pipeline.batch.scanning.inclusion_rules import Rules, parse_shard, parse_size
from pipeline.batch.scanning.source_arguments import expand_sources, find_common_root
from pipeline.errors import CommandError
from pipeline.media import images
from pipeline.records import Found

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(40)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(40)


def made(root: Path, *names: str, data: bytes = JPEG) -> Path:
    """Files of those names below `root`, each with its folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def walked(*sources: Path, output: Path = Path("/nowhere"), **rules: Any) -> list[Found | PassedOver]:
    return list(discover(sources, root=find_common_root(sources), output=output, rules=Rules(**rules)))


def names(*sources: Path, **options: Any) -> list[str]:
    """The paths below the root of what is found; a failure where anything was passed over."""
    found = walked(*sources, **options)
    assert all(isinstance(one, Found) for one in found), found
    return [os.fsdecode(one.relative) for one in found if isinstance(one, Found)]


def passed(*sources: Path, **options: Any) -> dict[str, str]:
    return {one.path.name: one.reason for one in walked(*sources, **options) if isinstance(one, PassedOver)}


# ------------------------------------------------------------------------------------------------ what the user names


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("500M", 500_000_000), ("2G", 2 * 10**9), ("1.5GiB", 3 * 2**29), ("2 kB", 2000), ("1KiB", 1024), ("1t", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "G", "-1M", "5i", "5iB", "1e3", "2 G 3", "0.1", "٣M", "1" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="not a size"):
        parse_size(text)


def test_shards() -> None:
    assert parse_shard("2/4") == (2, 4) and parse_shard("1/1") == (1, 1)
    for text in ("0/4", "5/4", "1/0", "1", "1/2/3", "a/b", "", "-1/2"):
        with pytest.raises(CommandError, match="--shard"):
            parse_shard(text)


@pytest.mark.parametrize("rules", [{"max_size_bytes": 0}, {"shard": (0, 2)}, {"shard": (3, 2)}, {"include": [""]}, {"exclude": "*.jpg"}])
def test_rules_that_mean_nothing_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        Rules(**rules)


def test_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/2.jpg", "a/10.jpg", "a/deep/er/3.jpg", "a/.hidden/4.jpg", "[x].jpg", "@list")
    monkeypatch.chdir(tmp_path)
    assert expand_sources(["a", "a/2.jpg", "[x].jpg", "./@list"]) == [Path("a"), Path("a/2.jpg"), Path("[x].jpg"), Path("@list")]
    assert expand_sources(["a/*.jpg"]) == [Path("a/2.jpg"), Path("a/10.jpg")]
    assert expand_sources(["a/**/*.jpg"]) == [Path("a/2.jpg"), Path("a/10.jpg"), Path("a/deep/er/3.jpg")]
    assert expand_sources(["**/er/*.jpg"]) == [Path("a/deep/er/3.jpg")]
    assert expand_sources([f"{tmp_path}/a/**"])[0] == tmp_path / "a"
    assert expand_sources(["a/**/"])[0] == Path("a")


def test_a_recursive_pattern_does_not_go_in_circles(tmp_path: Path) -> None:
    made(tmp_path, "a/1.jpg")
    for name in ("x", "y", "z"):  # with these, the standard library's glob would take days
        (tmp_path / "a" / name).symlink_to(tmp_path / "a")
    assert expand_sources([f"{tmp_path}/**/*.jpg"]) == [tmp_path / "a/1.jpg"]


@pytest.mark.parametrize("argument", ["missing.mp4", "*.none", "**/*.none", "", "missing/x.mp4", "a.jpg/x", "n" * 300, "@missing", "@."])
def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    made(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError) as refusal:
        expand_sources(["a.jpg", argument])
    assert (argument or "empty") in str(refusal.value) and refusal.value.exit_code == 2


def test_no_sources_are_refused() -> None:
    with pytest.raises(CommandError, match="no sources"):
        expand_sources([])


def test_a_list_has_one_path_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"\xff \xe9.jpg")
    made(tmp_path, "a.jpg", odd, "#b.jpg", "c/ d*.jpg")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\n\n  \n# no\n" + os.fsencode(odd) + b"\n./#b.jpg\nc/ d*.jpg")
    monkeypatch.chdir(tmp_path)
    expected = [Path("a.jpg"), Path(odd), Path("#b.jpg"), Path("c/ d*.jpg")]
    assert expand_sources(["@list.txt"]) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "list.txt").read_bytes())))
    assert expand_sources(["@-"]) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no paths"),
        (b"#x\n \n", "no paths"),
        (b"a.jpg\ngone.jpg\n", "line 2: gone.jpg: no such"),
        ("a.jpg".encode("utf-16"), "zero bytes"),
    ],
)
def test_a_list_without_its_paths_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str) -> None:
    made(tmp_path, "a.jpg")
    (tmp_path / "list").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=message):
        expand_sources(["@list"])


def test_the_common_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/b/1.jpg", "a/c/2.jpg")
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path / "a")
    assert find_common_root([Path("b")]) == tmp_path / "a/b"
    assert find_common_root([Path("b/1.jpg")]) == tmp_path / "a/b"
    assert find_common_root([Path("b"), Path("c/2.jpg")]) == tmp_path / "a"
    assert find_common_root([Path("b"), Path("b/1.jpg")]) == tmp_path / "a/b"
    assert find_common_root([Path("../a/b"), Path("../link")]) == tmp_path
    assert find_common_root([Path("../link")]) == tmp_path / "link"
    assert find_common_root([Path("../link/../c")]) == tmp_path / "a/c"  # what the system takes it for, not what the text says


# ------------------------------------------------------------------------------------------------ order, and each file once


def test_natural_order_files_before_folders(tmp_path: Path) -> None:
    expected = ["2.jpg", "10.jpg", "a2/1.jpg", "a2/b/1.mp4", "a10/1.jpg", "B/1.jpg"]
    made(tmp_path, *reversed(expected))
    made(tmp_path, "a2/notes.txt", "Thumbs.db", data=b"just words")
    assert names(tmp_path) == expected


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    made(tmp_path, "in/a/x.jpg")
    os.utime(tmp_path / "in/a/x.jpg", ns=(5, 1_234_567_890_123_456_789))
    [found] = walked(tmp_path / "in")
    path = tmp_path / "in/a/x.jpg"
    assert found == Found(path=path, relative=b"a/x.jpg", kind="image", size_bytes=len(JPEG), mtime_ns=1_234_567_890_123_456_789)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    odd = [b"\xff.jpg", b"caf\xe9/\xf0.mp4", b"new\nline.jpg", b"-rf.jpg", b" .jpg", b"\\.jpg", b"%03d.jpg", b"@x.jpg"]
    for name in odd:
        made(tmp_path, os.fsdecode(name))
    found = [one for one in walked(tmp_path, include=["*"]) if isinstance(one, Found)]
    assert sorted(one.relative for one in found) == sorted(odd)
    assert all(os.fsencode(one.path) == os.fsencode(tmp_path) + b"/" + one.relative for one in found)


def test_each_source_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/1.jpg", "a/sub/2.jpg", "b/3.jpg")
    monkeypatch.chdir(tmp_path)
    everything = ["a/1.jpg", "a/sub/2.jpg", "b/3.jpg"]
    sources = [Path("a"), tmp_path / "a", Path("a/sub"), Path("b/../a/1.jpg"), Path("b")]
    assert sorted(names(*sources)) == sorted(names(*reversed(sources))) == everything


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    made(tmp_path, "b/1.jpg")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").hardlink_to(tmp_path / "b/1.jpg")
    (tmp_path / "a/x.txt").hardlink_to(tmp_path / "b/1.jpg")
    assert names(tmp_path) == ["a/x.jpg"]
    assert names(tmp_path, exclude=["a"]) == ["b/1.jpg"]  # the one that is left out does not stand for it
    assert names(tmp_path / "b", tmp_path / "a") == names(tmp_path / "a", tmp_path / "b") == ["a/x.jpg"]


def test_links_to_files(tmp_path: Path) -> None:
    made(tmp_path, "in/b/real.jpg", "in/.hidden/h.jpg", "outside/o.jpg", "results/r.jpg")
    links = {
        "1.jpg": "in/b/real.jpg",
        "2.jpg": "outside/o.jpg",
        "3.jpg": "outside/o.jpg",
        "4.jpg": "in/.hidden/h.jpg",
        "5.jpg": "results/r.jpg",
    }
    for name, target in links.items():
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    source = tmp_path / "in"
    # The real one where the walk comes to it, else the first link to it; never the results.
    assert names(source, output=tmp_path / "results") == ["2.jpg", "4.jpg", "b/real.jpg"]
    assert names(source, output=tmp_path / "results", exclude=["b"]) == ["1.jpg", "2.jpg", "4.jpg"]
    assert names(source / "1.jpg", source / "b/real.jpg") == ["b/real.jpg"]
    assert names(source / "1.jpg") == ["1.jpg"]
    assert names(source / "2.jpg", source / "3.jpg") == ["2.jpg"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    made(tmp_path, "in/b/real.jpg", "outside/o.jpg", "outside/.h.jpg")
    source = tmp_path / "in"
    for name, target in {
        "a": source / "b",
        "out1": tmp_path / "outside",
        "out2": tmp_path / "outside",
        "b/up": source,
        "self": source,
    }.items():
        (source / name).symlink_to(target)
    (tmp_path / "outside/back").symlink_to(source)
    (source / "a.jpg").symlink_to(tmp_path / "outside/o.jpg")
    assert names(source) == ["a.jpg", "b/real.jpg"]  # a.jpg stands for outside/o.jpg
    (source / "a.jpg").unlink()
    (source / "z").mkdir()
    (source / "z/late.jpg").symlink_to(tmp_path / "outside/o.jpg")
    assert names(source) == ["b/real.jpg", "out1/o.jpg"]
    assert names(source / "out1") == ["o.jpg", "back/b/real.jpg"]
    assert names(source, exclude=["out1"]) == ["b/real.jpg", "out2/o.jpg"]


def test_a_link_to_a_folder_above_is_no_circle(tmp_path: Path) -> None:
    made(tmp_path, "in/1.jpg", "beside/2.jpg")
    (tmp_path / "in/up").symlink_to(tmp_path)
    assert names(tmp_path / "in") == ["1.jpg", "up/beside/2.jpg"]


@pytest.mark.parametrize("seed", range(8))
def test_a_random_tree_against_the_inodes_that_the_system_reaches(tmp_path: Path, seed: int) -> None:
    """Folders, files, hard and symbolic links at random: each file that can be reached is found, once, whatever the order."""
    chance = random.Random(seed)
    folders, files = [tmp_path / "in", tmp_path / "outside"], [tmp_path / "outside/0.jpg"]
    made(tmp_path, "in/0.jpg", "outside/0.jpg")
    for number in range(1, 80):
        path = chance.choice(folders) / f"{chance.choice(['', '', '', '.'])}{chance.choice('abc')}{number}"
        what = chance.choice(["folder", "file", "file", "hard", "link", "link to folder"])
        if what == "folder":
            path.mkdir()
            folders.append(path)
        elif what == "link to folder":
            path.symlink_to(chance.choice(folders))
        else:
            path = path.with_name(path.name + ".jpg")
            path.write_bytes(JPEG) if what == "file" else getattr(path, {"hard": "hardlink_to", "link": "symlink_to"}[what])(
                chance.choice(files)
            )
            files.append(path)
    sources = (
        [folder for folder in folders if not folder.name.startswith(".")][:1] + chance.sample(folders[2:], 2) + chance.sample(files, 2)
    )
    found = [one for one in walked(*sources) if isinstance(one, Found)]
    assert sorted(one.path.stat().st_ino for one in found) == sorted(reachable(sources))
    shuffled = [one.path for one in walked(*chance.sample(sources, len(sources)))]
    assert shuffled == [one.path for one in found]


def reachable(sources: Sequence[Path]) -> set[int]:
    """The inodes of all files that are not hidden, by one step after another through whatever is there."""
    inodes, seen, waiting = set(), set(), [Path(os.path.realpath(source)) for source in sources]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.is_dir():
            waiting.extend(Path(os.path.realpath(inner)) for inner in path.iterdir() if not inner.name.startswith("."))
        else:
            inodes.add(path.stat().st_ino)
    return inodes


# ------------------------------------------------------------------------------------------------ what is left out


def test_hidden_names_are_left_out_unless_named(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", ".b.jpg", "._a.jpg", ".a.123.part.mp4", ".a.heatreel/1.mp4", ".cache/c.jpg", "d/.e/f.jpg")
    assert names(tmp_path) == ["a.jpg"]
    assert names(tmp_path, tmp_path / ".b.jpg", tmp_path / ".cache") == [".b.jpg", "a.jpg", ".cache/c.jpg"]
    (tmp_path / ".a.123.part.mp4").unlink()
    shutil.rmtree(tmp_path / ".a.heatreel")  # or it would be taken for what this test has left behind


def test_the_results_are_no_input(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "out/a_output.jpg", "out/deep/b.mp4", "output/c.jpg")
    (tmp_path / "way").symlink_to(tmp_path / "out/deep")
    (tmp_path / "to").symlink_to(tmp_path / "out")
    for output in (tmp_path / "out", tmp_path / "to"):
        assert names(tmp_path, output=output) == ["a.jpg", "output/c.jpg"]
        assert names(tmp_path / "out/deep", tmp_path / "out/a_output.jpg", output=output) == []
    elsewhere = tmp_path.with_name(f"{tmp_path.name}_link")
    elsewhere.symlink_to(tmp_path)
    assert names(elsewhere, output=tmp_path / "out") == names(tmp_path, output=elsewhere / "out") == ["a.jpg", "output/c.jpg"]


def test_results_of_a_folder_that_is_made_meanwhile_are_no_input(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "b/b.jpg")
    walk = discover([tmp_path], root=tmp_path, output=tmp_path / "z", rules=Rules())
    assert next(walk).path.name == "a.jpg"
    made(tmp_path, "z/a_output.jpg")
    assert [one.path.name for one in walk] == ["b.jpg"]


def test_what_earlier_runs_left_beside_their_inputs_is_no_input(tmp_path: Path) -> None:
    made(tmp_path, "a.mp4", "a_output.mp4", "a_output.jpg", "a_output_output.mp4", "b.mkv_output.mp4", "b.mkv", "b.mp4")
    made(tmp_path, "alone_output.mp4", "x/a_output.mp4", "text_output.mp4", "_output.mp4")
    made(tmp_path, "text.txt", data=b"words")
    expected = ["_output.mp4", "a.mp4", "alone_output.mp4", "b.mkv", "b.mp4", "text_output.mp4", "x/a_output.mp4"]
    assert sorted(names(tmp_path)) == expected
    assert names(tmp_path / "a_output.mp4") == ["a_output.mp4"]  # named, and so it is meant
    assert names(*tmp_path.glob("a*.mp4")) == ["a.mp4", "alone_output.mp4"]  # as a shell's * names them all


def test_include_and_exclude(tmp_path: Path) -> None:
    made(tmp_path, "2019/a.JPG", "2019/x/b.mp4", "2020/c.jpg", "2020/private/d.jpg", "e.jpg")
    assert names(tmp_path, include=["*.jpg"]) == ["e.jpg", "2019/a.JPG", "2020/c.jpg", "2020/private/d.jpg"]
    assert names(tmp_path, include=["2019/*"]) == names(tmp_path, include=["2019/"]) == ["2019/a.JPG", "2019/x/b.mp4"]
    assert names(tmp_path, include=["2019/**/*.*"]) == ["2019/a.JPG", "2019/x/b.mp4"]
    assert names(tmp_path, include=["**/PRIVATE/**"]) == ["2020/private/d.jpg"]
    assert names(tmp_path, exclude=["Private", "./2019/x"]) == ["e.jpg", "2019/a.JPG", "2020/c.jpg"]
    assert names(tmp_path, exclude=["20*"], include=["*"]) == ["e.jpg"]
    assert names(tmp_path, include=["/e.jpg", "[cd].jpg"], exclude=["private/"]) == ["e.jpg", "2020/c.jpg"]
    # Of what is named, too: its path is told from the same root.
    assert names(tmp_path / "2020/private/d.jpg", tmp_path / "e.jpg", tmp_path / "2020", exclude=["private"]) == ["e.jpg", "2020/c.jpg"]


def test_an_excluded_folder_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/1.jpg", "b/2.jpg")
    looked: list[str] = []
    scandir = os.scandir

    def watched(path: str) -> Any:
        looked.append(os.path.relpath(path, tmp_path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert names(tmp_path, exclude=["a"]) == ["b/2.jpg"]
    assert looked == [".", "b"]


def test_shards_share_an_archive(tmp_path: Path) -> None:
    everything = [f"{folder}/{number}.jpg" for folder in "abc" for number in range(20)]
    made(tmp_path, *everything)
    (tmp_path / "c/link.mp4").symlink_to("/nowhere/at/all")
    for number in range(9):
        (tmp_path / f"a/hard{number}.jpg").hardlink_to(tmp_path / f"c/{number}.jpg")
    whole = [one.path for one in walked(tmp_path)]
    shards = [[one.path for one in walked(tmp_path, shard=(k, 3))] for k in (1, 2, 3)]
    assert sorted(itertools.chain(*shards)) == sorted(whole) and len(whole) == 61 and all(shards)
    for number, shard in enumerate(shards):
        for path in shard:
            digest = hashlib.sha256(os.fsencode(path.relative_to(tmp_path))).digest()
            assert int.from_bytes(digest[:8], "big") % 3 == number


# ------------------------------------------------------------------------------------------------ what is passed over


def test_pipes_sockets_and_devices_are_passed_over_unopened(tmp_path: Path) -> None:
    made(tmp_path, "ok.jpg")
    for name in ("p.mp4", "p", "p.txt"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    here = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)  # a socket's path may not be longer than 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s.mov")
            found = passed(tmp_path)
    finally:
        os.fchdir(here)
        os.close(here)
    assert found == {"p.mp4": "a named pipe, not a file", "s.mov": "a socket, not a file", "null.jpg": "a device, not a file"}
    assert passed(tmp_path / "p") == {"p": "a named pipe, not a file"}  # named, and so it is said


def test_what_becomes_a_pipe_before_it_is_opened_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.mp4")
    said: list[str | None] = []
    waiting = threading.Thread(target=lambda: said.append(media_files.detect_kind(str(tmp_path / "p.mp4"), ".mp4", 9)), daemon=True)
    waiting.start()
    waiting.join(5)
    assert said == ["video"]  # by its suffix; whoever is to read it will say what is wrong


def test_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    found = passed(tmp_path)
    assert found.keys() == {"gone.jpg", "circle.mp4"} and "leads nowhere" in found["gone.jpg"] and "symbolic links" in found["circle.mp4"]
    assert passed(tmp_path, exclude=["*"]) == {}


def test_a_largest_size(tmp_path: Path) -> None:
    for name, size in {"small.jpg": 2_000_000_000, "big.mp4": 3_100_000_000, "just.mp4": 2_000_000_001, "big.txt": 9_000_000_000}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # sparse: nothing is written
    assert passed(tmp_path, max_size_bytes=2_000_000_000) == {
        "big.mp4": "larger than --max-size 2 GB: 3.1 GB",
        "just.mp4": "larger than --max-size 2 GB: 2000000001 bytes",
    }


def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "a/1.jpg", "b/2.jpg", "gone/3.jpg", "z/4.jpg")
    scandir = os.scandir

    def refusing(path: str) -> Any:  # root may read everything, so the refusal is not the system's
        if path.endswith(("/b", "/gone")):
            raise PermissionError(13, "Permission denied") if path.endswith("b") else FileNotFoundError(2, "No such file")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = walked(tmp_path)
    assert [one.path.name for one in found] == ["1.jpg", "b", "4.jpg"]
    assert isinstance(found[1], PassedOver) and found[1].reason == "the folder cannot be read: Permission denied"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path: Path) -> None:
    made(tmp_path, "a/1.jpg", "b/2.jpg", "c.jpg", "d")
    for name, mode in {"a": 0o000, "b": 0o444, "c.jpg": 0o000, "d": 0o000}.items():
        (tmp_path / name).chmod(mode)
    try:
        found = walked(tmp_path)
    finally:
        for name in ("a", "b"):
            (tmp_path / name).chmod(0o755)
    assert [(one.path.name, isinstance(one, Found)) for one in found] == [("c.jpg", True), ("a", False), ("2.jpg", False)]


def test_what_vanishes_meanwhile_is_no_matter(tmp_path: Path) -> None:
    made(tmp_path, "1.jpg", "2.jpg", "3.jpg", "a/4.jpg", "b/5.jpg")
    walk = discover([tmp_path], root=tmp_path, output=tmp_path / "out", rules=Rules())
    assert next(walk).path.name == "1.jpg"
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "a/4.jpg").unlink()
    (tmp_path / "a").rmdir()
    assert [one.path.name for one in walk] == ["3.jpg", "5.jpg"]


def test_what_only_looks_like_an_input_by_its_bytes(tmp_path: Path) -> None:
    made(tmp_path, "a.NEF", data=b"II*\0" + bytes(60))
    made(tmp_path, "b.cr3", data=b"\0\0\0\x18ftypcrx " + bytes(60))
    made(tmp_path, "clip.mp4.part", data=MP4)
    made(tmp_path, "MVI_1.THM")
    made(tmp_path, "archive.part", "read.part", data=b"no media")
    reasons = passed(tmp_path)
    assert reasons.keys() == {"a.NEF", "b.cr3", "clip.mp4.part", "MVI_1.THM"} and "raw picture" in reasons["a.NEF"]


# ------------------------------------------------------------------------------------------------ kinds


def saved(format: str, count: int, **options: Any) -> bytes:
    frames = [Image.new("RGB", (24, 16), (60 * number, 90, 200 - 50 * number)) for number in range(count)]
    with io.BytesIO() as file:
        frames[0].save(file, format, save_all=count > 1, append_images=frames[1:], **options)
        return file.getvalue()


STILLS = {format: saved(format, 1) for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")}
MOVING = {format: saved(format, 3, duration=40) for format in ("GIF", "PNG", "WEBP", "AVIF")}


@pytest.mark.parametrize("name", ["x", "x.dat", "x.mp4"])
@pytest.mark.parametrize("format", STILLS)
def test_a_still_picture_is_one_whatever_its_name(tmp_path: Path, format: str, name: str) -> None:
    made(tmp_path, name, data=STILLS[format])
    assert [one.kind for one in walked(tmp_path) if isinstance(one, Found)] == ["image"]
    assert images.detect_image_kind(tmp_path / name) == "still"


@pytest.mark.parametrize("name", ["x", "x.jpg"])
@pytest.mark.parametrize("format", MOVING)
def test_what_moves_is_a_video_and_the_reader_of_pictures_says_so_too(tmp_path: Path, format: str, name: str) -> None:
    made(tmp_path, name, data=MOVING[format])
    assert [one.kind for one in walked(tmp_path) if isinstance(one, Found)] == ["video"]
    assert images.detect_image_kind(tmp_path / name) in ("animated", "animated webp")


@pytest.mark.parametrize("format", MOVING)
def test_an_animation_that_is_cut_off_anywhere_is_still_found(tmp_path: Path, format: str) -> None:
    lengths = range(min(len(MOVING[format]), 150))
    for length in lengths:
        made(tmp_path, f"{length}.{format.lower()}", data=MOVING[format][:length])
        images.detect_image_kind(tmp_path / f"{length}.{format.lower()}")  # may say anything, but has to say it
    assert len(names(tmp_path)) == len(lengths)


def test_a_gif_whose_first_image_is_longer_than_what_is_read(tmp_path: Path) -> None:
    image = b"\x2c" + bytes(8) + b"\0\x08" + (b"\xff" + bytes(255)) * 5000 + b"\0"
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    for name, data in {"loop": loop + image + image, "still": image}.items():
        made(tmp_path, f"{name}.gif", data=b"GIF89a\x10\0\x10\0\0\0\0" + data + b"\x3b")
    assert {one.path.stem: one.kind for one in walked(tmp_path) if isinstance(one, Found)} == {"loop": "video", "still": "image"}


HEADS = {
    "mp4": MP4,
    "old QuickTime": (100).to_bytes(4, "big") + b"moov" + bytes(92),
    "QuickTime with its data first": b"\0\0\0\x08wide" + bytes(60),
    "Matroska": b"\x1a\x45\xdf\xa3" + bytes(60),
    "AVI": b"RIFF\x10\0\0\0AVI LIST" + bytes(60),
    "MPEG-TS": (b"\x47" + bytes(187)) * 4,
    "MPEG-TS of two packets": (b"\x47" + bytes(187)) * 2,
    "m2ts": (b"\x01\x02\x03\x04\x47" + bytes(187)) * 6,
    "MPEG-PS": b"\0\0\x01\xba" + bytes(60),
    "FLV": b"FLV\x01\x05" + bytes(60),
    "ASF": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(60),
    "Ogg with Theora": b"OggS" + bytes(24) + b"\x80theora" + bytes(40),
    "MXF": bytes.fromhex("060e2b34020501010d01020101020400") + bytes(60),
    "NUT": b"nut/multimedia container\0" + bytes(40),
    "H.264": b"\0\0\0\x01\x67\x64" + bytes(60),
}


@pytest.mark.parametrize("what", HEADS)
def test_videos_by_their_first_bytes(tmp_path: Path, what: str) -> None:
    made(tmp_path, "x", "x.bin", "y.jpg", data=HEADS[what])
    assert [one.kind for one in walked(tmp_path) if isinstance(one, Found)] == ["video"] * 3


@pytest.mark.media
def test_real_videos_without_a_name(tmp_path: Path, clip: Callable[[str], Path]) -> None:
    from support.clips import CLIPS

    kinds = {Path(name).suffix: name for name in CLIPS}
    for number, name in enumerate(kinds.values()):
        (tmp_path / str(number)).write_bytes(clip(name).read_bytes())
    assert [one.kind for one in walked(tmp_path) if isinstance(one, Found)] == ["video"] * len(kinds)


NO_MEDIA = {
    "a letter to BMW": b"BMW is a maker of cars, and this is a text about them all, long enough.",
    "P1": b"P1 was the first of its kind, this text says, and P2 the second.",
    "free": b"Set free: a text whose fifth letter begins the name of a box in a video",
    "GNU": b"G" * 188 + b"GNU, and so on" + b"x" * 800,
    "Ogg with Vorbis": b"OggS" + bytes(24) + b"\x01vorbis" + bytes(40),
    "m4a": b"\0\0\0\x18ftypM4A " + bytes(60),
    "wav": b"RIFF\x10\0\0\0WAVEfmt " + bytes(60),
    "zip": b"PK\x03\x04" + bytes(60),
    "xmp": b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>",
    "empty": b"",
}


@pytest.mark.parametrize("what", NO_MEDIA)
def test_what_is_no_media_is_an_input_only_by_its_suffix(tmp_path: Path, what: str) -> None:
    made(tmp_path, "x", "x.xyz", "X.MP4", "y.jpg", data=NO_MEDIA[what])
    assert [(one.path.name, one.kind) for one in walked(tmp_path) if isinstance(one, Found)] == [("X.MP4", "video"), ("y.jpg", "image")]


def test_suffixes_that_mean_something_else(tmp_path: Path) -> None:
    made(tmp_path, "a.mp3", "b.flac", "c.M4A", "d.wav", data=MP4)
    made(tmp_path, "code.ts", "code.mts", data=b"export const x: number = 1;\n" * 9)
    made(tmp_path, "damaged.ts", data=bytes(range(256)))
    made(tmp_path, "empty.ts", data=b"")
    made(tmp_path, "camera.mjpeg", data=JPEG)
    found = {one.path.name: one.kind for one in walked(tmp_path) if isinstance(one, Found)}
    assert found == {"damaged.ts": "video", "empty.ts": "video", "camera.mjpeg": "video"}


# ------------------------------------------------------------------------------------------------ clashes of names


def clashing(*sources: Path, **options: Any) -> set[str]:
    return {os.fsdecode(one.relative) for one in walked(*sources, **options) if isinstance(one, Found) and one.clashes}


def test_names_that_differ_in_their_suffix_alone_clash(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "A.mp4", "a", "b.jpg", "c.jpg", "c.ts", "d.jpg", "d/d.png", ".b.mp4", "e.jpg", "e.JPG")
    made(tmp_path, "F.jpg", "f.mp4")
    made(tmp_path, "b.txt", "b.xmp", "b.mp3", "c.ts", data=b"words")
    expected = {"a.jpg", "A.mp4", "a", "e.jpg", "e.JPG", "F.jpg", "f.mp4"}
    assert clashing(tmp_path) == expected
    # What a run takes of the folder changes no name.
    assert clashing(tmp_path, include=["a.jpg", "b.jpg"]) == {"a.jpg"}
    assert set.union(*(clashing(tmp_path, shard=(k, 4)) for k in range(1, 5))) == expected
    assert clashing(tmp_path / "a.jpg", tmp_path / "b.jpg") == {"a.jpg"}


# ------------------------------------------------------------------------------------------------ large and deep


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`deep(1500)`: so many folders in one another, each with a picture; taken away one by one, as rmtree would not."""
    top = tmp_path / "deep"

    def make(levels: int, name: str = "d") -> Path:
        top.mkdir()
        at = os.open(top, os.O_RDONLY)
        for _ in range(levels):
            os.close(os.open("1.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=at))
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        return top

    yield make
    _remove_deep(top)


def _remove_deep(top: Path) -> None:
    """Lifts each folder out of the one above, so that no path is ever long."""
    aside = top.with_name("aside")
    while top.exists():
        (top / "1.jpg").unlink(missing_ok=True)
        for below in top.iterdir():
            below.rename(aside)
        top.rmdir()
        if aside.exists():
            aside.rename(top)


def test_a_deep_tree(deep: Callable[..., Path]) -> None:
    top = deep(1500)
    assert len(names(top)) == 1500
    assert len(expand_sources([f"{top}/**/1.jpg"])) == 1500


def test_a_tree_deeper_than_the_system_names(deep: Callable[..., Path]) -> None:
    found = walked(deep(50, "d" * 100))
    assert 30 < sum(isinstance(one, Found) for one in found) < 50
    assert [one.reason for one in found if isinstance(one, PassedOver)][-1].endswith("File name too long")


def crowd(root: Path, folders: Sequence[str], each: int) -> None:
    for folder in folders:
        (root / folder).mkdir()
        for number in range(each):
            os.close(os.open(f"{root}/{folder}/{number}.jpg", os.O_CREAT | os.O_WRONLY))


def test_the_first_is_found_before_the_rest_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd(tmp_path, "abc", 3)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    walk = discover([tmp_path], root=tmp_path, output=tmp_path / "out", rules=Rules())
    assert next(walk).path == tmp_path / "a/0.jpg" and listed == [f"{tmp_path}", f"{tmp_path}/a"]
    made(tmp_path, "c/late.jpg")
    assert sum(1 for _ in walk) == 9


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    def held(folders: int) -> int:
        """Bytes that the walk holds on to when the last file is found."""
        walk = discover([tmp_path], root=tmp_path, output=tmp_path / "out", rules=Rules(include=[f"f{n}/*" for n in range(folders)]))
        tracemalloc.start()
        assert all(next(walk) for _ in range(folders * 250))
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{Path(media_files.__file__).parent}/*")])
        tracemalloc.stop()
        return sum(trace.size for trace in ours.traces)

    crowd(tmp_path, [f"f{number}" for number in range(10)], 250)
    assert held(10) < held(2) + 30_000  # 2000 more; one path alone is a hundred bytes
