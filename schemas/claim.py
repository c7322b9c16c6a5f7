"""A claim: what one step of a reasoning says of the clip, and what became of it when checked."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Record


class ClaimKind(StrEnum):
    """What a claim names, and so where to look for it."""

    TIME = "time"
    SPAN = "span"
    BOX = "box"
    COUNT = "count"


class Shown(StrEnum):
    """What a look at the claimed time and place gave."""

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"
    NOT_ASKED = "not_asked"


class Claim(Record):
    """One claim of one step; times are clip times, -1 where the claim names none."""

    step: int
    """Which step of the reasoning, from 0."""
    kind: ClaimKind
    text: str
    """The step's words: what is claimed."""
    start_s: float = -1.0
    end_s: float = -1.0
    """The same as `start_s` for a moment."""
    box: tuple[float, float, float, float] | tuple[()] = ()
    number: int = -1
    """What is said to be there so many times (COUNT)."""


class CheckedClaim(Record):
    """A claim with what was found."""

    claim: Claim
    exists: bool
    """Whether its time and place lie within the clip."""
    shown: Shown = Shown.NOT_ASKED
    votes: tuple[Shown, ...] = ()
    """Each reply of those who looked."""

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return self.exists and self.shown is not Shown.NO
