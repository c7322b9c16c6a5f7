"""The progress log: many writers, one reader, no line lost or torn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

from pipelines.counts import replies_in
from pipelines.times import slowest
from schemas.rejection import Stage
from transforms.progress import GATHERED_S, ProgressLog, Replied, Slowest, Step

LINES = 300


WRITE = f"""
import sys
from transforms.progress import ProgressLog
from schemas.rejection import Stage
log = ProgressLog(sys.argv[1])
for number in range({LINES}):
    log.add(Stage(sys.argv[2]), entered=number, rejected=1)
    log.flush()
"""


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    stages = [Stage.INGEST, Stage.DECODE, Stage.CUT]
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, path, stage]) for stage in stages]
    # The reader reads along while they write.
    log, offset, found = ProgressLog(path), 0, []
    while any(writer.poll() is None for writer in writers):
        steps, offset = log.read_from(offset)
        found += steps
    steps, offset = log.read_from(offset)
    found += steps
    expected = {(stage, number, 1): 1 for stage in stages for number in range(LINES)}
    assert Counter(found) == expected
    assert offset == Path(path).stat().st_size


def test_a_line_that_is_not_whole_waits(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ProgressLog(str(path))
    log.add(Stage.CUT, entered=2, rejected=1)
    log.flush()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:5])
    assert log.read_from(0) == ([(Stage.CUT, 2, 1)], len(whole))
    path.write_bytes(whole + whole)
    assert log.read_from(len(whole)) == ([(Stage.CUT, 2, 1)], 2 * len(whole))


def test_lines_that_lie_over_each_other_cost_only_themselves(tmp_path: Path) -> None:
    """Over NFS, two machines can append at the same place."""
    path = tmp_path / "log"
    log = ProgressLog(str(path))
    log.add(Stage.CUT, entered=2, rejected=1)
    log.flush()
    with path.open("ab") as file:
        for torn in (
            b'e", 7, 0]',
            b'["cut", 1',
            b"17",
            b'["cut"]',
            b'["no stage", 1, 0]',
            b"\0\xff",
        ):
            file.write(torn + b"\n")
        file.write(b'["slowest", "cut"]\n["replies", 1]\n')
    log.add(Stage.CUT, entered=3, rejected=0)
    log.flush()
    assert log.read_from(0) == ([(Stage.CUT, 2, 1), (Stage.CUT, 3, 0)], path.stat().st_size)


def test_what_comes_in_a_moment_is_one_line(tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "log"))
    for _ in range(1_000):
        log.add(Stage.CUT, entered=2, rejected=1)
        log.add_replies(asked=1, prompt_tokens=10, cost=0.5)
    log.flush()
    log.flush()
    found, _ = log.read_from(0)
    assert len(found) < 200
    steps = [one for one in found if isinstance(one, Step)]
    assert sum(one.entered for one in steps) == 2_000
    assert sum(one.rejected for one in steps) == 1_000
    replies = [one for one in found if isinstance(one, Replied)]
    assert sum(one.asked for one in replies) == 1_000
    assert sum(one.cost for one in replies) == 500.0


def test_what_is_not_told_within_a_moment_is_told_with_the_next(tmp_path: Path) -> None:
    """Nobody has to wait for the end of a bundle, which may be hours away."""
    log = ProgressLog(str(tmp_path / "log"))
    log.add(Stage.CUT, entered=1, rejected=0)
    log.add(Stage.CUT, entered=1, rejected=0)
    time.sleep(GATHERED_S)
    log.add(Stage.CUT, entered=1, rejected=0)
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [["cut", 1, 0], ["cut", 2, 0]]


def test_nowhere_and_nothing_yet(tmp_path: Path) -> None:
    ProgressLog().add(Stage.CUT, entered=1, rejected=0)
    assert ProgressLog(str(tmp_path / "none")).read_from(7) == ([], 7)
    assert list(ProgressLog(str(tmp_path / "none")).read_all()) == []
    assert list(ProgressLog().read_all()) == []


def test_a_long_log_is_read_whole_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ProgressLog(str(path))
    lines = [
        '["cut", 2, 1]',
        "torn",
        '["replies", 1, 0, 10, 2, 0.5]',
        '["slowest", "cut", 3, "c", "v"]',
    ]
    path.write_text("".join(f"{line}\n" for line in lines) * 30_000 + '["cut", 2')
    tracemalloc.start()
    replied, found = replies_in(log), slowest(log)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert replied == Replied(30_000, 0, 300_000, 60_000, 15_000.0)
    assert found == [Slowest("cut", 3, "c", "v")]
    assert sum(1 for _ in log.read_all()) == 90_000
    assert path.stat().st_size > 2 * 2**20 > 8 * peak_bytes
