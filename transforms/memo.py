"""The memo store: results of expensive work, under a key made of what they were made from.

An entry is a folder `<step>/<k[:2]>/<key>/` that holds `result.json` and the files that belong to
it. It is built beside its place and renamed into it whole, so an entry is there completely or not
at all, whenever the process is killed. That is resumption, retry safety and replay in one. Several
runs may work on one store at once: who is first with an entry wins, the others take it from there.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from schemas.base import canonical_json, content_hash
from transforms.half_built import half_built, sweep
from transforms.lookups import note_lookup, note_made
from transforms.trouble import minding

RESULT_FILE = "result.json"
STORE = "memo store"


@dataclass(frozen=True)
class MemoStore:
    """A memo store in a local folder.

    It holds nothing but its path, so that it can travel to workers.
    """

    root: str
    prepared: bool = field(default=False, compare=False)
    """Whether the folder is known to be there. If it is not, its disk is gone, and making it anew
    would write where that disk is to be."""

    def prepare(self) -> MemoStore:
        """Make the folder where it is not there yet. Raises StopRunError if that can't be done."""
        with minding(Path(self.root), STORE):
            Path(self.root, "tmp").mkdir(parents=True, exist_ok=True)
        return replace(self, prepared=True)

    def check(self) -> None:
        """Raises StopRunError if the folder of a prepared store is not there any more."""
        if not self.prepared:
            return
        with minding(Path(self.root), STORE):
            Path(self.root, "tmp").stat()

    def entry(self, step: str, *made_from: Any) -> Entry:
        """The entry of `step` for what it is made from: ids, settings, the step's version."""
        key = content_hash(step, *made_from)
        return Entry(self.root, step, key, self.prepared)

    def path(self, ref: str) -> Path:
        """Where a stored file lies, given its reference. Raises ValueError if it leads outside."""
        root = _real(self.root)
        path = os.path.realpath(f"{root}/{ref}")
        if not is_inside(ref) or not path.startswith(f"{root}/"):
            raise ValueError(f"{ref!r} leads outside of the memo store")
        return Path(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is needed only for a while; `sweep` finds it if the process dies."""
        with _building(self.root, "scratch", self.prepared) as folder:
            yield folder

    def forget(self, ref: str) -> None:
        """Remove the entry that a stored file belongs to: it turned out to be damaged."""
        shutil.rmtree(self.path(ref).parent, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed runs left half-built; others may be at work."""
        sweep(Path(self.root, "tmp"))


def is_inside(ref: str) -> bool:
    """Whether a reference, by its words, names something in the store."""
    return all(part not in ("", ".", "..") for part in ref.split("/"))


@dataclass(frozen=True)
class Entry:
    """One place in the store: a result and its files, or nothing yet."""

    root: str
    step: str
    key: str
    prepared: bool = field(default=False, compare=False)

    @property
    def _ref(self) -> str:
        return f"{self.step}/{self.key[:2]}/{self.key}"

    def ref(self, name: str) -> str:
        """Reference of a file of this entry, relative to the store."""
        return f"{self._ref}/{name}"

    def get(self) -> Any | None:
        """The stored result, or None."""
        result = self._read()
        note_lookup(self.step, found=result is not None)
        return result

    def _read(self) -> Any | None:
        return self._read_at(f"{self.root}/{self._ref}")

    def _read_at(self, place: str) -> Any | None:
        with minding(Path(self.root), STORE):
            try:
                with open(f"{place}/{RESULT_FILE}", "rb") as file:  # noqa: PTH123 - looked up often
                    stored = json.loads(file.read())
                sizes = {
                    name: os.stat(f"{place}/{name}").st_size  # noqa: PTH116
                    for name in stored["files"]
                }
            except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
                # A machine that lost power can leave a file without its content.
                return None
        return stored["result"] if sizes == stored["files"] else None

    def put(self, result: Any) -> Any:
        """Store a result that has no files; gives what holds, as `finish` does."""
        with self.building() as folder:
            return self.finish(folder, result)

    @contextmanager
    def building(self) -> Iterator[Path]:
        """A fresh folder to put files into; `finish` makes it the entry, otherwise it goes."""
        with _building(self.root, self.key[:16], self.prepared) as folder:
            yield folder

    def finish(self, folder: Path, result: Any) -> Any:
        """Make the folder the entry, with `result`; gives the result that holds from now on.

        The first to finish wins: the others get its result, which is not theirs where a teacher or
        another machine was asked twice.
        """
        note_made(self.step)
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        files.pop(RESULT_FILE, None)
        text = canonical_json({"result": result, "files": files})
        (folder / RESULT_FILE).write_text(text, "utf-8")
        place = Path(self.root, self._ref)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError as error:
            if (first := self._read()) is not None:
                return first
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            # What lies there is no entry: out of the way with it.
            with self.building() as aside:
                moved = aside / "broken"
                with suppress(FileNotFoundError):
                    place.rename(moved)
                if (first := self._read_at(str(moved))) is not None:
                    # Another came in between and put a whole one there, which holds.
                    with suppress(OSError):
                        moved.rename(place)
                        return first
            return self.finish(folder, result)
        return result


@functools.lru_cache(16)
def _real(root: str) -> str:
    return os.path.realpath(root)


@contextmanager
def _building(root: str, name: str, prepared: bool) -> Iterator[Path]:
    tmp = Path(root, "tmp")
    with minding(Path(root), STORE):
        if not prepared:
            tmp.mkdir(parents=True, exist_ok=True)
        with half_built(tmp, name) as folder:
            yield folder
