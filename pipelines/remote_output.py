"""An output at a URL: built by workers of this machine here, and put there file by file; built by
those of other machines there, as a draft (`transforms.draft`), and moved to its place.

An object store has no renaming of folders, so a reader is kept from half a dataset by the manifest:
the old one goes before anything changes, the new one comes last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.built import finished, manifest_at, sizes
from pipelines.own_files import is_ours
from pipelines.store import PLACE_FILE
from schemas.base import canonical_json, content_hash
from transforms.cache import brought, cache_folder
from transforms.draft import Draft, new_draft, sweep_drafts
from transforms.outcome import StopRunError
from transforms.publish.manifest import MANIFEST_FILE, REJECTED_FILE, Manifest
from transforms.storage import (
    StorageError,
    delete,
    is_remote,
    joined,
    listed,
    move,
    put,
    write,
)

NAME_CHARS = 32
COPIES_AT_ONCE = 8


@dataclass(frozen=True)
class RemoteOutput:
    """Where a run is put that is made for a URL. Methods raise StorageError."""

    url: str

    @property
    def folder(self) -> Path:
        """Its output folder on this machine, the same each time: the lock is there, and what
        workers of this machine build."""
        return cache_folder() / "runs" / content_hash(self.url.rstrip("/"))[:NAME_CHARS]

    @property
    def work(self) -> str:
        """For what is no part of the dataset."""
        return joined(self.url, "work")

    @property
    def store(self) -> str:
        """The memo store, where no other is given."""
        return joined(self.work, "memo")

    @property
    def dataset(self) -> str:
        return joined(self.url, "dataset")

    @property
    def ours(self) -> tuple[str, str]:
        """Below these is nothing but what runs have put there."""
        return self.dataset, self.work

    def check(self) -> None:
        """Whether it can be reached, before any work."""
        listed(self.dataset)

    def publish(self) -> int:
        """Put the dataset there that was built here; how many files that took."""
        return self._replace(str(self.folder / "dataset"))

    def new_draft(self) -> Draft:
        """For workers that build it there; not made yet."""
        return new_draft(self.work)

    def begin(self, draft: Draft) -> None:
        """Remove what other runs have left there, and make this one's draft."""
        sweep_drafts(self.work)
        draft.begin()

    def publish_draft(self, draft: Draft, store: str) -> Manifest:
        """Move what was built there to its place; `store` is the run's memo store.

        Raises StopRunError where the draft is not whole, before anything is changed, or is gone.
        """
        manifest = finished(draft)
        try:
            self._replace(draft.dataset)
            self._replace_records(draft.records)
        except StorageError:
            # Where another run has taken it away, that is said, and not which file was missed.
            draft.check()
            raise
        place = canonical_json({"store": store})
        write(joined(self.work, PLACE_FILE), place.encode("utf-8"))
        sweep_drafts(self.work)
        return manifest

    def rejected(self, manifest: Manifest) -> Path:
        """A copy of the table of rejections."""
        sha256 = manifest.files[REJECTED_FILE]
        found = brought(joined(self.dataset, REJECTED_FILE), sha256)
        if found is None:
            raise StopRunError(
                f"{joined(self.dataset, REJECTED_FILE)} is gone: did another run end?"
            )
        return found

    def _replace(self, built: str) -> int:
        """Make it the dataset that is built at a place; what is there already stays."""
        wanted, there = sizes(built), sizes(self.dataset)
        same = _hashes(manifest_at(self.dataset))
        new = _hashes(manifest_at(built))
        delete([joined(self.dataset, MANIFEST_FILE)])
        changed = []
        for name, size in sorted(wanted.items()):
            known = name in new and same.get(name) == new[name]
            if name != MANIFEST_FILE and not (known and there.get(name) == size):
                changed.append(name)
        _bring(built, self.dataset, changed)
        strays = sorted(name for name in there.keys() - wanted.keys() if is_ours(name))
        delete([joined(self.dataset, name) for name in strays])
        _bring(built, self.dataset, [MANIFEST_FILE])
        return len(changed) + 1

    def _replace_records(self, built: str) -> None:
        place = joined(self.work, "records")
        wanted, there = sizes(built), sizes(place)
        delete([joined(place, name) for name in sorted(there.keys() - wanted.keys())])
        _bring(built, place, sorted(wanted))


def _bring(built: str, place: str, names: Iterable[str]) -> None:
    """Put files from this machine, or from where they were built there, several at once."""

    def bring(name: str) -> None:
        if is_remote(built):
            move(joined(built, name), joined(place, name))
        else:
            put(Path(built, name), joined(place, name))

    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        list(pool.map(bring, names))


def _hashes(manifest: bytes | None) -> dict[str, str]:
    """SHA-256 of the files that a manifest names; none if it can't be read."""
    try:
        told = json.loads(manifest or b"")
        shards = {shard["path"]: shard["sha256"] for shard in told["shards"]}
        return {**shards, **told["files"]}
    except (ValueError, TypeError, KeyError):
        return {}
