"""Inputs on their way to the workers: pieces in files, and a list of them that the graph names.

They lie in the memo store, for that is what all workers see on every engine: a folder that they
have in common, or a URL. A piece is named by its content, so a run that goes on finds those there
are, and nobody has to take them away from under another run.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import apache_beam as beam

from schemas.base import Record
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

STEP, VERSION = "inputs", "1"
PIECE_FILE = "lines.gz"
PIECE_RECORDS = 4_096
PIECE_BYTES = 16 << 20
"""A piece is no larger, but by a record: some have thousands of questions."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Pieces:
    """Records in files of the memo store."""

    listing: str
    """Reference of the file that holds those of the pieces, a line each."""
    records: int


def keep_pieces(
    texts: Iterable[bytes], store: MemoStore, piece_records: int = PIECE_RECORDS
) -> Pieces:
    """Put records, the JSON of each, into the store. Raises StopRunError."""
    refs: list[bytes] = []
    records = 0
    for lines in _pieces(texts, piece_records):
        refs.append(_kept(lines, store).encode())
        records += len(lines)
    return Pieces(_kept(refs, store), records)


def _pieces(texts: Iterable[bytes], piece_records: int) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    for text in texts:
        lines.append(text)
        size += len(text)
        if len(lines) == piece_records or size >= PIECE_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _kept(lines: Sequence[bytes], store: MemoStore) -> str:
    content = b"".join(line + b"\n" for line in lines)
    entry = store.entry(STEP, VERSION, sha256(content).hexdigest())
    if entry.get() is None:
        with entry.building() as folder:
            (folder / PIECE_FILE).write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
            entry.finish(folder, len(lines))
    return entry.ref(PIECE_FILE)


def pieces_in(listing: str, store: MemoStore) -> Iterator[str]:
    """References of the pieces. Raises StopRunError if the list is damaged."""
    for line in _lines(listing, store):
        yield line.decode().rstrip("\n")


def read_piece(ref: str, store: MemoStore, kind: type[R]) -> Iterator[R]:
    """The records of a piece, in order. Raises StopRunError if it is damaged."""
    for line in _lines(ref, store):
        yield kind.from_json(line)


def _lines(ref: str, store: MemoStore) -> Iterator[bytes]:
    try:
        with gzip.open(store.path(ref)) as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        store.forget(ref)
        raise StopRunError(
            f"a part of the list of inputs in the memo store was damaged ({ref}: {error}) and was "
            "removed; run the same command again, it makes it anew"
        ) from error


class ReadPieces(beam.PTransform):
    """Pipeline root -> the records of all pieces; those of one piece come from one worker."""

    def __init__(self, pieces: Pieces, kind: type[Record], store: MemoStore) -> None:
        super().__init__()
        self._pieces = pieces
        self._kind = kind
        self._store = store

    def expand(self, root: Any) -> beam.PCollection:
        return (
            root
            | "Listing" >> beam.Create([self._pieces.listing], reshuffle=False)
            | "Pieces" >> beam.FlatMap(pieces_in, self._store)
            | "SpreadPieces" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read_piece, self._store, self._kind)
        )
