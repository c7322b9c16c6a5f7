"""Where no answer is known: the answer that most samples agree on, and how many do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollout import Rollout, TeacherFacts
from schemas.task import Answer, Origin, Task, TaskKind
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import Thresholds
from transforms.verify.consensus import consensus, same

TEACHER = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
OPTIONS = ("cup", "hat", "key")


def task(kind: TaskKind, *, gold: Answer | None = None) -> Task:
    options = OPTIONS if kind in (TaskKind.MCQ, TaskKind.ORDERING) else ()
    return Task(
        clip_id="c", kind=kind, question="What?", options=options, gold=gold, origin=Origin.GIVEN
    )


def rollouts(*answers: str) -> list[Rollout]:
    return [
        Rollout(
            task_id="t", sample=number, round=0, reasoning="r", answer_text=answer,
            teacher=TEACHER, raw_reply="",
        )
        for number, answer in enumerate(answers)
    ]  # fmt: skip


def equal(several: list[Rollout]) -> list[tuple[Rollout, float]]:
    """All votes count alike."""
    return [(one, 1.0) for one in several]


def agreed(kind: TaskKind, *answers: str) -> tuple[str, float]:
    answer, share = consensus(task(kind), equal(rollouts(*answers)), Thresholds())
    return ("" if answer is None else answer.text), share


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        (TaskKind.MCQ, ("A", "B", "B", "B"), ("B", 0.75)),
        (TaskKind.MCQ, ("(b)", "B", "hat", "C"), ("B", 0.75)),
        (TaskKind.MCQ, ("A", "B"), ("A", 0.5)),
        (TaskKind.MCQ, ("B", "A"), ("B", 0.5)),
        (TaskKind.MCQ, ("A", "B", "C"), ("A", 1 / 3)),
        (TaskKind.MCQ, ("D", "none", "A,B"), ("", 0.0)),
        (TaskKind.MCQ, ("D", "none", "C"), ("C", 1 / 3)),
        (TaskKind.COUNT, ("3", "there are 3", "4"), ("3", 2 / 3)),
        (TaskKind.NUMBER, ("2.500", "2.5", "2.6"), ("2.5", 2 / 3)),
        (TaskKind.ORDERING, ("A,B,C", "C,B,A", "CBA"), ("C,B,A", 2 / 3)),
        (TaskKind.TEMPORAL_GROUNDING, ("0 to 2", "5 to 9", "5.2 to 9"), ("5.00 to 9.00", 2 / 3)),
        (TaskKind.FREE_TEXT, ("a dog", "a red cup", "red cup"), ("a red cup", 2 / 3)),
    ],
)
def test_the_answer_of_most(
    kind: TaskKind, answers: tuple[str, ...], expected: tuple[str, float]
) -> None:
    text, share = agreed(kind, *answers)
    assert (text, share) == (expected[0], pytest.approx(expected[1]))


def test_no_rollouts_no_answer() -> None:
    assert agreed(TaskKind.MCQ) == ("", 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["A", "B", "C", "?"]), max_size=8), st.randoms())
def test_the_order_of_arrival_does_not_matter(answers: list[str], random: object) -> None:
    several = rollouts(*answers)
    first = consensus(task(TaskKind.MCQ), equal(several), Thresholds())
    random.shuffle(several)  # type: ignore[attr-defined]
    assert consensus(task(TaskKind.MCQ), equal(several), Thresholds()) == first
    answer, share = first
    votes = {letter: answers.count(letter) for letter in "ABC"}
    assert share == (max(votes.values()) / len(answers) if any(votes.values()) else 0.0)
    assert answer is None or votes[answer.text] == max(votes.values())


def test_sameness_is_what_the_grader_says_both_ways() -> None:
    def answer(text: str) -> Answer:
        return make_answer(TaskKind.MULTI_CHOICE, text, OPTIONS, -1.0)

    # A subset earns part of the reward one way, nothing the other way.
    assert not same(answer("A"), answer("A,B"), Thresholds(answer=0.5))
    assert same(answer("B,A"), answer("A,B"), Thresholds())


def test_the_threshold_of_its_kind_decides() -> None:
    one, other = (
        make_answer(TaskKind.TEMPORAL_GROUNDING, text, (), -1.0) for text in ("0 to 8", "0 to 10")
    )
    assert same(one, other, Thresholds(answer_iou=0.8))
    assert not same(one, other, Thresholds(answer_iou=0.81))
    assert same(one, other, Thresholds(answer_iou=0.8, answer=1.0, answer_text=1.0))


def test_a_tolerance_of_the_task_counts() -> None:
    gold = make_answer(TaskKind.NUMBER, "9", (), 0.25)
    answers = rollouts("2.0", "2.2", "3.0")
    _, strict = consensus(task(TaskKind.NUMBER), equal(answers), Thresholds())
    _, wide = consensus(task(TaskKind.NUMBER, gold=gold), equal(answers), Thresholds())
    assert (strict, wide) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
