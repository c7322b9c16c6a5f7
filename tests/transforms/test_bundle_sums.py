"""Counts made in bundles add up to the same, and fewer of them leave."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindow

from runners.direct import prepare
from schemas.usage import Usage
from transforms.bundle_sums import CountInBundle, SumInBundle

WORKERS = [("--direct_num_workers=1",), ("--direct_num_workers=2",)]


@pytest.mark.parametrize("arguments", WORKERS)
def test_sums_of_bundles_add_up_to_the_sum_of_all(arguments: tuple[str, ...]) -> None:
    pairs = [(f"key{number % 3}", number) for number in range(1_000)]
    runner, options = prepare(arguments)
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        spread = pipeline | beam.Create(pairs)
        summed = spread | "Sum" >> beam.ParDo(SumInBundle())
        counted = spread | "Count" >> beam.ParDo(CountInBundle("all"))
        none = spread | beam.Filter(lambda _: False) | "No" >> beam.ParDo(CountInBundle("none"))
        total = (summed, counted, none) | beam.Flatten() | beam.CombinePerKey(sum)
        by_key = [(f"key{key}", sum(range(key, 1_000, 3))) for key in range(3)]
        assert_that(total, equal_to([*by_key, ("all", 1_000)]))


def test_one_pair_for_each_key_leaves_a_bundle_in_the_window_that_elements_have() -> None:
    sums: Any = SumInBundle()
    # A worker uses the same one for bundle after bundle.
    for _ in range(2):
        sums.start_bundle()
        for tokens in (1, 2, 3):
            assert sums.process(("describe", Usage(replies=1, prompt_tokens=tokens))) is None
        [out] = sums.finish_bundle()
        assert out.value == ("describe", Usage(replies=3, prompt_tokens=6))
        assert list(out.windows) == [GlobalWindow()]
