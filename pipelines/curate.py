"""The main pipeline: sources in, a dataset folder out. What runs, in what order; no algorithm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipelines.records import KeepRecords
from pipelines.way import Plan, Way, case_subject, one_of
from schemas.case import Attempt, Case, Scene
from schemas.rejection import Rejection, Stage
from schemas.source import Source
from transforms.annotate.constructed import Constructor
from transforms.annotate.describe import (
    ClipDescriber,
    Levels,
    VideoNarrator,
    faults_of,
)
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.features.borders import EmbedBorders
from transforms.features.stage import QualityGate, RejectNearDuplicates
from transforms.legs import OUT, REJECTED
from transforms.outcome import Outcome
from transforms.verify.examine import Examiner
from transforms.verify.loop import Answerer, Verifier
from transforms.video.analyse import Analyser
from transforms.video.cut import Cutter, Standing, of_other_video, with_first
from transforms.video.ingest import Ingester
from transforms.video.input_pieces import Pieces, ReadPieces
from transforms.video.same_inputs import KeepOne, one_of_same_subject, with_same
from transforms.video.segment import Segmenter
from transforms.video.shots import Join
from transforms.video.speech import Transcriber


class Curate(Way):
    """The whole way; applied to the pipeline's root."""

    def __init__(self, plan: Plan, sources: Pieces, refused: Pieces) -> None:
        super().__init__(plan)
        self._sources = sources
        self._refused = refused

    def expand(self, root: Any) -> beam.PCollection:
        videos = self._ingest(root)
        scenes = self._film(videos)
        described = self._describe(scenes)
        described | "KeepScenes" >> KeepRecords(self._plan.draft.records, "scene", _scene_record)
        cases = self._annotate(described, self._construct(scenes))
        return self._publish(root, cases, self._limit)

    def _ingest(self, root: Any) -> Any:
        store = self._plan.store
        if self._refused.records:
            refused = root | "Refused" >> ReadPieces(self._refused, Rejection, store)
            self._rejections.append(refused)
            self._tallies.append(refused | "RefusedTally" >> beam.Map(one_of, str(Stage.INGEST)))
        listed = root | "Sources" >> ReadPieces(self._sources, Source, store)
        sources = listed | "Spread0" >> beam.Reshuffle()
        found = self._leg(sources, Stage.INGEST, Ingester(store), _source_subject)
        exclusion = self._plan.exclusion
        by_sha = found | "BySha" >> beam.GroupBy(lambda video: video.id)
        same = by_sha | "WithSame" >> beam.FlatMap(with_same, exclusion)
        keep_one = KeepOne(exclusion)
        kept = self._between(same, Stage.INGEST, keep_one, one_of_same_subject, "KeepOne")
        self._count_out(Stage.INGEST, kept)
        return kept | "Spread1" >> beam.Reshuffle()

    def _film(self, videos: Any) -> Any:
        config, store = self._plan.config, self._plan.store
        analyser = Analyser(
            config.input,
            config.shots.score_family,
            config.features.fps,
            store,
            config.overlay_text,
            config.subtitles,
        )
        footage = self._leg(videos, Stage.DECODE, analyser, _video_subject, needs=analyser.needs)
        if config.shots.join is Join.FEATURES:
            seen = footage | "Borders" >> EmbedBorders(
                config.features, config.shots, store, self._care(Stage.DECODE)
            )
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
                config.features,
                config.select,
                store,
                self._care(Stage.SELECT),
                self._plan.references,
            )
            self._rejected_between(Stage.SELECT, unique[REJECTED])
            chosen = unique[OUT]
        self._count_out(Stage.SELECT, chosen)
        grouped = (
            chosen
            | "ByVideo" >> beam.GroupBy(lambda one: one.clip.video_id)
            | "ClipsOfVideo" >> beam.MapTuple(_in_order)
        )
        cutter = Cutter(config.cut, store, config.subtitles)
        cut = self._leg(grouped, Stage.CUT, cutter, _planned_subjects)
        by_bytes = cut | "ByBytes" >> beam.WithKeys(lambda scene: scene.media.sha256)
        same = by_bytes | "SameBytes" >> beam.GroupByKey() | "WithFirst" >> beam.FlatMap(with_first)
        scenes = self._between(same, Stage.CUT, _of_one_video, _stands, "OfOneVideo")
        self._count_out(Stage.CUT, scenes)
        folder = self._plan.draft.records
        footage | "KeepVideos" >> KeepRecords(folder, "video", _footage_record)
        planned | "KeepClips" >> KeepRecords(folder, "clip", _planned_record)
        if config.speech.model:
            transcriber = Transcriber(config.speech, store)
            scenes = self._leg(
                scenes, Stage.TRANSCRIBE, transcriber, _scene_subject, needs=transcriber.needs
            )
            self._count_out(Stage.TRANSCRIBE, scenes)
        return scenes

    def _describe(self, scenes: Any) -> Any:
        config = self._plan.config
        if config.describe.levels is Levels.NONE:
            return scenes
        describer = ClipDescriber(config.describe, config.seed)
        described = self._ask(scenes, Stage.DESCRIBE, describer, _scene_subject)
        if config.describe.levels is Levels.VIDEO:
            videos = (
                described
                | "ScenesByVideo" >> beam.GroupBy(lambda scene: scene.video.id)
                | "ScenesOfVideo" >> beam.MapTuple(_in_order)
            )
            narrator = VideoNarrator(config.describe, config.seed)
            narrated = self._ask(
                videos, Stage.DESCRIBE, narrator, _scene_subjects, "Narrate", tallied=False
            )
            described = narrated | "Spread4" >> beam.Reshuffle()
        self._count_out(Stage.DESCRIBE, described)
        self._faults.append(described | "DescriptionFaults" >> beam.FlatMap(faults_of))
        return described

    def _construct(self, scenes: Any) -> Any:
        """Cases whose media are made for them, or None where none are wanted."""
        config, store = self._plan.config, self._plan.store
        if not config.constructed.wanted:
            return None
        constructor = Constructor(config.constructed, config.seed, store, config.cut)
        cases = self._leg(scenes, Stage.CONSTRUCT, constructor, constructor.subjects)
        self._count_out(Stage.CONSTRUCT, cases)
        return cases

    def _annotate(self, scenes: Any, constructed: Any) -> Any:
        config, store = self._plan.config, self._plan.store
        proposer = Proposer(config.teacher.kind, config.tasks, config.seed)
        proposed = self._ask(scenes, Stage.PROPOSE, proposer, _scene_subject)
        self._count_out(Stage.PROPOSE, proposed)
        cases = self._leg(proposed, Stage.TASK, TaskMaker(proposer), _proposal_subject)
        self._count_out(Stage.TASK, cases)
        if constructed is not None:
            cases = (cases, constructed) | "AllCases" >> beam.Flatten()
        cases = cases | "Spread3" >> beam.Reshuffle()
        for number in range(config.verify.repair_rounds + 1):
            answerer = Answerer(config.teacher, config.seed, number, config.verify.repair_budget)
            answered = self._ask(cases, Stage.ANSWER, answerer, case_subject, f"Answer{number}")
            rollouts = answered | f"Rollouts{number}" >> beam.FlatMap(lambda one: one.rollouts)
            self._count_out(Stage.ANSWER, rollouts)
            verifier = Verifier(config.verify, store)
            cases = self._leg(
                answered, Stage.VERIFY, verifier, _answered_subjects, f"Verify{number}"
            )
            accepted = cases | f"Accepted{number}" >> beam.FlatMap(_accepted_of, number)
            self._count_out(Stage.VERIFY, accepted)
            if config.examiner is not None:
                examiner = Examiner(config.examiner, config.verify, config.seed, number)
                cases = self._ask(
                    cases,
                    Stage.EXAMINE,
                    examiner,
                    _CasesAttempts(number),
                    f"Examine{number}",
                    model=config.examiner,
                )
                stood = cases | f"Stood{number}" >> beam.FlatMap(_accepted_of, number)
                self._count_out(Stage.EXAMINE, stood)
        return cases


def _of_one_video(element: tuple[Scene, Standing]) -> Outcome[Scene]:
    scene, first = element
    other = of_other_video(scene, first)
    return Outcome([], [other]) if other else Outcome([scene])


def _stands(element: tuple[Scene, Standing]) -> list[tuple[str, str]]:
    return _scene_subject(element[0])


def _in_order(_: str, clips: Iterable[Any]) -> list[Any]:
    return sorted(clips, key=lambda one: one.clip.start_frame)


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


def _scene_subject(scene: Any) -> list[tuple[str, str]]:
    return [(scene.clip.id, scene.clip.video_id)]


def _scene_subjects(scenes: Any) -> list[tuple[str, str]]:
    return [(scene.clip.id, scene.clip.video_id) for scene in scenes]


def _proposal_subject(proposals: Any) -> list[tuple[str, str]]:
    return [(proposals.scene.clip.id, proposals.scene.clip.video_id)]


def _accepted_of(case: Case, number: int) -> list[Attempt]:
    """The attempts of a round that are accepted so far."""
    return [attempt for attempt in case.accepted if attempt.rollout.round == number]


@dataclass(frozen=True)
class _CasesAttempts:
    """What a case stands for where the attempts of a round are examined."""

    round: int

    def __call__(self, case: Case) -> list[tuple[str, str]]:
        return [(one.rollout.id, case.task.id) for one in _accepted_of(case, self.round)]


def _answered_subjects(answered: Any) -> list[tuple[str, str]]:
    return [(rollout.id, rollout.task_id) for rollout in answered.rollouts]


def _footage_record(footage: Any) -> Any:
    return footage.video.id, footage


def _planned_record(planned: Any) -> Any:
    return planned.clip.id, planned.clip


def _scene_record(scene: Any) -> Any:
    return scene.clip.id, scene
