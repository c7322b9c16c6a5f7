"""Times of legs in Beam's metrics: what is told at the end is what was counted, by any worker."""

from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.told import LegTime, told_by
from runners.launch import prepare
from schemas.rejection import Reason, Rejected, Stage
from transforms.leg_metrics import MAX_BUCKET_MS, bucket_ms, note_busy
from transforms.legs import Leg
from transforms.outcome import Outcome
from transforms.progress import ProgressLog, Replied, Step

MILLISECONDS = st.integers(0, 2 * MAX_BUCKET_MS)


@given(MILLISECONDS)
def test_a_bucket_is_above_its_times_by_less_than_a_factor_of_two(milliseconds: int) -> None:
    bucket = bucket_ms(milliseconds)
    if bucket < MAX_BUCKET_MS:
        assert bucket / 2 <= max(milliseconds, 0.5) < bucket
    else:
        assert milliseconds >= MAX_BUCKET_MS / 2


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_is_known_to_a_factor_of_two(milliseconds: list[int], percent: int) -> None:
    below: dict[int, int] = {}
    for one in milliseconds:
        below[bucket_ms(one)] = below.get(bucket_ms(one), 0) + 1
    longest_s = max(milliseconds) / 1000
    time = LegTime("cut", len(milliseconds), sum(milliseconds) / 1000, longest_s, below)
    rank = -(-percent * len(milliseconds) // 100)
    exact_ms = sorted(milliseconds)[rank - 1]
    found_ms = 1000 * time.percentile_s(percent)
    assert found_ms <= 2 * max(exact_ms, 0.5) + 1e-6
    assert found_ms >= exact_ms / 2 - 1e-6
    assert time.percentile_s(percent) <= longest_s


def work(element: int) -> Outcome[int]:
    if element % 5 == 0:
        raise Rejected(Reason.TOO_SHORT, "a fifth")
    return Outcome([element])


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_what_workers_count_is_told_at_the_end(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads or processes: every element counts once, with its rejection and its time."""
    # For processes, which import this module.
    here = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(here))
    runner, options = prepare(["--direct_num_workers=2", f"--direct_running_mode={mode}"])
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = (
        pipeline
        | beam.Create(range(40))
        | beam.Reshuffle()
        | Leg(Stage.SELECT, work, lambda one: [(str(one), "")], ProgressLog())
    )
    result = pipeline.run()
    result.wait_until_finish()
    told = told_by(result)
    assert told.steps == (Step(Stage.SELECT, 40, 8),)
    [time] = told.times
    assert (time.leg, time.elements, sum(time.below_ms.values())) == ("select", 40, 40)
    assert time.busy_s >= 0


class _Replied(beam.DoFn):
    def process(self, element: Replied) -> None:
        ProgressLog().add_replies(**element._asdict())
        note_busy("answer", 0.2, elements=2)


def test_replies_and_their_cost_add_up() -> None:
    runner, options = prepare(["--direct_num_workers=1"])
    pipeline = beam.Pipeline(runner=runner, options=options)
    several = [Replied(1, 0, 10, 3, 0.25), Replied(2, 5, 20, 4, 0.000001)]
    _ = pipeline | beam.Create(several) | beam.ParDo(_Replied())
    result = pipeline.run()
    result.wait_until_finish()
    told = told_by(result)
    assert told.replied == Replied(3, 5, 30, 7, 0.250001)
    [time] = told.times
    assert (time.elements, round(time.mean_s, 3), time.below_ms) == (4, 0.1, {128: 4})
