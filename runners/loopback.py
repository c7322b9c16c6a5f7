"""Workers inside of the process that launches the run, for engines on the same machine.

Beam calls it LOOPBACK, but lets the service that starts such workers listen on every network
interface: whoever reaches it could have this process run what they like. Here it listens on this
machine's loopback alone.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import Any

import grpc
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import (
    beam_fn_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from runners.quiet import print_no_tracebacks

LOOPBACK = "LOOPBACK"
PROCESS_EXPERIMENT = "use_loopback_process_worker"
STOP_GRACE_S = 1


class LoopbackWorkers:
    """Mixed into a portable runner of Beam, before it."""

    def create_job_service(self, options: PipelineOptions) -> Any:
        """As Beam does, and Ctrl-C stays ours: Beam would stop the server before its job."""
        handler = signal.getsignal(signal.SIGINT)
        try:
            return super().create_job_service(options)  # type: ignore[misc]
        finally:
            signal.signal(signal.SIGINT, handler)

    @staticmethod
    def start_and_replace_loopback_environments(
        pipeline: beam_runner_api_pb2.Pipeline, options: PipelineOptions
    ) -> list[Callable[[], Any]]:
        """Serve workers for each environment that asks for it; what stops them again."""
        stops: list[Callable[[], Any]] = []
        for environment in pipeline.components.environments.values():
            if environment.urn != python_urns.EMBEDDED_PYTHON_LOOPBACK:
                continue
            server, address = _serve(options)
            endpoint = endpoints_pb2.ApiServiceDescriptor(url=address)
            external = beam_runner_api_pb2.ExternalPayload(endpoint=endpoint)
            environment.urn = common_urns.environments.EXTERNAL.urn
            environment.payload = external.SerializeToString()
            stops.append(functools.partial(server.stop, STOP_GRACE_S))
        return stops


def _serve(options: PipelineOptions) -> tuple[grpc.Server, str]:
    debug = options.view_as(DebugOptions)
    print_no_tracebacks()
    pool = BeamFnExternalWorkerPoolServicer(
        use_process=bool(debug.lookup_experiment(PROCESS_EXPERIMENT, False)),
        state_cache_size=sdk_worker_main._get_state_cache_size_bytes(options=options),
        data_buffer_time_limit_ms=sdk_worker_main._get_data_buffer_time_limit_ms(
            debug.experiments or []
        ),
    )
    # Engines keep asking whether the connection stands; gRPC would hang up on them.
    patient = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(shared_unbounded_instance(), options=patient)
    port = server.add_insecure_port("127.0.0.1:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    return server, f"127.0.0.1:{port}"


def works_here(options: PipelineOptions) -> bool:
    """Whether the workers that the options ask for are threads of this process."""
    portable, debug = options.view_as(PortableOptions), options.view_as(DebugOptions)
    apart = debug.lookup_experiment(PROCESS_EXPERIMENT, False)
    return portable.environment_type == LOOPBACK and not apart
