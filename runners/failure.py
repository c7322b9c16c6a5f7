"""What is said of a run that failed in an engine: the line that tells most, and what to do."""

from __future__ import annotations

import atexit
import logging
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn

from transforms.leash import end_children

NOT_SAYING = re.compile(r"\s*(at \S+\(|\.\.\. \d+ more|Driver stacktrace:)")
"""Lines of what Java adds to an error."""
GONE = re.compile(r"\b(UNAVAILABLE|CANCELLED|ExecutorLostFailure)\b")
"""What connections say when there is nobody at the other end."""
MAX_CHARS = 400
LEAVE_WITHIN_S = 20.0
"""What is closed at the end gets no more time than this."""


def in_words(error: BaseException) -> str:
    """One line for an exception of Beam or of its engine."""
    last = _last_line(error)
    if GONE.search(last):
        return f"the engine is gone, or a worker; run the same command again to go on ({last})"
    return last


def _last_line(error: BaseException) -> str:
    """The message is a worker's traceback, of which the last line says what is wrong."""
    import grpc  # every command would wait for it

    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"[:MAX_CHARS]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    saying = [line for line in lines if not NOT_SAYING.match(line)]
    last = saying[-1] if saying else "no message"
    return f"{type(error).__name__}: {last}"[:MAX_CHARS]


def quieten_threads() -> None:
    """Connections to an engine that is gone end threads that nobody waits for; it is said once."""
    usual = threading.excepthook

    def hear(arguments: Any) -> None:
        import grpc

        if not isinstance(arguments.exc_value, grpc.RpcError):
            usual(arguments)

    threading.excepthook = hear


def leave(code: int) -> NoReturn:
    """End this process with an exit code, also where an engine has left workers behind.

    Those are threads in the middle of their work. Python ends them as it ends itself, which takes
    libraries in C++ by surprise: the process would abort, with another code.
    """
    if code == 0:
        sys.exit(0)
    # What went wrong has been said. What those threads meet while all is taken down is only that.
    logging.disable(logging.CRITICAL)
    last_word = threading.Timer(LEAVE_WITHIN_S, _leave_now, (code,))
    last_word.daemon = True
    last_word.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever still asks gets what they ask for.
        signal.signal(number, lambda *_: _leave_now(code))
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    _leave_now(code)


def _leave_now(code: int) -> NoReturn:
    end_children()
    os._exit(code)
