"""Runs of the product in real processes that start at once: forked off one that has imported all.

A process of its own takes seconds to import Beam and the rest. A server, started once, imports them
and forks a child for each run, which is then a process like any other: with a session of its own,
children of its own, and a death of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = (
    *("pipelines.run", "pipelines.dry_run", "pipelines.display", "pipelines.summary"),
    *("runners.arguments", "runners.launch", "runners.process_workers", "cv2", "av"),
    *("transforms.annotate.measure_teacher", "transforms.video.transnet", "apart"),
)


def server() -> ForkServerContext:
    """What `start_apart` forks off; the first child waits for its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def start_apart(context: ForkServerContext, log: Path, *arguments: object) -> BaseProcess:
    """`proofreel ...`, at work; what it says goes into `log`."""
    process = context.Process(target=_work, args=(str(log), [str(one) for one in arguments]))
    process.start()
    return process


def _work(log: str, arguments: list[str]) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    from pipelines.cli import main

    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # As a program ends: without waiting for the threads of Beam.
    os._exit(code)
