"""Dataflow, Google's service for Beam: machines come and go with the work.

What our pipeline needs there: an image with proofreel in it (`--sdk_container_image`, from
`runners/Dockerfile`), since workers bring nothing of their own; videos and output folder on `gs://`,
which all of them see; and, where models are to run on GPUs, the kind of them (`--gpu nvidia-l4`):
it is asked for only where a step uses one, so that decoding and encoding stay on cheap machines.
What it can't do: a job graph over 10 MB, a single element over 2 GB, folders of this machine.

With Beam's `--dry_run=True` the job is built, looked at and not sent: no project is needed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow import dataflow_runner

from runners.errors import BadOptionsError
from runners.options import Options

NAMES = frozenset({"dataflow", "dataflowrunner"})

MAX_GRAPH_BYTES = 10_000_000
"""Of a job's graph: https://cloud.google.com/dataflow/docs/request-quotas"""

ON_ANY_MACHINE = ("nvidia-tesla-",)
"""GPUs that are added to a machine of the general kind (T4, P4, P100, V100); others come with
machines of their own: https://cloud.google.com/compute/docs/gpus"""
ONLY_WITH_THEIR_OWN = ("nvidia-tesla-a100",)

NEEDED = {
    "project": "--project",
    "region": "--region",
    "temp_location": "--temp_location=gs://BUCKET/tmp",
    "sdk_container_image": "--sdk_container_image=IMAGE, made of runners/Dockerfile",
}


class DataflowGpuOptions(PipelineOptions):
    """Which GPU steps that use one are to get; Beam itself only knows hints in Dataflow's words."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--gpu", help="on Dataflow: kind of GPU for models, such as nvidia-l4")
        parser.add_argument("--gpu_count", type=int, default=1, help="GPUs of a machine")
        parser.add_argument(
            "--gpu_machine_type", help="machine with that GPU, such as g2-standard-8"
        )


class JobBuiltError(Exception):
    """With `--dry_run`: the job was built and found good, and is not sent. Says what it is.

    An exception, so that nobody takes the run for done.
    """

    def __init__(self, job: BuiltJob) -> None:
        super().__init__(job.in_words)
        self.job = job


@dataclass(frozen=True)
class BuiltJob:
    """A job as it would be sent: Beam's graph, and what else goes into Dataflow's request."""

    graph: beam_runner_api_pb2.Pipeline
    name: str
    options: PipelineOptions
    """With what Beam has added to those given."""

    @property
    def gpu_steps(self) -> dict[str, str]:
        """Full names of the steps that ask for a GPU, with the hint."""
        urn = common_urns.resource_hints.ACCELERATOR.urn
        environments = self.graph.components.environments
        return {
            step.unique_name: environments[step.environment_id].resource_hints[urn].decode("ascii")
            for step in self.graph.components.transforms.values()
            if step.environment_id
            and urn in environments[step.environment_id].resource_hints
            and not step.subtransforms
        }

    @property
    def images(self) -> list[str]:
        """The containers of its workers, each once."""
        payloads = [one.payload for one in self.graph.components.environments.values()]
        parse = beam_runner_api_pb2.DockerPayload.FromString
        return sorted({parse(payload).container_image for payload in payloads})

    @property
    def in_words(self) -> str:
        steps = [one for one in self.graph.components.transforms.values() if not one.subtransforms]
        kinds = Counter(self.gpu_steps.values())
        gpus = [f"{count} of them on {hint}" for hint, count in sorted(kinds.items())]
        size = f"{self.graph.ByteSize() / 1e6:.1f} MB"
        said = [f"{len(steps)} steps", *(gpus or ["none of them on a GPU"]), f"a graph of {size}"]
        return f"job {self.name}: {', '.join(said)}; workers run {', '.join(self.images)}"


class DataflowRunner(dataflow_runner.DataflowRunner):
    """Beam's, with a look at the job before it is sent."""

    def run_pipeline(
        self,
        pipeline: Any,
        options: PipelineOptions,
        pipeline_proto: beam_runner_api_pb2.Pipeline | None = None,
    ) -> Any:
        """Raises BadOptionsError if the job is too large, JobBuiltError with `--dry_run`."""
        check_size(pipeline_proto or pipeline.to_runner_api())
        result = super().run_pipeline(pipeline, options, pipeline_proto)
        if options.view_as(TestOptions).dry_run:
            job = result.job
            raise JobBuiltError(BuiltJob(self.proto_pipeline, job.proto.name, job.options))
        return result


def check_size(graph: beam_runner_api_pb2.Pipeline) -> None:
    """Raises BadOptionsError if Dataflow would not take a graph as large as this."""
    if (size := graph.ByteSize()) > MAX_GRAPH_BYTES:
        steps = graph.components.transforms.values()
        largest = max(steps, key=lambda step: step.ByteSize())
        raise BadOptionsError(
            f"--runner dataflow: the job's graph has {size / 1e6:.1f} MB and Dataflow takes "
            f"{MAX_GRAPH_BYTES / 1e6:.0f}; the largest step is {largest.unique_name} with "
            f"{largest.ByteSize() / 1e6:.1f}. Inputs are not in it; a long list in input.exclude is"
        )


def prepare(arguments: Sequence[str]) -> tuple[DataflowRunner, PipelineOptions]:
    """Runner and options. Raises BadOptionsError with all that is missing in one line."""
    if not is_installed():
        raise BadOptionsError("--runner dataflow needs the extra gcp: pip install 'proofreel[gcp]'")
    options = Options(list(arguments))
    cloud, workers = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    missing = [
        words
        for name, words in NEEDED.items()
        if not getattr(workers if name == "sdk_container_image" else cloud, name)
    ]
    if missing:
        raise BadOptionsError(f"--runner dataflow also needs {', '.join(missing)}")
    for name in ("temp_location", "staging_location"):
        place = getattr(cloud, name)
        if place and not place.startswith("gs://"):
            raise BadOptionsError(f"--{name} {place}: Dataflow wants a place on gs://")
    gpu_hint(options)
    setup = options.view_as(SetupOptions)
    if setup.sdk_location == "default":
        # The image has its Beam; another one must not be put over it.
        setup.sdk_location = "container"
    # All that workers run is in modules, and those are in the image.
    setup.save_main_session = False
    return DataflowRunner(), options


def is_installed() -> bool:
    """Whether Google's packages for it are there."""
    try:
        importlib.metadata.version("google-cloud-dataflow-client")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def credentials() -> Path | None:
    """The file with Google's credentials; nobody is asked whether they hold.

    A machine of Google's has them without a file.
    """
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    file = Path(named) if named else Path(folder, "application_default_credentials.json")
    return file if file.is_file() else None


def gpu_hint(options: PipelineOptions) -> str:
    """Beam's hint `accelerator` for the GPU that was asked for; empty if none was.

    Raises BadOptionsError.
    """
    asked = options.view_as(DataflowGpuOptions)
    kind, machine = asked.gpu, asked.gpu_machine_type
    if not kind:
        return ""
    if asked.gpu_count < 1 or not _is_name(kind) or not _is_name(machine or "any"):
        raise BadOptionsError(
            f"--gpu {kind}: write it as --gpu nvidia-l4 --gpu_count 1 "
            "--gpu_machine_type g2-standard-8"
        )
    general = kind.startswith(ON_ANY_MACHINE) and not kind.startswith(ONLY_WITH_THEIR_OWN)
    if not machine and not general:
        raise BadOptionsError(
            f"--gpu {kind}: comes with machines of its own; name one, such as "
            "--gpu_machine_type g2-standard-8 for nvidia-l4"
        )
    on = f";machine_type:{machine}" if machine else ""
    return f"type:{kind};count:{asked.gpu_count}{on};install-nvidia-driver"


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "").isalnum()
