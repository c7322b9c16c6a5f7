"""Labels, which carry what is graded, and the total: a bad label is refused, a bad reply is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_helpers import ROWS, label_of, response, sample_of

from schemas.rewards import FORMAT_WEIGHT, make_label, read_label, score_response

# Labels.


@given(row=st.sampled_from(ROWS))
def test_a_label_gives_back_what_it_was_made_of(row):
    fn, gold, spec = row
    label = make_label(sample_of(fn, gold, json.dumps(spec)))
    assert read_label(label) == (fn, gold, spec)
    assert label == make_label(sample_of(fn, gold, json.dumps(spec, indent=2)))
    assert label.startswith('{"fn":"') and "\n" not in label


def test_the_label_of_a_sample_without_keywords_and_with_other_letters():
    assert make_label(sample_of("mcq", "B", "")) == '{"fn":"mcq","gold":"B","spec":{}}'
    assert '"gold":"die Tür"' in make_label(sample_of("free_text", "die Tür"))


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        ("B", "Expecting value"),
        ("", "Expecting value"),
        ("3.20 to 7.75", "Extra data"),
        ("3", "the keys fn, gold, spec"),
        ("[3.2, 7.75]", "the keys fn, gold, spec"),
        ('{"time": [3.2, 7.75]}', "the keys fn, gold, spec"),
        ('{"fn": "mcq", "gold": "B"}', "the keys fn, gold, spec"),
        ('{"fn": "mcq", "gold": "B", "spec": {}, "w": 1}', "the keys fn, gold, spec"),
        (None, "NoneType"),
        (["B"], "not list"),
        ("[" * 100_000, "recursion"),
        ('{"fn": "mcq", "gold": 3, "spec": {}}', "gold must be a text"),
        ('{"fn": "mcq", "gold": "B", "spec": "{}"}', "spec an object"),
        ('{"fn": ["mcq"], "gold": "B", "spec": {}}', "unhashable"),
        ('{"fn": null, "gold": "B", "spec": {}}', "no reward is called None"),
        (label_of("mcqq", "B"), "no reward is called 'mcqq'"),
        (label_of("number", "3", {"tolerence": 1}), "its keywords: tolerance"),
        (label_of("number", "3", {"tolerance": "1"}), "not supported between"),
        (label_of("temporal_iou_edges", "1 to 2"), "duration_s"),
        (label_of("temporal_iou_edges", "1 to 2", {"duration_s": 0}), "earns 0"),
        (label_of("mcq", ""), "earns 0"),
        (label_of("mcq", "Banana"), "earns 0"),
        (label_of("number", "many"), "earns 0"),
        (label_of("number", "NaN"), "earns 0"),
        (label_of("segments_iou", "7.75 to 3.20"), "earns 0"),
        (label_of("box_iou", "[0.3, 0.2, 0.1, 0.4]"), "earns 0"),
        (label_of("grounded_qa", "B"), "earns 0.5"),
        (label_of("free_text", "a " * 60_000), "earns 0"),
        (label_of("format", "B"), "whole responses"),
        (label_of("cited_times", "1 to 2"), "whole responses"),
    ],
)
def test_a_label_that_nothing_could_satisfy_is_refused(label, wrong):
    """A plain gold text isn't taken for a label either: by which function should it be graded?"""
    with pytest.raises(ValueError, match=wrong) as caught:
        score_response(response("so", "B"), label)
    assert len(str(caught.value)) < 1_000


def test_samples_that_no_function_can_grade_get_no_label():
    with pytest.raises(ValueError, match="style 'model'"):
        make_label(sample_of("free_text", "a cat", style="model"))
    with pytest.raises(ValueError, match="Expecting"):
        make_label(sample_of("mcq", "B", "{"))
    with pytest.raises(ValueError, match="earns 0"):
        make_label(sample_of("mcq", "Banana"))
    with pytest.raises(ValueError, match="JSON"):
        make_label(sample_of("number", "3", '{"tolerance": NaN}'))


# The formula.


@pytest.mark.parametrize(
    ("reply", "answer", "form"),
    [
        (response("so", "B"), 1, 1),
        (response("so", "C"), 0, 1),
        ("<answer>B</answer>", 1, 0),
        ("<think>so</think> then <answer>B</answer>", 1, 0),
        ("so</think><answer>B</answer>", 1, 0),
        ("B", 0, 0),
        ("<think>so</think>B", 0, 0),
        ("<think>so</think><answer>A</answer><answer>B</answer>", 0, 0),
        ("<think><answer>B</answer></think>", 0, 0),
        ("<answer>B</answer>" + response("so", "B"), 0, 0),
        (response("", "B"), 1, 0),
    ],
)
def test_only_what_stands_in_the_answer_part_is_graded(reply, answer, form):
    label = label_of("mcq", "B")
    for weight in (0.0, FORMAT_WEIGHT, 0.5, 1.0):
        total = (1 - weight) * answer + weight * form
        assert score_response(reply, label, weight) == pytest.approx((total, answer, form))
    assert score_response(reply, label) == score_response(reply, label, 0.1)


def test_padding_a_reply_pays_nothing():
    label = label_of("mcq", "B")
    short, long = response("so", "B"), response("so " * 5_000 + "wait, first, then, because", "B")
    assert score_response(long, label) == score_response(short, label)
    for padded in ("B, B", "A or B", "B " * 50, "A) B) C)"):
        assert score_response(response("so", padded), label).answer == 0.0
