"""What joining needs: embeddings of the pictures around the cuts of a video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from schemas.case import Footage
from schemas.rejection import Reason, Rejection, Stage
from transforms.features.embed import FeatureSettings, identity
from transforms.features.embedding import FAILED, EmbedPictures
from transforms.features.pictures import VERSION, Wanted
from transforms.legs import OUT, REJECTED
from transforms.memo import MemoStore
from transforms.video.joining import sides_of_borders, times_to_embed
from transforms.video.measures import read_rows
from transforms.video.samples import read_samples
from transforms.video.shots import ShotSettings, find_borders


class EmbedBorders(beam.PTransform):
    """Footage -> the same with the embeddings around its cuts; outputs OUT and REJECTED."""

    def __init__(self, features: FeatureSettings, shots: ShotSettings, store: MemoStore) -> None:
        super().__init__()
        self._features = features
        self._shots = shots
        self._store = store

    def expand(self, footage: beam.PCollection) -> dict[str, beam.PCollection]:
        wanted = footage | "Wanted" >> beam.ParDo(
            _WantBorders(self._features, self._shots, self._store)
        ).with_outputs(REJECTED, main=OUT)
        embedded = wanted[OUT] | "Embed" >> EmbedPictures(self._features, self._store)
        failed = embedded[FAILED] | "NotEmbedded" >> beam.MapTuple(_rejection)
        return {
            OUT: embedded[OUT] | "Known" >> beam.MapTuple(_with_borders),
            REJECTED: (wanted[REJECTED], failed) | "Failed" >> beam.Flatten(),
        }


def want_borders(
    footage: Footage, store: MemoStore, features: FeatureSettings, shots: ShotSettings
) -> Wanted[Footage]:
    """The sampled frames around the cuts of a video, as pictures to embed.

    Which these are hangs on the cuts, and not on `join_cosine`. Raises OSError or ValueError.
    """
    decoded = footage.decoded
    rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
    borders = find_borders(rows["time_s"], rows["shot_score"], shots)
    samples = read_samples(store.path(decoded.samples_ref))
    times = times_to_embed(sides_of_borders(rows["time_s"], borders, samples.times_s))
    entry = store.entry("borders", VERSION, decoded.samples_ref, times, identity(features))
    return Wanted(footage, decoded.samples_ref, times, entry)


class _WantBorders(beam.DoFn):
    def __init__(self, features: FeatureSettings, shots: ShotSettings, store: MemoStore) -> None:
        self._features = features
        self._shots = shots
        self._store = store

    def process(self, footage: Footage) -> Iterator[Any]:
        try:
            yield want_borders(footage, self._store, self._features, self._shots)
        except (OSError, ValueError) as error:
            detail = f"{type(error).__name__}: {error}"[:300]
            yield beam.pvalue.TaggedOutput(REJECTED, _rejection(footage, detail))


def _with_borders(footage: Footage, vectors_ref: str) -> Footage:
    return footage.model_copy(update={"borders_ref": vectors_ref})


def _rejection(footage: Footage, detail: str) -> Rejection:
    # A video that was decoded and goes no further: it is counted where videos are.
    return Rejection(
        stage=Stage.DECODE,
        reason=Reason.FEATURES_FAILED,
        subject=footage.video.id,
        parent=footage.video.source.uri,
        detail=detail,
    )
