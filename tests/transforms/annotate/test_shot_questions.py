"""Questions that count, time, compare and order the shots of a clip, at their margins.

Each is asked only where the measurements leave no doubt, and then answered rightly.
"""

from __future__ import annotations

import pytest
from measured_questions import BIT, answer_to, asked, check_solution, option_said
from plain_scene import even, observed, shot

from schemas.task import OPTION_LETTERS
from transforms.annotate.families import solve
from transforms.annotate.observe import Observation
from transforms.annotate.questions import (
    BRIGHTNESS_MARGIN,
    LENGTH_MARGIN_S,
    MAX_CUTS_TO_COUNT,
    MOST_SHARE,
    CannotSolveError,
    Question,
)

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
