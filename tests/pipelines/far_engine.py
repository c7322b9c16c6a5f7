"""An engine whose workers share nothing with the run but their addresses: Beam's own job service
and a pool of its workers, in a process of its own, with folders of its own. It outlives the run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

STATES = beam_job_api_pb2.JobState
ENDS = {STATES.DONE, STATES.FAILED, STATES.CANCELLED}
WAIT_S = 200


@dataclass(frozen=True)
class FarEngine:
    """An engine at work."""

    process: subprocess.Popen[str]
    job_endpoint: str
    workers: str
    folder: Path
    """All that its machine has for it: working folder, temporary files, copies."""

    @property
    def options(self) -> Sequence[str]:
        return (
            *("--runner=PortableRunner", f"--job_endpoint={self.job_endpoint}"),
            *("--environment_type=EXTERNAL", f"--environment_config={self.workers}"),
        )

    def states(self) -> list[int]:
        """Of its jobs."""
        with grpc.insecure_channel(self.job_endpoint) as channel:
            service = beam_job_api_pb2_grpc.JobServiceStub(channel)
            jobs = service.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=WAIT_S)
        return [job.state for job in jobs.job_info]

    def end_of_jobs(self) -> list[int]:
        """Their states once all have ended."""
        until = time.monotonic() + WAIT_S
        while not set(found := self.states()) <= ENDS:
            assert time.monotonic() < until, found
            time.sleep(0.05)
        return found


@contextmanager
def far_engine(folder: Path, *options: str) -> Iterator[FarEngine]:
    """An engine for the time of the block; `options` of Beam are those of its workers."""
    folder.mkdir(parents=True)
    root = Path(__file__).parents[2]
    own = {
        "PYTHONPATH": str(root),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PROOFREEL_CACHE": str(folder / "copies"),
    }
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    command = [sys.executable, str(Path(__file__)), *options]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        yield FarEngine(process, *line.split(), folder)
    finally:
        process.kill()
        process.communicate()


def _serve() -> None:
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability import local_job_service
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    from runners.direct import NEVER_MS
    from runners.loopback import _serve as serve_workers

    # The engine is the local runner, which needs that with threads.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = NEVER_MS
    # Workers in processes of their own take it from the job.
    FileSystems.set_options(PipelineOptions(sys.argv[1:]))
    _, workers = serve_workers(PipelineOptions([]))
    port = local_job_service.LocalJobServicer().start_grpc_server()
    print(f"localhost:{port}", workers, flush=True)
    # It must not outlive the test, whatever becomes of that.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        time.sleep(3_600)


if __name__ == "__main__":
    _serve()
