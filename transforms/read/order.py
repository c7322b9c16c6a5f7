"""Which entries are read in which order, by whom: computed from the index, before any is read.

All consumers (ranks x workers) compute the same order of an epoch and each takes its own stretch of
it, so that no two meet and nobody has to ask. Going on in the middle is counting, not reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Even = Literal["pad", "drop"] | None

RUN_BYTES = 8 << 20
"""Entries that lie so close together in a shard stay together when runs are shuffled: so much is
read in one go."""


@dataclass(frozen=True)
class Consumer:
    """One of those that share an epoch: a worker of a rank."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        for name, number, count in (
            ("rank", self.rank, self.world_size),
            ("worker", self.worker, self.workers),
        ):
            if not 0 <= number < count:
                raise ValueError(f"{name} {number} is none of {count}: they count from 0")


@dataclass(frozen=True)
class Shuffle:
    """How an epoch is mixed: runs of neighbours first, then entries inside of windows."""

    seed: int
    epoch: int
    run_bytes: int = RUN_BYTES


def stretch(total: int, part: int, parts: int) -> tuple[int, int]:
    """[start, stop) of one of `parts` stretches of `total`; the first ones are longer by one if it
    does not divide."""
    least, more = divmod(total, parts)
    start = part * least + min(part, more)
    return start, start + least + (part < more)


def rank_stretch(total: int, consumer: Consumer, even: Even) -> tuple[int, int]:
    """[start, stop) of what a rank reads of an epoch of `total` entries.

    With `even` all ranks get equally many: `drop` leaves the last ones out, `pad` goes beyond the
    end, where the epoch begins anew.
    """
    if even == "pad":
        total = -(-total // consumer.world_size) * consumer.world_size
    elif even == "drop":
        total -= total % consumer.world_size
    return stretch(total, consumer.rank, consumer.world_size)


def share_stretch(total: int, consumer: Consumer, even: Even) -> tuple[int, int]:
    """[start, stop) of what a worker of a rank reads of an epoch of `total` entries."""
    first, last = rank_stretch(total, consumer, even)
    start, stop = stretch(last - first, consumer.worker, consumer.workers)
    return first + start, first + stop


def epoch_order(shards: Numbers, starts: Numbers, shuffle: Shuffle | None) -> Numbers:
    """The order of all entries in an epoch, before windows are mixed; the same for everybody.

    `shards` and `starts` say where each entry lies, in order; an entry is told by its place there.
    """
    total = len(shards)
    if shuffle is None:
        return np.arange(total)
    cells = starts // shuffle.run_bytes
    begins = np.ones(total, bool)
    begins[1:] = (np.diff(shards) != 0) | (np.diff(cells) != 0)
    run_of = np.cumsum(begins) - 1
    keys = _keys(int(run_of[-1]) + 1 if total else 0, shuffle, stream=0)
    # Stable: inside a run entries stay in order.
    return np.argsort(keys[run_of], kind="stable").astype(np.int64)


def share_order(
    order: Numbers,
    sizes: Numbers,
    share: tuple[int, int],
    shuffle: Shuffle | None,
    window_bytes: int,
) -> tuple[Numbers, Numbers]:
    """What is read of a stretch of the epoch, in order, and the number of the window of each.

    A window is what is read at a time: neighbours in the order of the epoch of `window_bytes`
    together, and at most one entry more. A shuffle mixes it.
    """
    mine = order[np.arange(*share) % max(len(order), 1)]
    before = np.cumsum(sizes[mine]) - sizes[mine]
    windows = before // max(window_bytes, 1)
    if shuffle is not None:
        keys = _keys(len(order), shuffle, stream=1)
        mine = mine[np.lexsort((keys[mine], windows))]
    return mine, windows


def _keys(count: int, shuffle: Shuffle, stream: int) -> NDArray[np.uint64]:
    """Random numbers by which things are sorted. The raw output of a bit generator is what numpy
    promises to keep from version to version; that of `permutation` is not."""
    word = 1 << 64
    key = (shuffle.seed % word) << 64 | (2 * shuffle.epoch + stream) % word
    return np.random.Philox(key=key).random_raw(count)
