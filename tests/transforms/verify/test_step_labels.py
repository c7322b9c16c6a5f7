"""The steps of a reasoning, and their labels: each rule alone decides one of these."""

from __future__ import annotations

import pytest
from claim_cases import attempt, rollout
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.rollout import Step
from transforms.verify.steps import has_labels, reasoning_steps, sentences, step_labels

YES, NO, UNCLEAR, NOT_ASKED = Shown.YES, Shown.NO, Shown.UNCLEAR, Shown.NOT_ASKED


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("At 3.20 s it falls. It lies.", ["At 3.20 s it falls.", "It lies."]),
        ("It falls at 3.20 s. Then it lies.", ["It falls at 3.20 s.", "Then it lies."]),
        ("Red things, e.g. Ferraris, pass.", ["Red things, e.g. Ferraris, pass."]),
        ("After 3.2 sec. it falls.", ["After 3.2 sec. it falls."]),
        ("At approx. 3 s (i.e. 3.00 s) it is red.", ["At approx. 3 s (i.e. 3.00 s) it is red."]),
        ("It falls! Does it? Yes.", ["It falls!", "Does it?", "Yes."]),
        ("It falls! does it? no", ["It falls!", "does it?", "no"]),
        ('He says "go." Then he goes.', ['He says "go."', "Then he goes."]),
        ("Wait... Now it falls.", ["Wait...", "Now it falls."]),
        ("one line\nanother line\n\n", ["one line", "another line"]),
        ("1. It falls.\n2. It lies.", ["1. It falls.", "2. It lies."]),
        ("Step 1: It falls. Step 2. It lies.", ["Step 1: It falls.", "Step 2. It lies."]),
        ("- It falls.\n* It lies.", ["- It falls.", "* It lies."]),
        ("The number is\n3.", ["The number is", "3."]),
        ("球が落ちる。答えはB。", ["球が落ちる。", "答えはB。"]),
        ("So the answer is B. That is all", ["So the answer is B.", "That is all"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert list(sentences(text)) == parts


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text("aB1. \n-!e.g(", max_size=60)))
def test_sentences_lose_nothing(text: str) -> None:
    parts = sentences(text)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part and part == part.strip() for part in parts)


def test_steps_are_as_given_else_sentences() -> None:
    assert reasoning_steps(rollout("One. Two.")) == ("One.", "Two.")
    steps = (Step(text=" One. Two. "), Step(text="Three."))
    assert reasoning_steps(rollout("One. Two.\nThree.", steps=steps)) == ("One. Two.", "Three.")


def checked(step: int, *, exists: bool = True, shown: Shown = YES) -> CheckedClaim:
    claim = Claim(step=step, kind=ClaimKind.TIME, text="One.", start_s=1.0, end_s=1.0)
    return CheckedClaim(claim=claim, exists=exists, shown=shown)


@pytest.mark.parametrize(
    ("claims", "label"),
    [
        ([checked(0)], "good"),
        ([checked(0), checked(0, shown=UNCLEAR)], "good"),
        ([checked(0), checked(0, shown=NO)], "bad"),
        ([checked(0), checked(0, exists=False, shown=NOT_ASKED)], "bad"),
        ([checked(0, shown=UNCLEAR)], "unknown"),
        ([checked(0, shown=NOT_ASKED)], "unknown"),
        ([], "unknown"),
        # What other steps claim, and boxes of no step, do not count.
        ([checked(1, shown=NO), checked(-1, shown=NO)], "unknown"),
        ([checked(0), checked(1, shown=NO), checked(-1, shown=NO)], "good"),
        ([checked(1)], "unknown"),
    ],
)
def test_the_label_of_a_step(claims: list[CheckedClaim], label: str) -> None:
    assert step_labels(attempt(rollout("One. Two."), claims))[0] == label


def test_there_is_a_label_for_each_step() -> None:
    made = attempt(rollout("One. Two. Three."), [checked(1), checked(2, shown=NO)])
    assert step_labels(made) == ("unknown", "good", "bad")
    assert step_labels(attempt(rollout(" "))) == ()


@given(st.lists(st.tuples(st.sampled_from(Shown), st.booleans(), st.integers(-1, 2)), max_size=5))
def test_labels_are_known_without_reading_the_steps(
    found: list[tuple[Shown, bool, int]],
) -> None:
    claims = [
        CheckedClaim(
            claim=Claim(step=step, kind=ClaimKind.TIME, text="x"), exists=exists, shown=shown
        )
        for shown, exists, step in found
    ]
    made = attempt(rollout("One. Two. Three."), claims)
    assert has_labels(made) == any(label != "unknown" for label in step_labels(made))
