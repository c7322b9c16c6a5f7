"""`proofreel merge`, `subset` and `reshard` on a real run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import index_rows, sha256_of_files

from pipelines.cli import main


def test_parts_of_a_run_put_together_are_the_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {row["id"] for row in index_rows(finished)}
    validation, train, whole, same = (tmp_path / one for one in ("v", "t", "whole", "same"))
    run = str(finished)
    assert main(["subset", run, "--where", "partition=validation", "--out", str(validation)]) == 0
    listed = tmp_path / "ids.txt"
    rest = {row["id"] for row in index_rows(finished) if row["partition"] == "train"}
    listed.write_text("\n".join(sorted(rest)) + "\n", "utf-8")
    assert main(["subset", run, "--ids", str(listed), "--out", str(train)]) == 0
    assert main(["merge", str(train), str(validation), "--out", str(whole)]) == 0
    assert f"{len(rest)}" in capsys.readouterr().out
    assert main(["reshard", str(whole), "--shard-bytes", "900000", "--out", str(same)]) == 0
    for folder in (validation, train, whole, same):
        assert main(["check", str(folder)]) == 0
    assert 0 < len(rest) < len(ids)
    before = sha256_of_files(finished / "dataset")
    after = sha256_of_files(same)
    shards = {name for name in before if name.endswith(".tar")}
    assert shards == {name for name in after if name.endswith(".tar")}
    assert {name: before[name] for name in shards} == {name: after[name] for name in shards}
    assert before["index.parquet"] == after["index.parquet"]


def test_what_became_of_the_samples_is_said_in_words(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = len(index_rows(finished))
    sft = sum(row["split"] == "sft" for row in index_rows(finished))
    run, part, whole, few = str(finished), *(str(tmp_path / one) for one in ("p", "w", "f"))
    assert main(["subset", run, "--where", "split=sft", "--out", part]) == 0
    said = capsys.readouterr().out
    assert f"went in: {total} samples ({total} of {run})" in said
    assert f"taken out: {total - sft} samples that do not fulfil what was asked for" in said
    assert f"came out: {sft} samples" in said
    assert main(["merge", run, part, "--out", whole]) == 0
    said = capsys.readouterr().out
    assert f"went in: {total + sft} samples ({total} of {run}, {sft} of {part})" in said
    assert f"taken out: {sft} samples that were in another of them already" in said
    assert "asked for" not in said, "that was taken out in the step before"
    assert f"came out: {total} samples" in said
    assert main(["reshard", whole, "--shard-bytes", "900000", "--out", few]) == 0
    said = capsys.readouterr().out
    assert "taken out" not in said
    assert f"came out: {total} samples" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["subset", "RUN"], "say which samples: --where CONDITION or --ids FILE"),
        (["subset", "RUN", "--where", "pass=1"], "there is no field 'pass'"),
        (["subset", "RUN", "--ids", "nowhere.txt"], "--ids nowhere.txt: No such file"),
        (["merge", "RUN", "nowhere"], "nowhere: manifest.json: is not there"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    arguments: list[str],
    told: str,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(finished) if one == "RUN" else one for one in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
