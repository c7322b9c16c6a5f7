"""Ctrl-C, and SIGTERM as a batch system sends it: a run ends soon, in one line, with its own code.

The first signal is raised in the main thread, so that the job is cancelled on its engine. A run
that gets a second one, or does not come to an end, ends at once. The leash takes what is left then.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from apache_beam.runners.runner import PipelineState

from transforms.leash import end_children

HEEDED = (signal.SIGINT, signal.SIGTERM)
BY_SIGNAL = 128
"""Shells add a signal's number to this for the exit code."""

END_WITHIN_S = 15.0
"""Who has not ended so long after the first signal is ended."""
CANCEL_WITHIN_S = 10.0
"""How long an engine is given to say that a job is cancelled."""

GO_ON = "what was finished is kept: run the same command again to go on"
SHOW_CURSOR = b"\x1b[?25h"
"""A table that is drawn on a terminal hides it."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


class NotCancelledError(Interrupted):
    """And the engine did not say that it cancelled the job."""


class Signals:
    """What was heard, if anything."""

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._timer: threading.Timer | None = None

    def told(self, error: BaseException) -> tuple[int, str] | None:
        """Exit code and words, if a signal ended the run, whatever it was that broke by it."""
        if self.heard is None:
            return None
        ended = "the run has ended, and all that it had started"
        if isinstance(error, NotCancelledError):
            ended = "the run has ended, but the engine did not say that the job has: look there"
        return BY_SIGNAL + self.heard, f"interrupted by {self.heard.name}: {ended}; {GO_ON}"

    def hear(self, number: int, _: FrameType | None) -> None:
        """The handler."""
        if self.heard is not None:
            _end_now(number)
        self.heard = signal.Signals(number)
        # Whatever is logged from here on breaks because of this.
        logging.disable(logging.CRITICAL)
        threading.excepthook = _say_nothing
        self._timer = threading.Timer(END_WITHIN_S, _end_now, (number,))
        self._timer.daemon = True
        self._timer.start()
        raise Interrupted(self.heard.name)

    def close(self) -> None:
        """It ended by itself."""
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def heeding_signals() -> Iterator[Signals]:
    """Signals that ask this process to end are raised once within, as Interrupted.

    A signal that is ignored stays so, as under `nohup`. Only in the main thread; elsewhere nothing
    is heard.
    """
    signals = Signals()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in HEEDED}
        not_ours = (None, signal.SIG_IGN)
        before = {number: handler for number, handler in found.items() if handler not in not_ours}
    for number in before:
        signal.signal(number, signals.hear)
    try:
        yield signals
    finally:
        signals.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def cancel(result: Any) -> None:
    """Cancel a job on its engine. Raises NotCancelledError if it does not say so in time."""
    said = threading.Event()

    def ask() -> None:
        with suppress(Exception):
            result.cancel()
            while not PipelineState.is_terminal(result.state):
                time.sleep(0.1)
            said.set()

    # On a thread, since an engine that is gone may never answer.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CANCEL_WITHIN_S)
    if not said.is_set():
        raise NotCancelledError


def _end_now(number: int) -> NoReturn:
    words = f"proofreel: interrupted by {signal.Signals(number).name}: ended at once; {GO_ON}\n"
    with suppress(OSError):
        if sys.stderr.isatty():
            os.write(2, SHOW_CURSOR)
        os.write(2, words.encode())
    end_children()
    os._exit(BY_SIGNAL + number)


def _say_nothing(_: Any) -> None:
    pass
