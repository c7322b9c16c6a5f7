"""Embedding in the pipeline: what the store does not hold goes through the model, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from transforms.features.embed import FeatureSettings
from transforms.features.pictures import VECTORS_FILE, Embedded, Wanted, store_vectors
from transforms.legs import OUT
from transforms.memo import MemoStore

MISSING = "missing"
FAILED = "failed"


class EmbedPictures(beam.PTransform):
    """Wanted -> its subject and the reference of its stored vectors.

    Two outputs: OUT, and FAILED: the subject and what went wrong, in words.
    """

    def __init__(self, features: FeatureSettings, store: MemoStore) -> None:
        super().__init__()
        self._features = features
        self._store = store

    def expand(self, wanted: beam.PCollection) -> dict[str, beam.PCollection]:
        # These import torch, which takes seconds: only a run with features pays for it.
        from apache_beam.ml.inference.base import RunInference

        from transforms.features.handler import PictureEmbedder

        looked_up = wanted | "LookUp" >> beam.ParDo(_LookUp()).with_outputs(MISSING, main=OUT)
        stored = (
            looked_up[MISSING]
            | "Spread" >> beam.Reshuffle()
            | "Model" >> RunInference(PictureEmbedder(self._features, self._store))
            | "Store" >> beam.ParDo(_Store()).with_outputs(FAILED, main=OUT)
        )
        found = (looked_up[OUT], stored[OUT]) | "Found" >> beam.Flatten()
        return {OUT: found, FAILED: stored[FAILED]}


class _LookUp(beam.DoFn):
    def process(self, wanted: Wanted[Any]) -> Iterator[Any]:
        if wanted.entry.get() is None:
            yield beam.pvalue.TaggedOutput(MISSING, wanted)
        else:
            yield wanted.subject, wanted.entry.ref(VECTORS_FILE)


class _Store(beam.DoFn):
    def process(self, embedded: Embedded[Any]) -> Iterator[Any]:
        wanted = embedded.wanted
        if embedded.error:
            yield beam.pvalue.TaggedOutput(FAILED, (wanted.subject, embedded.error))
            return
        store_vectors(wanted.entry, wanted.times_s, embedded.vectors)
        yield wanted.subject, wanted.entry.ref(VECTORS_FILE)
