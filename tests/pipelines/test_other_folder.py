"""Workers on this machine whose working folder is another than the one of the command."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from far_engine import FarEngine, far_engine
from pipeline_helpers import (
    FAST,
    UNEXAMINED,
    bikes,
    carphone,
    funnel,
    memo_entries,
    rejected_rows,
    run_here,
    sha256_of_files,
)
from served_run import answer, settings

from pipelines.cli import main
from transforms.annotate.prompts import own_folder

MODEL = ("--set", "features.model=ViT-S-32-alt", "--set", "features.pretrained=random")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarEngine]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with far_engine(tmp_path / "engine") as engine:
        yield engine


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the command, with a video in it."""
    folder = tmp_path / "here"
    (folder / "videos").mkdir(parents=True)
    shutil.copyfile(carphone(), folder / "videos" / "phone.mp4")
    monkeypatch.chdir(folder)
    return folder


def test_a_relative_output_folder_is_the_commands(
    here: Path, engine: FarEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here("videos", "--out", "out", *engine.options, *FAST) == 0
    # A person is told of it as they named it.
    assert "dataset: out/dataset" in capsys.readouterr().out
    assert {step.partition("/")[0] for step in memo_entries(here / "out")} >= {"probe", "cut"}
    assert not (engine.folder / "out").exists()
    assert run_here("videos", "--out", here / "local", *FAST) == 0
    assert sha256_of_files(here / "out" / "dataset") == sha256_of_files(here / "local" / "dataset")


def test_references_and_prompts_need_not_lie_on_the_workers_machines(
    here: Path, engine: FarEngine
) -> None:
    """They are named by relative paths, which lead to nothing from the workers' folder."""
    assert main(["features", "videos", "--out", "bench", *MODEL]) == 0
    shutil.copyfile(bikes(), here / "videos" / "bikes.mp4")
    (here / "mine").mkdir()
    template = (own_folder() / "solve.v3.j2").read_text("utf-8")
    (here / "mine" / "solve.v3.j2").write_text(f"This is mine. {template}", "utf-8")
    # A piece of the reference, not the same bytes: only its pictures tell.
    data = (here / "videos" / "phone.mp4").read_bytes()
    (here / "videos" / "phone.mp4").write_bytes(data + b"\0\0\0\x08free")
    server = ChatServer(answer).start()
    run = (
        *("videos", *settings(server), *MODEL, *UNEXAMINED),
        *("--set", "teacher.prompts=mine", "--set", "select.reference=[bench]"),
        *("--set", "verify.repair_rounds=0", "--set", "teacher.tool_calls=0"),
    )
    try:
        assert run_here(*run, "--out", "out", *engine.options) == 0
        solving = [said for said in server.asks if said.purpose == "solve"]
        assert solving and all("This is mine." in said.text for said in solving)
        assert run_here(*run, "--out", "local") == 0
    finally:
        server.stop()
    [kept_out] = [row for row in rejected_rows(here / "out") if row["reason"] == "contaminated"]
    assert kept_out["detail"].startswith("of phone.mp4, cosine ")
    assert funnel(here / "out")["answer"]["out"] > 0
    assert sha256_of_files(here / "out" / "dataset") == sha256_of_files(here / "local" / "dataset")
