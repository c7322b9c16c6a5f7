"""The whole way on Spark: the same bytes as on the local runner, also when a worker is killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from engine_runs import TIMEOUT_S, dataset_of, started
from interrupts import interrupted
from pipeline_helpers import memo_entries
from worker_processes import wait_until_in, workers_of

from schemas.rejection import Stage

pytestmark = pytest.mark.slow

WORKER = Path(sys.executable).with_name("proofreel-worker")
PROCESSES = (
    *("--runner", "spark", "--environment_type", "PROCESS"),
    *("--environment_config", json.dumps({"command": str(WORKER)})),
)


def test_spark_gives_the_same_bytes(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    assert dataset_of(engine_videos, tmp_path / "out", "--runner", "spark") == on_direct


def test_after_a_killed_worker_the_same_command_goes_on(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """Spark tries again at once, and its workers' dead are remembered for longer than that."""
    out = tmp_path / "out"
    with started(engine_videos, out, *PROCESSES) as process:
        wait_until_in(Stage.DECODE, out, process)
        workers_of(process.pid)[0].kill()
        _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    [said] = [line for line in stderr.splitlines() if line.startswith("proofreel: ")]
    assert "the engine is gone, or a worker; run the same command again" in said
    assert not (out / "dataset").exists()
    done = memo_entries(out)
    assert dataset_of(engine_videos, out, *PROCESSES) == on_direct
    assert done.items() <= memo_entries(out).items(), "what was done is not done again"


def test_ctrl_c_and_sigterm_end_it_and_the_same_command_goes_on(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number, ways in ((signal.SIGTERM, ("--runner", "spark")), (signal.SIGINT, PROCESSES)):
        with started(engine_videos, out, *ways) as process:
            said = interrupted(process, number).assert_orderly(number)
        assert "the run has ended, and all that it had started" in said
        assert not (out / "dataset").exists()
    assert dataset_of(engine_videos, out, *PROCESSES) == on_direct
