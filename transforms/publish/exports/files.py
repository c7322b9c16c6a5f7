"""The files of an export: rows as JSON lines, a JSON list or Parquet, and media once each.

Rows hold no null: trainers test for the presence of keys, and Arrow fills nulls into mixed rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.publish.exports.entries import Entry

ROWS_IN_GROUP = 1_024

_ODD_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
"""JSON may hold them as they are, but readers that use `splitlines` end a row there."""


class Rows(Protocol):
    """A file that rows are added to."""

    def add(self, row: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("x", encoding="utf-8", newline="\n")

    def add(self, row: Mapping[str, Any]) -> None:
        self._file.write(json_text(row) + "\n")

    def close(self) -> None:
        self._file.close()


class JsonList:
    """One JSON list, a row a line, written as it comes."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("x", encoding="utf-8", newline="\n")
        self._between = "[\n"

    def add(self, row: Mapping[str, Any]) -> None:
        self._file.write(self._between + json_text(row))
        self._between = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._between == "[\n" else "\n]\n")
        self._file.close()


class ParquetRows:
    """A Parquet file of a given schema, whose fields are not nullable."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, version="2.6", compression="zstd")
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        refuse_nulls(row)
        self._waiting.append(row)
        if len(self._waiting) == ROWS_IN_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []


def json_text(row: Mapping[str, Any]) -> str:
    """A row as JSON on one line. Raises ValueError on NaN and null."""
    refuse_nulls(row)
    return _ODD_LINE_ENDS.sub(
        lambda match: f"\\u{ord(match[0]):04x}",
        json.dumps(row, ensure_ascii=False, allow_nan=False),
    )


def refuse_nulls(value: Any, path: str = "row") -> None:
    """Raise ValueError, saying where, if there is a null anywhere in a row."""
    if value is None:
        raise ValueError(f"{path} is null; leave the key out, or write an empty value")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_nulls(inner, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            refuse_nulls(inner, f"{path}[{number}]")


class MediaFolder:
    """Media beside the rows, each file once, however many samples show it.

    They are named by content: no name of a source leaves its folder or repeats another's. No dot
    but that of the suffix, since some loaders cut names at the first.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def clip(self, entry: Entry) -> str:
        """Put the clip of an entry there; its path relative to the export."""
        name = str(PurePosixPath("videos", f"{entry.clip.sha256[:20]}.mp4"))
        path = self._out / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                file.writelines(entry.mp4_pieces())
        return name

    def image(self, data: bytes, name: str) -> str:
        """Put an encoded picture there; its path relative to the export. `name` is like
        `{clip}/{number}.jpg`."""
        relative = str(PurePosixPath("images", name))
        path = self._out / relative
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return relative


class FileSet:
    """The row files of an export, opened when their first row comes."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._rows: dict[str, Rows] = {}
        self._stack = ExitStack()
        self.counts: dict[str, int] = {}
        """Rows by file name."""

    def add(self, name: str, row: Mapping[str, Any], schema: pa.Schema | None = None) -> None:
        """Add a row to a file; its suffix says how: .jsonl, .json, .parquet (with a schema)."""
        if name not in self._rows:
            path = self._out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows[name] = _opened(path, schema)
            self._stack.callback(self._rows[name].close)
        self._rows[name].add(row)
        self.count(name)

    def count(self, name: str) -> None:
        """Count a row of a file; only for files that are written by other means than `add`."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def close(self) -> None:
        self._stack.close()


def _opened(path: Path, schema: pa.Schema | None) -> Rows:
    if path.suffix == ".parquet":
        if schema is None:
            raise ValueError(f"{path.name}: Parquet needs a schema")
        return ParquetRows(path, schema)
    return JsonLines(path) if path.suffix == ".jsonl" else JsonList(path)
