"""Bad input in the midst of good: the good is published, each bad one gets its own reason.

The kinds of bad videos are in tests/torture; here are manifests, rights and what is remembered.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import (
    FAST,
    bikes,
    call_without_rights,
    carphone,
    ffmpeg,
    funnel,
    index_rows,
    piece_of_long_video,
    reasons,
    rejected_rows,
    run_here,
    sha256_of_files,
)

from transforms.publish.check import check_dataset

NO_SUCH_RIGHT = 77
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="drops Linux capabilities")


def make_bad(folder: Path) -> dict[str, tuple[str, str]]:
    """A few bad files, and for each the stage and the reason it has to be rejected for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    faststart = folder / "index in front, cut off.mp4"
    ffmpeg("-i", bikes(), "-c", "copy", "-movflags", "+faststart", faststart)
    faststart.write_bytes(faststart.read_bytes()[: bikes().stat().st_size // 2])
    ffmpeg("-i", bikes(), "-frames:v", 1, "-c:v", "libx264", folder / "one frame.mp4")
    return {
        "empty.mp4": ("ingest", "empty_file"),
        "text.mp4": ("ingest", "not_a_video"),
        "one frame.mp4": ("decode", "too_short"),
        "index in front, cut off.mp4": ("decode", "truncated"),
    }


def test_a_rejection_is_as_lasting_as_a_result(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    expected = make_bad(videos)
    shutil.copyfile(bikes(), videos / "good.mp4")
    shutil.copyfile(bikes(), videos / "the same again.mp4")
    expected["the same again.mp4"] = ("ingest", "duplicate")
    piece_of_long_video(videos / "too long.mp4", 60, 14)
    expected["too long.mp4"] = ("decode", "too_long")
    limit = ("--set", "input.max_duration_s=12")
    assert run_here(videos, "--out", out, *FAST, *limit) == 0
    assert reasons(out) == expected
    assert funnel(out)["decode"]["out"] == 1
    [twin] = [row for row in rejected_rows(out) if row["reason"] == "duplicate"]
    assert "good.mp4" in twin["detail"]
    assert {twin["parent"]} == {row["video_id"] for row in index_rows(out)}
    before = sha256_of_files(out / "dataset")
    assert run_here(videos, "--out", out, *FAST, *limit) == 0
    assert sha256_of_files(out / "dataset") == before


def test_nothing_but_bad_files(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    expected = make_bad(videos)
    assert run_here(videos, "--out", out, *FAST) == 0
    assert reasons(out) == expected
    assert index_rows(out) == []
    assert check_dataset(out / "dataset") == []


def test_manifest_rows(tmp_path: Path) -> None:
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    piece_of_long_video(tmp_path / "street.mp4", 90, 8)
    rows: list[Any] = [
        {"uri": "phone.mp4", "license": "CC0-1.0"},
        {"path": "street.mp4"},
        {"uri": "missing.mp4"},
        {"uri": "http://127.0.0.1:9/video.mp4"},
        {"uri": "street.mp4", "spans": "[[0, 1"},
        ["street.mp4"],
        {"uri": "../" * 40 + "etc/hostname"},
        {"uri": "street.mp4"},
    ]
    manifest = tmp_path / "list.jsonl"
    lines = [json.dumps(row) for row in rows]
    manifest.write_text("\n".join([*lines, "{not JSON", ""]))
    out = tmp_path / "out"
    assert run_here(manifest, "--out", out, *FAST) == 0
    found = {row["subject"]: row for row in rejected_rows(out) if row["stage"] == "ingest"}
    assert {name: row["reason"] for name, row in found.items()} == {
        "list.jsonl:2": "bad_row",
        "list.jsonl:4": "bad_row",
        "list.jsonl:5": "bad_row",
        "list.jsonl:6": "bad_row",
        "list.jsonl:9": "bad_row",
        "missing.mp4": "not_found",
        "etc/hostname": "not_a_video",
    }
    assert "'uri'" in found["list.jsonl:2"]["detail"]
    assert "path" in found["list.jsonl:2"]["detail"]
    assert "only local files" in found["list.jsonl:4"]["detail"]
    assert "spans" in found["list.jsonl:5"]["detail"]
    assert funnel(out)["ingest"]["out"] == 2
    assert {row["video_id"] for row in index_rows(out)}
    assert check_dataset(out / "dataset") == []


@pytest.mark.parametrize("name", ["list.csv", "list.parquet", "list.json", "list.jsonl"])
def test_a_broken_manifest_is_a_rejection(name: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copyfile(carphone(), tmp_path / "videos" / "phone.mp4")
    (tmp_path / name).write_bytes(b"\x00\xff\x00 neither this nor that\n\xfe")
    out = tmp_path / "out"
    assert run_here(tmp_path / "videos", tmp_path / name, "--out", out, *FAST) == 0
    found = [row for row in rejected_rows(out) if row["stage"] == "ingest"]
    assert {row["reason"] for row in found} == {"bad_row"}
    assert all(row["subject"].startswith(name) for row in found)
    assert funnel(out)["ingest"]["out"] == 1


@needs_linux
@pytest.mark.parametrize(
    "inputs",
    [
        lambda videos: (videos, videos / "closed", videos / "locked.jsonl"),
        lambda videos: (videos, videos / "closed" / "inside.mp4"),
    ],
    ids=["found", "named"],
)
def test_what_may_not_be_read(inputs: Callable[[Path], tuple[Path, ...]], tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "closed").mkdir(parents=True)
    shutil.copyfile(carphone(), videos / "good.mp4")
    shutil.copyfile(carphone(), videos / "closed" / "inside.mp4")
    shutil.copyfile(bikes(), videos / "locked.mp4")
    (videos / "locked.mp4").chmod(0)
    (videos / "locked.jsonl").write_text('{"uri": "good.mp4"}')
    (videos / "locked.jsonl").chmod(0)
    (videos / "closed").chmod(0)
    try:
        code, _, stderr = call_without_rights("run", *inputs(videos), "--out", out, *FAST)
    finally:
        (videos / "closed").chmod(0o700)
    if code == NO_SUCH_RIGHT:
        pytest.skip("this user can't give up the right to read everything")
    assert code == 0, stderr
    found = reasons(out)
    assert found.pop("closed", found.pop(".", None)) == ("ingest", "unreadable")
    assert found.pop("locked.mp4") == ("ingest", "unreadable")
    assert set(found.values()) <= {("ingest", "unreadable"), ("ingest", "bad_row")}
    assert found.keys() <= {"inside.mp4", "closed", ".", "locked.jsonl"}
    assert funnel(out)["ingest"]["out"] == 1


@needs_linux
@pytest.mark.parametrize("what", ["parent", "work"])
def test_output_that_may_not_be_written(what: str, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    out = parent / "out"
    (out / "work").mkdir(parents=True)
    closed = {"parent": parent, "work": out / "work"}[what]
    if what == "parent":
        shutil.rmtree(out)
    closed.chmod(0o500)
    try:
        code, stdout, stderr = call_without_rights("run", carphone(), "--out", out, *FAST)
    finally:
        closed.chmod(0o700)
    if code == NO_SUCH_RIGHT:
        pytest.skip("this user can't give up the right to write everywhere")
    assert code == 1, stdout
    [line] = [line for line in stderr.splitlines() if line.startswith("proofreel:")]
    assert any(words in line for words in ("ermission denied", "for want of rights"))
    assert str(closed) in line
    assert "Traceback" not in stderr


def test_busy_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    with (out / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run_here(carphone(), "--out", out, *FAST) == 1
    assert f"another run works on {out}" in capfd.readouterr().err
    assert not (out / "dataset").exists()
    assert run_here(carphone(), "--out", out, *FAST) == 0
