"""A memo store on another filesystem, with copies of its files on this machine.

An object store can't rename a folder, so an entry is made whole otherwise: its files go first and
`result.json`, which states their sizes, last. Without it there is no entry; with it, but with a
file missing or of another size, neither. What a killed run has put without a result does no harm:
the next one puts it anew under the same names. Of two who finish the same work the first one stays,
unless both do in the same moment: then it is the last, and a reply of a teacher can be the other's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from schemas.base import canonical_json, content_hash
from transforms import cache
from transforms.lookups import note_made
from transforms.memo import RESULT_FILE, Entry, MemoStore, is_inside
from transforms.storage import delete, is_remote, joined, listed, put, read, write


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
        url = joined(self.root, ref)
        copy = cache.brought(url)
        if copy is None:
            raise FileNotFoundError(f"{url} is gone; run it again")
        return copy

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with cache.making() as folder:
            yield folder

    def forget(self, ref: str) -> None:
        """Remove the entry that a stored file belongs to, here and there: it is damaged."""
        folder = joined(self.root, str(PurePosixPath(ref).parent))
        # What makes it an entry goes first.
        delete([joined(folder, RESULT_FILE)])
        others = [one.url for one in listed(folder)]
        delete(others)
        for url in others:
            cache.drop(url)

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
        data = read(joined(self._url, RESULT_FILE))
        try:
            stored = json.loads(data or b"")
            files, result = dict(stored["files"]), stored["result"]
        except (ValueError, TypeError, KeyError):
            return None
        if files:
            there = {one.url: one.size_bytes for one in listed(self._url)}
            if any(there.get(joined(self._url, name)) != size for name, size in files.items()):
                return None
        return result

    def put(self, result: Any) -> Any:
        if (first := self._read()) is not None:
            return first
        return self._finish(result, {})

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
        files = sorted(path for path in folder.iterdir() if path.name != RESULT_FILE)
        sizes = {path.name: path.stat().st_size for path in files}
        for path in files:
            put(path, joined(self._url, path.name))
        self._finish(result, sizes)
        for path in files:
            cache.adopt(path, joined(self._url, path.name))
        return result

    def _finish(self, result: Any, sizes: dict[str, int]) -> Any:
        note_made(self.step)
        text = canonical_json({"result": result, "files": sizes})
        write(joined(self._url, RESULT_FILE), text.encode("utf-8"))
        return result
