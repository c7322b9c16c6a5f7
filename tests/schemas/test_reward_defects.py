"""Defects found in the field, each with its test."""

from __future__ import annotations

import pytest
from reward_helpers import ALL, any_score, response

from schemas.rewards import REWARD_FOR_KIND, grade

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
