"""Hex digits that are kept on disk: they must come out as sha256sum and crc32 give them, and as they did before."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zlib
from fractions import Fraction
from pathlib import Path

from pipeline.files.fingerprints import STEP_BYTES, checksum_file, hash_bytes, hash_file, hash_json


def test_a_file_has_the_digits_that_sha256sum_gives(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 9000)  # more than two steps
    told = subprocess.run(["sha256sum", tmp_path / "f"], capture_output=True, text=True, check=True).stdout.split()[0]
    assert hash_file(tmp_path / "f") == hash_bytes((tmp_path / "f").read_bytes()) == told
    assert (tmp_path / "f").stat().st_size > 2 * STEP_BYTES
    assert checksum_file(tmp_path / "f") == zlib.crc32((tmp_path / "f").read_bytes())


def test_known_digits() -> None:
    """FIPS 180-2, appendix B.1."""
    assert hash_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_settings_are_hashed_by_their_content_alone() -> None:
    assert hash_json({"b": 1, "a": [2, "x"]}) == hash_json({"a": [2, "x"], "b": 1}) == hash_bytes(b'{"a": [2, "x"], "b": 1}')
    assert hash_json(Fraction(1, 3)) == hash_bytes(b'"1/3"') and hash_json([("n", 1)]) == hash_bytes(b'[["n", 1]]')
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert hash_json(name) == hashlib.sha256(json.dumps(name).encode()).hexdigest() == hash_bytes(b'"caf\\udce9"')
