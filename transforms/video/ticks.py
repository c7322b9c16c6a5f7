"""Which source frame stands at which tick of a clip's constant frame rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt


def repeats(
    times_s: npt.NDArray[np.float64], start_s: float, end_s: float, rate: Fraction
) -> list[int]:
    """How often each source frame is shown at a constant rate: 1 each in the usual case.

    Tick k of the clip (time k / rate) shows the frame nearest to it, so no frame is off by more
    than half a tick; frames without a tick of their own get 0. The sum is the clip's length in
    ticks, at least 1.
    """
    ticks = max(1, round((end_s - start_s) * rate))
    places = (times_s - start_s) * float(rate)
    # Half a tick rounds up, not to even: a steady offset must not turn into a stutter.
    slots = np.floor(places + 0.5 + 1e-6).astype(int)
    slots[0] = 0
    # Of several frames on one tick, the nearest keeps it; if no other tick's frame follows at
    # once, the last of them stands until one does.
    by_nearness = np.lexsort((np.round(np.abs(places - slots), 4), slots))
    taken, first = np.unique(slots[by_nearness], return_index=True)
    last = np.searchsorted(slots, taken, side="right") - 1
    lengths = np.diff(np.minimum(taken, ticks), append=ticks)
    counts = np.zeros(len(slots), int)
    counts[by_nearness[first]] += np.minimum(lengths, 1)
    counts[last] += np.maximum(lengths - 1, 0)
    return [int(count) for count in counts]
