"""Engines that heed hints are told of exactly those steps that run a model on a GPU."""

from __future__ import annotations

import pytest
from built_jobs import ALL_LEGS, ONE_SOURCE, curate, graph_of, hinted_steps

from pipelines.config import ConfigError, load_config
from pipelines.preflight import check_gpu
from transforms.needs import NO_HINTS, Hints

ON_GPU = Hints(gpu="type:any;count:1")
EMBED = "Curate/NearDuplicates/Embed/Model/BeamML_RunInference"


def asks(name: str) -> str:
    return f"Curate/{name}/Ask/BeamML_RunInference"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ((), {EMBED}),
        (("features.model=none",), set()),
        (
            ("features.model=none", "shots.detector=transnetv2"),
            {"Curate/Decode/ParDo(_LegFn)/ParDo(_LegFn)"},
        ),
        (
            ("features.model=none", "speech.model=openai/whisper-tiny"),
            {"Curate/Transcribe/ParDo(_LegFn)/ParDo(_LegFn)"},
        ),
        (
            ("features.model=none", "speech.model=openai/whisper-tiny", "speech.device=cpu"),
            set(),
        ),
        (
            (
                "features.model=none",
                "teacher.kind=openai",
                "teacher.model=m",
                "teacher.url=http://h",
            ),
            set(),
        ),
        (
            (
                *("features.model=none", "teacher.kind=openai", "teacher.model=m"),
                *("teacher.url=http://h", "verifier.kind=vllm", "verifier.model=v"),
            ),
            {asks("Examine0"), asks("Examine1")},
        ),
        (
            ALL_LEGS,
            {
                *("Curate/Decode/ParDo(_LegFn)/ParDo(_LegFn)",),
                *("Curate/Transcribe/ParDo(_LegFn)/ParDo(_LegFn)",),
                *("Curate/Borders/Embed/Model/BeamML_RunInference", EMBED),
                *map(asks, ("Describe", "Narrate", "Propose")),
                *map(asks, ("Answer0", "Examine0", "Answer1", "Examine1")),
            },
        ),
    ],
)
def test_steps_that_use_a_gpu_say_so_and_no_others(
    settings: tuple[str, ...], steps: set[str]
) -> None:
    given = ("features.pretrained=random", "verify.repair_rounds=1", *settings)
    graph = graph_of(curate(load_config(None, given), ONE_SOURCE, ON_GPU))
    assert hinted_steps(graph) == dict.fromkeys(steps, ON_GPU.gpu)


def test_without_hints_all_steps_are_in_one_environment() -> None:
    graph = graph_of(curate(load_config(None, ALL_LEGS), ONE_SOURCE, NO_HINTS))
    assert hinted_steps(graph) == {}
    assert len(graph.components.environments) == 1


def test_a_model_that_needs_a_gpu_is_not_sent_where_there_is_none() -> None:
    measured = load_config(None, ["features.model=none"])
    check_gpu(measured, NO_HINTS)
    for settings, name in (
        (("teacher.kind=vllm", "teacher.model=m"), "teacher.kind"),
        (("verifier.kind=vllm", "verifier.model=v", *SERVED), "verifier.kind"),
    ):
        config = load_config(None, settings)
        check_gpu(config, ON_GPU)
        with pytest.raises(ConfigError, match=f"{name}: vllm runs on a GPU.*--gpu"):
            check_gpu(config, NO_HINTS)


SERVED = ("teacher.kind=openai", "teacher.model=m", "teacher.url=http://h")
