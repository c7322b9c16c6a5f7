"""What the log does not say: what workers meet while a run that failed is taken down."""

from __future__ import annotations

import logging
import traceback
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import sdk_worker

from pipelines.cli import _worth_saying


class ShutDownInMidBundle(SimpleNamespace):
    """Stands where Beam has what processes a bundle; its worker is shut down in the meantime."""

    state_handler = SimpleNamespace(process_instruction_id=lambda *_: nullcontext())

    def process_bundle(self, *_: object) -> tuple[list[object], bool]:
        self.cache.shutdown()
        return [], False

    def monitoring_infos(self) -> list[object]:
        return []

    def shutdown(self) -> None:
        pass


def said_by_beam(instruction: str) -> logging.LogRecord:
    """Beam's own record of the error that the instruction ends with, made as its worker does."""
    channels: Any = SimpleNamespace(cleanup=lambda _: None)
    no_state: Any = None
    cache = sdk_worker.BundleProcessorCache(frozenset(), no_state, channels, {})
    processor = ShutDownInMidBundle(cache=cache)
    cache.get = lambda *_: processor  # type: ignore[method-assign,assignment]
    cache.active_bundle_processors[instruction] = ("stage", processor)
    worker = sdk_worker.SdkWorker(cache)
    request = beam_fn_api_pb2.InstructionRequest(
        instruction_id=instruction, process_bundle=beam_fn_api_pb2.ProcessBundleRequest()
    )
    with pytest.raises(KeyError, match=instruction):
        try:
            worker.do_instruction(request)
        except KeyError:
            words = traceback.format_exc()
            raise
    return record(f"Error processing instruction {instruction}. Original traceback is\n{words}\n")


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("apache_beam.sdk_worker", logging.ERROR, "", 0, message, (), None)


def test_a_bundle_that_ends_while_its_worker_is_shut_down_is_not_shown() -> None:
    assert not _worth_saying(said_by_beam("inst016"))


def test_any_other_error_of_a_bundle_is_shown() -> None:
    message = "Error processing instruction inst016. Original traceback is\nKeyError: 'inst016'"
    assert _worth_saying(record(message))
