"""From scenes to cases: nothing vanishes, and every question that is turned down has a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asked import ScriptedTeacher, ask_about
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.rejection import Reason, Stage
from schemas.source import GivenQuestion
from schemas.task import Origin
from transforms.annotate import teachers
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.annotate.tasks import TaskSettings
from transforms.annotate.teacher import Request, TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.outcome import Outcome

GOOD = {"kind": "count", "question": "How many cups fall down?", "answer": "3",
        "evidence": [[0.0, 2.0]]}  # fmt: skip
OTHER = {"kind": "free_text", "question": "What falls down?", "answer": "a cup",
         "evidence": [[0.0, 2.0]]}  # fmt: skip
BAD = {"kind": "count", "question": "How many cups fall at 3.2 s?", "answer": "3"}


def tasks_text(*tasks: dict[str, Any]) -> str:
    return json.dumps({"tasks": tasks})


Fixture = tuple[Callable[[Sequence[Scene]], Outcome[Any]], TaskMaker, dict[str, str], list[Request]]


@pytest.fixture
def proposer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    settings = TeacherSettings(kind=TeacherKind.OPENAI, model="m")
    replies: dict[str, str] = {}

    def by_video(request: Request) -> str:
        """Answers by the name of the clip's video."""
        assert request.scene is not None
        return replies.get(request.scene.video.source.uri, "")

    teacher = ScriptedTeacher(settings, by_video)
    monkeypatch.setattr(teachers, "make_teacher", lambda *_: teacher)
    store = MemoStore(str(tmp_path / "store"))
    asker = Proposer(settings.kind, TaskSettings(per_clip=3), 0)

    def leg(scenes: Sequence[Scene]) -> Outcome[Any]:
        return ask_about(
            asker, scenes, settings, store, stage=Stage.PROPOSE,
            named=lambda scene: (scene.clip.id, scene.video.id),
        )  # fmt: skip

    return leg, TaskMaker(asker), replies, teacher.requests


def test_each_scene_comes_out_or_is_rejected(proposer: Fixture) -> None:
    leg, _, replies, requests = proposer
    scenes = [plain_scene(number) for number in range(4)]
    replies["v0.mp4"] = tasks_text(GOOD)
    replies["v1.mp4"] = "I would rather not."
    replies["v2.mp4"] = tasks_text()
    outcome = leg(scenes)
    assert outcome.entered == 4 == len(outcome.outputs) + len(outcome.rejections)
    assert [one.scene for one in outcome.outputs] == scenes[:1]
    reasons = {one.subject: one.reason for one in outcome.rejections}
    assert reasons == {
        scenes[1].clip.id: Reason.BAD_REPLY,
        scenes[2].clip.id: Reason.NOTHING_TO_ASK,
        scenes[3].clip.id: Reason.TEACHER_FAILED,
    }
    assert all(one.stage is Stage.PROPOSE for one in outcome.rejections)
    assert {(one.wanted, one.task) for one in requests} == {(3, None)}


def test_a_video_with_questions_is_not_asked_about(proposer: Fixture) -> None:
    leg, maker, _, requests = proposer
    questions = [
        GivenQuestion(question="How many?", answer="3", answer_kind="count"),
        GivenQuestion(question="When?", spans=((3.0, 99.0),)),
        GivenQuestion(question="How many?", answer="4", answer_kind="count"),
    ]
    outcome = leg([plain_scene(questions=questions)])
    assert requests == []
    [proposals] = outcome.outputs
    made = maker(proposals)
    assert made.entered == 3
    [case] = made.outputs
    assert case.task.origin is Origin.GIVEN
    assert case.task.gold is not None
    assert case.task.gold.text == "3"
    reasons = {one.subject: one.reason for one in made.rejections}
    clip_id = proposals.scene.clip.id
    assert reasons == {f"{clip_id}-q1": Reason.BAD_TASK, f"{clip_id}-q2": Reason.DUPLICATE}


def make(proposer: Fixture, scene: Scene, text: str) -> Any:
    leg, maker, replies, _ = proposer
    replies[scene.video.source.uri] = text
    [proposals] = leg([scene]).outputs
    return maker(proposals)


def test_bad_and_repeated_questions_cost_only_themselves(proposer: Fixture) -> None:
    scene = plain_scene()
    made = make(proposer, scene, tasks_text(BAD, GOOD, GOOD))
    assert made.entered == 3 == len(made.outputs) + len(made.rejections)
    assert [case.task.question for case in made.outputs] == [GOOD["question"]]
    assert [(one.reason, one.stage, one.parent) for one in made.rejections] == [
        (Reason.BAD_TASK, Stage.TASK, scene.clip.id),
        (Reason.DUPLICATE, Stage.TASK, scene.clip.id),
    ]
    assert len({one.id for one in made.rejections}) == 2


def test_more_questions_than_wanted_are_not_taken(proposer: Fixture) -> None:
    several = [OTHER | {"question": f"What falls down, {n}?"} for n in range(5)]
    made = make(proposer, plain_scene(), tasks_text(*several))
    assert made.entered == 3
    assert len(made.outputs) == 3


def test_a_model_cannot_smuggle_in_how_it_is_measured(proposer: Fixture) -> None:
    leg, _, replies, _ = proposer
    replies["v0.mp4"] = tasks_text(GOOD | {"spec": {"family": "cut_count"}})
    outcome = leg([plain_scene()])
    assert outcome.outputs == []
    assert [(one.reason, one.detail.split(":")[0]) for one in outcome.rejections] == [
        (Reason.BAD_REPLY, "tasks.0.spec")
    ]
