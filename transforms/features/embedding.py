"""Embedding in the pipeline: what the store does not hold goes through the model, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import apache_beam as beam

from schemas.rejection import Reason, Rejected, Stage
from transforms.features.embed import FeatureSettings
from transforms.features.handler import PictureEmbedder
from transforms.features.pictures import VECTORS_FILE, Embedded, Wanted, store_vectors
from transforms.inference import RunInference
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.memo import MemoStore
from transforms.outcome import Outcome, Subject, is_fatal
from transforms.progress import NOWHERE
from transforms.retry import is_passing
from transforms.subjects import SubjectsWithin

MISSING = "missing"


@contextmanager
def reading_pictures() -> Iterator[None]:
    """What can't be read is Rejected(features_failed); a full disk and the like stay as they are.

    Not lasting: the next run reads again.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if is_fatal(error):
            raise
        detail = f"{type(error).__name__}: {error}"
        raise Rejected(
            Reason.FEATURES_FAILED, detail, lasting=False, passing=is_passing(error)
        ) from error


class EmbedPictures(beam.PTransform):
    """Wanted -> its subject and the reference of its stored vectors; outputs OUT and REJECTED.

    `subjects` names what the subject of a `Wanted` stands for.
    """

    def __init__(
        self,
        features: FeatureSettings,
        store: MemoStore,
        stage: Stage,
        subjects: Callable[[Any], Sequence[Subject]],
        care: Care,
    ) -> None:
        super().__init__()
        self._features = features
        self._store = store
        self._stage = stage
        self._subjects = subjects
        self._care = care

    def expand(self, wanted: beam.PCollection) -> dict[str, beam.PCollection]:
        embedder = PictureEmbedder(
            self._stage,
            self._subjects,
            self._features,
            self._store,
            self._care.hints,
            self._care.at_work,
        )
        wanteds = SubjectsWithin(self._subjects, attrgetter("subject"))
        embeddeds = SubjectsWithin(self._subjects, attrgetter("wanted.subject"))
        looked_up = wanted | "LookUp" >> Leg(self._stage, _look_up, wanteds, NOWHERE, self._care)
        known = looked_up[OUT] | "Known" >> beam.ParDo(_Apart()).with_outputs(MISSING, main=OUT)
        stored = (
            known[MISSING]
            | "Spread" >> beam.Reshuffle()
            | "Model" >> RunInference(embedder)
            | "Store" >> Leg(self._stage, _store, embeddeds, NOWHERE, self._care)
        )
        return {
            OUT: (known[OUT], stored[OUT]) | "Found" >> beam.Flatten(),
            REJECTED: (looked_up[REJECTED], stored[REJECTED]) | "Failed" >> beam.Flatten(),
        }


@dataclass(frozen=True)
class _Looked:
    wanted: Wanted[Any]
    is_stored: bool


def _look_up(wanted: Wanted[Any]) -> Outcome[_Looked]:
    return Outcome([_Looked(wanted, wanted.entry.get() is not None)])


class _Apart(beam.DoFn):
    def process(self, looked: _Looked) -> Iterator[Any]:
        wanted = looked.wanted
        if looked.is_stored:
            yield wanted.subject, wanted.entry.ref(VECTORS_FILE)
        else:
            yield beam.pvalue.TaggedOutput(MISSING, wanted)


def _store(embedded: Embedded[Any]) -> Outcome[tuple[Any, str]]:
    wanted = embedded.wanted
    if embedded.error:
        raise Rejected(Reason.FEATURES_FAILED, embedded.error, lasting=False)
    store_vectors(wanted.entry, wanted.times_s, embedded.vectors)
    return Outcome([(wanted.subject, wanted.entry.ref(VECTORS_FILE))])
