"""The pipeline as it is handed to an engine, without any work done: for looking at its graph."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines.config import Config
from pipelines.curate import Curate
from pipelines.way import Plan
from transforms.draft import Draft
from transforms.needs import NO_HINTS, Hints
from transforms.progress import NOWHERE
from transforms.publish.finish import RunFacts
from transforms.remote_memo import open_store
from transforms.video.input_pieces import Pieces

ALL_LEGS = (
    *("shots.detector=transnetv2", "shots.join=features", "features.pretrained=random"),
    *("select.max_text_share=0.5", "overlay_text.enabled=true", "subtitles.enabled=true"),
    *("speech.model=openai/whisper-tiny", "describe.levels=video", "constructed.per_clip=1"),
    *("teacher.kind=vllm", "teacher.model=m", "verify.repair_rounds=1"),
)


NOTHING = Pieces("inputs/00/00/lines.gz", 0)
ONE_SOURCE = Pieces("inputs/ab/ab/lines.gz", 1)


def curate(config: Config, sources: Pieces, hints: Hints = NO_HINTS) -> Curate:
    """The whole way, with all folders on a store that nobody opens."""
    facts = RunFacts(
        proofreel_version="0",
        seed=0,
        config=config.resolved(),
        versions={},
        prompts={},
        notes=(),
        prices=(0.0, 0.0),
        verifier_prices=(0.0, 0.0),
    )
    plan = Plan(
        config=config,
        store=open_store("gs://bucket/memo"),
        draft=Draft("gs://bucket/out/work/partial/id"),
        progress=NOWHERE,
        facts=facts,
        hints=hints,
    )
    return Curate(plan, sources, NOTHING)


def graph_of(way: Curate) -> beam_runner_api_pb2.Pipeline:
    """The graph that an engine gets."""
    pipeline = beam.Pipeline()
    _ = pipeline | "Curate" >> way
    return pipeline.to_runner_api()


def hinted_steps(graph: beam_runner_api_pb2.Pipeline) -> dict[str, str]:
    """Hint `accelerator` of the steps that have one, by full name; composites are left out."""
    urn = common_urns.resource_hints.ACCELERATOR.urn
    found = {}
    for step in graph.components.transforms.values():
        if not step.environment_id:
            continue
        hints = graph.components.environments[step.environment_id].resource_hints
        if urn in hints and not step.subtransforms:
            found[step.unique_name] = hints[urn].decode()
    return found
