"""Verdicts decided anew: nothing is lost, nothing slips in, and the way back leads back."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.case import Attempt, Case, Scene
from schemas.examination import Asked, Examination
from schemas.rejection import Reason, Stage
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import Origin, Task, TaskKind
from schemas.view import WHOLE
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import Thresholds, VerifySettings, verify
from transforms.verify.decide import (
    NOT_EXAMINED,
    decide,
    failure,
    is_missing_examination,
)
from transforms.verify.gold import gold_of

FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
OPTIONS = ("red", "green", "blue")
USUAL = VerifySettings()


def with_thresholds(**thresholds: float) -> VerifySettings:
    return VerifySettings(thresholds=Thresholds(**thresholds))


def make_case(scene: Scene, *answers: str, known: bool = True, span_s: float = 1.0) -> Case:
    gold = make_answer(TaskKind.MCQ, "B", OPTIONS, -1.0) if known else None
    task = Task(
        clip_id=scene.clip.id, kind=TaskKind.MCQ, question="Which colour?", options=OPTIONS,
        origin=Origin.GIVEN, gold=gold,
    )  # fmt: skip
    case = Case(scene=scene, task=task, asked=len(answers))
    attempts = []
    for sample, answer in enumerate(answers):
        rollout = Rollout(
            task_id=task.id, sample=sample, round=0, answer_text=answer, raw_reply="",
            reasoning=f"At 0.50 s it is seen. So the answer is {answer}.",
            segments=(Segment(label="it", start_s=0.0, end_s=span_s),), teacher=FACTS,
        )  # fmt: skip
        agreed = gold_of(case, USUAL) if known else None
        verdict = verify(rollout, task, agreed, scene, None, USUAL.thresholds)
        attempts.append(Attempt(rollout=rollout, verdict=verdict))
    return case.model_copy(update={"attempts": tuple(attempts)})


@pytest.fixture
def scene(studio: Any) -> Scene:
    found: Scene = studio.scenes("colors")[0]
    return found


def names(attempt: Attempt) -> list[str]:
    return [check.name for check in attempt.verdict.checks]


def test_the_same_thresholds_change_nothing(scene: Scene) -> None:
    case = make_case(scene, "B", "A", "C")
    assert decide(case, USUAL) == case


def test_there_and_back_nothing_is_lost(scene: Scene) -> None:
    """Not even what a check says is wrong: the next critique is made of it."""
    case = make_case(scene, "B", "A", span_s=900.0)
    lax = decide(case, with_thresholds(answer=0.0, spans_inside=0.0))
    assert all(attempt.verdict.accepted for attempt in lax.attempts)
    assert not any(attempt.verdict.accepted for attempt in case.attempts)
    assert decide(lax, USUAL) == case
    assert any(check.detail for check in lax.attempts[0].verdict.checks)


def test_votes_count_by_the_new_thresholds(scene: Scene) -> None:
    """An agreed answer hangs on its voters' own checks: decided from either side, it is one."""
    case = make_case(scene, "B", "A", known=False, span_s=900.0)
    strict, lax = with_thresholds(agreement=0.4), with_thresholds(agreement=0.4, spans_inside=0.0)
    assert gold_of(decide(case, strict), strict).text == ""
    assert gold_of(decide(case, lax), lax).text == "B"
    assert decide(decide(case, lax), strict) == decide(case, strict)
    assert decide(decide(case, strict), lax) == decide(case, lax)


def test_what_was_not_examined_is_not_accepted(scene: Scene) -> None:
    case = make_case(scene, "B", "A")
    [right, wrong] = case.attempts
    table = Examination(model="m", rows=(Asked(view=WHOLE, answers=("B", "B")),))
    seen = right.model_copy(update={"examined": True})
    case = case.model_copy(update={"attempts": (seen, wrong), "examination": table})
    [one, other] = decide(case, USUAL, examines=True).attempts
    assert one.verdict.accepted and "confirmed" in names(one)
    assert not is_missing_examination(other), "it fails for its answer"
    decided = decide(case, with_thresholds(answer=0.0), examines=True)
    [_, other] = decided.attempts
    assert not other.verdict.accepted and is_missing_examination(other)
    assert names(other)[-1] == NOT_EXAMINED
    found = failure(other, case.task.id)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.EXAMINE, Reason.NOT_EXAMINED)
    assert "proofreel run" in found.detail
    assert decide(decided, USUAL, examines=True) == decide(case, USUAL, examines=True)
    # Where nobody is asked at all, nothing is missing.
    bare = case.model_copy(update={"examination": Examination()})
    assert decide(bare, with_thresholds(answer=0.0)).attempts[1].verdict.accepted


def test_a_failure_is_told_at_its_stage(scene: Scene) -> None:
    [right, wrong] = make_case(scene, "B", "A").attempts
    assert failure(right, "t") is None
    found = failure(wrong, "t")
    assert found is not None
    assert (found.stage, found.reason, found.detail) == (
        Stage.VERIFY,
        Reason.CHECK_FAILED,
        "answer",
    )
    case = make_case(scene, "B")
    table = Examination(model="m", rows=(Asked(view=WHOLE, answers=("A", "")),))
    seen = case.attempts[0].model_copy(update={"examined": True})
    case = case.model_copy(update={"attempts": (seen,), "examination": table})
    [stood] = decide(case, USUAL, examines=True).attempts
    found = failure(stood, "t")
    assert found is not None
    assert (found.stage, found.detail) == (Stage.EXAMINE, "confirmed")
