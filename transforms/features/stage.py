"""Selection in the pipeline: thresholds on measures, features, near-duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from schemas.case import PlannedClip
from schemas.rejection import Reason, Rejection, Stage
from transforms.features.embed import (
    FEATURE_FILE,
    Embedded,
    FeatureSettings,
    Vectors,
    feature_entry,
    frame_vectors,
    load_pictures,
    mean_vector,
    store_vectors,
)
from transforms.features.select import (
    Candidate,
    Duplicate,
    SelectSettings,
    decide,
    find_duplicates,
)
from transforms.legs import OUT, REJECTED
from transforms.memo import MemoStore
from transforms.outcome import Outcome

MISSING = "missing"


@dataclass(frozen=True)
class QualityGate:
    """Applies the thresholds on measures. The leg's unit is the clip."""

    settings: SelectSettings

    def __call__(self, planned: PlannedClip) -> Outcome[PlannedClip]:
        decide(planned.clip.measures, self.settings)
        return Outcome([planned])


class RejectNearDuplicates(beam.PTransform):
    """PlannedClip -> those that are alike to none kept before; outputs OUT and REJECTED."""

    def __init__(self, features: FeatureSettings, select: SelectSettings, store: MemoStore) -> None:
        super().__init__()
        self._features = features
        self._select = select
        self._store = store

    def expand(self, planned: beam.PCollection) -> dict[str, beam.PCollection]:
        # These import torch, which takes seconds: only a run with features pays for it.
        from apache_beam.ml.inference.base import RunInference

        from transforms.features.handler import ClipEmbedder

        looked_up = planned | "LookUp" >> beam.ParDo(
            _LookUp(self._features, self._store)
        ).with_outputs(MISSING, main=OUT)
        embedded = (
            looked_up[MISSING]
            | "Spread" >> beam.Reshuffle()
            | "Load" >> beam.ParDo(_Load(self._store)).with_outputs(REJECTED, main=OUT)
        )
        stored = (
            embedded[OUT]
            | "Embed" >> RunInference(ClipEmbedder(self._features))
            | "Store"
            >> beam.ParDo(_Store(self._features, self._store)).with_outputs(REJECTED, main=OUT)
        )
        failed = (embedded[REJECTED], stored[REJECTED]) | "Failed" >> beam.Flatten()
        duplicates = (
            (looked_up[OUT], stored[OUT])
            | "Candidates" >> beam.Flatten()
            | "Together" >> beam.GroupBy(lambda _: None)
            | "Compare" >> beam.FlatMap(_compare, self._select, self._store)
        )
        decided = (
            {
                "planned": planned | "ById" >> beam.WithKeys(lambda one: one.clip.id),
                "duplicate": duplicates | "OfClip" >> beam.WithKeys(lambda one: one.clip_id),
                "failed": failed | "FailedClip" >> beam.WithKeys(lambda one: one.subject),
            }
            | "Join" >> beam.CoGroupByKey()
            | "Decide" >> beam.ParDo(_Decide()).with_outputs(REJECTED, main=OUT)
        )
        return {OUT: decided[OUT], REJECTED: decided[REJECTED]}


class _LookUp(beam.DoFn):
    def __init__(self, settings: FeatureSettings, store: MemoStore) -> None:
        self._settings = settings
        self._store = store

    def process(self, planned: PlannedClip) -> Iterator[Any]:
        entry = feature_entry(planned, self._store, self._settings)
        if entry.get() is None:
            yield beam.pvalue.TaggedOutput(MISSING, planned)
        else:
            yield _candidate(planned, entry.ref(FEATURE_FILE))


def _candidate(planned: PlannedClip, feature_ref: str) -> Candidate:
    clip = planned.clip
    return Candidate(clip.id, clip.video_id, clip.start_s, feature_ref)


def _failed(planned: PlannedClip, detail: str) -> Any:
    rejection = Rejection(
        stage=Stage.SELECT,
        reason=Reason.FEATURES_FAILED,
        subject=planned.clip.id,
        parent=planned.clip.video_id,
        detail=detail,
    )
    return beam.pvalue.TaggedOutput(REJECTED, rejection)


class _Load(beam.DoFn):
    def __init__(self, store: MemoStore) -> None:
        self._store = store

    def process(self, planned: PlannedClip) -> Iterator[Any]:
        try:
            yield load_pictures(planned, self._store)
        except (OSError, ValueError) as error:
            yield _failed(planned, f"{type(error).__name__}: {error}"[:300])


class _Store(beam.DoFn):
    def __init__(self, settings: FeatureSettings, store: MemoStore) -> None:
        self._settings = settings
        self._store = store

    def process(self, embedded: Embedded) -> Iterator[Any]:
        if embedded.error:
            yield _failed(embedded.planned, embedded.error)
            return
        entry = feature_entry(embedded.planned, self._store, self._settings)
        store_vectors(entry, embedded.times_s, embedded.vectors)
        yield _candidate(embedded.planned, entry.ref(FEATURE_FILE))


def _compare(
    group: tuple[None, Iterable[Candidate]], select: SelectSettings, store: MemoStore
) -> list[Duplicate]:
    ordered = sorted(group[1], key=lambda candidate: candidate.clip_id)

    def frames(row: int) -> Vectors:
        return frame_vectors(store.path(ordered[row].feature_ref))

    means = np.stack([mean_vector(frames(row)) for row in range(len(ordered))])
    return find_duplicates(ordered, means, frames, select.near_duplicate_cosine)


class _Decide(beam.DoFn):
    def process(self, element: tuple[str, dict[str, list[Any]]]) -> Iterator[Any]:
        _, joined = element
        [planned] = joined["planned"]
        if joined["failed"]:
            yield beam.pvalue.TaggedOutput(REJECTED, joined["failed"][0])
        elif joined["duplicate"]:
            [duplicate] = joined["duplicate"]
            rejection = Rejection(
                stage=Stage.SELECT,
                reason=Reason.NEAR_DUPLICATE,
                subject=planned.clip.id,
                parent=planned.clip.video_id,
                detail=f"of {duplicate.original_id}, cosine {duplicate.cosine}",
            )
            yield beam.pvalue.TaggedOutput(REJECTED, rejection)
        else:
            yield planned
