"""What a reasoning is read to claim: its moments, spans, boxes and counts, and nothing else."""

from __future__ import annotations

import time

import pytest
from claim_cases import rollout
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.claim import ClaimKind
from schemas.rewards import cited_times_in
from schemas.rollout import Box, Step
from schemas.task import TaskKind
from transforms.verify.claim_reading import OF_NO_STEP, Reading, counts_in, read_claims
from transforms.verify.steps import reasoning_steps

TIME, SPAN, BOX, COUNT = ClaimKind.TIME, ClaimKind.SPAN, ClaimKind.BOX, ClaimKind.COUNT
CORNERS = (0.1, 0.2, 0.3, 0.5)
INLINE = "[0.1, 0.2, 0.3, 0.5]"


def read(text: str, answer: str = "B", kind: TaskKind = TaskKind.MCQ) -> list[Reading]:
    return list(read_claims(rollout(text, answer), kind))


def found(text: str, kind: ClaimKind) -> list[tuple[float, float]]:
    return [
        (one.claim.start_s, one.claim.end_s) for one in read(text) if one.claim.kind is kind
    ]  # fmt: skip


# Times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moments", "spans"),
    [
        ("At 3.20 s the cup falls.", [3.2], []),
        ("From 1.00 s to 2.50 s it is red.", [], [(1.0, 2.5)]),
        ("It is red between 3 and 5 seconds.", [], [(3.0, 5.0)]),
        ("From 1.00 s until 2.50 s it is red; at 4.00 s it is blue.", [4.0], [(1.0, 2.5)]),
        ("From 1.00 s to 2.50 s it is red, and at 2.50 s it turns blue.", [], [(1.0, 2.5)]),
        ("At 01:02.5 the door opens.", [62.5], []),
        ("At 3.20 s and again at 3.20 s.", [3.2], []),
        # Lengths, scores and ratios are no times.
        ("It stays for 3 s.", [], []),
        ("This lasts 2 to 3 s.", [], []),
        ("The score goes from 2 to 5.", [], []),
        ("Nothing is said of a time.", [], []),
    ],
)
def test_moments_and_spans(
    text: str, moments: list[float], spans: list[tuple[float, float]]
) -> None:
    assert found(text, TIME) == [(time_s, time_s) for time_s in moments]
    assert found(text, SPAN) == spans


def test_a_span_without_a_unit_counts_where_it_is_the_answer() -> None:
    text = "The longest shot is 3.60 to 7.60."
    asked = read(text, "3.60 to 7.60", TaskKind.TEMPORAL_GROUNDING)
    assert [one.claim.kind for one in asked] == [SPAN]
    assert read(text, "3.60 to 7.60", TaskKind.FREE_TEXT) == []
    assert read(text, "3.50 to 7.60", TaskKind.TEMPORAL_GROUNDING) == []


def test_the_span_given_beside_a_step_is_its_claim() -> None:
    steps = (
        Step(text="The ball falls at 1.20 s.", start_s=1.0, end_s=1.4),
        Step(text="It lies there.", start_s=2.0, end_s=2.0),
        Step(text="So the answer is B."),
    )
    claims = [one.claim for one in read_claims(rollout("unused", steps=steps), TaskKind.MCQ)]
    assert [(one.step, one.kind, one.start_s, one.end_s) for one in claims] == [
        (0, SPAN, 1.0, 1.4),
        (0, TIME, 1.2, 1.2),
        (1, TIME, 2.0, 2.0),
    ]


# Boxes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time_s", "label"),
    [
        (f"The <obj>red cup</obj><box>{INLINE}</box>at<t>1.5</t>s stands.", 1.5, "red cup"),
        (f"At 3.00 s the <obj>hat</obj><box>{INLINE}</box>at<t>1.5</t>s is away.", 1.5, "hat"),
        (f"At 2.00 s it is at {INLINE}.", 2.0, ""),
        (f"At 2.00 s it is away, at 4.00 s it is at {INLINE}, at 6.00 s gone.", 4.0, ""),
        (f"It is at {INLINE} at 5.00 s.", 5.0, ""),
        (f"It is at {INLINE}.", -1.0, ""),
        ("It is at (0.1, 0.2, 0.3, 0.5).", -1.0, ""),
        # The window before a box must not begin within a number.
        (f"At 3.00 s {'x' * 99} 13.25 s {'x' * 12} {INLINE}", 13.25, ""),
        (f"At 3.00 s {'x' * 99} 13.25 s {'x' * 112} {INLINE}", 3.0, ""),
    ],
)
def test_boxes_in_the_text(text: str, time_s: float, label: str) -> None:
    [box] = [one for one in read(text) if one.claim.kind is BOX]
    assert (box.claim.start_s, box.claim.end_s, box.label) == (time_s, time_s, label)
    assert box.claim.box == CORNERS and box.claim.step == 0


@pytest.mark.parametrize(
    ("text", "is_box"),
    [
        ("It is at [120, 40, 300, 30].", False),
        ("Its box is [120, 40, 300, 30].", True),
        ("It is at [120, 40, 300, 30] as a box.", True),
        ("It is at [120, 40, 300, 200].", True),
        ("The order is [3, 1, 2, 4].", False),
        ("Frames at [0.5, 1.0, 1.5, 2.0].", False),
        ("Frames at [10, 20, 30, 40].", False),
        ("It is at [0.5, 0.2, 0.1, 0.4].", True),
        ("It is at [0, 0, 1, 1].", True),
        ("It is at [0.1, 0.2, 0.3].", False),
    ],
)
def test_which_four_numbers_are_a_box(text: str, is_box: bool) -> None:
    assert any(one.claim.kind is BOX for one in read(text)) is is_box


def boxes_of(text: str, *boxes: Box) -> list[Reading]:
    claims = read_claims(rollout(text, boxes=boxes), TaskKind.MCQ)
    return [one for one in claims if one.claim.kind is BOX]


def cited(label: str, t_s: float = 4.5) -> Box:
    return Box(label=label, t_s=t_s, xyxy_norm=CORNERS)


STORY = "The knife is new. At 4.50 s she lowers a Knife. At 6.00 s the knives and a knife lie there"


@pytest.mark.parametrize(
    ("box", "step"),
    [
        (cited("knife"), 1),
        (cited("knife", 6.0), 2),
        (cited("knife", 7.0), 0),
        (cited("knives", 7.0), 2),
        (cited("fork"), OF_NO_STEP),
        (cited("nife"), OF_NO_STEP),
        (cited(""), OF_NO_STEP),
    ],
)
def test_a_cited_box_belongs_to_the_step_that_names_it(box: Box, step: int) -> None:
    [one] = boxes_of(STORY, box)
    texts = reasoning_steps(rollout(STORY))
    assert one.claim.step == step and one.label == box.label
    assert one.claim.text == (texts[step] if step >= 0 else box.label)
    assert one.claim.start_s == one.claim.end_s == box.t_s


def test_a_cited_box_that_is_written_in_a_step_is_one_claim() -> None:
    text = f"A fork is there. At 4.50 s it is at {INLINE}. The fork is away."
    [one] = boxes_of(text, cited("fork"))
    assert (one.claim.step, one.label) == (1, "fork")
    # At another time it is another claim; without a time it gets that of the box.
    assert len(boxes_of(text, cited("fork", 6.0))) == 2
    [one] = boxes_of(f"It is at {INLINE}.", cited("fork", 6.0))
    assert (one.claim.start_s, one.claim.end_s, one.label) == (6.0, 6.0, "fork")


# Counts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Three red circles are seen.", [3]),
        ("There are 3 cuts.", [3]),
        ("Two dogs and three small cats play.", [2, 3]),
        ("There are 2 red and 4 blue balls.", [4]),
        ("One can see 22 players.", [22]),
        ("Twelve people wait.", [12]),
        ("There is one dog.", [1]),
        ("There is exactly one red circle.", [1]),
        ("Zero birds are left.", [0]),
        ("It turns red for 3 seconds.", []),
        ("At 3.20 s it falls.", []),
        ("Frame 12 shows it.", []),
        ("In frame 12 birds fly.", []),
        ("It blinks 3 times.", []),
        ("One of them leaves.", []),
        ("Option B says there are three cuts.", []),
        ("The glass is half full.", []),
        ("It goes from 2 to 5 this way.", []),
    ],
)
def test_counts(text: str, counts: list[int]) -> None:
    assert counts_in(text) == counts


def test_a_count_is_of_the_time_that_its_step_names() -> None:
    assert found("There are 3 cuts.", COUNT) == [(-1.0, -1.0)]
    assert found("At 2.00 s there are two balls.", COUNT) == [(2.0, 2.0)]
    assert found("The three cuts are at 2.00 s, 3.60 s and 7.60 s.", COUNT) == [(2.0, 7.6)]


def test_a_step_without_any_of_those_claims_nothing() -> None:
    assert read("A man walks by. He looks happy. So the answer is B.") == []


# Any text ----------------------------------------------------------------------------------------

PARTS = (
    "At 3.20 s ", "from 1.00 s to 2.50 s ", "[0.1, 0.2, 0.3, 0.4] ", "[0.4, 0.1, 0.2, 0.9] ", ". ",
    "the cup ", "three cups ", "e.g. ", "\n", "1. ", "<box>", "</box>", "at<t>9</t>s ", "[", "{",
    '{"time": [1, 2]} ', "5 to 3 s ", "00:01:02.5 ", "99999999 s ", "(", "<obj>cup</obj>", "- ",
)  # fmt: skip
ANY = st.one_of(st.text(max_size=300), st.lists(st.sampled_from(PARTS), max_size=30).map("".join))


@settings(max_examples=300, deadline=None)
@given(ANY, ANY, st.sampled_from(TaskKind))
@example("At 1 s.\n\n \n2.", "", TaskKind.TEMPORAL_GROUNDING)
def test_reading_takes_any_text(text: str, answer: str, kind: TaskKind) -> None:
    made = rollout(text, answer, boxes=(cited("cup", 3.2), cited("", 9.0), cited(text, 1.0)))
    texts = reasoning_steps(made)
    readings = read_claims(made, kind)
    assert len(readings) == len(set(readings))
    claims = [one.claim for one in readings]
    for claim in claims:
        if claim.step != OF_NO_STEP:
            assert claim.text == texts[claim.step]
        assert claim.start_s <= claim.end_s
        assert (claim.kind is TIME) <= (claim.start_s == claim.end_s)
        assert (claim.kind is BOX) == bool(claim.box)
        assert (claim.kind is COUNT) == (claim.number >= 0)
    # Whatever time a step cites is looked at.
    for number, step in enumerate(texts):
        named = [t for c in claims if c.step == number for t in (c.start_s, c.end_s)]
        assert all(any(abs(t - n) < 1e-5 for n in named) for t in cited_times_in(step))
    assert all(any(c.box == CORNERS and c.start_s == t for c in claims) for t in (3.2, 9.0, 1.0))


@pytest.mark.parametrize(
    "unit",
    ["[", "1 s ", "3.20 s. ", "[0.1, 0.2, 0.3, 0.4] ", "<box>[1,2,3,4]</box>", "from 1 s to 2 s ",
     "two red ", ". ", "1. ", "- ", "e.g. ", "[[1,2],", '{"3": [0.1,0.2,0.3,0.4]} '],
)  # fmt: skip
def test_reading_is_linear(unit: str) -> None:
    """A hundred thousand characters are read in about four times the time of a quarter of them."""

    def seconds(chars: int) -> float:
        text = (unit * (chars // len(unit) + 1))[:chars]
        labels = [cited("circle", number / 100) for number in range(64)]
        made = rollout(text, "1 to 2", boxes=tuple(labels))
        taken = []
        for _ in range(3):
            begun = time.thread_time()
            read_claims(made, TaskKind.TEMPORAL_GROUNDING)
            taken.append(time.thread_time() - begun)
        return min(taken)

    # Quadratic would be 16 times as much.
    assert seconds(100_000) < 9 * seconds(25_000) + 0.2
