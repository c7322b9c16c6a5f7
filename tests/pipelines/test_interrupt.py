"""Ctrl-C and SIGTERM: a run ends soon and says so, leaves nothing behind, and goes on later."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner
from interrupts import interrupted
from pipeline_helpers import (
    FAST,
    left_half_built,
    piece_of_long_video,
    run_here,
    sha256_of_files,
    start,
)
from rich.console import Console

from pipelines.config import load_config
from pipelines.run import run
from runners.interrupt import Interrupted, NotCancelledError
from transforms.publish.check import check_dataset

RUN = (*FAST, "--set", "shots.max_clip_s=6")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return piece_of_long_video(tmp_path / "videos" / "street.mp4", 75, 14).parent


def assert_stops(number: signal.Signals, workers: tuple[str, ...], videos: Path, out: Path) -> None:
    with start("run", videos, "--out", out, *RUN, *workers) as process:
        said = interrupted(process, number).assert_orderly(number)
    assert "the run has ended, and all that it had started" in said
    assert not (out / "dataset").exists()


def test_it_ends_and_goes_on(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_stops(signal.SIGINT, ("--direct_num_workers=2",), videos, out)
    assert run_here(videos, "--out", out, *RUN) == 0
    assert run_here(videos, "--out", tmp_path / "whole", *RUN) == 0
    assert sha256_of_files(out / "dataset") == sha256_of_files(tmp_path / "whole" / "dataset")
    assert check_dataset(out / "dataset") == []
    assert left_half_built(out) == []


class InMidSubmission(PipelineRunner):
    """An engine that was about to hand back the job that it had begun."""

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> Any:
        raise Interrupted("SIGINT")


@pytest.mark.parametrize(
    ("workers", "expected"), [("DOCKER", NotCancelledError), ("LOOPBACK", Interrupted)]
)
def test_of_a_job_that_was_not_handed_back_yet_nobody_says_that_it_ended(
    workers: str, expected: type[Interrupted], tmp_path: Path
) -> None:
    """Unless its workers are threads of this process, and end with it."""
    (tmp_path / "text.mp4").write_text("no video")
    config = load_config(None, FAST[1::2])
    engine = InMidSubmission(), PipelineOptions([f"--environment_type={workers}"])
    video = str(tmp_path / "text.mp4")
    with pytest.raises(Interrupted) as caught:
        run([video], tmp_path / "out", config, lambda _: engine, console=Console(quiet=True))
    assert type(caught.value) is expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGTERM, ("--direct_num_workers=1",)),
        (signal.SIGINT, ("--direct_num_workers=2", "--direct_running_mode=multi_processing")),
    ],
    ids=["in the main thread", "processes"],
)
def test_it_ends_wherever_its_workers_are(
    number: signal.Signals, workers: tuple[str, ...], videos: Path, tmp_path: Path
) -> None:
    assert_stops(number, workers, videos, tmp_path / "out")


@pytest.mark.slow
def test_twice_leaves_nobody_behind(videos: Path, tmp_path: Path) -> None:
    """Somebody in a hurry."""
    with start("run", videos, "--out", tmp_path / "out", *RUN) as process:
        ended = interrupted(process, signal.SIGINT, times=2)
    assert ended.code == 130
    assert "Traceback" not in ended.stderr
    assert ended.left == []
