"""What an attempt of the engine that failed left in the draft of a run comes into no dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import FAST, UNEXAMINED, bikes, run_here, sha256_of_files

from pipelines import run as run_module
from transforms.publish.check import check_dataset

RUN = (*FAST, *UNEXAMINED, "--direct_num_workers=1")
HALF = ".train-000000.tar.0a1b.partial"


def after_building(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Change the draft of the runs that follow once their pipeline has ended."""
    real = run_module._run_pipeline

    def run_pipeline(plan: Any, *rest: Any) -> Any:
        told = real(plan, *rest)
        change(Path(plan.draft.root))
        return told

    monkeypatch.setattr(run_module, "_run_pipeline", run_pipeline)


def leave_strays(draft: Path) -> None:
    """As a worker killed in `write_shard`, and a job that was begun anew, leave them."""
    for name in (f"sft/{HALF}", "sft/train-000007.tar", "rl/validation-000000.tar"):
        (draft / "dataset" / name).parent.mkdir(exist_ok=True)
        (draft / "dataset" / name).write_bytes(b"of an attempt that failed")
    (draft / "records" / ".case-a.parquet.0a1b.partial").write_bytes(b"half")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run that nothing went wrong with."""
    assert run_here(bikes(), "--out", tmp_path / "out", *RUN) == 0
    return tmp_path / "out"


def test_what_the_manifest_does_not_list_is_not_published(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256_of_files(out / "dataset")
    records = sha256_of_files(out / "work" / "records")
    assert "sft/train-000000.tar" in before
    # What a person put beside the shards is another matter.
    (out / "dataset" / "sft" / "notes.txt").write_text("mine")
    after_building(monkeypatch, leave_strays)
    assert run_here(bikes(), "--out", out, *RUN) == 0
    assert (out / "dataset" / "sft" / "notes.txt").read_text() == "mine"
    (out / "dataset" / "sft" / "notes.txt").unlink()
    assert check_dataset(out / "dataset") == []
    assert sha256_of_files(out / "dataset") == before
    assert sha256_of_files(out / "work" / "records") == records


def test_a_shard_that_is_not_as_it_was_written_stops_it(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sha256_of_files(out / "dataset")

    def cut_short(draft: Path) -> None:
        shard = draft / "dataset" / "sft" / "train-000000.tar"
        shard.write_bytes(shard.read_bytes()[:-512])

    after_building(monkeypatch, cut_short)
    assert run_here(bikes(), "--out", out, *RUN) == 1
    assert "bytes that were written; run the same command again" in capsys.readouterr().err
    assert sha256_of_files(out / "dataset") == before


@pytest.mark.parametrize("name", ["dataset", "work/records"])
def test_a_link_in_the_place_of_a_folder_is_refused_before_any_work(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(elsewhere)
    assert run_here(bikes(), "--out", out, *RUN) == 2
    said = capsys.readouterr().err
    assert f"{out / name} is a link" in said
    assert str(elsewhere) in said
    assert len(said.splitlines()) == 1
    assert (out / name).is_symlink()
    assert not (out / "work" / "memo").exists()
