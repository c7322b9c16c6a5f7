"""Defects found in the field, and what each of the rewards in use must not do."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_helpers import ALL, BOX, LETTERS, SPAN, TIMES, any_score, response, text_of

from schemas.rewards import MAX_CHARS, REWARD_FOR_KIND, REWARDS, grade

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


# The rewards in use, as recipes number them: (what is right, what is wrong, the gold).


def cite(box, t):
    return f"<obj>cup</obj><box>{box}</box>at<t>{t}</t>s"


LONG = response(" ".join(f"word{i}" for i in range(400)))
SPANS = "1 to 2; 5 to 6"
BOXES = '{"1": [0, 0, 2, 2], "2": [1, 1, 3, 3]}'
FAR = '{"1": [5, 5, 6, 6], "2": [5, 5, 6, 6]}'
RECIPES = {
    1: {"format": (response("so"), "B", "")},
    2: {"mcq": ("B", "C", "B"), "multi_choice": ("C,A", "B", "A,C")},
    3: {"number": ("12.50", "13", "12.5")},
    4: {"regression": ("10", "30", "10"), "mra": ("10", "30", "10")},
    5: {"count": ("13", "90", "13"), "exact_count": ("13", "14", "13")},
    6: {"ocr": ("EXIT to street", "no way", "EXIT to street")},
    7: {"free_text": ("The cat sat.", "dogs run", "the cat sat")},
    8: {"math": ("0.75", "1/3", "3/4")},
    9: {"temporal_iou": ("3-7 s", "8 to 9", "3 to 7"), "temporal_iou_edges": ("3-7", "9-9", "3-7")},
    10: {"segments_iou": (SPANS, "3 to 4", SPANS), "segments_f1_giou": (SPANS, "3 to 4", SPANS)},
    11: {"grounded_qa": ("B; 3 to 7", "C; 8 to 9", "B; 3 to 7")},
    12: {
        "box_iou": ("[0, 0, 2, 2]", "[5, 5, 6, 6]", "[0, 0, 2, 2]"),
        "tracking": (BOXES, FAR, BOXES),
        "spatio_temporal": (
            f'{{"time": [1, 3], "boxes": {BOXES}}}',
            f'{{"time": [5, 6], "boxes": {FAR}}}',
            f'{{"time": [1, 3], "boxes": {BOXES}}}',
        ),
    },
    13: {"ordering": ("BAC", "C,A,B", "B,A,C"), "ordering_pairs": ("A,B,C", "C,B,A", "A,B,C")},
    14: {"cited_times": ("at 5 s", "at 90 s", "4 to 6")},
    15: {"cited_boxes": (cite([0, 0, 2, 2], 3), cite([0, 0, 2, 2], 9), cite([0, 0, 2, 2], 3))},
    16: {"length_bonus": (LONG, response("so"), "B")},
    17: {"consistency": (response("So it is B."), response("So it is C."), "B")},
}
CASES = {name: case for recipe in RECIPES.values() for name, case in recipe.items()}
OF_ANSWERS = sorted(set(CASES) - {"format", "cited_times", "cited_boxes"} - {"length_bonus"})
OF_ANSWERS.remove("consistency")
OF_SPANS = ["temporal_iou", "temporal_iou_edges", "segments_iou", "segments_f1_giou"]
PADDING = [" and that is that", " because first, then, finally", "\nwait, let me look again", "!!!"]


def test_every_recipe_has_its_reward_and_no_reward_is_without_a_case():
    assert sorted(RECIPES) == list(range(1, 18))
    assert set(CASES) == set(REWARDS)


@pytest.mark.parametrize("name", ALL)
def test_a_reward_tells_right_from_wrong(name):
    right, wrong, gold = CASES[name]
    assert any_score(name, right, gold) == pytest.approx(0.2 if name == "length_bonus" else 1.0)
    assert any_score(name, wrong, gold) == 0.0 or name == "segments_f1_giou"
    assert any_score(name, wrong, gold) < any_score(name, right, gold) / 3


@pytest.mark.parametrize("name", sorted(set(ALL) - {"format", "consistency"}))
def test_a_gold_that_says_nothing_pays_nothing(name):
    for answer in CASES[name][:2]:
        for gold in ("", " ", "...", "\u3000"):
            assert any_score(name, answer, gold) == 0.0


@pytest.mark.parametrize("name", ALL)
def test_padding_and_repetition_pay_nothing(name):
    right, wrong, gold = CASES[name]
    for text in (right, wrong):
        score = any_score(name, text, gold)
        for padding in PADDING:
            assert any_score(name, text + padding, gold) <= score
        for between in (" ", "; ", "\n"):
            assert any_score(name, between.join([text] * 20), gold) <= score


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_a_part_of_the_gold_is_not_the_gold(name):
    gold = CASES[name][2]
    parts = {gold[:i].strip(" ;,.") for i in range(len(gold))} - {gold}
    parts |= {gold[i:].strip(" ;,.") for i in range(1, len(gold))} - {gold}
    for part in parts:
        assert any_score(name, part, gold) < 1.0, part


@pytest.mark.parametrize("name", sorted(set(ALL) - {"format"}))
def test_a_right_answer_of_monstrous_length_earns_nothing(name):
    right, _, gold = CASES[name]
    assert any_score(name, right + " " * MAX_CHARS, gold) == 0.0
    assert any_score(name, right, gold + " " * MAX_CHARS) == 0.0


# What is no number, no span, no box.


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e999", "Infinity", "-1e999"])
def test_what_is_not_finite_is_no_number(text):
    for name in ("number", "regression", "mra", "count", "exact_count"):
        for answer, gold in ((text, "3"), ("3", text), (text, text)):
            assert any_score(name, answer, gold) == 0.0
    span, box = f"{text} to {text}", f"[{text}, 0, {text}, 2]"
    for name in (*OF_SPANS, "grounded_qa", "cited_times"):
        assert any_score(name, span, span) == any_score(name, span, "3 to 7") == 0.0
    assert any_score("box_iou", box, box) == 0.0
    for name in ("tracking", "spatio_temporal", "cited_boxes"):
        for bad in (f'{{"1": {box}}}', f'{{"{text}": [0, 0, 2, 2]}}', cite(box, 3)):
            assert any_score(name, bad, bad) == 0.0
    assert grade("number", "3", "3", tolerance=float("nan")) == 1.0
    assert grade("number", "4", "3", tolerance=float("nan")) == 0.0


@given(span=SPAN)
def test_a_reversed_span_is_none(span):
    right, turned = text_of([span]), text_of([span[::-1]])
    for name in OF_SPANS:
        for answer, gold in ((turned, right), (right, turned), (turned, turned)):
            assert any_score(name, answer, gold) == 0.0
        both = any_score(name, f"{right}; {turned}", right)
        assert both == pytest.approx(1.0)
    assert grade("grounded_qa", f"B; {turned}", f"B; {right}") == 0.5
    assert any_score("cited_times", f"at {span[0]} s", turned) == 0.0


def test_defect_empty_unions_in_every_reward_that_divides_by_one():
    for name in OF_SPANS:
        assert any_score(name, "3 to 3", "4 to 4") == 0.0
        assert any_score(name, "3 to 3", "3 to 7") == 0.0 or name == "segments_f1_giou"
        assert any_score(name, "3 to 3", "3 to 3") == 1.0
    assert grade("grounded_qa", "B; 3 to 3", "B; 4 to 4") == 0.5
    assert grade("cited_times", "at 3 s", "3 to 3") == 1.0


@given(box=BOX, x=st.integers(0, 100), y=st.integers(0, 100))
def test_a_box_without_area_overlaps_only_itself(box, x, y):
    for flat in ([x, y, x, y], [x, y, x, y + 9], [x, y, x + 9, y]):
        other = [v + 1 for v in flat]
        for name, form in (
            ("box_iou", "{}"),
            ("tracking", '{{"3": {}}}'),
            ("cited_boxes", "<box>{}</box>at<t>3</t>s"),
        ):
            written = [form.format(b) for b in (flat, box, other)]
            assert any_score(name, written[0], written[0]) == 1.0
            assert any_score(name, written[0], written[1]) == 0.0
            assert any_score(name, written[1], written[0]) == 0.0
            assert any_score(name, written[0], written[2]) == 0.0


@given(box=BOX)
def test_a_box_with_corners_exchanged_is_none(box):
    x1, y1, x2, y2 = box
    for turned in ([x2, y1, x1, y2], [x1, y2, x2, y1], [x2, y2, x1, y1], box[:3], [*box, 1]):
        assert any_score("box_iou", str(turned), str(box)) == 0.0
        assert any_score("box_iou", str(turned), str(turned)) == 0.0
        tracks = [json.dumps({"3": b}) for b in (turned, box)]
        assert any_score("tracking", *tracks) == any_score("tracking", *tracks[::-1]) == 0.0
        assert any_score("cited_boxes", cite(turned, 3), cite(box, 3)) == 0.0


# Other scripts.


@pytest.mark.parametrize("strange", ["３", "٣", "³", "Ⅲ", "𝟑", "三"])
def test_only_ascii_digits_make_a_number(strange):
    for name in ("regression", "mra", "exact_count", "ordering", "box_iou"):
        assert any_score(name, strange, "3") == 0.0
    assert grade("temporal_iou", f"{strange} to 7", "3 to 7") < 1.0


@pytest.mark.parametrize("strange", ["Ｂ", "В", "Β", "ⓑ", "𝐁", "ß", "B\u0301", "\u202eB"])
def test_only_ascii_letters_make_a_choice(strange):
    for name in ("mcq", "multi_choice", "ordering", "ordering_pairs"):
        assert any_score(name, strange, "B") == any_score(name, strange, strange) == 0.0


def test_words_of_other_scripts_are_words():
    assert grade("free_text", "STRASSE", "straße") == grade("ocr", "出口", "出口") == 1.0
    assert grade("free_text", "кошка спит", "Кошка спит!") == 1.0
    assert grade("free_text", "🐈 🐈", "🐈 🐈") == grade("free_text", "!!", "!!") == 0.0
    assert grade("consistency", response("Also ist es die Tür.", "die Tür"), "") == 1.0


# Closer is never worth less, and where two texts are equals, either may be the gold.


@given(box=BOX, near=st.integers(0, 200), far=st.integers(0, 200))
def test_a_box_further_away_earns_no_more(box, near, far):
    near, far = sorted((near, far))
    moved = [[box[0] + d, box[1], box[2] + d, box[3]] for d in (near, far)]
    for name, form in (
        ("box_iou", "{}"),
        ("tracking", '{{"3": {}}}'),
        ("spatio_temporal", '{{"time": [1, 4], "boxes": {{"3": {}}}}}'),
        ("cited_boxes", "<box>{}</box>at<t>3</t>s"),
    ):
        scores = [any_score(name, form.format(b), form.format(box)) for b in moved]
        assert scores[1] <= scores[0]
    other = [any_score("box_iou", str(moved[0]), str(b)) for b in (box, moved[1])]
    turned = [any_score("box_iou", str(b), str(moved[0])) for b in (box, moved[1])]
    assert other == pytest.approx(turned)


@given(span=SPAN, dt=TIMES)
def test_defect_a_citation_too_early_earns_what_one_too_late_does(span, dt):
    start, end = (t + 30 for t in span)
    gold = text_of([(start, end)])
    early, late = (grade("cited_times", f"at {t:.2f} s", gold) for t in (start - dt, end + dt))
    assert early == pytest.approx(late, abs=1e-6)


@given(letters=LETTERS, data=st.data())
def test_a_pair_more_in_the_right_order_earns_more(letters, data):
    """Kendall's tau, as a share: 1 - 2 * inversions / (n * (n - 1))."""
    mixed, n = data.draw(st.permutations(letters)), len(letters)
    place = [letters.index(letter) for letter in mixed]
    wrong = sum(place[i] > place[j] for j in range(n) for i in range(j))
    expected = 1 - wrong / (n * (n - 1) / 2) if n > 1 else 1.0
    scores = [
        grade("ordering_pairs", ",".join(a), ",".join(b))
        for a, b in ((mixed, letters), (letters, mixed))
    ]
    assert scores == pytest.approx([expected] * 2)
    for name in ("ordering", "mcq", "math"):
        assert any_score(name, mixed[0], letters[0]) == any_score(name, letters[0], mixed[0])


@given(letters=LETTERS)
def test_each_right_letter_more_earns_more(letters):
    gold = ",".join(letters)
    scores = [grade("multi_choice", ",".join(letters[:k]), gold) for k in range(len(letters) + 1)]
    assert scores == pytest.approx([k / len(letters) for k in range(len(letters) + 1)])


@pytest.mark.parametrize("name", ["ocr", "free_text"])
def test_each_wrong_word_more_earns_less(name):
    gold = "a dog runs over the wet mat"
    words = gold.split()
    scores = [any_score(name, " ".join(["x"] * k + words[k:]), gold) for k in range(len(words) + 1)]
    assert scores[0] == 1.0 and scores[-1] == 0.0
    assert all(more < fewer for fewer, more in pairwise(scores))


def test_both_halves_of_a_grounded_answer_count():
    gold = "B; 2 to 6"
    answers = ["C; 8 to 9", "C; 4 to 8", "C; 2 to 6", "B; 4 to 8", gold]
    scores = [grade("grounded_qa", answer, gold) for answer in answers]
    assert scores == sorted(scores) and scores[0] == 0.0 and scores[-1] == 1.0


def test_the_length_bonus_is_paid_within_the_band_only():
    words = [f"word{i}" for i in range(600)]
    paid = [
        grade("length_bonus", response(" ".join(words[:n])), "B") for n in (100, 321, 322, 512, 513)
    ]
    assert paid == [0.0, 0.0, 0.2, 0.2, 0.0]
