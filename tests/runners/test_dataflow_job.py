"""The whole pipeline as a job for Dataflow, by Dataflow's own translation; nothing is sent."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.pipeline_context import PipelineContext
from built_jobs import ALL_LEGS, ONE_SOURCE, curate, hinted_steps
from google.protobuf import json_format
from pipeline_helpers import FAST, bikes, call

from pipelines.config import load_config
from runners.dataflow import MAX_GRAPH_BYTES, BuiltJob, JobBuiltError
from runners.errors import BadOptionsError
from runners.launch import hints, prepare, works_here, works_on_this_machine
from transforms.video.input_pieces import Pieces

pytestmark = pytest.mark.slow

IMAGE = "europe-west4-docker.pkg.dev/my-project/repo/proofreel:1"
OPTIONS = (
    *("--runner=dataflow", "--project=my-project", "--region=europe-west4"),
    *("--temp_location=gs://bucket/tmp", f"--sdk_container_image={IMAGE}"),
)
GPU = ("--gpu=nvidia-l4", "--gpu_machine_type=g2-standard-8")
HINT = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver"
MAX_STEP_BYTES = 100_000
"""Far below what is allowed: a step that grows beyond it carries data in its code."""
MAX_REQUEST_BYTES = 1_000_000
GROUPING = "beam:transform:group_by_key:v1"


def built(sources: Pieces, *more: str) -> BuiltJob:
    runner, options = prepare([*OPTIONS, "--dry_run=True", *more])
    config = load_config(None, ALL_LEGS)
    pipeline = beam.Pipeline(runner=runner, options=options)
    told = hints(runner, options)
    assert told is not None
    _ = pipeline | "Curate" >> curate(config, sources, told)
    with pytest.raises(JobBuiltError) as caught:
        pipeline.run()
    return caught.value.job


@pytest.fixture(scope="module")
def job() -> BuiltJob:
    return built(ONE_SOURCE, *GPU)


def environment(job: BuiltJob) -> Any:
    """The part of the request that says what machines there shall be and what they run."""
    from apache_beam.runners.dataflow.internal import apiclient

    return apiclient.Environment(
        packages=[],
        options=job.options,
        environment_version="8",
        proto_pipeline_staged_url="gs://bucket/tmp/pipeline.pb",
        proto_pipeline=job.graph,
    ).proto


def test_steps_with_models_ask_for_the_gpu_and_no_others_do(job: BuiltJob) -> None:
    # Which steps these are for which settings: test_hints.py.
    assert job.gpu_steps == hinted_steps(job.graph)
    assert set(job.gpu_steps.values()) == {HINT}
    with_models = ("RunInference", "Curate/Decode/", "Curate/Transcribe/")
    assert len(job.gpu_steps) == 11
    assert all(any(word in name for word in with_models) for name in job.gpu_steps)
    assert built(ONE_SOURCE).gpu_steps == {}


def test_all_workers_run_the_image_that_was_named(job: BuiltJob) -> None:
    assert job.images == [IMAGE]
    [pool] = environment(job).worker_pools
    # One with a GPU and one without.
    assert [one.container_image for one in pool.sdk_harness_container_images] == [IMAGE, IMAGE]
    assert not pool.packages
    for one in job.graph.components.environments.values():
        assert not one.dependencies


def test_keys_of_all_groupings_are_the_same_bytes_on_every_worker(job: BuiltJob) -> None:
    parts = job.graph.components
    coders = PipelineContext(parts).coders
    groupings = [one for one in parts.transforms.values() if one.spec.urn == GROUPING]
    assert len(groupings) > 15
    for grouping in groupings:
        [grouped] = grouping.inputs.values()
        coder = coders.get_by_id(parts.pcollections[grouped].coder_id)
        assert coder.key_coder().is_deterministic(), grouping.unique_name
        # Such a coder is one that looks at each key, too: what may be other bytes is refused.
        with pytest.raises((TypeError, ValueError)):
            coder.key_coder().encode(object())


def test_graph_steps_and_request_are_far_below_the_limits(job: BuiltJob) -> None:
    assert job.graph.ByteSize() < MAX_GRAPH_BYTES / 10
    for step in job.graph.components.transforms.values():
        assert step.ByteSize() < MAX_STEP_BYTES, step.unique_name
    found = environment(job)
    assert len(json_format.MessageToJson(type(found).pb(found))) < MAX_REQUEST_BYTES
    assert {"use_runner_v2", "beam_fn_api"} <= set(found.experiments)


def test_a_job_that_dataflow_would_not_take_is_not_sent() -> None:
    incompressible = random.Random(0).randbytes(MAX_GRAPH_BYTES)
    runner, options = prepare([*OPTIONS, "--dry_run=True"])
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = pipeline | "Large" >> beam.Create([incompressible])
    with pytest.raises(BadOptionsError, match=r"\d\d\.\d MB and Dataflow takes 10; the .*is Large"):
        pipeline.run()


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("--project", "also needs --project$"),
        ("--region", "also needs --region$"),
        ("--temp_location", "also needs --temp_location=gs://BUCKET/tmp$"),
        ("--sdk_container_image", r"also needs --sdk_container_image=IMAGE, made of runners/"),
    ],
)
def test_what_was_forgotten_is_said_in_one_line(left_out: str, words: str) -> None:
    given = [one for one in OPTIONS if not one.startswith(left_out)]
    with pytest.raises(BadOptionsError, match=words) as caught:
        prepare(given)
    assert "\n" not in str(caught.value)


def test_all_that_was_forgotten_is_said_at_once() -> None:
    with pytest.raises(BadOptionsError, match=r"project, --region, --temp_location.*container_im"):
        prepare(["--runner=dataflow"])
    with pytest.raises(BadOptionsError, match="--temp_location /tmp: Dataflow wants"):
        prepare([*OPTIONS, "--temp_location=/tmp"])


def test_nothing_is_done_or_looked_for_on_this_machine() -> None:
    runner, options = prepare(OPTIONS)
    assert not works_here(runner, options)
    assert not works_on_this_machine(runner, options)


def test_a_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    code, _, stderr = call("run", bikes(), "--out", tmp_path, *FAST, *OPTIONS)
    assert code == 2
    assert stderr == (
        f"proofreel: --runner dataflow: {tmp_path} is on this machine, where Dataflow's workers "
        "see nothing; use a place on gs://\n"
    )


def test_a_memo_store_on_this_machine_is_refused(tmp_path: Path) -> None:
    places = ("--out", "gs://bucket/out", "--store", tmp_path)
    code, _, stderr = call("run", "gs://bucket/videos", *places, *FAST, *OPTIONS)
    assert code == 2
    assert stderr.startswith(f"proofreel: --runner dataflow: {tmp_path} is on this machine, where")


def test_a_job_whose_store_and_output_are_elsewhere_is_built_without_looking_there(
    tmp_path: Path,
) -> None:
    """There is no bucket, no network and nobody's credentials."""
    places = ("--out", "gs://bucket/out", "--store", "gs://bucket/memo")
    own = {"PROOFREEL_CACHE": str(tmp_path / "copies"), "HOME": str(tmp_path)}
    given = ("run", bikes(), *places, *FAST, *OPTIONS, "--dry_run=True")
    code, _, stderr = call(*given, env={**os.environ, **own})
    assert code == 0, stderr
    assert "proofreel: nothing was sent; job " in stderr


def test_a_dry_run_of_the_command_says_what_the_job_is_and_leaves_the_dataset(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "out" / "dataset" / "README.md"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier run")
    arguments = ("run", bikes(), "--out", tmp_path / "out", *FAST, *OPTIONS, "--dry_run=True")
    code, _, stderr = call(*arguments)
    assert code == 0, stderr
    assert "proofreel: nothing was sent; job " in stderr
    told = r"none of them on a GPU, a graph of 0\.\d MB; workers run "
    assert re.search(told + re.escape(IMAGE), stderr)
    assert kept.read_text() == "of an earlier run"
