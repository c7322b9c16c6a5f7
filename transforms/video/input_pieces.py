"""Inputs on their way to the workers: pieces in files, of which the job's graph holds the names.

They lie in the memo store, for that is what all workers see on every engine: a folder that they
have in common, or a URL. A piece is named by its content, so a run that goes on finds those there
are, and nobody has to take them away from under another run.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import apache_beam as beam

from schemas.base import Record
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

STEP, VERSION = "inputs", "1"
PIECE_FILE = "records.jsonl.gz"
PIECE_RECORDS = 4_096
PIECE_BYTES = 16 << 20
"""A piece is no larger, but by a record: some have thousands of questions."""

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Pieces:
    """Records in files of the memo store."""

    refs: tuple[str, ...]
    number: int
    """Of records."""


def keep_pieces(
    texts: Iterable[bytes], store: MemoStore, piece_records: int = PIECE_RECORDS
) -> Pieces:
    """Put records, the JSON of each, into the store. Raises StopRunError."""
    refs: list[str] = []
    number = 0
    for lines in _pieces(texts, piece_records):
        refs.append(_kept(b"".join(lines), store))
        number += len(lines)
    return Pieces(tuple(refs), number)


def _pieces(texts: Iterable[bytes], piece_records: int) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    for text in texts:
        lines.append(text + b"\n")
        size += len(text)
        if len(lines) == piece_records or size >= PIECE_BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _kept(content: bytes, store: MemoStore) -> str:
    entry = store.entry(STEP, VERSION, sha256(content).hexdigest())
    if entry.get() is None:
        with entry.building() as folder:
            (folder / PIECE_FILE).write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
            entry.finish(folder, content.count(b"\n"))
    return entry.ref(PIECE_FILE)


def read_piece(ref: str, store: MemoStore, kind: type[R]) -> Iterator[R]:
    """The records of a piece, in order. Raises StopRunError if it is damaged."""
    try:
        with gzip.open(store.path(ref)) as lines:
            for line in lines:
                yield kind.from_json(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        store.forget(ref)
        raise StopRunError(
            f"a piece of the list of inputs in the memo store was damaged ({ref}: {error}) and was "
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
            | "Names" >> beam.Create(self._pieces.refs)
            | "Read" >> beam.FlatMap(read_piece, self._store, self._kind)
        )
