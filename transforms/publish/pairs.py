"""Preference pairs: an accepted attempt against one that was rejected for what it says."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case import Attempt, Case
from transforms.verify.checks import Thresholds
from transforms.verify.decide import NOT_EXAMINED

LENGTH_RATIO = 2.0
"""A pair whose reasonings differ more in their number of words teaches length: of human-made
pairs, too, the longer is often preferred whatever it says."""
FORM_CHECKS = frozenset({"format", "no_trace"})
"""Who fails one of these would teach form."""
PROCESS_CHECKS = frozenset({"claims", "sufficient", "necessary", "concludes"})
"""Who fails only these came to its answer in a worse way."""
_ORDER = list(Thresholds.model_fields)


def failed_checks(attempt: Attempt) -> tuple[str, ...]:
    """Names of the checks that an attempt failed, always in the same order."""
    failed = [check.name for check in attempt.verdict.checks if not check.passed]
    # `examined` has no threshold: it comes last.
    return tuple(sorted(failed, key=[*_ORDER, NOT_EXAMINED].index))


def is_about_answer(name: str) -> bool:
    """Whether a check of this name compares the answer with the right one."""
    return name.startswith(("answer", "measured"))


def best_pair(case: Case, ranked: Sequence[Attempt]) -> tuple[Attempt, Attempt] | None:
    """The best accepted attempt that has a twin, with it; `ranked` are the accepted, best first."""
    for chosen in ranked:
        twin = worse_twin(case, chosen)
        if twin is not None:
            return chosen, twin
    return None


def worse_twin(case: Case, chosen: Attempt) -> Attempt | None:
    """The earliest rejected attempt that differs from the accepted one in content."""
    for attempt in sorted(
        case.attempts, key=lambda attempt: (attempt.rollout.round, attempt.rollout.sample)
    ):
        if not attempt.verdict.accepted and _says_worse(attempt, chosen):
            return attempt
    return None


def _says_worse(attempt: Attempt, chosen: Attempt) -> bool:
    failed = set(failed_checks(attempt))
    if failed & FORM_CHECKS:
        return False
    one, other = attempt.rollout, chosen.rollout
    wrong = any(map(is_about_answer, failed)) and one.answer_text != other.answer_text
    # The same answer by a worse way, which must show in the words: spans are no part of a reply.
    worse_way = failed <= PROCESS_CHECKS and one.reasoning.split() != other.reasoning.split()
    return (wrong or worse_way) and is_as_long(one.reasoning, other.reasoning)


def is_as_long(one: str, other: str) -> bool:
    """Whether two texts differ by no more than `LENGTH_RATIO` in their number of words."""
    few, many = sorted(max(len(text.split()), 1) for text in (one, other))
    return many <= LENGTH_RATIO * few
