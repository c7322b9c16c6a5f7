"""Beam's local runner, set up for one machine: all cores, one model per machine."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.pipeline import Pipeline
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from runners import process_workers
from runners.options import Options
from runners.quiet import print_no_tracebacks
from transforms.leash import hold_children

NEVER_MS = 10**9
_ONE_AT_A_TIME = threading.Lock()
NAMES = frozenset({"", "directrunner", "direct", "fnapirunner", "fnapi"})
"""In lower case: Beam takes runners' names in any case, and without `Runner` at their end."""


class Workers(worker_handlers.WorkerHandlerManager):
    """Beam's, which waits for its workers to be done, unless the run was interrupted."""

    def close_all(self) -> None:
        """Called while what ends the run is on its way up."""
        if not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            super().close_all()


class LocalRunner(FnApiRunner):
    """Beam's, one pipeline at a time in a process.

    Beam numbers the bundles of all pipelines together and takes the worker by the number: of two
    that run at once, one could hand two bundles to the same worker, which has one list for both.
    """

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> fn_runner.RunnerResult:
        with _ONE_AT_A_TIME:
            return super().run_pipeline(pipeline, options)


def prepare(arguments: Sequence[str]) -> tuple[PipelineRunner, PipelineOptions]:
    """Runner and options for a local run; what the user said of workers stands.

    Threads rather than processes: decoding and encoding happen in ffmpeg's own processes, numpy
    and torch release the interpreter's lock, and one copy of a model serves all. Threads get their
    elements in memory: Beam's mode `multi_threading` sends them by gRPC, which costs half a second
    of CPU a run, and memory. Beam warns that `in_memory` is for one worker, but runs as many at
    once as there are. Beam's own `DirectRunner` first tries a Go binary, Prism, that has to be
    fetched; this one needs nothing.
    """
    options = Options(list(arguments))
    given = {argument.split("=")[0] for argument in arguments}
    direct = options.view_as(DirectOptions)
    if "--direct_num_workers" not in given:
        direct.direct_num_workers = len(os.sched_getaffinity(0))
    if "--direct_running_mode" not in given:
        direct.direct_running_mode = "in_memory"
    # What worker threads send by gRPC is sent by size, not also once a second from a thread of its
    # own: that one does not wait for an element to be whole, and whoever reads a half takes its
    # next byte for the beginning of another (the run fails, or never ends). 0 would mean the
    # default.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = NEVER_MS
    print_no_tracebacks()
    process_workers.use(options)
    fn_runner.WorkerHandlerManager = Workers
    hold_children()
    return LocalRunner(), options
