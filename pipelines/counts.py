"""How far a run is: what its workers tell, summed up by stage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.told import Told
from schemas.rejection import Stage
from schemas.usage import Usage
from transforms.progress import NO_REPLIES, ProgressLog, Replied, Step

POLL_S = 0.5

RATE_OVER_S = 60.0
"""Tokens per second are those of the last minute: a teacher that stands still shows as such."""


@dataclass
class StageCount:
    entered: int = 0
    rejected: int = 0
    began_s: float = 0.0
    last_s: float = 0.0

    @property
    def passed(self) -> int:
        return self.entered - self.rejected

    @property
    def rate(self) -> float:
        """Per second, since the stage began."""
        return self.entered / max(self.last_s - self.began_s, POLL_S)


@dataclass
class TeacherCount:
    """The replies of a run so far, with the tokens of those asked for now."""

    asked: int = 0
    reused: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    """At the prices of whoever was asked; 0 = the prices are not known."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many tokens were written, for the last while."""
    _began_s: float = 0.0

    def add(self, replied: Replied, now_s: float) -> None:
        self._began_s = self._began_s or now_s
        self.asked += replied.asked
        self.reused += replied.reused
        self.usage += usage_of(replied)
        self.cost += replied.cost
        self._recent.append((now_s, replied.completion_tokens))

    def tokens_per_s(self, now_s: float) -> float:
        """What the teacher writes per second, over the last minute or since it began."""
        while self._recent and self._recent[0][0] < now_s - RATE_OVER_S:
            self._recent.popleft()
        span_s = min(max(now_s - self._began_s, POLL_S), RATE_OVER_S)
        return sum(tokens for _, tokens in self._recent) / span_s


def usage_of(replied: Replied) -> Usage:
    """The tokens of the replies that were asked for."""
    return Usage(
        replies=replied.asked,
        prompt_tokens=replied.prompt_tokens,
        completion_tokens=replied.completion_tokens,
    )


def replies_in(log: ProgressLog) -> Replied:
    """All replies that a progress log tells of, summed up."""
    sums: list[Any] = list(NO_REPLIES)
    for one in log.read_all():
        if isinstance(one, Replied):
            sums = [had + more for had, more in zip(sums, one, strict=True)]
    return Replied(*sums)


@dataclass
class Counts:
    """What the progress log says, summed up."""

    inputs: int
    samples: int
    asks_constructed: bool = False
    """Whether the teacher is asked about constructed tasks, too."""
    constructed: int = 0
    """Constructed tasks wanted per clip."""
    refused: int = 0
    """Inputs that were refused before the workers began, who tell of the others only."""
    stages: dict[Stage, StageCount] = field(default_factory=dict)
    teacher: TeacherCount = field(default_factory=TeacherCount)

    def add(self, stage: Stage, entered: int, rejected: int, now_s: float) -> None:
        count = self.stages.setdefault(stage, StageCount(began_s=now_s))
        count.entered += entered
        count.rejected += rejected
        count.last_s = now_s

    def take(self, told: Told, now_s: float) -> None:
        """Come up to what Beam's metrics tell; what they have not told yet stays."""
        for step in self._with_refused(told.steps):
            had = self.stages.get(step.stage, StageCount())
            more = max(step.entered - had.entered, 0), max(step.rejected - had.rejected, 0)
            if any(more):
                self.add(step.stage, *more, now_s)
        teacher, replied = self.teacher, told.replied
        usage = teacher.usage
        more_replies = Replied(
            asked=max(replied.asked - teacher.asked, 0),
            reused=max(replied.reused - teacher.reused, 0),
            prompt_tokens=max(replied.prompt_tokens - usage.prompt_tokens, 0),
            completion_tokens=max(replied.completion_tokens - usage.completion_tokens, 0),
            cost=max(replied.cost - teacher.cost, 0.0),
        )
        if any(more_replies):
            teacher.add(more_replies, now_s)

    def settle(self, told: Told, now_s: float) -> None:
        """Be what the metrics of a finished run tell: a progress log can have counted twice."""
        self.take(told, now_s)
        for step in self._with_refused(told.steps):
            count = self.stages.get(step.stage, StageCount())
            count.entered, count.rejected = step.entered, step.rejected
        if any(told.replied):
            teacher, replied = self.teacher, told.replied
            teacher.asked, teacher.reused = replied.asked, replied.reused
            teacher.usage, teacher.cost = usage_of(replied), replied.cost

    def _with_refused(self, steps: Iterable[Step]) -> Iterator[Step]:
        for step in steps:
            more = self.refused if step.stage is Stage.INGEST else 0
            yield Step(step.stage, step.entered + more, step.rejected + more)

    def is_final(self, stage: Stage) -> bool:
        """Whether the total of a stage grows no more: all that leads to it is done."""
        if stage is Stage.INGEST:
            return True
        before = next((one for one in _LEADS_TO.get(stage, ()) if one in self.stages), None)
        if before is None or not self.is_final(before):
            return False
        total = self.total(before)
        return total is not None and self.stages[before].entered >= total

    def left_s(self, stage: Stage) -> float | None:
        """How long a stage will take at its rate; None where nobody can tell yet."""
        count, total = self.stages[stage], self.total(stage)
        if total is None or count.entered >= total or count.rate <= 0 or not self.is_final(stage):
            return None
        return (total - count.entered) / count.rate

    def total(self, stage: Stage) -> int | None:
        """How many will enter a stage, as far as the stages before it tell."""
        if stage is Stage.INGEST:
            return self.inputs
        before = next((one for one in _BEFORE.get(stage, ()) if one in self.stages), None)
        if before is None:
            return None
        passed = self.stages[before].passed
        if before is Stage.TASK and Stage.CONSTRUCT in self.stages:
            asked = stage is Stage.ROUTE or self.asks_constructed
            passed += self.stages[Stage.CONSTRUCT].passed if asked else 0
        each = {Stage.ANSWER: self.samples, Stage.CONSTRUCT: self.constructed}.get(stage, 1)
        # Repair rounds ask more than once.
        return max(passed * each, self.stages[stage].entered if stage in self.stages else 0)


_BEFORE: dict[Stage, Sequence[Stage]] = {
    Stage.DECODE: (Stage.INGEST,),
    Stage.SELECT: (Stage.SEGMENT,),
    Stage.CUT: (Stage.SELECT,),
    Stage.TRANSCRIBE: (Stage.CUT,),
    Stage.CONSTRUCT: (Stage.CUT,),
    Stage.DESCRIBE: (Stage.CUT,),
    # Some stages can be left out.
    Stage.PROPOSE: (Stage.DESCRIBE, Stage.CUT),
    Stage.ANSWER: (Stage.TASK,),
    Stage.VERIFY: (Stage.ANSWER,),
    Stage.ROUTE: (Stage.TASK,),
}
"""What tells how many will enter a stage: the first of these that runs."""

_LEADS_TO: dict[Stage, Sequence[Stage]] = {
    **_BEFORE,
    # Counted in another unit than what leads to them.
    Stage.SELECT: (Stage.DECODE,),
    Stage.ANSWER: (Stage.PROPOSE,),
    Stage.ROUTE: (Stage.VERIFY,),
}
"""The stage that must be done before the total of another is known."""
