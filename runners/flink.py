"""Flink: inside of the job server on this machine, or a cluster named with `--flink_master`.

What our pipeline needs there: memory for network buffers, since a batch job keeps the results of
its many shuffles apart (`taskmanager.memory.network`), a restart strategy if a lost machine is to
cost its work only, and on a cluster proofreel on each machine, with output folder and inputs at the
same paths, or at URLs. What it can't do: a single element over 2 GB; Beam's metrics before its end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
)
from apache_beam.runners.portability import flink_runner, job_server

from runners import workers
from runners.engines import jars_folder
from runners.job_server import JarsJobServer
from runners.loopback import LoopbackWorkers

NAMES = frozenset({"flink", "flinkrunner"})
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

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
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


def prepare(arguments: Sequence[str]) -> tuple[FlinkRunner, PipelineOptions]:
    """Runner and options; how workers are started follows from where Flink is."""
    options = PipelineOptions(list(arguments))
    master = options.view_as(FlinkRunnerOptions).flink_master
    workers.choose(options, local=master in flink_runner.MAGIC_HOST_NAMES)
    return FlinkRunner(), options
