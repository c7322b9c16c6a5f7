"""Each check that rests on the examination, and each threshold, decides alone where it should."""

from __future__ import annotations

from typing import Any

import pytest
from plain_cases import changed, claimed, good_case, with_attempt

from schemas.case import Case
from schemas.claim import Shown
from schemas.examination import Examination
from schemas.rollout import Segment
from schemas.task import TaskKind
from schemas.view import BACKWARDS, Condition
from transforms.verify.checks import Thresholds, VerifySettings
from transforms.verify.decide import EXAMINED, decide

SETTINGS = VerifySettings()


def failed(case: Case, **thresholds: float) -> list[str]:
    settings = SETTINGS.model_copy(update={"thresholds": Thresholds(**thresholds)})
    (attempt,) = decide(case, settings).attempts
    return [check.name for check in attempt.verdict.checks if not check.passed]


def passed(case: Case) -> list[str]:
    (attempt,) = decide(case, SETTINGS).attempts
    return [check.name for check in attempt.verdict.checks if check.passed]


def test_a_good_case_passes_every_check() -> None:
    case = good_case(TaskKind.ORDERING)
    assert not failed(case)
    assert set(EXAMINED) <= set(passed(case))


SPOILT: dict[str, Any] = {
    "confirmed": lambda case: changed(changed(case, Condition.FULL, 1), Condition.EVIDENCE, 1),
    "needs_video": lambda case: changed(case, Condition.BLIND, 4),
    "sufficient": lambda case: changed(case, Condition.EVIDENCE, 1),
    "necessary": lambda case: changed(case, Condition.MASKED, 4),
    "order_needed": lambda case: changed(case, Condition.SHUFFLED, 4),
    "claims": lambda case: with_attempt(case, claims=claimed(Shown.YES, Shown.NO)),
    "concludes": lambda case: with_attempt(case, conclusions=("", "B,A,C")),
}


def test_each_examined_check_has_a_case_that_it_spoils() -> None:
    assert set(SPOILT) == set(EXAMINED)


@pytest.mark.parametrize("name", [one for one in EXAMINED if one != "concludes"])
def test_each_check_alone_turns_down(name: str) -> None:
    case = SPOILT[name](good_case(TaskKind.ORDERING))
    assert failed(case) == [name]
    assert not failed(case, **{name: 0.0})


def test_the_conclusion_alone_turns_down() -> None:
    case = with_attempt(good_case(TaskKind.ORDERING), conclusions=("", "C,B,A"))
    assert failed(case) == ["concludes"]
    assert not failed(case, concludes=0.0)


def test_any_conclusion_will_do_where_any_answer_will_but_none_will_not() -> None:
    case = good_case(TaskKind.COUNT)
    for said, failing in (("7", []), ("", ["concludes"])):
        changed_one = with_attempt(case, conclusions=(said,), examined=True)
        bare = changed_one.model_copy(update={"examination": Examination()})
        assert failed(bare, answer=0.0) == failing
        assert failed(bare) == ["concludes"]


def test_a_claim_of_a_time_that_there_is_not_is_refuted() -> None:
    case = with_attempt(good_case(TaskKind.ORDERING), claims=claimed(Shown.NOT_ASKED, exists=False))
    assert failed(case) == ["claims"]


def test_claims_that_nobody_can_tell_refute_nothing() -> None:
    case = with_attempt(
        good_case(TaskKind.ORDERING), claims=claimed(Shown.UNCLEAR, Shown.NOT_ASKED)
    )
    assert not failed(case)


def test_what_was_not_asked_is_not_checked() -> None:
    case = good_case(TaskKind.ORDERING).model_copy(update={"examination": Examination()})
    case = with_attempt(case, claims=(), conclusions=())
    assert not set(passed(case)) & set(EXAMINED)


def test_only_questions_about_order_must_hang_on_it() -> None:
    case = changed(good_case(TaskKind.COUNT), Condition.SHUFFLED, 4)
    assert not failed(case)
    assert "order_needed" not in passed(case)


def test_luck_with_options_counts_for_nothing() -> None:
    """Of four options one in four guesses is right: that is no knowledge."""
    case = good_case(TaskKind.MCQ)
    lucky = changed(case, Condition.BLIND, 2, of=8)
    (attempt,) = decide(lucky, SETTINGS).attempts
    scores = {check.name: check.score for check in attempt.verdict.checks}
    assert scores["needs_video"] == 1.0
    assert failed(changed(case, Condition.BLIND, 6, of=8)) == ["needs_video"]


def test_other_spans_have_rows_of_their_own() -> None:
    case = good_case(TaskKind.COUNT)
    rollout = case.attempts[0].rollout.model_copy(
        update={"segments": (Segment(label="", start_s=5.0, end_s=6.0),)}
    )
    case = with_attempt(case, rollout=rollout)
    assert not set(passed(case)) & {"sufficient", "necessary"}


def test_order_is_examined_backwards() -> None:
    orders = [one.view.order for one in good_case(TaskKind.ORDERING).examination.rows]
    assert BACKWARDS in orders


def test_model_free_checks_stand_before_the_examination() -> None:
    """What fails without a model is not told what the model found."""
    case = good_case(TaskKind.COUNT)
    rollout = case.attempts[0].rollout.model_copy(
        update={"answer_text": "7", "reasoning": "So it is 7."}
    )
    case = with_attempt(changed(case, Condition.BLIND, 4), rollout=rollout)
    assert failed(case) == ["answer"]


def test_deciding_again_changes_nothing_and_can_be_taken_back() -> None:
    case = SPOILT["necessary"](good_case(TaskKind.ORDERING))
    once = decide(case, SETTINGS)
    assert decide(once, SETTINGS) == once
    lax = SETTINGS.model_copy(update={"thresholds": Thresholds(necessary=0.0)})
    assert decide(decide(once, lax), SETTINGS) == once
