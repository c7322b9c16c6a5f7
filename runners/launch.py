"""From Beam options to a runner: which engine, prepared how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from runners import dataflow, direct, flink, loopback, prism, spark
from runners.errors import BadOptionsError
from runners.options import Options
from runners.signatures import read_signatures_once
from transforms.needs import Hints

MODULES = (direct, prism, flink, spark, dataflow)


class UnknownRunnerError(BadOptionsError):
    """No such runner; the message names those that there are."""


def prepare(arguments: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """Runner and options. Raises BadOptionsError; UnknownRunnerError is one of them.

    Each engine is prepared by its module; any other runner that Beam knows is handed to Beam as it
    is named, with the options given.
    """
    read_signatures_once()
    options = Options(list(arguments))
    # Inputs are looked up before there is a pipeline, which would do this.
    FileSystems.set_options(options)
    name = options.view_as(StandardOptions).runner or ""
    heeds_hints = name.lower() in dataflow.NAMES
    if options.view_as(dataflow.DataflowGpuOptions).gpu and not heeds_hints:
        raise BadOptionsError(
            f"--gpu: only Dataflow hands out GPUs; with --runner {name or 'direct'}, models use "
            "those that their machines have"
        )
    for module in MODULES:
        if name.lower() in module.NAMES:
            return module.prepare(arguments)
    from apache_beam.runners.runner import PipelineRunner, create_runner

    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError, TypeError) as error:
        raise UnknownRunnerError(f"--runner {name}: {error}") from error
    if not isinstance(runner, PipelineRunner):
        raise UnknownRunnerError(f"--runner {name}: is no Beam runner")
    return runner, options


def hints(runner: Any, options: PipelineOptions) -> Hints | None:
    """How to tell the engine which steps need a GPU; None if it does not heed it."""
    if not isinstance(runner, dataflow.DataflowRunner):
        return None
    return Hints(gpu=dataflow.gpu_hint(options))


def check_places(runner: Any, options: PipelineOptions, places: Sequence[str]) -> None:
    """Raise BadOptionsError if workers would not see one of these: output, memo store, inputs.

    Those of a cluster may share a mount, so nothing is said of paths there.
    """
    if not isinstance(runner, dataflow.DataflowRunner) or only_built(options):
        return
    for place in places:
        if ":/" not in place:
            raise BadOptionsError(
                f"--runner dataflow: {place} is on this machine, where Dataflow's workers see "
                "nothing; use a place on gs://"
            )


def only_built(options: PipelineOptions) -> bool:
    """Whether the job is to be looked at and not sent: then nothing is asked for over a network."""
    return bool(options.view_as(TestOptions).dry_run)


def works_here(runner: Any, options: PipelineOptions) -> bool:
    """Whether the work is done in this process, so that it finds what is loaded here."""
    if not isinstance(runner, FnApiRunner):
        return loopback.works_here(options)
    mode = options.view_as(DirectOptions).direct_running_mode
    return mode in ("in_memory", "multi_threading")


def works_on_this_machine(runner: Any, options: PipelineOptions) -> bool:
    """Whether the work is done on this machine, so that it finds what is installed here."""
    return isinstance(runner, FnApiRunner) or loopback.works_here(options)
