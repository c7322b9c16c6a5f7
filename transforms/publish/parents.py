"""Finished datasets that another one is to be made of: opened, and compared before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.base import SCHEMA_VERSION
from schemas.rejection import Rejection
from transforms.publish.check import read_manifest
from transforms.publish.check_shards import file_faults
from transforms.publish.check_tables import BadTableError, read_rows
from transforms.publish.index import INDEX_SCHEMA, REJECTED_SCHEMA
from transforms.publish.lineage import INHERITED_FILE, parent_card, parent_file
from transforms.publish.manifest import (
    CARD_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    REJECTED_FILE,
    REWARDS_FILE,
    Manifest,
)

MAX_FILE_BYTES = 64 << 20
"""Of a manifest, a card or rewards.py."""


class DeriveError(Exception):
    """A dataset that can't be made; the message says why and what to do."""


@dataclass(frozen=True)
class Parent:
    """A finished dataset."""

    name: str
    """As the user named it."""
    folder: Path
    sha256: str
    """Of its manifest."""
    manifest: Manifest
    rewards: bytes

    def rows(self) -> Iterator[dict[str, Any]]:
        """Those of its index, read as they are asked for. Raises DeriveError."""
        try:
            yield from read_rows(self.folder, INDEX_FILE, INDEX_SCHEMA)
        except BadTableError as bad:
            raise _not_whole(self.name, bad.faults) from bad

    def rejections(self) -> Iterator[Rejection]:
        """Why things were left out of it."""
        try:
            for row in read_rows(self.folder, REJECTED_FILE, REJECTED_SCHEMA):
                yield Rejection.model_validate(row)
        except BadTableError as bad:
            raise _not_whole(self.name, bad.faults) from bad
        except ValidationError as error:
            raise DeriveError(
                f"{self.name}: {REJECTED_FILE}: {error.errors()[0]['msg']}"
            ) from error


def open_parents(folders: Sequence[Path]) -> list[Parent]:
    """The datasets in the order of their hashes, so that the order of naming does not matter.

    Raises DeriveError if one can't be read, or they can't be made one.
    """
    parents = sorted((_opened(folder) for folder in folders), key=lambda parent: parent.sha256)
    for one, other in pairwise(parents):
        if one.sha256 == other.sha256:
            raise DeriveError(f"{one.name} and {other.name} are the same dataset")
        if one.rewards != other.rewards:
            raise DeriveError(
                f"{one.name} and {other.name} were graded by different versions of {REWARDS_FILE}; "
                "a dataset has one grader. Make the older one again with proofreel run, which "
                "looks up all that is unchanged"
            )
    return parents


def _opened(given: Path) -> Parent:
    folder = given / "dataset" if (given / "dataset").is_dir() else given
    name = str(given)
    manifest, faults = read_manifest(folder)
    if manifest is None or faults:
        raise _not_whole(name, faults)
    if manifest.schema_version != SCHEMA_VERSION:
        raise DeriveError(
            f"{name}: has schema {manifest.schema_version!r}; this version of proofreel reads "
            f"{SCHEMA_VERSION!r}"
        )
    for file in (INDEX_FILE, REJECTED_FILE):
        for fault in file_faults(folder / file, file, manifest.files.get(file, "")):
            raise _not_whole(name, [fault])
    data = _bytes_of(name, folder / MANIFEST_FILE)
    return Parent(
        name=name,
        folder=folder,
        sha256=hashlib.sha256(data).hexdigest(),
        manifest=manifest,
        rewards=_listed(name, folder, REWARDS_FILE, manifest),
    )


def _not_whole(name: str, faults: Sequence[object]) -> DeriveError:
    return DeriveError(f"{name}: {faults[0] if faults else 'is not whole'}; see proofreel check")


def inherited_files(parents: Sequence[Parent]) -> dict[str, bytes]:
    """The manifests and cards of the parents and of theirs, by name."""
    files: dict[str, bytes] = {}
    for parent in parents:
        for name in sorted(filter(INHERITED_FILE.fullmatch, parent.manifest.files)):
            files[name] = _listed(parent.name, parent.folder, name, parent.manifest)
        files[parent_file(parent.sha256)] = _bytes_of(parent.name, parent.folder / MANIFEST_FILE)
        card = _listed(parent.name, parent.folder, CARD_FILE, parent.manifest)
        files[parent_card(parent.sha256)] = card
    return files


def _listed(name: str, folder: Path, file: str, manifest: Manifest) -> bytes:
    """A small file, if it is the one that the manifest means."""
    data = _bytes_of(name, folder / file)
    if hashlib.sha256(data).hexdigest() != manifest.files.get(file):
        raise DeriveError(f"{name}: {file} is not what the manifest says; see proofreel check")
    return data


def _bytes_of(name: str, path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DeriveError(f"{name}: {path.name} is not there")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DeriveError(f"{name}: {path.name} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DeriveError(f"{name}: {path.name}: {error.strerror}") from error
