"""What legs count while they work, as Beam metrics: the same names on every runner.

In the namespace `proofreel`: counters `LEG/entered` and `LEG/rejected` in the unit of the stage;
`LEG/reused` and `LEG/worked`, elements whose work was found in the memo store and others that look
there (replies, where a model is asked); a distribution `LEG/busy_us` of how long a worker was at
one element, and one counter per power of two of it, `LEG/busy_below_128_ms`: counters add up over
workers and machines, percentiles don't.
Counters `replies/...` say what models gave. All of it is for people and dashboards; nothing of it
reaches the dataset.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from apache_beam.metrics.metric import Metrics

NAMESPACE = "proofreel"
ENTERED, REJECTED = "entered", "rejected"
REUSED, WORKED = "reused", "worked"
BUSY_US = "busy_us"
"""In microseconds: many elements take less than a millisecond, and Beam sums up whole numbers."""
BELOW = "busy_below_{}_ms"
MAX_BUCKET_MS = 2**24
"""4 h 40 min; what takes longer counts here, too."""


@functools.cache
def counter(leg: str, name: str) -> Any:
    """The counter of a leg; what is added to it outside of a Beam worker goes nowhere."""
    return Metrics.counter(NAMESPACE, f"{leg}/{name}")


@functools.cache
def _busy(leg: str) -> Any:
    return Metrics.distribution(NAMESPACE, f"{leg}/{BUSY_US}")


def bucket_ms(milliseconds: int) -> int:
    """The power of two above a time; 1 for less than a millisecond."""
    return min(1 << max(milliseconds, 0).bit_length(), MAX_BUCKET_MS)


def note_busy(leg: str, busy_s: float, elements: int = 1) -> None:
    """Count how long a worker was at some elements; each gets an equal share."""
    microseconds = math.floor(1e6 * busy_s / max(elements, 1))
    for _ in range(elements):
        _busy(leg).update(microseconds)
    counter(leg, BELOW.format(bucket_ms(microseconds // 1000))).inc(elements)


def note_reuse(leg: str, *, reused: int, worked: int) -> None:
    """Count elements whose work was found in the memo store, and others that looked there."""
    for name, count in ((REUSED, reused), (WORKED, worked)):
        if count:
            counter(leg, name).inc(count)


@contextmanager
def busy(leg: str, elements: int = 1) -> Iterator[None]:
    """Count the time inside of the block, also if it raises."""
    began_s = time.monotonic()
    try:
        yield
    finally:
        note_busy(leg, time.monotonic() - began_s, elements)
