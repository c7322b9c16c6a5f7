"""Sources that lie elsewhere: decoders read files of this machine and nothing else."""

from __future__ import annotations

from schemas.rejection import Reason, Rejected
from schemas.source import Source
from transforms.cache import brought
from transforms.storage import StorageError, described, is_remote


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
            file.url, file.size_bytes, file.updated_s, size_bytes=file.size_bytes
        )
    except StorageError as error:
        if error.refused:
            raise Rejected(Reason.UNREADABLE, "its storage refuses it", lasting=False) from error
        raise
    if copy is None:
        raise Rejected(Reason.NOT_FOUND, "no such file", lasting=False)
    return str(copy)
