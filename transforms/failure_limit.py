"""When so much fails that something else is wrong: the run stops instead of rejecting all.

What counts are reasons that speak of machines, models and our own code (`FAILURES`), not those that
speak of the subjects. Each worker process counts what it has seen itself, for each leg: no worker
has to know of another, so it works wherever the workers run, and while they do. At the end the
totals of all workers are looked at: of many, each may have seen too few.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
        description="the run stops when a larger share of what a worker has seen of a stage, or at "
        "its end of what all have seen, failed by the fault of machines, models or proofreel "
        "itself (docs/faults.md); 1 = never",
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
            if failed and self.is_passed(count.failed.total(), count.entered):
                of_what = f"{count.entered} {UNITS[stage]}s that a worker has seen"
                example = count.examples[_most_frequent(count.failed)]
                raise TooManyFailedError(self.words(stage, of_what, count.failed, example))

    def is_passed(self, failed: int, entered: int) -> bool:
        """Whether so many failures among so many that entered are too many."""
        return failed >= self.min_failed and failed > self.max_failed_share * entered

    def words(self, stage: Stage, of_what: str, failed: Counter[Reason], example: Rejection) -> str:
        """What is said when they are; `example` is one of the most frequent reason."""
        detail = " ".join(example.detail.split())[:MAX_EXAMPLE_CHARS]
        return (
            f"{stage}: {failed.total()} of {of_what} failed, a larger share than "
            f"run.max_failed_share = {self.max_failed_share:g}, so something else is wrong. "
            f"Mostly {example.reason} ({failed[example.reason]} times), such as "
            f"{example.subject}{': ' * bool(detail)}{detail}. Mend it and run the same command "
            "again: what was finished is looked up. If so many failures are to be expected, raise "
            "run.max_failed_share (1 = never stop)"
        )


def check_totals(
    limit: FailureLimit,
    entered: Mapping[Stage, int],
    rejected: Mapping[tuple[Stage, Reason], int],
    example_of: Callable[[Stage, Reason], Rejection],
) -> None:
    """Hold what entered each stage, and what was rejected there, of all workers against the limit.

    `example_of` gives one of the rejections of a stage and reason that are counted. Raises
    TooManyFailedError for the first stage that is beyond the limit.
    """
    if limit.max_failed_share >= 1.0:
        return
    for stage in Stage:
        failed = Counter({why: rejected.get((stage, why), 0) for why in Reason if why in FAILURES})
        if limit.is_passed(failed.total(), entered.get(stage, 0)):
            of_what = f"all {entered.get(stage, 0)} {UNITS[stage]}s"
            example = example_of(stage, _most_frequent(failed))
            raise TooManyFailedError(limit.words(stage, of_what, failed, example))


def _most_frequent(failed: Counter[Reason]) -> Reason:
    # The order of the reasons, so that a draw is decided.
    return max(Reason, key=lambda one: failed[one])


NO_LIMIT = FailureLimit()
