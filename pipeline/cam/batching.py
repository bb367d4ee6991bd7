"""Many pictures for one network: read ahead by threads, stacked into batches of one size, and computed, some batches at once."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import HeatreelError

Item = TypeVar("Item")
Rest = TypeVar("Rest")
Batch = TypeVar("Batch")
Answer = TypeVar("Answer")

READERS, AHEAD = 2, 64  # Pillow decodes without the interpreter's lock
AT_ONCE = 2  # batches at the network, where there are many: a core that is done with a layer of one need not wait for the others


def read_batches(
    items: Iterable[Item],
    read: Callable[[Item], tuple[Array, Rest]],
    *,
    batch_size: int,
    failed: Callable[[Item, HeatreelError], None],
) -> Iterator[tuple[Array, list[tuple[Item, Rest]]]]:
    """Pictures uint8 (batch, height, width, 3) of one size, each with its item and what else `read` gave of it.

    Pictures of one size wait until they are a batch; at the end the rest goes. What cannot be read is told to `failed`, and left out.
    """
    waiting: dict[tuple[int, ...], list[tuple[Array, tuple[Item, Rest]]]] = {}
    for item, ahead in read_ahead(items, read):
        try:
            pixels, rest = ahead.result()
        except HeatreelError as error:
            failed(item, error)
            continue
        batch = waiting.setdefault(pixels.shape, [])
        batch.append((pixels, (item, rest)))
        if len(batch) == batch_size:
            yield _stack(waiting.pop(pixels.shape))
    yield from map(_stack, waiting.values())


def _stack(batch: list[tuple[Array, tuple[Item, Rest]]]) -> tuple[Array, list[tuple[Item, Rest]]]:
    return np.stack([pixels for pixels, _ in batch]), [rest for _, rest in batch]


def read_ahead(items: Iterable[Item], read: Callable[[Item], Rest]) -> Iterator[tuple[Item, Future[Rest]]]:
    """Every item in order with what becomes of reading it, a bounded number of them ahead."""
    source, reading = iter(items), deque[tuple[Item, Future[Rest]]]()
    with ThreadPoolExecutor(READERS) as pool:
        while True:
            for item in itertools.islice(source, AHEAD - len(reading)):
                reading.append((item, pool.submit(read, item)))
            if not reading:
                return
            yield reading.popleft()


def compute_batches(compute: Callable[[Batch], Answer], batches: Iterable[Batch]) -> Generator[Answer]:
    """What the network's `compute` gives of each batch, in order; AT_ONCE of them are there at once, and one more waits for its turn."""
    going: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for batch in batches:
            going.append(threads.submit(compute, batch))
            if len(going) > AT_ONCE:
                yield going.popleft().result()
        while going:
            yield going.popleft().result()
