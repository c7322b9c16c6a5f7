"""The examination: what passed the checks that need no model is asked again under changed evidence.

An asker like those that annotate: pure, its requests batch, are stored and replayed like all
others. It only measures; `decide` compares with the thresholds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.case import Attempt, Case
from schemas.examination import Asked, Examination
from schemas.rejection import Reason, Stage
from schemas.view import View
from transforms.annotate.asker import Replies
from transforms.annotate.teacher import Request, TeacherSettings
from transforms.outcome import Outcome, is_fatal, rejections
from transforms.verify.checks import VerifySettings
from transforms.verify.claims import (
    checked_claims,
    claim_requests,
    conclusion_requests,
    conclusions,
)
from transforms.verify.conditions import Interview, ViewsWanted
from transforms.verify.decide import decide, failure, unexamined

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examiner:
    """Examines the attempts of a round that were accepted so far. The leg's unit is the rollout."""

    verifier: TeacherSettings
    settings: VerifySettings
    seed: int
    round: int

    def requests(self, case: Case, replies: Replies) -> Sequence[Request]:
        """All that is asked about a case in this round; nothing if no attempt of it passed."""
        try:
            return self._requests(case, replies)
        except Exception as error:
            if is_fatal(error):
                raise
            LOG.exception("what to ask about %s can't be told", case.task.id)
            return []

    def read(self, case: Case, replies: Replies) -> Outcome[Case]:
        """The case with its table, and with the verdicts that follow; an attempt that does not
        stand it is a rejection of its own.

        Where the examination itself breaks, none of the attempts was examined, and so none is
        accepted; the case goes on: if it vanished, the ledger of tasks would not balance.
        """
        examined = self.examined(case)
        if not examined:
            return Outcome([case], (), 0)
        try:
            if not replies:
                # Raises what it raised when it was to ask, if that is why.
                self._requests(case, replies)
            return self._read(case, examined, replies)
        except Exception as error:
            if is_fatal(error):
                raise
            LOG.exception("the examination of %s failed", case.task.id)
            detail = f"{type(error).__name__}: {error}"
            ids = [attempt.rollout.id for attempt in examined]
            subjects = [(rollout_id, case.task.id) for rollout_id in ids]
            lost = list(rejections(Stage.EXAMINE, subjects, Reason.INTERNAL_ERROR, detail))
            attempts = tuple(
                unexamined(one) if one.rollout.id in ids else one for one in case.attempts
            )
            return Outcome([case.model_copy(update={"attempts": attempts})], lost, len(ids))

    def _requests(self, case: Case, replies: Replies) -> Sequence[Request]:
        examined = self.examined(case)
        if not examined:
            return []
        requests = list(self._interview.requests(case, self._new_views(case, examined)))
        for attempt in examined:
            rollout = attempt.rollout
            if self.settings.claims:
                requests += claim_requests(
                    case, rollout, self.settings.claim_samples, self.seed, replies
                )
            requests += conclusion_requests(case, rollout, self.settings.conclusions, self.seed)
        return requests

    def _read(self, case: Case, examined: Sequence[Attempt], replies: Replies) -> Outcome[Case]:
        views = self._new_views(case, examined)
        rows = self._interview.table(case, views, replies)
        ids = {attempt.rollout.id for attempt in examined}
        attempts = tuple(
            self._looked_up(case, attempt, replies) if attempt.rollout.id in ids else attempt
            for attempt in case.attempts
        )
        done = decide(
            case.model_copy(update={"attempts": attempts, "examination": self._table(case, rows)}),
            self.settings,
            examines=True,
        )
        failed = [
            failure(attempt, case.task.id) for attempt in done.attempts if attempt.rollout.id in ids
        ]
        return Outcome([done], [one for one in failed if one is not None], len(examined))

    def examined(self, case: Case) -> list[Attempt]:
        """The attempts of this round that passed so far."""
        return [one for one in case.accepted if one.rollout.round == self.round]

    @property
    def _interview(self) -> Interview:
        return Interview(self.verifier, self.settings.condition_samples, self.seed)

    def _new_views(self, case: Case, examined: Sequence[Attempt]) -> list[View]:
        """Views that these attempts need and that the case does not know yet, each once."""
        wanted = ViewsWanted(
            self.settings.conditions, self.settings.prefixes, self.settings.hide == "black"
        )
        duration_s = case.scene.media.duration_s
        views = wanted.of_task(duration_s, case.task.kind)
        for attempt in examined:
            views += wanted.of_rollout(attempt.rollout, case.task.kind, duration_s)
        return [view for view in dict.fromkeys(views) if case.examination.row(view) is None]

    def _table(self, case: Case, rows: tuple[Asked, ...]) -> Examination:
        model = self.verifier.model or self.verifier.kind.value
        return Examination(model=model, rows=(*case.examination.rows, *rows))

    def _looked_up(self, case: Case, attempt: Attempt, replies: Replies) -> Attempt:
        rollout, settings = attempt.rollout, self.settings
        claims = (
            checked_claims(case, rollout, settings.claim_samples, self.seed, replies)
            if settings.claims
            else ()
        )
        led_to = conclusions(case, rollout, settings.conclusions, self.seed, replies)
        found = {"examined": True, "claims": claims, "conclusions": led_to}
        return attempt.model_copy(update=found)
