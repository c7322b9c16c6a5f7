"""Byte ranges of shards: from local files, or several at a time from far away."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LOCAL_SHARDS = 64
"""Shards that are held open at a time."""
FAR_RANGE_BYTES = 8 << 20
"""About what one request asks for; an entry is never parted."""
FAR_GAP_BYTES = 64 << 10
"""So little between two entries is read along; a request of its own would take longer."""


class ReadError(ValueError):
    """A dataset can't be read; the message says where and why."""


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a file of the dataset."""

    path: str
    start: int
    stop: int


class Ranges(Protocol):
    """Reads byte ranges."""

    def expect(self, spans: Sequence[Span]) -> None:
        """These are read next, in any order, and nothing else before the next call."""

    def read(self, path: str, start: int, size: int) -> bytes:
        """Exactly these bytes. Raises ReadError when they can't be had."""


class LocalRanges:
    """Ranges of local files. The kernel reads ahead what is expected; nothing is copied twice."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._handles: dict[str, int] = {}

    def expect(self, spans: Sequence[Span]) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        for span in merged(spans):
            length = span.stop - span.start
            os.posix_fadvise(self._handle(span.path), span.start, length, os.POSIX_FADV_WILLNEED)

    def read(self, path: str, start: int, size: int) -> bytes:
        handle = self._handle(path)
        # The size may be a lie, and pread makes room for it before it looks.
        if start + size > os.fstat(handle).st_size:
            raise ReadError(f"{path} ends before byte {start + size}; it is not whole")
        try:
            data = os.pread(handle, size, start)
            while len(data) < size and (
                more := os.pread(handle, size - len(data), start + len(data))
            ):
                data += more
        except OSError as error:
            raise ReadError(f"{path} can't be read at byte {start}: {error.strerror}") from error
        return data

    def close(self) -> None:
        """Close all files."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _handle(self, path: str) -> int:
        if path not in self._handles:
            if len(self._handles) >= LOCAL_SHARDS:
                os.close(self._handles.pop(next(iter(self._handles))))
            self._handles[path] = _opened(f"{self._folder}/{path}", path)
        return self._handles[path]


def _opened(path: str, name: str) -> int:
    """A handle of a regular file; to open a pipe would wait forever."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ReadError(f"{name} can't be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ReadError(f"{name} is no file")
    return handle


class RemoteRanges:
    """Ranges of files of an fsspec filesystem: what is expected is fetched in few large requests,
    side by side where the filesystem can, and held until the next expectation."""

    def __init__(self, files: Any, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._held: dict[str, tuple[list[int], list[bytes]]] = {}

    def expect(self, spans: Sequence[Span]) -> None:
        self._held = {}
        wanted = merged(spans, FAR_GAP_BYTES, FAR_RANGE_BYTES)
        found = self._files.cat_ranges(
            [f"{self._folder}/{span.path}" for span in wanted],
            [span.start for span in wanted],
            [span.stop for span in wanted],
            on_error="return",
        )
        for span, data in zip(wanted, found, strict=True):
            if isinstance(data, BaseException):
                what = f"{type(data).__name__}: {data}"
                raise ReadError(f"{span.path} can't be read at byte {span.start}: {what}") from data
            if len(data) != span.stop - span.start:
                raise ReadError(
                    f"{span.path} gave {len(data)} bytes for [{span.start}, {span.stop}); it is "
                    "not whole, or its server does not serve ranges"
                )
            starts, pieces = self._held.setdefault(span.path, ([], []))
            starts.append(span.start)
            pieces.append(data)

    def read(self, path: str, start: int, size: int) -> bytes:
        starts, pieces = self._held[path]
        number = bisect_right(starts, start) - 1
        begin = start - starts[number]
        return pieces[number][begin : begin + size]


def merged(spans: Sequence[Span], gap_bytes: int = 1024, most_bytes: int = 1 << 62) -> list[Span]:
    """Spans in order, neighbours joined while no more than `gap_bytes` lie between them and they
    are not longer than `most_bytes` together."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.path, span.start)):
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.path == span.path
            and span.start - last.stop <= gap_bytes
            and span.stop - last.start <= most_bytes
        ):
            joined[-1] = Span(span.path, last.start, max(last.stop, span.stop))
        else:
            joined.append(span)
    return joined
