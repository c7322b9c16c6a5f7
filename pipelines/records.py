"""The records of a finished run, kept beside the memo store so that `inspect` can look them up.

`work/records/<kind>-<first hex digits of the id>.parquet`, with columns id and json: small files,
each found from the id alone. The more records there are, the more digits.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.base import Record, canonical_json
from transforms.bundle_sums import one_count
from transforms.draft import filling
from transforms.outcome import is_fatal
from transforms.publish.files import write_text
from transforms.publish.index import write_parquet
from transforms.trouble import minding

LOG = logging.getLogger(__name__)
PROMPTS_FILE = "prompts.json"
FILE_RECORDS = 4_096
"""In a file, on average no more: some 60 MB of cases, since one worker holds them to sort them."""
MAX_DIGITS = 6
ID_PATTERN = re.compile(r"[a-z][0-9a-f]+")
SCHEMA = pa.schema([("id", pa.string()), ("json", pa.string())])

Named = Callable[[Any], tuple[str, Record]]


class KeepRecords(beam.PTransform):
    """Writes the records of one kind into a folder, grouped by the first digits of their ids."""

    def __init__(
        self, folder: str, kind: str, named: Named, file_records: int = FILE_RECORDS
    ) -> None:
        super().__init__()
        self._folder = folder
        self._kind = kind
        self._named = named
        self._file_records = file_records

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        count = elements | "Count" >> one_count()
        return (
            elements
            | "Name" >> beam.FlatMap(_rows, self._named, count, self._file_records)
            | "ByDigits" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, self._folder, self._kind)
        )


def digits(records: int, file_records: int = FILE_RECORDS) -> int:
    """How many digits of their ids tell files of so many records apart."""
    number = 1
    while records > file_records * 16**number and number < MAX_DIGITS:
        number += 1
    return number


def _rows(
    element: Any, named: Named, records: int, file_records: int
) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """One row, under the first digits of its id; none if the record can't be written down."""
    identity, record = named(element)
    try:
        packed = zlib.compress(record.model_dump_json().encode("utf-8"), 1)
    except Exception as error:
        if is_fatal(error):
            raise
        # The dataset does not need it; it is missing in `inspect`, and costs no other.
        LOG.exception("the record of %s can't be kept", identity)
        return
    yield identity[1 : 1 + digits(records, file_records)], (identity, packed)


def _write(group: tuple[str, Iterable[tuple[str, bytes]]], folder: str, kind: str) -> None:
    first, rows = group
    texts = ((identity, zlib.decompress(packed).decode("utf-8")) for identity, packed in rows)
    with filling(folder) as place:
        write_records(place, kind, first, texts)


def write_records(folder: Path, kind: str, first: str, rows: Iterable[tuple[str, str]]) -> None:
    """Write one file: ids and JSON of the records whose ids have these first digits."""
    ordered = sorted(rows)
    table = pa.table([list(column) for column in zip(*ordered, strict=True)], schema=SCHEMA)
    with minding(folder, "folder of the records"):
        write_parquet(table, _path(folder, kind, first))


def _path(folder: Path, kind: str, first: str) -> Path:
    return folder / f"{kind}-{first}.parquet"


def keep_prompts(folder: Path, prompts: Mapping[str, str]) -> None:
    """Keep the prompt templates of a run: the card shows them, and no record holds them."""
    write_text(folder / PROMPTS_FILE, canonical_json(dict(prompts)))


def kept_prompts(folder: Path) -> dict[str, str]:
    """The prompt templates of a run, by purpose. Raises OSError if they were not kept."""
    found: dict[str, str] = json.loads((folder / PROMPTS_FILE).read_text("utf-8"))
    return found


def find_record(folder: Path, kind: str, identity: str) -> str | None:
    """The JSON of a record, or None."""
    if not ID_PATTERN.fullmatch(identity):
        return None
    for number in range(1, MAX_DIGITS + 1):
        path = _path(folder, kind, identity[1 : 1 + number])
        if path.is_file():
            # A job that its engine began anew may have left files of fewer digits.
            for found, text in read_records(path):
                if found == identity:
                    return text
    return None


def record_files(folder: Path, kind: str) -> list[Path]:
    """The files with the records of a kind, in order."""
    return sorted(folder.glob(f"{kind}-*.parquet"))


def read_records(path: Path) -> Iterator[tuple[str, str]]:
    """Ids and JSON of the records of one file."""
    table = pq.read_table(path, schema=SCHEMA)
    yield from zip(table["id"].to_pylist(), table["json"].to_pylist(), strict=True)


def records(folder: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Ids and JSON of all records of a kind, file by file."""
    for path in record_files(folder, kind):
        yield from read_records(path)
