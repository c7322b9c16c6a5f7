"""Rows in order without anybody holding all of them: sorted pieces in files, merged when read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from transforms.outcome import StopRunError
from transforms.publish.files import replacing
from transforms.storage import fetch, is_remote

BATCH_ROWS = 1_024
"""What is read of a piece at a time: so many rows of each piece that is open are in memory."""

Key = tuple[Any, ...]
"""Values of the key columns: text, bytes or numbers, none of them null."""


@dataclass(frozen=True)
class Piece:
    """Sorted rows in a file."""

    path: str
    """Or a URL."""
    first: Key
    """Of the first row."""
    rows: int


def write_piece(table: pa.Table, keys: Sequence[str], path: Path) -> Piece:
    """Write the rows of a table, of which there is at least one, sorted by the key columns.

    The file is built beside its place, so that it may be written again, even at the same time.
    """
    ordered = table.sort_by([(name, "ascending") for name in keys]).combine_chunks()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        replacing(path) as file,
        pa.ipc.new_file(file, ordered.schema, options=options) as writer,
    ):
        writer.write_table(ordered, max_chunksize=BATCH_ROWS)
    return Piece(str(path), _key(ordered, keys, 0), ordered.num_rows)


def merged(pieces: Iterable[Piece], keys: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of all pieces in the order of the key columns, in tables as large as it happens.

    Pieces whose keys lie apart are read one after the other. Of those that overlap a batch each is
    in memory, and no file is kept open, so that there may be any number. Of a piece at a URL there
    is a copy here while it is read. Raises StopRunError if it is gone.
    """
    waiting = sorted(pieces, key=lambda piece: (piece.first, piece.path), reverse=True)
    readers: list[_Reader] = []
    while waiting or readers:
        if not readers:
            readers.append(_Reader(waiting.pop(), keys))
        # What comes before the end of the batch that ends first can't be preceded by anything that
        # was not read yet.
        bound = min(reader.last for reader in readers)
        while waiting and waiting[-1].first <= bound:
            readers.append(_Reader(waiting.pop(), keys))
            bound = min(bound, readers[-1].last)
        parts = [reader.up_to(bound) for reader in readers]
        whole = pa.concat_tables([part for part in parts if part.num_rows])
        several = sum(part.num_rows > 0 for part in parts) > 1
        yield whole.sort_by([(name, "ascending") for name in keys]) if several else whole
        readers = [reader for reader in readers if reader.filled()]


def _key(table: pa.Table, keys: Sequence[str], row: int) -> Key:
    return tuple(table[name][row].as_py() for name in keys)


class _Reader:
    """A piece and how far it was read."""

    def __init__(self, piece: Piece, keys: Sequence[str]) -> None:
        self._path = piece.path
        self._folder: TemporaryDirectory[str] | None = None
        if is_remote(piece.path):
            self._folder = TemporaryDirectory(prefix="proofreel-piece-")
            self._path = str(Path(self._folder.name, "copy"))
            if not fetch(piece.path, Path(self._path)):
                raise StopRunError(f"{piece.path} is gone; run the same command again")
        self._keys = keys
        self._batch = 0
        self._rows = self._read()

    @property
    def last(self) -> Key:
        """Key of the last row in memory."""
        return _key(self._rows, self._keys, self._rows.num_rows - 1)

    def up_to(self, bound: Key) -> pa.Table:
        """Take the rows in memory whose keys are not above that."""
        rows = self._rows
        if self.last <= bound:
            number = rows.num_rows
        else:
            number = bisect_right(
                range(rows.num_rows), bound, key=lambda row: _key(rows, self._keys, row)
            )
        self._rows = rows.slice(number)
        return rows.slice(0, number)

    def filled(self) -> bool:
        """Whether there are rows left; reads the next if need be."""
        if not self._rows.num_rows:
            self._rows = self._read()
        left = bool(self._rows.num_rows)
        if self._folder and not left:
            self._folder.cleanup()
        return left

    def _read(self) -> pa.Table:
        with pa.OSFile(self._path) as file:
            reader = pa.ipc.open_file(file)
            if self._batch == reader.num_record_batches:
                return reader.schema.empty_table()
            batch = reader.get_batch(self._batch)
        self._batch += 1
        return pa.Table.from_batches([batch])
