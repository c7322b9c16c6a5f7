"""Spark: inside of the job server on this machine, or a cluster named with `--spark_master_url`.

What our pipeline needs there: on a cluster proofreel on each machine, with output folder and inputs
at the same paths, and Beam's jars among Spark's. Spark's properties are said to the job server,
which is its driver: `--job_server_jvm_properties=-Dspark.executor.memory=4g`. What it can't do: a
single element over 2 GB; several stages at once (Spark's runner of Beam works one after the other);
Beam's metrics before its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    JobServerOptions,
    PipelineOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.portability import job_server, spark_runner

from runners import workers
from runners.engines import jars_folder
from runners.job_server import JarsJobServer
from runners.loopback import LoopbackWorkers
from runners.options import Options

NAMES = frozenset({"spark", "sparkrunner"})
MAIN = "org.apache.beam.runners.spark.SparkJobServerDriver"
LOCAL_FLAGS = (
    "-Dspark.driver.host=127.0.0.1",
    "-Dspark.driver.bindAddress=127.0.0.1",
    "-Dspark.ui.enabled=false",
)
"""The driver is the job server: on this machine's loopback, without a page of its own."""
LOG_FLAGS = ("-Dorg.apache.logging.log4j.level=INFO",)
"""On which port the job server listens is told at this level; Log4j's default is ERROR."""


class SparkRunner(LoopbackWorkers, spark_runner.SparkRunner):
    """Beam's, with the job server from the jars of this machine where there are any."""

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        spark = options.view_as(SparkRunnerOptions)
        jars = jars_folder("spark")
        if spark.spark_job_server_jar or spark.spark_submit_uber_jar or jars is None:
            return super().default_job_server(options)
        local = LOCAL_FLAGS if is_local(spark.spark_master_url) else ()
        said = options.view_as(JobServerOptions).job_server_jvm_properties
        flags = (*LOG_FLAGS, *local, *said)
        arguments = [f"--spark-master-url={spark.spark_master_url}"]
        return job_server.StopOnExitJobServer(JarsJobServer(jars, MAIN, flags, arguments))


def is_local(master: str) -> bool:
    """Whether Spark is to run inside of the job server."""
    return re.match(spark_runner.LOCAL_MASTER_PATTERN, master) is not None


def prepare(arguments: Sequence[str]) -> tuple[SparkRunner, PipelineOptions]:
    """Runner and options; how workers are started follows from where Spark is."""
    options = Options(list(arguments))
    workers.choose(options, local=is_local(options.view_as(SparkRunnerOptions).spark_master_url))
    return SparkRunner(), options
