"""The samples that are chosen for a derived dataset, and why others are not: on disk, however many.

Of a sample its row of the index is kept, and what planning and the card need to know.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from schemas.rejection import Rejection, Stage
from transforms.publish.card_counts import CardEntry, Counts, Sources, source_key
from transforms.publish.index import INDEX_SCHEMA, READ_ROWS, REJECTED_SCHEMA
from transforms.publish.index_on_disk import COLUMNS, row_of, values_of
from transforms.publish.planning import PlannedSample, entry_bytes
from transforms.publish.shards import EntryInfo, ShardInfo

_PLACE = tuple(name for name in EntryInfo.model_fields if name != "key")
_OWN = ("parent", "filled", "bytes", "card", "source", "license", "prompt")

_TABLES = f"""
CREATE TABLE wanted (parent, {COLUMNS});
CREATE TABLE chosen (number INTEGER PRIMARY KEY, {", ".join(_OWN)}, {COLUMNS});
CREATE TABLE placed (id PRIMARY KEY, shard, {", ".join(_PLACE)}) WITHOUT ROWID;
CREATE TABLE rejected (stage_number, {", ".join(REJECTED_SCHEMA.names)});
"""

_SHOWN = """
CREATE TABLE shown AS SELECT name, min(number) AS number FROM (
    SELECT video_id AS name, number FROM chosen WHERE partition = 'validation'
    UNION ALL SELECT mp4_sha256, number FROM chosen WHERE partition = 'validation'
) GROUP BY name;
CREATE UNIQUE INDEX shown_by_name ON shown (name);
CREATE TABLE leaks AS SELECT number, first FROM (
    SELECT number, coalesce(
        (SELECT number FROM shown WHERE name = chosen.video_id),
        (SELECT number FROM shown WHERE name = chosen.mp4_sha256)
    ) AS first FROM chosen WHERE partition != 'validation'
) WHERE first IS NOT NULL ORDER BY number;
"""
_DOUBLES = """
CREATE TABLE doubles AS SELECT number, first FROM (
    SELECT number, min(number) OVER (PARTITION BY id) AS first FROM chosen
) WHERE number != first ORDER BY number;
"""


@dataclass(frozen=True)
class Chosen:
    """A sample that comes into a derived dataset, without its content."""

    parent: int
    """Which of the parents holds it."""
    row: dict[str, Any]
    """Of the index there."""

    @property
    def planned(self) -> PlannedSample:
        """For the writing of its shard."""
        row = self.row
        sizes = {name: row[name] for name in ("split", "partition", "json_bytes", "mp4_bytes")}
        return PlannedSample(key=row["id"], filled=(), **sizes)


class ChosenOnDisk:
    """First rows that are wanted, then samples that are chosen, then those that are left."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """`database`: an empty one."""
        self._database = database
        database.executescript(_TABLES)

    def __len__(self) -> int:
        [(number,)] = self._database.execute("SELECT count(*) FROM chosen")
        return int(number)

    # Choosing ------------------------------------------------------------------------------------

    def want(self, parent: int, row: dict[str, Any]) -> None:
        """Note a row of a parent's index whose sample is to be looked at."""
        spaces = ", ".join("?" * len(INDEX_SCHEMA.names))
        add = f"INSERT INTO wanted VALUES (?, {spaces})"  # noqa: S608
        self._database.execute(add, (parent, *values_of(row)))

    def wanted(self, parent: int) -> Iterator[dict[str, Any]]:
        """Such rows in the order in which they lie in shards."""
        query = (
            f"SELECT {COLUMNS} FROM wanted WHERE parent = ? "  # noqa: S608
            "ORDER BY shard, json_offset, rowid"
        )
        return map(row_of, self._database.execute(query, (parent,)))

    def add(
        self, parent: int, row: dict[str, Any], planned: PlannedSample, card: CardEntry
    ) -> None:
        """A sample that is chosen."""
        filled = json.dumps(planned.filled)
        about = (*source_key(card), card.prompt_sha256)
        values = (parent, filled, entry_bytes(planned), card.to_json(), *about, *values_of(row))
        spaces = ", ".join("?" * len(values))
        self._database.execute(f"INSERT INTO chosen VALUES (NULL, {spaces})", values)  # noqa: S608

    def leaks(self) -> Iterator[tuple[Chosen, Chosen]]:
        """Samples of train whose video or clip validation shows, each with the first that shows
        it: its video before its clip."""
        return self._pairs("leaks", _SHOWN)

    def doubles(self) -> Iterator[tuple[Chosen, Chosen]]:
        """Samples with the id of another one before them, each with the first of these."""
        return self._pairs("doubles", _DOUBLES)

    def drop(self, pairs: str) -> None:
        """Leave `leaks` or `doubles`, which were gone through, out of what is chosen."""
        self._database.execute(
            f"DELETE FROM chosen WHERE number IN (SELECT number FROM {pairs})"  # noqa: S608
        )

    def _pairs(self, table: str, script: str) -> Iterator[tuple[Chosen, Chosen]]:
        for statement in script.split(";"):
            self._database.execute(statement)
        query = f"SELECT number, first FROM {table} ORDER BY rowid"  # noqa: S608
        for pair in self._database.execute(query):
            one, first = (next(self._chosen("number = ?", number)) for number in pair)
            yield one, first

    # Shards --------------------------------------------------------------------------------------

    def groups(self) -> list[tuple[str, str]]:
        """Splits and partitions with samples, sorted."""
        self._database.execute("CREATE INDEX by_group ON chosen (split, partition, id)")
        query = "SELECT DISTINCT split, partition FROM chosen ORDER BY split, partition"
        return list(self._database.execute(query))

    def planned(self) -> Iterator[PlannedSample]:
        """All, in the order in which they were chosen."""
        return (one.planned for one in self._chosen("TRUE ORDER BY number"))

    def firsts(self, group: tuple[str, str]) -> dict[tuple[str, ...], str]:
        """The smallest key of a group for each combination of filled fields."""
        query = (
            "SELECT filled, min(id) FROM chosen WHERE split = ? AND partition = ? GROUP BY filled"
        )
        return {tuple(json.loads(one)): key for one, key in self._database.execute(query, group)}

    def sizes(self, group: tuple[str, str], lead: Sequence[str]) -> Iterator[int]:
        """Bytes that each sample of a group takes in a tar, in the order of `of_group`."""
        query = "SELECT bytes, id FROM chosen WHERE split = ? AND partition = ?"
        for key in lead:
            [(size, _)] = self._database.execute(f"{query} AND id = ?", (*group, key))
            yield size
        for size, key in self._database.execute(f"{query} ORDER BY id", group):
            if key not in lead:
                yield size

    def of_group(self, group: tuple[str, str], lead: Sequence[str]) -> Iterator[Chosen]:
        """The samples of a split and partition, those of `lead` first, the others by key."""
        where = "split = ? AND partition = ?"
        for key in lead:
            yield from self._chosen(f"{where} AND id = ?", *group, key)
        for one in self._chosen(f"{where} ORDER BY id", *group):
            if one.row["id"] not in lead:
                yield one

    def place(self, shard: ShardInfo) -> None:
        """Note where the samples of a shard came to lie."""
        spaces = ", ".join("?" * (2 + len(_PLACE)))
        rows = (
            (one.key, shard.path, *(getattr(one, name) for name in _PLACE)) for one in shard.entries
        )
        self._database.executemany(f"INSERT INTO placed VALUES ({spaces})", rows)  # noqa: S608

    def _chosen(self, where: str, *values: object) -> Iterator[Chosen]:
        query = f"SELECT parent, {COLUMNS} FROM chosen WHERE {where}"  # noqa: S608
        for parent, *row in self._database.execute(query, values):
            yield Chosen(parent, row_of(row))

    # What is said of them ------------------------------------------------------------------------

    def index_tables(self) -> Iterator[pa.Table]:
        """The rows of the index of what was placed, in order."""
        moved = {"shard", *_PLACE}
        named = (
            f'{"placed" if name in moved else "chosen"}."{name}"' for name in INDEX_SCHEMA.names
        )
        query = (
            f"SELECT {', '.join(named)} FROM chosen JOIN placed ON placed.id = chosen.id "  # noqa: S608
            "ORDER BY placed.id"
        )
        return _tables(map(row_of, self._database.execute(query)), INDEX_SCHEMA)

    def counts(self) -> Counts:
        """What the card says of them."""
        counts = Counts(sources=Sources())
        for (card,) in self._database.execute("SELECT card FROM chosen"):
            counts.add(CardEntry.from_json(card))
        query = "SELECT source, license, count(*) FROM chosen GROUP BY source, license"
        for source, stated, samples in self._database.execute(query):
            counts.sources.add((source, stated), samples)
        query = "SELECT count(DISTINCT prompt) FROM chosen WHERE prompt != ''"
        [(counts.prompts,)] = self._database.execute(query)
        return counts

    # Rejections ----------------------------------------------------------------------------------

    def reject(self, one: Rejection) -> None:
        """Note why something is not in the dataset."""
        stages = list(Stage)
        row = one.model_dump(mode="json")
        values = (stages.index(one.stage), *(row[name] for name in REJECTED_SCHEMA.names))
        self._database.execute("INSERT INTO rejected VALUES (?, ?, ?, ?, ?, ?)", values)

    def rejections(self) -> Iterator[Rejection]:
        """In the order in which they were noted."""
        return map(Rejection.model_validate, self._rejected("rowid"))

    def rejected_tables(self) -> Iterator[pa.Table]:
        """The rows of rejected.parquet in order, as `rejected_table` has them."""
        order = "stage_number, reason, subject, parent, detail"
        return _tables(self._rejected(order), REJECTED_SCHEMA)

    def _rejected(self, order: str) -> Iterator[dict[str, Any]]:
        names = REJECTED_SCHEMA.names
        query = f"SELECT {', '.join(names)} FROM rejected ORDER BY {order}"  # noqa: S608
        return (dict(zip(names, row, strict=True)) for row in self._database.execute(query))


def _tables(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    several = iter(rows)
    while some := list(islice(several, READ_ROWS)):
        yield pa.Table.from_pylist(some, schema=schema)
