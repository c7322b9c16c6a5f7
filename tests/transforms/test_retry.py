"""What may go right in a moment is tried again, as often as the policy says; nothing else is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from pipelines.config import load_config
from schemas.rejection import Reason, Rejected, Stage
from transforms.outcome import FATAL_ERRNOS, Outcome, StopRunError
from transforms.retry import PASSING_ERRNOS, RetryPolicy, RetrySettings, is_passing, tried

AT_ONCE = RetryPolicy(attempts=3, first_wait_s=0.0, longest_wait_s=0.0)


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def killed() -> Rejected:
    return Rejected(Reason.DECODER_CRASHED, "SIGKILL", passing=True)


class Work:
    """Meets these ends, one after the other; an exception is raised."""

    def __init__(self, *ends: Outcome[str] | Exception) -> None:
        self.ends = list(ends)
        self.calls = 0

    def __call__(self) -> Outcome[str]:
        end = self.ends[self.calls]
        self.calls += 1
        if isinstance(end, Exception):
            raise end
        return end


DONE = Outcome(["done"])
HALF = Outcome(["half"], passing=True)


@pytest.mark.parametrize(
    "ends",
    [
        *[[os_error(number), DONE] for number in sorted(PASSING_ERRNOS)],
        [MemoryError(), killed(), DONE],
        [HALF, DONE],
        [BlockingIOError(errno.EAGAIN, "fork"), HALF, DONE],
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(ends: list[Outcome[str] | Exception]) -> None:
    work, failed = Work(*ends), list[int]()
    assert tried(work, AT_ONCE, failed.append) is DONE
    assert work.calls == len(ends)
    assert failed == list(range(1, len(ends)))


@pytest.mark.parametrize(
    "end",
    [
        Rejected(Reason.TRUNCATED),
        Rejected(Reason.DECODE_TIMEOUT, lasting=False),
        Rejected(Reason.DECODER_CRASHED, "SIGSEGV", lasting=False),
        KeyError("poison"),
        FileNotFoundError(errno.ENOENT, "gone"),
        *[os_error(number) for number in sorted(FATAL_ERRNOS)],
    ],
    ids=repr,
)
def test_what_would_end_the_same_is_not(end: Exception) -> None:
    work = Work(end, DONE)
    with pytest.raises(type(end)) as caught:
        tried(work, AT_ONCE)
    assert caught.value is end and work.calls == 1


def unreachable(number: int = errno.ESTALE) -> StopRunError:
    """What the store says of a disk."""
    error = StopRunError("the memo store can't be reached")
    error.__cause__ = os_error(number)
    return error


@pytest.mark.parametrize(
    "make",
    [lambda: os_error(errno.ESTALE), killed, unreachable],
    ids=["stale", "killed", "unreachable"],
)
def test_the_last_try_counts(make: Callable[[], Exception]) -> None:
    ends = [make() for _ in range(4)]
    work = Work(*ends)
    with pytest.raises(type(ends[0])) as caught:
        tried(work, AT_ONCE)
    assert caught.value is ends[2] and work.calls == 3
    halves = Work(HALF, HALF, HALF, DONE)
    assert tried(halves, AT_ONCE) is HALF and halves.calls == 3
    once = Work(make(), DONE)
    with pytest.raises(type(ends[0])):
        tried(once, RetryPolicy(attempts=1))


def test_what_may_pass_is_never_remembered() -> None:
    assert is_passing(killed()) and not killed().lasting
    assert not is_passing(None)


def test_a_disk_is_waited_for_where_it_may_answer_again() -> None:
    assert is_passing(unreachable())
    for number in FATAL_ERRNOS:
        assert not is_passing(unreachable(number))
    assert not is_passing(StopRunError("no GPU"))


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(first_wait_s=0.5, longest_wait_s=4.0)
    for failures, least_s in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (5_000, 4.0)):
        waits = {policy.wait_s(failures) for _ in range(20)}
        assert min(waits) >= least_s and max(waits) <= 1.5 * least_s and len(waits) > 10


def test_a_leg_may_have_a_policy_of_its_own() -> None:
    config = load_config(None, ["retry.attempts=2", "retry.legs.decode.attempts=5"])
    assert config.retry.of(Stage.CUT).attempts == 2
    assert config.retry.of(Stage.DECODE) == RetryPolicy(attempts=5)
    assert RetrySettings().of(Stage.CUT) == RetrySettings()
    again = type(config).model_validate(config.resolved())
    assert again.retry == config.retry
