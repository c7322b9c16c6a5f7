"""A claim that is refuted is looked at again before it counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from claim_cases import case, replies, rollout, says

from schemas.claim import Shown
from transforms.annotate.teacher import Reply, Request
from transforms.verify.claims import LOOKS_AGAIN, checked_claims, claim_requests
from transforms.verify.conditions import SAMPLE_FROM

MADE = rollout("At 3.20 s a dog runs. So the answer is B.")


def looked_at(said: Callable[[Request], str], samples: int = 1) -> tuple[int, Shown]:
    """How many looks there were, asked for until no more are, and what they gave."""
    known: dict[str, Reply] = {}
    while True:
        requests = claim_requests(case(), MADE, samples, 7, known)
        new = [one for one in requests if one.id not in known]
        if not new:
            (checked,) = checked_claims(case(), MADE, samples, 7, known)
            return len(requests), checked.shown
        known |= replies(new, said)


@pytest.mark.parametrize("samples", [1, 3])
def test_what_is_shown_is_not_looked_at_again(samples: int) -> None:
    assert looked_at(lambda _: says("yes"), samples) == (samples, Shown.YES)
    assert looked_at(lambda _: says("unclear"), samples) == (samples, Shown.UNCLEAR)


@pytest.mark.parametrize("samples", [1, 3])
def test_what_is_refuted_each_time_is_refuted(samples: int) -> None:
    looks = samples * (1 + LOOKS_AGAIN)
    assert looked_at(lambda _: says("no"), samples) == (looks, Shown.NO)


def test_one_hasty_look_refutes_nothing() -> None:
    assert looked_at(lambda one: says("no" if one.sample == SAMPLE_FROM else "yes")) == (
        1 + LOOKS_AGAIN,
        Shown.YES,
    )
