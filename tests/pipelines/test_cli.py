"""The command line: arguments, exit codes, what `check`, `inspect` and `doctor` say."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import (
    FAST,
    bikes,
    call,
    carphone,
    funnel,
    rejected_rows,
    run_here,
    sha256_of_files,
)

from pipelines.cli import main
from pipelines.records import records
from runners.arguments import split_beam_arguments
from schemas.case import Case
from transforms.publish.check import check_dataset

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("given", "beam", "rest"),
    [
        (["a.mp4"], [], ["a.mp4"]),
        (["--runner", "FlinkRunner", "a.mp4"], ["--runner=FlinkRunner"], ["a.mp4"]),
        (["--runner=FlinkRunner"], ["--runner=FlinkRunner"], []),
        (["a", "--direct_num_workers=2", "--out", "o"], ["--direct_num_workers=2"], None),
        (["a", "--direct_num_workers", "2", "b"], ["--direct_num_workers=2"], ["a", "b"]),
        (["--streaming", "a.mp4"], ["--streaming"], ["a.mp4"]),
        (["a", "--save_main_session"], ["--save_main_session"], ["a"]),
        (["--direct_num_worker=2"], [], ["--direct_num_worker=2"]),
        (["--set", "seed=1", "--limit", "2"], [], ["--set", "seed=1", "--limit", "2"]),
        (["a", "--runner"], ["--runner"], ["a"]),
        ([], [], []),
    ],
)
def test_beam_options_are_told_apart(
    given: list[str], beam: list[str], rest: list[str] | None
) -> None:
    expected = ["a", "--out", "o"] if rest is None else rest
    assert split_beam_arguments(given) == (beam, expected)


def fails(*arguments: object) -> int:
    """The exit code, argparse's own way out included."""
    try:
        return main([str(one) for one in arguments])
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_no_arguments_shows_the_help(capsys: Capture) -> None:
    assert fails() == 2
    said = capsys.readouterr().out
    for command in ("run", "check", "inspect", "prompt", "doctor"):
        assert re.search(rf"^\s+{command}\s", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("run", ["INPUT", "--out", "--config", "--set", "--limit", "Exit code", "Beam"]),
        ("run", ["--dry-run", "--calibrate", "--set 'teacher.url=[http://a/v1,http://b/v1]'"]),
        ("prompt", ["--purpose", "--html", "prompt.html", "--copy", "--config", "--set"]),
        ("check", ["DIR", "exit code 1"]),
        ("inspect", ["ID", "--picture"]),
        ("publish", ["DIR", "REPO", "--public", "--dry-run", "--allow-unlicensed", "HF_TOKEN"]),
        ("doctor", ["--out"]),
    ],
)
def test_help(command: str, named: list[str], capsys: Capture) -> None:
    assert fails(command, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert [word for word in named if word not in said] == []


MODEL = (
    *("--set", "teacher.kind=openai", "--set", "teacher.model=seer"),
    *("--set", "teacher.url=http://127.0.0.1:9/v1"),
)
BAD_REQUESTS: dict[str, tuple[list[str], str]] = {
    "unknown command": (["walk"], "walk"),
    "unknown option": (["run", "VIDEO", "--out", "OUT", "--colour"], "--colour"),
    "option with a typo": (["run", "VIDEO", "--out", "OUT", "--direct_num_worker=2"], "worker"),
    "no input": (["run", "--out", "OUT"], "INPUT"),
    "no output": (["run", "VIDEO"], "--out"),
    "missing input": (["run", "nowhere.mp4", "--out", "OUT"], "nowhere.mp4: no such file"),
    "empty pattern": (["run", "nowhere*.mp4", "--out", "OUT"], "matches nothing"),
    "unknown field": (["run", "VIDEO", "--out", "OUT", "--set", "cut.craf=3"], "cut.craf"),
    "unknown section": (["run", "VIDEO", "--out", "OUT", "--set", "cat.crf=3"], "cat"),
    "wrong type": (["run", "VIDEO", "--out", "OUT", "--set", "cut.crf=nice"], "cut.crf"),
    "out of range": (["run", "VIDEO", "--out", "OUT", "--set", "cut.crf=99"], "cut.crf"),
    "nonsense": (["run", "VIDEO", "--out", "OUT", "--set", "nonsense"], "--set nonsense"),
    "no section": (["run", "VIDEO", "--out", "OUT", "--set", "seed.x.y=1"], "seed"),
    "no config": (["run", "VIDEO", "--out", "OUT", "--config", "no.yaml"], "no.yaml"),
    "no YAML": (["run", "VIDEO", "--out", "OUT", "--config", "BROKEN"], "not YAML"),
    "no mapping": (["run", "VIDEO", "--out", "OUT", "--config", "LIST"], "mapping"),
    "unknown runner": (["run", "VIDEO", "--out", "OUT", "--runner", "Nope"], "Nope"),
    "no limit": (["run", "VIDEO", "--out", "OUT", "--limit", "0"], "--limit"),
    "limit in words": (["run", "VIDEO", "--out", "OUT", "--limit", "few"], "--limit"),
    "unknown weights": (
        ["run", "VIDEO", "--out", "OUT", "--set", "features.pretrained=nope"],
        "features.pretrained",
    ),
    "server without address": (
        ["run", "VIDEO", "--out", "OUT", "--set", "teacher.kind=openai"],
        "teacher.url",
    ),
    "check of nothing": (["check", "nowhere"], "nowhere"),
    "inspect of nothing": (["inspect", "nowhere", "c0"], "nowhere"),
    "prompt of nothing": (["prompt", "nowhere", "c0"], "nowhere"),
    "prompt of no clip": (["prompt", "OUT"], "--copy"),
    "prompts that are not there": (
        ["run", "VIDEO", "--out", "OUT", *MODEL, "--set", "teacher.prompts=nowhere"],
        "teacher.prompts: nowhere holds no prompt template",
    ),
    "calibration of a run": (["run", "VIDEO", "--out", "OUT", "--calibrate", "2"], "--dry-run"),
    "calibration of nothing": (
        ["run", "VIDEO", "--out", "OUT", "--dry-run", "--calibrate", "2"],
        "takes no tokens",
    ),
    "dry run of nothing": (["run", "nowhere.mp4", "--out", "OUT", "--dry-run"], "no such file"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_asked_wrongly(
    name: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Exit code 2, a line that names what is wrong, and the dataset that is there stays."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "dataset", tmp_path / "out" / "dataset")
    (tmp_path / "broken.yaml").write_text("seed: [1, 2\ncut: }")
    (tmp_path / "list.yaml").write_text("- seed\n- 1\n")
    places = {
        "VIDEO": str(carphone()),
        "OUT": str(tmp_path / "out"),
        "BROKEN": "broken.yaml",
        "LIST": "list.yaml",
    }
    before = sha256_of_files(tmp_path / "out")
    arguments, named = BAD_REQUESTS[name]
    assert fails(*(places.get(one, one) for one in arguments)) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert "Traceback" not in said.err
    after = sha256_of_files(tmp_path / "out")
    assert {path: after.get(path) for path in before} == before
    assert after.keys() == before.keys()


def test_a_process_of_its_own_ends_with_the_code() -> None:
    code, _, stderr = call("run", "nowhere.mp4", "--out", "nowhere")
    assert code == 2
    assert stderr.startswith("proofreel: nowhere.mp4: no such file")


def test_check_of_a_whole_run(finished: Path, capsys: Capture) -> None:
    assert main(["check", str(finished)]) == 0
    assert main(["check", str(finished / "dataset")]) == 0
    assert "whole and true" in capsys.readouterr().out


def a_shard(out: Path) -> Path:
    """A shard that holds more than one sample."""
    for path in sorted((out / "dataset" / "sft").glob("*.tar")):
        with tarfile.open(path) as tar:
            if len(tar.getnames()) > 2:
                return path
    raise AssertionError("no shard holds two samples")


Entries = list[tuple[str, bytes]]


def rewrite(path: Path, edit: Callable[[Entries], Entries]) -> str:
    """Edit the entries of a shard; gives the key of its first sample back."""
    with tarfile.open(path) as tar:
        entries = [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in edit(entries):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return entries[0][0].removesuffix(".json")


def edit_first(change: Callable[[dict[str, Any]], None]) -> Callable[[Entries], Entries]:
    def edit(entries: Entries) -> Entries:
        (name, data), *rest = entries
        sample = json.loads(data)
        change(sample)
        text = json.dumps(sample, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return [(name, text.encode()), *rest]

    return edit


def flip(out: Path) -> list[str]:
    path = a_shard(out)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    return [path.relative_to(out / "dataset").as_posix(), "sha256"]


def remove_sample(out: Path) -> list[str]:
    return [rewrite(a_shard(out), lambda entries: entries[2:]), "missing"]


def edit_verdict(out: Path) -> list[str]:
    def change(sample: dict[str, Any]) -> None:
        sample["verdict"]["checks"][0]["score"] = 0.25

    return [rewrite(a_shard(out), edit_first(change)), "verdict.checks", "0.25"]


def edit_pass_rate(out: Path) -> list[str]:
    def change(sample: dict[str, Any]) -> None:
        sample["verdict"]["pass_rate"] = 0.123

    return [rewrite(a_shard(out), edit_first(change)), "pass_rate"]


def stretch_span(out: Path) -> list[str]:
    def change(sample: dict[str, Any]) -> None:
        sample["grounding"]["segments"][0]["end_s"] = 1234.5

    return [
        rewrite(a_shard(out), edit_first(change)),
        "grounding.segments.0",
        "1234.5 s is outside",
    ]


def miscount_shard(out: Path) -> list[str]:
    def change(value: dict[str, Any]) -> None:
        value["shards"][0]["samples"] += 1

    edit_manifest(out, change)
    return ["samples, the manifest says"]


def miscount_funnel(out: Path) -> list[str]:
    def change(value: dict[str, Any]) -> None:
        value["funnel"][0]["in"] += 1

    edit_manifest(out, change)
    return ["funnel: ingest", "in 5 is not out 4"]


def miscount_rejections(out: Path) -> list[str]:
    def change(value: dict[str, Any]) -> None:
        [line] = [one for one in value["funnel"] if one["stage"] == "verify"]
        line["in"] += 1
        line["rejected"]["check_failed"] += 1

    edit_manifest(out, change)
    return ["rejected.parquet: verify: check_failed"]


def edit_manifest(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = out / "dataset" / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


def remove_shard(out: Path) -> list[str]:
    path = a_shard(out)
    path.unlink()
    return [path.relative_to(out / "dataset").as_posix(), "not there"]


def edit_rewards(out: Path) -> list[str]:
    path = out / "dataset" / "rewards.py"
    path.write_text(path.read_text() + "\n# so much better\n")
    return ["rewards.py", "sha256"]


@pytest.mark.parametrize(
    "damage",
    [
        *(flip, remove_sample, edit_verdict, edit_pass_rate, stretch_span, miscount_shard),
        *(miscount_funnel, miscount_rejections, remove_shard, edit_rewards),
    ],
)
def test_check_names_the_fault(
    damage: Callable[[Path], list[str]], out: Path, capsys: Capture
) -> None:
    named = damage(out)
    assert main(["check", str(out)]) == 1
    said = capsys.readouterr()
    # One line names all of it.
    assert any(all(word in line for word in named) for line in said.out.splitlines()), said.out
    assert re.search(r"\b(1 fault|([2-9]|[1-9][0-9]+) faults) in ", said.err)


def test_a_rerun_heals_a_damaged_dataset(
    out: Path, finished: Path, videos: Path, settings: tuple[str, ...]
) -> None:
    flip(out)
    assert run_here(videos / "first", videos / "second", "--out", out, *settings) == 0
    assert sha256_of_files(out / "dataset") == sha256_of_files(finished / "dataset")


def test_doctor(tmp_path: Path, capsys: Capture) -> None:
    code = main(["doctor", "--out", str(tmp_path / "not" / "there")])
    said = capsys.readouterr().out
    assert code == 0
    for wanted in ("ffmpeg:", "H.264 encoder: libx264", "GPU:", "model hub:", "disk:", "machine:"):
        assert wanted in said
    for line in said.splitlines():
        assert re.match(r"(ok|-|missing)  |    |\S", line)
    for engine in ("Beam, local runner:", "Prism:", "Flink:", "Spark:"):
        assert engine in said


def test_doctor_without_ffmpeg() -> None:
    code, said, stderr = call("doctor", env={**os.environ, "PROOFREEL_FFMPEG": "no-such-ffmpeg"})
    assert code == 1, stderr
    assert "missing  ffmpeg: PROOFREEL_FFMPEG='no-such-ffmpeg' is not an executable" in said
    assert "nothing can be decoded" in said
    assert "Traceback" not in stderr


def test_a_missing_ffmpeg_stops_the_run(tmp_path: Path) -> None:
    code, _, stderr = call(
        *("run", carphone(), "--out", tmp_path / "out", *FAST),
        env={**os.environ, "PROOFREEL_FFMPEG": "no-such-ffmpeg"},
    )
    assert code == 1
    assert "no-such-ffmpeg" in stderr
    assert "Traceback" not in stderr


def test_given_questions_are_not_lost(tmp_path: Path) -> None:
    """The measure teacher can't answer what others ask: each is a rejection, and is counted."""
    shutil.copyfile(bikes(), tmp_path / "bikes.mp4")
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    rows = [
        {
            "uri": "bikes.mp4",
            "question": "What do the people ride?",
            "options": ["horses", "bikes", "camels"],
            "answer": "B",
            "license": "CC0-1.0",
        },
        {"uri": "bikes.mp4", "question": "How many people are there?", "answer": "2"},
        {"uri": "bikes.mp4", "question": "When is it dark?", "spans": [[1.0, 2.5]]},
        {"uri": "phone.mp4", "question": "Is it true?", "options": ["yes"], "answer": "A"},
        {"uri": "phone.mp4", "question": "Who speaks?", "answer": "a man"},
    ]
    (tmp_path / "asked.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    out = tmp_path / "out"
    samples = ("--set", "teacher.samples=3", "--set", "verify.samples=3")
    assert run_here(tmp_path / "asked.jsonl", "--out", out, *FAST, *samples) == 0
    lines = funnel(out)
    assert lines["ingest"]["in"] == 2
    assert lines["task"]["in"] == 5
    assert lines["task"]["rejected"] == {"bad_task": 1}
    assert lines["answer"]["in"] == 4 * 3
    assert lines["answer"]["rejected"] == {"teacher_cannot_answer": 4 * 3}
    assert lines["route"]["rejected"] == {"no_accepted_rollout": 4}
    asked = {
        Case.from_json(text).task.question for _, text in records(out / "work" / "records", "case")
    }
    assert asked == {row["question"] for row in rows} - {"Is it true?"}
    [bad] = [row for row in rejected_rows(out) if row["reason"] == "bad_task"]
    assert "1 options" in bad["detail"]
    assert check_dataset(out / "dataset") == []


def test_what_decoders_write_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PROOFREEL_LOG": "debug"}
    _, _, stderr = call("run", carphone(), "--out", tmp_path / "out", *FAST, env=environment)
    said = [line for line in stderr.splitlines() if line.startswith("DEBUG transforms.video.media")]
    assert any(": decode of v" in line and carphone().name in line for line in said), stderr
