"""Worker processes of the local runner: when one dies, the run ends instead of waiting for ever.

Beam's own handler notices the end of a worker in a thread that nobody listens to, and goes on
waiting for its answer.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shlex
import signal
import sys
import threading
import time
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import worker_handlers

WORKER = "runners.local_worker"
BY_SIGNAL = 128
"""A shell adds this to the signal that its command died of."""


_told_options: dict[str, Any] = {}
"""The local runner tells its workers none."""


class WorkerDiedError(Exception):
    """A worker process ended in mid-run; says by what, and what to do."""


class ProcessWorker(worker_handlers.SubprocessSdkWorkerHandler):
    """Beam's, which tells whoever waits for the worker that it has died."""

    _is_closing = False

    def start_worker(self) -> None:
        self.provision_info.provision_info.pipeline_options.update(_told_options)
        self.worker = local_job_service.SubprocessSdkWorker(
            # Ctrl-C is for the run, which ends its workers.
            f"trap '' INT; {shlex.quote(sys.executable)} -m {WORKER}".encode(),
            self.control_address,
            self.provision_info,
            self.worker_id,
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run)
        self.worker_thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:  # noqa: BLE001 - else the run would wait for ever
            self._tell(WorkerDiedError(words_of_death(str(error))))
        else:
            if not self._is_closing:
                self._tell(WorkerDiedError(words_of_death("return code 0")))

    def close(self) -> None:
        """Ends the worker, also if it has not connected yet: Beam would not tell that one."""
        self._is_closing = True
        connection = self.control_conn
        if connection._state == worker_handlers.BeamFnControlServicer.UNSTARTED_STATE:
            with contextlib.suppress(queue.Empty):
                while True:
                    connection._push_queue.get_nowait()
            connection._push_queue.put(worker_handlers.BeamFnControlServicer._DONE_MARKER)
        super().close()

    def _tell(self, died: WorkerDiedError) -> None:
        connection = self.control_conn
        push = connection.push

        def refuse(request: Any) -> Any:
            future = push(request)
            if future is not None:
                _abort(future, died)
            return future

        connection.push = refuse  # type: ignore[method-assign,assignment]
        # Once more for who was just about to ask.
        for wait_s in (0.0, 1.0):
            time.sleep(wait_s)
            for future in list(connection._futures_by_id.values()):
                _abort(future, died)


def _abort(future: Any, died: WorkerDiedError) -> None:
    """Whoever waits for data asks whether the answer is there, and then for the answer; of a worker
    that has never connected no closed connection tells."""
    future.abort(died)
    future.is_done = lambda: True


def words_of_death(said: str) -> str:
    """What a person is told; `said` ends in the exit code, unless there never was a process."""
    found = re.search(r"return code (-?\d+)$", said)
    if found is None:
        return f"a worker process could not be started: {said}. Run the same command again"
    code = int(found[1])
    how = f"exit code {code}"
    with contextlib.suppress(ValueError):
        # A shell that put its command in its own place adds nothing: then it was the shell itself.
        how = signal.Signals(-code if code < 0 else code - BY_SIGNAL).name
    memory = ""
    if how == signal.SIGKILL.name:
        memory = " (was the machine out of memory? fewer workers need less: --direct_num_workers)"
    return (
        f"a worker process died: {how}{memory}. Run the same command again: what was finished is "
        "looked up"
    )


def json_options(options: PipelineOptions) -> dict[str, Any]:
    """What was set, by name; without what is no JSON, which can't be told to another process."""
    found: dict[str, Any] = {}
    for name, value in options.get_all_options(drop_default=True).items():
        if type(value) is int:
            # On the way numbers become floats, and 2.0 is not taken for a number of workers.
            found[name] = str(value)
            continue
        with contextlib.suppress(TypeError, ValueError):
            found[name] = json.loads(json.dumps(value, allow_nan=False))
    return found


def use(options: PipelineOptions) -> None:
    """From now on, worker processes of the local runner are such, and know the run's options, such
    as where its object store is."""
    _told_options.clear()
    # Without this one they tell all that they do.
    _told_options["default_sdk_harness_log_level"] = "WARNING"
    _told_options.update(json_options(options))
    register = worker_handlers.WorkerHandler.register_environment
    register(python_urns.SUBPROCESS_SDK, bytes)(ProcessWorker)
