"""Preference pairs differ in what they say: never in form alone, never in length alone."""

from __future__ import annotations

import json
import random

import pytest
from case_helpers import make_attempt, make_case, make_scene, make_task
from hypothesis import given
from hypothesis import strategies as st

from schemas.case import Attempt
from transforms.publish.pairs import (
    FORM_CHECKS,
    LENGTH_RATIO,
    PROCESS_CHECKS,
    best_pair,
    failed_checks,
    is_as_long,
    worse_twin,
)
from transforms.publish.routing import routes
from transforms.publish.samples import make_sample
from transforms.verify.checks import Thresholds, VerifySettings

SCENE = make_scene()
TASK = make_task(SCENE)
OTHER_WAY = "At 2.00 s it lies on the table. So the answer is C."


def twin(*attempts: Attempt) -> tuple[int, int] | None:
    one = make_case(TASK, SCENE, make_attempt(TASK, 9), *attempts)
    found = worse_twin(one, one.attempts[0])
    return (found.rollout.round, found.rollout.sample) if found else None


def test_the_twin_gave_another_answer_in_good_form() -> None:
    wrong = make_attempt(TASK, 2, "A", failed=("answer",))
    assert twin(wrong) == (0, 2)
    assert twin(make_attempt(TASK, 1, "B", failed=("measured",), measured=True)) == (0, 1)
    # The same answer, turned down for its citations; another answer, but no form.
    assert twin(make_attempt(TASK, 0, failed=("cited_times",))) is None
    assert twin(make_attempt(TASK, 0, failed=("answer",))) is None
    assert twin(make_attempt(TASK, 0, "A", failed=("answer", "format"))) is None
    assert twin(make_attempt(TASK, 0, "A", failed=("ends_in_answer",))) is None
    assert twin() is None


@pytest.mark.parametrize("name", sorted(PROCESS_CHECKS))
def test_a_worse_way_to_the_same_answer_is_a_twin(name: str) -> None:
    assert twin(make_attempt(TASK, 0, failed=(name,), reasoning=OTHER_WAY)) == (0, 0)
    # Spans are no part of a reply: where the words are the same, there is nothing to learn.
    assert twin(make_attempt(TASK, 0, failed=(name,), spans=((3.0, 4.0),))) is None
    assert twin(make_attempt(TASK, 0, failed=(name, "cited_times"), reasoning=OTHER_WAY)) is None


@pytest.mark.parametrize("name", sorted(FORM_CHECKS))
def test_who_broke_the_form_is_no_twin(name: str) -> None:
    for others in (("answer",), ("claims",)):
        failed = (name, *others)
        assert twin(make_attempt(TASK, 0, "A", failed=failed, reasoning=OTHER_WAY)) is None


@pytest.mark.parametrize("name", ["confirmed", "needs_video", "order_needed"])
def test_doubt_about_the_question_is_no_fault_of_the_reasoning(name: str) -> None:
    assert twin(make_attempt(TASK, 0, failed=(name,), reasoning=OTHER_WAY)) is None


def test_a_twin_is_about_as_long() -> None:
    words = len(make_attempt(TASK, 9).rollout.reasoning.split())
    most = int(words * LENGTH_RATIO)
    for length, expected in ((most, (0, 0)), (most + 1, None)):
        reasoning = " ".join(["so"] * (length - 5)) + " So the answer is A."
        assert twin(make_attempt(TASK, 0, "A", failed=("answer",), reasoning=reasoning)) == expected
    assert twin(make_attempt(TASK, 0, "A", failed=("answer",), reasoning="So A.")) is None


@given(st.text(alphabet="ab ", max_size=60), st.text(alphabet="ab ", max_size=60))
def test_likeness_in_length_is_mutual(one: str, other: str) -> None:
    assert is_as_long(one, other) == is_as_long(other, one)
    assert is_as_long(one, one)
    assert is_as_long(one, one + " " + one)


def test_the_earliest_twin_is_taken_whatever_the_order_of_arrival() -> None:
    several = [
        make_attempt(TASK, 3, "A", failed=("answer",)),
        make_attempt(TASK, 0, "B", failed=("answer",), round=1),
        make_attempt(TASK, 1, "B", failed=("answer",)),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(several)
        assert twin(*several) == (0, 1)


def test_another_accepted_attempt_stands_in_where_the_best_has_no_twin() -> None:
    short = make_attempt(TASK, 0, reasoning="So the answer is C.")
    usual = make_attempt(TASK, 1)
    wrong = make_attempt(TASK, 2, "A", failed=("answer",))
    case = make_case(TASK, SCENE, short, usual, wrong)
    assert best_pair(case, [short, usual]) == (usual, wrong)
    assert best_pair(case, [short]) is None


def test_the_reasons_stand_in_the_same_order_always() -> None:
    one = make_attempt(TASK, 0, "A", failed=("claims", "answer", "cited_times"))
    checks = list(one.verdict.checks)
    for seed in range(5):
        random.Random(seed).shuffle(checks)
        verdict = one.verdict.model_copy(update={"checks": tuple(checks)})
        shuffled = one.model_copy(update={"verdict": verdict})
        assert failed_checks(shuffled) == ("cited_times", "answer", "claims")


def test_a_pair_says_why_and_by_how_much() -> None:
    worse = make_attempt(
        TASK, 0, failed=("claims", "concludes"), scores={"answer": 1.0}, reasoning=OTHER_WAY
    )
    case = make_case(TASK, SCENE, make_attempt(TASK, 1), worse)
    [route] = [one for one in routes(case, VerifySettings()) if one.split == "preference"]
    sample = make_sample(case, route, VerifySettings(), pipeline_version="1")
    assert json.loads(sample.extra_json)["rejected_because"] == ["claims", "concludes"]
    assert sample.preference.margin == 1.0
    assert set(json.loads(sample.extra_json)["rejected_because"]) <= set(Thresholds.model_fields)
    assert sample.preference.rejected[-1].reasoning == OTHER_WAY
