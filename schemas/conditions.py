"""The published table of one task: what came back when it was asked again under changed evidence.

`verdict.conditions_json` of a sample holds it, in the canonical form.
"""

from __future__ import annotations

from schemas.base import Record
from schemas.view import Condition


class AskedView(Record):
    """One view of the clip, and how often the answer given under it was right."""

    condition: Condition
    spans_s: list[tuple[float, float]]
    """The cited spans that were alone shown (evidence) or hidden (masked), clip time."""
    until_s: float
    """The last moment shown (prefix); -1 = all."""
    order: int
    """Under shuffled: -1 = backwards, else the number of a shuffling; 0 elsewhere."""
    black: bool
    """Whether what is hidden was shown as black frames."""
    asked: int
    right: int
    """Right answers, guesses included."""
    share: float
    """(right / asked - c) / (1 - c), at least 0, where c is how often a guess is right."""


class ConditionScores(Record):
    """What the shares say; -1 = not known."""

    difficulty: float = -1.0
    """1 - share under full: 0 = easy."""
    language_prior: float = -1.0
    """Share under blind: how far the answer is guessed without a frame."""
    sufficiency: float = -1.0
    """Share under evidence / share under full, at most 1; of the spans of the reply shown."""
    necessity: float = -1.0
    """1 - share under masked / share under full, at least 0; likewise."""
    order_sensitivity: float = -1.0
    """1 - share under shuffled / share under full, at least 0."""
    answerable_from_s: float = -1.0
    """The first moment asked about from which on the question can be answered, clip time."""


class Conditions(Record):
    """Who was asked, under which views, and what follows."""

    model: str = ""
    """"" = nobody."""
    views: tuple[AskedView, ...] = ()
    scores: ConditionScores = ConditionScores()
