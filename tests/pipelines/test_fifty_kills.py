"""Fifty kills of everything, at random moments of every stage: the same bytes, nothing done twice.

The same run is killed and started again as it goes on, once in each stage of the way; then it may
finish. So each kill meets a stage whose work is new, with all before it in the store.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from apart import server, start_apart
from pipeline_helpers import (
    FAST,
    left_half_built,
    memo_entries,
    piece_of_long_video,
    sha256_of_files,
)
from test_kill import kill_family, wait_for_end

from transforms.publish.check import check_dataset

pytestmark = pytest.mark.slow

KILLS = 50
CHAINS = 5
SEED = 20261129
LONGEST_DELAY_S = 1.5
WORKERS = 2
RUN = (
    *FAST,
    *("--set", "shots.max_clip_s=6", "--set", "teacher.samples=2"),
    f"--direct_num_workers={WORKERS}",
)

STAGES = (
    *("ingest", "decode", "segment", "cut", "describe", "propose", "answer", "verify", "route"),
    "shards",
)
"""In each the run is killed; the last is all that follows the last leg: shards, index, the moves
into place."""


def progress(out: Path) -> list[list[str | int]]:
    """What the run at work has written down; nothing before it begins."""
    try:
        text = (out / "work" / "progress.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def begun(stage: str, out: Path) -> bool:
    """Whether a run is at work in a stage: when the one before it has given something."""
    seen = {str(line[0]) for line in progress(out)}
    if stage == "ingest":
        return (out / "work" / "partial").exists()
    if stage == "shards":
        return any((out / "work" / "partial").glob("*/dataset/*/*"))
    return STAGES[STAGES.index(stage) - 1] in seen


def asked(out: Path) -> int:
    return sum(int(line[1]) for line in progress(out) if line[0] == "replies")


def replies(entries: dict[str, tuple[int, int]]) -> int:
    return sum(place.startswith("reply/") for place in entries)


@dataclass
class Whole:
    """A run that was left alone; how long each stage of it was at work."""

    out: Path
    seconds: dict[str, float]


@dataclass
class Chain:
    """One output folder whose run is killed and started again."""

    out: Path
    run: Callable[[Path], BaseProcess]
    kills: Counter[str] = field(default_factory=Counter)
    hit: int = 0
    """Kills that left something half-built."""
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)

    def kill_in(self, stage: str, delay_s: float) -> bool:
        """Start the run and kill it; False if it had ended."""
        process = self._start()
        while not begun(stage, self.out) and process.is_alive():
            time.sleep(0.002)
        time.sleep(delay_s)
        alive = process.is_alive()
        killed = kill_family(psutil.Process(process.pid)) if alive else []
        process.join(30)
        assert wait_for_end(killed, 5.0) == []
        alive = process.exitcode == -9
        assert alive or process.exitcode == 0, self.said()
        self.kills[stage] += alive
        self.hit += alive and left_half_built(self.out) != []
        self._look_after()
        return alive

    def finish(self) -> None:
        process = self._start()
        process.join(120)
        assert process.exitcode == 0, self.said()
        before = replies(self.kept)
        self._look_after()
        # Exactly what was missing was asked for.
        assert asked(self.out) == replies(self.kept) - before

    def said(self) -> str:
        return self.out.with_suffix(".log").read_text("utf-8")[-3000:]

    def _start(self) -> BaseProcess:
        # So that what is read there is of this run.
        (self.out / "work" / "progress.jsonl").unlink(missing_ok=True)
        return self.run(self.out)

    def _look_after(self) -> None:
        """What was finished was not touched, and there is no half of a dataset."""
        now = memo_entries(self.out)
        assert {place: now.get(place) for place in self.kept} == self.kept
        # Nobody is asked for what lies there; who was killed may not have noted the last replies.
        new = replies(now) - replies(self.kept)
        assert new - WORKERS * 12 <= asked(self.out) <= new
        self.kept = now
        if (self.out / "dataset").exists():
            assert check_dataset(self.out / "dataset") == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], BaseProcess]:
    videos = tmp_path_factory.mktemp("videos")
    for number, start_s in enumerate((75, 110, 150)):
        piece_of_long_video(videos / f"{number}.mp4", start_s, 7)
    context: ForkServerContext = server()

    def start(out: Path) -> BaseProcess:
        return start_apart(context, out.with_suffix(".log"), "run", videos, "--out", out, *RUN)

    return start


@pytest.fixture(scope="module")
def whole(
    run: Callable[[Path], BaseProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    out = tmp_path_factory.mktemp("whole") / "out"
    process = run(out)
    began: dict[str, float] = {}
    while process.is_alive():
        for stage in STAGES:
            if stage not in began and begun(stage, out):
                began[stage] = time.monotonic()
        time.sleep(0.002)
    ended = time.monotonic()
    assert process.exitcode == 0, out.with_suffix(".log").read_text("utf-8")
    times = [*(began[stage] for stage in STAGES), ended]
    seconds = [max(after - before, 0.0) for before, after in pairwise(times)]
    yield Whole(out, dict(zip(STAGES, seconds, strict=True)))


def test_fifty_kills_over_all_stages(
    run: Callable[[Path], BaseProcess], whole: Whole, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    chains: list[Chain] = []
    kills: Counter[str] = Counter()
    late: Counter[str] = Counter()
    while kills.total() < KILLS:
        assert len(chains) < 3 * CHAINS, f"most runs ended before they were killed: {kills}"
        chain = Chain(tmp_path / f"out{len(chains)}", run)
        for stage in STAGES:
            if kills[stage] < CHAINS:
                delay_s = chance.random() * min(whole.seconds[stage], LONGEST_DELAY_S)
                # The machine may have been busier when the stage was timed.
                if not chain.kill_in(stage, delay_s / 2 ** late[stage]):
                    late[stage] += 1
                    break
        chain.finish()
        assert sha256_of_files(chain.out / "dataset") == sha256_of_files(whole.out / "dataset")
        assert left_half_built(chain.out) == []
        assert chain.kept.keys() == memo_entries(whole.out).keys()
        kills += chain.kills
        chains.append(chain)
    assert kills == dict.fromkeys(STAGES, CHAINS)
    assert sum(chain.hit for chain in chains) > CHAINS, "kills met nothing at work"
    print(f"{kills.total()} kills in {len(chains)} chains: {dict(kills)}")
