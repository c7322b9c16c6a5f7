"""Cancelling a job on an engine that does not answer, or is gone; and what is said then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest
from apache_beam.runners.runner import PipelineState

from runners import interrupt
from runners.interrupt import Interrupted, NotCancelledError, Signals


class Job:
    """As Beam gives one."""

    def __init__(self, cancel: Callable[[], object], state: str) -> None:
        self.cancel = cancel
        self.state = state


def gone() -> None:
    raise ConnectionError("nobody there")


@pytest.mark.parametrize(
    "job",
    [
        Job(gone, PipelineState.RUNNING),
        Job(lambda: None, PipelineState.RUNNING),
        Job(threading.Event().wait, PipelineState.CANCELLED),
    ],
    ids=["gone", "goes on", "no answer"],
)
def test_it_is_said_that_the_engine_did_not_say_so(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "CANCEL_WITHIN_S", 0.3)
    with pytest.raises(NotCancelledError) as caught:
        interrupt.cancel(job)
    signals = Signals()
    assert signals.told(caught.value) is None
    signals.heard = signal.SIGTERM
    told = signals.told(caught.value)
    assert told is not None
    assert told[0] == 143
    assert "the engine did not say that the job has" in told[1]


def test_an_engine_that_cancels_its_job() -> None:
    interrupt.cancel(Job(lambda: None, PipelineState.CANCELLED))
    signals = Signals()
    signals.heard = signal.SIGINT
    told = signals.told(Interrupted())
    assert told is not None
    assert told[0] == 130
    assert "all that it had started" in told[1]


def test_ignored_signals_stay_ignored() -> None:
    """As under nohup, or in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.heeding_signals():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
