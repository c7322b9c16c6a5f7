"""Prism, Beam's portable local engine: one Go program, the same interfaces as a cluster's engine.

It is what Beam itself tests portability with, so a pipeline that runs there has no hidden need of
the local runner. Our pipeline needs nothing but where Prism lies: the workers are threads of this
process (LOOPBACK) unless an environment is chosen. What it can't do: more than one machine; all
that waits between two stages waits in its memory; and its ports are open on all interfaces.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PrismRunnerOptions,
)
from apache_beam.runners.portability import job_server, prism_runner

from runners import workers
from runners.engines import prism_binary
from runners.loopback import LoopbackWorkers
from runners.options import Options
from transforms.leash import hold_children

NAMES = frozenset({"prism", "prismrunner"})
IN_OWN_GROUP = "import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])"


class PrismRunner(LoopbackWorkers, prism_runner.PrismRunner):
    """Beam's, with workers on loopback alone, and a Prism that ends with this process."""

    def default_job_server(self, options: PipelineOptions) -> job_server.JobServer:
        hold_children()
        return job_server.StopOnExitJobServer(PrismServer(options))


class WorkersAlone(prism_runner.PrismRunnerLogFilter):
    """Of Prism's log only what workers warn of: how a job fails is told at its end.

    Unless a level was chosen by `--prism_log_level`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        super().filter(record)
        return record.name.startswith("SdkWorker") and record.levelno >= logging.WARNING


class PrismServer(prism_runner.PrismJobServer):
    """Beam's, out of reach of Ctrl-C: that is for the run, which ends Prism itself."""

    def __init__(self, options: PipelineOptions) -> None:
        super().__init__(options)
        if self._log_level == PrismRunnerOptions().prism_log_level:
            self._log_filter = WorkersAlone()

    def subprocess_cmd_and_endpoint(self) -> tuple[list[str], str]:
        command, endpoint = super().subprocess_cmd_and_endpoint()
        return [sys.executable, "-I", "-S", "-c", IN_OWN_GROUP, *command], endpoint


def prepare(arguments: Sequence[str]) -> tuple[PrismRunner, PipelineOptions]:
    """Runner and options. Without a Prism on this machine Beam fetches its own."""
    options = Options(list(arguments))
    prism = options.view_as(PrismRunnerOptions)
    if prism.prism_location is None and (found := prism_binary()) is not None:
        prism.prism_location = str(found)
    workers.choose(options, local=True)
    return PrismRunner(), options
