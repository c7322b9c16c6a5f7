"""Which samples a case gives: the best accepted rollout, an RL task, a preference pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import unit_interval
from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejected
from schemas.sample import Split
from schemas.task import Origin
from transforms.publish.planning import Partition
from transforms.verify.checks import VerifySettings


class PublishSettings(BaseModel):
    """Section `publish` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_bytes: int = Field(1_000_000_000, ge=100_000, description="largest size of a shard")
    validation_share: float = Field(
        0.02, ge=0.0, lt=1.0, description="share of source videos kept for validation"
    )


@dataclass(frozen=True)
class Route:
    """One sample to be written: the split, the attempt it shows, and the one it is preferred to."""

    split: Split
    best: Attempt | None
    """None for a constructed task: its answer is exact, and no attempt proves it."""
    rejected: Attempt | None = None


def routes(case: Case, settings: VerifySettings) -> list[Route]:
    """The samples of a case. Raises Rejected(no_accepted_rollout) if there are none."""
    accepted = case.accepted
    constructed = case.task.origin is Origin.CONSTRUCTED
    if not accepted and not (constructed and trains(case, settings)):
        raise Rejected(Reason.NO_ACCEPTED_ROLLOUT, why_not(case))
    best = min(accepted, key=_rank) if accepted else None
    found = [Route("sft", best)] if best else []
    if trains(case, settings):
        found.append(Route("rl", None if constructed else best))
    other = worse_twin(case, best) if best else None
    if other is not None:
        found.append(Route("preference", best, other))
    return found


def trains(case: Case, settings: VerifySettings) -> bool:
    """Whether a task is one to train on by reward: its answer is known, and is neither always nor
    never found; of a measured one that is not asked, and of a constructed one only if somebody
    was asked."""
    if case.task.origin is Origin.CONSTRUCTED and not case.asked:
        return True
    share, thresholds = pass_rate(case, settings), settings.thresholds
    in_band = thresholds.pass_rate_min <= share <= thresholds.pass_rate_max
    return case.task.gold is not None and (in_band or is_exact(case))


def why_not(case: Case) -> str:
    """Which checks failed, most often first."""
    names = [
        check.name
        for attempt in case.attempts
        for check in attempt.verdict.checks
        if not check.passed
    ]
    if not names:
        return "no rollout came back"
    return ", ".join(sorted(set(names), key=lambda name: (-names.count(name), name)))


def _rank(attempt: Attempt) -> tuple[int, float, int]:
    """Unrepaired first, then the best scores, then the earlier sample."""
    scores = statistics.fmean(check.score for check in attempt.verdict.checks)
    return (attempt.rollout.round, -scores, attempt.rollout.sample)


def pass_rate(case: Case, settings: VerifySettings) -> float:
    """Share of the first-round rollouts asked for that were accepted; -1 if none came back.

    A reply that could not be read counts as a failed one.
    """
    first = first_round(case.attempts, settings.samples)
    if not first:
        return -1.0
    asked = max(min(case.asked, settings.samples), len(first))
    return sum(attempt.verdict.accepted for attempt in first) / asked


def first_round(attempts: Sequence[Attempt], samples: int) -> list[Attempt]:
    """The first-round attempts that count for statistics."""
    return [
        attempt
        for attempt in attempts
        if attempt.rollout.round == 0 and attempt.rollout.sample < samples
    ]


def is_exact(case: Case) -> bool:
    """Whether the answer was confirmed by measuring the published clip anew."""
    return any(
        check.name.startswith("measured") and check.passed
        for attempt in case.accepted
        for check in attempt.verdict.checks
    )


def worse_twin(case: Case, best: Attempt) -> Attempt | None:
    """A well-formed attempt that was rejected for another answer than the accepted one.

    An attempt that only breaks the form would teach form, so it is no twin.
    """
    for attempt in sorted(
        case.attempts, key=lambda attempt: (attempt.rollout.round, attempt.rollout.sample)
    ):
        failed = [check.name for check in attempt.verdict.checks if not check.passed]
        about_answer = any(name.startswith(("answer", "measured")) for name in failed)
        differs = attempt.rollout.answer_text != best.rollout.answer_text
        if about_answer and differs and "format" not in failed:
            return attempt
    return None


def partition(video_id: str, seed: int, settings: PublishSettings) -> Partition:
    """Train or validation: decided by the source video, so that its clips stay together."""
    drawn = unit_interval("partition", seed, video_id)
    return "validation" if drawn < settings.validation_share else "train"
