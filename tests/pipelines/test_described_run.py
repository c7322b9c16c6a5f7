"""Runs whose teacher describes first: what is said of the clips reaches questions and dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import MODEL, Answer, Ask, ChatServer, completion_of, looked_up
from pipeline_helpers import FAST, bikes, funnel, index_rows, manifest, run_here, samples

from pipelines.cli import main
from pipelines.folder import Folder
from pipelines.records import records
from schemas.case import Scene
from transforms.publish.check import check_dataset

SHORT = ("--set", "shots.max_clip_s=4", "--set", "describe.event_s=5")
"""Two or more clips of the ten seconds, and two events."""
BAD_CLIP = "2.44 s"
"""What the prompt says of how long the clip lasts that the server has no words for."""


def described(out: Path) -> list[Scene]:
    """The clips of a run in order of time."""
    kept = [Scene.from_json(text) for _, text in records(Folder(out).records, "scene")]
    return sorted(kept, key=lambda scene: scene.clip.start_s)


def shown(out: Path, identity: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["inspect", str(out), identity]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_what_was_measured_of_a_clip_is_published_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *FAST, *SHORT) == 0
    lines = funnel(out)
    scenes = described(out)
    assert lines["describe"]["in"] == lines["describe"]["out"] == len(scenes) > 2
    for scene in scenes:
        captions = scene.description.captions
        assert [one.start_s for one in captions] == pytest.approx(
            [start_s - scene.clip.start_s for start_s in scene.clip.shot_starts_s], abs=0.04
        )
        assert captions[-1].end_s == scene.media.duration_s
        assert scene.description.error == ""
    [story] = {scene.description.story for scene in scenes}
    assert story.startswith("2 captions, 0.00 s to 10.00 s.")
    by_clip = {scene.clip.id: scene.description for scene in scenes}
    for sample in samples(out).values():
        extra = json.loads(sample["extra_json"])
        wanted = by_clip[extra["clip_id"]].captions
        assert extra["captions"] == [one.model_dump(mode="json") for one in wanted]
    assert check_dataset(out / "dataset") == []
    for row in index_rows(out)[:1]:
        for identity in (row["task_id"], row["clip_id"]):
            said = shown(out, identity, capsys)
            assert "description" in said
            assert " ".join(by_clip[row["clip_id"]].captions[0].text.split()[:5]) in said


def test_without_descriptions_the_stage_is_left_out(tmp_path: Path) -> None:
    """What is measured hangs on no description: the same questions are asked."""
    bare, clips = tmp_path / "bare", tmp_path / "clips"
    for out, levels in ((bare, "none"), (clips, "clip")):
        settings = (*FAST, *SHORT, "--set", f"describe.levels={levels}")
        assert run_here(bikes(), "--out", out, *settings) == 0
    assert "describe" not in funnel(bare)
    assert all(scene.description.captions == () for scene in described(bare))
    assert all(scene.description.captions for scene in described(clips))
    assert {scene.description.story for scene in described(clips)} == {""}
    tasks = {out: {row["task_id"] for row in index_rows(out)} for out in (bare, clips)}
    assert tasks[bare] == tasks[clips] != set()
    assert not any("captions" in one["extra_json"] for one in samples(bare).values())


def purpose_of(said: Ask) -> str:
    name: str = said.body["response_format"]["json_schema"]["name"]
    return name


def narrator(said: Ask) -> Answer:
    """Describes each clip by how long it lasts, and fails on one of them."""
    match purpose_of(said):
        case "describe":
            [lasts] = re.findall(r"clip that lasts ([0-9.]+ s)", said.text)
            if lasts == BAD_CLIP:
                return Answer(b"no words", 400)
            caption = {"start_s": 0.0, "end_s": 1.0, "text": f"A scene of {lasts} begins."}
            return completion_of({"captions": [caption]})
        case "summarize":
            scenes = re.findall(r"A scene of ([0-9.]+) s", said.text)
            return completion_of({"summary": f"Scenes of {' and '.join(scenes)} seconds."})
        case "propose":
            asked = {"kind": "free_text", "question": "What is ridden?", "answer": "a bike"}
            task = asked | {"options": [], "evidence": [[0.0, 1.0]], "tolerance": -1.0}
            return completion_of({"tasks": [task]})
        case "check":
            return looked_up()
        case "conclude":
            return completion_of({"answer": "a bike"})
    reply = {"reasoning": "It is a bike. So the answer is a bike.", "answer": "a bike"}
    return completion_of(reply | {"segments": [], "boxes": []})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = ChatServer(narrator).start()
    yield one
    one.stop()


def test_a_clip_without_words_goes_on_and_is_told_of(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    teacher: dict[str, Any] = {"kind": "openai", "model": MODEL, "url": server.url, "samples": 2}
    teacher |= {"first_wait_s": 0.01, "longest_wait_s": 0.05}
    settings = [part for key, one in teacher.items() for part in ("--set", f"teacher.{key}={one}")]
    assert run_here(bikes(), "--out", out, *FAST, *SHORT, *settings) == 0
    scenes = described(out)
    lines = funnel(out)
    assert lines["describe"]["in"] == lines["describe"]["out"] == len(scenes)
    assert lines["propose"]["in"] == lines["propose"]["out"] == len(scenes)
    [bad] = [scene for scene in scenes if scene.description.error]
    assert f"{bad.media.duration_s:.2f} s" == BAD_CLIP
    assert "400" in bad.description.error
    [note] = [one for one in manifest(out)["notes"] if "description" in one]
    assert note.startswith(f"1 clip lacks a description, or a part of it, such as {bad.clip.id}")
    assert note in " ".join(capsys.readouterr().err.split())
    assert "lacks" in shown(out, bad.clip.id, capsys)
    # What was said of a clip and around it stands in the prompt that asks for questions.
    proposing = [said.text for said in server.asks if purpose_of(said) == "propose"]
    assert len(proposing) == len(scenes)
    for scene in scenes:
        lasts = f"{scene.media.duration_s:.2f} s"
        texts = [text for text in proposing if f"A scene of {lasts} begins." in text]
        assert bool(texts) is (scene is not bad)
        assert all(scene.description.story in text for text in texts)
    # And in no prompt that asks for an answer: the model has to look.
    solving = [said.text for said in server.asks if purpose_of(said) == "solve"]
    assert solving
    assert not any("A scene of" in text or "Scenes of" in text for text in solving)
