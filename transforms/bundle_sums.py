"""Sums made where the elements are: one number leaves a worker for a whole bundle, not one for each
element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.combiners import CountCombineFn
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue


class SumInBundle(beam.DoFn):
    """Pairs (key, value) -> one pair per key and bundle, with the sum of its values.

    What comes out is summed up again elsewhere: a bundle is whatever the runner makes of it. Where
    collections are flattened, the local runner writes each of their elements down and reads it
    again; of counts these were several for each clip and stage.
    """

    def start_bundle(self) -> None:
        self._sums: dict[Any, Any] = {}

    def process(self, pair: tuple[Any, Any]) -> None:
        key, value = pair
        self._sums[key] = self._sums[key] + value if key in self._sums else value

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(of_bundle, self._sums.items())


class CountInBundle(beam.DoFn):
    """Elements -> one pair (key, how many) per bundle."""

    def __init__(self, key: str) -> None:
        self._key = key

    def start_bundle(self) -> None:
        self._count = 0

    def process(self, element: Any) -> None:
        self._count += 1

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._count:
            yield of_bundle((self._key, self._count))


def one_count() -> beam.PTransform:
    """Elements -> their number, for a step beside: AsSingleton, 0 of none.

    A combination that puts out a collection also puts out one of nothing, for which Beam adds three
    steps and two stages.
    """
    return beam.CombineGlobally(CountCombineFn()).as_singleton_view()


def of_bundle(value: Any) -> WindowedValue:
    """What a bundle as a whole puts out: at the end of the window, as a combination of all of it
    would be."""
    return WindowedValue(value, GlobalWindow().max_timestamp(), (GlobalWindow(),))
