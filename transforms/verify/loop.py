"""Answer, verify, and try again: one round of the loop between teacher and verifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.rollout import Box, Rollout, Segment, TeacherFacts, rollout_id
from schemas.task import Answer, Origin
from transforms.annotate.observe import Observation
from transforms.annotate.replies import SolveReply, read_reply
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.outcome import Outcome, StopRunError, is_fatal, rejection
from transforms.outcome import rejections as rejections_of
from transforms.verify.checks import VerifySettings, critique, verify
from transforms.verify.consensus import consensus
from transforms.verify.remeasure import remeasured
from transforms.video.shots import ShotSettings

LOG = logging.getLogger(__name__)


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
    shots: ShotSettings
    seed: int
    round: int
    store: MemoStore

    def __call__(self, cases: Sequence[Case]) -> Outcome[Answered]:
        requests = {case.task.id: self.requests(case) for case in cases}
        wanted = [request for several in requests.values() for request in several]
        replies = self._ask(wanted)
        outputs: list[Answered] = []
        rejections: list[Rejection] = []
        for case in cases:
            rollouts = []
            for request in requests[case.task.id]:
                try:
                    rollouts.append(self._rollout(case, request, replies[request.id]))
                except Rejected as rejected:
                    subject = rollout_id(case.task.id, self.round, request.sample)
                    rejections.append(rejection(Stage.ANSWER, (subject, case.task.id), rejected))
            if self.round == 0:
                case = case.model_copy(update={"asked": len(requests[case.task.id])})
            outputs.append(Answered(case, tuple(rollouts)))
        return Outcome(outputs, rejections, len(wanted))

    def _ask(self, wanted: Sequence[Request]) -> Mapping[str, Reply]:
        """One reply per request. What breaks here costs these rollouts, not their tasks."""
        try:
            return ask_stored(self.teacher, self.store, self.shots, wanted)
        except StopRunError:
            raise
        except Exception as error:
            if is_fatal(error):
                raise
            LOG.exception("the teacher's replies can't be had")
            words = f"{type(error).__name__}: {error}"[:500]
            return {one.id: Reply(request_id=one.id, error=words) for one in wanted}

    def requests(self, case: Case) -> list[Request]:
        """What is asked about a case in this round."""
        common = {"scene": case.scene, "task": case.task, "seed": self.seed, "round": self.round}
        if self.round == 0:
            return [Request(sample=n, **common) for n in range(self.teacher.samples)]
        return [
            Request(sample=attempt.rollout.sample, critique=critique(attempt.verdict), **common)
            for attempt in case.attempts
            if attempt.rollout.round == self.round - 1 and not attempt.verdict.accepted
        ]

    def _rollout(self, case: Case, request: Request, reply: Reply) -> Rollout:
        if reply.error:
            answerable = case.task.origin is Origin.PROPOSED
            able = answerable or self.teacher.kind is not TeacherKind.MEASURE
            reason = Reason.TEACHER_FAILED if able else Reason.TEACHER_CANNOT_ANSWER
            raise Rejected(reason, reply.error, lasting=False)
        read = read_reply(reply.text, SolveReply)
        return Rollout(
            task_id=case.task.id,
            sample=request.sample,
            round=request.round,
            reasoning=read.reasoning.strip(),
            answer_text=read.answer.strip(),
            segments=tuple(
                Segment(label=cited.label, start_s=cited.start_s, end_s=cited.end_s)
                for cited in read.segments
            ),
            boxes=tuple(
                Box(label=cited.label, t_s=cited.t_s, xyxy_norm=cited.xyxy_norm)
                for cited in read.boxes
            ),
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
            detail = f"{type(error).__name__}: {error}"[:500]
            lost = list(rejections_of(Stage.VERIFY, subjects, Reason.INTERNAL_ERROR, detail))
            return Outcome([case], lost, len(answered.rollouts))

    def _verified(self, answered: Answered) -> Outcome[Case]:
        case = answered.case
        gold = self.gold(case, answered.rollouts)
        observation = self._observation(case)
        attempts = list(case.attempts)
        rejections = []
        for rollout in answered.rollouts:
            verdict = verify(
                rollout, case.task, gold, case.scene, observation, self.settings.thresholds
            )
            attempts.append(Attempt(rollout=rollout, verdict=verdict))
            if not verdict.accepted:
                names = [check.name for check in verdict.checks if not check.passed]
                rejections.append(
                    Rejection(
                        stage=Stage.VERIFY,
                        reason=Reason.CHECK_FAILED,
                        subject=rollout.id,
                        parent=case.task.id,
                        detail=", ".join(names),
                    )
                )
        done = case.model_copy(update={"attempts": tuple(attempts)})
        return Outcome([done], rejections, len(answered.rollouts))

    def _observation(self, case: Case) -> Observation | None:
        """What the published mp4 shows, for a question about measurements."""
        spec = json.loads(case.task.spec_json)
        if not spec:
            return None
        motion = spec.get("family") == "motion"
        return remeasured(case.scene.media, self.store, motion=motion)

    def gold(self, case: Case, rollouts: Sequence[Rollout]) -> Answer | None:
        """The known answer, else the agreed one; an answer that nothing equals if there is none."""
        if case.task.gold is not None:
            return case.task.gold
        first = [attempt.rollout for attempt in case.attempts if attempt.rollout.round == 0]
        voters = [
            rollout
            for rollout in [*first, *rollouts]
            if rollout.round == 0 and rollout.sample < self.settings.samples
        ]
        thresholds = self.settings.thresholds
        asked = min(case.asked, self.settings.samples)
        agreed, share = consensus(case.task, voters, thresholds, asked)
        if agreed is None or share < thresholds.agreement:
            return Answer(kind=case.task.kind, text="")
        return agreed
