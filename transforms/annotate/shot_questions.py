"""Questions that tell shots apart: which stands out, in what order they appear, how they rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schemas.base import unit_interval
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.observe import Observation, ShotFacts
from transforms.annotate.questions import (
    BRIGHTNESS_MARGIN,
    COLOR_MARGIN,
    LENGTH_MARGIN_S,
    MAX_SHOTS_TO_ORDER,
    MIN_SHOT_S,
    MIN_SHOTS_TO_ORDER,
    MOST_SHARE,
    ORDINALS,
    VIVID_COLORS,
    CannotSolveError,
    Family,
    Question,
    Solution,
    Spec,
    cited_shot,
    is_roomy,
    letter_of,
    shot_by_shot,
    span_text,
)
from transforms.video.measures import COLOR_NAMES

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
    if len(observation.shots) < 3 or not is_roomy(observation):
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
    steps = (*shot_by_shot(observation, say), f"So {words} is on screen from {span}.")
    answer = f"{best.start_s:.2f} to {best.end_s:.2f}"
    return Solution(answer, steps, (cited_shot(words, best),))


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
    if not is_roomy(observation):
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


# Shots ranked by how bright or how long they are


_RANKS: dict[str, tuple[str, Callable[[ShotFacts], float], float, Callable[[ShotFacts], str]]] = {
    "brightness": ("from the darkest to the brightest", *_EXTREMES["brightest"][1:]),
    "length": ("from the shortest to the longest", *_EXTREMES["longest"][1:]),
}


def _place_name(observation: Observation, number: int) -> str:
    """`the third shot`, or `the last shot` for the last of many."""
    last = number == len(observation.shots) - 1
    return f"the {'last' if last or number >= len(ORDINALS) else ORDINALS[number]} shot"


def _named_shot(observation: Observation, name: str) -> ShotFacts:
    word = name.removeprefix("the ").removesuffix(" shot")
    if word == "last":
        return observation.shots[-1]
    if word not in ORDINALS or ORDINALS.index(word) >= len(observation.shots):
        raise CannotSolveError(f"there is no shot called {name!r}")
    return observation.shots[ORDINALS.index(word)]


def _propose_rank(observation: Observation, seed: str) -> list[Question]:
    if not is_roomy(observation):
        return []
    found = []
    nameable = [*observation.shots[: len(ORDINALS)], observation.shots[-1]]
    for what, (words, value, margin, _) in _RANKS.items():
        chosen: list[ShotFacts] = []
        for shot in sorted(nameable, key=value):
            fits = not chosen or value(shot) - value(chosen[-1]) >= margin
            if fits and shot.duration_s >= MIN_SHOT_S:
                chosen.append(shot)
        if len(chosen) >= MIN_SHOTS_TO_ORDER:
            chosen = chosen[-MAX_SHOTS_TO_ORDER:]
            numbers = sorted(observation.shots.index(shot) for shot in chosen)
            options = tuple(_place_name(observation, number) for number in numbers)
            text = f"Put these shots of the clip in order {words}."
            spec = {"family": "rank", "what": what}
            found.append(Question(TaskKind.ORDERING, text, spec, options))
    return found


def _solve_rank(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    _, value, _, say = _RANKS[str(spec["what"])]
    shots = {option: _named_shot(observation, option) for option in options}
    ranked = sorted(options, key=lambda option: value(shots[option]))
    steps = tuple(
        f"{option[0].upper()}{option[1:]} "
        f"({span_text(shots[option].start_s, shots[option].end_s)}) {say(shots[option])}."
        for option in sorted(options, key=lambda option: shots[option].start_s)
    )
    answer = ",".join(letter_of(options, option) for option in ranked)
    segments = tuple(cited_shot(option, shots[option]) for option in ranked)
    return Solution(answer, (*steps, f"So the order is {answer.replace(',', ', ')}."), segments)


SHOT_FAMILIES = (
    Family("extreme", _propose_extreme, _solve_extreme),
    Family("order", _propose_order, _solve_order),
    Family("rank", _propose_rank, _solve_rank),
)
