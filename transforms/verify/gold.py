"""The answer that a task is graded by: the known one, else the one that its samples agree on."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case import Case
from schemas.rollout import Rollout
from schemas.task import Answer, Origin
from schemas.verdict import Check
from transforms.verify.checks import OWN_CHECKS, VerifySettings
from transforms.verify.consensus import consensus

Voter = tuple[Rollout, float]
"""A rollout and the weight of its vote."""


def gold_of(case: Case, settings: VerifySettings, new: Sequence[Voter] = ()) -> Answer:
    """The known answer, else the agreed one; an answer that nothing equals if there is none.

    `new` are rollouts that are no attempts of the case yet.
    """
    if case.task.gold is not None:
        return case.task.gold
    return agreed_answer(case, settings, [*_voters(case), *new])


def agreed_answer(case: Case, settings: VerifySettings, voters: Sequence[Voter]) -> Answer:
    """The answer that these agree on, if enough do; else one that nothing equals."""
    voters = [
        (rollout, weight)
        for rollout, weight in voters
        if rollout.round == 0 and rollout.sample < settings.samples
    ]
    asked = min(case.asked, settings.samples)
    agreed, share = consensus(case.task, voters, settings.thresholds, asked)
    if agreed is None or share < settings.thresholds.agreement:
        return Answer(kind=case.task.kind, text="")
    return agreed


def _voters(case: Case) -> list[Voter]:
    return [(one.rollout, vote_weight(one.verdict.checks)) for one in case.attempts]


def vote_weight(checks: Sequence[Check]) -> float:
    """How much the vote of a rollout counts: the share of its own checks that it passed.

    Own checks look at nothing but the rollout itself, so no answer is preferred by them.
    """
    own = [check.passed for check in checks if check.name in OWN_CHECKS]
    return sum(own) / len(own) if own else 1.0


def answer_origin(case: Case) -> str:
    """Where the answer comes from: given, constructed, measured, proposed or consensus."""
    task = case.task
    if task.gold is None:
        return "consensus"
    if task.origin is Origin.PROPOSED:
        return "measured" if task.is_measured else "proposed"
    return task.origin.value
