"""The index of a dataset under check: kept on disk, and ticked off there.

Nothing is asked of its rows but what SQLite can answer without holding them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from transforms.publish.index import INDEX_SCHEMA

_NAMES = tuple(INDEX_SCHEMA.names)
COLUMNS = ", ".join(f'"{name}"' for name in _NAMES)
"""As SQL names them."""
_SPACES = ", ".join("?" * len(_NAMES))
_in_order = itemgetter(*_NAMES)
_AS_JSON = ("spans_s", "pass_rate")
"""Columns for which SQLite has no type: lists, and numbers that may be none."""

_TABLES = f"""
CREATE TABLE listed (place INTEGER PRIMARY KEY, {COLUMNS}, UNIQUE (id));
CREATE TABLE twice (id);
CREATE TABLE found (id PRIMARY KEY, shard) WITHOUT ROWID;
CREATE TABLE sides (video_id, partition);
"""
_ADD = f"INSERT OR IGNORE INTO listed VALUES (?, {_SPACES})"  # noqa: S608
_ROW = f"SELECT {COLUMNS} FROM listed WHERE id = ?"  # noqa: S608
_CHANGE = f"UPDATE listed SET ({COLUMNS}) = ({_SPACES}) WHERE id = ?"  # noqa: S608

_ON_BOTH_SIDES = """
SELECT video_id FROM sides GROUP BY video_id HAVING min(partition) != max(partition)
ORDER BY video_id
"""

_SHARED_CLIPS = """
SELECT id, partition, first_id, first_partition FROM (
    SELECT place, id, partition, video_id, first_value(id) OVER same AS first_id,
        first_value(partition) OVER same AS first_partition,
        first_value(video_id) OVER same AS first_video_id
    FROM listed WINDOW same AS (PARTITION BY mp4_sha256 ORDER BY place)
) WHERE partition != first_partition AND video_id != first_video_id ORDER BY place
"""


def values_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row of the index as SQLite takes it, in the order of `COLUMNS`."""
    packed = {name: json.dumps(row[name]) for name in _AS_JSON}
    values: tuple[Any, ...] = _in_order({**row, **packed})
    return values


def row_of(values: Iterable[Any]) -> dict[str, Any]:
    """The row again."""
    row = dict(zip(_NAMES, values, strict=True))
    for name in _AS_JSON:
        row[name] = json.loads(row[name])
    return row


class IndexOnDisk:
    """The rows of an index, and what of it was found in shards: on disk, whatever its length.

    Its texts are compared byte by byte, and so sort as they do in Python.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        """`database`: an empty one."""
        self._database = database
        self.is_there = False
        """Whether there is an index whose rows could be read."""
        self.is_sorted = True
        database.executescript(_TABLES)

    def fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take all rows, or none if `rows` raises."""
        before = ""
        with self._database:
            for number, row in enumerate(rows):
                self.is_sorted &= before <= row["id"]
                before = row["id"]
                values = values_of(row)
                if not self._database.execute(_ADD, (number, *values)).rowcount:
                    # The last one holds, in the place of the first.
                    self._database.execute(_CHANGE, (*values, before))
                    self._database.execute("INSERT INTO twice VALUES (?)", (before,))
        self.is_there = True

    def twice(self) -> Iterator[str]:
        """The id of each row after another one of the same id, in their order."""
        return self._column("SELECT id FROM twice ORDER BY rowid")

    def row(self, key: str) -> dict[str, Any] | None:
        """The row of a sample."""
        values = self._database.execute(_ROW, (key,)).fetchone()
        return None if values is None else row_of(values)

    def found(self, key: str, shard: str) -> str:
        """Tick off a sample that is in a shard; gives the shard that held it before, or ""."""
        add = "INSERT OR IGNORE INTO found VALUES (?, ?)"
        if self._database.execute(add, (key, shard)).rowcount:
            return ""
        [before] = self._column("SELECT shard FROM found WHERE id = ?", key)
        return str(before)

    def found_on_side(self, video_id: str, partition: str) -> None:
        """Note in which partition a sample of a video was found."""
        self._database.execute("INSERT INTO sides VALUES (?, ?)", (video_id, partition))

    def missing(self) -> Iterator[tuple[str, str]]:
        """Id and shard of all that was not ticked off, by id."""
        query = "SELECT id, shard FROM listed WHERE id NOT IN (SELECT id FROM found) ORDER BY id"
        yield from self._database.execute(query)

    def videos_on_both_sides(self) -> Iterator[str]:
        """Videos of which samples were found in several partitions, sorted."""
        return self._column(_ON_BOTH_SIDES)

    def shared_clips(self) -> Iterator[tuple[str, str, str, str]]:
        """Rows whose clip has the bytes of the clip of another video in another partition, the
        first row with them: id and partition of both."""
        yield from self._database.execute(_SHARED_CLIPS)

    def tasks(self) -> int:
        """Number of tasks that the rows come from."""
        [number] = self._column("SELECT count(DISTINCT task_id) FROM listed")
        return int(number)

    def _column(self, query: str, *values: str) -> Iterator[Any]:
        return (value for (value,) in self._database.execute(query, values))
