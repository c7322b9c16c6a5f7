"""Answer, verify, and try again: one round of the loop between teacher and verifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.rollout import Rollout, TeacherFacts, rollout_id
from schemas.task import Origin
from transforms.annotate.asker import Replies
from transforms.annotate.observe import Observation
from transforms.annotate.solutions import chain, read_solution, read_tool_call
from transforms.annotate.teacher import (
    Reply,
    ReplyForm,
    Request,
    TeacherKind,
    TeacherSettings,
)
from transforms.memo import MemoStore
from transforms.outcome import Outcome, is_fatal, rejection
from transforms.outcome import rejections as rejections_of
from transforms.retry import is_passing
from transforms.verify.checks import VerifySettings, critique, own_checks, verify
from transforms.verify.decide import failure, is_missing_examination
from transforms.verify.gold import Voter, gold_of, vote_weight
from transforms.verify.remeasure import remeasured

LOG = logging.getLogger(__name__)
NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Answered:
    """A case with the rollouts of the round, not verified yet."""

    case: Case
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True)
class Answerer:
    """Asks the teacher for rollouts. The leg's unit is the rollout.

    In round 0 every task is answered `samples` times; in a later round each attempt that failed in
    the round before is tried once more, with the critique.
    """

    teacher: TeacherSettings
    seed: int
    round: int
    repair_budget: int = NO_LIMIT
    """Most rollouts of a task that are tried again, in all rounds."""

    def requests(self, case: Case, replies: Replies) -> Sequence[Request]:
        """What is asked about a case in this round, with the looks that the model asked for."""
        try:
            return [
                request
                for first in self.first_requests(case)
                for request in chain(first, replies, self.teacher)
            ]
        except Exception as error:
            if is_fatal(error):
                raise
            # Told once more, and counted, where the replies are read.
            LOG.exception("what to ask about %s can't be told", case.task.id)
            return []

    def read(self, case: Case, replies: Replies) -> Outcome[Answered]:
        """The rollouts that came back; each that did not is a rejection of its own.

        Whatever breaks, the case goes on: if it vanished, the ledger of tasks would not balance.
        """
        rollouts: list[Rollout] = []
        lost: list[Rejection] = []
        try:
            firsts = self.first_requests(case)
        except Exception as error:  # noqa: BLE001 - what is about the run is raised again
            # Which there were to be in a later round, nobody can tell.
            samples = range(self.teacher.samples) if self.round == 0 else [0]
            lost = [self._lost(case, sample, error) for sample in samples]
            firsts = []
        for first in firsts:
            try:
                last = chain(first, replies, self.teacher)[-1]
                rollouts.append(self._rollout(case, last, replies[last.id]))
            except Exception as error:  # noqa: BLE001 - what is about the run is raised again
                lost.append(self._lost(case, first.sample, error))
        entered = len(rollouts) + len(lost)
        if self.round == 0:
            case = case.model_copy(update={"asked": entered})
        return Outcome([Answered(case, tuple(rollouts))], lost, entered)

    def _lost(self, case: Case, sample: int, error: Exception) -> Rejection:
        """The end of a rollout that there is not. Raises what is about the run."""
        if is_fatal(error):
            raise error
        if not isinstance(error, Rejected):
            LOG.error("an answer to %s can't be read", case.task.id, exc_info=error)
            error = Rejected(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        subject = rollout_id(case.task.id, self.round, sample)
        return rejection(Stage.ANSWER, (subject, case.task.id), error)

    def first_requests(self, case: Case) -> list[Request]:
        """One per rollout, before the model asked to see more."""
        measure = self.teacher.kind is TeacherKind.MEASURE
        if measure and case.task.origin is Origin.CONSTRUCTED:
            # It knows only its own questions, and the answer is exact without it.
            return []
        common = {"scene": case.scene, "task": case.task, "seed": self.seed, "round": self.round}
        if self.round == 0:
            return [Request(sample=n, **common) for n in range(self.teacher.samples)]
        tried = sum(attempt.rollout.round > 0 for attempt in case.attempts)
        failed = [
            Request(sample=attempt.rollout.sample, critique=critique(attempt.verdict), **common)
            for attempt in case.attempts
            if attempt.rollout.round == self.round - 1 and _can_be_mended(attempt)
        ]
        return failed[: max(self.repair_budget - tried, 0)]

    def _rollout(self, case: Case, request: Request, reply: Reply) -> Rollout:
        if reply.error:
            # What comes again each time it is asked is no failure of a machine.
            lasts = reply.lasting
            reason = Reason.TEACHER_CANNOT_ANSWER if lasts else Reason.TEACHER_FAILED
            raise Rejected(reason, reply.error, lasting=False)
        if self.teacher.tool_calls and read_tool_call(reply.text, self.teacher, case.scene.media):
            most = self.teacher.tool_calls
            raise Rejected(Reason.BAD_REPLY, f"asked to see more than teacher.tool_calls = {most}")
        solved = read_solution(reply.text, self.form)
        return Rollout(
            task_id=case.task.id,
            sample=request.sample,
            round=request.round,
            reasoning=solved.reasoning,
            answer_text=solved.answer,
            segments=solved.segments,
            boxes=solved.boxes,
            steps=solved.steps,
            tool_calls=request.tool_calls,
            thinking=reply.thinking,
            teacher=TeacherFacts(
                kind=self.teacher.kind,
                model=self.teacher.model,
                revision=self.teacher.revision,
                prompt_sha256=reply.prompt_sha256,
                params_json=reply.params_json,
                seed=request.seed,
            ),
            raw_reply=reply.text,
        )

    @property
    def form(self) -> ReplyForm:
        """The form of the replies; the measure teacher knows only one."""
        measured = self.teacher.kind is TeacherKind.MEASURE
        return ReplyForm.TEXT if measured else self.teacher.reply_form


def _can_be_mended(attempt: Attempt) -> bool:
    """Whether something is wrong with an attempt; that nobody examined it is not its fault."""
    return not attempt.verdict.accepted and not is_missing_examination(attempt)


@dataclass(frozen=True)
class Verifier:
    """Checks the rollouts of a round. The leg's unit is the rollout; a case comes out as a whole.

    Where no answer is known, the answer that most first-round samples agree on stands in for it,
    if enough of them do; without such an agreement nothing of the case is accepted.
    """

    settings: VerifySettings
    store: MemoStore

    def __call__(self, answered: Answered) -> Outcome[Case]:
        case = answered.case
        try:
            return self._verified(answered)
        except Exception as error:
            if is_fatal(error):
                raise
            LOG.exception("the verifier failed on %s", case.task.id)
            # The case goes on without these rollouts: if it vanished, the ledger of tasks would
            # not balance, and a broken mp4 would cost the whole run.
            subjects = [(rollout.id, case.task.id) for rollout in answered.rollouts]
            detail = f"{type(error).__name__}: {error}"
            lost = list(rejections_of(Stage.VERIFY, subjects, Reason.INTERNAL_ERROR, detail))
            return Outcome([case], lost, len(answered.rollouts), is_passing(error))

    def _verified(self, answered: Answered) -> Outcome[Case]:
        case = answered.case
        gold = gold_of(case, self.settings, self._voters(answered))
        observation = self._observation(case)
        attempts = list(case.attempts)
        rejections = []
        for rollout in answered.rollouts:
            verdict = verify(
                rollout, case.task, gold, case.scene, observation, self.settings.thresholds
            )
            attempts.append(Attempt(rollout=rollout, verdict=verdict))
            if (failed := failure(attempts[-1], case.task.id)) is not None:
                rejections.append(failed)
        done = case.model_copy(update={"attempts": tuple(attempts)})
        return Outcome([done], rejections, len(answered.rollouts))

    def _observation(self, case: Case) -> Observation | None:
        """What the published mp4 shows, for a question about measurements."""
        if not case.task.is_measured:
            return None
        motion = json.loads(case.task.spec_json).get("family") == "motion"
        return remeasured(case.scene.media, self.store, motion=motion)

    def _voters(self, answered: Answered) -> list[Voter]:
        case, thresholds = answered.case, self.settings.thresholds
        return [
            (one, vote_weight(own_checks(one, case.task, case.scene.media, thresholds)))
            for one in answered.rollouts
        ]
