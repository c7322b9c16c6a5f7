"""A memo store on another filesystem, with copies of its files on this machine.

An object store can't rename a folder, so an entry is made whole otherwise. Its files go first, each
under a name that holds the hash of its content, and `result.json`, which says these names and the
sizes, last. Without it there is no entry; with it, but with a file missing or of another size,
neither. What a killed run has put without a result does no harm.

Of two who finish the same work the first one stays. Where a filesystem has no request for that,
and both finish in the same moment, it is the last; but whichever result stands, its own files are
there, never the other's. What the other one put costs room until the entry is forgotten.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.base import canonical_json, content_hash
from transforms import cache
from transforms.lookups import note_made
from transforms.memo import RESULT_FILE, Entry, MemoStore, is_inside
from transforms.storage import delete, is_remote, joined, listed, put, read, write, write_new

KNOWN_ENTRIES = 10_000
HASH_CHARS = 20


def open_store(root: str) -> MemoStore:
    """The memo store in a folder of this machine, or at a URL."""
    return RemoteMemoStore(root) if is_remote(root) else MemoStore(root)


@dataclass(frozen=True)
class RemoteMemoStore(MemoStore):
    """A memo store at a URL. Methods raise StorageError where that can't be reached."""

    def prepare(self) -> MemoStore:
        """Look whether it can be reached: there are no folders to be made."""
        listed(joined(self.root, "tmp"))
        return replace(self, prepared=True)

    def check(self) -> None:
        """Raises StorageError if it can't be reached any more."""
        listed(joined(self.root, "tmp"))

    def entry(self, step: str, *made_from: Any) -> Entry:
        return RemoteEntry(self.root, step, content_hash(step, *made_from))

    def path(self, ref: str) -> Path:
        """A copy of a stored file. Raises ValueError if the reference leads outside."""
        if is_remote(ref) or not is_inside(ref):
            raise ValueError(f"{ref!r} leads outside of the memo store")
        folder, _, name = ref.rpartition("/")
        entry = joined(self.root, folder)
        known = _KNOWN.get(entry)
        # What was known is asked for anew where it is not there any more.
        for stored in (known, None) if known else (None,):
            files = stored or _files_of(entry)
            if name not in files:
                continue
            file = files[name]
            copy = cache.brought(file.url, file.made_of)
            if copy is not None and copy.stat().st_size == file.size_bytes:
                return copy
            cache.drop(file.url, file.made_of)
        _KNOWN.drop(entry)
        # Without the URL: this may become the published detail of a rejection.
        raise FileNotFoundError(f"{ref} is gone from the memo store; run it again")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with cache.making() as folder:
            yield folder

    def forget(self, ref: str) -> None:
        """Remove the entry that a stored file belongs to, here and there: it is damaged."""
        folder = joined(self.root, str(PurePosixPath(ref).parent))
        for file in (*(_KNOWN.get(folder) or {}).values(), *_files_of(folder).values()):
            cache.drop(file.url, file.made_of)
        _KNOWN.drop(folder)
        # What makes it an entry goes first. What comes meanwhile is another's, who makes it anew.
        others = [one.url for one in listed(folder)]
        delete([joined(folder, RESULT_FILE)])
        delete(others)

    def sweep(self) -> None:
        """What killed runs left half-built is on their machines; here, then, it goes when old."""
        cache.sweep_cache()


@dataclass(frozen=True)
class RemoteEntry(Entry):
    """One place in a store at a URL."""

    @property
    def _url(self) -> str:
        return joined(self.root, self._ref)

    def _read(self) -> Any | None:
        stored = _stored(self._url)
        if stored is None:
            return None
        if stored.files:
            there = {one.url: one.size_bytes for one in listed(self._url)}
            if any(there.get(file.url) != file.size_bytes for file in stored.files.values()):
                return None
        _KNOWN.put(self._url, stored.files)
        return stored.result

    def put(self, result: Any) -> Any:
        return self._finish(result, {}, {})

    @contextmanager
    def building(self) -> Iterator[Path]:
        with cache.making() as folder:
            yield folder

    def finish(self, folder: Path, result: Any) -> Any:
        """Put the folder's files, then `result`; keep the files here as copies.

        Gives the result that holds from now on.
        """
        if (first := self._read()) is not None:
            return first
        files = {path.name: path for path in folder.iterdir() if path.name != RESULT_FILE}
        sizes = {name: path.stat().st_size for name, path in sorted(files.items())}
        names = {name: _stored_name(path) for name, path in files.items()}
        for name in sizes:
            put(files[name], joined(self._url, names[name]))
        standing = self._finish(result, sizes, names)
        # What was made here, and stands there, is a copy already.
        for name, file in (_KNOWN.get(self._url) or {}).items():
            if name in names and file.url == joined(self._url, names[name]):
                cache.adopt(files[name], file.url, file.made_of)
        return standing

    def _finish(self, result: Any, sizes: dict[str, int], names: dict[str, str]) -> Any:
        """Put the result; gives the one that holds from now on."""
        note_made(self.step)
        place = joined(self._url, RESULT_FILE)
        text = canonical_json({"result": result, "files": sizes, "names": names})
        data = text.encode("utf-8")
        if not write_new(place, data):
            if (first := self._read()) is not None:
                return first
            # What stands there is no entry, or none can be put on condition.
            write(place, data)
            # Somebody else may have done the same just now.
            if (standing := self._read()) is not None:
                return standing
        stored = _parsed(self._url, data)
        assert stored is not None
        _KNOWN.put(self._url, stored.files)
        return result


def _stored_name(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # The end stays: it tells the format.
    return f"{digest[:HASH_CHARS]}-{path.name}"


@dataclass(frozen=True)
class _File:
    """A file of an entry, as its result speaks of it."""

    url: str
    size_bytes: int
    made_of: str
    """Tells it from what stood there before the entry was forgotten and made anew."""


@dataclass(frozen=True)
class _Stored:
    result: Any
    files: dict[str, _File]
    """By the names they were given."""


def _stored(url: str) -> _Stored | None:
    """What stands at an entry; its files may be missing."""
    return _parsed(url, read(joined(url, RESULT_FILE)) or b"")


def _parsed(url: str, data: bytes) -> _Stored | None:
    try:
        stored = json.loads(data)
        sizes: dict[str, int] = dict(stored["files"])
        result = stored["result"]
        # An entry that was copied from a folder has none.
        names: dict[str, str] = dict(stored.get("names", {}))
    except (ValueError, TypeError, KeyError):
        return None
    made_of = hashlib.sha256(data).hexdigest()
    files = {
        name: _File(joined(url, names.get(name, name)), size, made_of)
        for name, size in sizes.items()
    }
    return _Stored(result, files)


def _files_of(url: str) -> dict[str, _File]:
    stored = _stored(url)
    if stored is None:
        return {}
    _KNOWN.put(url, stored.files)
    return stored.files


class _Known:
    """Files of the entries that this process has looked up or made, so that their copies cost no
    request; those looked up the longest ago go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, dict[str, _File]] = OrderedDict()

    def get(self, url: str) -> dict[str, _File] | None:
        with self._lock:
            return self._files.get(url)

    def put(self, url: str, files: dict[str, _File]) -> None:
        if not files:
            return
        with self._lock:
            self._files[url] = files
            self._files.move_to_end(url)
            while len(self._files) > KNOWN_ENTRIES:
                self._files.popitem(last=False)

    def drop(self, url: str) -> None:
        with self._lock:
            self._files.pop(url, None)

    def clear(self) -> None:
        with self._lock:
            self._files.clear()


_KNOWN = _Known()
