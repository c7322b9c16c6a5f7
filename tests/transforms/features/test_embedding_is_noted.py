"""While a clip is embedded it is noted that workers are at it: there memory may run out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schemas.case import PlannedClip
from schemas.rejection import Stage
from transforms.at_work import AtWork
from transforms.features.embed import ClipModel, FeatureSettings
from transforms.features.handler import LazyModel, PictureEmbedder
from transforms.features.stage import want_clip
from transforms.memo import MemoStore


def test_each_clip_of_a_batch_is_noted_while_it_is_embedded(
    planned: Callable[[str], PlannedClip],
    feature_store: MemoStore,
    feature_settings: FeatureSettings,
    encoder: ClipModel,
    tmp_path: Path,
) -> None:
    at_work = AtWork(str(tmp_path))
    seen: list[list[str]] = []

    class Looking(LazyModel):
        def get(self) -> ClipModel:
            seen.append(at_work.left())
            return encoder

    embedder = PictureEmbedder(
        Stage.SELECT,
        lambda one: [(one.clip.id, one.clip.video_id)],
        feature_settings,
        feature_store,
        at_work=at_work,
    )
    batch = [
        want_clip(planned(name), feature_store, feature_settings)
        for name in ("bikes", "carphone_pristine")
    ]
    found = list(embedder.run_inference(batch, Looking(feature_settings)))
    assert [one.error for one in found] == ["", ""]
    clips = [wanted.subject.clip for wanted in batch]
    assert seen == [[f"select of {clip.id} (of {clip.video_id})"] for clip in clips]
    assert at_work.left() == []
