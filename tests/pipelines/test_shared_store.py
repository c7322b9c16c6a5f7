"""One memo store for several outputs: found again by who looks into it, and used by two at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from listed_inputs import expand_inputs
from pipeline_helpers import FAST, piece_of_long_video, run_here, sha256_of_files, start

from pipelines.cli import main
from pipelines.store import PLACE_FILE, remember_store, store_of
from transforms.memo import MemoStore

RUN = (*FAST, "--set", "shots.max_clip_s=6", "--set", "publish.validation_share=0.6")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    starts_s = (75, 110, 150)
    return [piece_of_long_video(folder / f"{start_s}.mp4", start_s, 7) for start_s in starts_s]


def test_two_runs_at_once_do_no_harm(videos: list[Path], tmp_path: Path) -> None:
    """They share a video, and begin at the same time: each gives the bytes of a run alone."""
    inputs, store = {"a": videos[:2], "b": videos[1:]}, tmp_path / "store"
    outs = {name: tmp_path / name for name in inputs}
    both = [
        start("run", *inputs[name], "--out", out, "--store", store, *RUN)
        for name, out in outs.items()
    ]
    for process in both:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr[-3000:]
    for name, out in outs.items():
        alone = tmp_path / f"alone-{name}"
        assert run_here(*inputs[name], "--out", alone, *RUN) == 0
        assert sha256_of_files(out / "dataset") == sha256_of_files(alone / "dataset")
        assert not (out / "work" / "memo").exists()
        for result in (alone / "work" / "memo").glob("*/*/*/result.json"):
            place = result.parent.relative_to(alone / "work" / "memo")
            stored = json.loads((store / place / "result.json").read_text("utf-8"))
            assert stored == json.loads(result.read_text("utf-8"))
            sizes = {file: (store / place / file).stat().st_size for file in stored["files"]}
            assert sizes == stored["files"], "no entry is broken"
    assert list((store / "tmp").iterdir()) == []
    # Whoever looks into a run finds its store.
    assert main(["verify", str(outs["a"])]) == 0
    clips = list((store / "cut").glob("*/*/*.mp4"))
    for clip in clips:
        clip.unlink()
    assert main(["verify", str(outs["a"])]) == 2, "its clips lie in the shared store"


def test_the_place_of_the_store_is_remembered(tmp_path: Path) -> None:
    out, own = tmp_path / "out", MemoStore(str(tmp_path / "out" / "work" / "memo"))
    assert store_of(out) == own
    shared = store_of(out, str(tmp_path / "store"))
    remember_store(out, shared)
    assert store_of(out) == shared == MemoStore(str(tmp_path / "store"))
    remember_store(out, store_of(out, own.root))
    assert store_of(out) == own
    assert not (out / "work" / PLACE_FILE).exists()


def test_clips_in_a_store_below_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    for name in ("a.mp4", "store/cut/clip.mp4", "out/clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources, _ = expand_inputs([str(tmp_path)], tmp_path / "out", tmp_path / "store")
    assert [source.uri for source in sources] == ["a.mp4"]
