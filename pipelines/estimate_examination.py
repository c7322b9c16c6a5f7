"""How much the examination asks: what is known is counted, the rest reckoned at most.

Only attempts that passed all other checks are examined, and each is once, in whatever round it
passed. So at most all rollouts of a task are.
"""

from __future__ import annotations

from collections import Counter

from pipelines.config import Config
from schemas.task import TaskKind
from schemas.view import Condition
from transforms.annotate.teacher import Purpose, Request
from transforms.verify.conditions import AGAINST, GUESSABLE_TIMES, ViewsWanted

EXAMINE, CLAIMS, CONCLUDE = EXAMINATION = ("examine", "claims", "conclude")
"""What the verifier's model is asked: a task again, a claim, where a reasoning leads."""
CLAIMS_PER_ROLLOUT = 4
"""Claims of a reasoning that nobody has written yet."""


def kind_of(request: Request) -> str:
    """What a request of the examination is counted as."""
    kinds = {Purpose.SOLVE: EXAMINE, Purpose.CHECK: CLAIMS, Purpose.CONCLUDE: CONCLUDE}
    return kinds[request.purpose]


def most_asked(config: Config, tasks: int, rollouts: int) -> Counter[str]:
    """The most requests about tasks that were not examined, with so many rollouts in all."""
    settings = config.verify
    if config.examiner is None:
        return Counter()
    wanted = ViewsWanted(settings.conditions, settings.prefixes, settings.hide == "black")
    # How long the clip is, and what is asked, does not change their number.
    of_task = sum(_times(view.condition) for view in wanted.of_task(1.0, TaskKind.MCQ))
    of_spans = sum(
        _times(one) for one in (Condition.EVIDENCE, Condition.MASKED) if one in settings.conditions
    )
    views = tasks * of_task + rollouts * of_spans
    claims = CLAIMS_PER_ROLLOUT * settings.claim_samples if settings.claims else 0
    return Counter(
        {
            EXAMINE: views * settings.condition_samples,
            CLAIMS: rollouts * claims,
            CONCLUDE: rollouts * settings.conclusions,
        }
    )


def _times(condition: Condition) -> int:
    """How often more than others a view is asked about, at most."""
    return GUESSABLE_TIMES if condition in AGAINST else 1
