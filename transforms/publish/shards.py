"""Writing a shard: `{key}.json` and `{key}.mp4` side by side in a tar, always the same bytes."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from schemas.base import Record
from schemas.sample import SPLITS, Sample
from transforms.publish.files import PARTIAL_SUFFIX, replacing
from transforms.publish.planning import (
    KEY_PATTERN,
    PARTITIONS,
    TAR_BLOCK,
    PlannedSample,
    ShardPlan,
    plan_sample,
    plan_shards,
)

__all__ = [
    "SHARD_PATTERN",
    "EntryInfo",
    "PlannedSample",
    "ShardInfo",
    "ShardPlan",
    "clear_strays",
    "plan_sample",
    "plan_shards",
    "write_shard",
]

SHARD_PATTERN = re.compile(rf"({'|'.join(SPLITS)})/({'|'.join(PARTITIONS)})-([0-9]{{6}})\.tar")
"""The only paths that shards have: a manifest can't lead a reader anywhere else."""


class EntryInfo(Record):
    """Where one sample lies in its shard; offsets of the content, after the header."""

    key: str
    json_offset: int
    json_bytes: int
    json_sha256: str
    mp4_offset: int
    mp4_bytes: int
    mp4_sha256: str


class ShardInfo(Record):
    """A shard that was written."""

    path: str
    """Relative to the dataset."""
    sha256: str
    bytes: int
    samples: int
    entries: tuple[EntryInfo, ...]


class Mp4(Protocol):
    """Where the bytes of an mp4 come from: a path, or a part of something larger."""

    @property
    def name(self) -> str: ...

    def open(self, mode: Literal["rb"], /) -> AbstractContextManager[Readable]: ...


class Readable(Protocol):
    """All that is needed of an open file."""

    def read(self, size: int = -1, /) -> bytes: ...


def write_shard(
    plan: ShardPlan, samples: Mapping[str, Sample], media: Mapping[str, Mp4], folder: Path
) -> ShardInfo:
    """Write one shard into the dataset `folder`; samples and mp4s are looked up by key, each when
    its turn comes.

    The file is built beside its place and renamed into it. Raises ValueError, and leaves nothing,
    when a sample or its mp4 is not what was planned or the mp4 is not the one the sample names.
    """
    if not SHARD_PATTERN.fullmatch(plan.path):
        raise ValueError(f"{plan.path!r} is no path of a shard; see SHARD_PATTERN")
    # webdataset's TarWriter takes each part as bytes in memory (an mp4 may be large), leaves uid
    # and gid to tarfile's default, and in 1.0.2 does not hand its `format` to tarfile, so that the
    # default format of the Python version decides about the bytes. Hence the standard library.
    with replacing(folder / plan.path) as file:
        hashed = _HashedFile(file)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            entries = tuple(
                _add(tar, planned, samples[planned.key], media[planned.key])
                for planned in plan.samples
            )
    return ShardInfo(
        path=plan.path,
        sha256=hashed.sha256.hexdigest(),
        bytes=hashed.bytes,
        samples=len(entries),
        entries=entries,
    )


def clear_strays(folder: Path, plans: list[ShardPlan]) -> list[str]:
    """Remove shards of an earlier, longer run and what a killed one left half-written.

    Only files in the split folders that are named like shards or like our partial files go; their
    paths are given back.
    """
    wanted = {plan.path for plan in plans}
    removed = []
    for split in SPLITS:
        for path in sorted((folder / split).glob("*")):
            name = f"{split}/{path.name}"
            partial = path.name.startswith(".") and path.name.endswith(PARTIAL_SUFFIX)
            if partial or (SHARD_PATTERN.fullmatch(name) and name not in wanted):
                path.unlink()
                removed.append(name)
    return removed


def _add(tar: tarfile.TarFile, planned: PlannedSample, sample: Sample, mp4: Mp4) -> EntryInfo:
    key = planned.key
    if not KEY_PATTERN.fullmatch(key) or sample.id != key or sample.split != planned.split:
        raise ValueError(
            f"planned as {planned.split} {key!r}, but the sample is {sample.split} {sample.id!r}"
        )
    stated = [one.sha256 for one in sample.media if one.part == "mp4"]
    if len(stated) != 1:
        raise ValueError(f"sample {key} names {len(stated)} media in its mp4 part, not one")
    text = sample.to_json().encode("utf-8")
    if len(text) != planned.json_bytes:
        raise ValueError(f"sample {key} has {len(text)} bytes of JSON, not {planned.json_bytes}")
    json_offset = tar.offset + TAR_BLOCK
    tar.addfile(_header(f"{key}.json", len(text)), io.BytesIO(text))
    mp4_offset = tar.offset + TAR_BLOCK
    with mp4.open("rb") as file:
        reader = _HashedFile(file)
        try:
            tar.addfile(_header(f"{key}.mp4", planned.mp4_bytes), reader)
        except OSError as error:
            raise ValueError(
                f"can't copy {mp4.name} of sample {key}, planned with {planned.mp4_bytes} bytes: "
                f"{error}"
            ) from error
        if file.read(1):
            raise ValueError(f"{mp4.name} of sample {key} is longer than {planned.mp4_bytes} bytes")
    found = reader.sha256.hexdigest()
    if found != stated[0]:
        raise ValueError(
            f"{mp4.name} of sample {key} has sha256 {found}, but the sample says {stated[0]}; "
            "the clip changed after the sample was made: run again"
        )
    return EntryInfo(
        key=key,
        json_offset=json_offset,
        json_bytes=len(text),
        json_sha256=hashlib.sha256(text).hexdigest(),
        mp4_offset=mp4_offset,
        mp4_bytes=planned.mp4_bytes,
        mp4_sha256=found,
    )


def _header(name: str, size: int) -> tarfile.TarInfo:
    """A header that says nothing of who wrote it, when and where."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = 0
    info.mode = 0o644
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


class _HashedFile(io.RawIOBase):
    """Hashes and counts what passes through, either way."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.file.read(size)
        self._count(data)
        return data

    def write(self, data: Any) -> int:
        self._count(data)
        written: int = self.file.write(data)
        return written

    def _count(self, data: bytes) -> None:
        self.sha256.update(data)
        self.bytes += len(data)
