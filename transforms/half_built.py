"""Folders in which something is built, each held by a lock, so that what killed processes left can
be told from what others are at.

Beside each folder lies a file that its builder has locked. The lock goes with the process, however
that ends: whoever can take it may remove the folder. Where the file system has no locks nothing can
be told, so there, and for what lies without a lock file, only age counts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_SUFFIX = ".lock"
STALE_S = 2 * 86_400.0
"""What nobody has touched for so long is nobody's. Nothing is built for longer than a day."""


@contextmanager
def half_built(parent: Path, name: str) -> Iterator[Path]:
    """A fresh folder below `parent`, which must exist; it is gone after the block, unless it was
    moved away. Raises OSError."""
    # The host: some mounts keep locks on their own machine, where no other can see them.
    path = parent / f"{name}-{socket.gethostname()}-{uuid.uuid4().hex}"
    lock = path.with_name(path.name + LOCK_SUFFIX)
    descriptor = _locked(lock)
    try:
        path.mkdir()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _locked(lock: Path) -> int:
    """Make the lock file and take its lock; gives what holds it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_ours(descriptor, lock):
            return descriptor
        # A sweeper came in between making and locking, and took it for left: it is removing it.
        os.close(descriptor)


def _is_ours(descriptor: int, lock: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks here, so nobody sweeps but by age
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def sweep(parent: Path) -> None:
    """Remove what killed processes left below `parent`; what others are at stays."""
    names = {path.name for path in parent.glob("*")}
    for name in sorted(names):
        path = parent / name
        if name.endswith(LOCK_SUFFIX):
            _sweep_held(path, path.with_name(name.removesuffix(LOCK_SUFFIX)))
        elif name + LOCK_SUFFIX not in names and _is_stale(path):
            shutil.rmtree(path, ignore_errors=True)


def _sweep_held(lock: Path, path: Path) -> None:
    if f"-{socket.gethostname()}-" not in lock.name and not _is_stale(path, lock):
        return
    with suppress(OSError):
        descriptor = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            lock.unlink()
        finally:
            os.close(descriptor)


def _is_stale(*paths: Path) -> bool:
    """Whether none of them, nor what lies in them, was touched for long."""
    newest = 0.0
    for path in paths:
        for one in (path, *_below(path)):
            with suppress(FileNotFoundError):
                newest = max(newest, one.stat().st_mtime)
    return _now_s(paths[0].parent) - newest > STALE_S


def _below(folder: Path) -> Iterator[Path]:
    """What lies in a folder that others may remove at the same time; pathlib's raises then."""
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))


def _now_s(folder: Path) -> float:
    """The time by the clock of the file system, which may be another machine's."""
    probe = folder / f"{uuid.uuid4().hex}{LOCK_SUFFIX}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
