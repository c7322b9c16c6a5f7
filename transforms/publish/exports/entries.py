"""Reading the entries of a finished dataset, shard by shard, in the order of their shards."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from schemas.sample import SPLITS, Sample, SampleMedia, Split
from transforms.publish.check_shards import MAX_JSON_BYTES
from transforms.publish.manifest import MANIFEST_FILE, Manifest
from transforms.publish.planning import Partition
from transforms.publish.shards import SHARD_PATTERN
from transforms.publish.tars import BadTarError, MemberView, members, read_member


class BadDatasetError(ValueError):
    """A dataset can't be read; the message says where and why."""


@dataclass(frozen=True)
class Entry:
    """One sample with its clip; `mp4` can be read until the next entry is asked for."""

    sample: Sample
    partition: Partition
    mp4: MemberView
    shard: str
    """Path of its shard, relative to the dataset."""

    @property
    def clip(self) -> SampleMedia:
        """The medium that the mp4 holds."""
        return self.sample.media[0]

    def mp4_bytes(self) -> bytes:
        """The whole mp4."""
        self.mp4.seek(0)
        return self.mp4.read()


def read_manifest(dataset: Path) -> Manifest:
    """The manifest of a dataset. Raises BadDatasetError if there is none, or another thing."""
    path = dataset / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadDatasetError(
            f"{path}: can't be read ({error.strerror}); is it a dataset?"
        ) from error
    except ValidationError as error:
        raise BadDatasetError(
            f"{path}: is no manifest of this version; run: proofreel check"
        ) from error


def read_entries(dataset: Path, splits: Collection[Split] = SPLITS) -> Iterator[Entry]:
    """All entries of some splits, by split and partition, then in the order of the shards.

    Raises BadDatasetError, naming shard and key, at the first entry that is not as it should be;
    `proofreel check` names them all.
    """
    for shard in sorted(read_manifest(dataset).shards, key=lambda shard: shard.path):
        match = SHARD_PATTERN.fullmatch(shard.path)
        if match is None:
            raise BadDatasetError(f"{MANIFEST_FILE}: {shard.path!r} is no path of a shard")
        if match[1] in splits:
            yield from _shard_entries(dataset / shard.path, shard.path, cast(Partition, match[2]))


def _shard_entries(path: Path, name: str, partition: Partition) -> Iterator[Entry]:
    try:
        with path.open("rb") as file:
            found = members(file, path.stat().st_size)
            for json_part in found:
                mp4_part = next(found, None)
                key = json_part.name.removesuffix(".json")
                if mp4_part is None or (json_part.name, mp4_part.name) != (
                    f"{key}.json",
                    f"{key}.mp4",
                ):
                    raise BadDatasetError(f"{name}: {json_part.name}: is no .json beside its .mp4")
                if json_part.size > MAX_JSON_BYTES:
                    raise BadDatasetError(f"{name}: {key}: {json_part.size} bytes of JSON")
                sample = Sample.from_json(read_member(file, json_part))
                if sample.id != key or not sample.media or sample.media[0].part != "mp4":
                    raise BadDatasetError(
                        f"{name}: {key}: the sample is {sample.id!r}, or has no mp4"
                    )
                yield Entry(sample, partition, MemberView(file, mp4_part), name)
    except (OSError, BadTarError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BadDatasetError(f"{name}: {reason}; proofreel check names every fault") from error
