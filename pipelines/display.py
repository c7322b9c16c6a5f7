"""What a person sees while a run works and when it is done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.rejection import UNITS, Stage
from schemas.usage import Usage
from transforms.progress import ProgressLog, Replied, Step

POLL_S = 0.5
LINES_EVERY_S = 3.0
"""How often a line is printed where there is no terminal to draw on."""

RATE_OVER_S = 60.0
"""Tokens per second are those of the last minute: a teacher that stands still shows as such."""

SHOWN = (
    *(Stage.INGEST, Stage.DECODE, Stage.SELECT, Stage.CUT, Stage.TRANSCRIBE, Stage.CONSTRUCT),
    *(Stage.DESCRIBE, Stage.PROPOSE, Stage.ANSWER, Stage.VERIFY, Stage.EXAMINE, Stage.ROUTE),
)
"""In the order of the way; a stage that nothing entered is not shown."""


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
    found = [one for one in log.read_from(0)[0] if isinstance(one, Replied)]
    return Replied(*(sum(column) for column in zip(*found, strict=True))) if found else NO_REPLIES


NO_REPLIES = Replied(asked=0, reused=0, prompt_tokens=0, completion_tokens=0, cost=0.0)


@dataclass
class Counts:
    """What the progress log says, summed up."""

    inputs: int
    samples: int
    asks_constructed: bool = False
    """Whether the teacher is asked about constructed tasks, too."""
    constructed: int = 0
    """Constructed tasks wanted per clip."""
    stages: dict[Stage, StageCount] = field(default_factory=dict)
    teacher: TeacherCount = field(default_factory=TeacherCount)

    def add(self, stage: Stage, entered: int, rejected: int, now_s: float) -> None:
        count = self.stages.setdefault(stage, StageCount(began_s=now_s))
        count.entered += entered
        count.rejected += rejected
        count.last_s = now_s

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


class ProgressDisplay:
    """Follows the progress log on a thread of its own while the pipeline runs."""

    def __init__(self, log: ProgressLog, counts: Counts, console: Console) -> None:
        self._log = log
        self._counts = counts
        self._console = console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._offset = 0
        self._printed: dict[str, int] = {}

    def __enter__(self) -> ProgressDisplay:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        if self._console.is_terminal:
            with Live(self._table(), console=self._console, refresh_per_second=4) as live:
                while not self._stop.wait(POLL_S):
                    self._read()
                    live.update(self._table())
                self._read()
                live.update(self._table())
            return
        printed_s = time.monotonic()
        while not self._stop.wait(POLL_S):
            self._read()
            if time.monotonic() - printed_s >= LINES_EVERY_S:
                printed_s = time.monotonic()
                self._print_lines()
        self._read()
        self._print_lines()

    def _read(self) -> None:
        steps, self._offset = self._log.read_from(self._offset)
        now_s = time.monotonic()
        for step in steps:
            if isinstance(step, Step):
                self._counts.add(*step, now_s)
            else:
                self._counts.teacher.add(step, now_s)

    def _rows(self) -> Iterable[tuple[int, Sequence[str]]]:
        """Cells of each line, name first, with a number that changes when there is news."""
        for stage in SHOWN:
            count = self._counts.stages.get(stage)
            if count is not None:
                yield count.entered, self._row(stage, count)
        teacher = self._counts.teacher
        if teacher.asked or teacher.reused:
            yield teacher.asked + teacher.reused, self._teacher_row(teacher)

    def _row(self, stage: Stage, count: StageCount) -> Sequence[str]:
        total = self._counts.total(stage)
        left = ""
        if total is not None and count.entered < total and count.rate > 0:
            left = f"{(total - count.entered) / count.rate:.0f} s left"
        done = f"{count.entered}/{'?' if total is None else total} {UNITS[stage]}s"
        rejected = f"{count.rejected} rejected" if count.rejected else ""
        if stage is Stage.VERIFY and count.entered:
            left = "  ".join(filter(None, (left, f"{count.passed / count.entered:.0%} accepted")))
        return (str(stage), done, f"{count.rate:.1f}/s", left, rejected)

    def _teacher_row(self, teacher: TeacherCount) -> Sequence[str]:
        speed = ""
        if teacher.usage.completion_tokens:
            speed = f"{teacher.tokens_per_s(time.monotonic()):.0f} tokens/s"
        found = f"{teacher.reused} found" if teacher.reused else ""
        cost = f"cost {teacher.cost:.4g}" if teacher.cost else ""
        return ("teacher", f"{teacher.asked} replies", speed, found, cost)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for _, row in self._rows():
            table.add_row(*row)
        return table

    def _print_lines(self) -> None:
        for news, row in self._rows():
            if self._printed.get(row[0]) != news:
                self._printed[row[0]] = news
                self._console.print("  ".join(part for part in row if part), highlight=False)
