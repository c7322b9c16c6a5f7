"""Which sample goes into which shard: decided from sizes and ids alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from schemas.base import Record
from schemas.sample import Sample, Split

Partition = Literal["train", "validation"]
PARTITIONS: tuple[Partition, ...] = ("train", "validation")

KEY_PATTERN = re.compile(r"[a-z0-9_-]{1,64}")
"""No dot: readers cut the key at the first one. Short: readers have cut long keys silently."""

LEAD_SAMPLES = 5
"""Hugging Face `datasets` reads the schema from the first five samples of the first tar."""

TAR_BLOCK = 512
TAR_RECORD = 20 * TAR_BLOCK
MAX_MEMBER_BYTES = 8**11 - 1
"""What the size field of a USTAR header holds: 8 GiB."""
MAX_SHARDS = 1_000_000
"""What six digits count."""

Item = TypeVar("Item")


class PlannedSample(Record):
    """What planning needs to know of a sample: no pixels, no text."""

    key: str
    split: Split
    partition: Partition
    json_bytes: int
    mp4_bytes: int
    filled: tuple[str, ...]
    """Paths of the list fields that are not empty, sorted."""
    sample_ref: str = ""
    """Where the caller finds the sample again; planning does not look at it."""
    media_ref: str = ""
    """Where the caller finds the mp4 again; planning does not look at it."""


class ShardPlan(Record):
    """One shard to be written: its place in the dataset and its samples, in order."""

    path: str
    """Relative to the dataset, such as `sft/train-000000.tar`."""
    samples: tuple[PlannedSample, ...]


def plan_sample(
    sample: Sample,
    partition: Partition,
    mp4_bytes: int,
    *,
    sample_ref: str = "",
    media_ref: str = "",
) -> PlannedSample:
    """Measure a sample for planning."""
    return PlannedSample(
        key=sample.id,
        split=sample.split,
        partition=partition,
        json_bytes=len(sample.to_json().encode("utf-8")),
        mp4_bytes=mp4_bytes,
        filled=tuple(sorted(set(_filled(sample.model_dump(mode="json"), "")))),
        sample_ref=sample_ref,
        media_ref=media_ref,
    )


def _filled(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _filled(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        yield path
        for inner in value:
            yield from _filled(inner, f"{path}[]")


def plan_shards(planned: Iterable[PlannedSample], shard_bytes: int) -> list[ShardPlan]:
    """Distribute samples over shards; the same for any order of the input.

    Shards are `{split}/{partition}-%06d.tar`, numbered without gaps, never empty, none longer
    than `shard_bytes` (the whole tar file) unless it holds a single sample that is larger. Inside
    a split and partition samples stand in the order of their keys, after at most five that come
    first so that together they show what type every list has: `datasets` infers the schema from
    them, and a list that is empty in all five would become a list of nothing.

    Raises ValueError when a key is malformed or comes twice, or a part is too large for a tar.
    """
    check_shard_bytes(shard_bytes)
    groups: dict[tuple[str, Partition], list[PlannedSample]] = defaultdict(list)
    seen: set[str] = set()
    for sample in planned:
        check_plannable(sample)
        if sample.key in seen:
            raise ValueError(same_key_twice(sample.key))
        seen.add(sample.key)
        groups[sample.split, sample.partition].append(sample)
    plans = []
    for (split, partition), samples in sorted(groups.items()):
        chunks = list(cut_chunks(_lead_first(samples), entry_bytes, shard_bytes))
        check_shard_count(split, partition, len(chunks))
        plans += [
            ShardPlan(path=shard_path(split, partition, number), samples=tuple(chunk))
            for number, chunk in enumerate(chunks)
        ]
    return plans


def shard_path(split: str, partition: str, number: int) -> str:
    """Where a shard lies in the dataset."""
    return f"{split}/{partition}-{number:06d}.tar"


def entry_bytes(sample: PlannedSample) -> int:
    """Bytes that a sample takes in a tar: two headers, two parts padded to whole blocks."""
    return sum(
        TAR_BLOCK + _padded(size, TAR_BLOCK) for size in (sample.json_bytes, sample.mp4_bytes)
    )


def tar_bytes(entries: int) -> int:
    """Size of the tar file whose entries take that many bytes: end mark, padded to a record."""
    return _padded(entries + 2 * TAR_BLOCK, TAR_RECORD)


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def check_shard_bytes(shard_bytes: int) -> None:
    """Raise ValueError if no shard can be as small."""
    if shard_bytes <= 0:
        raise ValueError(f"publish.shard_bytes is {shard_bytes}; it must be above 0")


def check_shard_count(split: str, partition: str, shards: int) -> None:
    """Raise ValueError if there are more shards than have names."""
    if shards > MAX_SHARDS:
        raise ValueError(
            f"{split}/{partition} would need {shards} shards, more than six digits "
            "count; set publish.shard_bytes higher"
        )


def same_key_twice(key: str) -> str:
    """What is said of it."""
    return f"two samples have the id {key}; ids are unique in a dataset"


def check_plannable(sample: PlannedSample) -> None:
    """Raise ValueError if the key is malformed, or a part too large for a tar."""
    if not KEY_PATTERN.fullmatch(sample.key):
        raise ValueError(
            f"sample id {sample.key!r} can't be a key in a shard: 1 to 64 of a-z, 0-9, _ and -"
        )
    for part, size in (("json", sample.json_bytes), ("mp4", sample.mp4_bytes)):
        if not 0 < size <= MAX_MEMBER_BYTES:
            raise ValueError(
                f"the {part} of sample {sample.key} has {size} bytes; "
                f"a tar holds 1 to {MAX_MEMBER_BYTES}"
            )


def cut_chunks(
    samples: Iterable[Item], size_of: Callable[[Item], int], shard_bytes: int
) -> Iterator[list[Item]]:
    """Samples in order, as many together as fit into a tar of `shard_bytes`; at least one.
    `size_of` gives the bytes that a sample takes in it."""
    chunk: list[Item] = []
    filled = 0
    for sample in samples:
        size = size_of(sample)
        if chunk and tar_bytes(filled + size) > shard_bytes:
            yield chunk
            chunk, filled = [], 0
        chunk.append(sample)
        filled += size
    if chunk:
        yield chunk


def lead_keys(firsts: Mapping[tuple[str, ...], str]) -> tuple[str, ...]:
    """Keys of the samples that come first: a greedy cover of the list fields filled anywhere.

    `firsts` holds the smallest key for each combination of filled fields: of samples that fill the
    same, no other could be chosen. Text needs no cover: an empty text still has the type of a text.
    """
    missing = {path for filled in firsts for path in filled}
    lead: list[str] = []
    while missing and len(lead) < LEAD_SAMPLES:
        best = min(firsts, key=lambda filled: (-len(missing.intersection(filled)), firsts[filled]))
        lead.append(firsts[best])
        missing.difference_update(best)
    return tuple(lead)


def _lead_first(samples: Sequence[PlannedSample]) -> list[PlannedSample]:
    """By key, but first those that show what type every list has."""
    firsts: dict[tuple[str, ...], str] = {}
    for sample in samples:
        firsts[sample.filled] = min(sample.key, firsts.get(sample.filled, sample.key))
    places = {key: place for place, key in enumerate(lead_keys(firsts))}
    return sorted(samples, key=lambda one: (places.get(one.key, LEAD_SAMPLES), one.key))
