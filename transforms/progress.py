"""What has been done so far, told by all workers of a run as they go.

Twice: as Beam metrics, which some engines tell only at the end of a run, and in a file of JSON
lines to which every process appends; short appends are whole on a local file system, elsewhere some
may get lost. Both only feed what people see; the funnel is counted from the records themselves.

A process gathers its lines for a moment before it appends them: many elements take less time than
to open a file, and a file server takes far more.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from schemas.rejection import Stage
from transforms.leg_metrics import ENTERED, REJECTED, counter, note_busy
from transforms.outcome import Subject
from transforms.trouble import minding

REPLIES, SLOWEST = "replies", "slowest"
SLOW_S = 1.0
"""What took less is not told by name."""
GATHERED_S = 0.2
"""How long a count may wait for others before all are written; what looks does so less often."""
COST_UNIT = 1e-6
"""Beam counts in whole numbers."""


class Step(NamedTuple):
    """Elements that a stage has dealt with, in its unit."""

    stage: Stage
    entered: int
    rejected: int


class Replied(NamedTuple):
    """Replies of a model, teacher or verifier: asked for now, or found in the store."""

    asked: int
    reused: int
    prompt_tokens: int
    completion_tokens: int
    """Tokens of those asked for now."""
    cost: float
    """Of those tokens, at the prices of the model that was asked."""

    def in_whole_numbers(self) -> dict[str, int]:
        """As counters hold it; the cost in `COST_UNIT`."""
        return {**self._asdict(), "cost": round(self.cost / COST_UNIT)}

    @classmethod
    def of_whole_numbers(cls, counted: Mapping[str, int]) -> Replied:
        """As it was put into counters; what none speaks of is 0."""
        return cls(
            asked=counted.get("asked", 0),
            reused=counted.get("reused", 0),
            prompt_tokens=counted.get("prompt_tokens", 0),
            completion_tokens=counted.get("completion_tokens", 0),
            cost=round(counted.get("cost", 0) * COST_UNIT, 6),
        )


NO_REPLIES = Replied(asked=0, reused=0, prompt_tokens=0, completion_tokens=0, cost=0.0)


class Slowest(NamedTuple):
    """The element that a worker was at for longer than at any before of the same leg."""

    leg: str
    busy_s: float
    subject: str
    parent: str
    """Ids of what it stands for, if of several the first, and of what that was made from."""


Line = Step | Replied | Slowest

_slowest: dict[tuple[str, str], float] = {}
"""By log and leg, of this process."""


@dataclass
class _Gathered:
    """What a process has to tell one log."""

    sums: dict[str, list[int | float]] = field(default_factory=dict)
    written_s: float = 0.0
    """When something was written last, by a clock of its own."""


_GATHERING = threading.Lock()
_gathered: dict[str, _Gathered] = {}
"""By log, of this process."""


@dataclass(frozen=True)
class ProgressLog:
    """Where progress is written down; an empty path = in Beam's metrics alone."""

    path: str = ""
    counts: bool = True
    """Whether it counts at all: what stands between two legs has been counted before."""

    def add(self, stage: Stage, *, entered: int, rejected: int) -> None:
        """Note that a stage has dealt with so many more, in its unit."""
        if not self.counts:
            return
        counter(str(stage), ENTERED).inc(entered)
        counter(str(stage), REJECTED).inc(rejected)
        self._gather(str(stage), (entered, rejected))

    def add_replies(
        self,
        *,
        asked: int = 0,
        reused: int = 0,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost: float = 0.0,
    ) -> None:
        """Note that a model has given so many more replies."""
        if not self.counts or not (asked or reused):
            return
        replied = Replied(asked, reused, prompt_tokens, completion_tokens, cost)
        for name, value in replied.in_whole_numbers().items():
            counter(REPLIES, name).inc(value)
        self._gather(REPLIES, replied)

    def add_busy(self, leg: str, busy_s: float, subjects: Sequence[Subject]) -> None:
        """Note how long a worker was at an element; by name only if that was the longest yet."""
        note_busy(leg, busy_s)
        if self.path and subjects and busy_s > _slowest.get((self.path, leg), SLOW_S):
            _slowest[self.path, leg] = busy_s
            self._write([SLOWEST, leg, round(busy_s, 3), *subjects[0]])

    def _gather(self, kind: str, values: Sequence[int | float]) -> None:
        if not self.path:
            return
        with _GATHERING:
            gathered = _gathered.setdefault(self.path, _Gathered())
            before = gathered.sums.get(kind)
            gathered.sums[kind] = (
                list(values)
                if before is None
                else [one + more for one, more in zip(before, values, strict=True)]
            )
            due = time.monotonic() - gathered.written_s >= GATHERED_S
        if due:
            self.flush()

    def flush(self) -> None:
        """Write down what was gathered in this process: at the end of a bundle, at the latest."""
        with _GATHERING:
            gathered = _gathered.get(self.path)
            if gathered is None:
                return
            lines = [[kind, *values] for kind, values in gathered.sums.items()]
            gathered.sums.clear()
            gathered.written_s = time.monotonic()
        for line in lines:
            self._write(line)

    def _write(self, values: list[str | int | float]) -> None:
        if not self.path:
            return
        line = json.dumps(values) + "\n"
        # One write of a short line with O_APPEND: lines of several processes do not mix.
        with minding(Path(self.path).parent, "folder of the progress log"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def read_from(self, offset: int) -> tuple[list[Line], int]:
        """Lines after a byte offset, and the offset after them; of this process all so far."""
        self.flush()
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123 - paired with os.open above
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return list(_lines(whole.splitlines())), offset + len(whole)

    def read_all(self) -> Iterator[Line]:
        """All lines so far, one after the other: there are more the longer a run and the more
        workers it has. A last one that is not whole yet is left out."""
        self.flush()
        with suppress(FileNotFoundError), open(self.path, "rb") as stream:  # noqa: PTH123 - as above
            yield from _lines(line for line in stream if line.endswith(b"\n"))


NOWHERE = ProgressLog(counts=False)


def _lines(lines: Iterable[bytes]) -> Iterator[Line]:
    for line in lines:
        # Where workers of several machines append over NFS, lines can lie over each other.
        with suppress(ValueError, TypeError):
            yield _line(line)


def _line(line: bytes) -> Line:
    """Raises ValueError or TypeError for what is no whole line."""
    kind, *values = json.loads(line)
    if kind == REPLIES:
        return Replied(*values)
    if kind == SLOWEST:
        return Slowest(*values)
    return Step(Stage(kind), *values)
