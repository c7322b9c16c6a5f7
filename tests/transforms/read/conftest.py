"""A dataset of many samples in several small shards, made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from publish_helpers import Clip, Item, build_dataset, make_clip, make_sample
from reading_helpers import KEYS


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """31 sft samples for training in shards of a few, two for validation; not to be changed."""
    folder = tmp_path_factory.mktemp("many")
    clips = [
        make_clip(folder / "c1.mp4", 1.5, "testsrc"),
        make_clip(folder / "c2.mp4", 2.0, "testsrc2", audio=True),
    ]
    items = [item(key, clips[n % 2]) for n, key in enumerate(KEYS)]
    items += [Item(make_sample(f"v{n:02}", clips[0]), "validation", clips[0]) for n in range(2)]
    build_dataset(folder / "dataset", items, shard_bytes=100_000)
    assert len(list((folder / "dataset/sft").glob("train-*.tar"))) > 3
    return folder / "dataset"


def item(key: str, clip: Clip) -> Item:
    return Item(make_sample(key, clip), "train", clip)


@pytest.fixture
def changed(many: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(many, tmp_path / "dataset"))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No launcher around the tests."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    yield
