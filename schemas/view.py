"""A view: which part of a clip a model is shown when it is asked again under changed evidence."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Record

Spans = tuple[tuple[float, float], ...]

BACKWARDS = -1
"""The order from the last frame to the first: no order of events survives it, as one in so many
survives shuffling."""


class Condition(StrEnum):
    """What a model sees, and so what its answer proves."""

    FULL = "full"
    """All frames: how often the answer comes back is the difficulty."""
    BLIND = "blind"
    """No frame: an answer that comes back all the same tests language, not sight."""
    EVIDENCE = "evidence"
    """Only the cited spans: the answer survives if they suffice."""
    MASKED = "masked"
    """All but the cited spans: the answer fails if they are needed."""
    SHUFFLED = "shuffled"
    """The frames in another order: answers about order fail, others survive."""
    PREFIX = "prefix"
    """The frames up to a moment: from when on the question can be answered."""


class View(Record):
    """What is left of a clip's frames; as made without arguments, all of them."""

    condition: Condition = Condition.FULL
    spans_s: Spans = ()
    """The cited spans, clip time (EVIDENCE, MASKED)."""
    until_s: float = -1.0
    """The last moment shown, clip time (PREFIX)."""
    order: int = 0
    """Which other order (SHUFFLED): `BACKWARDS`, or the number of a shuffling."""
    black: bool = False
    """Whether what is hidden is shown as black frames instead of being left out."""
    box: tuple[float, float, float, float] | tuple[()] = ()
    """Only this part of the frames is shown; corners relative to the frame, () = all."""

    def shows(self, time_s: float) -> bool:
        """Whether the frame at a clip time is one of those shown."""
        if self.condition is Condition.BLIND:
            return False
        if self.condition is Condition.PREFIX:
            return time_s <= self.until_s
        inside = any(start_s <= time_s <= end_s for start_s, end_s in self.spans_s)
        if self.condition is Condition.EVIDENCE:
            return inside
        return not (inside and self.condition is Condition.MASKED)


WHOLE = View()
"""All frames, as they are."""
