"""Cancelling a job through Flink's REST interface, against a server that answers as Flink does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability import flink_runner, job_server, portable_runner
from apache_beam.runners.runner import PipelineState

from runners import flink
from runners.interrupt import cancel


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
        flink.cancel_on_cluster(address, "nightly", others, None)
    assert {job: state for job, (_, state) in jobs.items()} == {
        "old": "RUNNING",
        "else": "RUNNING",
        "new": "CANCELED",
    }


def test_a_cluster_that_is_not_there() -> None:
    assert flink.job_ids("http://127.0.0.1:9") == frozenset()
    with pytest.raises(httpx.HTTPError):
        flink.cancel_on_cluster("http://127.0.0.1:9", "nightly", frozenset(), None)


def test_a_job_that_was_not_seen_is_cancelled_only_if_it_can_not_come_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job server takes long for its upload, and Flink knows of no job until that is done."""
    monkeypatch.setattr(flink, "SHOWS_UP_WITHIN_S", 0.2)
    monkeypatch.setattr(flink, "CANCEL_WITHIN_S", 0.5)
    with served({}) as address:
        flink.cancel_on_cluster(address, "nightly", frozenset(), lambda: None)
        with pytest.raises(TimeoutError, match="has not got it yet"):
            flink.cancel_on_cluster(address, "nightly", frozenset(), None)


class JobServer(job_server.JobServer):
    """In the middle of its upload, which it ends with, or which is through at that moment."""

    def __init__(self, jobs: dict[str, tuple[str, str]], *, through: bool) -> None:
        self._jobs = jobs
        self._through = through
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        if self._through:
            self._jobs["new"] = ("nightly", "CREATED")

    def Cancel(self, request: Any) -> None:  # noqa: N802 - Beam's name
        assert request.job_id == "nightly_1234"

    def GetState(self, _: Any) -> Any:  # noqa: N802 - Beam's name
        if self.stopped:
            raise ConnectionError("nobody there")
        return beam_job_api_pb2.JobStateEvent(state=beam_job_api_pb2.JobState.RUNNING)


@pytest.mark.parametrize("through", [True, False])
def test_a_job_server_at_its_upload_is_ended_before_a_job_counts_as_cancelled(
    through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "SHOWS_UP_WITHIN_S", 0.2)
    jobs: dict[str, tuple[str, str]] = {}
    server = JobServer(jobs, through=through)
    beams = portable_runner.PipelineResult(server, "nightly_1234", [], [])
    with served(jobs) as address:
        result = flink.ClusterResult(beams, address, frozenset(), server)
        assert result.state == PipelineState.RUNNING
        cancel(result)
    assert server.stopped
    assert jobs == ({"new": ("nightly", "CANCELED")} if through else {})
    assert result.state == PipelineState.CANCELLED


def test_a_job_server_that_is_through_is_not_waited_for() -> None:
    jobs = {"new": ("nightly", "RUNNING")}
    server = JobServer(jobs, through=True)
    with served(jobs) as address:
        flink.cancel_on_cluster(address, "nightly", frozenset(), server.stop)
    assert not server.stopped
    assert jobs == {"new": ("nightly", "CANCELED")}


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
