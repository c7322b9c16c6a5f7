"""The handler that Beam's RunInference takes: references to pictures in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from schemas.rejection import Stage
from transforms.at_work import NOT_NOTED, AtWork
from transforms.features.embed import Embedder, FeatureSettings, load_model
from transforms.features.pictures import Embedded, Wanted, embed_wanted
from transforms.inference import ModelHandler
from transforms.leg_metrics import busy
from transforms.memo import MemoStore
from transforms.naming import named
from transforms.needs import NO_HINTS, Hints, Needs
from transforms.outcome import Subject
from transforms.subjects import subjects_told

SUBJECTS_PER_BATCH = 8


class LazyModel:
    """Loads the encoder when the first picture asks for it.

    So a rerun that finds all features stored spends no seconds on weights.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._settings = settings

    def get(self) -> Embedder:
        return load_model(self._settings)


class PictureEmbedder(ModelHandler[Wanted[Any], Embedded[Any], LazyModel]):
    """One model per machine, however many threads, processes and uses."""

    needs = Needs(gpu=True)

    def __init__(
        self,
        stage: Stage,
        subjects: Callable[[Any], Sequence[Subject]],
        settings: FeatureSettings,
        store: MemoStore,
        hints: Hints = NO_HINTS,
        at_work: AtWork = NOT_NOTED,
    ) -> None:
        super().__init__()
        self._stage = stage
        self._subjects = subjects
        self._settings = settings
        self._store = store
        self._hints = hints
        self._at_work = at_work

    def load_model(self) -> LazyModel:
        return LazyModel(self._settings)

    def run_inference(
        self,
        batch: Sequence[Wanted[Any]],
        model: LazyModel,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Embedded[Any]]:
        subjects = [subject for one in batch for subject in self._told(one)]
        with busy("embed", len(batch)), named(self._stage, subjects):
            return [self._embedded(wanted, model) for wanted in batch]

    def _embedded(self, wanted: Wanted[Any], model: LazyModel) -> Embedded[Any]:
        with self._at_work.on(self._stage, self._told(wanted)):
            return embed_wanted(wanted, self._store, model.get)

    def _told(self, wanted: Wanted[Any]) -> Sequence[Subject]:
        # One that can't say what it stands for is rejected by the leg that stores its vectors.
        return subjects_told(self._subjects, wanted.subject)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {"min_batch_size": 1, "max_batch_size": SUBJECTS_PER_BATCH}

    def get_resource_hints(self) -> dict[str, str]:
        return self._hints.of(self.needs)
