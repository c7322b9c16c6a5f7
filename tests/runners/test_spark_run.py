"""The whole way on Spark: the same bytes as on the local runner, also when parts are killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from engine_runs import TIMEOUT_S, dataset_of, finish, started
from interrupts import interrupted
from pipeline_helpers import memo_entries, sha256_of_files
from spark_cluster import SparkCluster
from worker_processes import wait_until_in, workers_of

from schemas.rejection import Stage

pytestmark = pytest.mark.slow

HERE = ("--runner", "spark")
WORKER = Path(sys.executable).with_name("proofreel-worker")
PROCESSES = (
    *("--runner", "spark", "--environment_type", "PROCESS"),
    *("--environment_config", json.dumps({"command": str(WORKER)})),
)
DRIVER = (
    "--job_server_jvm_properties=-Dspark.driver.host=127.0.0.1",
    "--job_server_jvm_properties=-Dspark.driver.bindAddress=127.0.0.1",
    "--job_server_jvm_properties=-Dspark.ui.enabled=false",
    "--job_server_jvm_properties=-Dspark.executor.memory=500m",
)


def test_after_a_killed_worker_and_signals_it_gives_the_same_bytes(
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
    for number, ways in ((signal.SIGTERM, HERE), (signal.SIGINT, PROCESSES)):
        with started(engine_videos, out, *ways) as process:
            said = interrupted(process, number).assert_orderly(number)
        assert "the run has ended, and all that it had started" in said
        assert not (out / "dataset").exists()
    done = memo_entries(out)
    assert dataset_of(engine_videos, out, *HERE) == on_direct
    assert done.items() <= memo_entries(out).items(), "what was done is not done again"


def test_a_killed_executor_of_a_cluster_changes_nothing(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """Spark starts another, which does again what the lost one had shuffled."""
    out = tmp_path / "out"
    with SparkCluster(tmp_path / "spark") as cluster:
        ways = ("--runner", "spark", "--spark_master_url", cluster.address, *DRIVER)
        with started(engine_videos, out, *ways) as process:
            wait_until_in(Stage.DECODE, out, process)
            cluster.executors()[0].kill()
            finish(process)
    assert sha256_of_files(out / "dataset") == on_direct
