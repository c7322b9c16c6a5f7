"""Reading shards that nobody vouches for: plain tar entries only, every size against the file.

The standard reader follows what headers say (links, sparse maps, long names of any length); a
shard of ours needs none of that, so here it is a fault.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from transforms.publish.files import COPY_BYTES
from transforms.publish.planning import TAR_BLOCK, TAR_RECORD

MAX_JSON_BYTES = 16 << 20
"""Of the JSON of an entry that somebody else wrote."""


class BadTarError(ValueError):
    """A shard can't be read any further; the message says where and why."""


@dataclass(frozen=True)
class Member:
    """One file inside a tar."""

    name: str
    offset: int
    """Where its content begins."""
    size: int


def members(file: IO[bytes], file_bytes: int) -> Iterator[Member]:
    """The files of a tar, in order. Raises BadTarError where it is not a plain, whole tar."""
    offset = 0
    while True:
        file.seek(offset)
        block = file.read(TAR_BLOCK)
        if len(block) < TAR_BLOCK:
            raise BadTarError(f"the tar ends at byte {offset} without an end mark")
        if not any(block):
            break
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise BadTarError(f"no tar header at byte {offset}: {error}") from error
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise BadTarError(f"entry {info.name!r} at byte {offset} is no plain file")
        content = offset + TAR_BLOCK
        if info.size < 0 or content + info.size > file_bytes:
            raise BadTarError(
                f"entry {info.name!r} at byte {offset} reaches past the end of the tar"
            )
        yield Member(name=info.name, offset=content, size=info.size)
        offset = content + -(-info.size // TAR_BLOCK) * TAR_BLOCK
    # The end mark is two blocks; tarfile writes them and then pads to whole records.
    if file_bytes - offset > TAR_RECORD + TAR_BLOCK or any(file.read(TAR_RECORD + TAR_BLOCK)):
        raise BadTarError(f"data after the end mark at byte {offset}")


def read_member(file: IO[bytes], member: Member) -> bytes:
    """The content of a member; the caller bounds its size first."""
    file.seek(member.offset)
    return file.read(member.size)


def sha256_member(file: IO[bytes], member: Member) -> str:
    """SHA-256 of a member's content, read piece by piece."""
    file.seek(member.offset)
    digest = hashlib.sha256()
    left = member.size
    while left > 0 and (piece := file.read(min(left, COPY_BYTES))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


class MemberView(io.RawIOBase):
    """A member as a seekable file of its own, without copying it out of the tar."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        super().__init__()
        self._file = file
        self._member = member
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._member.size - self._at)
        self._file.seek(self._member.offset + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data
