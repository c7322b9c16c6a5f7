"""Selection in the pipeline: thresholds on measures, features, near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from schemas.case import PlannedClip
from schemas.rejection import Reason, Rejected, Stage
from transforms.features.comparing import FindDuplicates
from transforms.features.duplicates import Candidate, Duplicate, Uncompared
from transforms.features.embed import FeatureSettings, Vectors, identity
from transforms.features.embedding import EmbedPictures, reading_pictures
from transforms.features.pictures import (
    VERSION,
    Wanted,
    frame_vectors,
    sample_times,
)
from transforms.features.reference import kept_reference
from transforms.features.select import SelectSettings, decide
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.memo import MemoStore
from transforms.outcome import Outcome, Subject, rejection
from transforms.progress import NOWHERE


@dataclass(frozen=True)
class QualityGate:
    """Applies the thresholds on measures. The leg's unit is the clip."""

    settings: SelectSettings

    def __call__(self, planned: PlannedClip) -> Outcome[PlannedClip]:
        decide(planned.clip.measures, self.settings)
        return Outcome([planned])


class RejectNearDuplicates(beam.PTransform):
    """PlannedClip -> those that are alike to no reference video and to none kept before; outputs
    OUT and REJECTED."""

    def __init__(
        self,
        features: FeatureSettings,
        select: SelectSettings,
        store: MemoStore,
        care: Care = Care(),  # noqa: B008 - it is frozen
        references: Sequence[str] = (),
    ) -> None:
        """`references`: the files of `select.reference`, as `keep_reference` has kept them."""
        super().__init__()
        self._care = care
        self._references = tuple(references)
        self._features = features
        self._select = select
        self._store = store

    def expand(self, planned: beam.PCollection) -> dict[str, beam.PCollection]:
        stage, care = Stage.SELECT, self._care
        want = _WantClip(self._features, self._store)
        wanted = planned | "Wanted" >> Leg(stage, want, _subjects, NOWHERE, care)
        embedded = wanted[OUT] | "Embed" >> EmbedPictures(
            self._features, self._store, stage, _subjects, care
        )
        only_clean = _OnlyClean(self._references, self._select.contamination_cosine, self._store)
        clean = embedded[OUT] | "Foreign" >> Leg(
            stage, only_clean, lambda one: _subjects(one[0]), NOWHERE, care
        )
        rejected = wanted[REJECTED], embedded[REJECTED], clean[REJECTED]
        failed = rejected | "Failed" >> beam.Flatten()
        duplicates = (
            clean[OUT]
            | "Candidates" >> beam.MapTuple(_candidate)
            | "Compare"
            >> FindDuplicates(
                self._select.near_duplicate_cosine, self._store, retry=self._care.retry
            )
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


def want_clip(
    planned: PlannedClip, store: MemoStore, settings: FeatureSettings
) -> Wanted[PlannedClip]:
    """The sampled frames of a clip, as pictures to embed. Raises OSError or ValueError."""
    clip, samples_ref = planned.clip, planned.footage.decoded.samples_ref
    entry = store.entry(
        "features", VERSION, samples_ref, [clip.start_s, clip.end_s], identity(settings)
    )
    times = sample_times(store.path(samples_ref), clip.start_s, clip.end_s)
    return Wanted(planned, samples_ref, times, entry)


@dataclass(frozen=True)
class _WantClip:
    settings: FeatureSettings
    store: MemoStore

    def __call__(self, planned: PlannedClip) -> Outcome[Wanted[PlannedClip]]:
        with reading_pictures():
            return Outcome([want_clip(planned, self.store, self.settings)])


@dataclass(frozen=True)
class _OnlyClean:
    """Lets those clips pass that are of no reference video, and whose vectors can be read."""

    references: tuple[str, ...]
    contamination_cosine: float
    store: MemoStore

    def __call__(self, embedded: tuple[PlannedClip, str]) -> Outcome[tuple[PlannedClip, str]]:
        frames = self._read(embedded[1])
        for ref in self.references:
            match = kept_reference(ref, self.store).find(frames, self.contamination_cosine)
            if match is not None:
                raise Rejected(Reason.CONTAMINATED, f"of {match.name}, cosine {match.cosine}")
        return Outcome([embedded])

    def _read(self, vectors_ref: str) -> Vectors:
        # Where all clips are compared, one that can't be read would cost the run.
        with reading_pictures():
            try:
                return frame_vectors(self.store.path(vectors_ref))
            except ValueError:
                # Damaged in the store: gone, so that running again mends it.
                self.store.forget(vectors_ref)
                raise


def _candidate(planned: PlannedClip, vectors_ref: str) -> Candidate:
    clip = planned.clip
    return Candidate(clip.id, clip.video_id, clip.start_s, vectors_ref)


def _subjects(planned: PlannedClip) -> Sequence[Subject]:
    return [(planned.clip.id, planned.clip.video_id)]


class _Decide(beam.DoFn):
    def process(self, element: tuple[str, dict[str, list[Any]]]) -> Iterator[Any]:
        _, joined = element
        [planned] = joined["planned"]
        if joined["failed"]:
            yield beam.pvalue.TaggedOutput(REJECTED, joined["failed"][0])
        elif joined["duplicate"]:
            [found] = joined["duplicate"]
            ended = rejection(Stage.SELECT, _subjects(planned)[0], _end(found))
            yield beam.pvalue.TaggedOutput(REJECTED, ended)
        else:
            yield planned


def _end(found: Duplicate | Uncompared) -> Rejected:
    if isinstance(found, Uncompared):
        words = "its vectors can't be read any more; the next run makes them anew"
        return Rejected(Reason.FEATURES_FAILED, words, lasting=False)
    return Rejected(Reason.NEAR_DUPLICATE, f"of {found.original_id}, cosine {found.cosine}")
