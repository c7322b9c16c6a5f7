"""Families of questions that can be answered by measuring: what is asked, and how it is answered.

A family proposes questions where the observation leaves no doubt (its margins), and solves them
from any observation. Whatever it writes is in the observation: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.base import unit_interval
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.observe import Observation, ShotFacts
from transforms.video.measures import COLOR_NAMES

MAX_CUTS_TO_COUNT = 9
MIN_SHOT_S = 0.8
"""A shorter shot is no fair thing to ask about."""
BRIGHTNESS_MARGIN = 0.06
LENGTH_MARGIN_S = 0.5
COLOR_SHARE = 0.45
COLOR_MARGIN = 0.18
MOST_SHARE = 0.25
VIVID_COLORS = tuple(name for name in COLOR_NAMES if name not in ("black", "gray"))
"""What a person would name a shot by; black and gray are in every picture."""
MOTION_SPEED = 0.05
"""Picture widths or heights per second; slower can hardly be seen."""
MOTION_STEADINESS = 0.75
MOTION_AXIS_RATIO = 2.5
TIME_TOLERANCE_S = 0.25
MIN_SHOTS_TO_ORDER, MAX_SHOTS_TO_ORDER = 3, 4

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
ONLY_CUT, LAST_CUT = 0, -1
"""Cuts that a question does not count; whether one is the last hangs on all that come after."""
DIRECTIONS = ("to the left", "to the right", "upwards", "downwards")
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """A question with what must be measured to answer it."""

    kind: TaskKind
    text: str
    spec: dict[str, Any]
    options: tuple[str, ...] = ()
    tolerance: float = -1.0


@dataclass(frozen=True)
class Solution:
    """An answer in the canonical text form, the way to it, and the spans it stands on."""

    answer: str
    steps: tuple[str, ...]
    segments: tuple[tuple[str, float, float], ...]


class CannotSolveError(Exception):
    """The observation does not hold what the question asks about."""


@dataclass(frozen=True)
class Family:
    name: str
    propose: Callable[[Observation, str], list[Question]]
    """Questions about an observation; the text seeds what is left to choice."""
    solve: Callable[[Observation, Spec, Sequence[str]], Solution]
    """Raises CannotSolveError."""


def span_text(start_s: float, end_s: float) -> str:
    return f"{start_s:.2f} s to {end_s:.2f} s"


def _segment(label: str, shot: ShotFacts) -> tuple[str, float, float]:
    return (label, shot.start_s, shot.end_s)


def _walk(observation: Observation, words: Callable[[ShotFacts], str]) -> tuple[str, ...]:
    """One sentence per shot, in order of time."""
    return tuple(
        f"Shot {number} ({span_text(shot.start_s, shot.end_s)}) {words(shot)}."
        for number, shot in enumerate(observation.shots, 1)
    )


def _letter(options: Sequence[str], text: str) -> str:
    if text not in options:
        raise CannotSolveError(f"{text!r} is not among the options")
    return OPTION_LETTERS[list(options).index(text)]


def _roomy(observation: Observation) -> bool:
    """Several shots, and none too short to be seen."""
    return len(observation.shots) > 1 and min(s.duration_s for s in observation.shots) >= 0.3


# How many cuts, and when


def _propose_cut_count(observation: Observation, seed: str) -> list[Question]:
    if not _roomy(observation) or len(observation.cut_times_s) > MAX_CUTS_TO_COUNT:
        return []
    text = "How many times does the picture cut to a different shot?"
    return [Question(TaskKind.COUNT, text, {"family": "cut_count"})]


def _solve_cut_count(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    cuts = observation.cut_times_s
    steps = [
        f"Cut {number}: the shot that began at {shot.start_s:.2f} s gives way to another "
        f"at {shot.end_s:.2f} s."
        for number, shot in enumerate(observation.shots[:-1], 1)
    ]
    last = observation.shots[-1]
    steps.append(
        f"From {last.start_s:.2f} s to the end at {last.end_s:.2f} s there is no further cut."
    )
    steps.append(f"So the number of cuts is {len(cuts)}.")
    segments = tuple(_segment(f"shot {n}", shot) for n, shot in enumerate(observation.shots, 1))
    return Solution(str(len(cuts)), tuple(steps), segments)


def _propose_cut_time(observation: Observation, seed: str) -> list[Question]:
    cuts = observation.cut_times_s
    if not _roomy(observation) or len(cuts) > MAX_CUTS_TO_COUNT:
        return []
    number = int(unit_interval(seed, "cut_time") * len(cuts)) + 1
    if len(cuts) == 1:
        number = ONLY_CUT
        text = "At how many seconds into the clip does the picture cut to another shot?"
    else:
        which = ORDINALS[number - 1]
        if number == len(cuts):
            number, which = LAST_CUT, "last"
        text = f"At how many seconds into the clip does the {which} cut to another shot happen?"
    spec = {"family": "cut_time", "number": number}
    return [Question(TaskKind.NUMBER, text, spec, tolerance=TIME_TOLERANCE_S)]


def _solve_cut_time(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    cuts, number = observation.cut_times_s, int(spec["number"])
    if number == ONLY_CUT and len(cuts) != 1:
        raise CannotSolveError(f"{len(cuts)} cuts, the question is about the only one")
    if number in (ONLY_CUT, LAST_CUT):
        number = max(1, len(cuts))
    if number > len(cuts):
        raise CannotSolveError(f"{len(cuts)} cuts, the question asks for cut {number}")
    steps = [
        f"Cut {place} comes at {time_s:.2f} s." for place, time_s in enumerate(cuts[:number], 1)
    ]
    steps.append(f"So the time in seconds is {cuts[number - 1]:.2f}.")
    before, after = observation.shots[number - 1], observation.shots[number]
    segments = (_segment("before the cut", before), _segment("after the cut", after))
    return Solution(f"{cuts[number - 1]:.2f}", tuple(steps), segments)


# The shot that stands out


_EXTREMES: dict[
    str, tuple[str, Callable[[ShotFacts], float], float, Callable[[ShotFacts], str]]
] = {
    "darkest": (
        "the darkest shot",
        lambda shot: -shot.brightness,
        BRIGHTNESS_MARGIN,
        lambda shot: f"has a mean brightness of {shot.brightness:.2f}",
    ),
    "brightest": (
        "the brightest shot",
        lambda shot: shot.brightness,
        BRIGHTNESS_MARGIN,
        lambda shot: f"has a mean brightness of {shot.brightness:.2f}",
    ),
    "longest": (
        "the longest uninterrupted shot",
        lambda shot: shot.duration_s,
        LENGTH_MARGIN_S,
        lambda shot: f"lasts {shot.duration_s:.2f} seconds",
    ),
}


def _propose_extreme(observation: Observation, seed: str) -> list[Question]:
    found = []
    if len(observation.shots) < 3 or not _roomy(observation):
        return []
    for what, (words, *_) in _EXTREMES.items():
        if _stands_out(observation, what) is not None:
            text = f"During which time span is {words} of the clip on screen?"
            spec = {"family": "extreme", "what": what}
            found.append(Question(TaskKind.TEMPORAL_GROUNDING, text, spec))
    return found


def _solve_extreme(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    words, value, _, say = _EXTREMES[str(spec["what"])]
    best = max(observation.shots, key=value)
    span = span_text(best.start_s, best.end_s)
    steps = (*_walk(observation, say), f"So {words} is on screen from {span}.")
    answer = f"{best.start_s:.2f} to {best.end_s:.2f}"
    return Solution(answer, steps, (_segment(words, best),))


# Shots told apart by what stands out in them


def _most_of(observation: Observation, color: str) -> ShotFacts | None:
    """The one shot with the most of this colour, if it stands out from all others."""
    ranked = sorted(observation.shots, key=lambda shot: shot.share(color), reverse=True)
    first, second = ranked[0], ranked[1]
    if first.share(color) < MOST_SHARE or first.duration_s < MIN_SHOT_S:
        return None
    return first if first.share(color) - second.share(color) >= COLOR_MARGIN else None


def _stands_out(observation: Observation, what: str) -> ShotFacts | None:
    """The one shot with the most of what is asked for, if it is so by a margin."""
    _, value, margin, _ = _EXTREMES[what]
    ranked = sorted(observation.shots, key=value, reverse=True)
    clear = value(ranked[0]) - value(ranked[1]) >= margin
    return ranked[0] if clear and ranked[0].duration_s >= MIN_SHOT_S else None


_MOST = "the shot with the most "


def _propose_order(observation: Observation, seed: str) -> list[Question]:
    if not _roomy(observation):
        return []
    named = [(_EXTREMES[what][0], _stands_out(observation, what)) for what in _EXTREMES]
    named += [(_MOST + color, _most_of(observation, color)) for color in VIVID_COLORS]
    found: dict[str, ShotFacts] = {}
    for words, shot in sorted(named, key=lambda one: unit_interval(seed, one[0])):
        if shot is not None and shot not in found.values():
            found[words] = shot
    if len(found) < MIN_SHOTS_TO_ORDER:
        return []
    options = tuple(list(found)[:MAX_SHOTS_TO_ORDER])
    text = "In which order do these shots of the clip appear?"
    return [Question(TaskKind.ORDERING, text, {"family": "order"}, options)]


def _solve_order(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    placed = sorted(
        (*_described(observation, option), letter, option)
        for letter, option in zip(OPTION_LETTERS, options, strict=False)
    )
    if len({start_s for start_s, *_ in placed}) < len(placed):
        raise CannotSolveError("one shot fits two of the options")
    steps = tuple(
        f"{option[0].upper()}{option[1:]} {facts} and is on screen "
        f"from {span_text(start_s, end_s)}."
        for start_s, end_s, facts, _, option in placed
    )
    answer = ",".join(letter for *_, letter, _ in placed)
    segments = tuple((option, start_s, end_s) for start_s, end_s, _, _, option in placed)
    return Solution(answer, (*steps, f"So the order is {answer.replace(',', ', ')}."), segments)


def _described(observation: Observation, option: str) -> tuple[float, float, str]:
    """Start and end of the shot that an option describes, and what was measured in it."""
    for words, value, _, say in _EXTREMES.values():
        if option == words:
            shot = max(observation.shots, key=value)
            return shot.start_s, shot.end_s, say(shot)
    color = option.removeprefix(_MOST)
    if color not in COLOR_NAMES:
        raise CannotSolveError(f"{option!r} can't be measured")
    shot = max(observation.shots, key=lambda shot: shot.share(color))
    return shot.start_s, shot.end_s, f"fills {shot.share(color):.0%} of the picture with {color}"


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
    if not _roomy(observation):
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
    letter = _letter(options, best)
    steps = (
        f"{words[0].upper()}{words[1:]} is on screen from {span_text(shot.start_s, shot.end_s)}.",
        f"Share of the picture by colour: {shares}.",
        f"The largest is {best}.",
        f"So the answer is {letter}, {best}.",
    )
    return Solution(letter, steps, (_segment(words, shot),))


# Which way the picture moves


def _direction(shot: ShotFacts) -> str | None:
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
        if steady and shot.duration_s >= MIN_SHOT_S and _direction(shot) is not None:
            text = f"Which way does the picture as a whole move across the screen in {words}?"
            spec = {"family": "motion", "place": place}
            found.append(Question(TaskKind.MCQ, text, spec, DIRECTIONS))
    return found


def _solve_motion(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    words, pick = _PLACES[str(spec["place"])]
    shot = pick(observation)
    direction = _direction(shot)
    if direction is None:
        raise CannotSolveError(f"no clear motion in {words}")
    letter = _letter(options, direction)
    sideways = "right" if shot.motion_x > 0 else "left"
    up_down = "down" if shot.motion_y > 0 else "up"
    steps = (
        f"{words[0].upper()}{words[1:]} is on screen from {span_text(shot.start_s, shot.end_s)}.",
        f"Each second its content shifts by {abs(shot.motion_x):.0%} of the picture's width to "
        f"the {sideways} and by {abs(shot.motion_y):.0%} of its height {up_down}.",
        f"So the answer is {letter}, {direction}.",
    )
    return Solution(letter, steps, (_segment(words, shot),))


# Brighter or darker at the end


_FIRST_LAST = ("the first shot", "the last shot")


def _propose_brighter(observation: Observation, seed: str) -> list[Question]:
    first, last = observation.shots[0], observation.shots[-1]
    clear = abs(first.brightness - last.brightness) >= 2 * BRIGHTNESS_MARGIN
    if not (_roomy(observation) and clear and min(first.duration_s, last.duration_s) >= MIN_SHOT_S):
        return []
    text = "Which shot is brighter overall: the first or the last of the clip?"
    return [Question(TaskKind.MCQ, text, {"family": "brighter"}, _FIRST_LAST)]


def _solve_brighter(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    first, last = observation.shots[0], observation.shots[-1]
    best = _FIRST_LAST[last.brightness > first.brightness]
    letter = _letter(options, best)
    steps = (
        f"The first shot ({span_text(first.start_s, first.end_s)}) has a mean brightness "
        f"of {first.brightness:.2f}.",
        f"The last shot ({span_text(last.start_s, last.end_s)}) has a mean brightness "
        f"of {last.brightness:.2f}.",
        f"So the answer is {letter}, {best}.",
    )
    return Solution(letter, steps, (_segment("first shot", first), _segment("last shot", last)))


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("cut_count", _propose_cut_count, _solve_cut_count),
        Family("cut_time", _propose_cut_time, _solve_cut_time),
        Family("extreme", _propose_extreme, _solve_extreme),
        Family("order", _propose_order, _solve_order),
        Family("color", _propose_color, _solve_color),
        Family("motion", _propose_motion, _solve_motion),
        Family("brighter", _propose_brighter, _solve_brighter),
    )
}


def solve(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    """Answer a question of any family. Raises CannotSolveError."""
    family = FAMILIES.get(str(spec.get("family")))
    if family is None:
        raise CannotSolveError(f"not a question about measurements: {dict(spec)}")
    return family.solve(observation, spec, options)


def choose(
    observation: Observation, wanted: int, kinds: Sequence[TaskKind], seed: str
) -> list[Question]:
    """Up to `wanted` questions, the kinds in turn, each from a family not used yet if possible."""
    pool = [
        question for family in FAMILIES.values() for question in family.propose(observation, seed)
    ]
    pool.sort(key=lambda question: unit_interval(seed, question.text))
    chosen: list[Question] = []
    while len(chosen) < wanted:
        before = len(chosen)
        for kind in kinds:
            used = {question.spec["family"] for question in chosen}
            left = [question for question in pool if question.kind is kind]
            left = [question for question in left if question not in chosen]
            left.sort(key=lambda question: question.spec["family"] in used)
            chosen += left[: min(1, wanted - len(chosen))]
        if len(chosen) == before:
            break
    return chosen
