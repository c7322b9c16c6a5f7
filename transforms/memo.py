"""The memo store: results of expensive work, under a key made of what they were made from.

An entry is a folder `<step>/<k[:2]>/<key>/` that holds `result.json` and the files that belong to
it. It is built beside its place and renamed into it whole, so an entry is there completely or not
at all, whenever the process is killed. That is resumption, retry safety and replay in one.
"""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.base import canonical_json, content_hash

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class MemoStore:
    """A memo store in a local folder.

    It holds nothing but its path, so that it can travel to workers.
    """

    root: str

    def entry(self, step: str, *made_from: Any) -> Entry:
        """The entry of `step` for what it is made from: ids, settings, the step's version."""
        key = content_hash(step, *made_from)
        return Entry(self.root, step, key)

    def path(self, ref: str) -> Path:
        """Where a stored file lies, given its reference. Raises ValueError if it leads outside."""
        path = Path(self.root, ref).resolve()
        if not path.is_relative_to(Path(self.root).resolve()):
            raise ValueError(f"{ref!r} leads outside of the memo store")
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is needed only for a while; `sweep` finds it if the process dies."""
        folder = Path(self.root, "tmp", f"scratch-{uuid.uuid4().hex}")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, ref: str) -> None:
        """Remove the entry that a stored file belongs to: it turned out to be damaged."""
        shutil.rmtree(self.path(ref).parent, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed runs left half-built. Only while no other run uses the store."""
        shutil.rmtree(Path(self.root, "tmp"), ignore_errors=True)


@dataclass(frozen=True)
class Entry:
    """One place in the store: a result and its files, or nothing yet."""

    root: str
    step: str
    key: str

    @property
    def _ref(self) -> str:
        return f"{self.step}/{self.key[:2]}/{self.key}"

    def ref(self, name: str) -> str:
        """Reference of a file of this entry, relative to the store."""
        return f"{self._ref}/{name}"

    def get(self) -> Any | None:
        """The stored result, or None."""
        place = Path(self.root, self._ref)
        try:
            stored = json.loads((place / RESULT_FILE).read_text("utf-8"))
            sizes = {name: (place / name).stat().st_size for name in stored["files"]}
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            # A machine that lost power can leave a file without its content.
            return None
        return stored["result"] if sizes == stored["files"] else None

    def put(self, result: Any) -> None:
        """Store a result that has no files."""
        with self.building() as folder:
            self.finish(folder, result)

    @contextmanager
    def building(self) -> Iterator[Path]:
        """A fresh folder to put files into; `finish` makes it the entry, otherwise it goes."""
        folder = Path(self.root, "tmp", f"{self.key[:16]}-{uuid.uuid4().hex}")
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, folder: Path, result: Any) -> None:
        """Make the folder the entry, with `result`. The first to finish wins, the rest agree."""
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        files.pop(RESULT_FILE, None)
        text = canonical_json({"result": result, "files": files})
        (folder / RESULT_FILE).write_text(text, "utf-8")
        place = Path(self.root, self._ref)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError as error:
            # Another worker finished the same work first: same key, same content.
            if self.get() is not None:
                return
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            # What lies there is no entry: out of the way with it.
            with self.building() as aside, suppress(FileNotFoundError):
                place.rename(aside / "broken")
            self.finish(folder, result)
