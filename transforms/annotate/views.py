"""Which frames of a clip are shown under a view, and in which order: a pure choice of numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.view import BACKWARDS, Condition, Spans, View

HIDDEN = -1
"""In place of a frame's number: a black picture."""

LEAST_EVIDENCE = 4
"""Frames shown of cited spans, if the clip has as many there: one frame shows no change."""


@dataclass(frozen=True)
class Shown:
    """`numbers` are the frames whose times are told, `pictures` those whose pixels are shown there
    (`HIDDEN` = a black picture)."""

    numbers: tuple[int, ...]
    pictures: tuple[int, ...]


def frames_of_view(view: View, chosen: Sequence[int], fps: float, total: int) -> Shown:
    """The frames of a view, out of those chosen for the whole clip (rising, distinct).

    Of cited spans at least `LEAST_EVIDENCE` are shown, evenly, where the choice holds fewer; around
    masked spans those nearer than half the distance of two chosen frames are hidden, too: what
    happens there shows in its neighbours.
    """
    numbers = tuple(chosen)
    if view.condition is Condition.SHUFFLED:
        pictures = list(numbers)
        if view.order == BACKWARDS:
            return Shown(numbers, tuple(reversed(pictures)))
        random.Random(f"shuffled {view.order} {len(numbers)}").shuffle(pictures)
        if pictures == list(numbers):
            pictures.reverse()
        return Shown(numbers, tuple(pictures))
    if view.condition is Condition.EVIDENCE and not view.black:
        shown = tuple(one for one in numbers if view.shows(one / fps))
        if len(shown) < LEAST_EVIDENCE:
            shown = tuple(sorted({*shown, *_within(view.spans_s, fps, total)}))
        return Shown(shown, shown)
    margin_s = 0.0
    if view.condition is Condition.MASKED:
        margin_s = total / fps / max(len(numbers), 1) / 2
    wide = view.model_copy(
        update={"spans_s": tuple((s - margin_s, e + margin_s) for s, e in view.spans_s)}
    )
    if view.black:
        pictures = [one if wide.shows(one / fps) else HIDDEN for one in numbers]
        return Shown(numbers, tuple(pictures))
    shown = tuple(one for one in numbers if wide.shows(one / fps))
    return Shown(shown, shown)


def _within(spans: Spans, fps: float, total: int) -> set[int]:
    """Frames evenly over the spans, `LEAST_EVIDENCE` in all if they have as many."""
    inside = [
        number
        for number in range(total)
        if any(start_s <= number / fps <= end_s for start_s, end_s in spans)
    ]
    if not inside and spans:
        # A span between two frames: what is on screen then.
        inside = [min(int(spans[0][0] * fps + 1e-6), total - 1)]
    step = max(len(inside) / LEAST_EVIDENCE, 1.0)
    return {inside[int(place * step)] for place in range(min(len(inside), LEAST_EVIDENCE))}
