"""Runs that get a signal in mid-work, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

END_WITHIN_S = 20.0
"""After the signal, until nothing is left."""
WORK_WITHIN_S = 120.0
MEDIA = ("-nostdin", "transforms.video.cut_child")
"""In the commands of processes that decode or cut."""


@dataclass(frozen=True)
class Ended:
    """How a run ended after a signal."""

    code: int
    stderr: str
    left: list[list[str]]
    """Commands of processes that outlived it; they are killed."""

    def assert_orderly(self, number: signal.Signals) -> str:
        """The line that was said, the only one after the signal."""
        assert self.code == 128 + number, self.stderr
        assert "Traceback" not in self.stderr
        last = self.stderr.strip().splitlines()[-1]
        said = [line for line in self.stderr.splitlines() if line.startswith("proofreel: ")]
        assert said == [last], self.stderr
        assert last.startswith(f"proofreel: interrupted by {number.name}: ")
        assert last.endswith("what was finished is kept: run the same command again to go on")
        assert self.left == []
        return last


class Family:
    """All that a run started, as seen by looking again and again."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._seen: dict[int, psutil.Process] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            while not self._over.wait(0.05):
                for one in parent.children(recursive=True):
                    self._seen.setdefault(one.pid, one)

    def at_media(self) -> bool:
        """Whether one of them decodes or cuts right now."""
        return any(word in command for command in commands(self.alive()) for word in MEDIA)

    def alive(self) -> list[psutil.Process]:
        """Those that were seen, and whoever else is in the run's session, as long as they are."""
        found = dict(self._seen)
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self._process.pid and pid != self._process.pid:
                    found.setdefault(pid, psutil.Process(pid))
        return [one for one in list(found.values()) if is_alive(one)]

    def left(self) -> list[list[str]]:
        """Commands of those who are still there after a while; they are killed."""
        until = time.monotonic() + END_WITHIN_S
        while (alive := self.alive()) and time.monotonic() < until:
            time.sleep(0.05)
        self._over.set()
        told = commands(alive)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        return told


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def commands(processes: list[psutil.Process]) -> list[list[str]]:
    found = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(one.cmdline())
    return found


def interrupted(
    process: subprocess.Popen[str],
    number: signal.Signals,
    *,
    times: int = 1,
    at_work: Callable[[], bool] | None = None,
) -> Ended:
    """Wait until media are worked on, send the signal, and wait for the end.

    SIGINT goes to the whole process group, as from a terminal, others to the process alone.
    """
    family = Family(process)
    wait_for(at_work or family.at_media, process)
    for _ in range(times):
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        time.sleep(0.3 if times > 1 else 0)
    _, stderr = process.communicate(timeout=END_WITHIN_S)
    return Ended(process.returncode, stderr, family.left())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WORK_WITHIN_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)
