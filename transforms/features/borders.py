"""What joining needs: embeddings of the pictures around the cuts of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from schemas.case import Footage
from schemas.rejection import Stage
from transforms.features.embed import FeatureSettings, identity
from transforms.features.embedding import EmbedPictures, reading_pictures
from transforms.features.pictures import VERSION, Wanted
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.memo import MemoStore
from transforms.outcome import Outcome, Subject
from transforms.progress import NOWHERE
from transforms.video.joining import sides_of_borders, times_to_embed
from transforms.video.measures import read_rows
from transforms.video.samples import read_samples
from transforms.video.shots import ShotSettings, find_borders


class EmbedBorders(beam.PTransform):
    """Footage -> the same with the embeddings around its cuts; outputs OUT and REJECTED."""

    def __init__(
        self,
        features: FeatureSettings,
        shots: ShotSettings,
        store: MemoStore,
        care: Care = Care(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__()
        self._care = care
        self._features = features
        self._shots = shots
        self._store = store

    def expand(self, footage: beam.PCollection) -> dict[str, beam.PCollection]:
        # A video that was decoded and goes no further: it is counted where videos are.
        stage, care = Stage.DECODE, self._care
        work = _WantBorders(self._features, self._shots, self._store)
        wanted = footage | "Wanted" >> Leg(stage, work, _subjects, NOWHERE, care)
        embedded = wanted[OUT] | "Embed" >> EmbedPictures(
            self._features, self._store, stage, _subjects, care
        )
        return {
            OUT: embedded[OUT] | "Known" >> beam.MapTuple(_with_borders),
            REJECTED: (wanted[REJECTED], embedded[REJECTED]) | "Failed" >> beam.Flatten(),
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


@dataclass(frozen=True)
class _WantBorders:
    features: FeatureSettings
    shots: ShotSettings
    store: MemoStore

    def __call__(self, footage: Footage) -> Outcome[Wanted[Footage]]:
        with reading_pictures():
            return Outcome([want_borders(footage, self.store, self.features, self.shots)])


def _with_borders(footage: Footage, vectors_ref: str) -> Footage:
    return footage.model_copy(update={"borders_ref": vectors_ref})


def _subjects(footage: Footage) -> Sequence[Subject]:
    return [(footage.video.id, footage.video.source.uri)]
