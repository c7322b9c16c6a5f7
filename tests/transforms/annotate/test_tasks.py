"""The rules that turn a proposed or given question into a task, and fair option letters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.rejection import Reason, Rejected
from schemas.rewards import REWARD_FOR_KIND, grade
from schemas.source import GivenQuestion
from schemas.task import ONE_CHOICE_KINDS, OPTION_LETTERS, Answer, Origin, Task, TaskKind
from transforms.annotate.replies import MeasuredTask, ProposedTask
from transforms.annotate.tasks import (
    ANSWER_FORMS,
    CHOICE_KINDS,
    MAX_QUESTION_WORDS,
    TaskSettings,
    given_task,
    make_answer,
    proposed_task,
    question_text,
    wanted_kinds,
)

SCENE = plain_scene(duration_s=10.0)


def proposal(kind: TaskKind = TaskKind.MCQ, **fields: Any) -> ProposedTask:
    usual: dict[TaskKind, dict[str, Any]] = {
        TaskKind.MCQ: {"options": ("cup", "hat", "key"), "answer": "A"},
        TaskKind.MULTI_CHOICE: {"options": ("cup", "hat", "key"), "answer": "A,C"},
        TaskKind.ORDERING: {"options": ("cup", "hat", "key"), "answer": "C,A,B"},
        TaskKind.COUNT: {"answer": "3"},
        TaskKind.NUMBER: {"answer": "12.5", "tolerance": 0.5},
        TaskKind.TEMPORAL_GROUNDING: {"answer": "3.2 to 7.75"},
        TaskKind.FREE_TEXT: {"answer": "a red cup"},
        TaskKind.SPATIAL_GROUNDING: {"answer": "[0.1, 0.2, 0.3, 0.4]"},
        TaskKind.SPATIO_TEMPORAL_GROUNDING: {
            "answer": '{"time": [2.5, 4.8], "boxes": {"3": [0.1, 0.2, 0.3, 0.6]}}'
        },
    }
    usual |= dict.fromkeys((TaskKind.CAUSAL, TaskKind.NEXT_EVENT), usual[TaskKind.MCQ])
    common = {"question": "What falls from the table?", "evidence": ((1.0, 2.0),)}
    return ProposedTask(kind=kind, **(common | usual[kind] | fields))


def refusal(proposed: ProposedTask | GivenQuestion, scene: Scene = SCENE) -> str:
    with pytest.raises(Rejected) as caught:
        if isinstance(proposed, ProposedTask):
            proposed_task(proposed, scene, 0)
        else:
            given_task(proposed, scene)
    assert caught.value.reason is Reason.BAD_TASK
    return caught.value.detail


def gold_of(task: Task) -> Answer:
    assert task.gold is not None
    return task.gold


def chosen(task: Task) -> list[str]:
    """The texts that the gold letters stand for, in order."""
    return [task.options[OPTION_LETTERS.index(one)] for one in gold_of(task).text.split(",")]


# Rules for proposals


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_good_proposal_becomes_a_task_with_a_gradable_answer(kind: TaskKind) -> None:
    task = proposed_task(proposal(kind, evidence=((0.0, 10.0), (2.5, 3.0))), SCENE, 0)
    assert (task.kind, task.origin, task.clip_id) == (kind, Origin.PROPOSED, SCENE.clip.id)
    assert task.evidence_s == ((0.0, 10.0), (2.5, 3.0))
    gold = gold_of(task)
    assert gold.kind is kind
    assert grade(REWARD_FOR_KIND[kind], gold.text, gold.text) == 1.0
    assert task.options == gold.options
    assert bool(task.options) is (kind in CHOICE_KINDS)


@pytest.mark.parametrize(
    "question",
    ["What falls at 3.2 s in the clip?", "What falls 12 seconds in?", "What happens at 01:02.5?",
     "What happens from 3.2 to 7.75 s?", "Who is seen at 5s, then leaves?"],
)  # fmt: skip
def test_a_question_must_not_cite_a_time(question: str) -> None:
    assert "cites a time" in refusal(proposal(question=question))


@pytest.mark.parametrize(
    "question",
    ["How long, in seconds, does it fall?", "What falls for 3 s?", "How old is the 7up?"],
)
def test_a_question_may_speak_of_time(question: str) -> None:
    assert proposed_task(proposal(question=question), SCENE, 0).question == question


def test_a_question_is_short_and_of_one_line() -> None:
    words = " \n\t".join(["word"] * MAX_QUESTION_WORDS)
    task = proposed_task(proposal(question=f"  {words} "), SCENE, 0)
    assert task.question == " ".join(["word"] * MAX_QUESTION_WORDS)
    assert "50 words" in refusal(proposal(question=f"{words} more"))


@pytest.mark.parametrize(
    "span", [(5.0, 10.01), (11.0, 12.0), (4.0, 4.0), (5.0, 4.0), (0.0, 1e5)]
)  # fmt: skip
def test_evidence_must_lie_in_the_clip(span: tuple[float, float]) -> None:
    assert "not within the clip" in refusal(proposal(evidence=((0.0, 1.0), span)))


@pytest.mark.parametrize(
    "answer", ["8 to 10.03", "1 to 2; 3 to 11", "12 to 15", "4 to 4", "[[0, 99]]"]
)
def test_an_answer_in_time_must_lie_in_the_clip(answer: str) -> None:
    proposed = proposal(TaskKind.TEMPORAL_GROUNDING, answer=answer)
    assert "not within the clip" in refusal(proposed)
    given = GivenQuestion(question="When?", answer=answer, answer_kind="temporal_grounding")
    assert "not within the clip" in refusal(given)


def test_an_answer_in_time_may_be_rounded_at_the_end() -> None:
    scene = plain_scene(duration_s=9.996)
    task = proposed_task(proposal(TaskKind.TEMPORAL_GROUNDING, answer="3 to 10.00"), scene, 0)
    assert gold_of(task).intervals_s == ((3.0, 10.0),)


@pytest.mark.parametrize(
    ("question", "answer", "leaks"),
    [
        ("What does the red cup do?", "Red Cup", True),
        ("Is it a cup or a hat?", "a hat", True),
        ("What does the woman hold?", "man", False),
        ("Which colour has the bored cat?", "red", False),
        ("What costs $5 (or 5$)?", "5$", True),
    ],
)
def test_a_question_must_not_hold_its_answer(question: str, answer: str, leaks: bool) -> None:
    proposed = proposal(TaskKind.FREE_TEXT, question=question, answer=answer)
    if leaks:
        assert "gives the answer away" in refusal(proposed)
    else:
        assert gold_of(proposed_task(proposed, SCENE, 0)).text == answer


@pytest.mark.parametrize(("answer", "tolerance"), [("2", 2.0), ("-2", 1e9), ("0", 0.1)])
def test_a_tolerance_must_leave_something_wrong(answer: str, tolerance: float) -> None:
    """A model could else propose questions to which any number is right."""
    assert "as large as the answer" in refusal(
        proposal(TaskKind.NUMBER, answer=answer, tolerance=tolerance)
    )


def test_a_tolerance_is_not_demanded() -> None:
    for answer, tolerance in (("0", 0.0), ("0", -1.0), ("0.5", 0.25)):
        proposed = proposal(TaskKind.NUMBER, answer=answer, tolerance=tolerance)
        assert gold_of(proposed_task(proposed, SCENE, 0)).tolerance == tolerance


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TaskKind.MCQ, {"options": ("cup", "Cup", "key")}),
        (TaskKind.MCQ, {"options": ("cup", " cup ", "key")}),
        (TaskKind.MCQ, {"options": ("cup", " ", "key")}),
        (TaskKind.MCQ, {"options": ("cup",)}),
        (TaskKind.MCQ, {"options": ()}),
        (TaskKind.MCQ, {"answer": "D"}),
        (TaskKind.MCQ, {"answer": "A,B"}),
        (TaskKind.MCQ, {"answer": "a cup"}),
        (TaskKind.MCQ, {"answer": "none of them"}),
        (TaskKind.MULTI_CHOICE, {"answer": "A,D"}),
        (TaskKind.MULTI_CHOICE, {"answer": "A,A"}),
        (TaskKind.MULTI_CHOICE, {"answer": "both"}),
        (TaskKind.ORDERING, {"answer": "A,B"}),
        (TaskKind.ORDERING, {"answer": "A,B,B"}),
        (TaskKind.ORDERING, {"answer": "A,B,C,D"}),
        (TaskKind.ORDERING, {"options": ("one", "two", "one")}),
        (TaskKind.COUNT, {"answer": "-1"}),
        (TaskKind.COUNT, {"answer": "2.5"}),
        (TaskKind.COUNT, {"answer": "3 or 4"}),
        (TaskKind.NUMBER, {"answer": "many"}),
        (TaskKind.TEMPORAL_GROUNDING, {"answer": "at the end"}),
        (TaskKind.TEMPORAL_GROUNDING, {"answer": "7 to 3"}),
        (TaskKind.FREE_TEXT, {"answer": "   "}),
    ],
)
def test_an_answer_that_is_none_of_its_kind_is_refused(
    kind: TaskKind, fields: dict[str, Any]
) -> None:
    assert refusal(proposal(kind, **fields))


@pytest.mark.parametrize(
    ("kind", "text", "canonical"),
    [
        (TaskKind.MCQ, "(b)", "B"),
        (TaskKind.MCQ, "hat", "B"),
        (TaskKind.MULTI_CHOICE, "C and A", "A,C"),
        (TaskKind.ORDERING, "C > A > B", "C,A,B"),
        (TaskKind.ORDERING, "CAB", "C,A,B"),
        (TaskKind.COUNT, "There are 3.", "3"),
        (TaskKind.NUMBER, "12.50 m", "12.5"),
        (TaskKind.TEMPORAL_GROUNDING, "From 3.2s to 7.755 s", "3.20 to 7.75"),
        (TaskKind.TEMPORAL_GROUNDING, "[[1, 2], [3, 4]]", "1.00 to 2.00; 3.00 to 4.00"),
        (TaskKind.FREE_TEXT, " a cup ", "a cup"),
    ],
)
def test_answers_take_one_form(kind: TaskKind, text: str, canonical: str) -> None:
    options = ("cup", "hat", "key") if kind in CHOICE_KINDS else ()
    answer = make_answer(kind, text, options, -1.0)
    assert answer.text == canonical
    assert make_answer(kind, answer.text, options, -1.0).text == canonical
    assert answer.option_index == (1 if kind is TaskKind.MCQ else -1)


def test_only_a_measured_proposal_gets_a_spec() -> None:
    fields = proposal(TaskKind.COUNT).model_dump()
    measured = MeasuredTask(**fields, spec={"family": "cut_count"})
    assert proposed_task(measured, SCENE, 0).spec_json == '{"family":"cut_count"}'
    assert proposed_task(proposal(TaskKind.COUNT), SCENE, 0).spec_json == "{}"


# Option letters


def test_letters_are_balanced_over_many_tasks() -> None:
    """All answers come as A; after the shuffle each of four letters is right about 100 times."""
    options = ("cup", "hat", "key", "dog")
    counts = dict.fromkeys("ABCD", 0)
    for number in range(400):
        proposed = proposal(question=f"What falls, number {number}?", options=options)
        counts[gold_of(proposed_task(proposed, SCENE, 0)).text] += 1
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    # The 0.999 quantile of chi-square with 3 degrees of freedom; the seed is fixed.
    assert chi_square < 16.27, counts


def test_the_right_place_differs_between_clips_and_seeds() -> None:
    texts = {
        gold_of(proposed_task(proposal(), plain_scene(number), seed)).text
        for number in range(5)
        for seed in range(5)
    }
    assert texts == {"A", "B", "C"}


OPTIONS = st.lists(
    st.text("abcdefgh XYZ,.", min_size=1, max_size=12).map(str.strip).filter(bool),
    min_size=2,
    max_size=len(OPTION_LETTERS),
    unique_by=str.casefold,
)


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.sampled_from(sorted(CHOICE_KINDS)), st.integers(0, 1_000), st.data())
def test_shuffling_keeps_the_answer(
    options: list[str], kind: TaskKind, seed: int, data: st.DataObject
) -> None:
    letters = list(OPTION_LETTERS[: len(options)])
    order = data.draw(st.permutations(letters))
    wanted = {
        TaskKind.MULTI_CHOICE: sorted(order[: max(1, len(order) // 2)]),
        TaskKind.ORDERING: order,
    }.get(kind, order[:1])
    proposed = proposal(kind, options=tuple(options), answer=",".join(wanted))
    task = proposed_task(proposed, SCENE, seed)
    assert sorted(task.options) == sorted(options)
    meant = [options[OPTION_LETTERS.index(letter)] for letter in wanted]
    if kind is TaskKind.MULTI_CHOICE:
        assert sorted(chosen(task)) == sorted(meant)
        assert gold_of(task).text.split(",") == sorted(gold_of(task).text.split(","))
    else:
        assert chosen(task) == meant
    if kind in ONE_CHOICE_KINDS:
        assert task.options[gold_of(task).option_index] == meant[0]
    assert task == proposed_task(proposed, SCENE, seed)


# Given questions


def test_given_questions_keep_the_order_of_their_options() -> None:
    options = ("zebra", "ape", "cat", "bee")
    for number in range(10):
        given_q = GivenQuestion(question=f"Which {number}?", options=options, answer="C")
        task = given_task(given_q, SCENE)
        assert (task.options, chosen(task)) == (options, ["cat"])
        assert task.origin is Origin.GIVEN
        assert task.spec_json == "{}"


@pytest.mark.parametrize(
    ("fields", "kind", "gold"),
    [
        ({"options": ("a", "b"), "answer": "b"}, TaskKind.MCQ, "B"),
        ({"options": ("a", "b"), "answer": "B"}, TaskKind.MCQ, "B"),
        ({"options": ("a", "b")}, TaskKind.MCQ, None),
        ({"answer": "3.5"}, TaskKind.NUMBER, "3.5"),
        ({"answer": "a cat"}, TaskKind.FREE_TEXT, "a cat"),
        ({}, TaskKind.FREE_TEXT, None),
        ({"spans": ((2.0, 4.5),)}, TaskKind.TEMPORAL_GROUNDING, "2.00 to 4.50"),
        ({"spans": ((2.0, 4.5),), "answer": "3"}, TaskKind.NUMBER, "3"),
        ({"answer": "3", "answer_kind": "count"}, TaskKind.COUNT, "3"),
    ],
)
def test_the_kind_of_a_given_question_follows_from_what_is_given(
    fields: dict[str, Any], kind: TaskKind, gold: str | None
) -> None:
    task = given_task(GivenQuestion(question="What?", **fields), SCENE)
    assert task.kind is kind
    assert (task.gold and task.gold.text) == gold
    assert task.evidence_s == fields.get("spans", ())


def test_spans_of_the_source_become_spans_of_the_clip() -> None:
    scene = plain_scene(start_s=1.5, duration_s=10.0)
    task = given_task(GivenQuestion(question="When?", spans=((1.0, 4.0), (6.5, 11.5))), scene)
    assert task.evidence_s == ((0.0, 2.5), (5.0, 10.0))
    assert gold_of(task).intervals_s == ((0.0, 2.5), (5.0, 10.0))


@pytest.mark.parametrize("span", [(2.0, 10.5), (4.0, 4.0), (6.0, 5.0), (20.0, 30.0), (-3.0, -1.0)])
def test_given_spans_outside_of_the_video_are_refused(span: tuple[float, float]) -> None:
    """14% of Charades' training queries end after their video does."""
    assert "not within the video" in refusal(GivenQuestion(question="When?", spans=(span,)))


def test_unknown_kinds_and_unfit_answers_are_refused() -> None:
    unknown = refusal(GivenQuestion(question="What?", answer="x", answer_kind="haiku"))
    assert "haiku" in unknown
    assert "mcq" in unknown
    refusal(GivenQuestion(question="What?", options=("a", "b"), answer="C"))
    refusal(GivenQuestion(question="What?", options=("a", "a"), answer="A"))
    refusal(GivenQuestion(question="What?", answer="few", answer_kind="count"))


# What is put to a model


def test_the_question_text_holds_options_and_form_and_no_answer() -> None:
    task = proposed_task(proposal(), SCENE, 0)
    lines = question_text(task).splitlines()
    assert lines[0] == task.question
    assert lines[1:4] == [
        f"{letter}. {option}" for letter, option in zip("ABC", task.options, strict=True)
    ]
    assert lines[4:] == [ANSWER_FORMS[TaskKind.MCQ]]
    assert set(ANSWER_FORMS) == set(TaskKind)


def test_kinds_are_wanted_by_their_weight() -> None:
    mix = {TaskKind.MCQ: 4.0, TaskKind.COUNT: 1.0, TaskKind.FREE_TEXT: 0.0}
    tasks = TaskSettings(mix=mix)
    first = [wanted_kinds(plain_scene(number).clip, tasks, 0) for number in range(300)]
    assert all(set(kinds) == {TaskKind.MCQ, TaskKind.COUNT} for kinds in first)
    share = sum(kinds[0] is TaskKind.MCQ for kinds in first) / len(first)
    assert 0.72 < share < 0.88
    assert wanted_kinds(SCENE.clip, tasks, 7) == wanted_kinds(SCENE.clip, tasks, 7)
