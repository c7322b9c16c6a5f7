"""An output at a URL: the dataset is built on this machine and put there file by file.

An object store has no renaming of folders, so a reader is kept from half a dataset by the manifest:
the old one goes before anything changes, the new one comes last. Nothing keeps two runs from one
URL; `proofreel check` would find what they mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.base import content_hash
from transforms.cache import cache_folder
from transforms.publish.manifest import MANIFEST_FILE
from transforms.storage import delete, joined, listed, put, read

MAX_MANIFEST_BYTES = 1 << 30
NAME_CHARS = 32


@dataclass(frozen=True)
class RemoteOutput:
    """Where a run is put that is made for a URL. Methods raise StorageError."""

    url: str

    @property
    def folder(self) -> Path:
        """Its output folder on this machine, the same each time; `work/` and records stay there."""
        return cache_folder() / "runs" / content_hash(self.url.rstrip("/"))[:NAME_CHARS]

    @property
    def store(self) -> str:
        """The memo store, where no other is given."""
        return joined(self.url, "work", "memo")

    @property
    def dataset(self) -> str:
        return joined(self.url, "dataset")

    def check(self) -> None:
        """Whether it can be reached, before any work."""
        self._there()

    def publish(self) -> int:
        """Put the dataset there; how many files that took. What is there already stays."""
        built = self.folder / "dataset"
        wanted = {path.relative_to(built).as_posix(): path for path in _files(built)}
        there = self._there()
        same = _hashes(read(joined(self.dataset, MANIFEST_FILE), MAX_MANIFEST_BYTES))
        new = _hashes((built / MANIFEST_FILE).read_bytes())
        delete([joined(self.dataset, MANIFEST_FILE)])
        number = 0
        for name, path in sorted(wanted.items()):
            known = name in new and same.get(name) == new[name]
            if name == MANIFEST_FILE or (known and there.get(name) == path.stat().st_size):
                continue
            put(path, joined(self.dataset, name))
            number += 1
        strays = sorted(there.keys() - wanted.keys() - {MANIFEST_FILE})
        delete([joined(self.dataset, name) for name in strays])
        put(wanted[MANIFEST_FILE], joined(self.dataset, MANIFEST_FILE))
        return number + 1

    def _there(self) -> Mapping[str, int]:
        """Sizes of the files of the dataset, by name."""
        files = listed(self.dataset)
        return {one.url.removeprefix(f"{self.dataset}/"): one.size_bytes for one in files}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _hashes(manifest: bytes | None) -> dict[str, str]:
    """SHA-256 of the files that a manifest names; none if it can't be read."""
    try:
        told = json.loads(manifest or b"")
        shards = {shard["path"]: shard["sha256"] for shard in told["shards"]}
        return {**shards, **told["files"]}
    except (ValueError, TypeError, KeyError):
        return {}
