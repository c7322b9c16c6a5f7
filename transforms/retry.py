"""What is tried again, how often, with what waits: one policy for legs and for servers.

Only what may go right in a moment is tried again: a machine short of memory or processes, a
connection that broke, a decoder that somebody killed. A broken file is broken the second time, too,
and a decoder that hung would hang as long again.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity
from pydantic import BaseModel, ConfigDict, Field

from schemas.rejection import Rejected, Stage
from transforms.outcome import Outcome, StopRunError

PASSING_ERRNOS = frozenset(
    {
        # Short of processes, of memory; a signal came between.
        *(errno.EAGAIN, errno.ENOMEM, errno.EINTR, errno.EBUSY, errno.ETXTBSY),
        # A file server that came back, or a connection that broke.
        *(errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED),
        *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN),
    }
)
MAX_DOUBLINGS = 30

Result = TypeVar("Result")


class RetryPolicy(BaseModel):
    """How often something is tried in all, and how long is waited in between."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(3, ge=1, description="tries in all; 1 = nothing is tried again")
    first_wait_s: float = Field(
        1.0, ge=0.0, description="wait after the first failure; each further one doubles it"
    )
    longest_wait_s: float = Field(30.0, ge=0.0, description="no wait is longer, but for the jitter")

    def wait_s(self, failures: int) -> float:
        """How long to wait after this many failures, in seconds.

        With jitter: many workers that failed together should not come back together.
        """
        doubled_s = self.first_wait_s * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
        return min(doubled_s, self.longest_wait_s) * random.uniform(1.0, 1.5)


class RetrySettings(RetryPolicy):
    """Section `retry` of the configuration: the policy of all legs, and those of single ones."""

    legs: dict[Stage, RetryPolicy] = Field(
        default_factory=dict,
        description="a leg's own policy, by the name of its stage, such as `{decode: {attempts: "
        "5}}`; what it leaves out has the defaults of above",
    )

    def of(self, stage: Stage) -> RetryPolicy:
        """The policy of a leg."""
        return self.legs.get(stage, self)


def is_passing(error: BaseException | None) -> bool:
    """Whether the same try may well go right in a moment."""
    if isinstance(error, Rejected):
        return error.passing
    if type(error) is StopRunError:
        # A disk that does not answer: it is waited for before the run stops.
        return is_passing(error.__cause__)
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in PASSING_ERRNOS
    )


def tried(
    work: Callable[[], Result],
    policy: RetryPolicy,
    on_failure: Callable[[int], None] = lambda _: None,
) -> Result:
    """What the work gives, or raises, in the last of its tries. `on_failure` hears which failed."""

    try:
        found = work()
    except Exception as error:
        if not is_passing(error) or policy.attempts == 1:
            raise
    else:
        if not _is_half(found) or policy.attempts == 1:
            return found
    # Nearly all goes well at once, and needs none of what follows.
    on_failure(1)
    time.sleep(policy.wait_s(1))

    def wait(state: tenacity.RetryCallState) -> float:
        failures = state.attempt_number + 1
        on_failure(failures)
        return policy.wait_s(failures)

    def last(state: tenacity.RetryCallState) -> Result:
        assert state.outcome is not None
        found: Result = state.outcome.result()
        return found

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.attempts - 1),
        wait=wait,
        retry=tenacity.retry_if_exception(is_passing) | tenacity.retry_if_result(_is_half),
        retry_error_callback=last,
    )
    return retrying(work)


def _is_half(found: object) -> bool:
    return isinstance(found, Outcome) and found.passing
