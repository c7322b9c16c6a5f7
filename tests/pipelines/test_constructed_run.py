"""A run that also constructs tasks: measured and constructed ones end in one dataset."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from chat_server import MODEL, Answer, Ask, ChatServer, completion_of
from pipeline_helpers import (
    FAST,
    UNEXAMINED,
    bikes,
    carphone,
    funnel,
    index_rows,
    memo_entries,
    rejected_rows,
    run_here,
    samples,
    sha256_of_files,
)
from rich.console import Console

from pipelines.inspect import inspect
from schemas.conditions import Conditions
from transforms.publish.check import check_dataset

SETTINGS = (*FAST, "--set", "constructed.per_clip=2", "--set", "tasks.per_clip=2")
SETTINGS = (*SETTINGS, "--set", "cut.max_height_px=144")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("constructed") / "out"
    assert run_here(bikes(), carphone(), "--out", folder, *SETTINGS) == 0
    return folder


def test_constructed_tasks_are_published_beside_measured_ones(out: Path) -> None:
    assert check_dataset(out / "dataset") == []
    found = samples(out)
    origins = {key: json.loads(one["extra_json"])["answer_origin"] for key, one in found.items()}
    constructed = {key: found[key] for key, origin in origins.items() if origin == "constructed"}
    assert "measured" in origins.values()
    assert len(constructed) == 4 and all(key.startswith("rl-") for key in constructed)
    hashes = {row["task_id"]: row["mp4_sha256"] for row in index_rows(out)}
    for key, sample in constructed.items():
        assert [message["role"] for message in sample["messages"]] == ["user"]
        assert sample["provenance"]["teacher"] == "constructed"
        nobody = Conditions().to_json()
        assert sample["verdict"] == {"pass_rate": -1.0, "checks": [], "conditions_json": nobody}
        assert sample["answer"]["text"]
        made = json.loads(sample["extra_json"])["constructed"]
        assert made["family"] in ("anomaly", "shapes", "order", "reversed", "speed")
        assert hashes[key.removeprefix("rl-")] == sample["media"][0]["sha256"]
    plain = {
        sample["media"][0]["sha256"] for key, sample in found.items() if key not in constructed
    }
    made_for = [sample["media"][0]["sha256"] for sample in constructed.values()]
    assert len(set(made_for)) == 4 and not plain & set(made_for), "each has media of its own"


def test_the_funnel_counts_them(out: Path) -> None:
    lines = funnel(out)
    assert lines["construct"]["unit"] == "task"
    assert lines["construct"]["in"] == 2 * lines["cut"]["out"] == 4
    assert lines["construct"]["out"] == 4 and not lines["construct"]["rejected"]
    assert lines["route"]["in"] == lines["task"]["out"] + 4
    # The measure teacher was not asked about them.
    assert lines["answer"]["in"] >= 4 * lines["task"]["out"]
    constructed = {
        row["task_id"]
        for row in index_rows(out)
        if "constructed" in samples(out)[row["id"]]["extra_json"]
    }
    assert constructed and not constructed & {row["parent"] for row in rejected_rows(out)}
    card = (out / "dataset" / "README.md").read_text("utf-8")
    assert "construct | task | 4 | 4 |" in card
    assert "4 samples of `rl` carry none" in card


def test_another_run_makes_the_same_and_nothing_anew(out: Path, tmp_path: Path) -> None:
    before, entries = sha256_of_files(out / "dataset"), memo_entries(out)
    assert run_here(bikes(), carphone(), "--out", out, *SETTINGS) == 0
    assert sha256_of_files(out / "dataset") == before
    assert memo_entries(out) == entries
    assert run_here(carphone(), bikes(), "--out", tmp_path / "other", *SETTINGS) == 0
    assert sha256_of_files(tmp_path / "other" / "dataset") == before


def test_inspect_and_its_picture_show_one(out: Path, tmp_path: Path) -> None:
    keys = [key for key, one in samples(out).items() if '"constructed":{' in one["extra_json"]]
    for key in keys:
        text = io.StringIO()
        picture = tmp_path / f"{key}.png"
        inspect(out, key, str(picture), Console(file=text, width=400))
        assert "constructed: {" in text.getvalue() and "measures:" not in text.getvalue()
        assert "published as" in text.getvalue()
        assert picture.stat().st_size > 10_000


def purpose_of(said: Ask) -> str:
    return str(said.body["response_format"]["json_schema"]["name"])


def undecided(said: Ask) -> Answer:
    """Takes one of two letters by the seed; has nothing to ask by itself."""
    if purpose_of(said) != "solve":
        return completion_of({"tasks": []})
    letter = "AB"[said.body["seed"] % 2]
    reasoning = f"People walk on. So the answer is {letter}."
    return completion_of({"reasoning": reasoning, "answer": letter, "segments": []})


def test_a_model_is_asked_about_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mix = "{reversed: 1, anomaly: 0, shapes: 0, order: 0, speed: 0}"
    server = ChatServer(undecided).start()
    teacher = {"kind": "openai", "model": MODEL, "url": server.url, "samples": 8}
    asked = [part for key, one in teacher.items() for part in ("--set", f"teacher.{key}={one}")]
    constructed = ("--set", "constructed.per_clip=3", "--set", f"constructed.mix={mix}")
    try:
        out = tmp_path / "out"
        code = run_here(
            *(carphone(), "--out", out, *FAST, *UNEXAMINED, *asked, *constructed),
            *("--set", "verify.samples=8", "--set", "verify.repair_rounds=0"),
            # Who guesses would not stand being asked again.
            *("--set", "verify.conditions=[]", "--set", "verify.claims=false"),
            *("--set", "verify.conclusions=0"),
        )
    finally:
        server.stop()
    assert code == 0
    assert check_dataset(out / "dataset") == []
    lines = funnel(out)
    assert (lines["construct"]["in"], lines["task"]["in"], lines["answer"]["in"]) == (1, 0, 8)
    found = {one["split"]: one for one in samples(out).values()}
    assert set(found) == {"sft", "rl", "preference"}
    right = found["rl"]["answer"]["text"]
    seeds = [said.body["seed"] for said in server.asks if purpose_of(said) == "solve"]
    assert found["rl"]["verdict"]["pass_rate"] == sum("AB"[one % 2] == right for one in seeds) / 8
    assert found["rl"]["provenance"]["teacher"] == "constructed"
    assert found["sft"]["provenance"]["teacher"] == MODEL
    reply = found["sft"]["messages"][-1]
    assert reply["role"] == "assistant" and f"<answer>{right}</answer>" in str(reply["parts"])


def test_nothing_is_constructed_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert run_here(carphone(), "--out", tmp_path / "out", *FAST) == 0
    assert "construct" not in funnel(tmp_path / "out")
