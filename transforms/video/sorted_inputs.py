"""All inputs in order, one source per file, without anybody holding them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from schemas.rejection import Rejection
from schemas.source import Source
from transforms.on_disk import RecordsOnDisk, key_of, minding_disk, temporary_database
from transforms.storage import is_remote
from transforms.video.inputs import BrokenManifestError, Found, found_in

_TABLES = """
CREATE TABLE named (
    number INTEGER PRIMARY KEY, file BLOB, uri BLOB, path BLOB, asks INT, record BLOB
);
CREATE TABLE sources (number INTEGER PRIMARY KEY, asks INT, record BLOB);
CREATE TABLE turned_down (subject BLOB, detail BLOB, record BLOB);
CREATE TABLE refused (number INTEGER PRIMARY KEY, record BLOB);
"""

_BY_FIRST_NAME = """
SELECT file, asks, record FROM (
    SELECT number, file, asks, record, first_value(uri) OVER names AS uri,
        first_value(path) OVER names AS path
    FROM named WINDOW names AS (PARTITION BY file ORDER BY number)
) ORDER BY uri, path, file, number
"""
"""The rows about one file one after the other, files in the order of the first name of each."""

_ONCE = """
INSERT INTO refused (record)
SELECT record FROM turned_down GROUP BY subject, detail, record ORDER BY subject, detail, record
"""


@dataclass(frozen=True)
class SortedInputs:
    """What a run works on. It lies on disk until `close`."""

    sources: RecordsOnDisk[Source]
    """By uri and path."""
    refused: RecordsOnDisk[Rejection]
    """By subject and detail."""
    database: sqlite3.Connection

    @property
    def ask(self) -> bool:
        """Whether questions came with any of the sources."""
        query = "SELECT EXISTS (SELECT * FROM sources WHERE asks AND number <= ?)"
        [(asks,)] = self.database.execute(query, (len(self.sources),))
        return bool(asks)

    def close(self) -> None:
        """Give the room on disk back; nothing can be read any more."""
        self.database.close()


@contextmanager
def sorted_inputs(
    inputs: Iterable[str], *ours: str | Path, limit: int | None = None
) -> Iterator[SortedInputs]:
    """Sources of all inputs, sorted, one per file, and what could not be taken.

    What lies below `ours`, output folder and store, is left out: clips of an earlier run are no
    sources. `limit`: so many sources, the first. Raises BadInputError if an input names nothing at
    all, StorageError if a filesystem can't be reached, StopRunError if temporary files can't be
    written.
    """
    with temporary_database() as database:
        with minding_disk():
            database.executescript(_TABLES)
            own = tuple(_file(str(folder)).rstrip("/") + "/" for folder in ours)
            _find(inputs, own, database)
            with database:
                rows = database.execute(_BY_FIRST_NAME)
                merged = map(_merged, groupby(rows, itemgetter(0)))
                database.executemany("INSERT INTO sources (asks, record) VALUES (?, ?)", merged)
                database.execute(_ONCE)
        yield SortedInputs(
            RecordsOnDisk(database, "sources", Source, limit),
            RecordsOnDisk(database, "refused", Rejection),
            database,
        )


def _find(inputs: Iterable[str], own: tuple[str, ...], database: sqlite3.Connection) -> None:
    # Sorted, since of two names for one file the first is kept.
    for text in sorted(set(inputs)):
        try:
            # What came of a manifest before it turned out to be broken goes with it.
            with database:
                for found in found_in(text):
                    _keep(found, own, database)
        except BrokenManifestError as broken:
            with database:
                _keep(broken.rejection, own, database)


def _keep(found: Found, own: tuple[str, ...], database: sqlite3.Connection) -> None:
    record = found.to_json().encode()
    if isinstance(found, Rejection):
        row = key_of(found.subject), key_of(found.detail), record
        database.execute("INSERT INTO turned_down VALUES (?, ?, ?)", row)
        return
    path = found.path
    file = _file(path)
    if f"{file}/".startswith(own):
        return
    names = key_of(file), key_of(found.uri), key_of(path)
    asks = bool(found.questions)
    database.execute("INSERT INTO named VALUES (NULL, ?, ?, ?, ?, ?)", (*names, asks, record))


def _file(path: str) -> str:
    """What is the same for all names of one file."""
    return path.rstrip("/") if is_remote(path) else os.path.realpath(path)


def _merged(named: tuple[bytes, Iterable[tuple[bytes, int, bytes]]]) -> tuple[bool, bytes]:
    """All that names one file, as several rows of a manifest do: one source, all questions."""
    _, rows = named
    _, several, records = zip(*rows, strict=True)
    asks = any(several)
    if len(records) == 1:
        return asks, records[0]
    sources = [Source.from_json(record) for record in records]
    questions = dict.fromkeys(one for source in sources for one in source.questions)
    # What one of them does not say, another may.
    said = {
        name: next(filter(None, (getattr(source, name) for source in sources)), "")
        for name in ("user_id", "license", "source_url", "subtitles", "subtitles_folder")
    }
    merged = sources[0].model_copy(update={"questions": tuple(questions), **said})
    return asks, merged.to_json().encode()
