"""Joining through the whole product: what is published is made of the repaired shots."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import bikes, call, ffmpeg, funnel, manifest, memo_entries, run_here

from pipelines.records import records
from schemas.clip import Clip

CUTS_S = [1.20, 3.04, 5.48, 7.48, 9.68]
FLASHES_S = (0.60, 4.60, 7.08)
MODEL = (
    *("--set", "features.model=ViT-S-32-alt"),
    *("--set", "features.pretrained=random"),
    *("--set", "features.fps=4"),
)
JOIN = (*MODEL, "--set", "shots.join=features")


def shot_starts_s(out: Path) -> list[float]:
    found = [Clip.model_validate_json(text) for _, text in records(out / "work/records", "clip")]
    return sorted(round(time_s, 2) for clip in found for time_s in clip.shot_starts_s)


@pytest.fixture(scope="module")
def flashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bikes.mp4 with flashes of two white frames where little moves."""
    path = tmp_path_factory.mktemp("flashes") / "flashes.mp4"
    when = "+".join(f"between(t,{time_s - 0.01},{time_s + 0.05})" for time_s in FLASHES_S)
    white = f"drawbox=color=white:t=fill:enable='{when}'"
    ffmpeg("-i", bikes(), "-vf", white, "-crf", 16, "-threads", 1, path)
    return path


def test_a_run_joins_flashes_and_another_threshold_embeds_nothing(
    flashing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_here(flashing, "--out", out, *MODEL) == 0
    assert shot_starts_s(out) == sorted([0.0, *CUTS_S, *FLASHES_S])
    assert run_here(flashing, "--out", out, *JOIN) == 0
    assert shot_starts_s(out) == [0.0, *CUTS_S]
    assert funnel(out)["decode"] == {
        "stage": "decode", "unit": "video", "in": 1, "out": 1, "rejected": {}
    }  # fmt: skip
    assert any("weights are random: shots were joined" in note for note in manifest(out)["notes"])
    before = memo_entries(out)
    assert any(name.startswith("borders/") for name in before)
    assert run_here(flashing, "--out", out, *JOIN, "--set", "shots.join_cosine=0.99999") == 0
    assert shot_starts_s(out) == sorted([0.0, *CUTS_S, *FLASHES_S])
    new = {name.split("/")[0] for name in set(memo_entries(out)) - set(before)}
    assert not new & {"decode", "borders", "features"}


def test_joining_without_a_model_is_refused_in_one_line(flashing: Path, tmp_path: Path) -> None:
    code, _, said = call(
        "run", flashing, "--out", tmp_path / "out", "--set", "shots.join=features",
        "--set", "features.model=none",
    )  # fmt: skip
    assert code == 2
    [line] = [line for line in said.splitlines() if line.startswith("proofreel:")]
    assert "shots.join" in line and "features.model" in line
    assert not (tmp_path / "out").exists()
