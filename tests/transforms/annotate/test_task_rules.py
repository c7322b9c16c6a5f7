"""Every kind of question: its answers, what gives them away, and that they can be graded."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scene import plain_scene

from schemas.rejection import Reason, Rejected
from schemas.rewards import parse_boxes, parse_intervals, parse_timed_boxes
from schemas.source import GivenQuestion
from schemas.task import (
    BOX_KINDS,
    CHOICE_KINDS,
    ONE_CHOICE_KINDS,
    OPTION_LETTERS,
    SPAN_KINDS,
    Answer,
    Origin,
    TaskKind,
)
from transforms.annotate.leaks import gives_away
from transforms.annotate.replies import ProposedTask
from transforms.annotate.tasks import (
    ANSWER_FORMS,
    TaskSettings,
    given_task,
    make_answer,
    proposed_task,
    question_text,
    wanted_kinds,
)
from transforms.verify.checks import score_answer

SCENE = plain_scene(duration_s=10.0)
OPTIONS = ("a cup", "a hat", "a key", "a dog")
TUBE = '{"time": [2.5, 4.8], "boxes": {"3": [0.1, 0.2, 0.3, 0.6], "4": [0.2, 0.2, 0.4, 0.6]}}'
ANSWERS: dict[TaskKind, str] = {
    TaskKind.MCQ: "B",
    TaskKind.MULTI_CHOICE: "A,C",
    TaskKind.COUNT: "3",
    TaskKind.NUMBER: "12.5",
    TaskKind.ORDERING: "B,A,D,C",
    TaskKind.TEMPORAL_GROUNDING: "3.20 to 7.75",
    TaskKind.SPATIAL_GROUNDING: "[0.12, 0.3, 0.4, 0.75]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: TUBE,
    TaskKind.FREE_TEXT: "a red cup",
    TaskKind.CAUSAL: "D",
    TaskKind.NEXT_EVENT: "C",
}
QUESTION = "What falls from the table?"


def options_of(kind: TaskKind) -> tuple[str, ...]:
    return OPTIONS if kind in CHOICE_KINDS else ()


def answer_of(kind: TaskKind, text: str = "", tolerance: float = -1.0) -> Answer:
    return make_answer(kind, text or ANSWERS[kind], options_of(kind), tolerance)


def proposal(kind: TaskKind, **fields: Any) -> ProposedTask:
    usual = {
        "question": QUESTION,
        "options": options_of(kind),
        "answer": ANSWERS[kind],
        "evidence": ((1.0, 8.0),),
    }
    return ProposedTask(kind=kind, **(usual | fields))


def refusal(kind: TaskKind, text: str, options: tuple[str, ...] | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        make_answer(kind, text, options_of(kind) if options is None else options, -1.0)
    assert caught.value.reason is Reason.BAD_TASK
    return caught.value.detail


# Canonical answers

NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(str)
TEXTS: dict[TaskKind, st.SearchStrategy[str]] = {
    TaskKind.COUNT: st.integers(-5, 2**60).map(str) | NUMBERS | st.text(max_size=12),
    TaskKind.NUMBER: NUMBERS | st.text("0123456789.,-+e ", max_size=12),
    TaskKind.FREE_TEXT: st.text(max_size=40),
    TaskKind.TEMPORAL_GROUNDING: st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(lambda span: "{} to {}".format(*span)),
        max_size=4,
    ).map("; ".join),
}
CHOICE_TEXT = st.lists(st.sampled_from("ABCDEF"), max_size=5).map(",".join) | st.text(max_size=6)


def is_canonical(answer: Answer, options: tuple[str, ...], tolerance: float = -1.0) -> bool:
    """Graded as right by its own reward, and made from its own text once more."""
    again = make_answer(answer.kind, answer.text, options, tolerance)
    assert score_answer(answer.text, answer) == 1.0
    assert again.text == answer.text
    if answer.kind is TaskKind.TEMPORAL_GROUNDING:
        # Its record keeps what the text rounds to hundredths.
        rounded = [(round(s, 2), round(e, 2)) for s, e in answer.intervals_s]
        assert rounded == list(again.intervals_s)
    else:
        assert again == answer
    return True


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_example_of_each_kind_is_canonical(kind: TaskKind) -> None:
    answer = answer_of(kind)
    assert is_canonical(answer, options_of(kind))
    assert answer.kind is kind
    assert answer.options == options_of(kind)
    assert (answer.option_index >= 0) is (kind in ONE_CHOICE_KINDS)
    assert bool(answer.intervals_s) is (kind in SPAN_KINDS)
    assert bool(answer.boxes) is (kind in BOX_KINDS)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(TaskKind)), st.data())
def test_whatever_is_taken_as_an_answer_is_canonical(kind: TaskKind, data: st.DataObject) -> None:
    options = options_of(kind)
    text = data.draw(TEXTS.get(kind, CHOICE_TEXT if options else st.text(max_size=30)))
    tolerance = data.draw(st.sampled_from([-1.0, 0.0, 0.5])) if kind is TaskKind.NUMBER else -1.0
    try:
        answer = make_answer(kind, text, options, tolerance)
    except Rejected as rejected:
        assert rejected.reason is Reason.BAD_TASK
    else:
        assert is_canonical(answer, options, tolerance)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TaskKind.FREE_TEXT, "!!!"),
        (TaskKind.FREE_TEXT, "..., ?"),
        (TaskKind.COUNT, str(2**53)),
        (TaskKind.COUNT, "1e300"),
        (TaskKind.FREE_TEXT, "word " * 30_000),
    ],
)
def test_an_answer_that_earns_nothing_is_none(kind: TaskKind, text: str) -> None:
    """No model could ever be right: such a task would only cost rollouts."""
    assert "can't be graded" in refusal(kind, text)


@pytest.mark.parametrize(("text", "canonical"), [("-0", "0"), ("-0.0", "0"), ("1e3", "1000")])
def test_a_number_has_one_way_to_be_written(text: str, canonical: str) -> None:
    assert answer_of(TaskKind.NUMBER, text).text == canonical


def test_a_letter_is_a_letter_even_where_options_are_letters_too() -> None:
    """Options may be the letters on three doors; after a shuffle they stand anywhere."""
    for kind in sorted(ONE_CHOICE_KINDS):
        answer = make_answer(kind, "A", ("B", "A", "C"), -1.0)
        assert (answer.text, answer.option_index) == ("A", 0)
        assert is_canonical(answer, ("B", "A", "C"))
        for seed in range(20):
            doors = proposal(kind, options=("B", "A", "C"), answer="A")
            task = proposed_task(doors, SCENE, seed)
            assert task.gold is not None
            assert task.options[task.gold.option_index] == "B"
    # A word in lower case is no letter.
    assert make_answer(TaskKind.MCQ, "a", ("an", "a", "the"), -1.0).text == "B"


def test_a_given_answer_with_two_meanings_is_refused() -> None:
    question = GivenQuestion(question="Which door?", options=("B", "A", "C"), answer="A")
    with pytest.raises(Rejected, match="the letter of 'B' and also an option of its own"):
        given_task(question, SCENE)
    clear = question.model_copy(update={"answer": "C"})
    task = given_task(clear, SCENE)
    assert task.gold is not None
    assert task.gold.option_index == 2


# Boxes

SHARE = st.floats(0.0, 1.0) | st.integers(0, 1)
CORNERS = st.tuples(SHARE, SHARE, SHARE, SHARE) | st.tuples(*[st.floats(-2.0, 3.0)] * 4)
TIMES_S = st.floats(0.0, 20.0) | st.integers(0, 20) | st.floats(1_000.0, 4_000.0)


def is_inside(box: tuple[float, ...]) -> bool:
    left, top, right, bottom = box
    return 0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0


@settings(max_examples=200, deadline=None)
@given(CORNERS)
def test_a_box_is_taken_if_and_only_if_it_is_in_the_frame(box: tuple[float, ...]) -> None:
    text = json.dumps(list(box))
    if not is_inside(box):
        refusal(TaskKind.SPATIAL_GROUNDING, text)
        return
    answer = answer_of(TaskKind.SPATIAL_GROUNDING, text)
    assert is_canonical(answer, ())
    [placed] = answer.boxes
    assert placed.xyxy_norm == box
    assert placed.t_s == -1.0
    assert parse_boxes(answer.text) == [tuple(float(one) for one in box)]


@settings(max_examples=300, deadline=None)
@given(
    TIMES_S, TIMES_S, st.lists(st.tuples(TIMES_S, CORNERS.filter(is_inside)), max_size=5),
)  # fmt: skip
def test_a_tube_holds_its_boxes_and_says_so_in_its_text(
    start_s: float, end_s: float, timed: list[tuple[float, tuple[float, ...]]]
) -> None:
    boxes = [{"t_s": t_s, "xyxy_norm": list(box)} for t_s, box in timed]
    text = json.dumps({"time": [start_s, end_s], "boxes": boxes})
    times = [round(t_s, 3) for t_s, _ in timed]
    inside = all(round(start_s, 3) <= t_s <= round(end_s, 3) for t_s in times)
    if start_s > end_s or not (timed and inside) or len(set(times)) < len(times):
        refusal(TaskKind.SPATIO_TEMPORAL_GROUNDING, text)
        return
    answer = answer_of(TaskKind.SPATIO_TEMPORAL_GROUNDING, text)
    assert is_canonical(answer, ())
    assert [one.t_s for one in answer.boxes] == sorted(times)
    assert sorted(parse_timed_boxes(answer.text)) == [
        (one.t_s, one.xyxy_norm) for one in answer.boxes
    ]
    assert tuple(parse_intervals(answer.text)) == answer.intervals_s
    assert answer.intervals_s == ((round(start_s, 3), round(end_s, 3)),)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (TaskKind.SPATIAL_GROUNDING, "on the left", "one box"),
        (TaskKind.SPATIAL_GROUNDING, "[[0.1, 0.1, 0.2, 0.2], [0.3, 0.3, 0.4, 0.4]]", "one box"),
        (TaskKind.SPATIAL_GROUNDING, "[0.3, 0.1, 0.2, 0.2]", "one box"),
        (TaskKind.SPATIAL_GROUNDING, "[12, 30, 140, 175]", "not inside the frame"),
        (TaskKind.SPATIAL_GROUNDING, "[0.1, 0.1, 0.1, 0.2]", "not inside the frame"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, "3 to 5", "no boxes"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, '{"boxes": {"3": [0, 0, 1, 1]}}', "one span"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE.replace('"4"', '"5"'), "within its span"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE.replace('"4"', '"3.0"'), "at the same time"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE.replace("0.6", "1.6"), "not inside the frame"),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE.replace("2.5, 4.8", "4.8, 2.5"), "one span"),
    ],
)
def test_boxes_that_are_none_are_refused(kind: TaskKind, text: str, words: str) -> None:
    assert words in refusal(kind, text)


def test_a_tube_must_lie_in_the_clip() -> None:
    late = TUBE.replace("4.8", "10.8")
    with pytest.raises(Rejected, match="not within the clip"):
        proposed_task(proposal(TaskKind.SPATIO_TEMPORAL_GROUNDING, answer=late), SCENE, 0)


# What gives an answer away


@pytest.mark.parametrize(
    ("kind", "answer", "question", "leaks"),
    [
        (TaskKind.FREE_TEXT, "a red cup", "What does A Red Cup stand on?", True),
        (TaskKind.FREE_TEXT, "a red cup", "What does a red cupboard stand on?", False),
        (TaskKind.COUNT, "3", "How many of the 3 cups fall?", True),
        (TaskKind.COUNT, "3", "How many of the three cups fall?", True),
        (TaskKind.COUNT, "3", "How many of the 30 cups fall?", False),
        (TaskKind.COUNT, "7", "How many cans of 7up fall?", False),
        (TaskKind.COUNT, "1", "How many times does one of them fall?", False),
        (TaskKind.COUNT, "3", "How many of the 3.5 l bottles fall?", False),
        (TaskKind.NUMBER, "12.5", "Is the rope of 12.50 m long enough, and how long?", True),
        (TaskKind.NUMBER, "1000", "How many metres are the 1,000 m?", True),
        (TaskKind.NUMBER, "-2", "Is it -2, or how many degrees?", True),
        (TaskKind.NUMBER, "2", "How many degrees are between 3-4?", False),
        (TaskKind.MCQ, "B", "Does a hat fall?", True),
        (TaskKind.MCQ, "B", "Does a cup or a hat fall?", False),
        (TaskKind.MCQ, "B", "Does a chat begin?", False),
        (TaskKind.CAUSAL, "D", "Why does the noise of a dog scare her?", True),
        (TaskKind.CAUSAL, "D", "Why does she run?", False),
        (TaskKind.NEXT_EVENT, "C", "What comes after a key is lost?", True),
        (TaskKind.NEXT_EVENT, "C", "What comes after a dog barks?", False),
        (TaskKind.MULTI_CHOICE, "A,C", "Which are seen, a key or a cup?", True),
        (TaskKind.MULTI_CHOICE, "A,C", "Which are seen, a key or a hat?", False),
        (TaskKind.MULTI_CHOICE, "A,C", "Is a cup seen?", False),
        (TaskKind.MULTI_CHOICE, "A,B,C,D", "Which of a cup, a hat, a key, a dog?", False),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a hat, a cup, a dog, a key.", True),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a cup, a hat, a key, a dog.", False),
        (TaskKind.ORDERING, "B,A,D,C", "Order: a hat, a cup, a dog.", False),
        (TaskKind.TEMPORAL_GROUNDING, "3.20 to 7.75", "When, from 3.2 to 7.7, is it?", True),
        (TaskKind.TEMPORAL_GROUNDING, "3.20 to 7.75", "When do the 2 to 3 men run?", False),
        (TaskKind.SPATIAL_GROUNDING, "[0.1, 0.2, 0.3, 0.4]", "What is at [0.1,0.2,0.3,0.4]?", True),
        (TaskKind.SPATIAL_GROUNDING, "[0.1, 0.2, 0.3, 0.4]", "Where is it when he falls?", False),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "When is it at [0.1, 0.2, 0.3, 0.6]?", True),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "Where is it between 3 and 4?", True),
        (TaskKind.SPATIO_TEMPORAL_GROUNDING, TUBE, "When and where is the cup seen?", False),
    ],
)
def test_a_question_gives_nothing_away(
    kind: TaskKind, answer: str, question: str, leaks: bool
) -> None:
    assert gives_away(question, answer_of(kind, answer)) is leaks
    proposed = proposal(kind, question=question, answer=answer)
    if leaks:
        with pytest.raises(Rejected, match="gives the answer away"):
            proposed_task(proposed, SCENE, 0)
    else:
        assert proposed_task(proposed, SCENE, 0).question == question


def test_what_counts_as_right_counts_as_given_away() -> None:
    near = answer_of(TaskKind.NUMBER, "12.5", tolerance=0.5)
    assert gives_away("How long are the 12.2 m?", near)
    assert not gives_away("How long are the 11.9 m?", near)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_of_proposal_becomes_a_task(kind: TaskKind) -> None:
    task = proposed_task(proposal(kind), SCENE, 3)
    assert (task.kind, task.origin) == (kind, Origin.PROPOSED)
    assert task.gold is not None
    assert is_canonical(task.gold, task.options)
    assert sorted(task.options) == sorted(options_of(kind))
    meant = [OPTIONS[OPTION_LETTERS.index(one)] for one in re.findall("[A-D]", ANSWERS[kind])]
    if task.options:
        said = [task.options[OPTION_LETTERS.index(one)] for one in task.gold.text.split(",")]
        if kind is TaskKind.MULTI_CHOICE:
            said.sort(key=OPTIONS.index)
        assert said == meant


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_question_cites_its_evidence(kind: TaskKind) -> None:
    """A span that is the answer is its own evidence."""
    bare = proposal(kind, evidence=())
    if kind in SPAN_KINDS:
        task = proposed_task(bare, SCENE, 0)
        assert task.gold is not None
        assert task.evidence_s == task.gold.intervals_s != ()
    else:
        with pytest.raises(Rejected, match="no evidence is cited"):
            proposed_task(bare, SCENE, 0)


# Questions that came with the video


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_can_be_given(kind: TaskKind) -> None:
    given_q = GivenQuestion(
        question=QUESTION, options=options_of(kind), answer=ANSWERS[kind], answer_kind=kind
    )
    task = given_task(given_q, SCENE)
    assert (task.kind, task.origin, task.options) == (kind, Origin.GIVEN, options_of(kind))
    assert task.gold is not None
    assert is_canonical(task.gold, task.options)
    unanswered = given_task(given_q.model_copy(update={"answer": ""}), SCENE)
    assert unanswered.gold is None


def test_given_times_become_times_of_the_clip() -> None:
    """The first frame of some videos comes late; clip time begins with it."""
    scene = plain_scene(start_s=1.5, duration_s=10.0)
    tube = GivenQuestion(question="Where?", answer=TUBE, answer_kind="spatio_temporal_grounding")
    gold = given_task(tube, scene).gold
    assert gold is not None
    assert gold.intervals_s == ((1.0, 3.3),)
    assert [(one.t_s, one.xyxy_norm) for one in gold.boxes] == [
        (1.5, (0.1, 0.2, 0.3, 0.6)),
        (2.5, (0.2, 0.2, 0.4, 0.6)),
    ]
    assert is_canonical(gold, ())
    when = GivenQuestion(question="When?", answer="0.5 to 3", answer_kind="temporal_grounding")
    moved = given_task(when, scene).gold
    assert moved is not None
    assert moved.intervals_s == ((0.0, 1.5),)
    box = GivenQuestion(
        question="Where?", answer="[0, 0, 0.5, 0.5]", answer_kind="spatial_grounding"
    )
    still = given_task(box, scene).gold
    assert still is not None
    assert (still.boxes[0].t_s, still.boxes[0].xyxy_norm) == (-1.0, (0.0, 0.0, 0.5, 0.5))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.0, 5.0),
    st.lists(st.integers(0, 9_000), min_size=1, max_size=6, unique=True),
)
def test_boxes_keep_their_distance_to_the_first_frame(shift_s: float, millis: list[int]) -> None:
    scene = plain_scene(start_s=shift_s, duration_s=10.0)
    times = [shift_s + one / 1_000 for one in millis]
    boxes = [{"t_s": t_s, "xyxy_norm": [0.1, 0.1, 0.5, 0.5]} for t_s in times]
    answer = json.dumps({"time": [min(times), max(times) + 0.5], "boxes": boxes})
    tube = GivenQuestion(question="Where?", answer=answer, answer_kind="spatio_temporal_grounding")
    gold = given_task(tube, scene).gold
    assert gold is not None
    found = [one.t_s for one in gold.boxes]
    assert found == pytest.approx([one / 1_000 for one in sorted(millis)], abs=0.0011)
    assert is_canonical(gold, ())


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("temporal_grounding", "at the end"),
        ("temporal_grounding", "9 to 12"),
        ("spatial_grounding", "on the left"),
        ("spatial_grounding", "[10, 20, 30, 40]"),
        ("spatio_temporal_grounding", "at the end"),
        ("spatio_temporal_grounding", TUBE.replace("4.8", "14.8")),
        ("spatio_temporal_grounding", TUBE.replace('"4"', '"3.0"')),
        ("count", "few"),
        ("free_text", "?!"),
        ("causal", "because"),
    ],
)
def test_a_given_answer_that_cannot_be_read_is_not_taken_for_none(kind: str, answer: str) -> None:
    """Silently without its answer, the question would be graded by what the samples agree on."""
    options = OPTIONS if kind == "causal" else ()
    question = GivenQuestion(question="?", options=options, answer=answer, answer_kind=kind)
    with pytest.raises(Rejected):
        given_task(question, SCENE)


# What is put to a model


@pytest.mark.parametrize("kind", list(TaskKind))
def test_each_kind_says_in_which_form_to_answer(kind: TaskKind) -> None:
    task = proposed_task(proposal(kind), SCENE, 0)
    lines = question_text(task).splitlines()
    assert lines[0] == QUESTION
    assert lines[-1] == ANSWER_FORMS[kind]
    assert len(lines) == 2 + len(task.options)
    example = ANSWER_FORMS[kind].partition("such as ")[2].rstrip(".")
    if example:
        # It is an answer of this kind.
        make_answer(kind, example, OPTIONS[:3] if task.options else (), -1.0)


def test_all_kinds_can_be_wanted() -> None:
    tasks = TaskSettings(mix=dict.fromkeys(TaskKind, 1.0))
    orders = {wanted_kinds(plain_scene(number).clip, tasks, 0) for number in range(200)}
    assert all(sorted(order) == sorted(TaskKind) for order in orders)
    assert {order[0] for order in orders} == set(TaskKind)
    heavy = tasks.model_copy(update={"mix": tasks.mix | {TaskKind.CAUSAL: 50.0}})
    first = [wanted_kinds(plain_scene(number).clip, heavy, 0)[0] for number in range(200)]
    # Of the weight of all, 50 of 60.
    assert 0.74 < first.count(TaskKind.CAUSAL) / 200 < 0.92
