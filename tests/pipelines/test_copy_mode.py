"""A run that copies pictures instead of encoding them makes a dataset that is whole and true."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pipeline_helpers import FAST, bikes, run_here, samples

from transforms.publish.check import check_dataset

COPY = ("--set", "cut.mode=copy", "--set", "shots.max_clip_s=5")


def test_copied_clips_begin_at_keyframes_and_are_checked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *FAST, *COPY) == 0
    assert check_dataset(out / "dataset") == []
    media = {one["media"][0]["id"]: one["media"][0] for one in samples(out).values()}
    assert media
    assert all(one["is_copied"] for one in media.values())
    spans = sorted({(one["source_start_s"], one["source_end_s"]) for one in media.values()})
    for one in media.values():
        length_s = one["source_end_s"] - one["source_start_s"]
        assert abs(one["duration_s"] - length_s) < 0.002
        assert one["height_px"] == 272, "as it was"
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
