"""Publishing in the pipeline: route cases, plan shards, write them, and finish the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam

from schemas.case import Case
from schemas.sample import Sample
from transforms.draft import filling
from transforms.memo import STORE, MemoStore
from transforms.outcome import Outcome, StopRunError
from transforms.publish.buckets import (
    BUCKET_SAMPLES,
    BucketPlan,
    Group,
    Outline,
    ShardTable,
    outline_together,
    plan_bucket,
    shard_table,
)
from transforms.publish.card_counts import CardEntry, card_entry
from transforms.publish.files import sha256_file
from transforms.publish.index import IndexEntry, index_entry
from transforms.publish.planning import (
    PlannedSample,
    ShardPlan,
    check_plannable,
    check_shard_bytes,
    entry_bytes,
    plan_sample,
)
from transforms.publish.routing import PublishSettings, check_license, partition, routes
from transforms.publish.samples import make_sample
from transforms.publish.shards import ShardInfo, write_shard
from transforms.publish.spool import Packed, Spool, pack
from transforms.verify.checks import VerifySettings

NAMED = 3
"""So many damaged clips are named, and the others counted."""


@dataclass(frozen=True)
class Routed:
    """A sample on its way into a shard."""

    sample: Sample
    planned: PlannedSample
    """What its shard needs to know of it."""
    video_id: str
    clip_id: str
    task_id: str


@dataclass(frozen=True)
class Router:
    """Turns a case into its samples. The leg's unit is the task."""

    verify: VerifySettings
    publish: PublishSettings
    seed: int
    pipeline_version: str

    def __call__(self, case: Case) -> Outcome[Sequence[Routed]]:
        check_license(case, self.publish)
        scene = case.scene
        part = partition(scene.video.id, self.seed, self.publish)
        samples = [
            make_sample(case, route, self.verify, pipeline_version=self.pipeline_version)
            for route in routes(case, self.verify)
        ]
        routed = [
            Routed(
                sample=sample,
                planned=plan_sample(
                    sample, part, scene.media.size_bytes, media_ref=scene.media.ref
                ),
                video_id=scene.video.id,
                clip_id=scene.clip.id,
                task_id=case.task.id,
            )
            for sample in samples
        ]
        for one in routed:
            _prove(one)
        return Outcome([routed])


def _prove(routed: Routed) -> None:
    """Make what is made of a sample later: what can't be made costs its task here, and would cost
    the run where shards and index are written."""
    check_plannable(routed.planned)
    card_entry_of(routed)
    index_entry_of(routed)


def card_entry_of(routed: Routed) -> CardEntry:
    """What the card counts of a sample."""
    return card_entry(routed.sample, routed.planned.partition)


def index_entry_of(routed: Routed) -> IndexEntry:
    """What the index says of a sample, apart from where it lies."""
    return index_entry(
        routed.sample,
        routed.planned.partition,
        video_id=routed.video_id,
        clip_id=routed.clip_id,
        task_id=routed.task_id,
    )


@dataclass(frozen=True)
class Sized:
    """What planning needs to know of a sample."""

    group: Group
    key: str
    entry_bytes: int
    filled: tuple[str, ...]
    """List fields that are not empty."""


class WriteShards(beam.PTransform):
    """Routed -> ShardInfo.

    Sizes come together in buckets (`buckets`), what is known of all is a key per shard. Samples
    cross one shuffle, straight to their shard.
    """

    def __init__(
        self,
        shard_bytes: int,
        folder: str,
        store: MemoStore,
        bucket_samples: int = BUCKET_SAMPLES,
    ) -> None:
        super().__init__()
        check_shard_bytes(shard_bytes)
        self._bucket_samples = bucket_samples
        self._shard_bytes = shard_bytes
        self._folder = folder
        self._store = store

    def expand(self, routed: beam.PCollection) -> beam.PCollection:
        sized = routed | "Sizes" >> beam.Map(_sized)
        outlines = beam.pvalue.AsDict(
            sized
            | "Outline" >> beam.Map(_outline)
            | "OfGroup" >> beam.CombinePerKey(outline_together)
        )
        plans = (
            sized
            | "ToBucket" >> beam.Map(_to_bucket, outlines, self._bucket_samples)
            | "OfBucket" >> beam.GroupByKey()
            | "Plan" >> beam.Map(_plan, outlines, self._shard_bytes)
        )
        # Without samples there is no table, and nobody who asks for it.
        together = beam.combiners.ToList().without_defaults()
        table = plans | "Plans" >> together | "Number" >> beam.Map(shard_table)
        return (
            routed
            | "ToShard" >> beam.Map(_to_shard, beam.pvalue.AsSingleton(table))
            | "OfShard" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write, self._folder, self._store)
        )


def _sized(routed: Routed) -> Sized:
    planned = routed.planned
    group = planned.split, planned.partition
    return Sized(group, planned.key, entry_bytes(planned), planned.filled)


def _outline(sized: Sized) -> tuple[Group, Outline]:
    return sized.group, Outline(1, {sized.filled: sized.key})


def _to_bucket(
    sized: Sized, outlines: Mapping[Group, Outline], bucket_samples: int
) -> tuple[tuple[Group, int], tuple[str, int]]:
    bucket = outlines[sized.group].bucket(sized.key, bucket_samples)
    return (sized.group, bucket), (sized.key, sized.entry_bytes)


def _plan(
    element: tuple[tuple[Group, int], Iterable[tuple[str, int]]],
    outlines: Mapping[Group, Outline],
    shard_bytes: int,
) -> BucketPlan:
    (group, bucket), sizes = element
    lead = outlines[group].lead if bucket == 0 else ()
    return plan_bucket(group, bucket, sizes, lead, shard_bytes)


def _to_shard(routed: Routed, table: ShardTable) -> tuple[tuple[str, int], Packed]:
    planned = routed.planned
    place = table.place(planned.split, planned.partition, planned.key)
    packed = pack(routed.sample, planned, place.rank)
    return (place.path, place.samples), packed


def _write(
    element: tuple[tuple[str, int], Iterable[Packed]], folder: str, store: MemoStore
) -> ShardInfo:
    (path, samples), packed = element
    with Spool(packed) as spool:
        if len(spool) != samples:
            raise ValueError(f"{path} was to hold {samples} samples, {len(spool)} came")
        try:
            media = {one.key: store.path(one.media_ref) for one in spool.planned}
            with filling(folder) as place:
                return write_shard(ShardPlan(path=path, samples=spool.planned), spool, media, place)
        except (ValueError, FileNotFoundError, NotADirectoryError) as error:
            store.check()
            if told := _without_damaged(spool, store):
                raise StopRunError(told) from error
            raise


def _without_damaged(spool: Spool, store: MemoStore) -> str:
    """Remove mp4s from the store that are gone or not as their samples say, so that running again
    mends them; which these were, and what to do, or "" if there were none."""
    damaged: dict[str, str] = {}
    for one in spool.planned:
        said = spool[one.key].media[0]
        if one.media_ref not in damaged and not _is_as_said(store, one.media_ref, said.sha256):
            where = f"{said.source_uri} from {said.source_start_s:g} s on"
            damaged[one.media_ref] = f"the clip of {where} ({one.media_ref})"
    for ref in damaged:
        store.forget(ref)
    if not damaged:
        return ""
    names = list(damaged.values())
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    were = "was damaged or gone and is" if len(names) == 1 else "were damaged or gone and are"
    return (
        f"{', '.join(names[:NAMED])}{more} in the {STORE} {store.root} {were} removed; run the "
        "same command again, it makes anew what is missing"
    )


def _is_as_said(store: MemoStore, ref: str, sha256: str) -> bool:
    try:
        return sha256_file(store.path(ref)) == sha256
    except (FileNotFoundError, NotADirectoryError):
        return False
