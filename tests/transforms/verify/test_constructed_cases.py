"""Constructed tasks in the loop: a model is asked, the measure teacher is not, none is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plain_scene import plain_scene

from schemas.case import Case
from schemas.rollout import Rollout, TeacherFacts
from schemas.task import Origin, Task, TaskKind
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings
from transforms.verify.loop import Answered, Answerer, Verifier


@pytest.fixture
def case() -> Case:
    """A case whose clip lies in no store: whoever wanted to look at it would fail."""
    scene = plain_scene(duration_s=8.0)
    task = Task(
        clip_id=scene.clip.id,
        kind=TaskKind.COUNT,
        question="How many red stars are there in all?",
        gold=make_answer(TaskKind.COUNT, "3", (), -1.0),
        origin=Origin.CONSTRUCTED,
        spec_json=json.dumps({"family": "motion"}),
    )
    return Case(scene=scene, task=task)


def test_the_measure_teacher_is_not_asked(case: Case) -> None:
    settings = TeacherSettings(kind=TeacherKind.MEASURE, samples=4)
    for number in range(2):
        answerer = Answerer(settings, 0, number)
        assert list(answerer.requests(case, {})) == []
        outcome = answerer.read(case, {})
        assert (outcome.entered, outcome.rejections) == (0, [])
        assert [one.rollouts for one in outcome.outputs] == [()]
        assert outcome.outputs[0].case.asked == 0


def test_a_model_is_asked_as_about_any_task(case: Case) -> None:
    settings = TeacherSettings(kind=TeacherKind.VLLM, model="m", samples=4)
    requests = Answerer(settings, 0, 0).requests(case, {})
    assert len({request.id for request in requests}) == 4
    original = case.scene.media.model_copy(update={"sha256": "2" * 64, "ref": "cut/clip.mp4"})
    other = case.model_copy(update={"scene": case.scene.model_copy(update={"media": original})})
    theirs = Answerer(settings, 0, 0).requests(other, {})
    assert not {one.id for one in requests} & {one.id for one in theirs}, "other media, other reply"


def test_its_answer_is_graded_and_not_measured(case: Case, tmp_path: Path) -> None:
    verifier = Verifier(VerifySettings(), MemoStore(str(tmp_path)))
    rollouts = tuple(
        Rollout(
            task_id=case.task.id,
            sample=sample,
            round=0,
            reasoning=f"I count them. So the answer is {answer}.",
            answer_text=answer,
            teacher=TeacherFacts(
                kind="vllm", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
            ),
            raw_reply="",
        )
        for sample, answer in enumerate(("3", "4"))
    )
    [done] = verifier(Answered(case, rollouts)).outputs
    right, wrong = done.attempts
    assert right.verdict.accepted and not wrong.verdict.accepted
    names = [check.name for check in right.verdict.checks]
    assert "answer" in names and not any(name.startswith("measured") for name in names)
