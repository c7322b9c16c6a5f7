"""Is a dataset whole and true? Everything that it says of itself is looked at again.

The dataset may be hostile: names lead nowhere outside of the folder, sizes are bounded before
anything is read, and whatever does not parse is a fault, not a crash. The list of faults is
complete: each thing is looked at although another one was wrong. Memory does not grow with the
number of samples: the index lies on disk, and shards are read entry by entry.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas import rewards
from schemas.base import SCHEMA_VERSION
from schemas.rejection import Stage
from schemas.sample import SPLITS
from transforms.on_disk import minding_disk, temporary_database
from transforms.publish.check_croissant import croissant_faults
from transforms.publish.check_shards import Checked, Fault, file_faults, shard_faults
from transforms.publish.check_tables import BadTableError, read_rows
from transforms.publish.files import PARTIAL_SUFFIX
from transforms.publish.index import INDEX_SCHEMA, REJECTED_SCHEMA
from transforms.publish.index_on_disk import IndexOnDisk
from transforms.publish.lineage import lineage_of
from transforms.publish.manifest import (
    FILES,
    INDEX_FILE,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    REJECTED_FILE,
    REWARDS_FILE,
    Manifest,
    ShardEntry,
    funnel_faults,
)
from transforms.publish.shards import SHARD_PATTERN

__all__ = ["Fault", "check_dataset", "dataset_faults"]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def check_dataset(dataset_dir: Path) -> list[Fault]:
    """All that is wrong with a dataset; an empty list when it is whole and true.

    Raises StopRunError if temporary files can't be written.
    """
    return list(dataset_faults(dataset_dir))


def dataset_faults(dataset_dir: Path) -> Iterator[Fault]:
    """As `check_dataset`, one after the other, as they are found."""
    manifest, faults = read_manifest(dataset_dir)
    yield from faults
    if manifest is not None:
        with minding_disk("the index"), temporary_database() as database:
            yield from _check(dataset_dir, manifest, IndexOnDisk(database))


def _check(folder: Path, manifest: Manifest, index: IndexOnDisk) -> Iterator[Fault]:
    lineage = lineage_of(folder, manifest)
    dataset = Checked(
        folder=folder,
        index=index,
        thresholds=[_thresholds(run.config) for run in lineage.runs],
        same_rewards=_rewards_are_ours(folder),
    )
    yield from _manifest_faults(manifest)
    yield from lineage.faults
    yield from _file_faults(folder, manifest)
    yield from croissant_faults(folder, manifest)
    yield from _index_faults(folder, index)
    yield from _rejected_faults(folder, manifest)
    yield from _shard_list_faults(folder, manifest.shards)
    for shard in sorted(manifest.shards, key=lambda shard: shard.path):
        yield from shard_faults(dataset, shard)
    yield from _whole_faults(index, manifest)


def read_manifest(folder: Path) -> tuple[Manifest | None, list[Fault]]:
    """The manifest of a dataset, and what is wrong with it; None if it can't be had at all."""
    path = folder / MANIFEST_FILE
    try:
        if not path.is_file():  # nor a pipe, which would never end
            raise FileNotFoundError
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            return None, [Fault(MANIFEST_FILE, f"is larger than {MAX_MANIFEST_BYTES} bytes")]
        data = path.read_bytes()
        manifest = Manifest.model_validate_json(data)
    except FileNotFoundError:
        return None, [
            Fault(MANIFEST_FILE, "is not there; give the folder that holds it (DIR/dataset)")
        ]
    except OSError as error:
        return None, [Fault(MANIFEST_FILE, f"can't be read: {error.strerror}")]
    except ValidationError as error:
        return None, [
            Fault(f"{MANIFEST_FILE}: {'.'.join(map(str, one['loc']))}", one["msg"])
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    if manifest.to_text().encode("utf-8") != data:
        return manifest, [Fault(MANIFEST_FILE, "is not written as proofreel writes it")]
    return manifest, []


def _thresholds(config: Mapping[str, Any]) -> Mapping[str, Any]:
    verify = config.get("verify")
    found = verify.get("thresholds") if isinstance(verify, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _manifest_faults(manifest: Manifest) -> Iterator[Fault]:
    if manifest.schema_version != SCHEMA_VERSION:
        yield Fault(
            f"{MANIFEST_FILE}: schema_version",
            f"is {manifest.schema_version!r}; this version of proofreel checks {SCHEMA_VERSION!r}",
        )
    for stage, what in funnel_faults(manifest.funnel):
        yield Fault(f"{MANIFEST_FILE}: funnel: {stage}", what)


def _file_faults(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    for name in FILES:
        if name not in manifest.files:
            yield Fault(f"{MANIFEST_FILE}: files", f"does not list {name}")
    for name, sha256 in sorted(manifest.files.items()):
        if not _FILE_NAME.fullmatch(name):
            yield Fault(f"{MANIFEST_FILE}: files", f"{name!r} is no name of a file in the folder")
            continue
        yield from file_faults(folder / name, name, sha256)


def _index_faults(folder: Path, index: IndexOnDisk) -> Iterator[Fault]:
    try:
        index.fill(read_rows(folder, INDEX_FILE, INDEX_SCHEMA))
    except BadTableError as bad:
        yield from bad.faults
        return
    if not index.is_sorted:
        yield Fault(INDEX_FILE, "is not sorted by id")
    for key in index.twice():
        yield Fault(f"{INDEX_FILE}: {key}", "has two rows")


def _rejected_faults(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    kind = ("stage", "reason")
    try:
        found = read_rows(folder, REJECTED_FILE, REJECTED_SCHEMA, kind)
        rows = Counter((row["stage"], row["reason"]) for row in found)
    except BadTableError as bad:
        yield from bad.faults
        return
    told = Counter(
        {
            (line.stage.value, reason.value): count
            for line in manifest.funnel
            for reason, count in line.rejected.items()
        }
    )
    for stage, reason in sorted(rows.keys() | told.keys()):
        if rows[stage, reason] != told[stage, reason]:
            yield Fault(
                f"{REJECTED_FILE}: {stage}: {reason}",
                f"{rows[stage, reason]} rows, but the funnel says {told[stage, reason]}",
            )


def _rewards_are_ours(folder: Path) -> bool:
    """Whether the dataset's grader is this version's. If not, that is no fault by itself: its hash
    was checked. But then a grade may differ for that reason, and the fault says so."""
    path = folder / REWARDS_FILE
    ours = Path(str(rewards.__file__)).read_bytes()
    try:
        return path.stat().st_size == len(ours) and path.read_bytes() == ours
    except OSError:
        return False


def _shard_list_faults(folder: Path, shards: Iterable[ShardEntry]) -> Iterator[Fault]:
    numbers: dict[str, list[int]] = defaultdict(list)
    listed: set[str] = set()
    for shard in shards:
        match = SHARD_PATTERN.fullmatch(shard.path)
        if match is None:
            continue  # named when its turn comes
        if shard.path in listed:
            yield Fault(shard.path, "is listed twice in the manifest")
        listed.add(shard.path)
        numbers[f"{match[1]}/{match[2]}"].append(int(match[3]))
    for name, found in sorted(numbers.items()):
        for number in sorted(set(range(max(found) + 1)).difference(found))[:10]:
            yield Fault(f"{name}-{number:06d}.tar", "is missing in the sequence of shards")
    for split in SPLITS:
        if (folder / split).is_symlink():
            yield Fault(split, "is a link; a split is a folder inside of the dataset")
            continue
        for path in sorted((folder / split).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.name.endswith(PARTIAL_SUFFIX):
                yield Fault(name, "was left half-written by a run that was killed; run again")
            elif path.suffix == ".tar" and name not in listed:
                yield Fault(name, "is not listed in the manifest")


def _whole_faults(index: IndexOnDisk, manifest: Manifest) -> Iterator[Fault]:
    """What shows only when all shards have been seen."""
    for key, shard in index.missing():
        yield Fault(f"{INDEX_FILE}: {key}", f"is not in {shard}: it is missing")
    for video in index.videos_on_both_sides():
        yield Fault(f"{INDEX_FILE}: {video}", "the video is in both train and validation")
    # The same clip on both sides, although it is said to come from two videos.
    for key, partition, first, first_partition in index.shared_clips():
        yield Fault(
            f"{INDEX_FILE}: {key}",
            f"its clip, in {partition}, has the bytes of that of {first}, in {first_partition}",
        )
    if manifest.derived is not None:
        return  # Not every sample of a task has to be in it; its funnel ends with the samples.
    routed = [line.out for line in manifest.funnel if line.stage == Stage.ROUTE]
    if index.is_there and routed and routed[0] != (tasks := index.tasks()):
        yield Fault(
            f"{MANIFEST_FILE}: funnel: {Stage.ROUTE.value}",
            f"out {routed[0]}, but the samples come from {tasks} tasks",
        )
