"""What a file, a text or a set of settings is known again by: SHA-256 as hex digits; CRC-32 where only damage is looked for."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

STEP_BYTES = 1 << 20


def hash_bytes(data: bytes) -> str:
    """The SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: Any) -> str:
    """The SHA-256 of a value as JSON with its keys sorted, 64 hex digits; what JSON does not know goes in as its `str`.

    These digits are kept on disk: how they are made must not change.
    """
    return hash_bytes(json.dumps(value, sort_keys=True, default=str).encode())


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_file(path: Path) -> int:
    """The CRC-32 of a file's content. Raises OSError when it cannot be read."""
    crc = 0
    with path.open("rb") as file:
        while part := file.read(STEP_BYTES):
            crc = zlib.crc32(part, crc)
    return crc
