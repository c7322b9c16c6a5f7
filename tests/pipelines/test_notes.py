"""What a run says before it works: what costly choices cost here."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import FAST, carphone, manifest, run_here

from transforms.video.transnet import load_transnet

SLOW = ("--set", "shots.detector=transnetv2")


def test_a_slow_detector_says_how_slow_it_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if load_transnet().device != "cpu":
        pytest.skip("there is a GPU")
    assert run_here(carphone(), "--out", tmp_path / "slow", *FAST, *SLOW) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "note: shots.detector is transnetv2 and torch has no GPU" in said
    minutes = int(said.split("takes about ")[1].split(" minutes of a core")[0])
    assert 2 < minutes < 500
    # It is timed, so it is no part of the dataset, which is the same wherever it is made.
    assert not any("transnetv2" in note for note in manifest(tmp_path / "slow")["notes"])
    assert run_here(carphone(), "--out", tmp_path / "fast", *FAST) == 0
    assert "minutes of a core" not in capsys.readouterr().err
