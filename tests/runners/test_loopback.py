"""Workers inside of this process can be reached from this machine only."""

from __future__ import annotations

import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2

from runners.loopback import LoopbackWorkers, works_here


def test_the_service_that_starts_workers_listens_on_loopback_alone() -> None:
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.components.environments["here"].urn = python_urns.EMBEDDED_PYTHON_LOOPBACK
    pipeline.components.environments["there"].urn = common_urns.environments.PROCESS.urn
    stops = LoopbackWorkers.start_and_replace_loopback_environments(pipeline, PipelineOptions([]))
    try:
        here = pipeline.components.environments["here"]
        assert here.urn == common_urns.environments.EXTERNAL.urn
        external = beam_runner_api_pb2.ExternalPayload.FromString(here.payload)
        host, port = external.endpoint.url.split(":")
        assert host == "127.0.0.1"
        opened = [
            one.laddr.ip.removeprefix("::ffff:")
            for one in psutil.Process().net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == int(port)
        ]
        assert opened == ["127.0.0.1"]
        there = pipeline.components.environments["there"]
        assert there.urn == common_urns.environments.PROCESS.urn
        assert len(stops) == 1
    finally:
        for stop in stops:
            stop()


def test_what_is_loaded_here_is_found_only_by_threads_of_this_process() -> None:
    assert works_here(PipelineOptions(["--environment_type=LOOPBACK"]))
    apart = ["--environment_type=LOOPBACK", "--experiments=use_loopback_process_worker"]
    assert not works_here(PipelineOptions(apart))
    assert not works_here(PipelineOptions(["--environment_type=PROCESS"]))
    assert not works_here(PipelineOptions([]))
