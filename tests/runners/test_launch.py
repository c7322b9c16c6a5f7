"""From Beam's options to a runner."""

from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from runners.launch import UnknownRunnerError, prepare


@pytest.mark.parametrize("name", [None, "DirectRunner", "directrunner", "Direct", "FnApiRunner"])
def test_the_local_runner_uses_all_cores_in_one_process(name: str | None) -> None:
    runner, options = prepare([] if name is None else [f"--runner={name}"])
    direct = options.view_as(DirectOptions)
    cores = len(os.sched_getaffinity(0))
    assert isinstance(runner, FnApiRunner)
    assert direct.direct_num_workers == cores
    assert direct.direct_running_mode == "in_memory"


@pytest.mark.parametrize(
    ("arguments", "workers", "mode"),
    [
        (["--direct_num_workers=1"], 1, "in_memory"),
        (["--direct_num_workers=3"], 3, "in_memory"),
        (["--direct_num_workers=0"], 0, "in_memory"),
        (
            ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
            2,
            "multi_processing",
        ),
    ],
)
def test_what_was_said_of_workers_stands(arguments: list[str], workers: int, mode: str) -> None:
    _, options = prepare(arguments)
    direct = options.view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (workers, mode)


def test_the_prepared_runner_runs() -> None:
    runner, options = prepare(["--direct_num_workers=2"])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        squares = pipeline | beam.Create(range(20)) | beam.Reshuffle() | beam.Map(lambda n: n * n)
        assert_that(squares, equal_to([n * n for n in range(20)]))


@pytest.mark.parametrize("name", ["PrismRunner", "FlinkRunner", "SparkRunner", "PortableRunner"])
def test_other_runners_of_beam_are_handed_through(name: str) -> None:
    runner, _ = prepare([f"--runner={name}"])
    assert type(runner).__name__ == name


@pytest.mark.parametrize(
    "name", ["Nope", "nope.Runner", "os.path.join", "builtins.dict", "FlinkRunnner"]
)
def test_an_unknown_runner_is_named(name: str) -> None:
    with pytest.raises(UnknownRunnerError, match=f"--runner {name}"):
        prepare([f"--runner={name}"])
