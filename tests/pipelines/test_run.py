"""The whole way on real videos: samples, funnel, layout, and what a second run does not do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pipeline_helpers import (
    FAST,
    Started,
    bikes,
    call,
    carphone,
    decodes_or_encodes,
    ffmpeg,
    funnel,
    index_rows,
    left_half_built,
    manifest,
    memo_entries,
    rejected_rows,
    run_here,
    samples,
    sha256_of_files,
)

from pipelines.records import records
from schemas.clip import Clip
from transforms.annotate.measure_teacher import MeasureTeacher
from transforms.annotate.teacher import Request
from transforms.publish.check import check_dataset

SHARD = re.compile(r"(sft|rl|preference)/(train|validation)-[0-9]{6}\.tar")
AROUND = {
    "manifest.json", "index.parquet", "rejected.parquet", "README.md", "rewards.py",
    "croissant.json",
}  # fmt: skip


def test_every_split_has_samples(finished: Path) -> None:
    found = Counter(sample["split"] for sample in samples(finished).values())
    assert min(found[split] for split in ("sft", "rl", "preference")) >= 1, found
    assert found["sft"] >= 5


def test_samples_say_the_truth_about_their_clips(finished: Path) -> None:
    for key, sample in samples(finished).items():
        assert sample["id"] == key
        [media] = sample["media"]
        length_s = media["num_frames"] * media["fps_den"] / media["fps_num"]
        assert media["duration_s"] == pytest.approx(length_s, abs=1e-3)
        assert media["source_end_s"] - media["source_start_s"] == pytest.approx(length_s, abs=0.1)
        assert not Path(media["source_uri"]).is_absolute()
        for segment in sample["grounding"]["segments"]:
            assert 0 <= segment["start_s"] < segment["end_s"] <= media["duration_s"] + 0.05
        assert all(check["passed"] for check in sample["verdict"]["checks"])


def test_check_finds_nothing(finished: Path) -> None:
    assert check_dataset(finished / "dataset") == []


def test_the_funnel_adds_up(finished: Path) -> None:
    lines = funnel(finished)
    assert list(lines) == (
        [
            "ingest",
            "decode",
            "segment",
            "select",
            "cut",
            "describe",
            "propose",
            "task",
            "answer",
            "verify",
            "route",
        ]
    )
    told = Counter((row["stage"], row["reason"]) for row in rejected_rows(finished))
    for stage, line in lines.items():
        assert line["in"] == line["out"] + sum(line["rejected"].values()), stage
        for reason, count in line["rejected"].items():
            assert told.pop((stage, reason)) == count
    assert not told
    assert lines["ingest"]["in"] == 4
    for before, after in (
        *(("ingest", "decode"), ("segment", "select"), ("select", "cut"), ("cut", "propose")),
        *(("task", "route"), ("answer", "verify")),
    ):
        assert lines[before]["out"] == lines[after]["in"], (before, after)
    rows = index_rows(finished)
    assert lines["route"]["out"] == len({row["task_id"] for row in rows})
    assert sum(shard["samples"] for shard in manifest(finished)["shards"]) == len(rows)


def test_layout(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {"work", "dataset"}
    files = set(sha256_of_files(finished / "dataset"))
    shards = files - AROUND
    assert files >= AROUND
    assert all(SHARD.fullmatch(name) for name in shards)
    assert shards == {shard["path"] for shard in manifest(finished)["shards"]}
    assert {row["shard"] for row in index_rows(finished)} == shards
    assert len(shards) > 3, "the settings ask for several shards a split"
    assert {row["partition"] for row in index_rows(finished)} == {"train", "validation"}
    assert left_half_built(finished) == []
    for path in (finished / "dataset").rglob("*"):
        rights = stat.S_IMODE(path.stat().st_mode)
        assert rights & 0o400, path
        assert not path.is_symlink()


def test_splits_without_samples_have_no_folder(tmp_path: Path) -> None:
    assert run_here(carphone(), "--out", tmp_path / "out", *FAST) == 0
    assert set(sha256_of_files(tmp_path / "out" / "dataset")) == AROUND
    assert {path.name for path in (tmp_path / "out" / "dataset").iterdir()} == AROUND
    assert check_dataset(tmp_path / "out" / "dataset") == []
    assert [row["reason"] for row in rejected_rows(tmp_path / "out")] == ["nothing_to_ask"]


def test_nothing_of_this_machine_is_published(finished: Path, videos: Path) -> None:
    secrets = {str(videos), str(videos.parent), str(finished), str(Path.cwd()), sys.prefix}
    secrets |= {str(Path.home())} if len(str(Path.home())) > 6 else set()
    secrets |= {socket.gethostname()} if len(socket.gethostname()) > 6 else set()
    secrets |= {"shared-videos", "shared-finished"}
    for path in (finished / "dataset").rglob("*"):
        if path.is_dir():
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pq.read_table(path).to_pylist()).encode()
        for secret in secrets:
            assert secret.encode() not in data, (path.name, secret)


def test_a_second_run_looks_everything_up(
    out: Path,
    finished: Path,
    videos: Path,
    settings: tuple[str, ...],
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Request] = []
    ask = MeasureTeacher.ask
    monkeypatch.setattr(
        MeasureTeacher,
        "ask",
        lambda self, requests: (asked.extend(requests), ask(self, requests))[1],
    )
    before = memo_entries(out)
    with started.listening() as commands:
        assert run_here(videos / "first", videos / "second", "--out", out, *settings) == 0
    assert [command for command in commands if decodes_or_encodes(command)] == []
    assert memo_entries(out) == before
    assert asked == []
    assert sha256_of_files(out / "dataset") == sha256_of_files(finished / "dataset")
    assert left_half_built(out) == []


def test_a_second_run_starts_no_process(
    out: Path, videos: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The same from outside: whatever process a run starts meets this ffmpeg."""
    from transforms.video.media_process import ffmpeg_exe

    log = tmp_path / "ffmpeg.log"
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nexec "{ffmpeg_exe()}" "$@"\n')
    wrapper.chmod(0o755)
    inputs = (videos / "first", videos / "second")
    code, _, stderr = call(
        "run",
        *inputs,
        "--out",
        out,
        *settings,
        env={**os.environ, "PROOFREEL_FFMPEG": str(wrapper)},
    )
    assert code == 0, stderr
    assert set(log.read_text().splitlines()) <= {"-version"}


@pytest.mark.parametrize("threshold", ["select.min_brightness", "verify.thresholds.answer_iou"])
def test_other_thresholds_decode_nothing_again(
    threshold: str,
    out: Path,
    finished: Path,
    videos: Path,
    settings: tuple[str, ...],
    started: Started,
) -> None:
    clips = [Clip.from_json(text) for _, text in records(out / "work" / "records", "clip")]
    brightness = sorted(clip.measures.brightness for clip in clips)
    between = (brightness[0] + brightness[-1]) / 2
    value = between if threshold == "select.min_brightness" else 0.999
    before = memo_entries(out)
    inputs = (videos / "first", videos / "second")
    with started.listening() as commands:
        code = run_here(*inputs, "--out", out, *settings, "--set", f"{threshold}={value}")
    assert code == 0
    assert [command for command in commands if decodes_or_encodes(command)] == []
    after = memo_entries(out)
    assert {place: after[place] for place in before} == before
    assert {place.split("/")[0] for place in after.keys() - before.keys()} <= {"reply"}
    assert check_dataset(out / "dataset") == []
    dark = sum(one < value for one in brightness)
    if threshold == "select.min_brightness":
        assert 0 < dark < len(brightness)
        assert funnel(out)["select"]["rejected"] == {"too_dark": dark}
    assert manifest(out)["config"] != manifest(finished)["config"]


def test_limit(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(videos / "second", "--out", out, "--limit", 1, *FAST) == 0
    assert funnel(out)["ingest"]["in"] == 1
    assert run_here(videos / "second", "--out", out, "--limit", 0, *FAST) == 2


def test_features_reject_the_same_scene_encoded_twice(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copyfile(carphone(), videos / "one.mp4")
    ffmpeg("-i", carphone(), "-c:v", "libx264", "-crf", 23, videos / "other.mkv")
    ffmpeg("-i", bikes(), "-t", 3, "-c:v", "libx264", "-preset", "ultrafast", videos / "third.mp4")
    features = ("--set", "features.model=ViT-S-32-alt", "--set", "features.pretrained=random")
    assert run_here(videos, "--out", out, *features) == 0
    [twin] = [row for row in rejected_rows(out) if row["stage"] == "select"]
    assert twin["reason"] == "near_duplicate"
    clips = dict(records(out / "work" / "records", "clip"))
    [original] = [name for name in clips if name in twin["detail"]]
    pair = {Clip.from_json(clips[name]).video_id for name in (original, twin["subject"])}
    assert len(pair) == 2
    assert "random" in " ".join(manifest(out)["notes"])
    assert check_dataset(out / "dataset") == []
