"""Formats that take the dataset's own shards: copied whole, as they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from schemas.sample import SPLITS, Split
from transforms.publish.exports.base import Exporter
from transforms.publish.exports.entries import BadDatasetError, Entry, read_manifest
from transforms.publish.files import COPY_BYTES, replacing
from transforms.publish.shards import SHARD_PATTERN


@dataclass
class ShardExporter(Exporter):
    """Reads every entry, so that no damaged shard goes out, then copies the shards.

    Never links: tools of these formats change shards in place (`energon prepare
    --fix-duplicates`), and an export must not change with its dataset.
    """

    shards: list[str] = field(init=False, default_factory=list)
    """Paths of those taken, relative to the dataset and to the export alike, in order."""
    _keys: set[str] = field(init=False, default_factory=set)

    splits: ClassVar[tuple[Split, ...]] = SPLITS
    canonical: ClassVar[bool] = True
    behind: ClassVar[str] = (
        "The shards are the dataset's own, with all that it says of a sample; its index and what "
        "it rejected stay with it."
    )

    def add(self, entry: Entry) -> None:
        """Count the entry. Raises BadDatasetError if its key comes a second time."""
        if entry.sample.id in self._keys:
            raise BadDatasetError(f"{entry.shard}: key {entry.sample.id} comes twice")
        self._keys.add(entry.sample.id)
        if entry.shard not in self.files.counts:
            self.shards.append(entry.shard)
        self.files.count(entry.shard)

    def finish(self) -> None:
        """Copy the shards. Raises BadDatasetError if one is missing, or not what is listed."""
        refuse_gaps(self.shards)
        listed = {one.path: one.sha256 for one in read_manifest(self.dataset).shards}
        for shard in self.shards:
            if copy_file(self.dataset / shard, self.out / shard) != listed[shard]:
                raise BadDatasetError(
                    f"{shard}: is not the shard that the manifest lists; run: proofreel check"
                )

    def partitions(self) -> dict[Split, dict[str, list[str]]]:
        """The shards taken, by split in their usual order, then by partition: `train` first."""
        found: dict[Split, dict[str, list[str]]] = {}
        for split in SPLITS:
            names = [one for one in self.shards if one.startswith(f"{split}/")]
            parts = groupby(names, key=lambda one: one.split("/")[1].split("-")[0])
            if names:
                found[split] = {part: list(group) for part, group in parts}
        return found

    def first(self) -> tuple[Split, str, list[str]]:
        """A split with one of its partitions and that one's shards, to show how it is read."""
        split, parts = next(iter(self.partitions().items()))
        partition, shards = next(iter(parts.items()))
        return split, partition, shards


def refuse_gaps(shards: list[str]) -> None:
    """Raise BadDatasetError unless shards are numbered from 0 on: readers expand braces."""
    for place, group in groupby(sorted(shards), key=lambda shard: shard.rsplit("-", 1)[0]):
        numbers = [int(match[3]) for one in group if (match := SHARD_PATTERN.fullmatch(one))]
        if numbers != list(range(len(numbers))):
            missing = min(set(range(len(numbers))) - set(numbers))
            raise BadDatasetError(f"{place}-{missing:06}.tar: is missing or empty among the shards")


def braced(shards: list[str]) -> str:
    """Shards of one split and partition as one name: `sft/train-{000000..000004}.tar`."""
    first, last = shards[0], shards[-1]
    if first == last:
        return first
    place, number = first.removesuffix(".tar").rsplit("-", 1)
    return f"{place}-{{{number}..{last.removesuffix('.tar').rsplit('-', 1)[1]}}}.tar"


def copy_file(source: Path, target: Path) -> str:
    """Copy a file; gives the SHA-256 of what was copied back."""
    digest = hashlib.sha256()
    with source.open("rb") as read, replacing(target) as write:
        while piece := read.read(COPY_BYTES):
            digest.update(piece)
            write.write(piece)
    return digest.hexdigest()
