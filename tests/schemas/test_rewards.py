"""The one grader: what every reward promises, known defects, hostile texts, dialects."""

from __future__ import annotations

import ast
import inspect
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import rewards
from schemas.rewards import (
    REWARD_FOR_KIND,
    REWARDS,
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
from schemas.task import TaskKind

REQUIRED = {"temporal_iou_edges": {"duration_s": 20.0}}
ALL = sorted(REWARDS)

MARKS = ["<think>", "</think>", "<answer>", "</answer>", "<t>", "</t>", "<box>", "</box>", "<obj>"]
SIGNS = [*"[](){},;:.-'/ \n\x00", "\\", "\\frac{", "\\boxed{", "½", "٣", "３", "\ud800", "İ", "ﬀ"]
TERMS = ["to", "and", "between", "s", "seconds", "A", "B", "(B)", "C.", "nan", "inf", "-inf", "1/0"]
DIGITS = ["3", "3.2", "7.75", "01:02.5", "-1", "9" * 20, "1e999", '"time"', '"boxes"', "null"]
JSONS = ['{"time": [3, NaN]}', '{"boxes": {"9": [1, 2, 3, 4]}}', "[[7, 3]]", "[1e400, 2]"]
FRAGMENTS = st.sampled_from(MARKS + SIGNS + TERMS + DIGITS + JSONS)
NASTY = st.one_of(st.text(max_size=40), st.lists(FRAGMENTS, max_size=14).map("".join))

TIMES = st.integers(0, 2000).map(lambda i: i / 100)
SPAN = st.tuples(TIMES, TIMES).filter(lambda s: s[0] < s[1])
SPANS = st.lists(SPAN, min_size=1, max_size=5)
NUMBERS = st.floats(-1e9, 1e9).map(lambda x: round(x, 3))
WORDS = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "over", "the", "mat"]), min_size=1)
BOX = st.tuples(*[st.integers(0, 100)] * 4).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1]
)
TRACK = st.dictionaries(st.integers(0, 20).map(str), BOX, min_size=1, max_size=5)
LETTERS = st.lists(st.sampled_from("ABCDEFGHIJ"), min_size=1, unique=True)


def text_of(spans):
    return "; ".join(f"{start} to {end}" for start, end in spans)


def response(think, answer="B"):
    return f"<think>{think}</think><answer>{answer}</answer>"


def any_score(name, answer, gold):
    return REWARDS[name](answer, gold, **REQUIRED.get(name, {}))


# What every reward promises.


@settings(max_examples=150, deadline=None)
@given(answer=NASTY, gold=NASTY)
def test_every_reward_stays_in_range_and_never_raises(answer, gold):
    for name in ALL:
        for left, right in ((answer, gold), (answer, answer), (response(answer, gold), gold)):
            assert 0.0 <= any_score(name, left, right) <= 1.0


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


@given(gold=NASTY, blank=st.sampled_from(["", " ", "\n\t", "\u3000"]))
def test_an_empty_answer_earns_nothing(gold, blank):
    for name in ALL:
        assert any_score(name, blank, gold) == any_score(name, blank, blank) == 0.0
    assert grade("format", response("so it is", blank), gold) == 0.0
    assert grade("consistency", response("so it is", blank), gold) == 0.0


@given(spans=SPANS, track=TRACK, letters=LETTERS, number=NUMBERS, words=WORDS)
def test_the_gold_itself_earns_1(spans, track, letters, number, words):
    span, box = text_of(spans[:1]), json.dumps(next(iter(track.values())))
    joined = ",".join(letters)
    golds = {
        "mcq": letters[0],
        "multi_choice": joined,
        "ordering": joined,
        "ordering_pairs": joined,
        "number": repr(number),
        "regression": repr(number),
        "mra": repr(number),
        "count": str(round(number)),
        "exact_count": str(round(number)),
        "math": repr(number),
        "ocr": " ".join(words),
        "free_text": " ".join(words),
        "temporal_iou": span,
        "temporal_iou_edges": span,
        "segments_iou": text_of(spans),
        "segments_f1_giou": text_of(spans),
        "grounded_qa": f"{letters[0]}; {text_of(spans)}",
        "box_iou": box,
        "tracking": json.dumps({"boxes": track}),
        "spatio_temporal": json.dumps({"time": spans[0], "boxes": track}),
    }
    for name, gold in golds.items():
        assert any_score(name, gold, gold) == pytest.approx(1.0, abs=1e-12), name
    others = {"format", "cited_times", "cited_boxes", "length_bonus", "consistency"}
    assert set(golds) | others == set(REWARDS)


@given(a=SPANS, b=SPANS, words_a=WORDS, words_b=WORDS, box_a=BOX, box_b=BOX, n=NUMBERS, m=NUMBERS)
def test_symmetric_measures_are_symmetric(a, b, words_a, words_b, box_a, box_b, n, m):
    pairs = {
        "segments_iou": (text_of(a), text_of(b)),
        "segments_f1_giou": (text_of(a), text_of(b)),
        "temporal_iou": (text_of(a[:1]), text_of(b[:1])),
        "temporal_iou_edges": (text_of(a[:1]), text_of(b[:1])),
        "free_text": (" ".join(words_a), " ".join(words_b)),
        "box_iou": (json.dumps(box_a), json.dumps(box_b)),
        "number": (repr(n), repr(m)),
        "exact_count": (repr(n), repr(m)),
    }
    for name, (left, right) in pairs.items():
        assert any_score(name, left, right) == pytest.approx(any_score(name, right, left)), name


@given(span=SPAN, near=TIMES, far=TIMES)
def test_a_span_further_away_earns_no_more(span, near, far):
    near, far = sorted((near, far))
    gold = text_of([span])
    closer, further = (text_of([(span[0] + d, span[1] + d)]) for d in (near, far))
    for name in ("temporal_iou", "temporal_iou_edges", "segments_iou", "segments_f1_giou"):
        assert any_score(name, further, gold) <= any_score(name, closer, gold) + 1e-9
    outside = [f"at {span[1] + d:.2f} s" for d in (near, far)]
    assert any_score("cited_times", outside[1], gold) <= any_score("cited_times", outside[0], gold)


@given(gold=st.integers(-50, 50), near=st.integers(0, 99), far=st.integers(0, 99))
def test_a_number_further_off_earns_no_more(gold, near, far):
    near, far = sorted((near, far))
    for name in ("regression", "mra", "count", "number", "exact_count"):
        scores = [any_score(name, str(gold + d), str(gold)) for d in (near, far)]
        assert scores[1] <= scores[0]


@given(spans=SPANS, extra=SPANS)
def test_merged_spans_score_by_time_not_by_how_they_are_cut(spans, extra):
    halves = [part for s, e in spans for part in ((s, (s + e) / 2), ((s + e) / 2, e))]
    gold = text_of(extra)
    for name in ("segments_iou", "segments_f1_giou"):
        whole = any_score(name, text_of(spans), gold)
        assert any_score(name, text_of(halves * 2), gold) == pytest.approx(whole)


# Defects found in the field.


def test_defect_a_time_gate_without_absolute_value_lets_late_citations_pass():
    gold = '{"boxes": {"5": [0, 0, 10, 10]}}'

    def cited(t):
        text = f"<obj>cup</obj><box>[0, 0, 10, 10]</box>at<t>{t}</t>s"
        return grade("cited_boxes", text, gold)

    assert cited(5) == cited(4) == cited(6) == 1.0
    assert cited(6.01) == cited(3.99) == cited(500) == cited(0) == 0.0


def test_defect_iou_of_an_empty_union_is_undefined():
    assert grade("segments_iou", "3 to 3", "4 to 4") == 0.0
    assert grade("segments_f1_giou", "3 to 3", "4 to 4") == 0.0
    assert grade("temporal_iou", "3 to 3", "3 to 3") == 1.0
    assert grade("segments_iou", "none", "none") == 0.0
    assert grade("box_iou", "[1, 1, 1, 1]", "[2, 2, 2, 2]") == 0.0
    assert grade("tracking", "{}", "{}") == grade("spatio_temporal", "{}", "{}") == 0.0


def test_defect_substring_match_rewards_an_empty_answer():
    for gold in ("B", "Banana", "A,B", "3", "the cat"):
        for name in ALL:
            assert any_score(name, "", gold) == 0.0
    assert grade("mcq", "a", "Banana") == grade("mcq", "Banana", "B") == 0.0
    assert grade("exact_count", "1", "12") == grade("ordering", "A", "A,B") == 0.0


def test_defect_keyword_and_length_rewards_pay_for_padding():
    spec = {"min_words": 30, "max_words": 60}
    honest = response(" ".join(f"word{i}" for i in range(40)))
    assert grade("length_bonus", honest, "B", **spec) == pytest.approx(0.2)
    for padded in ("wait " * 40, "let me check the video again " * 8, "first then because " * 14):
        assert grade("length_bonus", response(padded), "B", **spec) == 0.0
    longer = response(" ".join(f"word{i}" for i in range(40)) + " wait" * 40)
    assert grade("length_bonus", longer, "B", **spec) == 0.0
    assert grade("length_bonus", honest, "C", **spec) == 0.0
    assert grade("free_text", "the cat sat " * 20, "the cat sat") < 0.2
    assert grade("ocr", "STOP " * 20, "STOP") == 0.0


def test_defect_a_batch_graded_by_the_problem_type_of_its_first_row():
    rows = [
        ("mcq", "B", "B"),
        ("number", "2.50", "2.5"),
        ("temporal_grounding", "1 to 2", "1 to 2"),
    ]
    for batch in (rows, rows[::-1]):
        assert [grade(REWARD_FOR_KIND[kind], a, g) for kind, a, g in batch] == [1.0] * 3


# Padding and hedging.


def test_citing_a_good_time_again_does_not_dilute_a_bad_one():
    gold = "2 to 4"
    once = grade("cited_times", "at 3 s, and at 90 s", gold)
    assert once == pytest.approx(0.5)
    assert grade("cited_times", "at 3 s, " * 50 + "at 90 s", gold) == pytest.approx(once)
    near = " ".join(f"at 3.{i:02d} s" for i in range(100))
    assert grade("cited_times", near + " at 90 s", gold) == pytest.approx(once)


def test_citing_a_good_box_again_does_not_dilute_a_bad_one():
    def cite(box, t):
        return f"<box>{box}</box>at<t>{t}</t>s "

    gold = cite([0, 0, 10, 10], 3) + cite([50, 50, 60, 60], 3)
    good, bad = cite([0, 0, 10, 10], 3), cite([90, 90, 99, 99], 4)
    assert grade("cited_boxes", good + cite([50, 50, 60, 60], 3), gold) == 1.0
    assert grade("cited_boxes", good * 50 + bad, gold) == 0.5


def test_several_answers_are_not_one():
    assert grade("mcq", "A, B", "A") == grade("mcq", "A or B", "A") == 0.0
    assert grade("mcq", "A) B) C)", "A") == 0.0
    assert grade("number", "3 or 4", "3") == grade("exact_count", "2-3", "3") == 0.0
    assert grade("temporal_iou", "1 to 2; 5 to 6", "1 to 2") == 0.0
    assert grade("box_iou", "[[0,0,1,1],[5,5,6,6]]", "[0,0,1,1]") == 0.0
    assert grade("multi_choice", "A,B,C,D", "A,B") == 0.0
    assert grade("ordering_pairs", "A,B,A,B", "A,B") == 0.0
    assert grade("segments_iou", "0 to 100", "3 to 4") == pytest.approx(0.01)


HOSTILE = {
    "spaces": " " * 90_000 + "x",
    "digits": "1" * 90_000,
    "brackets": "[" * 90_000,
    "objects": '{"a":' * 18_000,
    "colons": "1:" * 45_000,
    "dots": "1." * 45_000,
    "words": "a " * 45_000,
    "ranks": " ".join(map(str, range(15_000))),
    "spans": "; ".join(f"{i} to {i}.5 s" for i in range(5_000)),
    "boxes": "<box>[1, 2, 3, 4]</box>" * 3_900,
    "fractions": "\\frac{\\boxed{" * 6_000,
    "choices": "the answer is " * 6_000,
    "nest": "[" * 900 + "]" * 900,
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_hostile_texts_are_graded_in_time(kind):
    text = HOSTILE[kind]
    for name in ALL:
        started = time.process_time()
        for answer in (text, response(text, "B"), response("so B", text)):
            assert 0.0 <= any_score(name, answer, "B") <= 1.0
        assert 0.0 <= any_score(name, text[:20_000], text[:20_000]) <= 1.0
        assert time.process_time() - started < 2.0, name


def test_parsers_and_the_format_stay_linear_on_huge_texts():
    started = time.process_time()
    for text in ("<think>" * 300_000, "1 to " * 400_000, "[" * 2_000_000, "<think>a" * 200_000):
        parse_response(text)
        parse_intervals(text)
        parse_number(text)
        cited_times_in(text)
    assert parse_response(response("x" * 2_000_000)).well_formed
    assert time.process_time() - started < 5.0


def test_a_monstrous_text_earns_nothing():
    assert grade("free_text", "a " * 60_000, "a") == grade("mcq", "B) " + "x" * 100_000, "B") == 0.0


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


# The formulas, on numbers worked out by hand.


@pytest.mark.parametrize(
    ("fn", "answer", "gold", "spec", "score"),
    [
        ("multi_choice", "A", "A,C", {}, 0.5),
        ("multi_choice", "A,B", "A,C", {}, 0.0),
        ("number", "2.504", "2.50", {}, 1.0),
        ("number", "2.51", "2.50", {}, 0.0),
        ("number", "0.4", "0.3", {"tolerance": 0.1}, 1.0),
        ("number", "0.41", "0.3", {"tolerance": 0.1}, 0.0),
        ("number", "2.504", "2.50", {"tolerance": 0.0}, 0.0),
        ("number", "2.504", "2.50", {"tolerance": -1.0}, 1.0),
        ("regression", "8", "10", {}, 0.8),
        ("regression", "1", "0", {}, 0.0),
        ("mra", "8", "10", {}, 0.6),
        ("mra", "12.2", "10", {}, 0.6),
        ("count", "3", "4", {}, 0.75),
        ("count", "1", "0", {}, 0.0),
        ("exact_count", "3.0", "3", {}, 1.0),
        ("exact_count", "3.5", "3.5", {}, 0.0),
        ("exact_count", "4", "3", {}, 0.0),
        ("ordering_pairs", "B,A,C", "A,B,C", {}, 2 / 3),
        ("ordering_pairs", "C,B,A", "A,B,C", {}, 0.0),
        ("ordering_pairs", "A,B", "A,B,C", {}, 1 / 3),
        ("ordering_pairs", "A,B,Z", "A,B,C", {}, 0.0),
        ("ocr", "exit to street", "exit the street now", {}, 0.5),
        ("free_text", "the cat", "the dog", {}, (0.5 + 0 + 0.5) / 3),
        ("math", r"$\frac{1}{2}$", "0.5", {}, 1.0),
        ("math", r"\boxed{1,000}", "1000", {}, 1.0),
        ("math", "x = 3", "3.0", {}, 1.0),
        ("math", r"\sqrt{2}", r"$\sqrt{2}$", {"symbolic": False}, 1.0),
        ("math", "1/0", "0.5", {"symbolic": False}, 0.0),
        ("math", "1/3", "0.33", {}, 0.0),
        ("temporal_iou", "2 to 6", "4 to 8", {}, 1 / 3),
        ("temporal_iou_edges", "2 to 6", "4 to 8", {"duration_s": 10}, 1 / 3 * 0.8 * 0.8),
        ("temporal_iou_edges", "2 to 6", "4 to 8", {"duration_s": 0}, 0.0),
        ("temporal_iou_edges", "2 to 6", "4 to 8", {"duration_s": math.nan}, 0.0),
        ("segments_iou", "0 to 2; 4 to 6", "1 to 5", {}, 2 / 6),
        ("segments_f1_giou", "0 to 2", "0 to 2; 4 to 6", {}, (2 * 2 / 6 + 1 / 2) / 2),
        ("segments_f1_giou", "0 to 1", "3 to 4", {}, (0 + (1 - 2 / 4) / 2) / 2),
        ("grounded_qa", "B; 2 to 6", "B; 4 to 8", {}, 0.5 + 0.5 / 3),
        ("grounded_qa", "A\n[2, 6]", "B\n[4, 8]", {"weight": 0.4}, 0.6 / 3),
        ("grounded_qa", '{"answer": 3, "time": [4, 8]}', "3; 4 to 8", {"answer_fn": "count"}, 1.0),
        ("box_iou", "[0, 0, 2, 2]", '{"boxes": [1, 1, 3, 3]}', {}, 1 / 7),
        ("tracking", '{"1": [0, 0, 2, 2]}', '{"1": [0, 0, 2, 2], "2": [0, 0, 2, 2]}', {}, 0.5),
        ("cited_times", "at 5 s and at 7 s", "4 to 6", {}, (1 + math.exp(-0.5)) / 2),
        ("cited_times", "at 5 s and at 7 s", "4 to 6", {"sigma_s": 0.0}, 0.5),
        ("cited_times", "at 8 s", "1 to 2; 4 to 6", {"sigma_s": 2.0}, math.exp(-0.5)),
        ("cited_times", "at 3 s", "0 to 1; 4 to 6", {}, math.exp(-0.5)),
        ("cited_times", "no times", "4 to 6", {}, 0.0),
        ("cited_times", response("at 5 s", "90 to 91 s"), "4 to 6", {}, 1.0),
        ("consistency", response("It is red. So it is B."), "", {}, 1.0),
        ("consistency", response("So it is C.", "B"), "", {}, 0.0),
        ("consistency", response("B. So it is B or C.", "B"), "", {}, 0.0),
        ("consistency", response("The span is 3.20 s to 7.75 s.", "3.2 to 7.75"), "", {}, 1.0),
        ("consistency", response("There are 12.", "2"), "", {}, 0.0),
    ],
)  # fmt: skip
def test_formulas(fn, answer, gold, spec, score):
    assert grade(fn, answer, gold, **spec) == pytest.approx(score)


def test_spatio_temporal_halves():
    boxes = {"boxes": {"4": [0, 0, 2, 2], "5": [0, 0, 2, 2]}}
    gold = json.dumps({"time": [4, 6], **boxes})
    answer = json.dumps({"time": [4, 5], "boxes": {"4": [0, 0, 2, 2], "9": [0, 0, 2, 2]}})
    assert grade("spatio_temporal", answer, gold) == pytest.approx(0.5 * 0.5 + 0.5 * 0.5)


def test_length_bonus_uses_the_reward_it_is_given():
    text = response(" ".join(map(str, range(20))), "12.4")
    spec = {"min_words": 10, "max_words": 30, "answer_fn": "number"}
    assert grade("length_bonus", text, "12.5", **spec) == 0.0
    assert grade("length_bonus", text, "12.5", **spec, answer_spec={"tolerance": 0.2}) == 0.2
    assert grade("length_bonus", text, "12.4", **spec | {"bonus": 0.1}) == 0.1


def slow_edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        left, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(left[j] + 1, row[j - 1] + 1, left[j - 1] + (x != y)))
    return row[-1]


def slow_common(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        above, row = row, [0]
        for j, y in enumerate(b, 1):
            row.append(above[j - 1] + 1 if x == y else max(above[j], row[j - 1]))
    return row[-1]


@given(a=st.text("abc", max_size=80), b=st.text("abcd", max_size=80))
def test_the_bit_parallel_algorithms_agree_with_the_textbook(a, b):
    assert rewards._edits(a, b) == slow_edits(a, b)
    assert rewards._common_subsequence(a, b) == slow_common(a, b)


# The table, the grade, and the file itself.


def test_every_kind_of_task_has_a_reward():
    assert set(REWARD_FOR_KIND) == {kind.value for kind in TaskKind}
    assert set(REWARD_FOR_KIND.values()) <= set(REWARDS)


def test_the_table_is_closed_and_its_functions_explain_themselves():
    with pytest.raises(TypeError):
        REWARDS["mine"] = min
    for name, reward in REWARDS.items():
        assert reward.__name__ in (name, f"{name}_reward")
        assert reward.__doc__
        answer, gold, *spec = inspect.signature(reward).parameters.values()
        assert (answer.name, gold.name) == ("answer", "gold")
        assert all(keyword.kind is keyword.KEYWORD_ONLY for keyword in spec)


def test_grade_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"'mcqq'.*mcq, multi_choice"):
        grade("mcqq", "A", "A")
    with pytest.raises(ValueError, match=r"tolerence.*its keywords: tolerance"):
        grade("number", "1", "1", tolerence=1)
    with pytest.raises(ValueError, match="duration_s"):
        grade("temporal_iou_edges", "1 to 2", "1 to 2")
    with pytest.raises(ValueError, match="gold"):
        grade("mcq", "A", "A", gold="B")


def test_math_asks_math_verify_when_it_is_there(monkeypatch):
    class Engine:
        parse = staticmethod(lambda text: text.strip("$").replace(" ", "").replace("*", ""))
        verify = staticmethod(lambda gold, answer: sorted(gold) == sorted(answer))

    monkeypatch.setitem(sys.modules, "math_verify", Engine)
    assert grade("math", "x*y", "yx") == 1.0
    assert grade("math", "x*y", "yx", symbolic=False) == 0.0
    monkeypatch.setattr(Engine, "parse", lambda text: 1 / 0)
    assert grade("math", "x*y", "yx") == 0.0
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert grade("math", "x*y", "yx") == 0.0


def test_the_file_stands_alone(tmp_path):
    source = Path(rewards.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 10))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= set(sys.stdlib_module_names)
    (tmp_path / "rewards.py").write_text(source, encoding="utf-8")
    code = "import rewards; print(rewards.grade('mcq', '(B)', 'B'))"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"
    space = {"__name__": "loaded_without_a_module"}
    exec(compile(source, "rewards.py", "exec"), space)
    assert space["grade"]("number", "1.001", "1") == 1.0
