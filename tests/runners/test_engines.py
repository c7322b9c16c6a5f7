"""Where engines lie on this machine, and what is said of one that can't be started."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
)

from runners import workers
from runners.arguments import split_beam_arguments
from runners.engines import ENGINES, jars_folder, prism_binary
from runners.job_server import JarsJobServer, NoEngineError, java_command
from runners.launch import prepare, works_here, works_on_this_machine


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of engines, empty so far."""
    monkeypatch.setenv(ENGINES, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def portable(options: PipelineOptions) -> PortableOptions:
    return options.view_as(PortableOptions)


def test_prism_is_taken_from_the_folder_before_the_path(engines: Path) -> None:
    assert prism_binary() is None
    on_path = engines / "bin" / "prism"
    on_path.parent.mkdir()
    on_path.write_text("")
    on_path.chmod(0o755)
    assert prism_binary() == on_path
    (engines / "prism").write_text("")
    assert prism_binary() == engines / "prism"
    _, options = prepare(["--runner=prism"])
    assert options.view_as(PrismRunnerOptions).prism_location == str(engines / "prism")
    _, options = prepare(["--runner=prism", "--prism_location=/else/where"])
    assert options.view_as(PrismRunnerOptions).prism_location == "/else/where"


def test_jars_count_only_with_beams_runner_among_them(engines: Path) -> None:
    jars = engines / "flink" / "jars"
    jars.mkdir(parents=True)
    (jars / "flink-core-1.19.0.jar").write_text("")
    assert jars_folder("flink") is None
    (jars / "beam-runners-flink-1.19-2.62.0.jar").write_text("")
    assert jars_folder("flink") == jars


@pytest.mark.usefixtures("engines")
def test_without_java_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoEngineError, match="need Java 17"):
        java_command(tmp_path, "Main")


def test_a_job_server_that_ends_at_once_is_shown_with_its_log(
    engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = engines / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho no such class\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{java.parent}:{os.defpath}")
    with pytest.raises(NoEngineError, match="did not start: no such class"):
        JarsJobServer(engines, "Main", [], []).start()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runner=prism"],
        ["--runner=flink"],
        ["--runner=flink", "--flink_master=[local]"],
        ["--runner=spark"],
        ["--runner=spark", "--spark_master_url=local"],
    ],
)
def test_on_this_machine_workers_are_threads_of_this_process(arguments: list[str]) -> None:
    runner, options = prepare(arguments)
    assert portable(options).environment_type == "LOOPBACK"
    assert works_here(runner, options)
    assert works_on_this_machine(runner, options)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runner=flink", "--flink_master=http://far:8081"],
        ["--runner=spark", "--spark_master_url=spark://far:7077"],
    ],
)
def test_on_a_cluster_workers_are_processes_as_installed_here(arguments: list[str]) -> None:
    runner, options = prepare(arguments)
    assert portable(options).environment_type == "PROCESS"
    command = Path(json.loads(portable(options).environment_config)["command"])
    assert command == Path(sys.executable).parent / "proofreel-worker"
    assert portable(options).environment_cache_millis == workers.KEPT_MS
    assert not works_here(runner, options)
    assert not works_on_this_machine(runner, options)


def test_what_was_said_of_workers_stands() -> None:
    said = ["--runner=flink", "--flink_master=far:8081", "--environment_type=DOCKER"]
    _, options = prepare([*said, "--environment_config=image", "--environment_cache_millis=5"])
    assert portable(options).environment_type == "DOCKER"
    assert portable(options).environment_config == "image"
    assert int(portable(options).environment_cache_millis) == 5


def test_options_of_flink_that_beam_does_not_list_reach_it() -> None:
    beam_arguments, rest = split_beam_arguments(["--flink_conf_dir", "/conf", "in.mp4"])
    assert beam_arguments == ["--flink_conf_dir=/conf"]
    assert rest == ["in.mp4"]
