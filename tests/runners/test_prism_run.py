"""The whole way on Prism: the same bytes as on the local runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_runs import dataset_of
from pipeline_helpers import funnel

pytestmark = pytest.mark.slow


def test_prism_gives_the_same_bytes(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """And tells how far it is by Beam's metrics, which agree with the funnel."""
    out, told = tmp_path / "out", tmp_path / "told.jsonl"
    prism = ("--runner", "prism", "--progress-json", told)
    assert dataset_of(engine_videos, out, *prism) == on_direct
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert lines[-1]["event"] == "done"
    shown = lines[-2]["stages"]
    assert {"decode", "cut", "answer", "route"} <= shown.keys()
    for stage, count in shown.items():
        assert count["entered"] == funnel(out)[stage]["in"]
    # Long before the end, something was told.
    assert any(line["stages"] for line in lines[: len(lines) // 2 + 1])
    assert lines[-1]["legs"]["cut"]["elements"] == 2
