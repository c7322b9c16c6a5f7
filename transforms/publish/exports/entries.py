"""Reading the entries of a finished dataset, shard by shard, in the order of their shards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from schemas.sample import SPLITS, Sample, SampleMedia, Split
from transforms.publish.check_shards import MAX_JSON_BYTES
from transforms.publish.files import COPY_BYTES
from transforms.publish.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    REWARDS_FILE,
    Manifest,
)
from transforms.publish.planning import KEY_PATTERN, Partition
from transforms.publish.shards import SHARD_PATTERN
from transforms.publish.tars import BadTarError, MemberView, members, read_member

_SHA256 = re.compile(r"[0-9a-f]{64}")


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

    def mp4_pieces(self) -> Iterator[bytes]:
        """The mp4 piece by piece. Raises BadDatasetError at its end if it is not the one that the
        sample names."""
        digest = hashlib.sha256()
        self.mp4.seek(0)
        while piece := self.mp4.read(COPY_BYTES):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != self.clip.sha256:
            raise BadDatasetError(
                f"{self.shard}: {self.sample.id}: its mp4 is not the one that the sample names; "
                "proofreel check names every fault"
            )

    def mp4_bytes(self) -> bytes:
        """The whole mp4. Raises BadDatasetError like `mp4_pieces`."""
        return b"".join(self.mp4_pieces())


def read_manifest(dataset: Path) -> Manifest:
    """The manifest of a dataset. Raises BadDatasetError if there is none, or another thing."""
    try:
        return Manifest.model_validate_json(small_file(dataset, MANIFEST_FILE))
    except ValidationError as error:
        raise BadDatasetError(
            f"{dataset / MANIFEST_FILE}: is no manifest of this version; run: proofreel check"
        ) from error


def read_rewards(dataset: Path) -> bytes:
    """The grader of a dataset. Raises BadDatasetError if it is not the one that the manifest means:
    trainers run it."""
    data = small_file(dataset, REWARDS_FILE)
    if hashlib.sha256(data).hexdigest() != read_manifest(dataset).files.get(REWARDS_FILE):
        raise BadDatasetError(
            f"{dataset / REWARDS_FILE}: is not the one that the manifest lists; run: proofreel "
            "check"
        )
    return data


def small_file(dataset: Path, name: str) -> bytes:
    """A file beside the shards. Raises BadDatasetError if it can't be had, or is too large."""
    path = dataset / name
    try:
        if path.exists() and not path.is_file():  # such as a pipe, which would never end
            raise BadDatasetError(f"{path}: is no file")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BadDatasetError(f"{path}: is larger than {MAX_MANIFEST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BadDatasetError(
            f"{path}: can't be read ({error.strerror}); is it a dataset?"
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
        if path.exists() and not path.is_file():
            raise BadDatasetError(f"{name}: is no file")
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
                if why := _misshapen(sample, key):
                    raise BadDatasetError(f"{name}: {key}: {why}; proofreel check names all faults")
                yield Entry(sample, partition, MemberView(file, mp4_part), name)
    except (OSError, BadTarError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BadDatasetError(f"{name}: {reason}; proofreel check names every fault") from error


def _misshapen(sample: Sample, key: str) -> str:
    """Why exporters can't go by a sample: they name files by its hash and follow its ids."""
    if sample.id != key or not KEY_PATTERN.fullmatch(key):
        return f"the sample is {sample.id!r}, or that is no key"
    if not sample.media or sample.media[0].part != "mp4":
        return "its first medium is not its mp4"
    if not _SHA256.fullmatch(sample.media[0].sha256):
        return f"{sample.media[0].sha256!r} is no SHA-256"
    known = {one.id for one in sample.media}
    said = [*sample.messages, *sample.preference.rejected]
    for part in (part for message in said for part in message.parts):
        if part.type != "text" and part.media_id not in known:
            return f"a message shows {part.media_id!r}, which the sample does not have"
    roles = [one.role for one in sample.messages if one.role != "system"]
    if roles[:1] != ["user"]:
        return "no question comes first"
    if sample.split in ("sft", "preference") and "assistant" not in roles:
        return "holds no reply"
    if sample.split == "preference" and not sample.preference.rejected:
        return "holds no rejected reply"
    return ""
