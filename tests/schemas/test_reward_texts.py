"""Texts that want more than they are worth: padded, hedged, hostile, monstrous."""

from __future__ import annotations

import time

import pytest
from reward_helpers import ALL, any_score, response

from schemas.rewards import (
    cited_times_in,
    grade,
    parse_intervals,
    parse_number,
    parse_response,
)

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
    """Eight times the text takes eight times as long, not 64: a ratio, so on a busy machine too."""
    for unit in ("<think>", "1 to ", "[", "<think>a"):
        took_s = []
        for size in (250_000, 2_000_000):
            text = unit * (size // len(unit))
            started = time.process_time()
            parse_response(text)
            parse_intervals(text)
            parse_number(text)
            cited_times_in(text)
            took_s.append(time.process_time() - started)
        assert took_s[1] < 20 * took_s[0] + 0.5, unit
    assert parse_response(response("x" * 2_000_000)).well_formed


def test_a_monstrous_text_earns_nothing():
    assert grade("free_text", "a " * 60_000, "a") == grade("mcq", "B) " + "x" * 100_000, "B") == 0.0
