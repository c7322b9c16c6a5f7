"""What is asked about the claims of a reasoning, and what the replies make of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from claim_cases import OPTIONS, attempt, case, media, replies, rollout, says
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case import Case
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.rollout import Box, Rollout
from schemas.task import Answer, TaskKind
from schemas.view import Condition, View
from transforms.annotate.replies import MAX_REPLY_CHARS
from transforms.annotate.teacher import Purpose, Reply, Request
from transforms.annotate.views import frames_of_view
from transforms.verify.checks import EDGE_S, Thresholds
from transforms.verify.claims import (
    MAX_LOOKED_UP,
    checked_claims,
    claim_requests,
    conclusion_requests,
    conclusions,
    exists,
    majority,
    view_of,
    vote,
)
from transforms.verify.conclude import told
from transforms.verify.conditions import SAMPLE_FROM
from transforms.verify.decide import Examined

YES, NO, UNCLEAR, NOT_ASKED = Shown.YES, Shown.NO, Shown.UNCLEAR, Shown.NOT_ASKED
CORNERS = (0.1, 0.2, 0.3, 0.5)


def claim(start_s: float = -1.0, end_s: float = -1.0, **fields: object) -> Claim:
    known = {"step": 0, "kind": ClaimKind.TIME, "text": "x", "start_s": start_s, "end_s": end_s}
    return Claim.model_validate(known | fields)


# Existence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (claim(0.0, 0.0), True),
        (claim(8.0, 8.0), True),
        (claim(8.0 + EDGE_S, 8.0 + EDGE_S), True),
        (claim(8.06, 8.06), False),
        (claim(7.0, 8.06), False),
        (claim(2.0, 1.0), False),
        (claim(-1.0, 2.0), False),
        (claim(), True),
        (claim(box=CORNERS), True),
        (claim(1.0, 1.0, box=(0.0, 0.0, 1.0, 1.0)), True),
        (claim(9.0, 9.0, box=CORNERS), False),
        (claim(box=(0.3, 0.2, 0.1, 0.5)), False),
        (claim(box=(0.1, 0.5, 0.3, 0.2)), False),
        (claim(box=(0.1, 0.2, 0.1, 0.5)), False),
        (claim(box=(-0.1, 0.2, 0.3, 0.5)), False),
        (claim(box=(0.1, -0.2, 0.3, 0.5)), False),
        (claim(box=(0.1, 0.2, 1.1, 0.5)), False),
        (claim(box=(0.1, 0.2, 0.3, 1.5)), False),
    ],
)
def test_what_exists(said: Claim, there: bool) -> None:
    assert exists(said, media()) is there


# Views -------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_frame_on_screen_at_a_cited_moment_is_shown(data: st.DataObject) -> None:
    fps = data.draw(st.sampled_from([1, 2, 5, 10, 24, 25, 30, 60, 120]))
    total = data.draw(st.integers(1, 400))
    known = media(fps, total)
    time_s = round(data.draw(st.floats(0.0, known.duration_s)), 2)
    chosen = range(0, total, max(data.draw(st.sampled_from([fps // 2, fps, 2 * fps])), 1))
    said = claim(time_s, time_s)
    if not exists(said, known):
        return
    shown = frames_of_view(view_of(said, known), chosen, fps, total).pictures
    on_screen = min(int(time_s * fps + 1e-6), total - 1)
    assert on_screen in shown
    # And nothing from far away.
    assert all(abs(number - on_screen) <= max(0.2 * fps, 1) for number in shown)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.0, 8.0), st.floats(0.0, 8.0), st.sampled_from([2, 25, 30]))
def test_a_span_is_shown_from_what_is_on_screen_at_its_start(a: float, b: float, fps: int) -> None:
    start_s, end_s = sorted((round(a, 2), round(b, 2)))
    view = view_of(claim(start_s, end_s), media(fps, 8 * fps))
    first, last = (min(int(t * fps + 1e-6), 8 * fps - 1) for t in (start_s, end_s))
    assert view.shows(first / fps) and view.shows(last / fps)
    if last > first:
        assert not view.shows((first - 1) / fps) and not view.shows((last + 1) / fps)


def test_a_claim_without_a_time_is_looked_up_in_the_whole_clip() -> None:
    assert view_of(claim(), media()) == View(
        condition=Condition.EVIDENCE, spans_s=((0.0, 8.0),)
    )  # fmt: skip


def test_a_box_is_shown_with_its_surroundings_within_the_frame() -> None:
    assert view_of(claim(1.0, 1.0, box=(0.2, 0.3, 0.4, 0.5)), media()).box == (
        0.15, 0.25, 0.45, 0.55,
    )  # fmt: skip
    assert view_of(claim(1.0, 1.0, box=(0.01, 0.02, 0.98, 0.99)), media()).box == (0, 0, 1, 1)
    assert view_of(claim(1.0, 1.0), media()).box == ()


# What is asked -----------------------------------------------------------------------------------


def asked(made: Rollout, kind: TaskKind = TaskKind.MCQ, samples: int = 1) -> list[Request]:
    return list(claim_requests(case(kind), made, samples, 7))


def test_a_claim_is_a_check_of_its_own_words() -> None:
    made = rollout("At 3.20 s the cup falls. It is sad. So the answer is B.")
    one, two = asked(made, samples=2)
    assert one.purpose is Purpose.CHECK and one.statement == "At 3.20 s the cup falls."
    assert one.task is None and one.seed == 7 and one.view.shows(3.2)
    assert not one.view.shows(2.9) and not one.view.shows(3.5)
    assert (one.sample, two.sample) == (SAMPLE_FROM, SAMPLE_FROM + 1)


def test_a_box_is_asked_about_with_its_label() -> None:
    box = Box(label="cup", t_s=3.2, xyxy_norm=CORNERS)
    lonely = Box(label="red hat", t_s=1.0, xyxy_norm=CORNERS)
    nameless = Box(label="", t_s=1.0, xyxy_norm=CORNERS)
    made = rollout("The cup falls. So the answer is B.", boxes=(box, lonely, nameless))
    first, second = asked(made)
    assert first.statement == "cup: The cup falls." and first.view.box
    assert second.statement == "red hat" and second.view.shows(1.0)
    # Without a label and a step nothing can be asked.
    [*_, last] = checked_claims(case(), made, 1, 7, replies([first, second], lambda _: says("yes")))
    assert last.exists and last.shown is NOT_ASKED


def test_the_same_look_is_asked_for_once() -> None:
    # A count and a moment of the same step: the same frames, the same words.
    made = rollout("At 3.20 s there are three cups. So the answer is B.")
    assert len(asked(made)) == 1
    claims = checked_claims(case(), made, 1, 7, replies(asked(made), lambda _: says("no")))
    assert [one.shown for one in claims] == [NO, NO]


def test_what_does_not_exist_is_not_asked_about() -> None:
    made = rollout("At 9.00 s it ends. At 3.00 s it begins. So the answer is B.")
    assert [one.statement for one in asked(made)] == ["At 3.00 s it begins."]
    claims = checked_claims(case(), made, 1, 7, replies(asked(made), lambda _: says("yes")))
    assert [(one.exists, one.shown, one.holds) for one in claims] == [
        (False, NOT_ASKED, False),
        (True, YES, True),
    ]


@pytest.mark.parametrize(
    ("last", "number"),
    [
        ("So the answer is 2.00 s to 4.00 s.", 1),
        ("So the answer is 2.00 to 4.00.", 1),
        ("So there are three cups.", 0),
        ("It is at [0.1, 0.2, 0.3, 0.5].", 0),
        ("At 3.00 s there are three cups.", 1),
    ],
)
def test_the_last_step_is_looked_up_if_it_names_a_time(last: str, number: int) -> None:
    made = rollout(f"It happens. {last}", "2.00 to 4.00")
    found = asked(made, TaskKind.TEMPORAL_GROUNDING)
    # Its words mean something only together with the question.
    assert [one.statement for one in found] == [f'Asked "What does it do?": {last}'] * number


def test_a_box_that_only_the_answer_names_must_exist_all_the_same() -> None:
    made = rollout("It is there. The answer is [0.5, 0.2, 0.3, 0.5].", "[0.5, 0.2, 0.3, 0.5]")
    [one] = checked_claims(case(TaskKind.SPATIAL_GROUNDING), made, 1, 7, {})
    assert not one.exists and not one.holds


def test_no_reasoning_asks_for_more_than_the_most() -> None:
    said = " ".join(f"At {number / 100:.2f} s it moves." for number in range(300))
    made = rollout(f"{said} So the answer is B.")
    assert len(asked(made)) == MAX_LOOKED_UP
    claims = checked_claims(case(), made, 1, 7, replies(asked(made), lambda _: says("yes")))
    assert [one.shown for one in claims] == [YES] * MAX_LOOKED_UP + [NOT_ASKED] * 236


# What the replies say ----------------------------------------------------------------------------


def reply(text: str = "", error: str = "") -> Reply:
    return Reply(request_id="r", text=text, error=error)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (reply(says("yes")), YES),
        (reply(says("no")), NO),
        (reply(says("unclear")), UNCLEAR),
        (reply(says("maybe")), UNCLEAR),
        (reply("no"), UNCLEAR),
        (reply(says("no"), error="the server failed"), UNCLEAR),
        (reply(says("no") + " " * MAX_REPLY_CHARS), UNCLEAR),
    ],
)
def test_a_reply_is_a_vote(said: Reply, shown: Shown) -> None:
    assert vote(said) is shown


@pytest.mark.parametrize(
    ("votes", "shown"),
    [
        ([YES], YES),
        ([NO], NO),
        ([YES, NO, NO], NO),
        ([YES, NO, YES], YES),
        ([YES, NO], UNCLEAR),
        ([YES, UNCLEAR], UNCLEAR),
        ([NO, UNCLEAR], UNCLEAR),
        ([YES, YES, NO, UNCLEAR], YES),
        ([YES, YES, NO, NO, UNCLEAR], UNCLEAR),
        ([NO, UNCLEAR, UNCLEAR], UNCLEAR),
        ([], UNCLEAR),
    ],
)
def test_most_votes_decide(votes: list[Shown], shown: Shown) -> None:
    assert majority(votes) is shown


def test_each_claim_gets_the_replies_to_its_own_requests() -> None:
    made = rollout("At 1.00 s it is red. At 3.00 s it is blue. So the answer is B.")
    requests = claim_requests(case(), made, 3, 7)

    def script(request: Request) -> str:
        if "blue" in request.statement:
            return says("no") if request.sample != SAMPLE_FROM else ""
        return says("yes")

    there = replies(list(reversed(requests)), script)
    red, blue = checked_claims(case(), made, 3, 7, there)
    assert (red.shown, red.votes) == (YES, (YES, YES, YES))
    assert (blue.shown, blue.votes) == (NO, (UNCLEAR, NO, NO))


def test_what_is_unclear_refutes_nothing() -> None:
    made = rollout("At 1.00 s it is red. So the answer is B.")
    [one] = checked_claims(case(), made, 1, 7, replies(asked(made), lambda _: ""))
    assert one.shown is UNCLEAR and one.holds


# What the one who concludes is told --------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasoning", "left"),
    [
        ("It jumps at 1.00 s. So the answer is B.", "It jumps at 1.00 s."),
        ("It jumps. It lands. So it is B.", "It jumps.\nIt lands."),
        ("So the answer is B.", ""),
        # What says nothing but the answer leads to nothing.
        ("The answer is B. So the answer is B.", ""),
        ("The answer is B, it falls. So the answer is B.", ""),
        # The letters are of another order than that in which the options are told.
        ("Option A is wrong. So B.", 'Option "it jumps" is wrong.'),
        (
            "C happens later, as option B says. So B.",
            '"it sleeps" happens later, as option … says.',
        ),
        ("A man walks and I see him. So B.", "A man walks and I see him."),
        ("A is wrong, too. So B.", '"it jumps" is wrong, too.'),
        ("Neither C nor D. So B.", 'Neither "it sleeps" nor D.'),
    ],
)
def test_what_is_told(reasoning: str, left: str) -> None:
    assert told(rollout(reasoning), case().task) == left


@pytest.mark.parametrize(
    ("kind", "answer", "reasoning", "left"),
    [
        (TaskKind.COUNT, "3", "The number is 3. So 3.", ""),
        (TaskKind.COUNT, "3", "There are three cups. So 3.", "There are three cups."),
        (TaskKind.NUMBER, "2.50", "The answer is 2.5. So 2.50.", ""),
        (TaskKind.TEMPORAL_GROUNDING, "2.00 to 4.00", "From 2 s to 4 s. So 2.00 to 4.00.", ""),
        (TaskKind.TEMPORAL_GROUNDING, "2 to 4", "It runs at 2 s. So 2 to 4.", "It runs at 2 s."),
        (TaskKind.FREE_TEXT, "a dog", "The answer is a dog. So a dog.", ""),
        (TaskKind.FREE_TEXT, "a dog", "It barks. So a dog.", "It barks."),
        (TaskKind.FREE_TEXT, "a dog", "B is seen. So a dog.", "B is seen."),
        (TaskKind.ORDERING, "C,A,B", "The order is C, A, B. So C,A,B.", ""),
        (
            TaskKind.ORDERING, "C,A,B", "C is at 1.0 s, then A at 2.0 s, then B. So C,A,B.",
            '"it sleeps" is at 1.0 s, then "it jumps" at 2.0 s, then "it falls".',
        ),
    ],
)  # fmt: skip
def test_what_is_told_of_other_kinds(
    kind: TaskKind, answer: str, reasoning: str, left: str
) -> None:
    assert told(rollout(reasoning, answer), case(kind).task) == left


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.text(max_size=20), st.sampled_from(TaskKind))
def test_telling_takes_any_text(reasoning: str, answer: str, kind: TaskKind) -> None:
    told(rollout(reasoning, answer), case(kind).task)


# Conclusions -------------------------------------------------------------------------------------


def concluded(made: Rollout, which: Case, answer: Callable[[Request], str]) -> tuple[str, ...]:
    def script(request: Request) -> str:
        said = answer(request)
        return json.dumps({"answer": said}) if said else ""

    there = replies(conclusion_requests(which, made, 3, 7), script)
    return conclusions(which, made, 3, 7, there)


def test_the_reasoning_is_told_without_frames_and_gold() -> None:
    made = rollout("It falls at 1.00 s. So the answer is B.")
    requests = conclusion_requests(case(gold="B"), made, 3, 7)
    assert [one.sample for one in requests] == [SAMPLE_FROM + number for number in range(3)]
    for number, one in enumerate(requests):
        assert one.purpose is Purpose.CONCLUDE and one.scene is None and one.seed == 7
        assert one.reasoning == "It falls at 1.00 s."
        assert one.task is not None and one.task.gold is None
        assert one.task.options == OPTIONS[number:] + OPTIONS[:number]


def test_conclusions_come_back_in_the_letters_of_the_task() -> None:
    def knows(request: Request) -> str:
        assert request.task is not None
        return "ABC"[request.task.options.index("it falls")]

    made = rollout("It falls at 1.00 s. So the answer is B.")
    assert concluded(made, case(), knows) == ("B", "B", "B")
    # Who only repeats a letter does not come to the same answer each time.
    assert concluded(made, case(), lambda _: "B") == ("B", "C", "A")


@pytest.mark.parametrize("said", ["none", "None.", "", "it falls", "D"])
def test_no_conclusion(said: str) -> None:
    made = rollout("It falls at 1.00 s. So the answer is B.")
    assert concluded(made, case(), lambda _: said) == ("", "", "")


def test_an_answer_alone_leads_nowhere_and_nobody_is_asked() -> None:
    made = rollout("So the answer is B.")
    assert conclusion_requests(case(), made, 3, 7) == []
    assert conclusions(case(), made, 3, 7, {}) == ("", "", "")
    assert conclusions(case(), made, 0, 7, {}) == ()


# The checks that follow --------------------------------------------------------------------------


def score_of(kind: TaskKind, answer: str, *found: str, tolerance: float = -1.0) -> float:
    """Of the check `concludes`."""
    which = case(kind, answer, tolerance)
    assert which.task.gold is not None
    made = attempt(rollout("It is so. It is so.", answer), conclusions=found)
    checks = Examined(which, which.task.gold, Thresholds()).checks(made)
    [check] = [one for one in checks if one.name == "concludes"]
    return check.score


@pytest.mark.parametrize(
    ("kind", "answer", "found", "score"),
    [
        (TaskKind.MCQ, "B", ("B", "C"), 0.5),
        # Half of several choices is no answer, though its reward is 0.5.
        (TaskKind.MULTI_CHOICE, "A,C", ("A", "A,C"), 0.5),
        (TaskKind.COUNT, "3", ("3", "4"), 0.5),
        (TaskKind.TEMPORAL_GROUNDING, "2 to 4", ("2.2 to 4", "2 to 6"), 0.5),
        (TaskKind.FREE_TEXT, "a red cup", ("red cup", "a car"), 0.5),
        (TaskKind.ORDERING, "B,A,C", ("B,A,C", "B,C,A", ""), 1 / 3),
    ],
)
def test_the_same_conclusion_is_what_would_pass_as_answer(
    kind: TaskKind, answer: str, found: tuple[str, ...], score: float
) -> None:
    assert score_of(kind, answer, *found) == pytest.approx(score)


def test_a_number_may_differ_by_its_tolerance() -> None:
    assert score_of(TaskKind.NUMBER, "2.5", "2.6", tolerance=0.2) == 1.0
    assert score_of(TaskKind.NUMBER, "2.5", "2.6") == 0.0


def test_no_conclusion_is_wrong_even_where_any_score_will_do() -> None:
    which = case(gold="B")
    assert which.task.gold is not None
    made = attempt(rollout("It is so. B."), conclusions=("", "B"))
    checks = Examined(which, which.task.gold, Thresholds(answer=0.0)).checks(made)
    assert [one.score for one in checks if one.name == "concludes"] == [0.5]


def test_a_refuted_claim_fails_the_attempt_and_an_unclear_one_does_not() -> None:
    which = case(gold="B")
    assert which.task.gold is not None

    def passed(*claims: CheckedClaim) -> bool:
        made = attempt(rollout("It is so. B."), claims)
        assert which.task.gold is not None
        [check] = Examined(which, which.task.gold, Thresholds()).checks(made)
        return check.passed

    fine = CheckedClaim(claim=claim(1.0, 1.0), exists=True, shown=YES)
    assert passed(fine, fine.model_copy(update={"shown": UNCLEAR}))
    assert not passed(fine, fine.model_copy(update={"shown": NO}))
    assert not passed(fine, fine.model_copy(update={"exists": False}))


def test_answers_are_compared_with_that_of_the_attempt() -> None:
    """Not with gold: a reasoning that leads to another answer than its own is no good."""
    which = case(TaskKind.TEMPORAL_GROUNDING, "2 to 4")
    gold = Answer(kind=TaskKind.TEMPORAL_GROUNDING, text="2.00 to 4.00")
    made = attempt(rollout("It is so. 5 to 7.", "5 to 7"), conclusions=("5 to 7", "2 to 4"))
    checks = Examined(which, gold, Thresholds()).checks(made)
    assert [one.score for one in checks] == [0.5]
