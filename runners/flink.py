"""Flink: inside of the job server on this machine, or a cluster named with `--flink_master`.

What our pipeline needs there: memory for network buffers, since a batch job keeps the results of
its many shuffles apart (`taskmanager.memory.network`), a restart strategy if a lost machine is to
cost its work only, and on a cluster proofreel on each machine, with output folder and inputs at the
same paths, or at URLs. What it can't do: a single element over 2 GB; Beam's metrics before its end.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
)
from apache_beam.runners.portability import flink_runner, job_server, portable_runner
from apache_beam.runners.runner import PipelineResult, PipelineState

from runners import workers
from runners.engines import jars_folder
from runners.job_server import JarsJobServer
from runners.loopback import LoopbackWorkers
from runners.options import Options

NAMES = frozenset({"flink", "flinkrunner"})
ENDED = frozenset({"FINISHED", "FAILED", "CANCELED"})
CANCEL_WITHIN_S = 8.0
SHOWS_UP_WITHIN_S = 4.0
"""From the last word of a job server until Flink lists the job that it was handed."""
MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"


class FlinkJobOptions(PipelineOptions):
    """Options of Flink's job server that Beam's Python side does not list."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number_of_execution_retries", type=int, help="restarts of a job")
        parser.add_argument("--execution_retry_delay", type=int, help="ms before a restart")
        parser.add_argument(
            "--execution_mode_for_batch", help="PIPELINED, or BATCH to keep what shuffles hold"
        )
        parser.add_argument("--flink_conf_dir", help="folder of Flink's configuration")


class FlinkRunner(LoopbackWorkers, flink_runner.FlinkRunner):
    """Beam's, with the job server from the jars of this machine where there are any."""

    _server: job_server.JobServer | None = None

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> PipelineResult:
        """As Beam does; who cancels the result cancels the job on the cluster, too."""
        master = options.view_as(FlinkRunnerOptions).flink_master
        if master in flink_runner.MAGIC_HOST_NAMES:
            return super().run_portable_pipeline(pipeline, options)
        address = self.add_http_scheme(master)
        named = options.view_as(GoogleCloudOptions)
        if named.job_name:
            # By its name a job is told from others: of the next run with the same command, too.
            named.job_name = f"{named.job_name}-{secrets.token_hex(4)}"
        # Others may have the same name, which is the user's to choose.
        others = job_ids(address)
        result = super().run_portable_pipeline(pipeline, options)
        return ClusterResult(result, address, others, self._server)

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        """Not asked for where the user named one, which stays when the run has ended."""
        self._server = self._own_job_server(options)
        return self._server

    def _own_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        flink = options.view_as(FlinkRunnerOptions)
        jars = jars_folder("flink")
        if flink.flink_job_server_jar or flink.flink_submit_uber_jar or jars is None:
            return super().default_job_server(options)
        flink.flink_master = self.add_http_scheme(flink.flink_master)
        arguments = [f"--flink-master={flink.flink_master}"]
        if folder := options.view_as(FlinkJobOptions).flink_conf_dir:
            arguments.append(f"--flink-conf-dir={folder}")
        flags = options.view_as(JobServerOptions).job_server_jvm_properties
        return job_server.StopOnExitJobServer(JarsJobServer(jars, MAIN, flags, arguments))


class ClusterResult(portable_runner.PipelineResult):
    """Beam's, whose job is cancelled on the cluster, too."""

    def __init__(
        self,
        result: PipelineResult,
        address: str,
        others: frozenset[str],
        server: job_server.JobServer | None,
    ) -> None:
        """`server`: the job server, if it is this run's own."""
        self.__dict__.update(result.__dict__)
        self._address = address
        self._others = others
        self._server = server
        self._cancelled = False

    @property
    def state(self) -> str:
        """As the job server says, which may be gone when the job is cancelled."""
        return PipelineState.CANCELLED if self._cancelled else super().state

    def cancel(self) -> None:
        """Raises httpx.HTTPError and TimeoutError as `cancel_on_cluster`."""
        super().cancel()
        # Beam's job server gives its jobs a number behind the name that Flink knows.
        name = self._job_id.rpartition("_")[0]
        end_sender = self._server.stop if self._server is not None else None
        cancel_on_cluster(self._address, name, self._others, end_sender)
        self._cancelled = True


def job_ids(address: str) -> frozenset[str]:
    """Of all jobs that a cluster remembers; none if it can't be reached."""
    with suppress(httpx.HTTPError):
        return frozenset(job["jid"] for job in _ask(f"{address}/jobs/overview")["jobs"])
    return frozenset()


def cancel_on_cluster(
    address: str, name: str, others: frozenset[str], end_sender: Callable[[], object] | None
) -> None:
    """Cancel the job of this name that is not one of the others, and wait until it is no more.

    Beam's job server, asked to cancel, only stops waiting for its job. `address`: of Flink's REST
    interface. `end_sender`: ends the job server if that may be; called where Flink does not list
    the job, which may be on its way for as long as its upload takes. Raises httpx.HTTPError if
    Flink can't be reached, TimeoutError if the job goes on, or may still be on its way.
    """
    until_s = time.monotonic() + CANCEL_WITHIN_S
    asked: set[str] = set()
    sender_ended_s: float | None = None
    while time.monotonic() < until_s:
        known = _ask(f"{address}/jobs/overview")["jobs"]
        jobs = [job for job in known if job["name"] == name and job["jid"] not in others]
        going = [job["jid"] for job in jobs if job["state"] not in ENDED]
        for job in set(going) - asked:
            _ask(f"{address}/jobs/{job}?mode=cancel", "PATCH")
            asked.add(job)
        if jobs and not going:
            return
        if not jobs and end_sender is not None:
            if sender_ended_s is None:
                end_sender()
                sender_ended_s = time.monotonic()
            elif time.monotonic() - sender_ended_s > SHOWS_UP_WITHIN_S:
                return
        time.sleep(0.1)
    raise TimeoutError(f"Flink goes on with the job {name}, or has not got it yet")


def _ask(url: str, method: str = "GET") -> Any:
    return httpx.request(method, url, timeout=CANCEL_WITHIN_S).raise_for_status().json()


def prepare(arguments: Sequence[str]) -> tuple[FlinkRunner, PipelineOptions]:
    """Runner and options; how workers are started follows from where Flink is."""
    options = Options(list(arguments))
    master = options.view_as(FlinkRunnerOptions).flink_master
    workers.choose(options, local=master in flink_runner.MAGIC_HOST_NAMES)
    return FlinkRunner(), options
