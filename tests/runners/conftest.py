"""What all engines are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_runs import dataset_of, make_videos
from pipeline_helpers import sha256_of_files


@pytest.fixture(scope="session")
def engine_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "videos"
    make_videos(folder)
    return folder


@pytest.fixture(scope="session")
def direct_out(engine_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run on the local runner."""
    out = tmp_path_factory.mktemp("direct") / "out"
    dataset_of(engine_videos, out)
    return out


@pytest.fixture(scope="session")
def on_direct(direct_out: Path) -> dict[str, str]:
    """The dataset that the local runner makes: hashes of its files."""
    found = sha256_of_files(direct_out / "dataset")
    assert any(name.endswith(".tar") for name in found)
    return found
