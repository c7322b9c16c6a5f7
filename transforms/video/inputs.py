"""From what the user typed to sources: files, folders, globs, manifests, Video-R1's JSON.

Sources come one by one, since there may be more than memory holds. What is held is the names in one
folder, and a `.json` manifest whole: it is one list, and Python's parser gives no parts of it.
"""

from __future__ import annotations

import csv
import errno
import glob
import itertools
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TextIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.rejection import Reason, Rejection, Stage
from schemas.source import GivenQuestion, Source, location, url_location
from transforms.cache import brought
from transforms.on_disk import sorted_texts
from transforms.storage import described, is_remote
from transforms.video.remote_inputs import url_beside, videos_at

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".rm", ".ts", ".vob", ".webm", ".wmv", ".wtv"}
)
"""What a folder is searched for. A file that is named by itself may have any suffix."""

MANIFEST_SUFFIXES = frozenset({".jsonl", ".csv", ".parquet", ".json"})
MANIFEST_URL = re.compile(r"(s3|gs)://[A-Za-z0-9._-]{1,255}/[^/].*", re.DOTALL)
"""URLs that a manifest may name: on filesystems of the user's, not the web."""
MAX_MANIFEST_ROW_CHARS = 1_000_000
PARQUET_ROWS = 256
"""Decoded at a time."""

VIDEO_R1_KINDS = {
    "multiple choice": "mcq",
    "numerical": "number",
    "regression": "number",
    "free-form": "free_text",
    "OCR": "free_text",
}

T = TypeVar("T")


class BadInputError(Exception):
    """An input that can't be taken at all; the message says which and why."""


class BrokenManifestError(Exception):
    """A manifest that can't be read to its end: none of its rows is taken."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail)
        self.rejection = rejection


Found = Source | Rejection


def found_in(text: str) -> Iterator[Found]:
    """The sources that one input names, and what of it can't be taken, each time in the same order.

    A file may come several times. Nothing is opened but manifests. Raises BadInputError if there is
    nothing at all, BrokenManifestError, and StorageError if a filesystem can't be reached.
    """
    path = Path(text)
    if is_remote(text):
        yield from _elsewhere(text)
    elif not _can_look(path):
        yield _rejection(
            _printable(path.name), Reason.UNREADABLE, "no right to look into its folder"
        )
    elif path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        yield from _manifest(path, str(path.parent))
    elif path.exists() or path.is_symlink():
        yield Source(uri=_printable(path.name), location=location(path))
    elif glob.has_magic(text):
        # Named from where the pattern begins: the same name may be in several folders.
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = glob.iglob(text, recursive=True)  # noqa: PTH207 - absolute patterns too
        for match in map(Path, _at_least_one(text, sorted_texts(matches))):
            uri = _printable(match.relative_to(root).as_posix())
            if not _can_look(match):
                yield _rejection(uri, Reason.UNREADABLE, "no right to look into its folder")
            elif match.is_file():
                yield Source(uri=uri, location=location(match))
    else:
        raise BadInputError(f"{text}: no such file or folder")


def _elsewhere(url: str) -> Iterator[Found]:
    if PurePosixPath(url).suffix.lower() in MANIFEST_SUFFIXES and not glob.has_magic(url):
        file = described(url)
        copy = brought(url, file.size_bytes, file.updated_s) if file else None
        if copy is not None:
            yield from _manifest(copy, posixpath.dirname(url))
            return
    for name, place in _at_least_one(url, videos_at(url, VIDEO_SUFFIXES)):
        yield Source(uri=_printable(name), location=url_location(place))


def _at_least_one(text: str, found: Iterator[T]) -> Iterator[T]:
    number = -1
    for number, one in enumerate(found):  # noqa: B007 - whether there was one
        yield one
    if number < 0:
        if glob.has_magic(text):
            raise BadInputError(f"{text}: the pattern matches nothing")
        raise BadInputError(f"{text}: no such file, and no video below it")


def _can_look(path: Path) -> bool:
    """Whether a missing path is really missing, and not behind a folder without rights.

    Raises BadInputError for what can't be a path at all.
    """
    try:
        path.stat()
    except PermissionError:
        return False
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise BadInputError(f"{path.name[:80]!r}: no path: {error.args[-1]}") from error
    return True


def _folder(root: Path) -> Iterator[Found]:
    """All videos below a folder; links to folders are not followed, so loops can't trap us."""
    failed: list[OSError] = []
    for folder, names, files in os.walk(root, onerror=failed.append):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() in VIDEO_SUFFIXES:
                uri = _printable(path.relative_to(root).as_posix())
                yield Source(uri=uri, location=location(path))
    for error in failed:
        where = _printable(Path(str(error.filename)).relative_to(root).as_posix())
        yield _rejection(where, Reason.UNREADABLE, error.strerror or "can't be listed")


def _printable(name: str) -> str:
    """File names are bytes; those that are no UTF-8 can't stand in a dataset as they are."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    # A backslash would look like a path of another system.
    return re.sub(r"\\x([0-9a-f]{2})", r"%\1", text)


def _rejection(subject: str, reason: Reason, detail: str) -> Rejection:
    return Rejection(stage=Stage.INGEST, reason=reason, subject=subject, detail=detail)


def _manifest(path: Path, folder: str) -> Iterator[Found]:
    """The rows of a manifest, which may be a copy; what it names counts from `folder`."""
    for number, row in _readable(path):
        where = _printable(f"{path.name}:{number}")
        try:
            yield _source(folder, row)
        except (ValueError, TypeError) as error:
            yield _rejection(where, Reason.BAD_ROW, str(error))


def _readable(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers, from 1. Raises BrokenManifestError, maybe after some of them."""
    try:
        yield from _rows(path)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowInvalid) as error:
        # Rejections are published, and where things lie on this machine is nobody's business.
        detail = str(error).replace(str(path), path.name)
        detail = _printable(f"the manifest can't be read: {detail}")
        rejection = _rejection(_printable(path.name), Reason.BAD_ROW, detail)
        raise BrokenManifestError(rejection) from error


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers, from 1. A broken JSON line is a row that holds the error."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with pq.ParquetFile(path, pre_buffer=False) as file:
            batches = file.iter_batches(PARQUET_ROWS)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    elif suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield from enumerate(csv.DictReader(stream), 1)
    elif suffix == ".json":
        rows = json.loads(path.read_text("utf-8"))
        if not isinstance(rows, list):
            raise ValueError("a .json manifest is a list of objects (Video-R1's form)")
        yield from enumerate(rows, 1)
    else:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            for number, line in enumerate(lines_of(stream, MAX_MANIFEST_ROW_CHARS), 1):
                if line.strip():
                    yield number, _json_row(line)


def lines_of(stream: TextIO, most_chars: int) -> Iterator[str]:
    """The lines of a text; of one that is longer than that, no more than a character beyond it.

    What comes behind is passed over bit by bit: a file without a line's end may not fit in memory.
    """
    while line := stream.readline(most_chars + 1):
        yield line
        while len(line) > most_chars and not line.endswith("\n"):
            line = stream.readline(most_chars + 1)


def _json_row(line: str) -> Any:
    if len(line) > MAX_MANIFEST_ROW_CHARS:
        return ValueError(f"the row is longer than {MAX_MANIFEST_ROW_CHARS} characters")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON: {error}")


def _source(folder: str, row: Any) -> Source:
    """One row as a source. Raises ValueError that says what is wrong with the row."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is an object, this is {type(row).__name__}")
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the row is not UTF-8") from error
    if "problem" in row and "path" in row:
        return _video_r1(folder, row)
    uri = row.get("uri")
    if not isinstance(uri, str) or not uri.strip():
        columns = ", ".join(sorted(str(key) for key in row)) or "none"
        raise ValueError(f"no column 'uri' (columns: {columns})")
    return Source(
        uri=_name(uri),
        location=_located(folder, uri),
        user_id=_text(row, "id"),
        license=_text(row, "license"),
        source_url=_text(row, "source_url"),
        subtitles=_text(row, "subtitles"),
        subtitles_folder=_location(folder) if _text(row, "subtitles") else "",
        questions=_questions(
            _text(row, "question"),
            _list(row, "options"),
            _text(row, "answer"),
            _text(row, "answer_kind"),
            _list(row, "spans"),
        ),
    )


def _video_r1(folder: str, row: Mapping[str, Any]) -> Source:
    """A row of Video-R1's JSON: path, problem, problem_type, options, solution in answer tags."""
    if row.get("data_type", "video") != "video":
        raise ValueError(f"data_type is {row['data_type']!r}; only videos can be taken")
    kind = VIDEO_R1_KINDS.get(str(row.get("problem_type", "")))
    if kind is None:
        raise ValueError(f"unknown problem_type {row.get('problem_type')!r}")
    solution = _text(row, "solution").removeprefix("<answer>").removesuffix("</answer>").strip()
    options = [_without_letter(str(option)) for option in row.get("options") or []]
    uri = row["path"]
    if not isinstance(uri, str):
        raise ValueError(f"path is not a text: {str(uri)[:80]!r}")
    return Source(
        uri=_name(uri),
        location=_located(folder, uri),
        user_id=_text(row, "problem_id"),
        questions=_questions(_text(row, "problem"), options, solution, kind, []),
    )


def _without_letter(option: str) -> str:
    """`A. a dog` -> `a dog`: letters belong to the place, not to the text."""
    head, dot, tail = option.partition(".")
    return tail.strip() if dot and len(head.strip()) == 1 else option.strip()


def _questions(
    question: str, options: list[Any], answer: str, kind: str, spans: list[Any]
) -> tuple[GivenQuestion, ...]:
    if not question:
        if options or answer or spans:
            raise ValueError("options, answer or spans without a column 'question'")
        return ()
    if not all(isinstance(span, list | tuple) and len(span) == 2 for span in spans):
        raise ValueError("spans is a list of [start, end] in seconds")
    return (
        GivenQuestion(
            question=question,
            options=tuple(str(option) for option in options),
            answer=answer,
            answer_kind=kind,
            spans=tuple((float(start), float(end)) for start, end in spans),
        ),
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _list(row: Mapping[str, Any], column: str) -> list[Any]:
    """A list, or the JSON of one as CSV holds it."""
    value = row.get(column)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"{column} is not a JSON list: {value[:80]!r}") from error
    if not isinstance(value, list):
        raise ValueError(f"{column} is not a list: {str(value)[:80]!r}")
    return value


def _name(uri: str) -> str:
    """The published name of a manifest's video: as the row has it, but never an absolute path."""
    path = Path(f"/{_inside(uri)}" if "://" in uri else uri)
    parts = [part for part in path.parts if part not in ("/", "..", ".")]
    if not parts:
        raise ValueError(f"{uri!r} names no file")
    return "/".join(parts) if not path.is_absolute() else path.name


def _inside(url: str) -> str:
    """What comes after the host or the bucket."""
    return url.partition("://")[2].partition("/")[2]


def _located(folder: str, uri: str) -> str:
    """Where the file lies: relative paths count from the manifest's folder."""
    if "\0" in uri:
        raise ValueError("a path can't hold the character NUL")
    if "://" in uri:
        if not MANIFEST_URL.fullmatch(uri):
            raise ValueError(
                f"{uri}: only local files and those at s3:// or gs:// can be read; fetch it first"
            )
        return url_location(uri)
    if is_remote(folder):
        return url_location(url_beside(folder, uri))
    return location(Path(folder, uri))


def _location(folder: str) -> str:
    return url_location(folder) if is_remote(folder) else location(folder)
