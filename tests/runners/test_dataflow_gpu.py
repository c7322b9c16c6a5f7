"""How a GPU is asked for: in words for people, handed on in Dataflow's."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from runners.arguments import split_beam_arguments
from runners.dataflow import gpu_hint, is_installed
from runners.errors import BadOptionsError
from runners.launch import hints, prepare


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], ""),
        (["--gpu=nvidia-tesla-t4"], "type:nvidia-tesla-t4;count:1;install-nvidia-driver"),
        (
            ["--gpu=nvidia-l4", "--gpu_machine_type=g2-standard-24", "--gpu_count=2"],
            "type:nvidia-l4;count:2;machine_type:g2-standard-24;install-nvidia-driver",
        ),
    ],
)
def test_a_gpu_is_asked_for_in_dataflows_words(arguments: list[str], hint: str) -> None:
    assert gpu_hint(PipelineOptions(arguments)) == hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu=nvidia-l4"], "comes with machines of its own.*--gpu_machine_type"),
        (["--gpu=nvidia-tesla-a100"], "comes with machines of its own"),
        (["--gpu=nvidia-tesla-t4", "--gpu_count=0"], "write it as"),
        (["--gpu=nvidia-tesla-t4;count:8"], "write it as"),
        (["--gpu=nvidia-tesla-t4", "--gpu_machine_type=n1;x"], "write it as"),
    ],
)
def test_what_can_not_be_asked_for_is_said(arguments: list[str], words: str) -> None:
    with pytest.raises(BadOptionsError, match=words):
        gpu_hint(PipelineOptions(arguments))


@pytest.mark.parametrize("runner", [[], ["--runner=flink"], ["--runner=PrismRunner"]])
def test_engines_that_hand_out_no_gpus_are_not_asked_for_one(runner: list[str]) -> None:
    with pytest.raises(BadOptionsError, match="--gpu: only Dataflow"):
        prepare([*runner, "--gpu=nvidia-tesla-t4"])
    assert hints(*prepare(runner)) is None


def test_gpu_options_are_beams() -> None:
    beam_arguments, rest = split_beam_arguments(["--gpu", "nvidia-tesla-t4", "in.mp4"])
    assert beam_arguments == ["--gpu=nvidia-tesla-t4"]
    assert rest == ["in.mp4"]


@pytest.mark.skipif(is_installed(), reason="Google's packages are here")
def test_without_googles_packages_it_says_what_to_install() -> None:
    with pytest.raises(BadOptionsError, match=r"pip install 'proofreel\[gcp\]'"):
        prepare(["--runner=dataflow"])
