"""What a person sees while a run works and when it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq
from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.rejection import UNITS, Stage
from transforms.progress import ProgressLog
from transforms.publish.manifest import REJECTED_FILE, FunnelStage, Manifest

POLL_S = 0.5
LINES_EVERY_S = 3.0
"""How often a line is printed where there is no terminal to draw on."""

SHOWN = (Stage.INGEST, Stage.DECODE, Stage.SELECT, Stage.CUT, Stage.PROPOSE, Stage.ANSWER)
SHOWN_LATE = (Stage.VERIFY, Stage.ROUTE)


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
class Counts:
    """What the progress log says, summed up."""

    inputs: int
    samples: int
    stages: dict[Stage, StageCount] = field(default_factory=dict)

    def add(self, stage: Stage, entered: int, rejected: int, now_s: float) -> None:
        count = self.stages.setdefault(stage, StageCount(began_s=now_s))
        count.entered += entered
        count.rejected += rejected
        count.last_s = now_s

    def total(self, stage: Stage) -> int | None:
        """How many will enter a stage, as far as the stages before it tell."""
        if stage is Stage.INGEST:
            return self.inputs
        before = {
            Stage.DECODE: Stage.INGEST,
            Stage.SELECT: Stage.SEGMENT,
            Stage.CUT: Stage.SELECT,
            Stage.PROPOSE: Stage.CUT,
            Stage.ANSWER: Stage.TASK,
            Stage.VERIFY: Stage.ANSWER,
            Stage.ROUTE: Stage.TASK,
        }.get(stage)
        if before is None or before not in self.stages:
            return None
        known = self.stages[before].passed * (self.samples if stage is Stage.ANSWER else 1)
        # Repair rounds ask more than once.
        return max(known, self.stages[stage].entered if stage in self.stages else 0)


class ProgressDisplay:
    """Follows the progress log on a thread of its own while the pipeline runs."""

    def __init__(self, log: ProgressLog, inputs: int, samples: int, console: Console) -> None:
        self._log = log
        self._counts = Counts(inputs, samples)
        self._console = console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._offset = 0
        self._printed: dict[Stage, int] = {}

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
        for stage, entered, rejected in steps:
            self._counts.add(stage, entered, rejected, now_s)

    def _rows(self) -> list[tuple[Stage, Sequence[str]]]:
        rows = []
        for stage in (*SHOWN, *SHOWN_LATE):
            count = self._counts.stages.get(stage)
            if count is not None:
                rows.append((stage, self._row(stage, count)))
        return rows

    def _row(self, stage: Stage, count: StageCount) -> Sequence[str]:
        total = self._counts.total(stage)
        left = ""
        if total is not None and count.entered < total and count.rate > 0:
            left = f"{(total - count.entered) / count.rate:.0f} s left"
        done = f"{count.entered}/{'?' if total is None else total} {UNITS[stage]}s"
        rejected = f"{count.rejected} rejected" if count.rejected else ""
        return (str(stage), done, f"{count.rate:.1f}/s", left, rejected)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for _, row in self._rows():
            table.add_row(*row)
        return table

    def _print_lines(self) -> None:
        for stage, row in self._rows():
            entered = self._counts.stages[stage].entered
            if self._printed.get(stage) != entered:
                self._printed[stage] = entered
                self._console.print("  ".join(part for part in row if part), highlight=False)


def funnel_table(funnel: Sequence[FunnelStage]) -> Table:
    """The funnel as a table for the terminal."""
    table = Table("stage", "unit", title="funnel")
    table.add_column("in", justify="right")
    table.add_column("out", justify="right")
    table.add_column("rejected")
    for stage in funnel:
        reasons = ", ".join(f"{reason} {count}" for reason, count in stage.rejected.items())
        table.add_row(str(stage.stage), stage.unit, str(stage.in_), str(stage.out), reasons)
    return table


def print_summary(console: Console, manifest: Manifest, folder: str) -> None:
    """Where the dataset is, and what is in it."""
    console.print(funnel_table(manifest.funnel))
    splits: dict[str, int] = {}
    for shard in manifest.shards:
        split = shard.path.split("/")[0]
        splits[split] = splits.get(split, 0) + shard.samples
    held = ", ".join(f"{count} {split}" for split, count in splits.items()) or "no samples"
    console.print(f"dataset: {folder}", highlight=False, soft_wrap=True)
    console.print(f"holds: {held} in {len(manifest.shards)} shards", highlight=False)
    for line in examples(Path(folder)):
        console.print(line, highlight=False, markup=False)


def examples(dataset: Path) -> list[str]:
    """One example for every reason that something was rejected for."""
    found: dict[tuple[str, str], str] = {}
    for row in pq.read_table(dataset / REJECTED_FILE).to_pylist():
        said = f"{row['subject']}: {row['detail']}"
        found.setdefault((row["stage"], row["reason"]), said)
    return [f"{stage} {reason}, such as {said}" for (stage, reason), said in found.items()]
