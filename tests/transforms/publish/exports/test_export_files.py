"""Files of exports: every row comes back as it was, a null or NaN never gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.publish.exports.files import ROWS_IN_GROUP, FileSet

ROWS = [
    {"text": 'Größe\u2028\n"x"', "spans": [[0.5, 1.0]], "count": n}
    for n in range(ROWS_IN_GROUP + 3)
]
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("spans", pa.list_(pa.list_(pa.float64())), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)


def read(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    text = path.read_text("utf-8")
    return (
        json.loads(text)
        if path.suffix == ".json"
        else [json.loads(one) for one in text.splitlines()]
    )


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "deep/a.jsonl"])
def test_rows_come_back(name: str, tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    for row in ROWS:
        files.add(name, row, SCHEMA)
    files.close()
    assert read(tmp_path / name) == ROWS
    assert files.counts == {name: len(ROWS)}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("bad", [{"a": None}, {"a": [{"b": None}]}])
def test_a_null_is_refused_and_named(name: str, bad: dict[str, Any], tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    with pytest.raises(ValueError, match=r"row\.a.* is null"):
        files.add(name, bad, pa.schema([("a", pa.string())]))
    files.close()


def test_nan_is_refused(tmp_path: Path) -> None:
    files = FileSet(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        files.add("a.jsonl", {"a": float("nan")})
    files.close()


def test_parquet_needs_a_schema(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a schema"):
        FileSet(tmp_path).add("a.parquet", {"a": "b"})
