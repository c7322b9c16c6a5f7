"""More records than memory holds, kept and sorted on disk by SQLite.

All of it lies in temporary files without a name, which go with the process however that ends: in
the folder that SQLITE_TMPDIR or TMPDIR names, else in /var/tmp or /tmp.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Generic, TypeVar, overload

from schemas.base import Record
from transforms.outcome import StopRunError

R = TypeVar("R", bound=Record)


@contextmanager
def temporary_database() -> Iterator[sqlite3.Connection]:
    """An empty database on disk that is gone after the block."""
    with closing(sqlite3.connect("")) as database:
        database.execute("PRAGMA temp_store = FILE")
        yield database


@contextmanager
def minding_disk(what: str = "the inputs") -> Iterator[None]:
    """Raises StopRunError in place of an error of SQLite's about its files, saying what to do.

    `what`: is sorted, in words.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StopRunError(
            f"{what} can't be sorted in the folder for temporary files: {error}. Make room in "
            "it or name another by TMPDIR, then run the same command again"
        ) from error


def key_of(text: str) -> bytes:
    """Bytes that compare as the texts do; a path may hold halves of characters."""
    return text.encode("utf-8", "surrogatepass")


def sorted_texts(texts: Iterable[str]) -> Iterator[str]:
    """Texts in order. Raises StopRunError where temporary files can't be written."""
    with temporary_database() as database, minding_disk():
        database.execute("CREATE TABLE texts (text BLOB)")
        rows = ((key_of(text),) for text in texts)
        database.executemany("INSERT INTO texts VALUES (?)", rows)
        for (key,) in database.execute("SELECT text FROM texts ORDER BY text"):
            yield key.decode("utf-8", "surrogatepass")


class RecordsOnDisk(Sequence[R], Generic[R]):
    """The records of a table, in the order of its numbers, from 1; each is read when asked for.

    The table has the columns `number`, without gaps, and `record`, JSON in UTF-8.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        table: str,
        kind: type[R],
        limit: int | None = None,
    ) -> None:
        """`limit`: how many there are at most."""
        self._database = database
        self._table = table
        self._kind = kind
        [(number,)] = database.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
        self._number = int(number) if limit is None else min(int(number), limit)

    def __len__(self) -> int:
        return self._number

    def texts(self) -> Iterator[bytes]:
        """The JSON of each."""
        query = f"SELECT record FROM {self._table} WHERE number <= ? ORDER BY number"  # noqa: S608
        for (text,) in self._database.execute(query, (self._number,)):
            yield text

    def __iter__(self) -> Iterator[R]:
        return map(self._kind.from_json, self.texts())

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._number))]
        number = range(1, self._number + 1)[place]
        query = f"SELECT record FROM {self._table} WHERE number = ?"  # noqa: S608
        [(text,)] = self._database.execute(query, (number,))
        return self._kind.from_json(text)
