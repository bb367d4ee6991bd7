"""Pictures that are nearly the same: a copy that was scaled, compressed anew, brightened, cut by a little at its edges, or mirrored.

What was measured for the numbers below, on 28 photographs and 299 parts of them: of 51,208 pairs of different ones none is found. Of
copies that were compressed (JPEG 30), scaled to a half or a third, darkened, made gray, or mirrored, 93 to 98 of 100 are; brightened by
30 % or cut by 2 % at every edge 91 to 94, by 3 % 75, by 5 % 30. Of 79,800 pairs of drawn shapes on white two are found (places and sizes
are all but the same), and 99 of 100 compressed or scaled copies. Against fingerprints alone, where no thumbnail is at hand, 67 to 82 of
100 copies of photographs are found, and colour bars are taken for a smooth ramp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.arrays import Array

SIDE = 16  # a fingerprint has SIDE * SIDE bits
THUMBNAIL_PX = 320  # the longer side at which a signature is made

AGREEMENT, CORRELATION = 0.5, 0.7  # of copies of a photograph
FLAT_AGREEMENT, FLAT_CORRELATION = 0.25, 0.98  # of a drawing: in most places no edge says anything
ALONE_AGREEMENT = 0.55  # where there is no thumbnail to compare
STRUCTURE = 0.5  # of a photograph as many neighbouring places, or more, differ in brightness; of a drawing on plain ground a fifth
_ROWS = 2048  # compared at a time


def difference_hash(rgb: Array) -> bytes:
    """The difference hash of a picture, RGB uint8 (height, width, 3): 256 bits, each whether a place is darker than the one to its right.

    N. Krawetz, "Kind of Like That" (2013), with 256 bits in place of 64.
    """
    gray = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


class PictureSignature(NamedTuple):
    """What a picture is recognised by, also when it was scaled or compressed.

    `sha256` is its file's, 16 hex digits as in a model's metadata; where the picture is at hand there are also the hash of its mirror
    image, and a thumbnail uint8 (SIDE, SIDE, 3).
    """

    sha256: str
    difference_hash: bytes
    mirrored_hash: bytes | None = None
    thumbnail: Array | None = None


def make_signature(rgb: Array, sha256: str) -> PictureSignature:
    """The signature of a picture, RGB uint8 (height, width, 3), whose file has that SHA-256."""
    rgb = np.ascontiguousarray(rgb)
    small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return PictureSignature(sha256, difference_hash(rgb), difference_hash(rgb[:, ::-1]), small)


@dataclass(frozen=True, kw_only=True)
class DuplicatePairs:
    """Pictures that are nearly the same, by number: int (pairs,).

    `same` bool: the same file, byte for byte; `mirrored` bool: the other way round.
    """

    first: Array
    second: Array
    same: Array
    mirrored: Array

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.first.tolist(), self.second.tolist(), strict=True)

    def where(self, chosen: Array) -> DuplicatePairs:
        """Those of a mask bool (pairs,)."""
        return DuplicatePairs(first=self.first[chosen], second=self.second[chosen], same=self.same[chosen], mirrored=self.mirrored[chosen])


def find_pairs(signatures: Sequence[PictureSignature], others: Sequence[PictureSignature] | None = None) -> DuplicatePairs:
    """All pairs among pictures at hand, `first` before `second`; or with `others`, at hand or not, into which `second` counts."""
    table, within = _Table(signatures), others is None
    against = table if others is None else _Table(others)
    found: list[tuple[Array, ...]] = []
    for begin in range(0, len(signatures) if len(against) else 0, _ROWS):
        rows = np.arange(begin, min(begin + _ROWS, len(signatures)))
        same = table.sha256[rows, None] == against.sha256
        direct = _find_alike(table, rows, against, table.prints, table.thumbnails)
        turned = _find_alike(table, rows, against, table.mirrored, table.thumbnails[:, :, ::-1])
        hit = same | direct | turned
        if within:
            hit &= rows[:, None] < np.arange(len(against))
        at, second = np.nonzero(hit)
        found.append((rows[at], second, same[at, second], (turned & ~direct & ~same)[at, second]))
    columns = [np.concatenate(column) for column in zip(*found, strict=True)] if found else [np.zeros(0, int)] * 4
    return DuplicatePairs(first=columns[0], second=columns[1], same=columns[2].astype(bool), mirrored=columns[3].astype(bool))


class _Table:
    """Many signatures as arrays: bits as -1 and 1, thumbnails float32 (pictures, SIDE, SIDE, 3)."""

    def __init__(self, signatures: Sequence[PictureSignature]) -> None:
        self.sha256 = np.array([each.sha256 for each in signatures], dtype=str)
        self.prints = _unpack_signs([each.difference_hash for each in signatures])
        self.mirrored = _unpack_signs([each.mirrored_hash or each.difference_hash for each in signatures])
        self.at_hand = np.array([each.thumbnail is not None for each in signatures], bool)
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        thumbnails = [blank if each.thumbnail is None else each.thumbnail for each in signatures]
        self.thumbnails = np.array(thumbnails, np.float32).reshape(-1, SIDE, SIDE, 3)
        self.structured = _measure_structure(self.thumbnails) >= STRUCTURE

    def __len__(self) -> int:
        return len(self.sha256)


def _unpack_signs(prints: Sequence[bytes]) -> Array:
    bits = np.unpackbits(np.frombuffer(b"".join(prints), np.uint8)).reshape(-1, SIDE * SIDE)
    return 2 * bits.astype(np.float32) - 1


def _measure_structure(thumbnails: Array) -> Array:
    """Of how many neighbours in a row the brightness differs by more than two levels, float (pictures,) in [0, 1]."""
    differs: Array = np.abs(np.diff(thumbnails.mean(axis=3), axis=2)) > 2
    return np.asarray(differs.mean(axis=(1, 2)))


def _compute_agreement(a: Array, b: Array) -> Array:
    """How much more two lots of bits, -1 and 1 (n, bits) and (m, bits), agree than by chance: J. Cohen's kappa (1960), (n, m).

    1 for equal ones, 0 for unrelated ones; without it drawings would agree for nothing but the ground that they leave.
    """
    differing = (1 - a @ b.T / a.shape[1]) / 2
    p, q = (a.mean(axis=1)[:, None] + 1) / 2, (b.mean(axis=1) + 1) / 2
    by_chance = p * (1 - q) + q * (1 - p)
    return np.asarray(1 - np.divide(differing, by_chance, out=np.ones_like(differing), where=by_chance > 1e-6))


def _find_alike(table: _Table, rows: Array, against: _Table, prints: Array, thumbnails: Array) -> Array:
    """Which of some rows and all the others show the same, bool (rows, others)."""
    agreement = _compute_agreement(prints[rows], against.prints)
    hit: Array = (agreement >= ALONE_AGREEMENT) & ~against.at_hand & table.structured[rows, None]
    at, second = np.nonzero((agreement >= FLAT_AGREEMENT) & against.at_hand)
    first = rows[at]
    correlation = np.empty(len(at), np.float32)
    for begin in range(0, len(at), 65_536):
        part = np.s_[begin : begin + 65_536]
        a, b = (_centre(all_of[which[part]]) for all_of, which in ((thumbnails, first), (against.thumbnails, second)))
        correlation[part] = (a * b).sum(axis=1)
    photographs = table.structured[first] & against.structured[second] & (agreement[at, second] >= AGREEMENT)
    hit[at, second] = correlation >= np.where(photographs, CORRELATION, FLAT_CORRELATION)
    return hit


def _centre(thumbnails: Array) -> Array:
    """Subtract the mean of each channel and divide by the length: (pictures, values). What has one colour alone becomes 0."""
    values = thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)
    values = values.reshape(len(values), -1)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))
