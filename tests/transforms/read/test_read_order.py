"""Shares of an epoch: nothing twice, nothing left out, the same for everybody, mixed in bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.read.order import (
    Consumer,
    Even,
    Numbers,
    Shuffle,
    epoch_order,
    rank_stretch,
    share_order,
    share_stretch,
)
from transforms.read.state import ReadState, after_batches

SIZES = st.lists(st.integers(1, 5_000), max_size=60)
COUNTS = st.integers(1, 7)
SHUFFLES = st.none() | st.builds(Shuffle, st.integers(-3, 2**70), st.integers(0, 9), st.just(4_000))


def laid_out(sizes: list[int]) -> tuple[Numbers, Numbers, Numbers]:
    """Shard, start and size of entries that fill shards of some 9,000 bytes."""
    ends = np.cumsum(np.array([0, *sizes], np.int64))
    starts = ends[:-1]
    shards = starts // 9_000
    firsts = {int(s): int(starts[shards == s][0]) for s in shards}
    return shards, starts - np.array([firsts[int(s)] for s in shards], np.int64), np.diff(ends)


def consumers(world_size: int, workers: int) -> list[Consumer]:
    pairs = itertools.product(range(world_size), range(workers))
    return [Consumer(rank, world_size, worker, workers) for rank, worker in pairs]


def all_shares(
    sizes: list[int], world_size: int, workers: int, even: Even, shuffle: Shuffle | None
) -> dict[Consumer, list[int]]:
    """What each consumer reads, each computed alone, as it is in its own process."""
    found = {}
    for one in consumers(world_size, workers):
        shards, starts, bytes_ = laid_out(sizes)
        order = epoch_order(shards, starts, shuffle)
        share = share_stretch(len(order), one, even)
        found[one] = share_order(order, bytes_, share, shuffle, 6_000)[0].tolist()
    return found


@given(SIZES, COUNTS, COUNTS, SHUFFLES)
def test_each_entry_is_read_once_by_all_together(
    sizes: list[int], world_size: int, workers: int, shuffle: Shuffle | None
) -> None:
    shares = all_shares(sizes, world_size, workers, None, shuffle)
    assert sorted(itertools.chain(*shares.values())) == list(range(len(sizes)))
    lengths = [len(share) for share in shares.values()]
    assert max(lengths) - min(lengths) <= 1


@given(SIZES.filter(len), COUNTS, COUNTS, SHUFFLES)
def test_even_ranks_read_equally_many(
    sizes: list[int], world_size: int, workers: int, shuffle: Shuffle | None
) -> None:
    for even in ("pad", "drop"):
        shares = all_shares(sizes, world_size, workers, even, shuffle)
        lengths = {one: len(share) for one, share in shares.items()}
        for worker in range(workers):
            assert len({n for one, n in lengths.items() if one.worker == worker}) == 1
        everything = sorted(itertools.chain(*shares.values()))
        left = len(everything) - len(sizes)
        if even == "pad":
            assert set(everything) == set(range(len(sizes)))
            assert 0 <= left < world_size
        else:
            assert len(set(everything)) == len(everything)
            assert -world_size < left <= 0


@given(SIZES, SHUFFLES)
def test_an_epoch_is_a_permutation_of_whole_runs(sizes: list[int], shuffle: Shuffle | None) -> None:
    shards, starts, _ = laid_out(sizes)
    order = epoch_order(shards, starts, shuffle).tolist()
    assert sorted(order) == list(range(len(sizes)))
    if shuffle is None:
        assert order == sorted(order)
        return
    cells = [(int(s), int(b) // shuffle.run_bytes) for s, b in zip(shards, starts, strict=True)]
    shown = [cell for cell, _ in itertools.groupby(order, key=lambda number: cells[number])]
    assert len(shown) == len(set(cells)), "a run was torn"


@given(SIZES, st.integers(1, 20_000), SHUFFLES)
def test_what_is_held_at_a_time_is_bounded(
    sizes: list[int], window_bytes: int, shuffle: Shuffle | None
) -> None:
    shards, starts, bytes_ = laid_out(sizes)
    order = epoch_order(shards, starts, shuffle)
    mine, windows = share_order(order, bytes_, (0, len(order)), shuffle, window_bytes)
    assert windows.tolist() == sorted(windows.tolist())
    for window in set(windows.tolist()):
        inside = mine[windows == window]
        assert bytes_[inside].sum() < window_bytes + bytes_[inside].max()
        # Mixed only inside: these are neighbours in the order of the epoch.
        places = np.flatnonzero(np.isin(order, inside))
        assert places.tolist() == list(range(places[0], places[0] + len(inside)))


def test_the_order_is_the_same_everywhere_and_forever() -> None:
    """Pinned: a checkpoint from another machine or another numpy goes on in the same order."""
    shards, starts, bytes_ = laid_out([1_000] * 24)
    shuffle = Shuffle(seed=7, epoch=2, run_bytes=3_000)
    order = epoch_order(shards, starts, shuffle)
    mine, _ = share_order(order, bytes_, (0, 12), shuffle, 6_000)
    assert mine.tolist() == PINNED


PINNED = [3, 11, 9, 5, 4, 10, 23, 22, 18, 21, 20, 19]


def test_seed_and_epoch_choose_the_order() -> None:
    shards, starts, _ = laid_out([900] * 60)
    orders = {
        tuple(epoch_order(shards, starts, Shuffle(seed, epoch, 1_000)).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_a_rank_that_is_none_is_refused() -> None:
    for numbers in ((2, 2), (-1, 2), (0, 1, 3, 3), (0, 0)):
        with pytest.raises(ValueError, match="none of"):
            Consumer(*numbers)


@settings(max_examples=200)
@given(
    st.integers(0, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(0, 9)
)
def test_a_loader_goes_on_where_it_was(
    total: int, workers: int, size: int, first: int, second: int
) -> None:
    """Stopped twice: what follows is what a loader gives that was not stopped."""
    bounds = [share_stretch(total, one, None) for one in consumers(1, workers)]
    lengths = tuple(stop - start for start, stop in bounds)
    state = ReadState(
        of="x", epoch=0, rank=0, world_size=1, workers=workers,
        shares=tuple(range(workers)), seen=(0,) * workers,
    )  # fmt: skip
    whole = loader_batches(state, bounds, size)
    for batches in (min(first, len(whole)), second):
        stop = min(batches, len(whole))
        state = after_batches(state, lengths, stop, size)
        assert ReadState.from_dict(state.to_dict()) == state
        whole = whole[stop:]
        assert loader_batches(state, bounds, size) == whole


def loader_batches(state: ReadState, bounds: list[tuple[int, int]], size: int) -> list[list[int]]:
    """What a DataLoader gives: a batch of each worker in turn, leaving out those that are done."""
    shares = [
        list(range(bounds[share][0] + seen, bounds[share][1]))
        for share, seen in zip(state.shares, state.seen, strict=True)
    ]
    queues = [[share[n : n + size] for n in range(0, len(share), size)] for share in shares]
    found = []
    while any(queues):
        found += [queue.pop(0) for queue in queues if queue]
    return found


@pytest.mark.parametrize(
    "change",
    [{"seen": [0]}, {"shares": [0, 0]}, {"epoch": -1}, {"more": 1}, {"seen": [0, "x"]}],
    ids=str,
)
def test_a_state_that_is_none_is_refused(change: dict[str, object]) -> None:
    good = {"of": "x", "epoch": 0, "rank": 0, "world_size": 1, "workers": 2,
            "shares": [1, 0], "seen": [3, 4]}  # fmt: skip
    ReadState.from_dict(good)
    with pytest.raises(ValueError, match="no state of reading"):
        ReadState.from_dict({**good, **change})


def test_ranks_first_then_workers() -> None:
    assert rank_stretch(10, Consumer(1, 3), None) == (4, 7)
    assert [share_stretch(10, Consumer(1, 3, w, 2), None) for w in (0, 1)] == [(4, 6), (6, 7)]
