"""A verdict: every check of one rollout, with score and threshold."""

from __future__ import annotations

from schemas.base import Record


class Check(Record):
    """One check: passed exactly when score >= threshold."""

    name: str
    score: float
    threshold: float
    passed: bool
    detail: str = ""


class Verdict(Record):
    """All checks of one rollout; accepted exactly when every check passed."""

    rollout_id: str
    checks: tuple[Check, ...]
    accepted: bool

    @property
    def id(self) -> str:
        return self.rollout_id


def judge(rollout_id: str, checks: tuple[Check, ...]) -> Verdict:
    """The verdict that follows from the checks."""
    return Verdict(
        rollout_id=rollout_id, checks=checks, accepted=all(check.passed for check in checks)
    )


def check(name: str, score: float, threshold: float, detail: str = "") -> Check:
    """A check that decides by comparing its score with its threshold."""
    return Check(
        name=name, score=score, threshold=threshold, passed=score >= threshold, detail=detail
    )
