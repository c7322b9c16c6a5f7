"""Videos of benchmarks stay out of a run, and copies stay on one side of train and validation."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from pipeline_helpers import (
    FAST,
    bikes,
    carphone,
    ffmpeg,
    index_rows,
    manifest,
    memo_entries,
    rejected_rows,
    run_here,
)

from pipelines.cli import main
from schemas.video import video_id
from transforms.publish.check import check_dataset
from transforms.publish.routing import PublishSettings, partition

MODEL = ("--set", "features.model=ViT-S-32-alt", "--set", "features.pretrained=random")
HALVES = PublishSettings(validation_share=0.5)


def test_what_a_benchmark_shows_stays_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, videos, out = tmp_path / "bench", tmp_path / "videos", tmp_path / "out"
    for folder in (bench, videos):
        folder.mkdir()
    shutil.copyfile(carphone(), bench / "benchmark.mp4")
    (bench / "broken.mp4").write_bytes(b"no video")
    assert main(["features", str(bench), "--out", str(tmp_path / "ref"), *MODEL]) == 0
    said = capsys.readouterr()
    assert "1 videos, 8 pictures" in said.out
    assert "left out: broken.mp4: not_a_video" in said.err
    before = memo_entries(tmp_path / "ref")
    written = (tmp_path / "ref" / "features.parquet").read_bytes()
    assert main(["features", str(bench), "--out", str(tmp_path / "ref"), *MODEL]) == 0
    assert memo_entries(tmp_path / "ref") == before, "all is looked up"
    assert (tmp_path / "ref" / "features.parquet").read_bytes() == written

    shutil.copyfile(carphone(), videos / "renamed.mp4")
    small = ("-vf", "scale=160:-2", "-c:v", "libx264", "-crf", 30, "-threads", 1)
    ffmpeg("-ss", 1, "-i", carphone(), "-t", 2.5, *small, videos / "piece.mp4")
    shutil.copyfile(bikes(), videos / "ours.mp4")
    ffmpeg("-i", carphone(), "-vf", "hflip", *small, videos / "Phone [aqz-KE-bpKQ].mp4")
    (tmp_path / "list.txt").write_text("aqz-KE-bpKQ\n", "utf-8")
    keep_out = (
        *("--set", f"select.reference=[{tmp_path / 'ref'}]"),
        *("--set", f"input.exclude=[{tmp_path / 'list.txt'}]"),
    )
    assert run_here(videos, "--out", out, *MODEL, *keep_out) == 0
    left_out = {row["subject"]: row for row in rejected_rows(out)}
    assert left_out["renamed.mp4"]["reason"] == "excluded"
    assert left_out["renamed.mp4"]["detail"] == "the video 'benchmark.mp4' of ref"
    assert left_out["Phone [aqz-KE-bpKQ].mp4"]["detail"] == "'aqz-KE-bpKQ' of list.txt"
    [piece] = [row for row in rejected_rows(out) if row["stage"] == "select"]
    assert piece["reason"] == "contaminated"
    assert piece["detail"].startswith("of benchmark.mp4, cosine 0.9")
    ours = video_id(hashlib.sha256(bikes().read_bytes()).hexdigest())
    assert {row["video_id"] for row in index_rows(out)} == {ours}
    notes = " ".join(manifest(out)["notes"])
    assert "Videos named in list.txt were left out (1 entries" in notes
    assert "Clips alike to the 1 videos of ref were left out" in notes
    assert str(tmp_path) not in (out / "dataset" / "manifest.json").read_text("utf-8")
    assert check_dataset(out / "dataset") == []

    # To decide otherwise embeds nothing again.
    before = memo_entries(out)
    strict = ("--set", "select.contamination_cosine=1")
    assert run_here(videos, "--out", out, *MODEL, *keep_out, *strict) == 0
    after = memo_entries(out)
    assert [row for row in rejected_rows(out) if row["stage"] == "select"] == []
    measured = ("probe/", "decode/", "features/")
    assert {one for one in after if one.startswith(measured)} == {
        one for one in before if one.startswith(measured)
    }


def seed_that_parts(*videos: Path) -> int:
    """A seed by which two videos stand on different sides."""
    ids = [video_id(hashlib.sha256(path.read_bytes()).hexdigest()) for path in videos]
    for seed in range(100):
        if len({partition(one, seed, HALVES) for one in ids}) == 2:
            return seed
    raise AssertionError("no seed parts them")


@pytest.mark.parametrize("kind", ["encoded anew", "in another container"])
def test_a_copy_does_not_stand_on_the_other_side(kind: str, tmp_path: Path) -> None:
    """Two files with the same content, that the split by source video would part. Encoded anew,
    features tell; without features, clips with the same bytes do."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copyfile(bikes(), videos / "one.mp4")
    anew = kind == "encoded anew"
    encode = ("-c:v", "libx264", "-crf", 23, "-threads", 1) if anew else ("-c", "copy")
    ffmpeg("-i", bikes(), *encode, "-fflags", "+bitexact", videos / "other.mkv")
    seed = seed_that_parts(videos / "one.mp4", videos / "other.mkv")
    settings = ("--set", f"seed={seed}", "--set", "publish.validation_share=0.5")
    assert run_here(videos, "--out", out, *(MODEL if anew else FAST), *settings) == 0
    twins = [row for row in rejected_rows(out) if row["stage"] in ("select", "cut")]
    reason = ("select", "near_duplicate") if anew else ("cut", "duplicate")
    assert {(row["stage"], row["reason"]) for row in twins} == {reason}
    assert len({row["video_id"] for row in index_rows(out)}) == 1
    assert check_dataset(out / "dataset") == []


def test_what_can_not_be_taken_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for setting, told in (
        (f"input.exclude=[{tmp_path / 'list'}]", "input.exclude: "),
        (f"select.reference=[{tmp_path / 'ref'}]", "is not there; make it with proofreel features"),
    ):
        assert run_here(bikes(), "--out", tmp_path / "out", *MODEL, "--set", setting) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert run_here(bikes(), "--out", tmp_path, *FAST, "--set", "select.reference=[x]") == 2
    assert "select.reference: videos are compared by a model" in capsys.readouterr().err
