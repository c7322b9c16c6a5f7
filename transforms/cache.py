"""Copies, on this machine, of files that lie elsewhere: whole or not at all, and bounded.

A file is copied beside its place and renamed into it once its size is right. When the copies take
more room than they may, those that were used the longest ago go; none that was asked for within the
last hour, since whoever asked may be about to open it.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.base import content_hash
from transforms.half_built import half_built, sweep
from transforms.outcome import StopRunError
from transforms.storage import StorageError, fetch
from transforms.trouble import minding

FOLDER_VARIABLE, SIZE_VARIABLE = "PROOFREEL_CACHE", "PROOFREEL_CACHE_GB"
COPIES = f"folder of copies of remote files ({FOLDER_VARIABLE} names another)"
DEFAULT_GB = 50.0
KEPT_S = 3_600.0
"""A copy that was asked for so recently stays, whatever room it takes."""
NUM_LOCKS = 64
ROOM_PARTS = 20
"""How often the room that copies take is looked at: each time so great a part of it has come in."""

_locks = [threading.Lock() for _ in range(NUM_LOCKS)]


@dataclass
class _Growth:
    """How much came in since the room was last looked at; the first copy looks at once."""

    since_bytes: float = float("inf")


_growth = _Growth()


def cache_folder() -> Path:
    """Where copies lie: PROOFREEL_CACHE, else `proofreel` in the user's folder of caches."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(caches) if caches else Path.home() / ".cache") / "proofreel"
    except RuntimeError as error:
        raise StopRunError(
            f"there is no home folder for copies of remote files; set {FOLDER_VARIABLE}"
        ) from error


def limit_bytes() -> float:
    """How much room copies may take. Raises StopRunError for what is no number."""
    text = os.environ.get(SIZE_VARIABLE, str(DEFAULT_GB))
    try:
        return float(text) * 1e9
    except ValueError as error:
        raise StopRunError(f"{SIZE_VARIABLE}={text!r} is no number of gigabytes") from error


def brought(
    url: str,
    *made_of: object,
    size_bytes: int | None = None,
    changed_s: float | None = None,
) -> Path | None:
    """The copy of a file, made now if there is none yet; None if there is no such file.

    `made_of`: what tells contents of one URL apart. `changed_s`: when the file was last changed
    (Unix time), so that its copy says the same on every machine. Raises StorageError, also where
    the file has another size than `size_bytes`, and StopRunError where copies can't be written.
    """
    place = _place(url, *made_of)
    with _locks[int(place.parent.name[:4], 16) % NUM_LOCKS], minding(cache_folder(), COPIES):
        found = _found(place, size_bytes)
        if found is not None:
            return found
        with making() as folder:
            copy = folder / "copy"
            if not fetch(url, copy):
                return None
            size = copy.stat().st_size
            if size_bytes is not None and size != size_bytes:
                raise StorageError(f"{url}: has {size} bytes, not {size_bytes}; was it changed?")
            if changed_s is not None:
                os.utime(copy, (changed_s, changed_s))
            _move(copy, place)
    _grown(size)
    return place


def adopt(path: Path, url: str, *made_of: object) -> None:
    """Take a file that was made here, and put to `url`, as its copy. It must lie in `making()`."""
    size = path.stat().st_size
    _move(path, _place(url, *made_of))
    _grown(size)


def drop(url: str, *made_of: object) -> None:
    """Remove the copy of a file."""
    shutil.rmtree(_place(url, *made_of).parent, ignore_errors=True)


@contextmanager
def making() -> Iterator[Path]:
    """A folder for files in the making, on the same disk as the copies.

    Raises StopRunError where it can't be written, also in place of the block's errors of that kind.
    """
    tmp = cache_folder() / "tmp"
    with minding(cache_folder(), COPIES):
        tmp.mkdir(parents=True, exist_ok=True)
        _sweep_once(tmp)
        with half_built(tmp, "copy") as folder:
            folder.chmod(0o700)
            yield folder


@functools.cache
def _sweep_once(tmp: Path) -> None:
    """As a run is begun elsewhere, nobody else sweeps on the machines of a cluster."""
    with contextlib.suppress(OSError):
        sweep(tmp)


def sweep_cache() -> None:
    """Remove what processes that were killed left half-made; others may be at work."""
    with contextlib.suppress(OSError):
        sweep(cache_folder() / "tmp")


def make_room(limit: float) -> None:
    """Remove copies, those used the longest ago first, until the rest takes no more than `limit`.

    bytes; but none that was asked for within the last hour.
    """
    copies = []
    # Not pathlib's, which raises when another process removes a folder in between.
    everywhere = f"{glob.escape(str(cache_folder()))}/files/*/*/*"
    for found in glob.iglob(everywhere, include_hidden=True):  # noqa: PTH207
        path = Path(found)
        with contextlib.suppress(FileNotFoundError):
            copies.append((path.parent.stat().st_mtime, path.stat().st_size, path))
    taken = sum(size for _, size, _ in copies)
    for _, size, path in sorted(copies):
        if taken <= limit or _age_s(path.parent) < KEPT_S:
            return
        shutil.rmtree(path.parent, ignore_errors=True)
        taken -= size


def _place(url: str, *made_of: object) -> Path:
    key = content_hash(url, *made_of)
    # With its name, since endings tell formats; a URL's last part can't lead elsewhere.
    name = url.rpartition("/")[2][-100:]
    return cache_folder() / "files" / key[:2] / key / (name if name.strip(".") else "file")


def _found(place: Path, size_bytes: int | None) -> Path | None:
    try:
        size = place.stat().st_size
        if size_bytes is not None and size != size_bytes:
            return None
        # The time of its last use: file systems are seldom mounted so that they keep it themselves.
        # The folder's, since whoever reads the file at the moment watches that it does not change.
        os.utime(place.parent)
    except FileNotFoundError:
        return None
    return place


def _move(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        path.replace(place)
    except FileNotFoundError:
        # Somebody who made room took the empty folder away.
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.replace(place)
    os.utime(place.parent)


def _grown(size: int) -> None:
    limit = limit_bytes()
    _growth.since_bytes += size
    if _growth.since_bytes > limit / ROOM_PARTS:
        _growth.since_bytes = 0.0
        make_room(limit)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
