"""Agreement between the samples of a task: the answer most of them give, and how many do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.rejection import Rejected
from schemas.rollout import Rollout
from schemas.task import Answer, Task
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import Thresholds, answer_check, score_answer


def same(one: Answer, other: Answer, thresholds: Thresholds) -> bool:
    """Whether two answers count as the same: each is right when the other is gold."""
    least = float(getattr(thresholds, answer_check(one.kind)))
    return min(score_answer(one.text, other), score_answer(other.text, one)) >= least


def consensus(
    task: Task,
    voters: Sequence[tuple[Rollout, float]],
    thresholds: Thresholds,
    asked: int = 0,
) -> tuple[Answer | None, float]:
    """The answer that most of the weight agrees with, and its share; None if none can be read.

    `voters` are rollouts with weights of at most 1. The share is of the rollouts `asked` for: one
    that never came back agrees with nobody. Of equal weights, the answer of the earlier sample
    wins.
    """
    answers = [
        (answer, weight)
        for rollout, weight in sorted(voters, key=lambda voter: voter[0].sample)
        if (answer := _read(task, rollout)) is not None
    ]
    if not answers:
        return None, 0.0
    votes = [
        math.fsum(weight for other, weight in answers if same(one, other, thresholds))
        for one, _ in answers
    ]
    best = votes.index(max(votes))
    return answers[best][0], votes[best] / max(asked, len(voters))


def _read(task: Task, rollout: Rollout) -> Answer | None:
    tolerance = task.gold.tolerance if task.gold is not None else -1.0
    try:
        return make_answer(task.kind, rollout.answer_text, task.options, tolerance)
    except Rejected:
        return None
