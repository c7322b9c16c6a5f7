"""The samples of a shard while they wait to be written: they come in any order, and texts can be
more than memory should hold."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from schemas.sample import Sample
from transforms.publish.planning import PlannedSample
from transforms.trouble import TEMPORARY, minding

MEMORY_BYTES = 32 << 20
"""Of packed texts; more go to a temporary file."""


@dataclass(frozen=True)
class Packed:
    """A sample on its way into a shard."""

    rank: int
    """Before samples of a higher rank, whatever the keys."""
    planned: PlannedSample
    packed: bytes
    """Its JSON."""


def pack(sample: Sample, planned: PlannedSample, rank: int) -> Packed:
    """Make a sample small to travel."""
    text = sample.to_json().encode("utf-8")
    # Which lists are filled was needed to plan the shards, and is long.
    return Packed(rank, planned.model_copy(update={"filled": ()}), zlib.compress(text, 1))


class Spool(Mapping[str, Sample]):
    """Samples by key, of which memory holds only sizes and references."""

    def __init__(self, samples: Iterable[Packed]) -> None:
        """Raises StopRunError where the folder for temporary files can't be written."""
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}
        waiting: list[tuple[int, str, PlannedSample]] = []
        offset = 0
        for one in samples:
            self._write(one.packed)
            self._places[one.planned.key] = offset, len(one.packed)
            waiting.append((one.rank, one.planned.key, one.planned))
            offset += len(one.packed)
        waiting.sort(key=lambda one: one[:2])
        self.planned = tuple(planned for _, _, planned in waiting)
        """In the order in which the shard holds them."""

    def _write(self, packed: bytes) -> None:
        # The file has no name that an error could tell, and may be on another disk than the shard.
        with minding(Path(tempfile.gettempdir()), TEMPORARY):
            try:
                self._file.write(packed)
                # What waits in a buffer would fail where the shard is written.
                self._file.flush()
            except OSError:
                with suppress(OSError):
                    self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, key: str) -> Sample:
        offset, size = self._places[key]
        self._file.seek(offset)
        return Sample.from_json(zlib.decompress(self._file.read(size)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
