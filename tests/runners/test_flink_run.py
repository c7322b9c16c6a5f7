"""The whole way on a Flink cluster of processes of its own, also when parts of it are killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from engine_runs import dataset_of, finish, started
from flink_cluster import KEPT_MS, FlinkCluster
from interrupts import interrupted
from pipeline_helpers import sha256_of_files
from worker_processes import wait_until_in

from schemas.rejection import Stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with FlinkCluster(tmp_path_factory.mktemp("flink")) as running:
        yield running


def options(cluster: FlinkCluster) -> tuple[object, ...]:
    return (
        *("--runner", "flink", "--flink_master", cluster.address),
        *("--flink_conf_dir", cluster.conf_dir, "--parallelism", 2),
        *("--environment_cache_millis", KEPT_MS),
    )


def test_flink_gives_the_same_bytes(
    cluster: FlinkCluster, engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    assert dataset_of(engine_videos, tmp_path / "out", *options(cluster)) == on_direct


def test_a_killed_worker_and_a_killed_machine_change_nothing(
    cluster: FlinkCluster, engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """The JobManager says that each of them cost the job something, which was done again."""
    out = tmp_path / "out"
    before = cluster.states()
    with started(engine_videos, out, *options(cluster)) as process:
        wait_until_in(Stage.DECODE, out, process)
        [job] = cluster.states().keys() - before.keys()
        assert cluster.failures(job) == 0
        # All of them: one alone may be waiting for its next stage.
        for worker in cluster.workers():
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        cluster.wait_for_failures(job, above=0)
        wait_until_in(Stage.ANSWER, out, process)
        lost = cluster.one_at_work(job)
        failures = cluster.failures(job)
        lost.send_signal(signal.SIGKILL)
        lost.wait()
        cluster.add_task_manager()
        cluster.wait_for_failures(job, above=failures)
        finish(process)
    assert cluster.states()[job] == "FINISHED"
    assert sha256_of_files(out / "dataset") == on_direct


def test_ctrl_c_cancels_the_job_on_the_cluster_and_the_same_command_goes_on(
    cluster: FlinkCluster, engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """Beam's job server would leave it to itself."""
    out = tmp_path / "out"
    before = cluster.states()
    with started(engine_videos, out, *options(cluster)) as process:

        def at_work() -> bool:
            return (out / "work" / "progress.jsonl").exists()

        said = interrupted(process, signal.SIGINT, at_work=at_work).assert_orderly(signal.SIGINT)
    assert "the run has ended, and all that it had started" in said
    [state] = [state for job, state in cluster.states().items() if job not in before]
    assert state == "CANCELED"
    assert not (out / "dataset").exists()
    assert dataset_of(engine_videos, out, *options(cluster)) == on_direct
