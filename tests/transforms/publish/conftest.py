"""Real small mp4s and one whole dataset, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from publish_helpers import Clip, Item, build_dataset, make_clip, make_items


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    return [
        make_clip(folder / "c1.mp4", 1.5, "testsrc"),
        make_clip(folder / "c2.mp4", 2.0, "testsrc2", audio=True),
        make_clip(folder / "c3.mp4", 1.5, "smptebars"),
    ]


@pytest.fixture(scope="session")
def items(clips: list[Clip]) -> list[Item]:
    return make_items(clips)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, items: list[Item]) -> Path:
    """A whole dataset; not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "dataset"
    build_dataset(folder, items)
    return folder


@pytest.fixture
def dataset(built: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "dataset"))
