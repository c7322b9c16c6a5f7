"""Worker processes of the local runner that die: the run ends with a word instead of hanging."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import WorkerOptions
from apache_beam.testing.util import assert_that, equal_to
from object_store import BUCKET, ObjectStore, objects  # noqa: F401 - a fixture

from runners import process_workers
from runners.launch import prepare
from runners.options import Options
from runners.process_workers import WorkerDiedError, json_options, words_of_death
from transforms.storage import read

ONE_DIES = """
import os, runpy, sys, time
try:
    os.mkdir(os.environ["TAKEN"])
except FileExistsError:
    time.sleep(6)
    runpy.run_module("runners.local_worker", run_name="__main__")
else:
    sys.exit(7)
"""
"""The first dies at once, the other takes its time to begin."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("how", "words"),
    [(signal.SIGKILL, "SIGKILL (was the machine out of memory?"), (signal.SIGSEGV, "SIGSEGV")],
)
def test_a_worker_that_dies_ends_the_run(how: signal.Signals, words: str) -> None:
    number = int(how)

    def poison(element: int) -> int:
        if element == 13:
            os.kill(os.getpid(), number)
        return element

    runner, options = prepare(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    started = time.monotonic()
    with (
        pytest.raises(WorkerDiedError, match="a worker process died") as caught,
        beam.Pipeline(runner=runner, options=options) as pipeline,
    ):
        _ = pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.Map(poison)
    assert words in str(caught.value) and "run the same command again" in str(caught.value).lower()
    assert time.monotonic() - started < 40


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("exited with return code 137", "SIGKILL (was the machine out of memory?"),
        ("exited with return code -9", "SIGKILL (was the machine out of memory?"),
        ("exited with return code -11", "SIGSEGV"),
        ("exited with return code 1", "exit code 1."),
    ],
)
def test_shells_tell_in_two_ways_of_a_signal(said: str, words: str) -> None:
    """Some put the command in their own place, such as bash; others wait for it, such as dash."""
    assert words in words_of_death(said)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_between_two_pieces_of_work_does_so_too() -> None:
    def ends(element: int) -> int:
        # After the answer has gone, and before the next question.
        threading.Timer(0.3, os._exit, [7]).start()
        return element

    runner, options = prepare(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
    with (
        pytest.raises(WorkerDiedError, match="exit code 7"),
        beam.Pipeline(runner=runner, options=options) as pipeline,
    ):
        numbers = pipeline | beam.Create(range(3)) | beam.Reshuffle() | beam.Map(ends)
        _ = numbers | beam.GroupBy(lambda one: one) | beam.Map(lambda _: time.sleep(5))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_before_it_has_begun_does_so_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_workers, "WORKER", "runners.no_such_module")
    runner, options = prepare(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with (
        pytest.raises(WorkerDiedError, match="exit code 1"),
        beam.Pipeline(runner=runner, options=options) as pipeline,
    ):
        _ = pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.Map(print)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_dies_early_does_not_leave_the_run_waiting_for_one_that_comes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_dies.py").write_text(ONE_DIES)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    monkeypatch.setenv("TAKEN", str(tmp_path / "taken"))
    monkeypatch.setattr(process_workers, "WORKER", "one_dies")
    runner, options = prepare(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with (
        pytest.raises(WorkerDiedError, match="exit code 7"),
        beam.Pipeline(runner=runner, options=options) as pipeline,
    ):
        _ = pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.Map(print)


def test_a_process_that_cannot_be_started_is_said() -> None:
    told = words_of_death("[Errno 11] Resource temporarily unavailable")
    assert told.startswith("a worker process could not be started: [Errno 11] Resource")
    assert "un the same command again" in told


def test_worker_processes_know_the_options_of_the_run(
    objects: ObjectStore,  # noqa: F811 - the fixture
) -> None:
    objects.client.put_object(Bucket=BUCKET, Key="a.txt", Body=b"here")
    url = objects.url("a.txt")

    def look(_: None) -> tuple[bool, bytes | None]:
        return os.getpid() == launcher, read(url)

    launcher = os.getpid()
    numbers = ["--direct_num_workers=2", "--max_cache_memory_usage_mb=50"]
    runner, options = prepare(["--direct_running_mode=multi_processing", objects.option, *numbers])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        found = pipeline | beam.Create([None]) | beam.Reshuffle() | beam.Map(look)
        assert_that(found, equal_to([(False, b"here")]))


def test_options_that_are_no_json_are_not_told() -> None:
    numbers = ["--direct_num_workers=2"]
    experiments = ["--experiments=one", "--experiments=two"]
    options = Options(["--s3_endpoint_url=http://x.test", *experiments, *numbers])
    options.view_as(WorkerOptions).machine_type = object()
    assert json_options(options) == {
        "s3_endpoint_url": "http://x.test",
        "experiments": ["one", "two"],
        "direct_num_workers": "2",
    }
