"""Beam's job server of an engine in Java: takes the pipeline here, hands it to the engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_job_api_pb2_grpc
from apache_beam.runners.portability import job_server

from runners.engines import java
from transforms.leash import hold_children

OPENED = (
    *("java.io", "java.lang", "java.lang.invoke", "java.lang.reflect", "java.net", "java.nio"),
    *("java.text", "java.time", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action"),
    "sun.util.calendar",
)
"""Parts of Java's own library that Flink and Spark reach into; closed since Java 17."""

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
STARTED = re.compile(r"JobService started on [^\s:]+:(\d+)")
SHOWN_CHARS = 2000


class NoEngineError(Exception):
    """The engine can't be started here; the message says what is missing."""


def java_command(jars: Path, main: str, *flags: str, heap: str = "512m") -> list[str]:
    """A Java program from a folder of jars; its own arguments are to follow.

    Raises NoEngineError without Java. The plainest compiler and collector: such programs here live
    for one run, and share their machine with ffmpeg.
    """
    if (found := java()) is None:
        raise NoEngineError("Flink and Spark need Java 17: install it, or set JAVA_HOME")
    opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED]
    lean = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Xmx{heap}"]
    # `folder/*` would be read in the order of the file system, and the first class found is taken.
    classes = ":".join(map(str, sorted(jars.glob("*.jar"))))
    return [found, *lean, *opens, *flags, "-cp", classes, main]


class JarsJobServer(job_server.JobServer):
    """Started from a folder of jars for one run; listens on this machine's loopback alone.

    Beam's own starter wants a single jar, and its server would listen on all interfaces: only on
    ports of its own choice does it keep to loopback. So it chooses, and says so in its log.
    """

    def __init__(
        self, jars: Path, main: str, flags: Sequence[str], arguments: Sequence[str]
    ) -> None:
        self._command = java_command(jars, main, *flags)
        self._arguments = list(arguments)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    def start(self) -> beam_job_api_pb2_grpc.JobServiceStub:
        """The service to hand jobs to. Raises NoEngineError with the end of the server's log."""
        hold_children()
        self._folder = Path(tempfile.mkdtemp(prefix="proofreel-job-server-"))
        log = self._folder / "log"
        ports = ["--job-host=127.0.0.1", "--job-port=0", "--artifact-port=0", "--expansion-port=0"]
        staged = f"--artifacts-dir={self._folder / 'artifacts'}"
        command = [*self._command, *ports, staged, *self._arguments]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self._folder,
                # Ctrl-C is for the run, which needs the server to cancel its job.
                process_group=0,
            )
        try:
            self._channel = grpc.insecure_channel(f"127.0.0.1:{self._port(log)}")
            grpc.channel_ready_future(self._channel).result(timeout=START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise
        return beam_job_api_pb2_grpc.JobServiceStub(self._channel)

    def _port(self, log: Path) -> int:
        assert self._process is not None
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            # Asked before reading: so what is read of one that has ended is all it said.
            ended = self._process.poll() is not None
            text = log.read_text("utf-8", errors="replace")
            if found := STARTED.search(text):
                return int(found[1])
            if ended:
                break
            time.sleep(0.1)
        raise NoEngineError(f"the job server did not start: {text[-SHOWN_CHARS:].strip()}")

    def stop(self) -> None:
        """End the server, and with it what it has been handed."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._channel = self._process = self._folder = None
