"""Prism, Beam's portable local engine: one Go program, the same interfaces as a cluster's engine.

It is what Beam itself tests portability with, so a pipeline that runs there has no hidden need of
the local runner. Our pipeline needs nothing but where Prism lies: the workers are threads of this
process (LOOPBACK) unless an environment is chosen. What it can't do: more than one machine; all
that waits between two stages waits in its memory; and its ports are open on all interfaces.
"""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PrismRunnerOptions,
)
from apache_beam.runners.portability import prism_runner

from runners import workers
from runners.engines import prism_binary
from runners.loopback import LoopbackWorkers
from transforms.leash import hold_children

NAMES = frozenset({"prism", "prismrunner"})


class PrismRunner(LoopbackWorkers, prism_runner.PrismRunner):
    """Beam's, with workers on loopback alone, and a Prism that ends with this process."""

    def default_job_server(self, options: PipelineOptions) -> prism_runner.PrismJobServer:
        hold_children()
        return super().default_job_server(options)


def prepare(arguments: Sequence[str]) -> tuple[PrismRunner, PipelineOptions]:
    """Runner and options. Without a Prism on this machine Beam fetches its own."""
    options = PipelineOptions(list(arguments))
    prism = options.view_as(PrismRunnerOptions)
    if prism.prism_location is None and (found := prism_binary()) is not None:
        prism.prism_location = str(found)
    workers.choose(options, local=True)
    return PrismRunner(), options
