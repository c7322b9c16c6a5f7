"""What every pipeline that ends in a dataset has in common: legs that are counted, and publishing.

What runs, in what order; no algorithm.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.config import Config
from pipelines.records import KeepRecords
from schemas.rejection import Reason, Rejection, Stage
from schemas.usage import Usage
from transforms.annotate.asker import Asker
from transforms.annotate.describe import Faults, faults_together
from transforms.annotate.handler import USAGE, AskTeacher, StoredTeacher
from transforms.annotate.prompts import Templates
from transforms.annotate.teacher import TeacherSettings
from transforms.at_work import AtWork
from transforms.bundle_sums import CountInBundle, SumInBundle
from transforms.draft import Draft, filling
from transforms.failure_limit import FailureLimit, check_totals
from transforms.legs import OUT, REJECTED, TALLY, Care, Leg
from transforms.memo import MemoStore
from transforms.needs import NO_HINTS, NO_NEEDS, Hints, Needs
from transforms.pieces import Piece
from transforms.progress import NOWHERE, ProgressLog
from transforms.publish.card_counts import Counts
from transforms.publish.finish import RunFacts, finish_dataset, make_funnel
from transforms.publish.ledger import (
    CountSamples,
    KeepIndex,
    KeepRejections,
    Kind,
    RejectedPiece,
    first_rejected,
    index_tables,
    rejected_tables,
)
from transforms.publish.manifest import ShardEntry
from transforms.publish.stage import Router, WriteShards, card_entry_of, index_entry_of
from transforms.trouble import DATASET, minding
from transforms.video.exclude import Exclusion


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know; paths are folders of their own."""

    config: Config
    store: MemoStore
    draft: Draft
    """Where the dataset and the records are built."""
    progress: ProgressLog
    facts: RunFacts
    exclusion: Exclusion = field(default_factory=Exclusion)
    """Videos that must not come in."""
    references: tuple[str, ...] = ()
    """The files of `select.reference`, in the memo store."""
    templates: Mapping[str, Templates] = field(default_factory=dict)
    """Prompt templates of the user's own, by the folder that a model's settings name."""
    hints: Hints = NO_HINTS
    """How the engine is told of steps that need a GPU."""


class Way(beam.PTransform):
    """A way to a dataset; a subclass says which. Takes note of what its legs report."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        run = plan.config.run
        # Not seeded: it names no data, only which counts are of this run.
        self._limit = FailureLimit(run.max_failed_share, run.min_failed, uuid.uuid4().hex)
        self._tallies: list[beam.PCollection] = []
        self._outs: list[beam.PCollection] = []
        self._rejections: list[beam.PCollection] = []
        self._usage: list[beam.PCollection] = []
        self._faults: list[beam.PCollection] = []

    def _ask(
        self,
        elements: Any,
        stage: Stage,
        asker: Asker,
        subjects: Any,
        name: str = "",
        *,
        tallied: bool = True,
        model: TeacherSettings | None = None,
    ) -> Any:
        """Apply a leg that asks the teacher, and take note of what that took.

        `tallied`: whether its subjects have not entered the stage yet. `model`: another than the
        teacher that is asked.
        """
        plan = self._plan
        settings = model or plan.config.teacher
        teacher = StoredTeacher(
            settings,
            plan.store,
            plan.config.shots,
            plan.progress,
            plan.config.retry.of(stage),
            plan.templates.get(settings.prompts),
        )
        label = name or str(stage).capitalize()
        done = elements | label >> AskTeacher(stage, asker, subjects, teacher, self._care(stage))
        if tallied:
            self._tallies.append(done[TALLY])
        self._rejections.append(done[REJECTED])
        self._usage.append(done[USAGE] | f"{label}Usage" >> beam.ParDo(SumInBundle()))
        return done[OUT]

    def _leg(
        self,
        elements: Any,
        stage: Stage,
        work: Any,
        subjects: Any,
        name: str = "",
        *,
        needs: Needs = NO_NEEDS,
    ) -> Any:
        """Apply a leg and take note of its tally and its rejections."""
        label = name or str(stage).capitalize()
        done = elements | label >> Leg(
            stage, work, subjects, self._plan.progress, self._care(stage), needs=needs
        )
        self._tallies.append(done[TALLY])
        self._rejections.append(done[REJECTED])
        return done[OUT]

    def _care(self, stage: Stage) -> Care:
        retry = self._plan.config.retry.of(stage)
        return Care(retry, self._limit, at_work_of(self._plan.progress), self._plan.hints)

    def _between(self, elements: Any, stage: Stage, work: Any, subjects: Any, name: str) -> Any:
        """Apply a step that compares elements after the stage's leg, which has counted them."""
        done = elements | name >> Leg(stage, work, subjects, NOWHERE, self._care(stage))
        self._rejected_between(stage, done[REJECTED])
        return done[OUT]

    def _rejected_between(self, stage: Stage, rejected: Any) -> None:
        """Rejections of a step that compares elements, and so comes after the stage's leg."""
        self._rejections.append(rejected)
        _ = rejected | f"Note{stage}" >> beam.Map(_note_rejected, stage, self._plan.progress)

    def _count_out(self, stage: Stage, elements: Any) -> None:
        label = f"Out{str(stage).capitalize()}{len(self._outs)}"
        self._outs.append(elements | label >> beam.ParDo(CountInBundle(str(stage))))

    def _publish(self, root: Any, cases: Any, limit: FailureLimit) -> beam.PCollection:
        """`limit`: of failures among all that entered a stage; beyond it nothing is published."""
        plan = self._plan
        config = plan.config
        cases | "KeepCases" >> KeepRecords(plan.draft.records, "case", _case_record)
        # That there is one of each, even if no leg reports any.
        for label, reported in (("NoUsage", self._usage), ("NoFaults", self._faults)):
            if not reported:
                reported.append(root | label >> beam.Create([], reshuffle=False))
        router = Router(config.verify, config.publish, config.seed, plan.facts.proofreel_version)
        tasks = self._leg(cases, Stage.ROUTE, router, case_subject)
        self._count_out(Stage.ROUTE, tasks)
        routed = tasks | "Samples" >> beam.FlatMap(lambda several: several)
        shards = routed | "WriteShards" >> WriteShards(
            config.publish.shard_bytes, plan.draft.dataset, plan.store
        )
        index = {
            "entries": routed | "Entries" >> beam.Map(index_entry_of),
            "shards": shards,
        } | "KeepIndex" >> KeepIndex(plan.draft.pieces)
        cards = routed | "Cards" >> beam.Map(card_entry_of)
        rejected = (
            self._rejections
            | "AllRejections" >> beam.Flatten()
            | "KeepRejections" >> KeepRejections(plan.draft.pieces)
        )
        return (
            root
            | "Once" >> beam.Create([None])
            | "Finish"
            >> beam.Map(
                _finish,
                plan=plan,
                limit=limit,
                # A line of each, none of which is of a sample.
                shards=beam.pvalue.AsList(shards | "Listed" >> beam.Map(lambda one: one.listed)),
                index=beam.pvalue.AsList(index),
                rejected=beam.pvalue.AsList(rejected["pieces"]),
                rejections=beam.pvalue.AsDict(rejected["counts"]),
                counts=beam.pvalue.AsSingleton(cards | "CountSamples" >> CountSamples()),
                entered=beam.pvalue.AsDict(
                    self._tallies | "Tallies" >> beam.Flatten() | "In" >> beam.CombinePerKey(sum)
                ),
                out=beam.pvalue.AsDict(
                    self._outs | "Outs" >> beam.Flatten() | "Out" >> beam.CombinePerKey(sum)
                ),
                usage=beam.pvalue.AsDict(
                    self._usage | "Usages" >> beam.Flatten() | "Usage" >> beam.CombinePerKey(_total)
                ),
                faults=beam.pvalue.AsDict(
                    self._faults
                    | "Faults" >> beam.Flatten()
                    | "FaultsOf" >> beam.CombinePerKey(faults_together)
                ),
            )
        )


def _finish(
    _: None,
    plan: Plan,
    limit: FailureLimit,
    shards: list[ShardEntry],
    index: list[Piece],
    rejected: list[RejectedPiece],
    rejections: Mapping[Kind, int],
    counts: Counts,
    entered: Mapping[str, int],
    out: Mapping[str, int],
    usage: Mapping[str, Usage],
    faults: Mapping[str, Faults],
) -> None:
    came_in = {Stage(stage): count for stage, count in entered.items()}
    lost = {(Stage(stage), Reason(reason)): count for (stage, reason), count in rejections.items()}
    funnel = make_funnel(came_in, {Stage(stage): count for stage, count in out.items()}, lost)
    check_totals(limit, came_in, lost, partial(first_rejected, rejected))
    notes = tuple(found.note(what) for what, found in sorted(faults.items()))
    with filling(plan.draft.dataset) as folder, minding(folder, DATASET):
        finish_dataset(
            folder,
            replace(plan.facts, notes=(*plan.facts.notes, *notes)),
            funnel,
            shards,
            counts,
            index_tables(index),
            rejected_tables(rejected),
            usage,
        )


def at_work_of(progress: ProgressLog) -> AtWork:
    """Beside the progress log; nowhere where that is nowhere."""
    return AtWork(str(Path(progress.path).with_name("at-work")) if progress.path else "")


def _note_rejected(_: Rejection, stage: Stage, progress: ProgressLog) -> None:
    progress.add(stage, entered=0, rejected=1)
    progress.flush()


def _total(several: Iterable[Usage]) -> Usage:
    return sum(several, Usage())


def one_of(_: Any, stage: str) -> tuple[str, int]:
    return stage, 1


def case_subject(case: Any) -> list[tuple[str, str]]:
    return [(case.task.id, case.task.clip_id)]


def _case_record(case: Any) -> Any:
    return case.task.id, case
