"""Publishing in the pipeline: route cases, plan shards, write them, and finish the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from schemas.case import Case
from schemas.sample import Sample
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.publish.card import card_entry
from transforms.publish.files import sha256_file
from transforms.publish.index import index_entry
from transforms.publish.planning import Partition, PlannedSample, ShardPlan
from transforms.publish.routing import PublishSettings, check_license, partition, routes
from transforms.publish.samples import make_sample
from transforms.publish.shards import ShardInfo, plan_sample, plan_shards, write_shard
from transforms.verify.checks import VerifySettings


@dataclass(frozen=True)
class Routed:
    """A sample on its way into a shard."""

    sample: Sample
    partition: Partition
    media_ref: str
    media_bytes: int
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
        routed = [
            Routed(
                sample=make_sample(
                    case, route, self.verify, pipeline_version=self.pipeline_version
                ),
                partition=part,
                media_ref=scene.media.ref,
                media_bytes=scene.media.size_bytes,
                video_id=scene.video.id,
                clip_id=scene.clip.id,
                task_id=case.task.id,
            )
            for route in routes(case, self.verify)
        ]
        for one in routed:
            _prove(one)
        return Outcome([routed])


def _prove(routed: Routed) -> None:
    """Write down a sample with its entries: what can't be written costs its task here, and would
    cost the run where shards and index are made."""
    routed.sample.to_json()
    card_entry(routed.sample, routed.partition)
    index_entry(
        routed.sample,
        routed.partition,
        video_id=routed.video_id,
        clip_id=routed.clip_id,
        task_id=routed.task_id,
    )


class WriteShards(beam.PTransform):
    """Routed -> ShardInfo. Only ids and sizes come together in one place to be planned."""

    def __init__(self, shard_bytes: int, folder: str, store: MemoStore) -> None:
        super().__init__()
        self._shard_bytes = shard_bytes
        self._folder = folder
        self._store = store

    def expand(self, routed: beam.PCollection) -> beam.PCollection:
        plans = (
            routed
            | "Sizes" >> beam.Map(_planned)
            | "Together" >> beam.GroupBy(lambda _: None)
            | "Plan" >> beam.FlatMap(_plan, self._shard_bytes)
            | "Spread" >> beam.Reshuffle()
        )
        placed = (
            {
                "routed": routed | "ByKey" >> beam.WithKeys(lambda one: one.sample.id),
                "place": plans | "Places" >> beam.FlatMap(_places),
            }
            | "Join" >> beam.CoGroupByKey()
            | "ToShard" >> beam.FlatMapTuple(_to_shard)
        )
        return (
            {
                "plan": plans | "PlanByPath" >> beam.WithKeys(lambda plan: plan.path),
                "routed": placed,
            }
            | "OfShard" >> beam.CoGroupByKey()
            | "Write" >> beam.Map(_write, self._folder, self._store)
        )


def _planned(routed: Routed) -> PlannedSample:
    return plan_sample(routed.sample, routed.partition, routed.media_bytes)


def _plan(group: tuple[None, Iterable[PlannedSample]], shard_bytes: int) -> list[ShardPlan]:
    return plan_shards(group[1], shard_bytes)


def _places(plan: ShardPlan) -> Iterator[tuple[str, str]]:
    for planned in plan.samples:
        yield planned.key, plan.path


def _to_shard(_: str, joined: Mapping[str, Iterable[Any]]) -> Iterator[tuple[str, Routed]]:
    [path] = joined["place"]
    [routed] = joined["routed"]
    yield path, routed


def _write(
    element: tuple[str, Mapping[str, Iterable[Any]]], folder: str, store: MemoStore
) -> ShardInfo:
    _, joined = element
    [plan] = joined["plan"]
    routed: list[Routed] = list(joined["routed"])
    samples = {one.sample.id: one.sample for one in routed}
    media = {one.sample.id: store.path(one.media_ref) for one in routed}
    try:
        return write_shard(plan, samples, media, Path(folder))
    except ValueError:
        # A damaged mp4 in the store: gone, so that running again mends it.
        for one in routed:
            if sha256_file(store.path(one.media_ref)) != one.sample.media[0].sha256:
                store.forget(one.media_ref)
        raise
