"""A whole run with its videos and its memo store on a real S3-compatible server on loopback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from object_store import ObjectStore, objects
from pipeline_helpers import FAST, bikes, piece_of_long_video, run_here, sha256_of_files

__all__ = ["objects"]


def memo_files(store: ObjectStore) -> dict[str, bytes]:
    return store.files("store/")


def test_videos_and_store_on_s3_give_the_bytes_of_local_ones(
    objects: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the next run, on a machine without copies, asks for nothing and stores nothing."""
    videos = tmp_path / "videos"
    (videos / "deep").mkdir(parents=True)
    shutil.copyfile(bikes(), videos / "bikes.mp4")
    piece_of_long_video(videos / "deep" / "street.mp4", 75, 7)
    (videos / "text.mp4").write_text("no video")
    assert run_here(videos, "--out", tmp_path / "local", *FAST) == 0
    for video in sorted(videos.rglob("*.mp4")):
        objects.put(video, f"in/{video.relative_to(videos)}")
    remote = (objects.url("in"), "--store", objects.url("store"), objects.option)
    assert run_here(*remote, "--out", tmp_path / "first", *FAST) == 0
    whole = sha256_of_files(tmp_path / "local" / "dataset")
    assert sha256_of_files(tmp_path / "first" / "dataset") == whole
    assert not (tmp_path / "first" / "work" / "memo").exists()
    kept = memo_files(objects)
    assert any(name.endswith("result.json") for name in kept)
    shutil.rmtree(tmp_path / "copies")
    capsys.readouterr()
    objects.requests.clear()
    assert run_here(*remote, "--out", tmp_path / "second", *FAST) == 0
    assert sha256_of_files(tmp_path / "second" / "dataset") == whole
    assert memo_files(objects) == kept
    assert {method for method, _ in objects.requests} <= {"GET", "HEAD"}
    assert "0 replies asked for" in capsys.readouterr().out


def test_a_store_that_is_lost_ends_the_run_in_words(
    objects: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = objects.url("store").replace("films", "no-such-bucket")
    code = run_here(bikes(), "--out", tmp_path / "out", "--store", place, objects.option, *FAST)
    assert code == 1
    [line] = [one for one in capsys.readouterr().err.splitlines() if one.startswith("proofreel:")]
    assert "no-such-bucket" in line
    assert not (tmp_path / "out" / "dataset").exists()
