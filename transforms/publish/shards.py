"""Writing a shard: `{key}.json` and `{key}.mp4` side by side in a tar, always the same bytes."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from schemas.base import Record
from schemas.sample import SPLITS, Sample
from transforms.publish.files import replacing
from transforms.publish.known_files import FileState, KnownFiles, file_state
from transforms.publish.manifest import ShardEntry
from transforms.publish.planning import (
    KEY_PATTERN,
    PARTITIONS,
    PlannedSample,
    ShardPlan,
    plan_sample,
    plan_shards,
)
from transforms.publish.shard_file import PIECE_BYTES, ShardFile
from transforms.trouble import DATASET, minding

__all__ = [
    "SHARD_PATTERN",
    "EntryInfo",
    "PlannedSample",
    "ShardInfo",
    "ShardPlan",
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

    @property
    def listed(self) -> ShardEntry:
        """What the manifest says of it."""
        return ShardEntry(
            path=self.path, sha256=self.sha256, bytes=self.bytes, samples=self.samples
        )


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
    # default format of the Python version decides about the bytes. Hence the standard library's
    # headers, and the pieces between them as large as the disk likes them.
    hashes: _Hashes = {}
    with minding(folder, DATASET), replacing(folder / plan.path) as file, ShardFile(file) as shard:
        written = [
            _add(shard, planned, samples[planned.key], media[planned.key], hashes)
            for planned in plan.samples
        ]
        sha256 = shard.finish()
        entries = tuple(one.checked() for one in written)
    for state, found in hashes.items():
        _known.add(state, found())
    return ShardInfo(
        path=plan.path, sha256=sha256, bytes=shard.bytes, samples=len(entries), entries=entries
    )


_known = KnownFiles()
_Hashes = dict[FileState, Callable[[], str]]
"""Of the clips in a shard: what gives the SHA-256 once the shard is finished."""


@dataclass(frozen=True)
class _Written:
    """An entry whose mp4 may still be hashed."""

    entry: EntryInfo
    """With the hash that the sample states."""
    mp4_sha256: Callable[[], str]
    """That of the bytes; not to be called before the shard is finished."""
    mp4_name: str

    def checked(self) -> EntryInfo:
        """The entry. Raises ValueError if the mp4 is not the sample's."""
        found = self.mp4_sha256()
        if found != self.entry.mp4_sha256:
            raise ValueError(
                f"{self.mp4_name} of sample {self.entry.key} has sha256 {found}, but the sample "
                f"says {self.entry.mp4_sha256}; the clip changed after the sample was made: run "
                "again"
            )
        return self.entry


def _add(
    shard: ShardFile, planned: PlannedSample, sample: Sample, mp4: Mp4, hashes: _Hashes
) -> _Written:
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
    shard.write(_header(f"{key}.json", len(text)))
    json_offset = shard.bytes
    shard.write(text)
    shard.pad()
    shard.write(_header(f"{key}.mp4", planned.mp4_bytes))
    mp4_offset = shard.bytes
    mp4_sha256 = _copy_mp4(shard, mp4, planned, hashes)
    shard.pad()
    entry = EntryInfo(
        key=key,
        json_offset=json_offset,
        json_bytes=len(text),
        json_sha256=hashlib.sha256(text).hexdigest(),
        mp4_offset=mp4_offset,
        mp4_bytes=planned.mp4_bytes,
        mp4_sha256=stated[0],
    )
    return _Written(entry, mp4_sha256, mp4.name)


def _copy_mp4(
    shard: ShardFile, mp4: Mp4, planned: PlannedSample, hashes: _Hashes
) -> Callable[[], str]:
    """Copy a clip; gives what gives its SHA-256 once the shard is finished.

    Raises ValueError if it is not as long as planned, or changes meanwhile.
    """
    name = f"{mp4.name} of sample {planned.key}"
    before = _state(mp4)
    known = _hash_of(before, hashes) if before else None
    digest = hashlib.sha256()
    with mp4.open("rb") as file:
        left = planned.mp4_bytes
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            shard.write(piece, None if known else digest)
            left -= len(piece)
        if left or file.read(1):
            size = "shorter" if left else "longer"
            raise ValueError(f"{name} is {size} than {planned.mp4_bytes} bytes, as was planned")
    if _state(mp4) != before:
        raise ValueError(f"{name} changed while it was copied: run again")
    found = known or digest.hexdigest
    if before:
        hashes[before] = found
    return found


def _hash_of(state: FileState, hashes: _Hashes) -> Callable[[], str] | None:
    """What gives the hash of a file, if it is known from this shard or one before."""
    known = _known.get(state)
    return hashes.get(state) or ((lambda: known) if known else None)


def _state(mp4: Mp4) -> FileState | None:
    """The state of an mp4 that is a file of its own."""
    return file_state(mp4) if isinstance(mp4, Path) else None


def _header(name: str, size: int) -> bytes:
    """A header that says nothing of who wrote it, when and where."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = 0
    info.mode = 0o644
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info.tobuf(tarfile.USTAR_FORMAT)
