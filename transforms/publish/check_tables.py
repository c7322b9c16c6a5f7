"""The tables of a dataset under check, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.publish.check_shards import Fault
from transforms.publish.index import MAX_TABLE_BYTES, READ_ROWS

READ_BYTES = 1 << 20
"""Of a column at a time, so that a row group may be of any size."""
MAX_BATCH_BYTES = 512 << 20
"""Of the rows that are in memory at a time, unpacked; ours take a few MiB."""


class BadTableError(Exception):
    """A table is not as it has to be."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(*faults[:1])
        self.faults = faults
        """What is wrong with it; empty if it is not there, which others say."""


def read_rows(
    folder: Path, name: str, schema: pa.Schema, columns: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The rows of a table of a dataset, with some of its columns; of none given, with all.

    Raises BadTableError, at the latest after the last row, so what was made of them has to wait.
    """
    path = folder / name
    if not path.is_file():
        raise BadTableError([])
    nulls = dict.fromkeys(schema.names, 0)
    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES) as file:
            unpacked = sum(
                file.metadata.row_group(number).total_byte_size
                for number in range(file.metadata.num_row_groups)
            )
            if unpacked > MAX_TABLE_BYTES:
                raise BadTableError([_too_large(name, unpacked)])
            as_ours = file.schema_arrow.remove_metadata().equals(schema)
            for batch in file.iter_batches(READ_ROWS):
                if batch.nbytes > MAX_BATCH_BYTES:
                    raise BadTableError([_too_large(name, batch.nbytes)])
                batch.validate(full=True)
                if not as_ours:
                    continue
                for one in schema.names:
                    nulls[one] += batch[one].null_count
                if not any(nulls.values()):
                    yield from batch.select(columns or schema.names).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadTableError([Fault(name, f"is no readable Parquet file: {error}")]) from error
    if not as_ours:
        raise BadTableError([Fault(name, f"does not have the columns {', '.join(schema.names)}")])
    if any(nulls.values()):
        empty = [one for one, count in nulls.items() if count]
        raise BadTableError([Fault(f"{name}: {one}", "holds nulls") for one in empty])


def _too_large(name: str, unpacked_bytes: int) -> Fault:
    return Fault(name, f"unpacks to {unpacked_bytes} bytes; that is no {name}")
