"""The files of sources: on this machine, and still with the bytes that they were named by.

Decoders read files of this machine and nothing else, so what lies elsewhere is copied here first.
Between the step that names a video by its bytes and those that decode it, others may replace the
file or write on it; then nothing that was made of it may be stored under that name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.rejection import Reason, Rejected
from schemas.source import Source
from schemas.video import Video
from transforms.cache import brought
from transforms.storage import StorageError, described, is_remote
from transforms.video.media_process import opened


class ChangedError(Rejected):
    """A file that has other bytes than those that its video is named by."""

    def __init__(self) -> None:
        words = "changed while the run was at work; run again"
        super().__init__(Reason.UNREADABLE, words, lasting=False)


def local_path(source: Source) -> str:
    """The path of a source on this machine; what lies elsewhere is copied here first.

    A copy is taken for the file as long as its size and the time of its last change are the same.
    Raises Rejected (not_found, unreadable) if this one file can't be had, StorageError if it is the
    filesystem that can't be reached.
    """
    if not is_remote(source.path):
        return source.path
    try:
        file = described(source.path)
        copy = file and brought(
            file.url,
            file.size_bytes,
            file.updated_s,
            size_bytes=file.size_bytes,
            changed_s=file.updated_s,
        )
    except StorageError as error:
        if error.refused:
            raise Rejected(Reason.UNREADABLE, "its storage refuses it", lasting=False) from error
        raise
    if copy is None:
        raise Rejected(Reason.NOT_FOUND, "no such file", lasting=False)
    return str(copy)


@contextmanager
def opened_source(video: Video) -> Iterator[tuple[str, int]]:
    """The file of a video, as `opened` gives it; it is the same file at the beginning and the end.

    Who stores something before the end has to `check_same` first. Raises Rejected (not_found,
    unreadable), StorageError.
    """
    with opened(local_path(video.source)) as (name, descriptor):
        check_same(descriptor, video)
        yield name, descriptor
        check_same(descriptor, video)


def check_same(descriptor: int, video: Video) -> None:
    """Raises ChangedError if an open file has other bytes than those that the video is named by."""
    facts = os.fstat(descriptor)
    if facts.st_size != video.size_bytes:
        raise ChangedError
    # Touched, or a copy on another machine: then its bytes tell.
    if facts.st_mtime_ns != video.changed_ns and _sha256(descriptor) != video.sha256:
        raise ChangedError


def _sha256(descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        # Not on Linux, but elsewhere a process that is given it goes on from where we were.
        stream.seek(0)
    return found
