"""Which inputs of an archive are wanted: patterns, a largest size, and one of several parts."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import CommandError
from pipeline.files import hash_bytes

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII)
_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which inputs are wanted: patterns on the path below the root, a largest size, and (K, N) for the Kth part of N."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_size_bytes: int | None = None
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for option, patterns in (("--include", self.include), ("--exclude", self.exclude)):
            if isinstance(patterns, str) or not all(pattern.strip("/") for pattern in patterns):
                raise CommandError(f"{option} {patterns!r}: not a list of patterns such as *.mp4 or 2019/*")
        if self.max_size_bytes is not None and self.max_size_bytes < 1:
            raise CommandError(f"--max-size {self.max_size_bytes}: not more than 0")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise CommandError(f"--shard {self.shard[0]}/{self.shard[1]}: not K/N with K from 1 to N")


def parse_size(text: str) -> int:
    """Bytes of "500M", "2 GB", "1.5GiB" or "1000": k, M, G and T are powers of 1000, KiB to TiB of 1024. Raises CommandError."""
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match:
        number, unit, binary = match.groups()
        size = int(Fraction(number) * (1024 if binary else 1000) ** (" kmgt".index(unit.lower()) if unit else 0))
    if size < 1:
        raise CommandError(f"--max-size {text}: not a size such as 500M, 2G or 1.5GiB")
    return size


def parse_shard(text: str) -> tuple[int, int]:
    """(K, N) of "K/N". Raises CommandError."""
    match = _SHARD.fullmatch(text.strip())
    if not match:
        raise CommandError(f"--shard {text}: not K/N, such as 2/4 for the second of four parts")
    shard = int(match[1]), int(match[2])
    Rules(shard=shard)
    return shard


def format_size(size_bytes: int, *, than: int | None = None) -> str:
    """Bytes for people: three digits, or all where these would not tell it from another."""
    power = next((power for power in (4, 3, 2, 1) if size_bytes >= 1000**power), 0)
    text = f"{size_bytes / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
    return f"{size_bytes} bytes" if than is not None and text == format_size(than) else text


class Selection:
    """The rules, made ready for many paths; `root` is absolute, and the paths of the rules are below it."""

    def __init__(self, rules: Rules, root: str) -> None:
        self.rules = rules
        self._root = root
        self._include = [_compile(pattern + "*" * pattern.endswith("/")) for pattern in rules.include]
        self._exclude = [_compile(pattern) for pattern in rules.exclude]

    def below_root(self, path: str) -> str:
        """The path relative to the root, "" for the root itself."""
        if path == self._root:
            return ""
        prefix = self._root.rstrip("/") + "/"
        if not path.startswith(prefix):
            raise ValueError(f"{path} is not below {self._root}")
        return path[len(prefix) :]

    def excludes(self, relative: str) -> bool:
        return bool(relative) and any(pattern.match(relative) for pattern in self._exclude)

    def wants(self, relative: str) -> bool:
        """Whether a file is wanted, of whose folders that is known."""
        included = not self._include or any(pattern.match(relative) for pattern in self._include)
        return included and not self.excludes(relative)

    def wants_with_parents(self, relative: str, *, is_folder: bool) -> bool:
        parents = [relative[:at] for at, letter in enumerate(relative) if letter == "/"]
        return not any(map(self.excludes, parents)) and (not self.excludes(relative) if is_folder else self.wants(relative))

    def has_in_shard(self, relative: str) -> bool:
        """Whether it is this shard's, by the hash of its path; everything is, where nothing is divided."""
        if self.rules.shard is None:
            return True
        part, parts = self.rules.shard
        return int(hash_bytes(os.fsencode(relative))[:16], 16) % parts == part - 1


def _compile(pattern: str) -> re.Pattern[str]:
    """On the whole path, or on the name if there is no slash in the pattern; **/ stands for any folders, or none."""
    whole = "/" in pattern.rstrip("/")
    pattern = pattern.removeprefix("./").strip("/")
    expression = "(?:.*/)?".join(fnmatch.translate(part)[:-2] for part in pattern.split("**/"))  # without its \Z
    return re.compile(rf"{'' if whole else '(?:.*/)?'}{expression}\Z", re.IGNORECASE | re.DOTALL)
