"""From Beam options to a runner: which engine, prepared how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from runners import direct, flink, loopback, prism, spark

MODULES = (direct, prism, flink, spark)


class UnknownRunnerError(Exception):
    """No such runner; the message names those that there are."""


def prepare(arguments: Sequence[str]) -> tuple[Any, PipelineOptions]:
    """Runner and options. Raises UnknownRunnerError.

    Each engine is prepared by its module; any other runner that Beam knows is handed to Beam as it
    is named, with the options given.
    """
    options = PipelineOptions(list(arguments))
    name = options.view_as(StandardOptions).runner or ""
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


def works_here(runner: Any, options: PipelineOptions) -> bool:
    """Whether the work is done in this process, so that it finds what is loaded here."""
    if not isinstance(runner, FnApiRunner):
        return loopback.works_here(options)
    mode = options.view_as(DirectOptions).direct_running_mode
    return mode in ("in_memory", "multi_threading")


def works_on_this_machine(runner: Any, options: PipelineOptions) -> bool:
    """Whether the work is done on this machine, so that it finds what is installed here."""
    return isinstance(runner, FnApiRunner) or loopback.works_here(options)
