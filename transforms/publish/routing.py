"""Which samples a case gives: the best accepted rollout, an RL task, a preference pair, labelled
steps, a question with the moment from which it can be answered."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import unit_interval
from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejected
from schemas.sample import Split
from schemas.task import SPAN_KINDS, Origin
from transforms.publish.about import AboutSettings
from transforms.publish.examined import is_guessed, scores_of
from transforms.publish.licenses import why_held_back
from transforms.publish.pairs import PROCESS_CHECKS, best_pair, failed_checks, is_about_answer
from transforms.publish.planning import Partition
from transforms.verify.checks import VerifySettings
from transforms.verify.conditions import cited_spans
from transforms.verify.steps import has_labels

EVIDENCE_SLACK = 0.1
"""Share of the clip by which cited spans may be longer than the shortest and still count as no
longer: a few frames more or less are no better evidence."""


class PublishSettings(BaseModel):
    """Section `publish` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_bytes: int = Field(1_000_000_000, ge=100_000, description="largest size of a shard")
    validation_share: float = Field(
        0.02, ge=0.0, lt=1.0, description="share of source videos kept for validation"
    )
    licenses: tuple[str, ...] = Field(
        (),
        description="licences whose sources may be published, such as [CC0-1.0, CC-BY-4.0], as "
        "the inputs name them but for case and spacing; others, and sources without one, are held "
        "back. Empty: no gate",
    )
    about: AboutSettings = Field(default_factory=AboutSettings)


@dataclass(frozen=True)
class Route:
    """One sample to be written: the split, the attempt it shows, and the one it is preferred to."""

    split: Split
    best: Attempt | None
    """The attempt that proves it, or whose steps are labelled; None for a constructed task: its
    answer is exact, and no attempt proves it."""
    rejected: Attempt | None = None


def check_license(case: Case, settings: PublishSettings) -> None:
    """Raise Rejected(license) if the licence of the source does not let its clips be published."""
    why = why_held_back(case.scene.video.source.license, settings.licenses)
    if why:
        raise Rejected(Reason.LICENSE, why)


def routes(case: Case, settings: VerifySettings) -> list[Route]:
    """The samples of a case. Raises Rejected(no_accepted_rollout) if there are none."""
    ranked = by_merit(case)
    best = ranked[0] if ranked else None
    constructed = case.task.origin is Origin.CONSTRUCTED
    scores = scores_of(case, settings)
    guessed = is_guessed(scores, settings)
    found = [Route("sft", best)] if best else []
    if (best or constructed) and not guessed and trains(case, settings):
        found.append(Route("rl", None if constructed else best))
    pair = best_pair(case, ranked)
    if pair is not None:
        found.append(Route("preference", *pair))
    found += [Route("process", attempt) for attempt in case.attempts if teaches_steps(attempt)]
    if best and not guessed and scores.answerable_from_s >= 0:
        found.append(Route("online", best))
    if not found:
        raise Rejected(Reason.NO_ACCEPTED_ROLLOUT, why_not(case))
    return found


def trains(case: Case, settings: VerifySettings) -> bool:
    """Whether a task that can't be guessed is one to train on by reward: its answer is known, and
    is neither always nor never found; of a measured one that is not asked, and of a constructed one
    only if somebody was asked."""
    if case.task.origin is Origin.CONSTRUCTED and not case.asked:
        return True
    share, thresholds = pass_rate(case, settings), settings.thresholds
    in_band = thresholds.pass_rate_min <= share <= thresholds.pass_rate_max
    return case.task.gold is not None and (in_band or is_exact(case))


def teaches_steps(attempt: Attempt) -> bool:
    """Whether an attempt has labelled steps, and was not rejected for its form or its question."""
    of_content = all(
        name in PROCESS_CHECKS or is_about_answer(name) for name in failed_checks(attempt)
    )
    return of_content and has_labels(attempt)


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


def by_merit(case: Case) -> list[Attempt]:
    """The accepted attempts: unrepaired first, then those that cite no more than is needed, then
    the best scores, then the earlier sample."""
    shares = {one.rollout.id: evidence_share(one, case) for one in case.accepted}
    shortest: dict[int, float] = {}
    for one in case.accepted:
        share = shares[one.rollout.id]
        shortest[one.rollout.round] = min(share, shortest.get(one.rollout.round, share))

    def rank(attempt: Attempt) -> tuple[int, bool, float, int]:
        rollout = attempt.rollout
        wordy = shares[rollout.id] > shortest[rollout.round] + EVIDENCE_SLACK
        scores = statistics.fmean(check.score for check in attempt.verdict.checks)
        return (rollout.round, wordy, -scores, rollout.sample)

    return sorted(case.accepted, key=rank)


def evidence_share(attempt: Attempt, case: Case) -> float:
    """How much of the clip an attempt rests on, 0..1; all of it if it cites nothing.

    Where the answer is a span itself, how well it fits is a score, and no shorter one is better.
    """
    duration_s = case.scene.media.duration_s
    spans = cited_spans(attempt.rollout, case.task.kind, duration_s)
    if case.task.kind in SPAN_KINDS or not spans or duration_s <= 0:
        return 1.0
    return sum(end_s - start_s for start_s, end_s in spans) / duration_s


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


def partition(video_id: str, seed: int, settings: PublishSettings) -> Partition:
    """Train or validation: decided by the source video, so that its clips stay together."""
    drawn = unit_interval("partition", seed, video_id)
    return "validation" if drawn < settings.validation_share else "train"
