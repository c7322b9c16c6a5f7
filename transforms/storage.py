"""Files that lie elsewhere, through Beam's filesystems: `s3://` and `gs://` by one code.

What all of them have in common is little: a file can be put whole, read, listed and deleted. There
is no renaming of folders, no locking and no appending. What can't be reached would hit every
element alike, so it stops the run; a file that is not there is an answer, not an error.
"""

from __future__ import annotations

import contextlib
import glob
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.outcome import StopRunError, is_fatal

COPY_BYTES = 1 << 20
DELETED_AT_ONCE = 1_000
NOT_FOUND = 404
REFUSED = frozenset({400, 401, 403, 405, 409, 410, 416})
"""Statuses that speak of one file."""

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_EXTRAS = {"s3": "proofreel[aws]", "gs": "apache-beam[gcp]"}


class StorageError(StopRunError):
    """A filesystem that can't be reached or won't do what is asked; names file and cause."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        """`refused`: it was reached, and says no to this one request."""
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere, as its filesystem describes it."""

    url: str
    size_bytes: int
    updated_s: float
    """When it was written, by the filesystem's own clock (Unix time)."""


def is_remote(place: str) -> bool:
    """Whether this is a URL, and not a path on this machine."""
    return _REMOTE.match(place) is not None


def joined(root: str, *parts: str) -> str:
    """A URL below another."""
    return "/".join([root.rstrip("/"), *parts])


def read(url: str, limit_bytes: int | None = None) -> bytes | None:
    """A file's bytes, no more than `limit_bytes`; None if there is none. Raises StorageError."""
    with _told(url, "read"), _opened(url) as stream:
        return bytes(stream.read() if limit_bytes is None else stream.read(limit_bytes))
    return None


def fetch(url: str, path: Path) -> bool:
    """Copy a file to this machine; False if there is none. Raises StorageError, OSError."""
    with _told(url, "read"), _opened(url) as stream, path.open("wb") as copy:
        shutil.copyfileobj(stream, copy, COPY_BYTES)
        return True
    return False


def write(url: str, data: bytes) -> None:
    """Put a file whole: a reader meets the old one or the new one. Raises StorageError."""
    with _told(url, "written", may_lack=False), _created(url) as stream:
        stream.write(data)


def write_new(url: str, data: bytes) -> bool | None:
    """Put a file whole if there is none yet; whether it was put. Raises StorageError.

    None: this can't be had there, and nothing was put. Beam's filesystems have no such request; S3
    has one, and so have some stores that speak its language.
    """
    if not url.lower().startswith("s3://"):
        return None
    with _told(url, "written", may_lack=False):
        options = _filesystem(url)._options
        from transforms import s3_client

        return s3_client.put_new(options, url, data)


def put(path: Path, url: str) -> None:
    """Copy a file of this machine to `url`. Raises StorageError, OSError.

    Should that break off in the middle, a part of it may stand there as a file: whoever counts on
    it has to know its size.
    """
    with (
        path.open("rb") as source,
        _told(url, "written", may_lack=False),
        _created(url) as stream,
    ):
        shutil.copyfileobj(source, stream, COPY_BYTES)


def described(url: str) -> RemoteFile | None:
    """What its filesystem says of a file; None if there is none. Raises StorageError."""
    with _told(url, "looked at"):
        found = _filesystem(url).metadata(url)
        return RemoteFile(url, found.size_in_bytes, found.last_updated_in_seconds)
    return None


def listed(folder: str) -> list[RemoteFile]:
    """All files below a folder, sorted. Raises StorageError."""
    return sorted(below(folder), key=lambda one: one.url)


def below(folder: str) -> Iterator[RemoteFile]:
    """All files below a folder, as they are listed, each once. Raises StorageError."""
    return matching(f"{glob.escape(folder.rstrip('/'))}/**")


def matching(pattern: str) -> Iterator[RemoteFile]:
    """The files whose URL matches: `*` within a name, `**` over folders. Raises StorageError.

    They come as they are listed, each once: Beam's own `match` makes a list of them.
    """
    with _told(pattern, "listed"):
        filesystem = _filesystem(pattern)
        start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
        for one in filesystem.match_files(filesystem._list(start), pattern):
            # Consoles make such objects so that an empty folder can be shown.
            if not one.path.endswith("/"):
                yield RemoteFile(one.path, one.size_in_bytes, one.last_updated_in_seconds)


def delete(urls: Sequence[str]) -> None:
    """Delete files; those that are not there are no error. Raises StorageError."""
    for start in range(0, len(urls), DELETED_AT_ONCE):
        some = list(urls[start : start + DELETED_AT_ONCE])
        with _told(some[0], "deleted"):
            _filesystem(some[0]).delete(some)


def move(url: str, to: str) -> None:
    """Put a file elsewhere on its filesystem, over what is there. Raises StorageError.

    An object store copies it and deletes it where it was, without its coming by here.
    """
    with _told(url, "moved", may_lack=False):
        # Not `copy`: that of S3 keeps its errors to itself.
        _filesystem(url).rename([url], [to])


def check_usable(place: str) -> None:
    """Raises StorageError if no filesystem for such URLs is installed."""
    _filesystem(place)


def _filesystem(url: str) -> Any:
    scheme = url.partition("://")[0].lower()
    if scheme == "hdfs":
        # Beam's filesystem of it lists one folder, not those below, and writes over nothing.
        raise StorageError(f"{url}: hdfs:// is not supported; use s3:// or gs://, or a mount")
    if scheme == "s3":
        _use_s3()
    try:
        return FileSystems.get_filesystem(url)
    except ValueError as error:
        extra = _EXTRAS.get(scheme)
        what = f"install {extra}" if extra else f"known are {', '.join(sorted(_EXTRAS))}"
        raise StorageError(f"{url}: nothing here reads {scheme}://; {what}") from error


def _opened(url: str) -> Any:
    return _filesystem(url).open(url, compression_type=CompressionTypes.UNCOMPRESSED)


def _created(url: str) -> Any:
    return _filesystem(url).create(url, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def _told(url: str, done: str, *, may_lack: bool = True) -> Iterator[None]:
    """Give errors of filesystems, each of which has its own, in one form.

    What is missing ends the block quietly, if it may lack.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if is_fatal(error):
            raise
        cause = _cause(error)
        code = _code(cause)
        if may_lack and (isinstance(cause, FileNotFoundError) or code == NOT_FOUND):
            return
        lines = [line for line in str(_words(cause)).splitlines() if line.strip()]
        why = lines[-1] if lines else type(cause).__name__
        raise StorageError(f"{url}: can't be {done}: {why}", refused=code in REFUSED) from error


def _cause(error: BaseException) -> BaseException:
    """What Beam's error speaks of; it holds one for each file."""
    if isinstance(error, BeamIOError) and error.exception_details:
        inner = next(iter(error.exception_details.values()))
        return _cause(inner) if isinstance(inner, BaseException) else error
    return error


def _code(error: BaseException) -> Any:
    """The HTTP status of an error, where it has one: each client calls it otherwise."""
    return getattr(error, "code", None) or getattr(error, "status_code", None)


def _words(error: BaseException) -> Any:
    return getattr(error, "message", None) or error


def _use_s3() -> None:
    try:
        import boto3  # noqa: F401
    except ImportError as error:
        raise StorageError("s3:// needs boto3; install proofreel[aws]") from error
    from transforms import s3_client

    s3_client.install()
