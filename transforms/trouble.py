"""What is wrong with a folder that can't be written or read: said so that a person can mend it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transforms.outcome import StopRunError

AGAIN = "then run the same command again, it goes on where it was"
DATASET = "folder of the new dataset"
LOST = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EREMOTEIO, errno.ESHUTDOWN),
    }
)
"""What a disk or a mount answers that is not there any more."""


@contextmanager
def minding(folder: Path, what: str) -> Iterator[None]:
    """Raises StopRunError in place of an OSError that is about `folder`, saying what to do.

    `what`: the folder's name for people, such as "memo store".
    """
    try:
        yield
    except OSError as error:
        if told := trouble(error, folder, what):
            raise StopRunError(told) from error
        raise


def trouble(error: OSError, folder: Path, what: str) -> str | None:
    """What is wrong with the folder and what to do; None if the error is not about it."""
    if not _is_about(error, folder):
        return None
    where = f"the {what} {folder}"
    if not _is_there(folder):
        return (
            f"{where} is gone or can't be reached ({error.strerror}): was it moved, or its disk "
            f"unmounted? Bring it back, {AGAIN}"
        )
    match error.errno:
        case errno.ENOSPC:
            return f"{where}: its disk is full ({_free(folder)}). Free some, {AGAIN}"
        case errno.EDQUOT:
            return f"{where}: the quota of its disk is used up. Free some, {AGAIN}"
        case errno.EFBIG:
            return (
                f"{where}: a file grew larger than this process or file system allows. Raise the "
                f"limit (ulimit -f), {AGAIN}"
            )
        case errno.EROFS:
            return f"{where} is on a disk that is read-only. Make it writable, {AGAIN}"
        case errno.EACCES | errno.EPERM:
            return (
                f"{where} can't be written, for want of rights ({error.filename}). Give them to "
                f"{_user()}, {AGAIN}"
            )
    return f"{where} can't be reached ({error.strerror}). Bring it back, {AGAIN}"


def _is_about(error: OSError, folder: Path) -> bool:
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
    below = any(Path(name).absolute().is_relative_to(folder.absolute()) for name in names)
    # A failed write does not say of which file it was.
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return below or not names
    if error.errno in (errno.EACCES, errno.EPERM, *LOST):
        return below
    return error.errno == errno.ENOENT and below and not _is_there(folder)


def _is_there(folder: Path) -> bool:
    try:
        os.statvfs(folder)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _free(folder: Path) -> str:
    """How much room there is, in the form `0.0 of 4.0 MiB free`."""
    facts = os.statvfs(folder)
    if facts.f_files and not facts.f_favail:
        return f"no more files: all {facts.f_files} inodes are used"
    sizes = [blocks * facts.f_frsize for blocks in (facts.f_bavail, facts.f_blocks)]
    unit, name = (2**30, "GiB") if sizes[1] >= 2**30 else (2**20, "MiB")
    free, total = (f"{size / unit:.1f}" for size in sizes)
    return f"{free} of {total} {name} free"


def _user() -> str:
    return f"user {os.geteuid()}"
