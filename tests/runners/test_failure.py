"""An engine's failure in one line."""

from __future__ import annotations

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from runners.failure import in_words

JAVA = """\
org.apache.spark.SparkException: Job aborted: Task 1 in stage 3.0 failed 1 times
	at org.apache.spark.rdd.RDD.iterator(RDD.scala:328)
Caused by: java.util.concurrent.ExecutionException: {cause}
	at org.apache.spark.rdd.RDD.iterator(RDD.scala:326)
	... 3 more

Driver stacktrace:
"""


def test_what_java_adds_is_left_out() -> None:
    said = in_words(RuntimeError(JAVA.format(cause="ValueError: no such clip [while running 'X']")))
    assert said.endswith("ValueError: no such clip [while running 'X']")
    assert "go on" not in said


def test_the_last_line_of_a_workers_traceback_is_said() -> None:
    said = in_words(RuntimeError("Traceback\n  File x\nOSError: [Errno 28] No space left\n"))
    assert said == "RuntimeError: OSError: [Errno 28] No space left"
    assert in_words(ValueError()) == "ValueError: no message"


@pytest.mark.parametrize(
    "cause", ["StatusRuntimeException: CANCELLED: client cancelled", "UNAVAILABLE: io exception"]
)
def test_of_a_lost_worker_it_is_said_how_to_go_on(cause: str) -> None:
    said = in_words(RuntimeError(JAVA.format(cause=cause)))
    assert said.startswith("the engine is gone, or a worker; run the same command again")
    assert cause in said
    assert "\n" not in said


def test_of_a_lost_engine_it_is_said_how_to_go_on() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            service.GetState(beam_job_api_pb2.GetJobStateRequest(job_id="1"), timeout=20)
    assert in_words(caught.value).startswith("the engine is gone")
