"""The samples of a finished dataset: measured for planning, read again when they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

from schemas.sample import Sample
from transforms.publish.check_shards import MAX_JSON_BYTES
from transforms.publish.index import index_entry, origins_of
from transforms.publish.parents import DeriveError, Parent
from transforms.publish.planning import PlannedSample, plan_sample
from transforms.publish.shards import SHARD_PATTERN
from transforms.publish.tars import BadTarError, Member, MemberView, members, read_member


@dataclass(frozen=True)
class Found:
    """A sample of a parent, as it is there."""

    row: dict[str, Any]
    """Of the index."""
    planned: PlannedSample
    sample: Sample


def read(parent: Parent, rows: Iterable[dict[str, Any]]) -> Iterator[Found]:
    """Measure samples for planning; rows come in the order of shards, and of places in them.

    Raises DeriveError where a sample is not what the index says.
    """
    for shard, own in groupby(rows, itemgetter("shard")):
        where = f"{parent.name}: {shard}"
        match = SHARD_PATTERN.fullmatch(shard)
        if match is None:
            raise DeriveError(f"{where}: is no path of a shard; see proofreel check")
        try:
            path = parent.folder / shard
            with path.open("rb") as file:
                there = {one.name: one for one in members(file, path.stat().st_size)}
                for row in own:
                    if (row["split"], row["partition"]) != match.groups()[:2]:
                        raise ValueError(
                            f"{row['id']} is of {row['split']}/{row['partition']} by the index"
                        )
                    text = there.get(f"{row['id']}.json")
                    mp4 = there.get(f"{row['id']}.mp4")
                    if text != _member(row, "json") or mp4 != _member(row, "mp4"):
                        raise ValueError(f"{row['id']} is not where {parent.name} says it is")
                    if text.size > MAX_JSON_BYTES:
                        raise ValueError(f"the json of {row['id']} has {text.size} bytes")
                    yield _found(row, read_member(file, text))
        except OSError as error:
            raise DeriveError(f"{where}: {error.strerror}") from error
        except (BadTarError, ValueError) as error:
            raise DeriveError(f"{where}: {error}; see proofreel check") from error


def _member(row: Mapping[str, Any], part: str) -> Member:
    return Member(f"{row['id']}.{part}", row[f"{part}_offset"], row[f"{part}_bytes"])


def _found(row: dict[str, Any], data: bytes) -> Found:
    sample = _parsed(row, data)
    entry = index_entry(
        sample,
        row["partition"],
        video_id=row["video_id"],
        clip_id=row["clip_id"],
        task_id=row["task_id"],
    )
    for name, value in (entry.model_dump(mode="json") | origins_of(sample)).items():
        if row[name] != value:
            raise ValueError(f"{name} of {row['id']} is {value!r}, the index says {row[name]!r}")
    return Found(
        row | entry.model_dump(mode="json"),
        plan_sample(sample, entry.partition, row["mp4_bytes"]),
        sample,
    )


def _parsed(row: Mapping[str, Any], data: bytes) -> Sample:
    if hashlib.sha256(data).hexdigest() != row["json_sha256"]:
        raise ValueError(f"the json of {row['id']} has another sha256 than the index says")
    sample = Sample.from_json(data)
    if sample.id != row["id"] or sample.to_json().encode("utf-8") != data:
        raise ValueError(f"the json of {row['id']} is not as proofreel writes it")
    return sample


def sample_of(folder: Path, row: Mapping[str, Any]) -> Sample:
    """The sample of a row of the index of the dataset in `folder`."""
    with (folder / row["shard"]).open("rb") as file:
        return _parsed(row, read_member(file, _member(row, "json")))


@dataclass(frozen=True)
class _Mp4:
    """An mp4 inside of a shard."""

    shard: Path
    member: Member

    @property
    def name(self) -> str:
        return self.member.name

    @contextmanager
    def open(self, _: Literal["rb"] = "rb", /) -> Iterator[MemberView]:
        with self.shard.open("rb") as file:
            yield MemberView(file, self.member)


def mp4_of(folder: Path, row: Mapping[str, Any]) -> _Mp4:
    """The mp4 of such a row."""
    return _Mp4(folder / row["shard"], _member(row, "mp4"))


Value = TypeVar("Value")


class Lazy(Mapping[str, Value]):
    """What is made of each sample only when it is asked for."""

    def __init__(
        self,
        places: Mapping[str, tuple[Path, Mapping[str, Any]]],
        make: Callable[[Path, Mapping[str, Any]], Value],
    ) -> None:
        """`places`: by id, the folder of a dataset and the row of its index."""
        self._places = places
        self._make = make

    def __getitem__(self, key: str) -> Value:
        return self._make(*self._places[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
