"""`proofreel export` as it is typed: exit codes, what it says, and that its help loads little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main


def test_export_says_what_was_written(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verl"
    assert main(["export", str(finished), "--to", "verl", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "sft-train.parquet" in said and "README.md" in said
    assert (out / "sft-train.parquet").exists() and (out / "rewards.py").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--to", "nemo"], "there is no such format; known are webdataset"),
        (["--to", "easyr1", "--split", "sft"], "easyr1 takes rl"),
        (["--to", "trl", "--fps", "0"], "--fps: Input should be greater than 0"),
        (["--to", "trl", "--max-side", "1"], "--max-side: Input should be greater than"),
        (["--to", "trll"], "did you mean trl?"),
    ],
)
def test_asked_wrongly(
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    code = main(["export", str(finished), "--out", str(tmp_path / "out"), *more])
    assert code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["", "dataset"])
@pytest.mark.parametrize("place", ["export", "work/export", "dataset/export"])
def test_an_export_into_the_run_s_own_folder_is_refused(
    given: str, place: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished / place
    assert main(["export", str(finished / given), "--to", "verl", "--out", str(out)]) == 2
    assert "lies in" in capsys.readouterr().err and not out.exists()


def test_a_folder_that_is_missing_is_said_as_check_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    assert main(["check", missing]) == 2
    said = capsys.readouterr().err
    assert main(["export", missing, "--to", "trl", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == said and "no such folder" in said


def test_a_split_that_the_format_does_not_take_is_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--split", "rl", "--split", "process", "--out", str(tmp_path / "out")]
    assert main(["export", str(finished), "--to", "easyr1", *asked]) == 0
    assert "of the split process, which easyr1 does not take" in capsys.readouterr().out


def test_the_help_of_the_command_loads_no_exporter() -> None:
    code = (
        "import sys; from pipelines.cli import _parser; _parser(); "
        "print([n for n in sys.modules if n.startswith('transforms.publish.exports.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
