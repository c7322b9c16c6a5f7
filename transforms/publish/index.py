"""index.parquet and rejected.parquet: one row per sample, one row per rejection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.base import Record, canonical_json
from schemas.conditions import Conditions
from schemas.rejection import Rejection, Stage
from schemas.sample import Sample, Split
from transforms.publish.files import HashingFile, replacing
from transforms.publish.planning import Partition
from transforms.publish.shards import EntryInfo, ShardInfo

ROW_GROUP_ROWS = 65_536
READ_ROWS = 4_096
MAX_TABLE_BYTES = 8 << 30
"""Of a Parquet file that somebody else wrote, unpacked."""

_TEXT = pa.string()
INDEX_SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("id", _TEXT),
            ("split", _TEXT),
            ("partition", _TEXT),
            ("video_id", _TEXT),
            ("clip_id", _TEXT),
            ("task_id", _TEXT),
            ("task_kind", _TEXT),
            ("spans_s", pa.list_(pa.list_(pa.float64()))),
            ("pass_rate", pa.float64()),
            ("scores_json", _TEXT),
            ("condition_scores_json", _TEXT),
            ("measures_json", _TEXT),
            ("shard", _TEXT),
            ("json_offset", pa.int64()),
            ("json_bytes", pa.int64()),
            ("mp4_offset", pa.int64()),
            ("mp4_bytes", pa.int64()),
            ("json_sha256", _TEXT),
            ("mp4_sha256", _TEXT),
        )
    ]
)
"""Spans are [start, end] in clip time; scores, condition scores and measures are JSON objects, from
check to score, from what changed evidence shows to how far, and from measure to value."""

ID_COLUMNS = ("id", "task_id", "clip_id", "video_id")
"""Columns by whose values samples are named."""

REJECTED_SCHEMA = pa.schema(
    [
        pa.field(name, _TEXT, nullable=False)
        for name in ("stage", "reason", "subject", "parent", "detail")
    ]
)


class IndexEntry(Record):
    """What the index says of a sample, apart from where it lies."""

    id: str
    split: Split
    partition: Partition
    video_id: str
    clip_id: str
    task_id: str
    task_kind: str
    spans_s: tuple[tuple[float, float], ...]
    pass_rate: float
    scores_json: str
    condition_scores_json: str
    measures_json: str


def index_entry(
    sample: Sample, partition: Partition, *, video_id: str, clip_id: str, task_id: str
) -> IndexEntry:
    """The index entry of a sample, which itself does not hold the ids that it came from."""
    return IndexEntry(
        id=sample.id,
        split=sample.split,
        partition=partition,
        video_id=video_id,
        clip_id=clip_id,
        task_id=task_id,
        task_kind=str(sample.answer.kind),
        spans_s=tuple((one.start_s, one.end_s) for one in sample.grounding.segments),
        pass_rate=sample.verdict.pass_rate,
        scores_json=canonical_json({one.name: one.score for one in sample.verdict.checks}),
        condition_scores_json=condition_scores_json(sample),
        measures_json=sample.media[0].measures.to_json(),
    )


def origins_of(sample: Sample) -> dict[str, str]:
    """The ids of video, clip and task that a sample says it comes from, by column of the index.

    Raises ValueError if its `extra_json` is no JSON object.
    """
    try:
        extra = json.loads(sample.extra_json or "{}")
    except RecursionError as error:
        raise ValueError("extra_json goes too deep") from error
    if not isinstance(extra, dict):
        raise ValueError("extra_json is no JSON object")
    return {name: extra[name] for name in ("video_id", "clip_id", "task_id") if name in extra}


def condition_scores_json(sample: Sample) -> str:
    """The scores of a sample's table of conditions. Raises ValueError if it holds none."""
    return Conditions.from_json(sample.verdict.conditions_json).scores.to_json()


def index_table(entries: Iterable[IndexEntry], shards: Iterable[ShardInfo]) -> pa.Table:
    """One row per sample, sorted by id; entries and shards are joined by id.

    Raises ValueError when a sample is in one of the two only, or twice.
    """
    return placed_table(entries, ((shard.path, one) for shard in shards for one in shard.entries))


def placed_table(
    entries: Iterable[IndexEntry], placed: Iterable[tuple[str, EntryInfo]]
) -> pa.Table:
    """As `index_table`, from the paths of shards with the places in them."""
    places: dict[str, tuple[str, EntryInfo]] = {}
    for path, place in placed:
        if place.key in places:
            raise ValueError(f"sample {place.key} is in {places[place.key][0]} and {path}")
        places[place.key] = path, place
    rows: list[dict[str, Any]] = []
    for entry in sorted(entries, key=lambda entry: entry.id):
        found = places.pop(entry.id, None)
        if found is None:
            raise ValueError(f"sample {entry.id} is indexed twice, or in no shard")
        path, place = found
        where = place.model_dump(exclude={"key"})
        rows.append({**entry.model_dump(mode="json"), "shard": path, **where})
    if places:
        raise ValueError(f"{len(places)} samples are in shards but not indexed: {min(places)}")
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def rejected_table(rejections: Iterable[Rejection]) -> pa.Table:
    """One row per rejection, in the order of the stages, then by reason and subject."""
    order = {stage: number for number, stage in enumerate(Stage)}
    rows = sorted(
        (one.model_dump(mode="json") for one in rejections),
        key=lambda row: (
            order[Stage(row["stage"])],
            *(row[name] for name in REJECTED_SCHEMA.names),
        ),
    )
    return pa.Table.from_pylist(rows, schema=REJECTED_SCHEMA)


def write_parquet(table: pa.Table, path: Path) -> str:
    """Write a table; equal tables give equal bytes. Gives the SHA-256 of the file back."""
    return write_tables([table], table.schema, path)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> str:
    """Write rows that come table by table; into how many they are cut does not change the bytes.

    Memory holds a row group. Gives the SHA-256 of the file back.
    """
    plain = schema.remove_metadata()
    with replacing(path) as file:
        hashing = HashingFile(file)
        # Every option that shapes the bytes is named, so that a new default can't change them.
        with pq.ParquetWriter(
            hashing,
            plain,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            use_dictionary=True,
            write_statistics=True,
        ) as writer:
            for group in _row_groups(tables, plain):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    return hashing.sha256


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table of our own, of which a few are in memory at a time. Raises OSError,
    pa.ArrowInvalid."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(READ_ROWS):
            yield from batch.to_pylist()


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of `ROW_GROUP_ROWS`, the last one shorter; one without rows if there are
    none."""
    waiting = [schema.empty_table()]
    rows = 0
    for whole in tables:
        table = whole.replace_schema_metadata(None)
        while rows + table.num_rows > ROW_GROUP_ROWS:
            head = ROW_GROUP_ROWS - rows
            yield pa.concat_tables([*waiting, table.slice(0, head)]).combine_chunks()
            table, waiting, rows = table.slice(head), [], 0
        waiting.append(table)
        rows += table.num_rows
    yield pa.concat_tables(waiting).combine_chunks()
