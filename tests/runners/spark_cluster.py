"""A standalone Spark cluster of processes of its own on this machine's loopback."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Self

import psutil
from apache_beam.utils.subprocess_server import pick_port

from runners.engines import jars_folder
from runners.job_server import java_command
from transforms.leash import hold_children

START_TIMEOUT_S = 90.0
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
LOG_FLAG = "-Dorg.apache.logging.log4j.level=INFO"


class SparkCluster:
    """A master and two workers, each with one executor of one core for a job."""

    def __init__(self, folder: Path) -> None:
        jars = jars_folder("spark")
        assert jars is not None, "no Spark here; run scripts/engines.sh spark"
        self._jars = jars
        self._folder = folder
        # What a distribution of Spark looks like, as far as its workers look at it.
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        (self._home / "jars").symlink_to(jars)
        (self._home / "RELEASE").touch()
        [self._port] = pick_port(None)
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"spark://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        hold_children()
        self._java("master", "org.apache.spark.deploy.master.Master", "--port", self._port)
        for number in (1, 2):
            name = f"worker-{number}"
            more = ("--cores", 1, "--memory", "600m", "--work-dir", self._folder / name)
            self._java(name, "org.apache.spark.deploy.worker.Worker", *more, self.address)
        until = time.monotonic() + START_TIMEOUT_S
        while self._log("master").count("Registering worker") < 2:
            if time.monotonic() > until:
                raise TimeoutError(f"Spark has not two workers: {self._log('master')[-3000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)

    def executors(self) -> list[psutil.Process]:
        """Those of all jobs."""
        found = []
        for process in self._processes:
            for one in psutil.Process(process.pid).children(recursive=True):
                try:
                    if EXECUTOR in one.cmdline():
                        found.append(one)
                except psutil.NoSuchProcess:
                    continue
        return found

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text("utf-8", errors="replace")

    def _java(self, name: str, main: str, *arguments: object) -> None:
        here = ("--host", "127.0.0.1", "--webui-port", 0)
        command = [*java_command(self._jars, main, LOG_FLAG), *map(str, (*here, *arguments))]
        # Said by Spark's shell scripts, where it has been started by them.
        said = {"SPARK_HOME": str(self._home), "SPARK_SCALA_VERSION": "2.12"}
        environment = {**os.environ, **said, "SPARK_LOCAL_IP": "127.0.0.1"}
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self._processes.append(process)
