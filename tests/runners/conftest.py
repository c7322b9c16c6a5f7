"""What all engines are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_runs import dataset_of, make_videos


@pytest.fixture(scope="session")
def engine_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "videos"
    make_videos(folder)
    return folder


@pytest.fixture(scope="session")
def on_direct(engine_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The dataset that the local runner makes: hashes of its files."""
    found = dataset_of(engine_videos, tmp_path_factory.mktemp("direct") / "out")
    assert any(name.endswith(".tar") for name in found)
    return found
