"""What is read in a text: responses, spans, letters, numbers, times and boxes in their dialects."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_helpers import NASTY, SPANS, text_of

from schemas import rewards
from schemas.rewards import (
    cited_times_in,
    format_response,
    grade,
    parse_boxes,
    parse_intervals,
    parse_letters,
    parse_number,
    parse_response,
    parse_timed_boxes,
)


@settings(max_examples=150, deadline=None)
@given(text=NASTY)
def test_the_parsers_never_raise_and_yield_finite_values(text):
    assert all(0 <= s <= e < math.inf for s, e in parse_intervals(text))
    assert all(0 <= t < math.inf for t in cited_times_in(text))
    assert all(x1 <= x2 and y1 <= y2 for x1, y1, x2, y2 in parse_boxes(text))
    assert all(t >= 0 and len(box) == 4 for t, box in parse_timed_boxes(text))
    assert all(len(letter) == 1 and letter.isupper() for letter in parse_letters(text))
    number = parse_number(text)
    assert number is None or math.isfinite(number)
    assert isinstance(parse_response(text).well_formed, bool)


# Responses.


@given(think=st.text(min_size=1), answer=st.text(min_size=1))
def test_a_formatted_response_comes_apart_again(think, answer):
    parts = parse_response(format_response(think, answer))
    assert (parts.think, parts.answer) == (think.strip(), answer.strip()) or "" in parts[:2]
    assert parts.well_formed == bool(think.strip() and answer.strip())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", ""),
        ("<answer>B</answer>", "B"),
        ("<think>x</think>", ""),
        ("<think>x</think><answer>B", ""),
        ("<think>x</think><answer>B</answer> and more", "B"),
        ("<think>x</think> so <answer>B</answer>", "B"),
        ("<think>x</think><answer>A</answer><answer>B</answer>", ""),
        ("<think>x<answer>B</answer></think>", ""),
        ("<answer>B</answer><think>x</think>", ""),
        ("<think>x</think></think><answer>B</answer>", "B"),
        ("<think> </think><answer>B</answer>", "B"),
        ("<think>x</think><answer> </answer>", ""),
        ("</think>x<think></answer>B<answer>", ""),
    ],
)
def test_malformed_responses(text, answer):
    assert parse_response(text)[1:] == (answer, False)
    assert grade("format", text, "") == 0.0


def test_the_format_reward_pays_for_the_format():
    assert rewards.format_reward("\n<think>x</think>\n <answer>B</answer>\n") == 1.0
    with pytest.raises(ValueError, match="</answer>"):
        format_response("x", "B</answer>")


# Dialects.


@pytest.mark.parametrize(
    "text",
    [
        "3.2 to 7.75",
        "3.20s - 7.750 s",
        "3.2-7.75",
        "3.2s–7.75s",
        "[[3.2, 7.75]]",
        "[3.2, 7.75]",
        "(3.2, 7.75)",
        '{"time": [3.2, 7.75]}',
        "{'time': [3.2, 7.75]}",
        '```json\n{"time": ["00:03.2", "00:07.75"]}\n```',
        "From <t>3.2</t>s to <t>7.75</t>s",
        "<glue>[(3.2, 7.75)]</glue>",
        '{"start_time": "3.2", "end_time": "7.75"}',
        '{"start_time": "00:03.20", "end_time": "00:07.75 s"}',
        "It happens between 3.2 and 7.75 seconds.",
        "00:03.2 to 0:07.75",
        "3.2\n  to\t7.75",
    ],
)
def test_dialects_of_a_span(text):
    assert parse_intervals(text) == [(3.2, 7.75)]
    assert grade("temporal_iou", text, "3.2 to 7.75") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "3.2",
        "7.75 to 3.2",
        "-1 to 5",
        "nan to inf",
        "3, 5",
        "1e3 to 5",
        "３ to ５",
        "[3]",
    ],
)
def test_texts_without_a_span(text):
    assert parse_intervals(text) == []


def test_several_spans_and_hours():
    assert parse_intervals("1 to 2; 3.5 to 4") == [(1, 2), (3.5, 4)]
    assert parse_intervals("<glue>[(1, 2), (3.5, 4)]</glue>") == [(1, 2), (3.5, 4)]
    assert parse_intervals("1-2 3.5-4") == [(1, 2), (3.5, 4)]
    assert parse_intervals("1:00:03 to 1:01:04.5") == [(3603, 3664.5)]


@given(spans=SPANS)
def test_the_canonical_text_gives_the_spans_back(spans):
    assert parse_intervals(text_of(spans)) == parse_intervals(json.dumps(spans)) == spans


CHOICES = ["B", "b", " B ", "(B)", "[B]", "B.", "B)", "B) text", "B: a dog", "**B**", '"B"']
LONG_CHOICES = ["Answer: B", "The correct answer is (B).", "Option B", "B. A dog runs"]


@pytest.mark.parametrize("text", CHOICES + LONG_CHOICES)
def test_dialects_of_a_choice(text):
    assert grade("mcq", text, "B") == 1.0


@pytest.mark.parametrize(
    "text", ["Banana", "B dog", "Beside", "", "()", "AB", "B, C", "not B", "I'm B", "8", "ß", "Ｂ"]
)
def test_texts_that_are_no_choice(text):
    assert grade("mcq", text, "B") == 0.0


def test_an_article_is_no_choice():
    assert grade("mcq", "A dog runs", "A") == grade("mcq", "A dog runs", "A dog runs") == 0.0


@pytest.mark.parametrize(
    "text", ["B,A,C", "B, A, C", "BAC", "(B) (A) (C)", "B > A > C", "B then A then C"]
)
def test_dialects_of_an_ordering(text):
    assert parse_letters(text) == ["B", "A", "C"]
    assert grade("ordering", text, "B,A,C") == 1.0


def test_orderings_of_numbers():
    assert grade("ordering", "3, 4, 1", "341") == 1.0
    assert grade("ordering", "3,10,2", "3, 10, 2") == 1.0
    assert parse_letters("dog") == parse_letters("bac") == parse_letters("a cat") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("12.5", 12.5), ("1,234.5 m", 1234.5), ("There are 3.", 3), ("-3", -3), ("\u22123", -3)]
    + [("1e3", 1000), (".5", 0.5), ("$4", 4), ("50%", 50), ("7 s", 7)]
    + [
        (text, None)
        for text in ("", "inf", "NaN", "1e999", "3,5", "3 or 4", "2-3", "A1", "５", "1.2.3")
    ],
)
def test_numbers(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("The cup falls at 3.2s.", [3.2]),
        ("3.20 s, then 12.5 seconds, then 01:02.5", [3.2, 12.5, 62.5]),
        ("at <t>3.2</t>s", [3.2]),
        ("<3.0 seconds> a frame", [3.0]),
        ("from 3.2 to 7.75 s", [3.2, 7.75]),
        ("between 3.2 s and 7.75 s", [3.2, 7.75]),
        ("5 people, 2 s later, for 3 s, lasting about 4 seconds, 6 s long", []),
        ("the 1980s, a 3-second clip, -3 s, t3 s, 16:9", []),
    ],
)
def test_cited_times(text, times):
    assert cited_times_in(text) == times


def test_dialects_of_timed_boxes():
    box = (1.0, 2.0, 3.0, 4.0)
    for text in (
        "<obj>a</obj><box>[1, 2, 3, 4]</box>at<t>9</t>s",
        '{"boxes": {"9": [1, 2, 3, 4]}}',
        '{"time": [3, 5], "boxes": {"9.0": [1, 2, 3, 4]}}',
        '[{"t_s": 9, "xyxy_norm": [1, 2, 3, 4]}]',
        '{"00:09": [[1, 2, 3, 4]]}',
    ):
        assert parse_timed_boxes(text) == [(9.0, box)]
    for text in ('{"boxes": [1, 2, 3, 4]}', "<box>[1,2,3,4]</box>", '[{"bbox_2d": [1, 2, 3, 4]}]'):
        assert parse_boxes(text) == [box]
    assert parse_boxes("[3, 2, 1, 4]") == parse_boxes("[1, 2, NaN, 4]") == []
