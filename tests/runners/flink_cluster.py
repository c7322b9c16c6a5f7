"""A standalone Flink cluster of processes of its own on this machine's loopback."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import psutil
from apache_beam.utils.subprocess_server import pick_port
from worker_processes import workers_of

from runners.engines import jars_folder
from runners.job_server import java_command
from transforms.leash import hold_children

START_TIMEOUT_S = 90.0
KEPT_MS = 4000
"""For the runs of these tests: a job may restart only when dead workers are forgotten."""

FLAGS = (
    "-XX:MaxDirectMemorySize=600m",
    *(
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss",
    ),
)

MEMORY = {
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.network.min": "256m",
    "taskmanager.memory.network.max": "256m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}
"""Flink's shell scripts work these out; its classes want to be told all of them."""


class FlinkCluster:
    """One JobManager and, for each of two slots, a TaskManager."""

    def __init__(self, folder: Path) -> None:
        jars = jars_folder("flink")
        assert jars is not None, "no Flink here; run scripts/engines.sh flink"
        self._jars = jars
        self._folder = folder
        self._rest_port, rpc_port = pick_port(None, None)
        self.conf_dir = folder / "conf"
        self.conf_dir.mkdir(parents=True)
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": rpc_port,
            "jobmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self._rest_port,
            "io.tmp.dirs": folder / "tmp",
            "parallelism.default": 2,
            "taskmanager.numberOfTaskSlots": 1,
            # The cluster has the jars: what the job server uploads need not be loaded anew.
            "classloader.resolve-order": "parent-first",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 5,
            "restart-strategy.fixed-delay.delay": f"{KEPT_MS + 2000} ms",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 8000,
            **MEMORY,
        }
        (folder / "tmp").mkdir()
        text = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (self.conf_dir / "flink-conf.yaml").write_text(text, "utf-8")
        self._job_manager: subprocess.Popen[bytes] | None = None
        self.task_managers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._rest_port}"

    def __enter__(self) -> Self:
        hold_children()
        entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._job_manager = self._java("job-manager", entry)
        for _ in range(2):
            self.add_task_manager()
        self.wait_for(2)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.task_managers, self._job_manager):
            if process is not None:
                process.terminate()
        for process in (*self.task_managers, self._job_manager):
            if process is not None:
                process.wait(30)

    def add_task_manager(self) -> None:
        number = len(self.task_managers)
        entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        named = f"-Dtaskmanager.resource-id={number}"
        self.task_managers.append(self._java(f"task-manager-{number}", entry, named))

    def wait_for(self, task_managers: int) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            try:
                if self.ask("overview")["taskmanagers"] == task_managers:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise TimeoutError(f"Flink has not {task_managers} TaskManagers: {self.log_ends()}")

    def ask(self, path: str) -> Any:
        """What Flink's REST interface says."""
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=10) as answer:
            return json.load(answer)

    def states(self) -> dict[str, str]:
        """Of all jobs, by their ids."""
        return {job["jid"]: job["state"] for job in self.ask("jobs/overview")["jobs"]}

    def workers(self) -> list[psutil.Process]:
        """The SDK workers that its TaskManagers have started and that are still there."""
        alive = [one for one in self.task_managers if one.poll() is None]
        return [worker for one in alive for worker in workers_of(one.pid)]

    def failures(self, job: str) -> int:
        """How often something of a job failed, so that it was done again or the job ended."""
        return len(self.ask(f"jobs/{job}/exceptions")["exceptionHistory"]["entries"])

    def wait_for_failures(self, job: str, *, above: int) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while self.failures(job) <= above:
            assert time.monotonic() < until, f"Flink has noticed nothing: {self.log_ends()}"
            time.sleep(0.2)

    def one_at_work(self, job: str) -> subprocess.Popen[bytes]:
        """A TaskManager that is at a task of a job right now."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            for vertex in self.ask(f"jobs/{job}")["vertices"]:
                if vertex["status"] == "RUNNING":
                    for task in self.ask(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]:
                        if task["status"] == "RUNNING":
                            return self.task_managers[int(task["taskmanager-id"])]
            time.sleep(0.1)
        raise TimeoutError(f"Flink is at no task of the job: {self.log_ends()}")

    def log_ends(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text('utf-8')[-1500:]}" for log in logs)

    def _java(self, name: str, entry: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            *java_command(self._jars, entry, *FLAGS, heap="400m"),
            *("--configDir", str(self.conf_dir), *arguments),
        ]
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ)
            )
