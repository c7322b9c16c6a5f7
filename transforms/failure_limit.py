"""When so much fails that something else is wrong: the run stops instead of rejecting all.

What counts are reasons that speak of machines, models and our own code (`FAILURES`), not those that
speak of the subjects. Each worker process counts what it has seen itself, for each leg: no worker
has to know of another, so it works wherever the workers run, and while they do.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from schemas.rejection import FAILURES, UNITS, Reason, Rejection, Stage
from transforms.outcome import StopRunError

MAX_EXAMPLE_CHARS = 200


class RunSettings(BaseModel):
    """Section `run` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_failed_share: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="the run stops when a larger share of what a worker has seen of a stage failed "
        "by the fault of machines, models or proofreel itself (docs/faults.md); 1 = never",
    )
    min_failed: int = Field(
        20, ge=1, description="as long as fewer have failed there, the share does not count"
    )


class TooManyFailedError(StopRunError):
    """Says how much failed at which stage, mostly why, and what to do; one line."""


@dataclass
class _Count:
    entered: int = 0
    failed: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, Rejection] = field(default_factory=dict)


_LOCK = threading.Lock()
_COUNTS: dict[tuple[str, str], _Count] = {}
"""By run and leg; of this process."""


@dataclass(frozen=True)
class FailureLimit:
    """The share of failures above which a run stops. It holds no counts, so that it can travel."""

    max_failed_share: float = 1.0
    min_failed: int = 1
    run: str = ""
    """Tells runs apart that a worker process sees one after the other."""

    def note(self, stage: Stage, leg: str, entered: int, rejections: Sequence[Rejection]) -> None:
        """Take note of what a leg has done with one element. Raises TooManyFailedError."""
        if self.max_failed_share >= 1.0:
            return
        with _LOCK:
            count = _COUNTS.setdefault((self.run, f"{stage}/{leg}"), _Count())
            count.entered += entered
            failed = [one for one in rejections if one.reason in FAILURES]
            for one in failed:
                count.failed[one.reason] += 1
                count.examples.setdefault(one.reason, one)
            total = count.failed.total()
            many = total > self.max_failed_share * count.entered
            if failed and many and total >= self.min_failed:
                raise TooManyFailedError(self._words(stage, count))

    def _words(self, stage: Stage, count: _Count) -> str:
        total = count.failed.total()
        # The order of the reasons, so that a draw is decided.
        reason = max(Reason, key=lambda one: count.failed[one])
        example = count.examples[reason]
        detail = " ".join(example.detail.split())[:MAX_EXAMPLE_CHARS]
        return (
            f"{stage}: {total} of {count.entered} {UNITS[stage]}s that a worker has seen failed, a "
            f"larger share than run.max_failed_share = {self.max_failed_share:g}, so something "
            f"else is wrong. Mostly {reason} ({count.failed[reason]} times), such as "
            f"{example.subject}{': ' * bool(detail)}{detail}. Mend it and run the same command "
            "again: what was finished is looked up. If so many failures are to be expected, raise "
            "run.max_failed_share (1 = never stop)"
        )


NO_LIMIT = FailureLimit()
