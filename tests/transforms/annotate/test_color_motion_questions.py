"""Questions about the colour of a shot and about the way its picture moves, at their margins.

Each is asked only where the measurements leave no doubt, and then answered rightly.
"""

from __future__ import annotations

import pytest
from measured_questions import BIT, asked, check_solution, option_said
from plain_scene import even, observed, shot

from transforms.annotate.families import solve
from transforms.annotate.questions import (
    COLOR_MARGIN,
    COLOR_SHARE,
    DIRECTIONS,
    MOTION_AXIS_RATIO,
    MOTION_SPEED,
    MOTION_STEADINESS,
    CannotSolveError,
    Question,
)
from transforms.video.measures import COLOR_NAMES

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
