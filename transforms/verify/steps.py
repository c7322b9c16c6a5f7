"""The steps of a reasoning, and which of them the clip bears out."""

from __future__ import annotations

from schemas.case import Attempt
from schemas.claim import Shown
from schemas.rollout import Rollout


def reasoning_steps(rollout: Rollout) -> tuple[str, ...]:
    """The reasoning step by step."""
    return tuple(step.text for step in rollout.steps)


def step_labels(attempt: Attempt) -> tuple[str, ...]:
    """`good`, `bad` or `unknown` for each step."""
    labels = []
    for number in range(len(reasoning_steps(attempt.rollout))):
        claims = [one for one in attempt.claims if one.claim.step == number]
        if any(not one.holds for one in claims):
            labels.append("bad")
        elif any(one.shown is Shown.YES for one in claims):
            labels.append("good")
        else:
            labels.append("unknown")
    return tuple(labels)
