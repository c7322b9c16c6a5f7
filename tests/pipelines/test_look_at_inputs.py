"""Whether an input is a video is looked at before anybody is sent to look for weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants
from pipeline_helpers import bikes

from pipelines.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, as where HF_HUB_OFFLINE is set."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def told(tmp_path: Path, capsys: Capture, *inputs: Path) -> str:
    arguments = [*map(str, inputs), "--out", str(tmp_path / "out")]
    for command in ("run", "features"):
        assert main([command, *arguments]) == 2
        assert not (tmp_path / "out").exists()
    return capsys.readouterr().err


def test_what_is_no_video_is_said_to_be_none(tmp_path: Path, capsys: Capture) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("s1\ns2\n" * 200)
    said = told(tmp_path, capsys, ids)
    assert said.count(f"{ids}: not_a_video") == 2
    assert "CLIP" not in said and "features." not in said


def test_a_folder_without_videos_is_said_to_hold_none(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("no video")
    said = told(tmp_path, capsys, tmp_path / "in")
    assert said.count("the inputs hold no video; in a folder, files that end in .3gp") == 2


def test_where_there_is_a_video_its_weights_are_missing(tmp_path: Path, capsys: Capture) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("s1\n" * 200)
    said = told(tmp_path, capsys, ids, bikes())
    assert said.count("features.pretrained") >= 2
    assert "not_a_video" not in said
