"""Workers on this machine whose working folder is another than the one of the command."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_engine import FarEngine, far_engine
from pipeline_helpers import FAST, carphone, memo_entries, run_here, sha256_of_files


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FarEngine]:
    with far_engine(tmp_path / "engine") as engine:
        yield engine


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the command, with a video in it."""
    folder = tmp_path / "here"
    (folder / "videos").mkdir(parents=True)
    shutil.copyfile(carphone(), folder / "videos" / "phone.mp4")
    monkeypatch.chdir(folder)
    return folder


def test_a_relative_output_folder_is_the_commands(
    here: Path, engine: FarEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here("videos", "--out", "out", *engine.options, *FAST) == 0
    # A person is told of it as they named it.
    assert "dataset: out/dataset" in capsys.readouterr().out
    assert {step.partition("/")[0] for step in memo_entries(here / "out")} >= {"probe", "cut"}
    assert not (engine.folder / "out").exists()
    assert run_here("videos", "--out", here / "local", *FAST) == 0
    assert sha256_of_files(here / "out" / "dataset") == sha256_of_files(here / "local" / "dataset")
