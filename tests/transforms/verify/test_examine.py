"""The examiner's requests and what it makes of the replies, from rollouts to verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked import ScriptedTeacher, ask_about

from schemas.case import Attempt, Case, Scene
from schemas.rejection import Reason, Stage
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import OPTION_LETTERS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.view import Condition
from transforms.annotate import teachers
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import Purpose, Request, TeacherKind, TeacherSettings
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.decide import NOT_EXAMINED, decide, is_missing_examination
from transforms.verify.examine import Examiner
from transforms.verify.loop import Answerer

FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
OPTIONS = ("red", "green", "blue", "white")
MODEL = TeacherSettings(kind=TeacherKind.OPENAI, model="looker", url="http://127.0.0.1:9/v1")
SETTINGS = VerifySettings(claims=False, conclusions=0)
Script = Callable[[Request], str]


@pytest.fixture
def case(studio: Any) -> Case:
    """Two accepted attempts that rest on other spans, and one that failed."""
    scene: Scene = studio.scenes("colors")[0]
    task = Task(
        clip_id=scene.clip.id, kind=TaskKind.MCQ, question="Which colour comes third?",
        options=OPTIONS, origin=Origin.GIVEN, gold=make_answer(TaskKind.MCQ, "B", OPTIONS, -1.0),
    )  # fmt: skip
    attempts = []
    for sample, (answer, end_s) in enumerate([("B", 5.0), ("B", 6.0), ("A", 6.0)]):
        rollout = Rollout(
            task_id=task.id, sample=sample, round=0, answer_text=answer, raw_reply="",
            reasoning=f"At 4.00 s the picture is green. So the answer is {answer}.",
            segments=(Segment(label="green", start_s=4.0, end_s=end_s),), teacher=FACTS,
        )  # fmt: skip
        verdict = verify(rollout, task, task.gold, scene, None, SETTINGS.thresholds)
        attempts.append(Attempt(rollout=rollout, verdict=verdict))
    assert [one.verdict.accepted for one in attempts] == [True, True, False]
    return Case(scene=scene, task=task, asked=3, attempts=tuple(attempts))


def said(request: Request, colour: str) -> str:
    """A reply that picks the option of this colour, wherever it stands."""
    assert request.task is not None
    letter = OPTION_LETTERS[request.task.options.index(colour)]
    words = {"reasoning": f"I see it. It is {letter}.", "answer": letter}
    return json.dumps(words | {"segments": [], "boxes": []})


def honest(request: Request) -> str:
    """Sees green only in the span that the first attempt cites."""
    sees = request.view.shows(4.5) and request.view.condition is not Condition.BLIND
    return said(request, "green" if sees else "white")


Examine = Callable[..., tuple[Outcome[Case], ScriptedTeacher]]


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    def do(
        case: Case, script: Script, settings: VerifySettings = SETTINGS, round: int = 0
    ) -> tuple[Outcome[Case], ScriptedTeacher]:
        teacher = ScriptedTeacher(MODEL, script)
        monkeypatch.setattr(teachers, "make_teacher", lambda *_: teacher)
        teachers._opened.cache_clear()
        examiner = Examiner(MODEL, settings, 0, round)
        store = MemoStore(str(tmp_path / "store"))
        outcome = ask_about(
            examiner, [case], MODEL, store, stage=Stage.EXAMINE,
            named=lambda one: (one.task.id, one.task.clip_id),
        )  # fmt: skip
        return outcome, teacher

    yield do
    teachers._opened.cache_clear()


def checks(case: Case, sample: int) -> dict[str, float]:
    return {one.name: one.score for one in case.attempts[sample].verdict.checks}


def test_what_stands_the_changed_evidence_stays_accepted(case: Case, examine: Examine) -> None:
    outcome, teacher = examine(case, honest)
    [done] = outcome.outputs
    assert outcome.entered == 2 and not outcome.rejections
    assert [one.verdict.accepted for one in done.attempts] == [True, True, False]
    for sample in (0, 1):
        found = checks(done, sample)
        assert (found["confirmed"], found["needs_video"]) == (1.0, 1.0)
        assert (found["sufficient"], found["necessary"]) == (1.0, 1.0)
        assert "order_needed" not in found, "only questions about order hang on it"
    assert "confirmed" not in checks(done, 2), "what failed before is not asked about"
    views = {request.view for request in teacher.requests}
    # Twice as often where a lucky guess would count: blind once, masked for each of two spans.
    assert len(views) == 3 + 2 * 2 and len(teacher.requests) == 4 * (len(views) + 3)
    assert done.examination.model == "looker" and len(done.examination.rows) == len(views)


def test_no_request_holds_the_gold_answer_or_a_look_at_more(case: Case, examine: Examine) -> None:
    _, teacher = examine(case, honest)
    for request in teacher.requests:
        assert request.purpose is Purpose.SOLVE and request.tool_calls == ()
        assert request.task is not None and request.task.gold is None and not request.critique


@pytest.mark.parametrize(
    ("script", "failed"),
    [
        (lambda request: said(request, "green"), {"needs_video", "necessary"}),
        (lambda request: said(request, "white"), {"confirmed", "sufficient", "necessary"}),
        (
            lambda request: (
                said(request, "white" if request.view.condition is Condition.EVIDENCE else "green")
                if request.view.condition not in (Condition.BLIND, Condition.MASKED)
                else said(request, "white")
            ),
            {"sufficient"},
        ),
    ],
)
def test_what_does_not_is_rejected_with_the_checks_that_say_why(
    case: Case, examine: Examine, script: Script, failed: set[str]
) -> None:
    outcome, _ = examine(case, script)
    assert outcome.entered == 2 and len(outcome.rejections) == 2
    for one in outcome.rejections:
        assert (one.stage, one.reason) == (Stage.EXAMINE, Reason.CHECK_FAILED)
        assert set(one.detail.split(", ")) == failed


def test_replies_that_fail_confirm_nothing_and_cost_no_other_task(
    case: Case, examine: Examine
) -> None:
    outcome, _ = examine(case, lambda request: "")
    [done] = outcome.outputs
    assert len(outcome.rejections) == 2 and not done.accepted
    assert checks(done, 0)["confirmed"] == 0.0


def test_a_later_round_asks_only_what_the_table_does_not_hold(case: Case, examine: Examine) -> None:
    [done] = examine(case, honest)[0].outputs
    rollout = case.attempts[0].rollout.model_copy(
        update={"round": 1, "segments": (Segment(label="g", start_s=4.0, end_s=7.0),)}
    )
    assert done.task.gold is not None
    verdict = verify(rollout, done.task, done.task.gold, done.scene, None, SETTINGS.thresholds)
    more = done.model_copy(
        update={"attempts": (*done.attempts, Attempt(rollout=rollout, verdict=verdict))}
    )
    outcome, teacher = examine(more, honest, round=1)
    asked = {request.view.condition for request in teacher.requests}
    assert asked == {Condition.EVIDENCE, Condition.MASKED} and outcome.entered == 1
    [twice] = outcome.outputs
    assert twice.attempts[:3] == done.attempts and twice.attempts[3].verdict.accepted


def test_nothing_is_asked_about_a_case_without_an_accepted_attempt(
    case: Case, examine: Examine
) -> None:
    failed = case.model_copy(update={"attempts": case.attempts[2:]})
    outcome, teacher = examine(failed, honest)
    assert outcome.outputs == [failed] and outcome.entered == 0 and not teacher.requests


def test_other_thresholds_decide_over_the_same_table(case: Case, examine: Examine) -> None:
    def half_blind(request: Request) -> str:
        lucky = request.view.condition is Condition.BLIND and request.sample % 4 < 3
        return said(request, "green") if lucky else honest(request)

    [done] = examine(case, half_blind)[0].outputs
    assert not done.accepted, "three of four right without a frame"
    thresholds = SETTINGS.thresholds.model_copy(update={"needs_video": 0.3})
    lenient = SETTINGS.model_copy(update={"thresholds": thresholds})
    again = decide(done, lenient)
    assert [one.verdict.accepted for one in again.attempts] == [True, True, False]
    assert decide(again, SETTINGS) == done, "and back"


# An examination that breaks -----------------------------------------------------------------------


def without_a_clock(case: Case) -> Case:
    """Its clip has no frame rate, so that where a claim is to be looked up can't be told."""
    media = case.scene.media.model_copy(update={"fps_den": 0})
    return case.model_copy(update={"scene": case.scene.model_copy(update={"media": media})})


def with_an_unknown_check(case: Case) -> Case:
    """An attempt was judged by a check that there is no threshold for, so nothing can be decided;
    what to ask can be told all the same."""
    *others, last = case.attempts
    strange = judge(last.rollout.id, (*last.verdict.checks, check("weather", 1.0, 1.0)))
    last = last.model_copy(update={"verdict": strange})
    return case.model_copy(update={"attempts": (*others, last)})


@pytest.mark.parametrize(
    ("broken", "settings", "error", "asks"),
    [
        (without_a_clock, VerifySettings(), "ZeroDivisionError", False),
        (with_an_unknown_check, SETTINGS, "AttributeError: ", True),
    ],
)
def test_an_examination_that_breaks_costs_the_attempts_and_not_the_case(
    case: Case,
    examine: Examine,
    broken: Callable[[Case], Case],
    settings: VerifySettings,
    error: str,
    asks: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = broken(case)
    outcome, teacher = examine(before, honest, settings)
    assert bool(teacher.requests) == asks
    [done] = outcome.outputs
    # Two entered, none came out accepted, two are told of: nothing vanished.
    assert (outcome.entered, len(done.accepted), len(outcome.rejections)) == (2, 0, 2)
    assert [one.subject for one in outcome.rejections] == [
        one.rollout.id for one in before.accepted
    ]
    for one in outcome.rejections:
        assert (one.stage, one.reason) == (Stage.EXAMINE, Reason.INTERNAL_ERROR)
        assert one.parent == case.task.id and error in one.detail
    assert error.removesuffix(": ") in caplog.text
    for attempt in done.attempts[:2]:
        assert is_missing_examination(attempt) and not attempt.examined
        failed = [found.name for found in attempt.verdict.checks if not found.passed]
        assert failed == [NOT_EXAMINED]
    assert done.attempts[2] == before.attempts[2]
    # It is no fault of theirs, so the teacher is not told to mend it.
    asked = Answerer(MODEL, 0, round=1).first_requests(done)
    assert [request.sample for request in asked] == [2]
    # And they do not slip in when everything is decided anew.
    if not asks:
        assert decide(done, settings, examines=True) == done


def test_an_examination_that_breaks_costs_no_other_case(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked about together, as a batch is."""
    teacher = ScriptedTeacher(MODEL, looks_up)
    monkeypatch.setattr(teachers, "make_teacher", lambda *_: teacher)
    teachers._opened.cache_clear()
    outcome = ask_about(
        Examiner(MODEL, VerifySettings(conclusions=0), 0, 0), [without_a_clock(case), case], MODEL,
        MemoStore(str(tmp_path / "store")), stage=Stage.EXAMINE,
        named=lambda one: (one.task.id, one.task.clip_id),
    )  # fmt: skip
    teachers._opened.cache_clear()
    assert [len(one.accepted) for one in outcome.outputs] == [0, 2]
    assert outcome.entered == 4 == 2 + len(outcome.rejections)


def looks_up(request: Request) -> str:
    if request.purpose is Purpose.CHECK:
        return json.dumps({"seen": "green", "shown": "yes"})
    return honest(request)
