"""What a reasoning claims, step by step, and whether the clip bears it out."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.case import Case
from schemas.claim import CheckedClaim
from schemas.rollout import Rollout
from transforms.annotate.asker import Replies
from transforms.annotate.teacher import Request


def claim_requests(case: Case, rollout: Rollout, samples: int, seed: int) -> Sequence[Request]:
    """What is asked about the claims of a rollout."""
    return ()


def checked_claims(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies
) -> tuple[CheckedClaim, ...]:
    """The claims of a rollout with what the replies say of them."""
    return ()


def conclusion_requests(case: Case, rollout: Rollout, samples: int, seed: int) -> Sequence[Request]:
    """What is asked to see whether the reasoning leads to its answer."""
    return ()


def conclusions(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies
) -> tuple[str, ...]:
    """The answers that others came to, in the letters of the task; "" where none can be read."""
    return ()
