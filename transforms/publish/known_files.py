"""Hashes of files that were read before and have not changed since.

A clip is copied into the shards of all splits, once for each of its samples. Hashing it each time
would take a third of what writing shards takes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

MOST_KNOWN = 1 << 16


@dataclass(frozen=True)
class FileState:
    """What changes when a file does."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int
    ctime_ns: int


def file_state(path: Path) -> FileState:
    """The state of a file. Raises OSError if there is none."""
    now = path.stat()
    return FileState(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


class KnownFiles:
    """SHA-256 by state of a file, of the files that came last; for all threads of a process."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._found: OrderedDict[FileState, str] = OrderedDict()
        self._lock = Lock()

    def get(self, state: FileState) -> str:
        """The SHA-256, or "" when it is not known."""
        with self._lock:
            return self._found.get(state, "")

    def add(self, state: FileState, sha256: str) -> None:
        """Remember a hash; the state is that before and after reading."""
        with self._lock:
            self._found[state] = sha256
            if len(self._found) > self._most:
                self._found.popitem(last=False)
