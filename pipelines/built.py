"""What a run has built, before it comes to its place: as its manifest says, and nothing beside it.

A draft belongs to a run, not to one attempt of its engine. A worker that was killed leaves half a
file there, and a job that its engine began anew leaves what the first attempt made and the second
did not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.config import ConfigError
from transforms.draft import Draft
from transforms.outcome import StopRunError
from transforms.publish.files import PARTIAL_SUFFIX
from transforms.publish.manifest import MANIFEST_FILE, Manifest
from transforms.storage import delete, is_remote, joined, listed, read

MAX_MANIFEST_BYTES = 1 << 30


def finished(draft: Draft) -> Manifest:
    """The manifest of the dataset in a draft, from which all that it does not list is removed.

    Half-written records go, too. To be called before a person's own files come in. Raises
    StopRunError where a shard is not as it was written, or the draft is gone; OSError.
    """
    draft.check()
    manifest = Manifest.model_validate_json(manifest_at(draft.dataset) or b"")
    there = sizes(draft.dataset)
    for shard in manifest.shards:
        if there.get(shard.path) != shard.bytes:
            raise StopRunError(
                f"{joined(draft.dataset, shard.path)} has not the {shard.bytes} bytes that were "
                "written; run the same command again"
            )
    known = {MANIFEST_FILE, *manifest.files, *(shard.path for shard in manifest.shards)}
    _remove(draft.dataset, there.keys() - known)
    half = {name for name in sizes(draft.records) if name.endswith(PARTIAL_SUFFIX)}
    _remove(draft.records, half)
    return manifest


def check_no_link(out: Path) -> None:
    """Raises ConfigError where what is to be replaced is a link: that alone would be moved away."""
    for place in (out / "dataset", out / "work" / "records"):
        if place.is_symlink():
            raise ConfigError(
                f"{place} is a link, and each run puts a new folder in its place; move there what "
                f"it leads to ({os.path.realpath(place)}), or make the folder of the run a link"
            )


def manifest_at(dataset: str) -> bytes | None:
    """The manifest of a dataset in a folder, which must have one, or at a URL."""
    if is_remote(dataset):
        return read(joined(dataset, MANIFEST_FILE), MAX_MANIFEST_BYTES)
    return Path(dataset, MANIFEST_FILE).read_bytes()


def sizes(place: str) -> Mapping[str, int]:
    """Sizes of the files in a folder or at a URL, by name."""
    if is_remote(place):
        return {one.url.removeprefix(f"{place}/"): one.size_bytes for one in listed(place)}
    files = (path for path in Path(place).rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): path.stat().st_size for path in files}


def _remove(place: str, names: Iterable[str]) -> None:
    if is_remote(place):
        delete([joined(place, name) for name in sorted(names)])
        return
    for name in names:
        Path(place, name).unlink(missing_ok=True)
