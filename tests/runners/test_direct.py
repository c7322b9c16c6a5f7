"""The local runner hands on every element whole, however long it takes to write it down."""

from __future__ import annotations

import time
from typing import Any

import apache_beam as beam
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


def test_elements_are_not_torn_between_threads() -> None:
    runner, options = prepare(["--direct_num_workers=2"])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        numbers = (
            pipeline
            | beam.Create([None])
            | beam.FlatMap(lambda _: map(Slow, range(ELEMENTS)))
            | beam.Reshuffle()
            | beam.Map(lambda slow: slow.number)
        )
        assert_that(numbers, equal_to(list(range(ELEMENTS))))
