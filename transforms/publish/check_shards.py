"""The shards of a dataset under check: every entry against index, sample and mp4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from schemas.base import canonical_json
from schemas.sample import Sample
from transforms.publish.check_media import media_facts, media_faults
from transforms.publish.check_sample import parse_sample, sample_faults
from transforms.publish.check_split import Found
from transforms.publish.files import sha256_file
from transforms.publish.index import condition_scores_json, origins_of
from transforms.publish.index_on_disk import IndexOnDisk
from transforms.publish.manifest import INDEX_FILE, MANIFEST_FILE, ShardEntry
from transforms.publish.planning import KEY_PATTERN
from transforms.publish.shards import SHARD_PATTERN
from transforms.publish.tars import (
    MAX_JSON_BYTES as MAX_JSON_BYTES,  # exports bound by it, too
)
from transforms.publish.tars import (
    BadTarError,
    Member,
    MemberView,
    members,
    read_member,
    sha256_member,
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    where: str
    """File, and inside of it shard, key and field, joined by `: `."""
    what: str
    """What is wrong, in words."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Checked:
    """A dataset under check."""

    folder: Path
    index: IndexOnDisk
    """Its rows, and what was found of them so far."""
    thresholds: Sequence[Mapping[str, Any]] = ()
    """Those of each run that samples may come from."""
    same_rewards: bool = True


def file_faults(path: Path, name: str, sha256: str) -> Iterator[Fault]:
    """Whether a file is there, readable and the one that the manifest means."""
    try:
        found = sha256_file(path) if path.is_file() else ""
    except OSError as error:
        yield Fault(name, f"can't be read: {error.strerror}")
        return
    if not found:
        yield Fault(name, "is listed in the manifest, but not there")
    elif found != sha256:
        yield Fault(name, f"has sha256 {found}, the manifest says {sha256}")


def shard_faults(dataset: Checked, shard: ShardEntry) -> Iterator[Fault]:
    """All that is wrong with one shard; what was found in it is ticked off in the index."""
    if not SHARD_PATTERN.fullmatch(shard.path):
        yield Fault(f"{MANIFEST_FILE}: shards", f"{shard.path!r} is no path of a shard")
        return
    path = dataset.folder / shard.path
    yield from file_faults(path, shard.path, shard.sha256)
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            size = path.stat().st_size
            if size != shard.bytes:
                yield Fault(shard.path, f"has {size} bytes, the manifest says {shard.bytes}")
            yield from _entries_faults(dataset, shard, file, size)
    except OSError as error:
        yield Fault(shard.path, f"can't be read to its end: {error.strerror}")


def _entries_faults(
    dataset: Checked, shard: ShardEntry, file: IO[bytes], size: int
) -> Iterator[Fault]:
    """Walk the entries: always a .json, then the .mp4 of the same key."""
    entries = 0
    waiting: Member | None = None
    try:
        for member in members(file, size):
            key, _, part = member.name.partition(".")
            if not KEY_PATTERN.fullmatch(key) or part not in ("json", "mp4"):
                yield Fault(f"{shard.path}: {member.name!r}", "is no KEY.json and no KEY.mp4")
                continue
            if part == "json":
                if waiting is not None:
                    yield Fault(f"{shard.path}: {waiting.name}", "has no .mp4 right after it")
                waiting = member
            elif waiting is None or waiting.name != f"{key}.json":
                yield Fault(f"{shard.path}: {member.name}", "has no .json right before it")
            else:
                entries += 1
                yield from _entry_faults(dataset, shard.path, key, file, waiting, member)
                waiting = None
    except BadTarError as error:
        yield Fault(shard.path, str(error))
    if waiting is not None:
        yield Fault(f"{shard.path}: {waiting.name}", "has no .mp4 right after it")
    if entries != shard.samples:
        yield Fault(shard.path, f"holds {entries} samples, the manifest says {shard.samples}")
    if not entries:
        yield Fault(shard.path, "is empty")


def _entry_faults(
    dataset: Checked, shard: str, key: str, file: IO[bytes], text: Member, mp4: Member
) -> Iterator[Fault]:
    at = f"{shard}: {key}"
    if before := dataset.index.found(key, shard):
        yield Fault(at, f"the key is in {before} too")
    mp4_sha256 = sha256_member(file, mp4)
    places = {
        "shard": shard,
        "json_offset": text.offset,
        "json_bytes": text.size,
        "mp4_offset": mp4.offset,
        "mp4_bytes": mp4.size,
        "json_sha256": sha256_member(file, text),
        "mp4_sha256": mp4_sha256,
    }
    row = dataset.index.row(key)
    if row is not None:
        yield from _row_faults(at, row, places)
    elif dataset.index.is_there:
        yield Fault(at, f"has no row in {INDEX_FILE}")
    if text.size > MAX_JSON_BYTES:
        yield Fault(f"{at}: json", f"is larger than {MAX_JSON_BYTES} bytes")
        return
    sample, found = parse_sample(read_member(file, text))
    yield from (Fault(f"{at}: {name}", what) for name, what in found)
    if sample is None:
        return
    yield from _identity_faults(at, shard, key, sample, row)
    if row is not None:
        dataset.index.found_on_side(row["video_id"], _group_of(shard)[1])
    hint = "" if dataset.same_rewards else " (its rewards.py is of another version of proofreel)"
    for name, what in _faults_of(sample, dataset.thresholds):
        graded_otherwise = hint if name == "verdict.checks.answer" else ""
        yield Fault(f"{at}: {name}", what + graded_otherwise)
    yield from _mp4_faults(at, sample, file, mp4, mp4_sha256)


def _faults_of(sample: Sample, thresholds: Sequence[Mapping[str, Any]]) -> list[Found]:
    """What is wrong by the thresholds of the run that suits the sample best."""
    several = [list(sample_faults(sample, one)) for one in thresholds or [{}]]
    return min(several, key=len)


def _group_of(shard: str) -> list[str]:
    """Split and partition of a shard."""
    return shard.split("-")[0].split("/")


def _row_faults(at: str, row: Mapping[str, Any], stated: Mapping[str, Any]) -> Iterator[Fault]:
    """Where an index row says something else than what was found."""
    for name, value in stated.items():
        if row[name] != value:
            yield Fault(f"{at}: {name}", f"is {value!r}, but {INDEX_FILE} says {row[name]!r}")


def _identity_faults(
    at: str, shard: str, key: str, sample: Sample, row: Mapping[str, Any] | None
) -> Iterator[Fault]:
    split, partition = _group_of(shard)
    if sample.id != key:
        yield Fault(f"{at}: id", f"is {sample.id!r}, the entry's key is {key!r}")
    if sample.split != split:
        yield Fault(f"{at}: split", f"is {sample.split!r}, the shard belongs to {split!r}")
    if row is None:
        return
    stated = {
        "split": sample.split,
        "partition": partition,
        "task_kind": sample.answer.kind.value,
        "spans_s": [[one.start_s, one.end_s] for one in sample.grounding.segments],
        "pass_rate": sample.verdict.pass_rate,
        "scores_json": canonical_json({one.name: one.score for one in sample.verdict.checks}),
    }
    if sample.media:
        stated["measures_json"] = sample.media[0].measures.to_json()
    with suppress(ValueError):  # named by sample_faults already
        stated |= origins_of(sample)
    with suppress(ValueError):  # likewise
        stated["condition_scores_json"] = condition_scores_json(sample)
    yield from _row_faults(at, row, stated)


def _mp4_faults(
    at: str, sample: Sample, file: IO[bytes], mp4: Member, sha256: str
) -> Iterator[Fault]:
    media = next((one for one in sample.media if one.part == "mp4"), None)
    if media is None:
        return  # named by sample_faults already
    if media.sha256 != sha256:
        yield Fault(f"{at}: mp4", f"has sha256 {sha256}, the sample says {media.sha256}")
    try:
        facts = media_facts(MemberView(file, mp4))
    except ValueError as error:
        yield Fault(f"{at}: mp4", str(error))
        return
    yield from (Fault(f"{at}: media: {name}", what) for name, what in media_faults(media, facts))
