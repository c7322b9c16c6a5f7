"""Answers of every kind are written in one way, graded as right by their own reward, or refused.

A letter stays a letter, a number has one way to be written, and boxes lie in the frame and, where
they have times, in their span.
"""

from __future__ import annotations

import json

import pytest
from answers_of_kinds import (
    SCENE,
    TUBE,
    answer_of,
    is_canonical,
    options_of,
    proposal,
    refusal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rejection import Reason, Rejected
from schemas.rewards import parse_boxes, parse_intervals, parse_timed_boxes
from schemas.source import GivenQuestion
from schemas.task import BOX_KINDS, ONE_CHOICE_KINDS, SPAN_KINDS, TaskKind
from transforms.annotate.tasks import given_task, make_answer, proposed_task

# Answers of all kinds

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
