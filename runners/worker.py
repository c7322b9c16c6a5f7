"""A worker that an engine starts on its own machine: `proofreel-worker`, for environment PROCESS.

Engines start their workers by Beam's container contract: a command with the addresses of the
engine's services. In Beam's images a Go program answers to it. Where proofreel is installed on the
workers' machines there is no image, so this does: it asks the engine for the job's options and
becomes Beam's Python worker.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

import transforms.inference  # noqa: F401 - before a step is unpacked that needs it
from runners.signatures import read_signatures_once
from transforms.leash import hold_children
from transforms.shared_model import become_worker

PROVISION_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask the engine what to do, and do it until the engine says that it is over."""
    options = _parser().parse_args(arguments)
    # An engine that kills its worker knows nothing of the worker's decoders.
    hold_children()
    become_worker()
    read_signatures_once()
    os.environ.update(environment(options, provision(options.provision_endpoint, options.id)))
    # Whoever waits on the engine's services would otherwise outlive the signal.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    sdk_worker_main.main(None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proofreel-worker", description=__doc__)
    parser.add_argument("--id", required=True, help="the worker's name, given by the engine")
    for service in ("provision", "control", "logging", "artifact"):
        parser.add_argument(f"--{service}_endpoint", default="", help="host:port of the service")
    return parser


def provision(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    """What the engine says of the job. Raises grpc.RpcError if it can't be reached."""
    with grpc.insecure_channel(endpoint) as channel:
        grpc.channel_ready_future(channel).result(timeout=PROVISION_TIMEOUT_S)
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        answer = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            timeout=PROVISION_TIMEOUT_S,
            metadata=(("worker_id", worker_id),),
        )
    return answer.info


def environment(
    options: argparse.Namespace, info: beam_provision_api_pb2.ProvisionInfo
) -> dict[str, str]:
    """The environment variables from which Beam's Python worker reads its orders.

    Addresses on the command line come before those that the engine gives when asked.
    """
    control = options.control_endpoint or info.control_endpoint.url
    log = options.logging_endpoint or info.logging_endpoint.url
    variables = {
        "WORKER_ID": options.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(control),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if log:
        variables["LOGGING_API_SERVICE_DESCRIPTOR"] = _descriptor(log)
    if info.HasField("status_endpoint"):
        variables["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(info.status_endpoint.url)
    return variables


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


if __name__ == "__main__":
    main()
