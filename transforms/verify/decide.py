"""From stored scores to verdicts: thresholds, and nothing else. No model, no frame, no request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejection, Stage
from schemas.task import Answer
from schemas.verdict import Check, check, judge
from schemas.view import Spans
from transforms.verify.checks import (
    Thresholds,
    VerifySettings,
    graded,
    made_check,
    score_answer,
)
from transforms.verify.conditions import (
    ORDER_KINDS,
    Marked,
    cited_spans,
    is_right,
    mark,
    score_evidence,
    score_task,
)
from transforms.verify.gold import agreed_answer, vote_weight

EXAMINED = (
    "confirmed", "needs_video", "sufficient", "necessary", "order_needed", "claims", "concludes",
)  # fmt: skip
"""Checks that come of asking the verifier's model, in the order in which they are told."""
NOT_EXAMINED = "examined"
"""The check that fails where there should be those, and nobody was asked."""
WHY_NOT_EXAMINED = (
    "it passes all else, but was not examined: it failed before, or the examination broke; "
    "proofreel run asks"
)


@dataclass(frozen=True)
class Examined:
    """What the examination of a case gives under these thresholds: of what its attempts have in
    common, each check is made once."""

    case: Case
    gold: Answer
    thresholds: Thresholds
    _of_spans: dict[Spans, list[Check]] = field(default_factory=dict)

    def checks(self, attempt: Attempt) -> list[Check]:
        """The checks of an attempt that rest on the examination; what was not asked is not
        checked."""
        case = self.case
        spans = cited_spans(attempt.rollout, case.task.kind, case.scene.media.duration_s)
        if spans not in self._of_spans:
            self._of_spans[spans] = self._evidence_checks(spans)
        of_reasoning = self._reasoning_checks(attempt)
        found = {
            one.name: one for one in (*self._task_checks, *self._of_spans[spans], *of_reasoning)
        }
        return [found[name] for name in EXAMINED if name in found]

    @cached_property
    def _marked(self) -> Marked:
        return mark(self.case.examination, self.case.task, self.gold, self.thresholds)

    @cached_property
    def _task_checks(self) -> list[Check]:
        scores = score_task(self._marked, self.thresholds)
        found = [
            *self._made(
                "confirmed", scores.full, "who is asked again does not come to this answer"
            ),
            *self._made(
                "needs_video",
                1.0 - scores.blind if scores.blind >= 0 else -1.0,
                "the question can be answered without the clip",
            ),
        ]
        if self.case.task.kind in ORDER_KINDS:
            found += self._made(
                "order_needed",
                scores.order_needed,
                "the answer does not hang on the order of the frames",
            )
        return found

    def _evidence_checks(self, spans: Spans) -> list[Check]:
        scores = score_evidence(self._marked, spans)
        return [
            *self._made(
                "sufficient",
                scores.sufficiency,
                "the answer can't be given from the cited spans alone: cite all that it rests on",
            ),
            *self._made(
                "necessary",
                scores.necessity,
                "the answer can be given without the cited spans: they are not what it rests on",
            ),
        ]

    def _reasoning_checks(self, attempt: Attempt) -> list[Check]:
        found = []
        if attempt.claims:
            refuted = [one.claim.text for one in attempt.claims if not one.holds]
            share = 1.0 - len(refuted) / len(attempt.claims)
            said = "; ".join(repr(text) for text in dict.fromkeys(refuted))
            detail = f"the clip does not show what is claimed: {said}"[:500]
            found += self._made("claims", share, detail)
        if attempt.conclusions:
            found += self._made(
                "concludes",
                self._concluding_share(attempt),
                "the reasoning without its last sentence does not lead to the answer",
            )
        return found

    def _concluding_share(self, attempt: Attempt) -> float:
        """Share of those who came to the attempt's own answer, by the reward and the threshold by
        which an answer of its kind is judged: the gold answer says kind and tolerance."""
        answer, own = attempt.rollout.answer_text, self.gold
        if own.text != answer:
            own = own.model_copy(update={"text": answer})
        right = [is_right(one, own, self.thresholds) for one in attempt.conclusions]
        return sum(right) / len(right)

    def _made(self, name: str, score: float, detail: str) -> list[Check]:
        """The check, if that was asked."""
        return [made_check(name, score, self.thresholds, detail)] if score >= 0 else []


def decide(case: Case, settings: VerifySettings, *, examines: bool = False) -> Case:
    """The case with the verdicts that follow from its stored scores under these thresholds.

    Scores that hang on the agreed answer are graded anew; all others are only compared. With
    `examines`, nothing is accepted that was not examined: what failed the other checks when it was
    made was asked nothing more about, and does not slip in when these pass under other thresholds.
    """
    # First what needs no answer: by it the votes count from which an agreed answer follows.
    compared = [(one, _compared(one, settings.thresholds)) for one in case.attempts]
    gold = case.task.gold
    if gold is None:
        votes = [(attempt.rollout, vote_weight(checks)) for attempt, checks in compared]
        gold = agreed_answer(case, settings, votes)
    examined = Examined(case, gold, settings.thresholds)
    attempts = tuple(
        _decided(attempt, checks, examined, examines=examines) for attempt, checks in compared
    )
    return case.model_copy(update={"attempts": attempts})


def _compared(attempt: Attempt, thresholds: Thresholds) -> list[Check]:
    """The checks that stand before the examination, by these thresholds."""
    return [
        # Mostly the threshold is the one that it was made with.
        check
        if check.threshold == getattr(thresholds, check.name)
        else made_check(check.name, check.score, thresholds, check.detail)
        for check in attempt.verdict.checks
        if check.name not in EXAMINED and check.name != NOT_EXAMINED
    ]


def _decided(
    attempt: Attempt, compared: Sequence[Check], examined: Examined, *, examines: bool
) -> Attempt:
    checks = [
        _graded_anew(check, attempt, examined) if check.name.startswith("answer") else check
        for check in compared
    ]
    if all(check.passed for check in checks):
        if attempt.examined or not examines:
            checks += examined.checks(attempt)
        else:
            checks.append(_not_examined())
    return attempt.model_copy(update={"verdict": judge(attempt.verdict.rollout_id, tuple(checks))})


def _graded_anew(before: Check, attempt: Attempt, examined: Examined) -> Check:
    # Mostly the answer that it is graded by is the one that it was graded by.
    if score_answer(attempt.rollout.answer_text, examined.gold) == before.score:
        return before
    return graded(attempt.rollout, examined.gold, examined.thresholds)


def unexamined(attempt: Attempt) -> Attempt:
    """An attempt that passed all before the examination, and whose examination broke."""
    verdict = attempt.verdict
    judged = judge(verdict.rollout_id, (*verdict.checks, _not_examined()))
    return attempt.model_copy(update={"verdict": judged})


def _not_examined() -> Check:
    return check(NOT_EXAMINED, 0.0, 1.0, WHY_NOT_EXAMINED)


def failure(attempt: Attempt, task_id: str) -> Rejection | None:
    """The rejection that a verdict means, at the stage of the checks that failed; None if none did.

    Checks of the examination are made only where all before them passed.
    """
    failed = [check.name for check in attempt.verdict.checks if not check.passed]
    if not failed:
        return None
    examined = any(name in EXAMINED or name == NOT_EXAMINED for name in failed)
    return Rejection(
        stage=Stage.EXAMINE if examined else Stage.VERIFY,
        reason=Reason.NOT_EXAMINED if NOT_EXAMINED in failed else Reason.CHECK_FAILED,
        subject=attempt.rollout.id,
        parent=task_id,
        detail=WHY_NOT_EXAMINED if NOT_EXAMINED in failed else ", ".join(failed),
    )


def is_missing_examination(attempt: Attempt) -> bool:
    """Whether all that speaks against an attempt is that nobody examined it."""
    return any(check.name == NOT_EXAMINED for check in attempt.verdict.checks)
