"""Which frames of a clip a model is shown: a pure choice among the numbers of its frames.

A clip's file has a constant frame rate, so the number of a frame says when it is shown; the time
that a model is told is read from the file when the frame is decoded.

Some models merge two frames in a row into one step with one time, the middle of both. So the number
of frames is even for them (`together` = 2), and where there is room both come from one shot.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from transforms.annotate.teacher import FramePolicy

BUSY_SHARE = 0.25
"""Of the clip, what the detail policy looks at closely: there it shows 2.5 times as many frames as
`uniform` does, elsewhere half as many."""


def choose_times(duration_s: float, fps: float, max_frames: int) -> tuple[float, ...]:
    """Times at which to look: evenly over a span from 0, about `fps` per second.

    The step is duration / number exactly, not 1 / fps. All times are in [0, duration). Raises
    ValueError unless duration, fps and max_frames are positive.
    """
    if duration_s <= 0 or fps <= 0 or max_frames < 1:
        raise ValueError(f"nothing to show: {duration_s} s at {fps} fps, {max_frames} frames")
    number = min(max(round(duration_s * fps), 1), max_frames)
    return tuple(index * duration_s / number for index in range(number))


def count_frames(
    duration_s: float, fps: float, max_frames: int, total: int, together: int = 1
) -> int:
    """How many frames to show of a clip of `total` frames: about `fps` per second.

    Never more than `max_frames` or `total`. A multiple of `together` (1 or 2) unless the clip is a
    single frame. Raises ValueError unless all are positive.
    """
    if duration_s <= 0 or fps <= 0 or max_frames < 1 or total < 1:
        raise ValueError(f"nothing to show: {duration_s} s at {fps} fps, {max_frames} frames")
    most = min(max_frames, total)
    number = min(max(round(duration_s * fps), 1), most)
    if number % together:
        number += 1 if number < most else -1
    return max(number, 1)


def choose_frames(
    policy: FramePolicy,
    total: int,
    number: int,
    starts: Sequence[int] = (),
    changes: Sequence[float] = (),
    together: int = 1,
) -> tuple[int, ...]:
    """`number` frames of a clip of `total` frames, or fewer: rising and distinct.

    `starts` are the first frames of its shots, of which those inside of it count; `changes[n]` is
    how much frame n differs from the one before. Where a policy lacks what it goes by (one shot
    only, nothing changes), it is `uniform`.
    """
    if policy is FramePolicy.SHOTS:
        return shot_frames(total, number, starts, together)
    if policy is FramePolicy.DETAIL:
        return detail_frames(total, number, changes)
    return even_frames(total, number)


def even_frames(total: int, number: int) -> tuple[int, ...]:
    """Evenly over the clip from its first frame: the ones nearest to n * total / number.

    None is off by more than half a frame, so a model that is told only the seconds per step
    (Qwen2.5-VL) is told the truth.
    """
    number = min(number, total)
    return tuple((2 * place * total + number) // (2 * number) for place in range(number))


def _middles(total: int, number: int) -> list[int]:
    """The middles of `number` equal parts of [0, total)."""
    return [(2 * place + 1) * total // (2 * number) for place in range(number)]


def shot_frames(
    total: int, number: int, starts: Sequence[int], together: int = 1
) -> tuple[int, ...]:
    """Every shot at least once, if there are enough frames, else the longest; the rest by length.

    Inside a shot they lie in the middles of equal parts, never on its first frame (where a cut
    or the last of a transition is) if it has enough others.
    """
    inner = {start for start in starts if 0 < start < total}
    if not inner or number >= total:
        return even_frames(total, number)
    edges = [0, *sorted(inner), total]
    shots = list(pairwise(edges))
    lengths = [end - start for start, end in shots]
    # Both frames of a step from one shot, if all shots can have such a pair.
    unit = together if min(lengths) >= together and len(shots) * together <= number else 1
    counts = _shared_out(lengths, number // unit, unit)
    chosen: list[int] = []
    for (start, end), count in zip(shots, counts, strict=True):
        first = start + 1 if start > 0 and count < end - start else start
        if count:
            chosen += [first + offset for offset in _middles(end - first, count)]
    return tuple(chosen)


def _shared_out(lengths: Sequence[int], units: int, unit: int) -> list[int]:
    """How many frames each shot gets: first one unit each, the longest first, then always the one
    whose frames would lie farthest apart (d'Hondt's method)."""
    counts = [0] * len(lengths)
    queue = [(0, -float(length), shot) for shot, length in enumerate(lengths) if length >= unit]
    heapq.heapify(queue)
    for _ in range(units):
        if not queue:
            break
        _, _, shot = heapq.heappop(queue)
        counts[shot] += unit
        if counts[shot] + unit <= lengths[shot]:
            apart = lengths[shot] / (counts[shot] + unit)
            heapq.heappush(queue, (1, -apart, shot))
    return counts


def detail_frames(total: int, number: int, changes: Sequence[float]) -> tuple[int, ...]:
    """Half of the frames evenly over the clip, the others where most changes: evenly between those
    that are there already, in about a quarter of the clip."""
    if number >= total or not any(changes):
        return even_frames(total, number)
    wide = even_frames(total, (number + 1) // 2)
    close = number - len(wide)
    edges = [*wide, total]
    gaps = list(pairwise(edges))
    busy = [float(sum(changes[start:end])) for start, end in gaps]
    run = max(round(len(gaps) * BUSY_SHARE), 1)
    first = busiest_run(busy, run)
    while sum(end - start - 1 for start, end in gaps[first : first + run]) < close:
        run = min(2 * run, len(gaps))
        first = busiest_run(busy, run)
    chosen = list(wide)
    gaps = gaps[first : first + run]
    counts = _shared_out([end - start - 1 for start, end in gaps], close, 1)
    for (start, end), count in zip(gaps, counts, strict=True):
        chosen += [start + place * (end - start) // (count + 1) for place in range(1, count + 1)]
    return tuple(sorted(chosen))


def busiest_run(busy: Sequence[float], length: int) -> int:
    """Where the `length` neighbours begin in which most happens; the first of equals.

    What lies near their middle weighs most, so that it is not at their very edge.
    """
    weights = np.bartlett(length + 2)[1:-1]
    # Rounded: whether two runs are alike must not hang on the order of additions.
    return int(np.argmax(np.convolve(busy, weights, "valid").round(6)))
