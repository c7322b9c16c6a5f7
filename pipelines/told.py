"""What the workers of a run have told through Beam's metrics, summed up over steps and machines."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apache_beam.metrics.metric import MetricsFilter

from schemas.rejection import Stage
from transforms.leg_metrics import BELOW, BUSY_US, ENTERED, NAMESPACE, REJECTED, REUSED, WORKED
from transforms.progress import NO_REPLIES, REPLIES, Replied, Step

LOG = logging.getLogger(__name__)

_BELOW = re.compile(BELOW.format(r"([0-9]+)"))
MS, US = 1e-3, 1e-6
_ASKING = threading.Lock()


@dataclass(frozen=True)
class LegTime:
    """How long workers were at the elements of a leg; a wait for a process or a server is in it."""

    leg: str
    elements: int
    busy_s: float
    """Of all workers together."""
    longest_s: float
    below_ms: Mapping[int, int] = field(default_factory=dict)
    """How many elements took less than so many milliseconds and at least half of it."""
    reused: int = 0
    worked: int = 0
    """Of what the leg looks up in the memo store: what was there, and what was not."""

    @property
    def mean_s(self) -> float:
        return self.busy_s / self.elements

    def percentile_s(self, percent: float) -> float:
        """What so many percent of the elements took at most.

        Known to a factor of two, since counts are by powers of two; inside of one it is taken that
        times lie evenly.
        """
        wanted = percent / 100 * sum(self.below_ms.values())
        passed = 0
        for below, count in sorted(self.below_ms.items()):
            if passed + count >= wanted and count:
                low = below / 2 if below > 1 else 0.0
                within = low + (below - low) * (wanted - passed) / count
                return min(within * MS, self.longest_s)
            passed += count
        return self.longest_s


@dataclass(frozen=True)
class Told:
    """All that the workers told, so far or in all."""

    steps: tuple[Step, ...] = ()
    """One for each stage."""
    replied: Replied = NO_REPLIES
    times: tuple[LegTime, ...] = ()
    """The busiest leg first."""


def told_if_any(result: Any) -> Told:
    """As `told_by`; nothing where the engine does not tell, which must not cost the run."""
    try:
        return told_by(result)
    except Exception:
        LOG.debug("the engine tells no metrics", exc_info=True)
        return Told()


def told_by(result: Any) -> Told:
    """What the workers of a run have told, given its Beam result, running or done."""
    # The display asks from a thread of its own, and may be at it when the run ends.
    with _ASKING:
        if getattr(result, "_metrics", None) is not None:
            # Beam keeps what a job server told first; what it tells now is asked for.
            result._metrics = None
        metrics = result.metrics()
    found = metrics.query(MetricsFilter().with_namespace(NAMESPACE))
    counts: dict[tuple[str, str], int] = {}
    for metric in found["counters"]:
        # Attempted is of what is running; some engines leave out one or the other.
        value = max(metric.committed or 0, metric.attempted or 0)
        key = _name(metric)
        counts[key] = counts.get(key, 0) + value
    busy: dict[str, list[Any]] = {}
    for metric in found["distributions"]:
        leg, name = _name(metric)
        value = metric.committed or metric.attempted
        if name == BUSY_US and value is not None and value.count:
            busy.setdefault(leg, []).append(value)
    times = [_leg_time(leg, parts, counts) for leg, parts in busy.items()]
    return Told(
        steps=_steps(counts),
        replied=Replied.of_whole_numbers(
            {name: value for (leg, name), value in counts.items() if leg == REPLIES}
        ),
        times=tuple(sorted(times, key=lambda time: (-time.busy_s, time.leg))),
    )


def _name(metric: Any) -> tuple[str, str]:
    leg, _, name = metric.key.metric.name.rpartition("/")
    return leg, name


def _steps(counts: Mapping[tuple[str, str], int]) -> tuple[Step, ...]:
    return tuple(
        Step(stage, counts[str(stage), ENTERED], counts.get((str(stage), REJECTED), 0))
        for stage in Stage
        if (str(stage), ENTERED) in counts
    )


def _leg_time(leg: str, parts: list[Any], counts: Mapping[tuple[str, str], int]) -> LegTime:
    below = {
        int(match[1]): count
        for (of, name), count in counts.items()
        if of == leg and (match := _BELOW.fullmatch(name))
    }
    return LegTime(
        leg=leg,
        elements=sum(part.count for part in parts),
        busy_s=sum(part.sum for part in parts) * US,
        longest_s=max(part.max for part in parts) * US,
        below_ms=below,
        reused=counts.get((leg, REUSED), 0),
        worked=counts.get((leg, WORKED), 0),
    )
