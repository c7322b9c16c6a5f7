"""The one grader: what every reward promises, the formulas, the table and the file itself."""

from __future__ import annotations

import ast
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_helpers import (
    ALL,
    BOX,
    LETTERS,
    NASTY,
    NUMBERS,
    SPAN,
    SPANS,
    TIMES,
    TRACK,
    WORDS,
    any_score,
    response,
    text_of,
)

from schemas import rewards
from schemas.rewards import REWARD_FOR_KIND, REWARDS, grade
from schemas.task import TaskKind

# What every reward promises.


@settings(max_examples=150, deadline=None)
@given(answer=NASTY, gold=NASTY)
def test_every_reward_stays_in_range_and_never_raises(answer, gold):
    for name in ALL:
        for left, right in ((answer, gold), (answer, answer), (response(answer, gold), gold)):
            assert 0.0 <= any_score(name, left, right) <= 1.0


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
