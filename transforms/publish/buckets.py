"""Planning shards in parts, so that no worker needs to know of all samples.

The samples of a split and partition are cut into buckets by ranges of their keys, which are hashes:
no bucket is much larger than the others. Each is planned by itself. What is known in one place is a
number and a key per shard.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from schemas.base import hash_place
from schemas.sample import Split
from transforms.publish.planning import (
    LEAD_SAMPLES,
    Partition,
    check_shard_count,
    cut_chunks,
    lead_keys,
    same_key_twice,
    shard_path,
)

BUCKET_SAMPLES = 100_000
"""What is planned together: some 30 MB of keys and sizes. Fewer make one bucket."""

Group = tuple[Split, Partition]


@dataclass(frozen=True)
class Outline:
    """What is known of all samples of a split and partition."""

    samples: int
    firsts: Mapping[tuple[str, ...], str]
    """The smallest key for each combination of list fields that are not empty."""

    @cached_property
    def lead(self) -> tuple[str, ...]:
        """Keys of the samples that stand before all others (see `plan_shards`)."""
        return lead_keys(self.firsts)

    def bucket(self, key: str, bucket_samples: int = BUCKET_SAMPLES) -> int:
        """The bucket that a key lies in; those that lead are in the first.

        Raises ValueError if there are several buckets and the key does not end in a hash.
        """
        buckets = -(-self.samples // bucket_samples)
        if buckets == 1 or key in self.lead:
            return 0
        return int(hash_place(key) * buckets)


def outline_together(several: Iterable[Outline]) -> Outline:
    """The outline of all samples, from those of parts, in any order."""
    samples = 0
    firsts: dict[tuple[str, ...], str] = {}
    for one in several:
        samples += one.samples
        for filled, key in one.firsts.items():
            firsts[filled] = min(key, firsts.get(filled, key))
    return Outline(samples, firsts)


@dataclass(frozen=True)
class PlannedShard:
    """One shard of a bucket."""

    samples: int
    lead: tuple[str, ...]
    """Keys of those in it that stand before all others, in order."""
    first: str
    """The smallest key of the others; empty if there are none."""


@dataclass(frozen=True)
class BucketPlan:
    """The shards of a bucket, in order."""

    group: Group
    bucket: int
    shards: tuple[PlannedShard, ...]


def plan_bucket(
    group: Group,
    bucket: int,
    sizes: Iterable[tuple[str, int]],
    lead: Sequence[str],
    shard_bytes: int,
) -> BucketPlan:
    """Distribute the samples of a bucket over shards, as `plan_shards` does for all.

    `sizes` are keys, each with the bytes that the sample takes in a tar; `lead` the keys that come
    first, as far as they are in the bucket. Raises ValueError if a key comes twice.
    """
    places = {key: place for place, key in enumerate(lead)}
    ordered = sorted(sizes, key=lambda one: (places.get(one[0], LEAD_SAMPLES), one[0]))
    for (one, _), (other, _) in pairwise(ordered):
        if one == other:
            raise ValueError(same_key_twice(one))
    shards = []
    for chunk in cut_chunks(ordered, lambda one: one[1], shard_bytes):
        leading = tuple(key for key, _ in chunk if key in places)
        others = chunk[len(leading) :]
        shards.append(PlannedShard(len(chunk), leading, others[0][0] if others else ""))
    return BucketPlan(group, bucket, tuple(shards))


@dataclass(frozen=True)
class Place:
    """Where a sample goes."""

    path: str
    """The shard, relative to the dataset."""
    samples: int
    """How many the shard holds."""
    rank: int
    """Before samples of a higher rank, whatever the keys."""


@dataclass(frozen=True)
class _Shards:
    """The shards of a split and partition: number and samples of each, found by key."""

    lead: Mapping[str, tuple[int, int, int]]
    """Number of the shard, its samples, and the rank."""
    firsts: tuple[str, ...]
    numbers: tuple[tuple[int, int], ...]
    """Number of the shard that begins with that first key, and its samples."""


@dataclass(frozen=True)
class ShardTable:
    """All shards of a dataset: a key and two numbers each."""

    groups: Mapping[Group, _Shards]

    def place(self, split: Split, partition: Partition, key: str) -> Place:
        """Where a sample that was planned goes."""
        shards = self.groups[split, partition]
        if key in shards.lead:
            number, samples, rank = shards.lead[key]
        else:
            number, samples = shards.numbers[bisect_right(shards.firsts, key) - 1]
            rank = LEAD_SAMPLES
        return Place(shard_path(split, partition, number), samples, rank)


def shard_table(plans: Iterable[BucketPlan]) -> ShardTable:
    """Number the shards of all buckets without gaps, in the order of the buckets.

    Raises ValueError if there are more than have names.
    """
    groups: dict[Group, list[BucketPlan]] = defaultdict(list)
    for plan in plans:
        groups[plan.group].append(plan)
    return ShardTable({group: _numbered(group, own) for group, own in sorted(groups.items())})


def _numbered(group: Group, plans: Iterable[BucketPlan]) -> _Shards:
    ordered = sorted(plans, key=lambda plan: plan.bucket)
    shards = list(enumerate(shard for plan in ordered for shard in plan.shards))
    check_shard_count(*group, len(shards))
    leading = [(key, number, shard.samples) for number, shard in shards for key in shard.lead]
    others = [(shard.first, number, shard.samples) for number, shard in shards if shard.first]
    return _Shards(
        lead={key: (number, samples, rank) for rank, (key, number, samples) in enumerate(leading)},
        firsts=tuple(first for first, _, _ in others),
        numbers=tuple((number, samples) for _, number, samples in others),
    )
