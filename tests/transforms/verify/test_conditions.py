"""Asked again under changed evidence: what is asked, and what the table of answers says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.examination import Asked, Examination
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import OPTION_LETTERS, Answer, Origin, Task, TaskKind
from schemas.view import WHOLE, Condition, View
from transforms.verify.checks import Thresholds
from transforms.verify.conditions import (
    Marked,
    ViewsWanted,
    chance,
    cited_spans,
    mark,
    prefix_moments,
    right_share,
    score_evidence,
    score_task,
    turned,
    turned_back,
)

TEACHER = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
LIMITS = Thresholds()
BLIND, MASKED = View(condition=Condition.BLIND), Condition.MASKED


def make_task(kind: TaskKind, options: tuple[str, ...] = ()) -> Task:
    return Task(clip_id="c1", kind=kind, question="What?", options=options, origin=Origin.GIVEN)


def make_rollout(
    *spans: tuple[float, float], answer: str = "B", kind: TaskKind = TaskKind.MCQ
) -> Rollout:
    return Rollout(
        task_id="t1", sample=0, round=0, reasoning="r", answer_text=answer, teacher=TEACHER,
        raw_reply="", segments=tuple(Segment(label="", start_s=s, end_s=e) for s, e in spans),
    )  # fmt: skip


MCQ = make_task(TaskKind.MCQ, ("cup", "hat", "key", "box"))
GOLD = Answer(kind=TaskKind.MCQ, text="B", options=MCQ.options)


def table(**answers: str) -> Examination:
    """One row per condition; a letter an answer, `-` = none could be read."""
    rows = []
    for name, said in answers.items():
        condition = Condition(name)
        spans = ((1.0, 2.0),) if condition in (Condition.EVIDENCE, MASKED) else ()
        row = tuple("" if one == "-" else one for one in said)
        rows.append(Asked(view=View(condition=condition, spans_s=spans), answers=row))
    return Examination(model="m", rows=tuple(rows))


def marked(**answers: str) -> Marked:
    return mark(table(**answers), MCQ, GOLD, LIMITS)


# Options in another order ------------------------------------------------------------------------


@given(st.integers(2, 10), st.integers(0, 30), st.data())
def test_a_turned_question_means_the_same(number: int, sample: int, data: st.DataObject) -> None:
    options = tuple(f"option {place}" for place in range(number))
    task = make_task(TaskKind.MCQ, options)
    right = data.draw(st.integers(0, number - 1))
    other = turned(task, sample)
    letter = OPTION_LETTERS[other.options.index(options[right])]
    assert turned_back(letter, task, sample) == OPTION_LETTERS[right]


@given(st.permutations("ABCD"), st.integers(0, 9))
def test_an_order_keeps_its_order_and_several_choices_are_sorted(
    order: list[str], sample: int
) -> None:
    task = make_task(TaskKind.ORDERING, MCQ.options)
    other = turned(task, sample)
    said = ",".join(OPTION_LETTERS[other.options.index(task.options["ABCD".index(one)])]
                    for one in order)  # fmt: skip
    assert turned_back(said, task, sample) == ",".join(order)
    several = make_task(TaskKind.MULTI_CHOICE, MCQ.options)
    assert turned_back(said, several, sample) == "A,B,C,D"


def test_who_always_says_the_same_letter_is_right_as_often_as_chance_has_it() -> None:
    answers = tuple(turned_back("A", MCQ, sample) for sample in range(4))
    assert sorted(answers) == ["A", "B", "C", "D"]
    assert right_share(Asked(view=BLIND, answers=answers), MCQ, GOLD, LIMITS) == 0.0


@pytest.mark.parametrize("said", ["", "Z", "the cup", "B or C maybe"])
def test_an_answer_that_names_no_option_is_none(said: str) -> None:
    assert turned_back(said, MCQ, 1) == ""


def test_nobody_who_is_asked_again_sees_the_gold_answer() -> None:
    known = MCQ.model_copy(update={"gold": GOLD})
    assert turned(known, 2).gold is None
    assert turned(make_task(TaskKind.COUNT).model_copy(update={"gold": GOLD}), 2).gold is None


# Which views -------------------------------------------------------------------------------------


def test_what_is_cited_is_merged_rounded_and_kept_inside() -> None:
    spans = cited_spans(make_rollout((2.01, 3.0), (0.99, 2.0), (7.4, 9.0)), TaskKind.MCQ, 8.0)
    assert spans == ((1.0, 3.0), (7.4, 8.0))
    assert cited_spans(make_rollout((9.0, 9.5)), TaskKind.MCQ, 8.0) == ()


def test_an_answer_that_is_a_span_is_what_it_rests_on() -> None:
    kind = TaskKind.TEMPORAL_GROUNDING
    rollout = make_rollout((1.0, 1.5), answer="1.2 to 4")
    assert cited_spans(rollout, kind, 8.0) == ((1.0, 4.0),)
    assert cited_spans(rollout, TaskKind.FREE_TEXT, 8.0) == ((1.0, 1.5),)


def test_only_the_views_that_are_wanted_are_asked_about() -> None:
    everything = ViewsWanted(tuple(Condition), 3, black=False)
    of_task = [view.condition for view in everything.of_task(6.0, TaskKind.MCQ)]
    assert of_task == [
        Condition.FULL, Condition.BLIND, Condition.SHUFFLED, *([Condition.PREFIX] * 3),
    ]  # fmt: skip
    rollout = make_rollout((1.0, 2.0))
    of_rollout = [view.condition for view in everything.of_rollout(rollout, TaskKind.MCQ, 6.0)]
    assert of_rollout == [Condition.EVIDENCE, Condition.MASKED]
    assert everything.of_rollout(make_rollout(), TaskKind.MCQ, 6.0) == []
    assert ViewsWanted((), 3, black=False).of_task(6.0, TaskKind.MCQ) == []
    assert prefix_moments(6.0, 3) == [2.0, 4.0, 6.0]


# Scores ------------------------------------------------------------------------------------------


def test_shares_are_corrected_for_guessing() -> None:
    assert chance(MCQ) == 0.25 and chance(make_task(TaskKind.COUNT)) == 0.0

    def share(said: str) -> float:
        return right_share(Asked(view=BLIND, answers=tuple(said)), MCQ, GOLD, LIMITS)

    assert [share(said) for said in ("BBBB", "ABCD", "AAAA")] == [1.0, 0.0, 0.0]
    assert share("BBAA") == pytest.approx((0.5 - 0.25) / 0.75)


def test_what_could_not_be_read_is_not_right_and_an_empty_gold_equals_nothing() -> None:
    nothing = Answer(kind=TaskKind.MCQ, text="", options=MCQ.options)
    row = Asked(view=WHOLE, answers=("", "", "B"))
    assert right_share(row, MCQ, nothing, LIMITS) == 0.0
    assert right_share(row, MCQ, GOLD, LIMITS) == pytest.approx((1 / 3 - 0.25) / 0.75)
    assert right_share(Asked(view=WHOLE, answers=()), MCQ, GOLD, LIMITS) == 0.0


@pytest.mark.parametrize(
    ("kind", "gold", "given", "name"),
    [
        (TaskKind.MCQ, "B", "A", "answer"),
        (TaskKind.TEMPORAL_GROUNDING, "2 to 4", "6 to 9", "answer_iou"),
        (TaskKind.FREE_TEXT, "a red car", "birds", "answer_text"),
    ],
)
def test_under_a_threshold_of_nothing_any_answer_is_right_but_none_is_not(
    kind: TaskKind, gold: str, given: str, name: str
) -> None:
    task, known = make_task(kind), Answer(kind=kind, text=gold)
    row = Asked(view=WHOLE, answers=(given, gold, "", " \n"))
    assert right_share(row, task, known, LIMITS) == 0.25
    assert right_share(row, task, known, Thresholds(**{name: 0.0})) == 0.5


def test_graded_kinds_are_right_as_a_rollout_s_answer_would_be() -> None:
    task = make_task(TaskKind.TEMPORAL_GROUNDING)
    gold = Answer(kind=task.kind, text="2 to 4")
    row = Asked(view=WHOLE, answers=("2.1 to 4", "2 to 9"))
    assert right_share(row, task, gold, LIMITS) == 0.5
    strict = Thresholds(answer_iou=0.99)
    assert right_share(row, task, gold, strict) == 0.0


def test_the_scores_of_a_task() -> None:
    scores = score_task(marked(full="BBBB", blind="AAAA", shuffled="ADCA"), LIMITS)
    assert (scores.full, scores.blind, scores.order_needed) == (1.0, 0.0, 1.0)
    assert scores.answerable_from_s == -1.0
    kept = score_task(marked(full="BBBB", shuffled="BBBB"), LIMITS)
    assert kept.order_needed == 0.0 and kept.blind == -1.0
    lost = score_task(marked(full="AAAA", shuffled="BBBB"), LIMITS)
    assert lost.order_needed == -1.0, "nothing can be said against an answer that never comes"


def test_the_scores_of_cited_spans() -> None:
    def scores(**said: str) -> tuple[float, float]:
        found = score_evidence(marked(**said), ((1.0, 2.0),))
        return found.sufficiency, found.necessity

    assert scores(full="BBBB", evidence="BBBB", masked="AAAA") == (1.0, 1.0)
    assert scores(full="BBBB", evidence="AAAA", masked="BBBB") == (0.0, 0.0)
    assert scores(full="BBBB") == (-1.0, -1.0)
    assert scores(full="AAAA", evidence="BBBB", masked="AAAA") == (0.0, 0.0)
    # Rows about other spans say nothing of these.
    several = marked(full="BBBB", evidence="BBBB", masked="AAAA")
    for spans in (((1.0, 3.0),), ()):
        other = score_evidence(several, spans)
        assert (other.sufficiency, other.necessity) == (-1.0, -1.0)
    # Without the full view nothing is set against them.
    assert scores(evidence="BBBB", masked="AAAA") == (1.0, 1.0)


Row = Callable[[float, str], Asked]


@pytest.fixture
def prefix() -> Row:
    return lambda until_s, said: Asked(
        view=View(condition=Condition.PREFIX, until_s=until_s), answers=tuple(said)
    )


def test_a_question_is_answerable_from_where_it_stays_answered(prefix: Row) -> None:
    rows = [prefix(2, "AAAA"), prefix(4, "BBBB"), prefix(6, "AAAA"), prefix(8, "BBBB")]

    def answerable(*several: Asked) -> float:
        known = Examination(model="m", rows=several)
        return score_task(mark(known, MCQ, GOLD, LIMITS), LIMITS).answerable_from_s

    assert answerable(*rows) == 8.0, "right by luck at 4 s, wrong again at 6 s"
    assert answerable(*rows[:2], rows[3]) == 4.0
    assert answerable(*rows[:3]) == -1.0
    assert answerable(*reversed(rows)) == 8.0, "whatever the order of the rows"


@given(st.lists(st.sampled_from("ABCD-"), min_size=1, max_size=12))
def test_scores_stay_in_range_and_rise_with_right_answers(said: list[str]) -> None:
    shares = []
    for right in range(len(said) + 1):
        answers = ("B",) * right + tuple(said[right:])
        shares.append(right_share(Asked(view=WHOLE, answers=answers), MCQ, GOLD, LIMITS))
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert all(one <= other for one, other in pairwise(shares)) and shares[-1] == 1.0
