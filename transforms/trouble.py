"""What is wrong with a folder that can't be written or read: said so that a person can mend it."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transforms.outcome import StopRunError

AGAIN = "then run the same command again, it goes on where it was"
DATASET = "folder of the new dataset"
TEMPORARY = "folder for temporary files"
ROOM_BYTES = 1 << 20
"""A disk with less than this is as good as full: a write that failed was larger."""
OF_WHOLE_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})

Place = tuple[Path, str]
"""A folder, and its name for people."""
LOST = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EREMOTEIO, errno.ESHUTDOWN),
    }
)
"""What a disk or a mount answers that is not there any more."""


def not_here(path: str) -> str:
    """What is said of a file or folder that a setting names by its path and this machine lacks."""
    return f"{path} is not on {socket.gethostname()}, and each machine that works needs it there"


@contextmanager
def minding(folder: Path, what: str) -> Iterator[None]:
    """Raises StopRunError in place of an OSError that is about `folder`, or about a whole disk,
    saying which and what to do.

    `what`: the folder's name for people, such as "memo store".
    """
    try:
        yield
    except OSError as error:
        if told := trouble(error, folder, what):
            raise StopRunError(told) from error
        raise


def trouble(error: OSError, folder: Path, what: str) -> str | None:
    """What is wrong, with which folder, and what to do; None if the error is about neither the
    folder nor a whole disk."""
    if error.errno in OF_WHOLE_DISKS:
        return _trouble_of_disk(error, _blamed(error, (folder, what)))
    return _trouble_of_folder(error, folder, what) if _is_about(error, folder) else None


def _trouble_of_disk(error: OSError, places: Sequence[Place]) -> str:
    gone = [place for place in places if not _is_there(place[0])]
    if gone:
        return _gone(error, *gone[0])
    where = " or ".join(f"the {what} {folder}" for folder, what in places)
    match error.errno:
        case errno.ENOSPC:
            free = ", ".join(_free(folder) for folder, _ in places)
            return f"{where}: its disk is full ({free}). Free some, {AGAIN}"
        case errno.EDQUOT:
            return f"{where}: the quota of its disk is used up. Free some, {AGAIN}"
        case errno.EFBIG:
            return (
                f"{where}: a file grew larger than this process or file system allows. Raise the "
                f"limit (ulimit -f), {AGAIN}"
            )
    return f"{where} is on a disk that is read-only. Make it writable, {AGAIN}"


def _trouble_of_folder(error: OSError, folder: Path, what: str) -> str:
    if not _is_there(folder):
        return _gone(error, folder, what)
    where = f"the {what} {folder}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{where} can't be written, for want of rights ({error.filename}). Give them to "
            f"{_user()}, {AGAIN}"
        )
    return f"{where} can't be reached ({error.strerror}). Bring it back, {AGAIN}"


def _gone(error: OSError, folder: Path, what: str) -> str:
    return (
        f"the {what} {folder} is gone or can't be reached ({error.strerror}): was it moved, or its "
        f"disk unmounted? Bring it back, {AGAIN}"
    )


def _blamed(error: OSError, minded: Place) -> list[Place]:
    """Where a disk may be full or read-only: where the error's file is, if it names one. A failed
    write names none, so then those of the minded folder and of temporary files that look like it.
    """
    temporary = Path(tempfile.gettempdir()), TEMPORARY
    names = _names(error)
    if names:
        for folder, what in (minded, temporary):
            if any(name.is_relative_to(folder.absolute()) for name in names):
                return [(folder, what)]
        return [(names[0].parent, "folder")]
    places = [minded] if _on_one_disk(minded[0], temporary[0]) else [minded, temporary]
    return [place for place in places if _looks_like_it(error, place[0])] or places


def _looks_like_it(error: OSError, folder: Path) -> bool:
    try:
        facts = os.statvfs(folder)
    except OSError:
        return True
    if error.errno == errno.EROFS:
        return bool(facts.f_flag & os.ST_RDONLY)
    if error.errno == errno.ENOSPC:
        no_files = bool(facts.f_files) and not facts.f_favail
        return no_files or facts.f_bavail * facts.f_frsize < ROOM_BYTES
    return False


def _on_one_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


def _names(error: OSError) -> list[Path]:
    names = (error.filename, error.filename2)
    return [Path(name).absolute() for name in names if isinstance(name, str | Path)]


def _is_about(error: OSError, folder: Path) -> bool:
    below = any(name.is_relative_to(folder.absolute()) for name in _names(error))
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
