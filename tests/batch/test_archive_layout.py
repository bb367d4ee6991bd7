"""Where a batch keeps what, and by which names: told without a worker."""

from __future__ import annotations

from pathlib import Path

from pipeline.batch import archive_layout
from pipeline.options import Options
from pipeline.records import Found


def test_a_file_system_of_the_network_is_known_by_its_mount(tmp_path: Path) -> None:
    (tmp_path / "a b" / "ü").mkdir(parents=True)
    mounts = tmp_path / "mountinfo"

    def at(*points: tuple[Path, str]) -> None:
        """As proc_pid_mountinfo(5) writes it: a space in a name as its octal code, optional fields before the dash."""
        lines = [f"36 35 98:0 / {str(p).replace(' ', chr(92) + '040')} rw,noatime shared:1 - {kind} source rw" for p, kind in points]
        mounts.write_text("\n".join(lines) + "\n")

    def found(path: Path) -> bool:
        return archive_layout.is_on_network(path, mounts_file=mounts)

    at((Path("/"), "ext4"), (tmp_path / "a b", "nfs4"), (tmp_path / "a b" / "ü", "tmpfs"))
    assert [found(p) for p in (tmp_path, tmp_path / "a b", tmp_path / "a b" / "x", tmp_path / "a b" / "ü" / "x")] == [
        False,
        True,
        True,
        False,
    ]
    assert not found(tmp_path / "a bc")
    at((Path("/"), "fuse.sshfs"), (tmp_path, "cifs"), (tmp_path, "xfs"))
    assert found(Path("/")) and not found(tmp_path)
    assert not archive_layout.is_on_network(tmp_path, mounts_file=tmp_path / "none")


def test_outputs_mirror_the_tree_and_clashing_names_keep_their_suffix() -> None:
    def names(relative: bytes, *, clashes: bool = False, **options: str) -> list[bytes]:
        kind = "image" if relative.endswith((b"jpg", b"heic")) else "video"
        found = Found(
            path=Path("/archive") / relative.decode(errors="surrogateescape"),
            relative=relative,
            kind=kind,
            size_bytes=1,
            mtime_ns=1,
            clashes=clashes,
        )  # type: ignore[arg-type]
        return list(archive_layout.make_entry(found, Options(**options)).outputs)  # type: ignore[arg-type]

    assert names(b"trips/a.mov")[:2] == [b"trips/a_output.mp4", b"trips/a.mov_output.mp4"]
    assert names(b"trips/a.mov", clashes=True)[0] == b"trips/a.mov_output.mp4"
    assert names(b"a.mkv", codec="prores")[0] == b"a_output.mov"
    assert names(b"\xff.jpg")[0] == b"\xff_output.jpg" and names(b"x/b.heic")[0] == b"x/b_output.jpg"
    assert len({names(relative)[-1] for relative in (b"a/b.mov", b"a/b.mov2", b"b/b.mov")}) == 3
