"""A worker that an engine starts asks the engine for its orders, and hands them on to Beam's."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import text_format
from interrupts import is_alive

from runners.worker import environment, main, provision

WITH_A_DECODER_THAT_HANGS = """
import subprocess, time
from runners import worker
from transforms import leash
leash.GRACE_S = 0.1

def work(_):
    print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
    time.sleep(300)

worker.sdk_worker_main.main = work
worker.main()
"""


class Engine(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """Answers as an engine does, and keeps who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def GetProvisionInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 - Beam's name
        self.asked.append(dict(context.invocation_metadata())["worker_id"])
        info = beam_provision_api_pb2.ProvisionInfo(runner_capabilities=["a", "b"])
        info.pipeline_options["beam:option:experiments:v1"] = ["use_sibling_sdk_workers"]
        info.control_endpoint.url = "127.0.0.1:1"
        info.logging_endpoint.url = "127.0.0.1:2"
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)


@pytest.fixture
def served() -> Iterator[tuple[Engine, str]]:
    engine = Engine()
    server = grpc.server(ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(engine, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield engine, f"127.0.0.1:{port}"
    server.stop(0)


def address(text: str) -> str:
    found = endpoints_pb2.ApiServiceDescriptor()
    text_format.Merge(text, found)
    return str(found.url)


def test_orders_come_from_the_engine(served: tuple[Engine, str]) -> None:
    engine, url = served
    said = argparse.Namespace(id="7", control_endpoint="", logging_endpoint="")
    found = environment(said, provision(url, "7"))
    assert engine.asked == ["7"]
    assert found["WORKER_ID"] == "7"
    assert found["RUNNER_CAPABILITIES"] == "a b"
    assert json.loads(found["PIPELINE_OPTIONS"]) == {
        "beam:option:experiments:v1": ["use_sibling_sdk_workers"]
    }
    assert address(found["CONTROL_API_SERVICE_DESCRIPTOR"]) == "127.0.0.1:1"
    assert address(found["LOGGING_API_SERVICE_DESCRIPTOR"]) == "127.0.0.1:2"
    assert "STATUS_API_SERVICE_DESCRIPTOR" not in found


def test_addresses_of_the_command_line_come_first(served: tuple[Engine, str]) -> None:
    _, url = served
    said = argparse.Namespace(id="7", control_endpoint="h:3", logging_endpoint="h:4")
    found = environment(said, provision(url, "7"))
    assert address(found["CONTROL_API_SERVICE_DESCRIPTOR"]) == "h:3"
    assert address(found["LOGGING_API_SERVICE_DESCRIPTOR"]) == "h:4"


def test_a_worker_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--id" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the engines are")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_processes_end_with_it(number: signal.Signals, served: tuple[Engine, str]) -> None:
    """The engine ends its worker and knows of no others."""
    command = [sys.executable, "-c", WITH_A_DECODER_THAT_HANGS, "--id=7"]
    command.append(f"--provision_endpoint={served[1]}")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        decoder = psutil.Process(int(worker.stdout.readline()))
        worker.send_signal(number)
        worker.wait(20)
        until = time.monotonic() + 20
        while is_alive(decoder) and time.monotonic() < until:
            time.sleep(0.05)
        left = is_alive(decoder)
        if left:
            decoder.kill()
    assert not left
