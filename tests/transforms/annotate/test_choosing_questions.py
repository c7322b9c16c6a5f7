"""Whatever any family asks of any clip can be answered, and the choice among them is fair.

The choice keeps to the number and the kinds that are wanted, takes kinds in turn, and no family
again before all others have had theirs.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_questions import check_solution
from plain_scene import even, observed, shot

from schemas.task import TaskKind
from transforms.annotate.families import FAMILIES, choose, solve
from transforms.annotate.observe import Observation, ShotFacts
from transforms.annotate.questions import CannotSolveError
from transforms.video.measures import COLOR_NAMES

KINDS = tuple(TaskKind)


def test_a_question_of_no_family_is_not_answered() -> None:
    for spec in ({}, {"family": "taste"}, {"family": None}):
        with pytest.raises(CannotSolveError, match="not a question about measurements"):
            solve(even(3), spec, ())


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    shots: list[ShotFacts] = []
    for _ in range(draw(st.integers(1, 12))):
        start = shots[-1].end_s if shots else 0.0
        end = round(start + draw(st.integers(5, 400)) / 100 + draw(st.integers(0, 9)) / 1000, 3)
        main, other = draw(st.permutations(COLOR_NAMES))[:2]
        share = draw(st.floats(0.3, 1.0))
        motion = draw(st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
        shots.append(
            shot(
                start,
                end,
                brightness=draw(st.floats(0, 1)),
                colors={main: share, other: (1 - share) / 2},
                motion=motion,
                steadiness=draw(st.floats(0, 1)),
            )
        )
    return observed(*shots)


@settings(max_examples=80, deadline=None)
@given(observations(), st.integers(0, 5))
def test_whatever_is_asked_can_be_answered_and_holds_up(film: Observation, seed: int) -> None:
    for family in FAMILIES.values():
        for question in family.propose(film, str(seed)):
            assert question.spec["family"] == family.name
            check_solution(question, film)


@settings(max_examples=80, deadline=None)
@given(
    observations(),
    st.integers(0, 32),
    st.lists(st.sampled_from(KINDS), unique=True),
    st.integers(0, 5),
)
def test_choosing_keeps_to_what_is_wanted(
    film: Observation, wanted: int, kinds: list[TaskKind], seed: int
) -> None:
    chosen = choose(film, wanted, kinds, str(seed))
    assert len(chosen) <= wanted
    assert {question.kind for question in chosen} <= set(kinds)
    assert len({question.text for question in chosen}) == len(chosen)
    assert chosen == choose(film, wanted, kinds, str(seed))
    pool = [q for family in FAMILIES.values() for q in family.propose(film, str(seed))]
    assert len(chosen) == min(wanted, sum(q.kind in kinds for q in pool))


def test_choosing_takes_kinds_in_turn_and_families_not_used_yet() -> None:
    film = observed(
        shot(0, 2, brightness=0.1, colors={"red": 0.9}, motion=(0.3, 0)),
        shot(2, 7, brightness=0.5, colors={"green": 0.9}),
        shot(7, 9, brightness=0.9, colors={"blue": 0.9}, motion=(0, 0.3)),
    )
    kinds = (TaskKind.ORDERING, TaskKind.MCQ, TaskKind.COUNT)
    for seed in range(10):
        chosen = choose(film, 7, kinds, str(seed))
        assert [question.kind for question in chosen[:3]] == list(kinds)
        mcq = [question for question in chosen if question.kind is TaskKind.MCQ]
        # A family comes again only when all others have had their turn.
        assert {question.spec["family"] for question in mcq[:3]} == {"color", "motion", "brighter"}
