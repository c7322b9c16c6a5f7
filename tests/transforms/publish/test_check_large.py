"""`check_dataset` on indexes of any length: on disk, row by row, with the same faults as ever."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from publish_helpers import edit_manifest, fix_croissant

from transforms.on_disk import temporary_database
from transforms.publish import check_tables
from transforms.publish.check import check_dataset
from transforms.publish.check_tables import read_rows
from transforms.publish.index import INDEX_SCHEMA, READ_ROWS, write_parquet, write_tables
from transforms.publish.index_on_disk import IndexOnDisk
from transforms.publish.manifest import INDEX_FILE

Row = dict[str, Any]
MIB = 1 << 20


def rows_of(dataset: Path) -> list[Row]:
    return list(pq.read_table(dataset / INDEX_FILE).to_pylist())


def write_rows(dataset: Path, rows: Iterable[Row]) -> None:
    """Another index, to which manifest and croissant.json are made to fit."""
    table = pa.Table.from_pylist(list(rows), schema=INDEX_SCHEMA)
    digest = write_parquet(table, dataset / INDEX_FILE)
    edit_manifest(dataset, lambda value: value["files"].update({INDEX_FILE: digest}))
    fix_croissant(dataset)


def faults(dataset: Path) -> list[str]:
    return [str(fault) for fault in check_dataset(dataset)]


def test_of_two_rows_the_last_one_holds(dataset: Path) -> None:
    rows = rows_of(dataset)
    [first] = [row for row in rows if row["id"] == "s00"]
    write_rows(dataset, [*rows, {**first, "pass_rate": 0.5}])
    assert faults(dataset) == [
        "index.parquet: is not sorted by id",
        "index.parquet: s00: has two rows",
        f"{first['shard']}: s00: pass_rate: is 0.75, but index.parquet says 0.5",
    ]


def test_each_further_row_is_named_in_its_turn(dataset: Path) -> None:
    rows = rows_of(dataset)
    [one, other] = [row for row in rows if row["id"] in ("r01", "s00")]
    write_rows(dataset, [*rows, other, one, other])
    assert faults(dataset) == [
        "index.parquet: is not sorted by id",
        *(f"index.parquet: {key}: has two rows" for key in ("s00", "r01", "s00")),
    ]


def test_what_shows_at_the_end_is_sorted(dataset: Path) -> None:
    """Missing rows by id, videos by id, shared clips by row; ids as Python sorts them."""
    rows = rows_of(dataset)
    ids = ("Z", "é", "zz", "\U0001f600", "\uffff", "a\0b")
    more = [{**rows[0], "id": one, "mp4_sha256": "0", "video_id": f"v-{one}"} for one in ids]
    more[2]["partition"] = "validation"
    write_rows(dataset, sorted([*rows, *more], key=lambda row: str(row["id"])))
    shard, tasks = rows[0]["shard"], len(rows)
    assert faults(dataset) == [
        *(f"index.parquet: {one}: is not in {shard}: it is missing" for one in sorted(ids)),
        "index.parquet: zz: its clip, in validation, has the bytes of that of Z, in train",
    ]
    assert len({row["task_id"] for row in rows_of(dataset)}) == tasks


def test_numbers_that_are_none(dataset: Path) -> None:
    rows = rows_of(dataset)
    rows[0]["pass_rate"] = float("nan")
    write_rows(dataset, rows)
    [fault] = faults(dataset)
    assert fault.endswith("pass_rate: is 0.75, but index.parquet says nan")


def no_utf8(path: Path) -> None:
    """Texts that are none."""
    table = pq.read_table(path)
    broken = pa.array([b"\xff"] * table.num_rows, pa.binary()).view(pa.string())
    pq.write_table(table.set_column(0, INDEX_SCHEMA.field("id"), broken), path)


def broken_late(path: Path) -> None:
    """The rows of the first group can be read."""
    pq.write_table(pq.read_table(path), path, row_group_size=4)
    last = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    with path.open("r+b") as file:
        file.seek(last)
        file.write(b"\xff" * 16)


@pytest.mark.parametrize("spoil", [no_utf8, broken_late])
def test_a_table_that_turns_out_to_be_none_is_not_compared(
    dataset: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(dataset / INDEX_FILE)
    [found] = [one for one in faults(dataset) if one.startswith(INDEX_FILE) and "sha256" not in one]
    assert found.startswith("index.parquet: is no readable Parquet file: ")


def test_rows_that_unpack_to_more_than_memory_are_refused(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kB of Parquet can hold one long text a thousand times."""
    monkeypatch.setattr(check_tables, "MAX_BATCH_BYTES", MIB)
    rows = rows_of(dataset)
    write_rows(dataset, [{**row, "scores_json": "x" * (MIB // 10)} for row in rows])
    assert (dataset / INDEX_FILE).stat().st_size < MIB // 10
    [said, *_] = faults(dataset)
    assert re.fullmatch(r"index.parquet: unpacks to \d+ bytes; that is no index.parquet", said)


# Memory ------------------------------------------------------------------------------------------


def made_up(rows: int) -> Iterator[pa.Table]:
    """As long as those of a real index, all of them missing."""
    empty = {"split": "rl", "partition": "train", "shard": "rl/train-000000.tar", "pass_rate": 0.5}
    long = dict.fromkeys(("scores_json", "measures_json", "mp4_sha256"), "x" * 200)
    for begin in range(0, rows, READ_ROWS):
        numbers = range(begin, min(begin + READ_ROWS, rows))
        columns = {
            name: [empty.get(name, long.get(name, f"{name}{n:09}")) for n in numbers]
            if field.type == pa.string() or name in empty
            else [[[1.5, 2.5]] if name == "spans_s" else n for n in numbers]
            for name, field in zip(INDEX_SCHEMA.names, INDEX_SCHEMA, strict=True)
        }
        yield pa.table(columns, schema=INDEX_SCHEMA)


def test_memory_does_not_grow_with_the_index(tmp_path: Path) -> None:
    peaks = []
    for rows in (READ_ROWS, 5 * READ_ROWS):
        write_tables(made_up(rows), INDEX_SCHEMA, tmp_path / INDEX_FILE)
        with temporary_database() as database:
            index = IndexOnDisk(database)
            tracemalloc.start()
            index.fill(read_rows(tmp_path, INDEX_FILE, INDEX_SCHEMA))
            assert sum(1 for _ in index.missing()) == index.tasks() == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_full_disk_for_temporary_files_is_named(
    dataset: Path, little_room: dict[str, Any]
) -> None:
    """In a process of its own: SQLite looks only once where it may put its files."""
    write_tables(made_up(5 * READ_ROWS), INDEX_SCHEMA, dataset / INDEX_FILE)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "check", str(dataset)],
        capture_output=True,
        text=True,
        check=False,
        **little_room,
    )
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert "the index can't be sorted in the folder for temporary files" in said
