"""A whole run with its videos and its memo store on a real S3-compatible server on loopback."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from object_store import ObjectStore, objects
from pipeline_helpers import FAST, bikes, piece_of_long_video, run_here, sha256_of_files

from pipelines.remote_output import RemoteOutput
from pipelines.run import BusyError, locked

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


def test_an_output_on_s3_is_whole_or_not_there(
    objects: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest goes first and comes last; what did not change stays; strays go."""
    local = tmp_path / "local"
    assert run_here(bikes(), "--out", local, *FAST) == 0
    remote = (bikes(), "--out", objects.url("out"), objects.option, *FAST)
    objects.client.put_object(Bucket="films", Key="out/dataset/sft/train-000009.tar", Body=b"old")
    assert run_here(*remote) == 0
    there = objects.files("out/dataset/")
    assert {name: hashlib.sha256(data).hexdigest() for name, data in there.items()} == (
        sha256_of_files(local / "dataset")
    )
    assert any(name.endswith("result.json") for name in objects.files("out/work/memo/"))
    objects.requests.clear()
    capsys.readouterr()
    other = ("--set", "publish.shard_bytes=200000")
    assert run_here(*remote, *other) == 0
    changed = [
        (method, path.removeprefix("/films/out/dataset/"))
        for method, path in objects.requests
        if method in ("PUT", "POST") and path.startswith("/films/out/")
    ]
    assert changed[-1] == ("POST", "manifest.json")
    assert not any(name.startswith("rewards.py") for _, name in changed)
    assert run_here(bikes(), "--out", local, *FAST, *other) == 0
    assert objects.files("out/dataset/").keys() == sha256_of_files(local / "dataset").keys()


def test_no_other_run_gets_at_what_is_being_put(objects: ObjectStore, tmp_path: Path) -> None:
    """It would build another dataset in the folder that is read from."""
    folder = RemoteOutput(objects.url("out")).folder
    free: list[str] = []
    busy: list[str] = []

    def begin_another(method: str, path: str) -> None:
        if method in ("PUT", "POST", "DELETE") and path.startswith("/films/out/dataset/"):
            try:
                with locked(folder / "work" / "lock"):
                    free.append(path)
            except BusyError:
                busy.append(path)

    objects.before = begin_another
    (tmp_path / "text.mp4").write_text("no video")
    place = ("--out", objects.url("out"), objects.option)
    assert run_here(tmp_path / "text.mp4", *place, *FAST) == 0
    assert free == []
    assert any(path.endswith("manifest.json") for path in busy)


def test_what_can_not_be_reached_is_said_before_any_work(
    objects: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = objects.url("out").replace("films", "no-such-bucket")
    assert run_here(bikes(), "--out", place, objects.option, *FAST) == 1
    assert "no-such-bucket" in capsys.readouterr().err
    assert run_here(bikes(), "--out", "ftp://somewhere/out", *FAST) == 1
    assert "nothing here reads ftp://" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "inspect", "verify", "merge"])
def test_other_commands_want_a_folder(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli import main

    more = {"inspect": ["v1"], "merge": ["--out", "x"]}.get(command, [])
    assert main([command, "s3://films/out", *more]) == 2
    assert "copy the folder to this machine first" in capsys.readouterr().err
