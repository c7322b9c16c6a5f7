"""How much the examination asks: what is known is counted, the rest reckoned at most.

Only attempts that passed all other checks are examined, and each is once, in whatever round it
passed. So at most all rollouts of a task are.
"""

from __future__ import annotations

from collections import Counter

from pipelines.config import Config
from schemas.view import Condition
from transforms.annotate.teacher import Purpose, Request
from transforms.verify.conditions import ViewsWanted

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
    # How long the clip is does not change their number.
    of_task = len(wanted.of_task(1.0))
    of_spans = sum(one in settings.conditions for one in (Condition.EVIDENCE, Condition.MASKED))
    views = tasks * of_task + rollouts * of_spans
    claims = CLAIMS_PER_ROLLOUT * settings.claim_samples if settings.claims else 0
    return Counter(
        {
            EXAMINE: views * settings.condition_samples,
            CLAIMS: rollouts * claims,
            CONCLUDE: rollouts * settings.conclusions,
        }
    )
