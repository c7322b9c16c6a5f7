"""The entries of a dataset one after the other: what one consumer reads of an epoch.

Needs no torch; `torch_dataset` makes a torch dataset of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic_core import from_json

from schemas.base import content_hash
from transforms.read.catalog import ADVICE, Catalog, EntryPlace
from transforms.read.entry import Entry
from transforms.read.frames import Look
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
from transforms.read.ranges import Ranges, ReadError
from transforms.read.state import ReadState, after_batches


@dataclass(frozen=True)
class ReadSettings:
    """How entries are read; see `open_dataset`."""

    shuffle: bool = False
    seed: int = 0
    buffer_bytes: int = 64 << 20
    even: Even = None
    verify: bool = False
    look: Look | None = None
    map: Callable[[Entry], Any] | None = None

    def __post_init__(self) -> None:
        if self.even not in ("pad", "drop", None):
            raise ValueError(f"even is {self.even!r}; it is 'pad', 'drop' or None")
        if self.buffer_bytes < 1:
            raise ValueError(f"buffer_bytes is {self.buffer_bytes}; it must be above 0")


@dataclass
class _Progress:
    """How far one iteration has come."""

    epoch: int
    consumer: Consumer
    share: int
    seen: int


class EntryStream:
    """Iterates over a catalog: each entry once per epoch over all ranks and workers.

    An entry is an `Entry`, or what `map` makes of it.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: ReadSettings,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError("give both rank and world_size, or none of them")
        self.catalog = catalog
        self.settings = settings
        self._ranks = None if rank is None or world_size is None else (rank, world_size)
        self.consumer()  # a wrong rank is told now
        self._epoch = self.shared(1)
        self._read_by_workers = self.shared(1)
        self._progress: _Progress | None = None
        self._resumed: ReadState | None = None
        self._used = self.shared(1)
        self._identity = _identity(catalog, settings)

    # What torch knows better.

    def shared(self, count: int) -> MutableSequence[int]:
        """Numbers, 0 at first, that worker processes see as they are in this one."""
        return [0] * count

    def ranks(self) -> tuple[int, int]:
        """Rank and world size: as given, else as the launcher says, else 0 of 1."""
        if self._ranks is not None:
            return self._ranks
        rank, world_size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
        if not rank or not world_size:
            return 0, 1
        try:
            return int(rank), int(world_size)
        except ValueError as error:
            raise ValueError(
                f"RANK={rank!r} and WORLD_SIZE={world_size!r} in the environment are no numbers; "
                "give rank and world_size"
            ) from error

    def worker(self) -> tuple[int, int] | None:
        """Number of this worker process and how many there are; None in the main process."""
        return None

    # How an epoch is read.

    def consumer(self) -> Consumer:
        """Who reads here."""
        worker, workers = self.worker() or (0, 1)
        return Consumer(*self.ranks(), worker, workers)

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration follows."""
        return int(self._epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; workers that live on learn of it, too."""
        if epoch < 0:
            raise ValueError(f"epoch is {epoch}; the first is 0")
        self._epoch[0] = epoch

    def __len__(self) -> int:
        """Entries of this rank in an epoch."""
        start, stop = rank_stretch(len(self.catalog), self.consumer(), self.settings.even)
        return stop - start

    def __iter__(self) -> Iterator[Any]:
        consumer = self.consumer()
        if self.worker() is not None:
            self._read_by_workers[0] = consumer.workers
        share, seen = self._begin(consumer)
        self._progress = _Progress(self.epoch, consumer, share, seen)
        return self._entries(self._progress)

    def _begin(self, consumer: Consumer) -> tuple[int, int]:
        """Whose share to read and how much of it was read: a state that was loaded counts once."""
        state = self._resumed
        if state is None or state.epoch != self.epoch:
            return consumer.worker, 0
        if (state.rank, state.world_size, state.workers) != (
            consumer.rank, consumer.world_size, consumer.workers,
        ):  # fmt: skip
            raise ValueError(
                f"the state is that of rank {state.rank} of {state.world_size} with "
                f"{state.workers} workers, but this is rank {consumer.rank} of "
                f"{consumer.world_size} with {consumer.workers}"
            )
        if len(state.shares) == 1 and state.shares[0] != consumer.worker:
            raise ValueError(
                f"the state is that of worker {state.shares[0]} alone; `state_after` gives that "
                "of all workers"
            )
        self._used[consumer.worker] += 1
        if self._used[consumer.worker] > 1:
            return consumer.worker, 0
        slot = consumer.worker if len(state.shares) > 1 else 0
        return state.shares[slot], state.seen[slot]

    def _shuffle(self, epoch: int) -> Shuffle | None:
        return Shuffle(self.settings.seed, epoch) if self.settings.shuffle else None

    def _plan(self, progress: _Progress) -> tuple[Numbers, Numbers]:
        """The numbers of all entries of a share in order, and their windows."""
        shuffle = self._shuffle(progress.epoch)
        catalog, who = self.catalog, progress.consumer
        owner = Consumer(who.rank, who.world_size, progress.share, who.workers)
        return share_order(
            epoch_order(catalog.shard, catalog.json_offset, shuffle),
            catalog.sizes,
            share_stretch(len(catalog), owner, self.settings.even),
            shuffle,
            self.settings.buffer_bytes,
        )

    def _entries(self, progress: _Progress) -> Iterator[Any]:
        numbers, windows = (part[progress.seen :].tolist() for part in self._plan(progress))
        with self.catalog.place.ranges() as ranges:
            pairs = zip(windows, numbers, strict=True)
            for _, window in groupby(pairs, lambda pair: pair[0]):
                places = [self.catalog.entry(number) for _, number in window]
                ranges.expect([place.span for place in places])
                for place in places:
                    entry = read_entry(ranges, place, self.settings)
                    progress.seen += 1
                    yield entry

    # Stopping and going on.

    def state_dict(self) -> dict[str, Any]:
        """Where the last iteration in this process stands, in the form that torchdata's
        StatefulDataLoader keeps for each worker. Raises ValueError when workers did the reading:
        only they, or `state_after`, know."""
        if self._progress is None and self._read_by_workers[0]:
            raise ValueError(
                "the entries were read by the workers of a DataLoader: use its state_dict "
                "(torchdata's StatefulDataLoader), or `state_after(batches, ...)`"
            )
        if self._progress is None:
            return self._start(self.consumer()).to_dict()
        now, who = self._progress, self._progress.consumer
        state = self._state(now.epoch, who, (now.share,), (now.seen,))
        return state.to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken: sets the epoch, and the next iteration reads the rest
        of it. Raises ValueError when the state is of other data, or of another order."""
        found = ReadState.from_dict(state)
        if found.of != self._identity:
            raise ValueError(
                "the state is of another dataset, or of one opened with another split, choice of "
                "samples, seed, shuffle, buffer_bytes or even"
            )
        self._resumed = found
        self._used = self.shared(found.workers)
        self._progress = None
        self._read_by_workers[0] = 0
        self.set_epoch(found.epoch)

    def state_after(
        self, batches: int, *, batch_size: int | None, num_workers: int = 0
    ) -> dict[str, Any]:
        """The state after so many batches of the last iteration of a plain torch DataLoader over
        this dataset, counted from its first one, also where that went on from a loaded state.
        `batch_size` and `num_workers` are those of the loader; to go on takes the same."""
        rank, world_size = self.ranks()
        workers = max(num_workers, 1)
        state = self._start(Consumer(rank, world_size, 0, workers))
        if len(state.shares) != workers:
            raise ValueError(f"the loaded state is of {state.workers} workers, not {num_workers}")
        owners = (Consumer(rank, world_size, share, workers) for share in range(workers))
        stretches = [share_stretch(len(self.catalog), one, self.settings.even) for one in owners]
        lengths = tuple(stop - start for start, stop in stretches)
        return after_batches(state, lengths, batches, batch_size or 1).to_dict()

    def _start(self, consumer: Consumer) -> ReadState:
        """Where the last iteration began: at the state that was loaded, or at nothing seen."""
        state = self._resumed
        if state is not None and state.epoch == self.epoch and max(self._used) <= 1:
            return state
        shares = tuple(range(consumer.workers))
        return self._state(self.epoch, consumer, shares, (0,) * len(shares))

    def _state(
        self, epoch: int, who: Consumer, shares: Sequence[int], seen: Sequence[int]
    ) -> ReadState:
        return ReadState(
            of=self._identity,
            epoch=epoch,
            rank=who.rank,
            world_size=who.world_size,
            workers=who.workers,
            shares=tuple(shares),
            seen=tuple(seen),
        )


def _identity(catalog: Catalog, settings: ReadSettings) -> str:
    """Of all that decides about the order of entries."""
    chosen = hashlib.sha256(catalog.shard.tobytes() + catalog.json_offset.tobytes())
    how = (settings.shuffle, settings.seed, settings.buffer_bytes, settings.even)
    return content_hash(catalog.identity, catalog.paths, chosen.hexdigest(), how)


def read_entry(ranges: Ranges, place: EntryPlace, settings: ReadSettings) -> Any:
    """One entry from its place: parsed, checked, decoded and mapped as the settings say.

    Raises ReadError, naming shard and key, when what lies there is not the sample.
    """
    at = f"{place.shard}: {place.key}"
    try:
        text = ranges.read(place.shard, place.json_offset, place.json_bytes)
        mp4 = ranges.read(place.shard, place.mp4_offset, place.mp4_bytes)
    except ReadError as error:
        raise ReadError(f"{at}: {error}") from error
    if settings.verify:
        _check_hash(text, place.json_sha256, f"{at}: json")
        _check_hash(mp4, place.mp4_sha256, f"{at}: mp4")
    try:
        sample = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ReadError(f"{at}: json: is none: {error}{ADVICE}") from error
    if not isinstance(sample, dict) or sample.get("id") != place.key:
        raise ReadError(f"{at}: json: is not that of this sample{ADVICE}")
    entry = Entry(place.key, place.shard, sample, mp4)
    if settings.look is not None:
        shown = entry.look(settings.look)
        entry = Entry(place.key, place.shard, sample, b"", shown)
    return entry if settings.map is None else settings.map(entry)


def _check_hash(data: bytes, stated: str, at: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != stated:
        raise ReadError(f"{at}: has sha256 {found}, the index says {stated}{ADVICE}")
