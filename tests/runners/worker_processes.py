"""Worker processes of a run, to be looked for and killed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from engine_runs import TIMEOUT_S

from schemas.rejection import Stage
from transforms.progress import ProgressLog, Step


def workers_of(pid: int) -> list[psutil.Process]:
    """The SDK workers below a process."""
    children = psutil.Process(pid).children(recursive=True)
    return [one for one in children if "proofreel-worker" in " ".join(one.cmdline())]


def child_of(process: subprocess.Popen[str], word: str) -> psutil.Process:
    """The one process below a run whose command holds a word."""
    children = psutil.Process(process.pid).children(recursive=True)
    [found] = [one for one in children if word in " ".join(one.cmdline())]
    return found


def wait_until_in(stage: Stage, out: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a stage has dealt with something."""
    log = ProgressLog(str(out / "work" / "progress.jsonl"))
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"ended before {stage}: {process.communicate()[1][-4000:]}")
        steps, _ = log.read_from(0)
        if any(isinstance(step, Step) and step.stage == stage for step in steps):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{stage} was not reached")
