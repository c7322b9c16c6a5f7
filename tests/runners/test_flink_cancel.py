"""Cancelling a job through Flink's REST interface, against a server that answers as Flink does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.runners.portability import flink_runner

from runners import flink


@contextmanager
def served(jobs: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Jobs by id, each with name and state; a job that is cancelled changes its state at once."""

    class Flink(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = [{"jid": jid, "name": name, "state": s} for jid, (name, s) in jobs.items()]
            self.answer({"jobs": known})

        def do_PATCH(self) -> None:
            job = self.path.removeprefix("/jobs/").removesuffix("?mode=cancel")
            jobs[job] = (jobs[job][0], "CANCELED")
            self.answer({})

        def answer(self, value: object) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Flink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_only_this_job_is_cancelled() -> None:
    jobs = {"old": ("nightly", "RUNNING"), "else": ("other", "RUNNING")}
    with served(jobs) as address:
        others = flink.job_ids(address)
        # It comes up a moment after it was asked for.
        threading.Timer(0.3, jobs.update, [{"new": ("nightly", "RUNNING")}]).start()
        flink.cancel_on_cluster(address, "nightly", others)
    assert {job: state for job, (_, state) in jobs.items()} == {
        "old": "RUNNING",
        "else": "RUNNING",
        "new": "CANCELED",
    }


def test_a_cluster_that_is_not_there() -> None:
    assert flink.job_ids("http://127.0.0.1:9") == frozenset()
    with pytest.raises(httpx.HTTPError):
        flink.cancel_on_cluster("http://127.0.0.1:9", "nightly", frozenset())


def test_two_runs_of_one_name_have_jobs_of_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[str] = []

    class Result:
        pass

    def submit(_: object, pipeline: object, options: flink.Options) -> Result:
        submitted.append(options.view_as(GoogleCloudOptions).job_name)
        return Result()

    monkeypatch.setattr(flink_runner.FlinkRunner, "run_portable_pipeline", submit)
    with served({}) as address:
        for _ in range(2):
            given = [f"--flink_master={address}", "--job_name=nightly"]
            runner, options = flink.prepare(given)
            runner.run_portable_pipeline(None, options)
    assert all(name.startswith("nightly-") for name in submitted)
    assert len(set(submitted)) == 2
