"""Questions about measurements: asked only where they leave no doubt, and answered rightly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scene import even, observed, shot

from schemas import rewards
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.families import FAMILIES, choose, solve
from transforms.annotate.observe import Observation, ShotFacts
from transforms.annotate.questions import (
    BRIGHTNESS_MARGIN,
    COLOR_MARGIN,
    COLOR_SHARE,
    DIRECTIONS,
    LENGTH_MARGIN_S,
    MAX_CUTS_TO_COUNT,
    MOST_SHARE,
    MOTION_AXIS_RATIO,
    MOTION_SPEED,
    MOTION_STEADINESS,
    CannotSolveError,
    Question,
)
from transforms.annotate.tasks import make_answer
from transforms.video.measures import COLOR_NAMES

KINDS = tuple(TaskKind)
CHOICES = (TaskKind.MCQ, TaskKind.ORDERING)
BIT = 1e-6
"""Less than any margin, more than floating point noise."""


def asked(family: str, observation: Observation, seed: str = "s") -> list[Question]:
    return FAMILIES[family].propose(observation, seed)


def answer_to(question: Question, observation: Observation) -> str:
    return solve(observation, question.spec, question.options).answer


def check_solution(question: Question, observation: Observation) -> None:
    """Whatever a family asks, its own solution must hold up in every check of form."""
    solution = solve(observation, question.spec, question.options)
    response = rewards.format_response("\n".join(solution.steps), solution.answer)
    assert rewards.grade("format", response, "") == 1.0
    assert rewards.grade("consistency", response, "") == 1.0, (solution.answer, solution.steps[-1])
    times = rewards.cited_times_in("\n".join(solution.steps))
    assert times
    assert all(0.0 <= time_s <= observation.duration_s + 0.005001 for time_s in times)
    assert solution.segments
    for _, start_s, end_s in solution.segments:
        assert 0.0 <= start_s < end_s <= observation.duration_s
    if question.kind in CHOICES:
        assert len(question.options) == len(set(question.options)) >= 2
    else:
        assert question.options == ()
    # Raises if the text is no answer of this kind.
    gold = make_answer(question.kind, solution.answer, question.options, question.tolerance)
    spec = {"tolerance": question.tolerance} if question.kind is TaskKind.NUMBER else {}
    reward = rewards.REWARD_FOR_KIND[question.kind]
    assert rewards.grade(reward, solution.answer, gold.text, **spec) == 1.0
    assert not rewards.cited_times_in(question.text)
    assert json.loads(json.dumps(question.spec)) == question.spec


def option_said(question: Question, observation: Observation) -> str:
    return question.options[OPTION_LETTERS.index(answer_to(question, observation))]


# Cuts


@pytest.mark.parametrize("shots", range(1, 13))
def test_cut_count_is_asked_from_one_cut_to_nine(shots: int) -> None:
    observation = even(shots)
    questions = asked("cut_count", observation)
    assert len(questions) == (1 < shots <= MAX_CUTS_TO_COUNT + 1)
    for question in questions:
        assert answer_to(question, observation) == str(shots - 1)
        check_solution(question, observation)


@pytest.mark.parametrize("family", ["cut_count", "cut_time", "order", "brighter", "extreme"])
def test_a_flash_of_a_shot_makes_counting_unfair(family: str) -> None:
    def film(flash_s: float) -> Observation:
        return observed(
            shot(0.0, 2.0, brightness=0.1, colors={"red": 0.9}),
            shot(2.0, 2.0 + flash_s, brightness=0.5, colors={"blue": 0.9}),
            shot(2.0 + flash_s, 5.0, brightness=0.6, colors={"green": 0.9}),
            shot(5.0, 9.0, brightness=0.9, colors={"pink": 0.9}),
        )

    assert asked(family, film(0.31))
    assert asked(family, film(0.29)) == []


def test_every_cut_is_asked_about_by_some_seed_and_answered_with_its_time() -> None:
    observation = observed(shot(0.0, 1.5), shot(1.5, 4.25), shot(4.25, 5.0), shot(5.0, 9.0))
    truth = {"first": "1.50", "second": "4.25", "last": "5.00"}
    seen = set()
    for seed in range(40):
        [question] = asked("cut_time", observation, str(seed))
        [which] = [word for word in truth if f"the {word} cut" in question.text]
        assert answer_to(question, observation) == truth[which]
        check_solution(question, observation)
        seen.add(which)
    assert seen == set(truth)


def test_the_last_cut_is_the_last_whatever_is_found_before_it() -> None:
    [question] = [
        question
        for seed in range(40)
        for question in asked("cut_time", even(3), str(seed))
        if "last" in question.text
    ][:1]
    assert answer_to(question, even(3)) == "2.00"
    assert answer_to(question, even(4)) == "3.00"
    with pytest.raises(CannotSolveError):
        solve(even(1), question.spec, ())


def test_a_question_about_the_only_cut_has_no_answer_where_there_are_more() -> None:
    [question] = asked("cut_time", even(2))
    assert "first" not in question.text
    assert "last" not in question.text
    assert answer_to(question, even(2)) == "1.00"
    for shots in (1, 3):
        with pytest.raises(CannotSolveError):
            solve(even(shots), question.spec, ())


def test_a_cut_that_is_not_there_cannot_be_timed() -> None:
    with pytest.raises(CannotSolveError, match="1 cuts"):
        solve(even(2), {"family": "cut_time", "number": 2}, ())


# What stands out


def three(
    values: list[float], lengths: tuple[float, float, float] = (2.0, 2.0, 2.0)
) -> Observation:
    ends = [round(sum(lengths[: n + 1]), 3) for n in range(3)]
    starts = [0.0, *ends[:-1]]
    return observed(
        *(
            shot(start, end, brightness=value)
            for start, end, value in zip(starts, ends, values, strict=True)
        )
    )


@pytest.mark.parametrize(
    ("what", "values"), [("brightest", [0.5, 0.5, 0.5]), ("darkest", [0.5, 0.5, 0.5])]
)
def test_brightness_stands_out_only_by_its_margin(what: str, values: list[float]) -> None:
    sign = 1 if what == "brightest" else -1
    for margin, expected in ((BRIGHTNESS_MARGIN + BIT, 1), (BRIGHTNESS_MARGIN - BIT, 0)):
        values[1] = 0.5 + sign * margin
        found = [
            question
            for question in asked("extreme", three(values))
            if question.spec["what"] == what
        ]
        assert len(found) == expected
        for question in found:
            assert answer_to(question, three(values)) == "2.00 to 4.00"
            check_solution(question, three(values))


def test_the_longest_shot_stands_out_only_by_its_margin() -> None:
    for extra, expected in ((LENGTH_MARGIN_S, 1), (LENGTH_MARGIN_S - 0.01, 0)):
        observation = three([0.5] * 3, (2.0, 2.0, 2.0 + extra))
        found = asked("extreme", observation)
        assert len(found) == expected
        for question in found:
            assert answer_to(question, observation) == f"4.00 to {6 + extra:.2f}"
            check_solution(question, observation)


def test_what_stands_out_for_a_blink_or_among_two_is_not_asked_for() -> None:
    blink = three([0.2, 0.9, 0.2], (2.0, 0.79, 2.0))
    assert asked("extreme", blink) == []
    assert len(asked("extreme", three([0.2, 0.9, 0.2], (2.0, 0.81, 2.0)))) == 1
    assert asked("extreme", observed(shot(0, 2, brightness=0.1), shot(2, 8, brightness=0.9))) == []


# Order


COLORS = ("red", "green", "blue", "yellow")


def rainbow(share: float = 0.9) -> Observation:
    """Four shots of equal length and brightness, each mostly of a colour of its own."""
    return observed(
        *(shot(2.0 * n, 2.0 * n + 2, colors={name: share}) for n, name in enumerate(COLORS))
    )


def test_order_is_told_by_colours_and_answered_in_order_of_time() -> None:
    for seed in range(20):
        [question] = asked("order", rainbow(), str(seed))
        letters = answer_to(question, rainbow()).split(",")
        said = [question.options[OPTION_LETTERS.index(letter)] for letter in letters]
        assert said == [f"the shot with the most {name}" for name in COLORS]
        check_solution(question, rainbow())


def test_order_needs_three_shots_that_stand_out() -> None:
    assert asked("order", rainbow(MOST_SHARE - 0.01)) == []
    assert asked("order", rainbow(MOST_SHARE + 0.01)) != []
    # Two reds: neither is the one with the most red, two shots are left.
    colors = ("red", "green", "red", "yellow")
    twins = [shot(2.0 * n, 2.0 * n + 2, colors={c: 0.9}) for n, c in enumerate(colors)]
    assert asked("order", observed(*twins)) == []
    faint = [shot(2.0 * n, 2.0 * n + 2, colors={"red": 0.5 + 0.1 * n}) for n in range(4)]
    assert asked("order", observed(*faint)) == []


def test_a_shot_is_named_once_even_if_it_stands_out_twice() -> None:
    observation = observed(
        shot(0, 2, brightness=0.05, colors={"black": 0.9}),
        shot(2, 4, brightness=0.95, colors={"white": 0.9}),
        shot(4, 9, brightness=0.5, colors={"green": 0.9}),
    )
    for seed in range(20):
        [question] = asked("order", observation, str(seed))
        assert len(question.options) == 3
        assert len({start for _, start, _ in _segments(question, observation)}) == 3
        check_solution(question, observation)


def _segments(question: Question, observation: Observation) -> list[tuple[str, float, float]]:
    return list(solve(observation, question.spec, question.options).segments)


def test_order_cannot_be_told_when_one_shot_fits_two_options_or_none() -> None:
    spec = {"family": "order"}
    both = ("the brightest shot", "the shot with the most red")
    film = observed(shot(0, 2, brightness=0.9, colors={"red": 0.9}), shot(2, 4, brightness=0.1))
    with pytest.raises(CannotSolveError, match="one shot fits two"):
        solve(film, spec, both)
    with pytest.raises(CannotSolveError, match="can't be measured"):
        solve(film, spec, ("the brightest shot", "the shot with the dog"))


# Colour of a shot


def test_a_colour_is_asked_for_only_by_its_margins() -> None:
    def questions(colors: dict[str, float]) -> list[Question]:
        return asked("color", observed(shot(0.0, 3.0, colors=colors)))

    assert len(questions({"red": COLOR_SHARE + BIT, "green": 0.26, "blue": 0.2})) == 1
    assert questions({"red": COLOR_SHARE - BIT, "green": 0.26, "blue": 0.2}) == []
    close = COLOR_SHARE + 0.05
    assert questions({"red": close, "green": close - COLOR_MARGIN + BIT}) == []
    assert len(questions({"red": close, "green": close - COLOR_MARGIN - BIT})) == 1
    assert questions({"gray": 1.0}) == []
    assert asked("color", observed(shot(0.0, 0.79, colors={"red": 1.0}))) == []


def test_the_wrong_colours_hardly_occur_and_the_right_one_stands_once() -> None:
    colors = {"red": 0.55, "green": 0.2, "blue": 0.1, "pink": 0.04}
    observation = observed(shot(0.0, 3.0, colors=colors))
    for seed in range(30):
        [question] = asked("color", observation, str(seed))
        assert question.options.count("red") == 1
        assert len(set(question.options)) == 4
        assert not {"green", "blue", "gray"} & set(question.options)
        assert option_said(question, observation) == "red"
        check_solution(question, observation)


def test_a_colour_is_not_asked_for_when_wrong_options_run_out() -> None:
    names = [name for name in COLOR_NAMES if name != "red"]
    colors = {"red": 0.46} | dict.fromkeys(names[:9], 0.06)
    assert asked("color", observed(shot(0.0, 3.0, colors=colors))) == []


def test_the_colour_of_each_place_is_that_of_its_shot() -> None:
    observation = observed(
        shot(0.0, 1.0, colors={"red": 0.9}),
        shot(1.0, 4.0, colors={"green": 0.9}),
        shot(4.0, 5.0, colors={"blue": 0.9}),
    )
    said = {
        question.spec["place"]: option_said(question, observation)
        for question in asked("color", observation)
    }
    assert said == {"first": "red", "longest": "green", "last": "blue"}


def test_a_color_that_is_no_option_is_not_answered() -> None:
    with pytest.raises(CannotSolveError, match="not among the options"):
        solve(
            observed(shot(0, 2, motion=(0.3, 0.0))),
            {"family": "motion", "place": "whole"},
            ("upwards", "downwards"),
        )


# Motion


@pytest.mark.parametrize(
    ("motion", "direction"),
    [
        ((-0.2, 0.0), "to the left"),
        ((0.2, 0.0), "to the right"),
        ((0.0, -0.2), "upwards"),
        ((0.0, 0.2), "downwards"),
    ],
)
def test_the_way_the_picture_moves(motion: tuple[float, float], direction: str) -> None:
    observation = observed(shot(0.0, 2.0, motion=motion))
    [question] = asked("motion", observation)
    assert question.options == DIRECTIONS
    assert option_said(question, observation) == direction
    check_solution(question, observation)


@pytest.mark.parametrize(
    ("motion", "steadiness", "fair"),
    [
        ((MOTION_SPEED + BIT, 0.0), 1.0, True),
        ((MOTION_SPEED - BIT, 0.0), 1.0, False),
        ((0.2, 0.2 / MOTION_AXIS_RATIO - BIT), 1.0, True),
        ((0.2, 0.2 / MOTION_AXIS_RATIO + BIT), 1.0, False),
        ((0.2, 0.0), MOTION_STEADINESS, True),
        ((0.2, 0.0), MOTION_STEADINESS - BIT, False),
    ],
)
def test_motion_is_asked_for_only_by_its_margins(
    motion: tuple[float, float], steadiness: float, fair: bool
) -> None:
    observation = observed(shot(0.0, 2.0, motion=motion, steadiness=steadiness))
    assert bool(asked("motion", observation)) is fair


def test_no_clear_motion_is_not_answered() -> None:
    with pytest.raises(CannotSolveError, match="no clear motion"):
        solve(even(1), {"family": "motion", "place": "whole"}, DIRECTIONS)


# First against last


@pytest.mark.parametrize(("first", "last"), [(0.2, 0.8), (0.8, 0.2)])
def test_the_brighter_of_first_and_last(first: float, last: float) -> None:
    observation = three([first, 0.5, last])
    [question] = asked("brighter", observation)
    truth = "the first shot" if first > last else "the last shot"
    assert option_said(question, observation) == truth
    check_solution(question, observation)
    close = three([0.5, 0.5, 0.5 + 2 * BRIGHTNESS_MARGIN - BIT])
    assert asked("brighter", close) == []
    assert asked("brighter", even(1)) == []


# All families


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


# Shots ranked


def _staircase() -> Observation:
    return observed(
        shot(0, 2, brightness=0.5),
        shot(2, 6, brightness=0.1),
        shot(6, 9, brightness=0.9),
        shot(9, 9.5, brightness=0.3),
    )


def test_shots_are_ranked_by_brightness_and_length() -> None:
    found = {question.spec["what"]: question for question in asked("rank", _staircase())}
    assert set(found) == {"brightness", "length"}
    bright = found["brightness"]
    # The last shot lasts half a second: too short to ask about.
    assert bright.options == ("the first shot", "the second shot", "the third shot")
    assert answer_to(bright, _staircase()) == "B,A,C"
    assert answer_to(found["length"], _staircase()) == "A,C,B"
    for question in found.values():
        check_solution(question, _staircase())


def test_ranking_leaves_out_shots_that_are_too_much_alike() -> None:
    levels = (0.1, 0.1 + BRIGHTNESS_MARGIN / 2, 0.5, 0.9)
    film = observed(*(shot(2 * n, 2 * n + 2, brightness=b) for n, b in enumerate(levels)))
    [question] = asked("rank", film)
    assert question.options == ("the first shot", "the third shot", "the last shot")
    flat = observed(*(shot(2 * n, 2 * n + 2, brightness=0.5) for n in range(4)))
    assert asked("rank", flat) == []


def test_a_shot_that_is_not_there_cannot_be_ranked() -> None:
    spec = {"family": "rank", "what": "brightness"}
    with pytest.raises(CannotSolveError, match="no shot called"):
        solve(_staircase(), spec, ("the first shot", "the seventh shot"))
