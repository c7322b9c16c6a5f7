"""How a leg of the way stands in a Beam pipeline: one element in; outputs, rejections, a tally out.

The work itself is a plain callable without Beam. What goes wrong with one element costs only that
element: the callable returns or raises a rejection, and any other exception becomes the rejection
`internal_error`, with a traceback in the log. What may go right in a moment is tried again first.
Only what would hit every element alike (a full disk, a read-only store, failures without end) stops
the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from schemas.rejection import Reason, Rejected, Stage
from transforms.at_work import NOT_NOTED, AtWork
from transforms.bundle_sums import of_bundle
from transforms.failure_limit import NO_LIMIT, FailureLimit
from transforms.leg_metrics import note_reuse
from transforms.lookups import watching
from transforms.naming import named
from transforms.needs import NO_HINTS, NO_NEEDS, Hints, Needs
from transforms.outcome import Outcome, Subject, Work, is_fatal, rejections
from transforms.progress import ProgressLog
from transforms.retry import RetryPolicy, tried
from transforms.subjects import subjects_told

LOG = logging.getLogger(__name__)

REJECTED = "rejected"
TALLY = "tally"
OUT = "out"


@dataclass(frozen=True)
class Care:
    """What a leg does about failures: how often it tries, when it stops the run, and where it
    notes what it is at, should the process die of that. And on which machines it is done."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limit: FailureLimit = NO_LIMIT
    at_work: AtWork = NOT_NOTED
    hints: Hints = NO_HINTS
    """How the engine is told of what a leg needs."""


class Leg(beam.PTransform):
    """Applies `work` to each element; three outputs: OUT, REJECTED and TALLY, which holds a pair of
    stage and number that entered for each bundle.

    `subjects` names what an element stands for, should the work fail as a whole. A step between two
    legs is one, too, with nowhere for its progress and without use for its tally.
    """

    def __init__(
        self,
        stage: Stage,
        work: Work[Any],
        subjects: Callable[[Any], Sequence[Subject]],
        progress: ProgressLog,
        care: Care = Care(),
        *,
        timed_as: str = "",
        needs: Needs = NO_NEEDS,
    ) -> None:
        """`timed_as`: under which name its time counts, where that is not the stage's."""
        super().__init__()
        self._hints = care.hints.of(needs)
        self._do = _LegFn(stage, work, subjects, progress, care, timed_as)

    def expand(self, elements: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        work = beam.ParDo(self._do).with_resource_hints(**self._hints)
        return elements | work.with_outputs(REJECTED, TALLY, main=OUT)


class _LegFn(beam.DoFn):
    def __init__(
        self,
        stage: Stage,
        work: Work[Any],
        subjects: Callable[[Any], Sequence[Subject]],
        progress: ProgressLog,
        care: Care,
        timed_as: str,
    ) -> None:
        self._stage = stage
        self._work = work
        self._subjects = subjects
        self._progress = progress
        self._care = care
        # A step between legs counts for itself: what it gets has been counted before.
        self._leg = timed_as or (str(stage) if progress.counts else leg_of(stage, work))

    def process(self, element: Any) -> Iterator[Any]:
        outcome = self._outcome(element)
        rejected = len(outcome.rejections)
        self._progress.add(self._stage, entered=outcome.entered, rejected=rejected)
        self._care.limit.note(self._stage, self._leg, outcome.entered, outcome.rejections)
        yield from outcome.outputs
        for rejection in outcome.rejections:
            yield beam.pvalue.TaggedOutput(REJECTED, rejection)
        self._entered += outcome.entered

    def start_bundle(self) -> None:
        self._entered = 0

    def finish_bundle(self) -> Iterator[Any]:
        self._progress.flush()
        if self._entered:
            tally = of_bundle((str(self._stage), self._entered))
            yield beam.pvalue.TaggedOutput(TALLY, tally)

    def _outcome(self, element: Any) -> Outcome[Any]:
        try:
            return self._worked(element)
        except Rejected as rejected:
            return self._all_rejected(element, rejected.reason, rejected.detail)
        except Exception as error:
            if is_fatal(error):
                raise
            with named(self._stage, subjects_told(self._subjects, element)):
                LOG.exception("failed")
            detail = f"{type(error).__name__}: {error}"
            return self._all_rejected(element, Reason.INTERNAL_ERROR, detail)

    def _worked(self, element: Any) -> Outcome[Any]:
        subjects = self._subjects(element)
        began_s = time.monotonic()
        with watching() as lookups:
            try:
                with named(self._stage, subjects), self._care.at_work.on(self._stage, subjects):
                    return tried(lambda: self._work(element), self._care.retry, _say)
            finally:
                self._progress.add_busy(self._leg, time.monotonic() - began_s, subjects)
                note_reuse(self._leg, reused=lookups.reused, worked=lookups.worked)

    def _all_rejected(self, element: Any, reason: Reason, detail: str) -> Outcome[Any]:
        subjects = subjects_told(self._subjects, element)
        return Outcome((), list(rejections(self._stage, subjects, reason, detail)), len(subjects))


def leg_of(stage: Stage, work: Work[Any]) -> str:
    """What a step between two legs is called where it is counted."""
    name = getattr(work, "__name__", type(work).__name__)
    return f"{stage}.{name.strip('_').lower()}"


def _say(attempt: int) -> None:
    LOG.warning("failed in try %d; it is tried again", attempt)
