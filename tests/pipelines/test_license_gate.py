"""The licence gate on a real run: it holds back, and gives back, without any work done again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from pipeline_helpers import funnel, index_rows, sha256_of_files

from pipelines.cli import main
from transforms.publish.check import check_dataset


def test_a_gate_that_changes_is_applied_to_a_finished_run(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's sources state no licence."""
    before = sha256_of_files(out / "dataset")
    task = index_rows(out)[0]["task_id"]
    samples = Counter(row["split"] for row in index_rows(out))
    gate = ("--set", "publish.licenses=[CC0-1.0]")
    capsys.readouterr()
    assert main(["verify", str(out), "--json", *gate]) == 0
    told = json.loads(capsys.readouterr().out)["splits"]
    assert {split: count["dropped"] for split, count in told.items()} == {
        split: samples[split] for split in told
    }
    for more in ((), ("--write",)):
        assert main(["verify", str(out), *gate, *more]) == 0
        said = " ".join(capsys.readouterr().out.split())
        count = samples.total()
        assert f"warning: {count} samples are left out: no licence is stated, so it is not" in said
        assert "column license" in said
        assert f"warning: no sample is left, all {count} are dropped" in said
    line = funnel(out)["route"]
    assert (line["out"], line["rejected"]) == (0, {"license": line["in"]})
    assert check_dataset(out / "dataset") == []
    assert main(["check", str(out)]) == 0
    assert "whole and true (0 samples)" in capsys.readouterr().out
    assert main(["inspect", str(out), task]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "no licence is stated" in shown
    assert "published in" not in shown
    assert main(["verify", str(out), "--write", "--set", "publish.licenses=[]"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert sha256_of_files(out / "dataset") == before
