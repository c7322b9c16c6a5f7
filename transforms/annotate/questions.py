"""Questions that can be answered by measuring: their form, and the margins that keep them clear.

A family proposes questions where the observation leaves no doubt, and solves them from any
observation. Whatever it writes is in the observation: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def cited_shot(label: str, shot: ShotFacts) -> tuple[str, float, float]:
    return (label, shot.start_s, shot.end_s)


def shot_by_shot(observation: Observation, words: Callable[[ShotFacts], str]) -> tuple[str, ...]:
    """One sentence per shot, in order of time."""
    return tuple(
        f"Shot {number} ({span_text(shot.start_s, shot.end_s)}) {words(shot)}."
        for number, shot in enumerate(observation.shots, 1)
    )


def letter_of(options: Sequence[str], text: str) -> str:
    if text not in options:
        raise CannotSolveError(f"{text!r} is not among the options")
    return OPTION_LETTERS[list(options).index(text)]


def is_roomy(observation: Observation) -> bool:
    """Several shots, and none too short to be seen."""
    return len(observation.shots) > 1 and min(s.duration_s for s in observation.shots) >= 0.3
