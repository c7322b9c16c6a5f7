"""How the teacher stands in a Beam pipeline: a RunInference handler, and the leg around it.

An example is a subject (a scene, a video, a case); what is asked about it is its own, so every
element has its own parameters. The prediction is the subject with its replies. A request that
fails is the failure of that request, never of its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import apache_beam as beam

from schemas.base import content_hash
from schemas.rejection import Stage
from schemas.usage import Usage
from transforms.annotate.asker import Answered, Asker, Replies, gather
from transforms.annotate.prompts import Templates
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import REPLY_STEP, ask_stored
from transforms.at_work import NOT_NOTED, AtLeg, AtWork, working_for
from transforms.inference import ModelHandler, RunInference
from transforms.leg_metrics import busy, note_reuse
from transforms.legs import OUT, REJECTED, TALLY, Care, Leg
from transforms.lookups import watching
from transforms.memo import MemoStore
from transforms.naming import named
from transforms.needs import NO_HINTS, Hints, Needs
from transforms.outcome import Outcome, StopRunError, Subject, is_fatal
from transforms.progress import ProgressLog
from transforms.retry import RetryPolicy, tried
from transforms.subjects import SubjectsWithin, subjects_told
from transforms.video.shots import ShotSettings

LOG = logging.getLogger(__name__)
MAX_ERROR_CHARS = 500


@dataclass(frozen=True)
class StoredTeacher:
    """The teacher with the store of its replies before it: Beam's "model".

    Nothing is loaded until a request is not found in the store: a rerun over finished work needs no
    engine. The teacher itself is opened once per process, however many of these there are.
    """

    settings: TeacherSettings
    store: MemoStore
    shots: ShotSettings
    progress: ProgressLog
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """For what fails around the teacher, such as its store; a teacher has its own tries."""
    templates: Templates | None = None
    """Prompts of the user's own: their folder may be on the machine alone that launches the run."""

    @property
    def needs(self) -> Needs:
        return Needs(gpu=self.settings.kind is TeacherKind.VLLM)

    def ask(self, requests: Sequence[Request]) -> dict[str, Reply]:
        """One reply per request, by request id. What breaks here costs these requests alone."""
        try:
            return tried(lambda: self._ask(requests), self.retry)
        except StopRunError:
            raise
        except Exception as error:
            if is_fatal(error):
                raise
            LOG.exception("the teacher's replies can't be had")
            words = f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]
            return {one.id: Reply(request_id=one.id, error=words) for one in requests}

    def _ask(self, requests: Sequence[Request]) -> dict[str, Reply]:
        return ask_stored(
            self.settings, self.store, self.shots, requests, self.progress, self.templates
        )


class TeacherHandler(ModelHandler[Any, Answered[Any], StoredTeacher]):
    """Puts the requests of a batch of subjects to the teacher together."""

    def __init__(
        self,
        stage: Stage,
        asker: Asker,
        subjects: Callable[[Any], Sequence[Subject]],
        teacher: StoredTeacher,
        hints: Hints = NO_HINTS,
        at_work: AtWork = NOT_NOTED,
    ) -> None:
        super().__init__()
        self._stage = stage
        self._asker = asker
        self._subjects = subjects
        self._teacher = teacher
        self._hints = hints
        self._at_work = at_work

    def load_model(self) -> StoredTeacher:
        return self._teacher

    def run_inference(
        self,
        batch: Sequence[Any],
        model: StoredTeacher,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Answered[Any]]:
        leg = str(self._stage)
        subjects = [subject for element in batch for subject in self._told(element)]
        with (
            busy(leg, len(batch)),
            watching() as lookups,
            named(self._stage, subjects),
            working_for(AtLeg(self._stage, self._at_work)),
        ):
            answered = gather(self._asker, batch, model.ask, self._at)
        found, missed = (one.get(REPLY_STEP, 0) for one in (lookups.found, lookups.missed))
        note_reuse(leg, reused=found, worked=missed)
        return answered

    @contextmanager
    def _at(self, element: Any) -> Iterator[None]:
        subjects = self._told(element)
        with named(self._stage, subjects), self._at_work.on(self._stage, subjects):
            yield

    def _told(self, element: Any) -> Sequence[Subject]:
        # One that can't say what it stands for is rejected by the leg that reads the replies.
        return subjects_told(self._subjects, element)

    def get_num_bytes(self, batch: Sequence[Any]) -> int:
        """0: Beam would pickle each batch once more, only to count its bytes for a metric."""
        return 0

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        size = self._teacher.settings.batch
        return {"min_batch_size": size, "max_batch_size": size}

    def get_resource_hints(self) -> dict[str, str]:
        return self._hints.of(self._teacher.needs)


@dataclass(frozen=True)
class _Read:
    """The work of the leg after the inference: from replies to outputs and rejections."""

    asker: Asker

    def __call__(self, element: Answered[Any]) -> Outcome[Any]:
        if element.trouble:
            raise RuntimeError(element.trouble)
        return self.asker.read(element.subject, element.replies)


def usage_of(replies: Replies) -> Usage:
    """What these replies took, whether they were asked for now or in an earlier run."""
    return Usage(
        replies=len(replies),
        prompt_tokens=sum(max(reply.prompt_tokens, 0) for reply in replies.values()),
        completion_tokens=sum(max(reply.completion_tokens, 0) for reply in replies.values()),
    )


USAGE = "usage"


class AskTeacher(beam.PTransform):
    """Applies an asker to subjects; outputs OUT, REJECTED and TALLY of a leg, and USAGE.

    USAGE holds pairs (stage, `Usage`).
    """

    def __init__(
        self,
        stage: Stage,
        asker: Asker,
        subjects: Callable[[Any], Sequence[Subject]],
        teacher: StoredTeacher,
        care: Care = Care(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__()
        self._care = care
        self._stage = stage
        self._asker = asker
        self._subjects = subjects
        self._teacher = teacher

    def expand(self, elements: beam.PCollection) -> dict[str, beam.PCollection]:
        teacher = self._teacher
        # One identity for all legs that ask this teacher, so that all share one model.
        identity = content_hash("teacher", teacher.settings.model_dump(mode="json"))[:16]
        handler = TeacherHandler(
            self._stage,
            self._asker,
            self._subjects,
            teacher,
            self._care.hints,
            self._care.at_work,
        )
        answered = elements | "Ask" >> RunInference(handler, model_identifier=identity)
        done = answered | "Read" >> Leg(
            self._stage,
            _Read(self._asker),
            SubjectsWithin(self._subjects, attrgetter("subject")),
            teacher.progress,
            self._care,
            timed_as=f"{self._stage}.read",
        )
        usage = answered | "Usage" >> beam.Map(_usage, str(self._stage))
        return {OUT: done[OUT], REJECTED: done[REJECTED], TALLY: done[TALLY], USAGE: usage}


def _usage(answered: Answered[Any], stage: str) -> tuple[str, Usage]:
    return stage, usage_of(answered.replies)
