"""From stored scores to verdicts: thresholds, and nothing else. No model, no frame, no request."""

from __future__ import annotations

from schemas.case import Attempt, Case
from schemas.examination import Examination
from schemas.rejection import Reason, Rejection, Stage
from schemas.task import Answer
from schemas.verdict import Check, check, judge
from transforms.verify.checks import (
    Thresholds,
    VerifySettings,
    graded,
    made_check,
)
from transforms.verify.conditions import ORDER_KINDS, is_right, score_evidence, score_task
from transforms.verify.gold import gold_of

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


def examined_checks(
    case: Case, attempt: Attempt, gold: Answer, thresholds: Thresholds
) -> list[Check]:
    """The checks of an attempt that rest on the examination of its case; what was not asked is not
    checked."""
    task, table = case.task, case.examination
    found: dict[str, tuple[float, str]] = {}
    if table.rows:
        found |= _task_scores(case, table, gold, thresholds)
        evidence = score_evidence(
            table, attempt.rollout, task, gold, case.scene.media.duration_s, thresholds
        )
        found["sufficient"] = (
            evidence.sufficiency,
            "the answer can't be given from the cited spans alone: cite all that it rests on",
        )
        found["necessary"] = (
            evidence.necessity,
            "the answer can be given without the cited spans: they are not what it rests on",
        )
    if attempt.claims:
        refuted = [one.claim.text for one in attempt.claims if not one.holds]
        share = 1.0 - len(refuted) / len(attempt.claims)
        said = "; ".join(repr(text) for text in dict.fromkeys(refuted))
        found["claims"] = (share, f"the clip does not show what is claimed: {said}"[:500])
    if attempt.conclusions:
        found["concludes"] = (
            _concluding_share(attempt, gold, thresholds),
            "the reasoning without its last sentence does not lead to the answer",
        )
    return [
        made_check(name, found[name][0], thresholds, found[name][1])
        for name in EXAMINED
        if name in found and found[name][0] >= 0
    ]


def _concluding_share(attempt: Attempt, gold: Answer, thresholds: Thresholds) -> float:
    """Share of those who came to the attempt's own answer, by the reward and the threshold by which
    an answer of its kind is judged: the gold answer says kind and tolerance."""
    own = gold.model_copy(update={"text": attempt.rollout.answer_text})
    right = [is_right(one, own, thresholds) for one in attempt.conclusions]
    return sum(right) / len(right)


def _task_scores(
    case: Case, table: Examination, gold: Answer, thresholds: Thresholds
) -> dict[str, tuple[float, str]]:
    scores = score_task(table, case.task, gold, thresholds)
    found = {
        "confirmed": (scores.full, "who is asked again does not come to this answer"),
        "needs_video": (
            1.0 - scores.blind if scores.blind >= 0 else -1.0,
            "the question can be answered without the clip",
        ),
    }
    if case.task.kind in ORDER_KINDS:
        found["order_needed"] = (
            scores.order_needed,
            "the answer does not hang on the order of the frames",
        )
    return found


def decide(case: Case, settings: VerifySettings, *, examines: bool = False) -> Case:
    """The case with the verdicts that follow from its stored scores under these thresholds.

    Scores that hang on the agreed answer are graded anew; all others are only compared. With
    `examines`, nothing is accepted that was not examined: what failed the other checks when it was
    made was asked nothing more about, and does not slip in when these pass under other thresholds.
    """
    # First what needs no answer: by it the votes count from which an agreed answer follows.
    attempts = tuple(_compared(attempt, settings.thresholds) for attempt in case.attempts)
    case = case.model_copy(update={"attempts": attempts})
    gold = gold_of(case, settings)
    attempts = tuple(
        _decided(case, attempt, gold, settings, examines=examines) for attempt in case.attempts
    )
    return case.model_copy(update={"attempts": attempts})


def _compared(attempt: Attempt, thresholds: Thresholds) -> Attempt:
    """The attempt with the checks that stand before the examination, by these thresholds."""
    checks = tuple(
        # Mostly the threshold is the one that it was made with.
        check
        if check.threshold == getattr(thresholds, check.name)
        else made_check(check.name, check.score, thresholds, check.detail)
        for check in attempt.verdict.checks
        if check.name not in EXAMINED and check.name != NOT_EXAMINED
    )
    return attempt.model_copy(update={"verdict": judge(attempt.verdict.rollout_id, checks)})


def _decided(
    case: Case, attempt: Attempt, gold: Answer, settings: VerifySettings, *, examines: bool
) -> Attempt:
    thresholds, rollout = settings.thresholds, attempt.rollout
    checks = [
        graded(rollout, gold, thresholds) if check.name.startswith("answer") else check
        for check in attempt.verdict.checks
    ]
    if all(check.passed for check in checks):
        if attempt.examined or not examines:
            checks += examined_checks(case, attempt, gold, thresholds)
        else:
            checks.append(_not_examined())
    return attempt.model_copy(update={"verdict": judge(attempt.verdict.rollout_id, tuple(checks))})


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
