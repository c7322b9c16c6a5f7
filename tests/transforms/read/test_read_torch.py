"""The dataset in torch's loaders: ranks and workers share it, a run goes on where it stopped."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from reading_helpers import KEYS, SAMPLES, keys
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from transforms.read.entry import Entry
from transforms.read.opening import open_dataset

MIXED: dict[str, Any] = {"shuffle": True, "seed": 2, "buffer_bytes": 60_000}


def key_of(entry: Entry) -> str:
    return entry.key


def loader(data: Any, workers: int, batch_size: int | None = 3, **options: Any) -> DataLoader[Any]:
    options = {"collate_fn": list} | options if batch_size else options
    return DataLoader(data, batch_size=batch_size, num_workers=workers, **options)


def test_it_is_a_dataset_of_torch(many: Path) -> None:
    data = open_dataset(many)
    assert isinstance(data, IterableDataset)
    assert len(data) == SAMPLES


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_share_an_epoch(workers: int, many: Path) -> None:
    data = open_dataset(many, map=key_of, **MIXED)
    found = [key for batch in loader(data, workers) for key in batch]
    assert sorted(found) == KEYS


def test_ranks_and_workers_share_an_epoch(many: Path) -> None:
    found = []
    for rank in range(3):
        data = open_dataset(many, map=key_of, rank=rank, world_size=3, **MIXED)
        mine = list(loader(data, 2, batch_size=None))
        assert len(mine) == len(data) in (10, 11)
        found += mine
    assert sorted(found) == KEYS


def test_more_workers_than_samples(many: Path) -> None:
    data = open_dataset(many, map=key_of, ids=KEYS[:1])
    assert list(loader(data, 2, batch_size=None)) == KEYS[:1]


def test_frames_arrive_from_workers(many: Path) -> None:
    def of(data: Any) -> dict[str, Any]:
        return {one.key: one.shown for one in data}

    here = of(open_dataset(many, fps=2.0, size_px=(32, 0), ids=KEYS[:6]))
    there = of(loader(open_dataset(many, fps=2.0, size_px=(32, 0), ids=KEYS[:6]), 2, None))
    assert here.keys() == there.keys()
    for key, shown in here.items():
        assert (shown.frames == there[key].frames).all()
        assert shown.times_s.tolist() == there[key].times_s.tolist()


def test_set_epoch_reaches_workers_that_stay(many: Path) -> None:
    data = open_dataset(many, map=key_of, **MIXED)
    staying = loader(data, 2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append([key for batch in staying for key in batch])
        assert sorted(orders[-1]) == KEYS
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_torchdata_goes_on_where_it_was(stop: int, workers: int, many: Path) -> None:
    def opened() -> tuple[Any, StatefulDataLoader[Any]]:
        data = open_dataset(many, map=key_of, **MIXED)
        data.set_epoch(5)
        return data, StatefulDataLoader(data, batch_size=3, num_workers=workers, collate_fn=list)

    _, first = opened()
    whole = list(first)
    _, stopped = opened()
    running = iter(stopped)
    assert [next(running) for _ in range(stop)] == whole[:stop]
    state = stopped.state_dict()
    data, resumed = opened()
    resumed.load_state_dict(state)
    assert list(resumed) == whole[stop:]
    data.set_epoch(6)
    assert sorted(key for batch in resumed for key in batch) == KEYS


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_loader_goes_on_where_it_was(workers: int, many: Path) -> None:
    """Twice: also from where it went on the first time."""

    def opened() -> Any:
        return open_dataset(many, map=key_of, rank=1, world_size=2, **MIXED)

    whole = list(loader(opened(), workers, 2))
    data = opened()
    for stop in (3, 2):
        running = iter(loader(data, workers, 2))
        assert [next(running) for _ in range(stop)] == whole[:stop]
        state = data.state_after(stop, batch_size=2, num_workers=workers)
        data = opened()
        data.load_state_dict(json.loads(json.dumps(state)))
        whole = whole[stop:]
    assert list(loader(data, workers, 2)) == whole
    # The state was for once, whether the workers are new or not: the next pass is a whole one.
    again = list(loader(data, workers, 2))
    assert sum(len(batch) for batch in again) == len(data)
    data.load_state_dict(data.state_after(1, batch_size=2, num_workers=workers))
    assert list(loader(data, workers, 2)) == again[1:]


def test_the_main_process_does_not_guess_what_workers_read(many: Path) -> None:
    data = open_dataset(many, map=key_of)
    next(iter(loader(data, 2)))
    with pytest.raises(ValueError, match="state_after"):
        data.state_dict()
    state = data.state_after(2, batch_size=3, num_workers=2)
    data.load_state_dict(state)
    with pytest.raises(ValueError, match="with 2 workers, but this is rank 0 of 1 with 1"):
        next(iter(loader(data, 1)))
    with pytest.raises(ValueError, match="with 2 workers, but this is rank 0 of 1 with 1"):
        next(iter(data))


@contextmanager
def process_group(rank: int, world_size: int) -> Iterator[None]:
    """A process group in which this process has that rank; nobody is talked to."""
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    yield
    distributed.destroy_process_group()


def test_the_process_group_tells_the_rank(many: Path) -> None:
    data = open_dataset(many)
    with process_group(2, 4):
        assert keys(data) == KEYS[16:24]
        assert keys(open_dataset(many, rank=0, world_size=1)) == KEYS
        sent = pickle.dumps(data)
    # A worker that is started afresh gets the dataset so, and is in no group.
    assert keys(pickle.loads(sent)) == KEYS[16:24]
    assert keys(data) == KEYS


def test_even_ranks_for_training_in_step(many: Path) -> None:
    for even, length in (("pad", 8), ("drop", 7)):
        for rank in range(4):
            data: Any = open_dataset(many, rank=rank, world_size=4, even=even, **MIXED)  # type: ignore[arg-type]
            assert len(keys(data)) == len(data) == length


def test_torch_is_what_collates(many: Path) -> None:
    """What `map` makes of plain arrays goes the usual way."""
    data = open_dataset(many, frames=2, size_px=(32, 24), map=arrays)
    first = next(iter(DataLoader(data, batch_size=5)))  # type: ignore[arg-type]
    assert first["frames"].shape == (5, 2, 24, 32, 3)
    assert first["frames"].dtype == torch.uint8
    assert first["times_s"].dtype == torch.float64


def arrays(entry: Entry) -> dict[str, Any]:
    assert entry.shown is not None
    return {"frames": entry.shown.frames, "times_s": entry.shown.times_s, "key": entry.key}
