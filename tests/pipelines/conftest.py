"""Real videos and one finished run of them, made once for all tests and all test processes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_helpers import (
    FAST,
    Started,
    bikes,
    carphone,
    piece_of_long_video,
    run_here,
)
from small_disks import mount  # noqa: F401 - a fixture

SETTINGS = (
    *FAST,
    *("--set", "shots.max_clip_s=10"),
    *("--set", "publish.shard_bytes=900000"),
    *("--set", "publish.validation_share=0.6"),
)
"""Settings with which the finished run has many clips, many shards, and both partitions."""


def _shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes makes, and the others find."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / f"shared-{name}"
    with (base / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = base / f"shared-{name}-in-the-making"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half)
            half.rename(folder)
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """first/bikes.mp4, first/deep/er/street.mp4, second/one shot.mp4, second/town.mkv."""

    def make(folder: Path) -> None:
        (folder / "first").mkdir()
        (folder / "second").mkdir()
        shutil.copyfile(bikes(), folder / "first" / "bikes.mp4")
        shutil.copyfile(carphone(), folder / "second" / "one shot.mp4")
        piece_of_long_video(folder / "first" / "deep" / "er" / "street.mp4", 75, 14)
        piece_of_long_video(folder / "second" / "town.mkv", 110, 14)

    return _shared(tmp_path_factory, "videos", make)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """The output folder of a run over both folders of `videos`. Not to be changed."""

    def make(folder: Path) -> None:
        assert run_here(videos / "first", videos / "second", "--out", folder, *SETTINGS) == 0

    return _shared(tmp_path_factory, "finished", make)


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed; its files keep their times."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture(scope="session")
def settings() -> tuple[str, ...]:
    """The settings of the finished run."""
    return SETTINGS


@pytest.fixture(scope="session")
def started() -> Started:
    return Started()
