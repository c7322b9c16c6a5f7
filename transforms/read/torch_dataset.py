"""The stream of entries as a dataset for torch's DataLoader."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import torch
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from transforms.read.stream import EntryStream


class EntryDataset(EntryStream, IterableDataset[Any]):
    """An `EntryStream` that knows its rank from torch.distributed and its workers from the loader.

    Batches hold `Entry`s (or what `map` makes of them): give the loader `batch_size=None`, or a
    `collate_fn` such as `list`.
    """

    def shared(self, count: int) -> MutableSequence[int]:
        """Numbers in shared memory: `set_epoch` reaches workers that live longer than an epoch."""
        numbers: Any = torch.zeros(count, dtype=torch.int64, device="cpu")
        numbers.share_memory_()
        shared: MutableSequence[int] = numbers
        return shared

    def ranks(self) -> tuple[int, int]:
        """As given, else those of the default process group, else as the launcher says."""
        if self._ranks is None and distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return super().ranks()

    def worker(self) -> tuple[int, int] | None:
        """Number of this worker of a DataLoader, and how many there are."""
        info = get_worker_info()
        return None if info is None else (info.id, info.num_workers)

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is started afresh (spawn) knows nothing of the process group.
        return {**self.__dict__, "_ranks": self.ranks()}
