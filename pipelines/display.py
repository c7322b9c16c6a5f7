"""What a person, or a machine, is shown while a run works."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.counts import POLL_S, Counts, StageCount, TeacherCount
from pipelines.told import Told, told_if_any
from schemas.rejection import UNITS, Stage
from transforms.progress import ProgressLog, Replied, Step

LOG = logging.getLogger(__name__)

LINES_EVERY_S = 3.0
"""How often a line is printed where there is no terminal to draw on."""
METRICS_EVERY_S = 2.0
"""How often an engine is asked for its metrics."""
JSON_SCHEMA = 1

SHOWN = (
    *(Stage.INGEST, Stage.DECODE, Stage.SELECT, Stage.CUT, Stage.TRANSCRIBE, Stage.CONSTRUCT),
    *(Stage.DESCRIBE, Stage.PROPOSE, Stage.ANSWER, Stage.VERIFY, Stage.EXAMINE, Stage.ROUTE),
)
"""In the order of the way; a stage that nothing entered is not shown."""


class View(Protocol):
    """Shows counts. All of it happens on one thread."""

    def show(self, counts: Counts) -> None:
        """Now and then."""

    def close(self, counts: Counts) -> None:
        """At the end."""


def view_on(console: Console) -> View:
    """A table on a terminal, else lines."""
    return LiveTable(console) if console.is_terminal else Lines(console)


class ProgressDisplay:
    """Follows a run on a thread of its own: its progress log, and Beam's metrics once it has some.

    Engines that tell their metrics while they work need no folder in common with this machine.
    """

    def __init__(self, log: ProgressLog, counts: Counts, *views: View) -> None:
        self._log = log
        self._counts = counts
        self._views = views
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._offset = 0
        self._result: Any = None
        self._by_metrics = False
        self._asked_s = 0.0
        self._told: Told | None = None

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

    def follow(self, result: Any) -> None:
        """Ask this Beam result for metrics, too, from now on."""
        self._result = result

    def settle(self, told: Told) -> None:
        """All is done, and this is what was told in the end: it holds, whatever was shown."""
        self._told = told

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self._read()
            for view in self._views:
                view.show(self._counts)
        self._asked_s = 0.0
        self._read()
        if self._told is not None:
            self._counts.settle(self._told, time.monotonic())
        for view in self._views:
            view.close(self._counts)

    def _read(self) -> None:
        now_s = time.monotonic()
        ask = self._result is not None and self._told is None
        if ask and now_s - self._asked_s >= METRICS_EVERY_S:
            self._asked_s = now_s
            told = told_if_any(self._result)
            # From here on the file tells nothing new, and after a restart too much.
            self._by_metrics = self._by_metrics or bool(told.steps)
            self._counts.take(told, now_s)
        if self._by_metrics:
            return
        steps, self._offset = self._log.read_from(self._offset)
        for step in steps:
            if isinstance(step, Step):
                self._counts.add(*step, now_s)
            elif isinstance(step, Replied):
                self._counts.teacher.add(step, now_s)


class LiveTable:
    """A table that is drawn again and again on a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Table.grid(), console=console, refresh_per_second=4)

    def show(self, counts: Counts) -> None:
        if not self._live.is_started:
            self._live.start()
        table = Table.grid(padding=(0, 2))
        for _, row in rows(counts):
            table.add_row(*row)
        self._live.update(table)

    def close(self, counts: Counts) -> None:
        self.show(counts)
        self._live.stop()


class Lines:
    """A line for each stage that has news, every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: dict[str, int] = {}
        self._printed_s = time.monotonic()

    def show(self, counts: Counts) -> None:
        if time.monotonic() - self._printed_s >= LINES_EVERY_S:
            self.close(counts)

    def close(self, counts: Counts) -> None:
        self._printed_s = time.monotonic()
        for news, row in rows(counts):
            if self._printed.get(row[0]) != news:
                self._printed[row[0]] = news
                self._console.print("  ".join(part for part in row if part), highlight=False)


class JsonLines:
    """One JSON object a line, for machines; docs/watching.md names its fields.

    Once they can't be written, since nobody reads any more or a disk is full, that is logged, and
    no more is written: it must not cost the run.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._began_s = self._printed_s = time.monotonic()

    def show(self, counts: Counts) -> None:
        if time.monotonic() - self._printed_s >= LINES_EVERY_S:
            self.close(counts)

    def close(self, counts: Counts) -> None:
        self._printed_s = time.monotonic()
        self.say("progress", **as_json(counts))

    def say(self, event: str, **fields: Any) -> None:
        """One line: what happened, and when after the start of the run."""
        elapsed_s = round(time.monotonic() - self._began_s, 1)
        told = {"event": event, "schema": JSON_SCHEMA, "elapsed_s": elapsed_s, **fields}
        if self._stream is None:
            return
        try:
            print(json.dumps(told), file=self._stream, flush=True)
        except OSError as error:
            # What waits in its buffer would fail once more when others close it.
            with suppress(OSError):
                self._stream.close()
            self._stream = None
            LOG.warning("progress can't be written for machines any more: %s", error)


def as_json(counts: Counts) -> dict[str, Any]:
    """What the table shows, as numbers."""
    teacher = counts.teacher
    return {
        "stages": {
            str(stage): {
                "unit": UNITS[stage],
                "entered": count.entered,
                "rejected": count.rejected,
                "total": counts.total(stage),
                "total_is_final": counts.is_final(stage),
                "per_s": round(count.rate, 3),
                "left_s": counts.left_s(stage),
            }
            for stage, count in _shown(counts)
        },
        "replies": {
            "asked": teacher.asked,
            "reused": teacher.reused,
            "prompt_tokens": teacher.usage.prompt_tokens,
            "completion_tokens": teacher.usage.completion_tokens,
            "cost": round(teacher.cost, 6),
        },
    }


def _shown(counts: Counts) -> Iterable[tuple[Stage, StageCount]]:
    return ((stage, counts.stages[stage]) for stage in SHOWN if stage in counts.stages)


def rows(counts: Counts) -> Iterable[tuple[int, Sequence[str]]]:
    """Cells of each line, name first, with a number that changes when there is news."""
    for stage, count in _shown(counts):
        yield count.entered, _row(counts, stage, count)
    teacher = counts.teacher
    if teacher.asked or teacher.reused:
        yield teacher.asked + teacher.reused, _teacher_row(teacher)


def _row(counts: Counts, stage: Stage, count: StageCount) -> Sequence[str]:
    total, left_s = counts.total(stage), counts.left_s(stage)
    left = "" if left_s is None else f"{left_s:.0f} s left"
    of = "?" if total is None else str(total)
    more = "" if total is None or counts.is_final(stage) else "+"
    done = f"{count.entered}/{of}{more} {UNITS[stage]}s"
    rejected = f"{count.rejected} rejected" if count.rejected else ""
    if stage is Stage.VERIFY and count.entered:
        left = "  ".join(filter(None, (left, f"{count.passed / count.entered:.0%} accepted")))
    return (str(stage), done, f"{count.rate:.1f}/s", left, rejected)


def _teacher_row(teacher: TeacherCount) -> Sequence[str]:
    speed = ""
    if teacher.usage.completion_tokens:
        speed = f"{teacher.tokens_per_s(time.monotonic()):.0f} tokens/s"
    found = f"{teacher.reused} found" if teacher.reused else ""
    cost = f"cost {teacher.cost:.4g}" if teacher.cost else ""
    return ("teacher", f"{teacher.asked} replies", speed, found, cost)
