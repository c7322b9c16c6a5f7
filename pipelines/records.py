"""The records of a finished run, kept beside the memo store so that `inspect` can look them up.

`work/records/<kind>-<first hex digit of the id>.parquet`, with columns id and json: small files,
each found from the id alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.base import Record, canonical_json
from transforms.outcome import is_fatal
from transforms.publish.files import write_text
from transforms.publish.index import write_parquet
from transforms.trouble import minding

LOG = logging.getLogger(__name__)
PROMPTS_FILE = "prompts.json"
SCHEMA = pa.schema([("id", pa.string()), ("json", pa.string())])

Named = Callable[[Any], tuple[str, Record]]


class KeepRecords(beam.PTransform):
    """Writes the records of one kind into a folder, grouped by the first digit of their ids."""

    def __init__(self, folder: str, kind: str, named: Named) -> None:
        super().__init__()
        self._folder = folder
        self._kind = kind
        self._named = named

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return (
            elements
            | "Name" >> beam.FlatMap(_rows, self._named)
            | "ByDigit" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, self._folder, self._kind)
        )


def _rows(element: Any, named: Named) -> Iterator[tuple[str, tuple[str, str]]]:
    """One row, under the first digit of its id; none if the record can't be written down."""
    identity, record = named(element)
    try:
        text = record.to_json()
    except Exception as error:
        if is_fatal(error):
            raise
        # The dataset does not need it; it is missing in `inspect`, and costs no other.
        LOG.exception("the record of %s can't be kept", identity)
        return
    yield identity[1], (identity, text)


def _write(group: tuple[str, Iterable[tuple[str, str]]], folder: str, kind: str) -> None:
    digit, rows = group
    ordered = sorted(rows)
    table = pa.table([list(column) for column in zip(*ordered, strict=True)], schema=SCHEMA)
    with minding(Path(folder), "folder of the records"):
        write_parquet(table, _path(Path(folder), kind, digit))


def _path(folder: Path, kind: str, digit: str) -> Path:
    return folder / f"{kind}-{digit}.parquet"


def keep_prompts(folder: Path, prompts: Mapping[str, str]) -> None:
    """Keep the prompt templates of a run: the card shows them, and no record holds them."""
    write_text(folder / PROMPTS_FILE, canonical_json(dict(prompts)))


def kept_prompts(folder: Path) -> dict[str, str]:
    """The prompt templates of a run, by purpose. Raises OSError if they were not kept."""
    found: dict[str, str] = json.loads((folder / PROMPTS_FILE).read_text("utf-8"))
    return found


def find_record(folder: Path, kind: str, identity: str) -> str | None:
    """The JSON of a record, or None."""
    for found, text in records(folder, kind, identity[1:2] or "*"):
        if found == identity:
            return text
    return None


def records(folder: Path, kind: str, digit: str = "?") -> Iterable[tuple[str, str]]:
    """Ids and JSON of all records of a kind, or of those whose id has this first digit."""
    for path in sorted(folder.glob(f"{kind}-{digit}.parquet")):
        table = pq.read_table(path)
        yield from zip(table["id"].to_pylist(), table["json"].to_pylist(), strict=True)
