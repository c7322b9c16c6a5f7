"""The handler that Beam's RunInference takes: clips in, frame embeddings out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from transforms.features.embed import (
    CLIPS_PER_BATCH,
    ClipModel,
    ClipPictures,
    Embedded,
    FeatureSettings,
    embed_clips,
    load_model,
)


class LazyModel:
    """Loads the encoder when the first clip asks for it.

    So a rerun that finds all features stored spends no seconds on weights.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._settings = settings

    def get(self) -> ClipModel:
        return load_model(self._settings)


class ClipEmbedder(ModelHandler[ClipPictures, Embedded, LazyModel]):
    """One model per worker, however many threads."""

    def __init__(self, settings: FeatureSettings) -> None:
        super().__init__()
        self._settings = settings

    def load_model(self) -> LazyModel:
        return LazyModel(self._settings)

    def run_inference(
        self,
        batch: Sequence[ClipPictures],
        model: LazyModel,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Embedded]:
        return embed_clips(batch, model.get())

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {"min_batch_size": 1, "max_batch_size": CLIPS_PER_BATCH}
