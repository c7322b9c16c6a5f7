"""Threads of the local runner work at once, and get every element whole, however long it takes to
write it down."""

from __future__ import annotations

import threading
import time
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from runners.direct import prepare

ELEMENTS = 40
PICKLING_S = 0.04
"""All elements of a worker take longer than the second after which Beam would send what it has."""


class Slow:
    """Takes its time to be pickled, and lets other threads work meanwhile."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        time.sleep(PICKLING_S)
        return Slow, (self.number,)


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_elements_are_not_torn_between_threads(mode: str) -> None:
    runner, options = prepare(["--direct_num_workers=2", f"--direct_running_mode={mode}"])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        numbers = (
            pipeline
            | beam.Create([None])
            | beam.FlatMap(lambda _: map(Slow, range(ELEMENTS)))
            | beam.Reshuffle()
            | beam.Map(lambda slow: slow.number)
        )
        assert_that(numbers, equal_to(list(range(ELEMENTS))))


WORKERS = 3
TOGETHER = threading.Barrier(WORKERS)


def meet(number: int) -> int:
    TOGETHER.wait(timeout=60)
    return number


def test_all_workers_work_at_once() -> None:
    runner, options = prepare([f"--direct_num_workers={WORKERS}"])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        # One for each of them, which waits for the others.
        numbers = pipeline | beam.Create(range(WORKERS)) | beam.Reshuffle() | beam.Map(meet)
        assert_that(numbers, equal_to(list(range(WORKERS))))
