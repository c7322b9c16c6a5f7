"""The main pipeline: sources in, a dataset folder out. What runs, in what order; no algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.config import Config
from pipelines.records import KeepRecords
from schemas.rejection import Rejection, Stage
from schemas.source import Source
from schemas.video import Video
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.features.borders import EmbedBorders
from transforms.features.stage import QualityGate, RejectNearDuplicates
from transforms.legs import OUT, REJECTED, TALLY, Leg
from transforms.memo import MemoStore
from transforms.progress import ProgressLog
from transforms.publish.card import card_entry
from transforms.publish.finish import RunFacts, finish_dataset, make_funnel
from transforms.publish.index import index_entry
from transforms.publish.stage import Routed, Router, WriteShards
from transforms.verify.loop import Answerer, Verifier
from transforms.video.analyse import Analyser
from transforms.video.cut import Cutter
from transforms.video.ingest import Ingester, keep_one
from transforms.video.segment import Segmenter
from transforms.video.shots import Join


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know; paths are folders of their own."""

    config: Config
    store: MemoStore
    dataset_folder: str
    """Where the dataset is built; it is moved to its place when it is whole."""
    records_folder: str
    progress: ProgressLog
    facts: RunFacts


class Curate(beam.PTransform):
    """The whole way; applied to the pipeline's root."""

    def __init__(self, plan: Plan, sources: Sequence[Source], refused: Sequence[Rejection]) -> None:
        super().__init__()
        self._plan = plan
        self._sources = list(sources)
        self._refused = list(refused)
        self._tallies: list[beam.PCollection] = []
        self._outs: list[beam.PCollection] = []
        self._rejections: list[beam.PCollection] = []

    def expand(self, root: Any) -> beam.PCollection:
        videos = self._ingest(root)
        scenes = self._film(videos)
        cases = self._annotate(scenes)
        return self._publish(root, cases)

    def _leg(self, elements: Any, stage: Stage, work: Any, subjects: Any, name: str = "") -> Any:
        """Apply a leg and take note of its tally and its rejections."""
        label = name or str(stage).capitalize()
        done = elements | label >> Leg(stage, work, subjects, self._plan.progress)
        self._tallies.append(done[TALLY])
        self._rejections.append(done[REJECTED])
        return done[OUT]

    def _rejected_between(self, stage: Stage, rejected: Any) -> None:
        """Rejections of a step that compares elements, and so comes after the stage's leg."""
        self._rejections.append(rejected)
        _ = rejected | f"Note{stage}" >> beam.Map(_note_rejected, stage, self._plan.progress)

    def _count_out(self, stage: Stage, elements: Any) -> None:
        label = f"Out{str(stage).capitalize()}{len(self._outs)}"
        self._outs.append(elements | label >> beam.Map(_one_of, str(stage)))

    def _ingest(self, root: Any) -> Any:
        store = self._plan.store
        refused = root | "Refused" >> beam.Create(self._refused, reshuffle=False)
        self._rejections.append(refused)
        self._tallies.append(refused | "RefusedTally" >> beam.Map(_one_of, str(Stage.INGEST)))
        sources = root | "Sources" >> beam.Create(self._sources)
        found = self._leg(sources, Stage.INGEST, Ingester(store), _source_subject)
        kept = (
            found
            | "BySha" >> beam.GroupBy(lambda video: video.id)
            | "KeepOne" >> beam.ParDo(_KeepOne()).with_outputs(REJECTED, main=OUT)
        )
        self._rejected_between(Stage.INGEST, kept[REJECTED])
        self._count_out(Stage.INGEST, kept[OUT])
        return kept[OUT] | "Spread1" >> beam.Reshuffle()

    def _film(self, videos: Any) -> Any:
        config, store = self._plan.config, self._plan.store
        analyser = Analyser(
            config.input,
            config.shots.score_family,
            config.features.fps,
            store,
            config.overlay_text,
        )
        footage = self._leg(videos, Stage.DECODE, analyser, _video_subject)
        if config.shots.join is Join.FEATURES:
            seen = footage | "Borders" >> EmbedBorders(config.features, config.shots, store)
            self._rejected_between(Stage.DECODE, seen[REJECTED])
            footage = seen[OUT]
        self._count_out(Stage.DECODE, footage)
        planned = self._leg(
            footage,
            Stage.SEGMENT,
            Segmenter(config.shots, store, config.cut.mode == "copy"),
            _footage_subject,
        )
        self._count_out(Stage.SEGMENT, planned)
        chosen = self._leg(planned, Stage.SELECT, QualityGate(config.select), _planned_subject)
        if config.features.enabled:
            unique = chosen | "NearDuplicates" >> RejectNearDuplicates(
                config.features, config.select, store
            )
            self._rejected_between(Stage.SELECT, unique[REJECTED])
            chosen = unique[OUT]
        self._count_out(Stage.SELECT, chosen)
        grouped = (
            chosen
            | "ByVideo" >> beam.GroupBy(lambda one: one.clip.video_id)
            | "ClipsOfVideo" >> beam.MapTuple(_in_order)
        )
        scenes = self._leg(grouped, Stage.CUT, Cutter(config.cut, store), _planned_subjects)
        self._count_out(Stage.CUT, scenes)
        folder = self._plan.records_folder
        footage | "KeepVideos" >> KeepRecords(folder, "video", _footage_record)
        planned | "KeepClips" >> KeepRecords(folder, "clip", _planned_record)
        return scenes | "Spread2" >> beam.Reshuffle()

    def _annotate(self, scenes: Any) -> Any:
        config, store = self._plan.config, self._plan.store
        proposer = Proposer(config.teacher, config.tasks, config.shots, config.seed, store)
        batch = config.teacher.batch
        proposed = self._leg(
            scenes | "BatchScenes" >> beam.BatchElements(batch, batch),
            Stage.PROPOSE,
            proposer,
            _scene_subjects,
        )
        self._count_out(Stage.PROPOSE, proposed)
        cases = self._leg(proposed, Stage.TASK, TaskMaker(proposer), _proposal_subject)
        self._count_out(Stage.TASK, cases)
        cases = cases | "Spread3" >> beam.Reshuffle()
        for number in range(config.verify.repair_rounds + 1):
            answerer = Answerer(config.teacher, config.shots, config.seed, number, store)
            answered = self._leg(
                cases | f"BatchCases{number}" >> beam.BatchElements(batch, batch),
                Stage.ANSWER,
                answerer,
                _case_subjects,
                f"Answer{number}",
            )
            rollouts = answered | f"Rollouts{number}" >> beam.FlatMap(lambda one: one.rollouts)
            self._count_out(Stage.ANSWER, rollouts)
            verifier = Verifier(config.verify, store)
            cases = self._leg(
                answered, Stage.VERIFY, verifier, _answered_subjects, f"Verify{number}"
            )
        accepted = cases | "Accepted" >> beam.FlatMap(lambda case: case.accepted)
        self._count_out(Stage.VERIFY, accepted)
        cases | "KeepCases" >> KeepRecords(self._plan.records_folder, "case", _case_record)
        return cases

    def _publish(self, root: Any, cases: Any) -> beam.PCollection:
        plan = self._plan
        config = plan.config
        router = Router(config.verify, config.publish, config.seed, plan.facts.proofreel_version)
        tasks = self._leg(cases, Stage.ROUTE, router, _case_subject)
        self._count_out(Stage.ROUTE, tasks)
        routed = tasks | "Samples" >> beam.FlatMap(lambda several: several)
        shards = routed | "WriteShards" >> WriteShards(
            config.publish.shard_bytes, plan.dataset_folder, plan.store
        )
        rejections = self._rejections | "AllRejections" >> beam.Flatten()
        return (
            root
            | "Once" >> beam.Create([None])
            | "Finish"
            >> beam.Map(
                _finish,
                plan=plan,
                shards=beam.pvalue.AsList(shards),
                entries=beam.pvalue.AsList(routed | "Entries" >> beam.Map(_entries)),
                rejections=beam.pvalue.AsList(rejections),
                entered=beam.pvalue.AsDict(
                    self._tallies | "Tallies" >> beam.Flatten() | "In" >> beam.CombinePerKey(sum)
                ),
                out=beam.pvalue.AsDict(
                    self._outs | "Outs" >> beam.Flatten() | "Out" >> beam.CombinePerKey(sum)
                ),
            )
        )


def _finish(
    _: None,
    plan: Plan,
    shards: list[Any],
    entries: list[Any],
    rejections: list[Rejection],
    entered: Mapping[str, int],
    out: Mapping[str, int],
) -> None:
    funnel = make_funnel(
        {Stage(stage): count for stage, count in entered.items()},
        {Stage(stage): count for stage, count in out.items()},
        rejections,
    )
    finish_dataset(
        Path(plan.dataset_folder),
        plan.facts,
        funnel,
        shards,
        [index for index, _ in entries],
        [card for _, card in entries],
        rejections,
    )


def _entries(routed: Routed) -> tuple[Any, Any]:
    index = index_entry(
        routed.sample,
        routed.partition,
        video_id=routed.video_id,
        clip_id=routed.clip_id,
        task_id=routed.task_id,
    )
    return index, card_entry(routed.sample, routed.partition)


class _KeepOne(beam.DoFn):
    def process(self, element: tuple[str, Iterable[Video]]) -> Iterator[Any]:
        video, rejections = keep_one(element[1])
        yield video
        for rejection in rejections:
            yield beam.pvalue.TaggedOutput(REJECTED, rejection)


def _note_rejected(_: Rejection, stage: Stage, progress: ProgressLog) -> None:
    progress.add(stage, entered=0, rejected=1)


def _one_of(_: Any, stage: str) -> tuple[str, int]:
    return stage, 1


def _in_order(_: str, planned: Iterable[Any]) -> list[Any]:
    return sorted(planned, key=lambda one: one.clip.start_frame)


def _source_subject(source: Any) -> list[tuple[str, str]]:
    return [(source.uri, "")]


def _video_subject(video: Any) -> list[tuple[str, str]]:
    return [(video.id, video.source.uri)]


def _footage_subject(footage: Any) -> list[tuple[str, str]]:
    return [(footage.video.id, footage.video.source.uri)]


def _planned_subject(planned: Any) -> list[tuple[str, str]]:
    return [(planned.clip.id, planned.clip.video_id)]


def _planned_subjects(several: Any) -> list[tuple[str, str]]:
    return [(one.clip.id, one.clip.video_id) for one in several]


def _scene_subjects(scenes: Any) -> list[tuple[str, str]]:
    return [(scene.clip.id, scene.clip.video_id) for scene in scenes]


def _proposal_subject(proposals: Any) -> list[tuple[str, str]]:
    return [(proposals.scene.clip.id, proposals.scene.clip.video_id)]


def _case_subject(case: Any) -> list[tuple[str, str]]:
    return [(case.task.id, case.task.clip_id)]


def _case_subjects(cases: Any) -> list[tuple[str, str]]:
    return [(case.task.id, case.task.clip_id) for case in cases]


def _answered_subjects(answered: Any) -> list[tuple[str, str]]:
    return [(rollout.id, rollout.task_id) for rollout in answered.rollouts]


def _footage_record(footage: Any) -> Any:
    return footage.video.id, footage


def _planned_record(planned: Any) -> Any:
    return planned.clip.id, planned.clip


def _case_record(case: Any) -> Any:
    return case.task.id, case
