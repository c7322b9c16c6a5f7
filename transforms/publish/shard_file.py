"""The file of a shard while it is written: hashed and brought to the disk beside the writing."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Self

from transforms.publish.planning import TAR_BLOCK, TAR_RECORD

PIECE_BYTES = 1 << 20
"""What is written at a time."""
PIECES_WAITING = 8
"""To be written or hashed: they are what a shard holds in memory."""
SMALL_BYTES = 64 << 10
"""Headers and the like are gathered up to this size: a write of their own would cost more."""
SYNC_BYTES = 16 << 20
"""After so many bytes the disk is sent what it has not got yet. Only at the end, the processor
would wait for the disk after the disk had waited for the processor."""


class ShardFile:
    """Writes, counts and hashes a shard. One thread writes, one hashes the whole and one its parts,
    and one waits for the disk: all of them let Python go on meanwhile, so that with cores to spare
    a shard takes little longer than a copy."""

    def __init__(self, file: IO[bytes]) -> None:
        self.bytes = 0
        self._file = file
        self._digest = hashlib.sha256()
        self._small: list[bytes] = []
        self._small_bytes = 0
        self._syncing: Future[None] | None = None
        self._synced = 0

    def __enter__(self) -> Self:
        self._writing = _Line("write-shard")
        self._whole = _Line("hash-shard")
        self._parts = _Line("hash-part")
        self._syncer = ThreadPoolExecutor(1, "sync-shard")
        return self

    def __exit__(self, *_: object) -> None:
        # The file is closed next: nobody may still be at it.
        for pool in (self._writing.pool, self._whole.pool, self._parts.pool, self._syncer):
            pool.shutdown(cancel_futures=True)

    def write(self, data: bytes, digest: Any = None) -> None:
        """Append bytes, and add them to a hash that is not to be read before `finish`. Raises
        OSError, perhaps only later, if they can't be written."""
        self.bytes += len(data)
        if digest is not None:
            self._parts.add(digest.update, data)
        if len(data) < SMALL_BYTES:
            self._small.append(data)
            self._small_bytes += len(data)
            if self._small_bytes >= PIECE_BYTES:
                self._flush()
        else:
            self._flush()
            self._put(data)

    def pad(self, unit: int = TAR_BLOCK) -> None:
        """Zeros up to a whole block."""
        self.write(bytes(-self.bytes % unit))

    def finish(self) -> str:
        """Write the end mark of a tar: two empty blocks, then zeros up to a whole record. Gives the
        SHA-256 of the whole file; those of its parts are ready too."""
        self.write(bytes(2 * TAR_BLOCK))
        self.pad(TAR_RECORD)
        self._flush()
        for line in (self._writing, self._parts, self._whole):
            line.wait()
        self._wait_for_sync()
        return self._digest.hexdigest()

    def _flush(self) -> None:
        self._put(b"".join(self._small))
        self._small.clear()
        self._small_bytes = 0

    def _put(self, data: bytes) -> None:
        self._writing.add(self._file.write, data)
        self._whole.add(self._digest.update, data)
        if self.bytes - self._synced >= SYNC_BYTES:
            self._sync()

    def _sync(self) -> None:
        # One at a time. The system tells of a failed write only once, so each answer counts: a
        # later sync of the same file would succeed.
        if self._syncing is None or self._syncing.done():
            self._wait_for_sync()
            self._synced = self.bytes
            self._syncing = self._syncer.submit(os.fsync, self._file.fileno())

    def _wait_for_sync(self) -> None:
        if self._syncing is not None:
            self._syncing.result()


class _Line:
    """Works on pieces in a thread of its own, in order, and lets no more than a few wait."""

    def __init__(self, name: str) -> None:
        self.pool = ThreadPoolExecutor(1, name)
        self._waiting: deque[Future[object]] = deque()

    def add(self, work: Callable[[bytes], object], piece: bytes) -> None:
        self._waiting.append(self.pool.submit(work, piece))
        if len(self._waiting) > PIECES_WAITING:
            self._waiting.popleft().result()

    def wait(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
