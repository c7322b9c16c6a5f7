"""Questions about the look of a shot: its colour, which way it moves, which of two is brighter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schemas.base import unit_interval
from schemas.task import TaskKind
from transforms.annotate.observe import Observation, ShotFacts
from transforms.annotate.questions import (
    BRIGHTNESS_MARGIN,
    COLOR_MARGIN,
    COLOR_SHARE,
    DIRECTIONS,
    LENGTH_MARGIN_S,
    MIN_SHOT_S,
    MOTION_AXIS_RATIO,
    MOTION_SPEED,
    MOTION_STEADINESS,
    CannotSolveError,
    Family,
    Question,
    Solution,
    Spec,
    cited_shot,
    is_roomy,
    letter_of,
    span_text,
)
from transforms.video.measures import COLOR_NAMES


def _only_shot(observation: Observation) -> ShotFacts:
    if len(observation.shots) != 1:
        raise CannotSolveError(f"the clip has {len(observation.shots)} shots, not one")
    return observation.shots[0]


_PLACES: dict[str, tuple[str, Callable[[Observation], ShotFacts]]] = {
    "whole": ("the clip", _only_shot),
    "first": ("the first shot", lambda observation: observation.shots[0]),
    "last": ("the last shot", lambda observation: observation.shots[-1]),
    "longest": (
        "the longest shot",
        lambda observation: max(observation.shots, key=lambda shot: shot.duration_s),
    ),
}


def _places(observation: Observation) -> list[str]:
    if len(observation.shots) == 1:
        return ["whole"]
    if not is_roomy(observation):
        return []
    lengths = sorted((shot.duration_s for shot in observation.shots), reverse=True)
    longest_is_clear = lengths[0] - lengths[1] >= LENGTH_MARGIN_S
    return ["first", "last"] + (["longest"] if longest_is_clear else [])


def _propose_color(observation: Observation, seed: str) -> list[Question]:
    found = []
    for place in _places(observation):
        words, pick = _PLACES[place]
        shot = pick(observation)
        ranked = sorted(shot.colors, reverse=True)
        clear = ranked[0] >= COLOR_SHARE and ranked[0] - ranked[1] >= COLOR_MARGIN
        # Gray is the usual answer, so it could be guessed without a look.
        # Wrong options must be wrong: colours that hardly occur in the shot.
        rare = [name for name in COLOR_NAMES if shot.share(name) < 0.05]
        clear = clear and len(rare) >= 3
        if clear and shot.main_color != "gray" and shot.duration_s >= MIN_SHOT_S:
            wrong = sorted(rare, key=lambda name: unit_interval(seed, place, name))[:3]
            options = (shot.main_color, *wrong)
            text = f"Which colour fills the largest part of the picture in {words}?"
            spec = {"family": "color", "place": place}
            found.append(Question(TaskKind.MCQ, text, spec, options))
    return found


def _solve_color(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    words, pick = _PLACES[str(spec["place"])]
    shot = pick(observation)
    best = max(options, key=lambda option: shot.share(option))
    shares = ", ".join(f"{option} {shot.share(option):.0%}" for option in options)
    letter = letter_of(options, best)
    steps = (
        f"{words[0].upper()}{words[1:]} is on screen from {span_text(shot.start_s, shot.end_s)}.",
        f"Share of the picture by colour: {shares}.",
        f"The largest is {best}.",
        f"So the answer is {letter}, {best}.",
    )
    return Solution(letter, steps, (cited_shot(words, shot),))


# Which way the picture moves


def clear_direction(shot: ShotFacts) -> str | None:
    """Which of `DIRECTIONS` the picture moves in, if it moves and leaves no doubt about it."""
    speed_x, speed_y = abs(shot.motion_x), abs(shot.motion_y)
    fast, slow = max(speed_x, speed_y), min(speed_x, speed_y)
    if fast < MOTION_SPEED or fast < MOTION_AXIS_RATIO * slow:
        return None
    if speed_x > speed_y:
        return DIRECTIONS[0] if shot.motion_x < 0 else DIRECTIONS[1]
    return DIRECTIONS[2] if shot.motion_y < 0 else DIRECTIONS[3]


def _propose_motion(observation: Observation, seed: str) -> list[Question]:
    found = []
    for place in _places(observation):
        words, pick = _PLACES[place]
        shot = pick(observation)
        steady = shot.motion_steadiness >= MOTION_STEADINESS
        if steady and shot.duration_s >= MIN_SHOT_S and clear_direction(shot) is not None:
            text = f"Which way does the picture as a whole move across the screen in {words}?"
            spec = {"family": "motion", "place": place}
            found.append(Question(TaskKind.MCQ, text, spec, DIRECTIONS))
    return found


def _solve_motion(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    words, pick = _PLACES[str(spec["place"])]
    shot = pick(observation)
    direction = clear_direction(shot)
    if direction is None:
        raise CannotSolveError(f"no clear motion in {words}")
    letter = letter_of(options, direction)
    sideways = "right" if shot.motion_x > 0 else "left"
    up_down = "down" if shot.motion_y > 0 else "up"
    steps = (
        f"{words[0].upper()}{words[1:]} is on screen from {span_text(shot.start_s, shot.end_s)}.",
        f"Each second its content shifts by {abs(shot.motion_x):.0%} of the picture's width to "
        f"the {sideways} and by {abs(shot.motion_y):.0%} of its height {up_down}.",
        f"So the answer is {letter}, {direction}.",
    )
    return Solution(letter, steps, (cited_shot(words, shot),))


# Brighter or darker at the end


_FIRST_LAST = ("the first shot", "the last shot")


def _propose_brighter(observation: Observation, seed: str) -> list[Question]:
    first, last = observation.shots[0], observation.shots[-1]
    clear = abs(first.brightness - last.brightness) >= 2 * BRIGHTNESS_MARGIN
    if not (
        is_roomy(observation) and clear and min(first.duration_s, last.duration_s) >= MIN_SHOT_S
    ):
        return []
    text = "Which shot is brighter overall: the first or the last of the clip?"
    return [Question(TaskKind.MCQ, text, {"family": "brighter"}, _FIRST_LAST)]


def _solve_brighter(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    first, last = observation.shots[0], observation.shots[-1]
    best = _FIRST_LAST[last.brightness > first.brightness]
    letter = letter_of(options, best)
    steps = (
        f"The first shot ({span_text(first.start_s, first.end_s)}) has a mean brightness "
        f"of {first.brightness:.2f}.",
        f"The last shot ({span_text(last.start_s, last.end_s)}) has a mean brightness "
        f"of {last.brightness:.2f}.",
        f"So the answer is {letter}, {best}.",
    )
    return Solution(letter, steps, (cited_shot("first shot", first), cited_shot("last shot", last)))


LOOK_FAMILIES = (
    Family("color", _propose_color, _solve_color),
    Family("motion", _propose_motion, _solve_motion),
    Family("brighter", _propose_brighter, _solve_brighter),
)
