"""How commands end: exit codes, and words for an error that nobody foresaw."""

from __future__ import annotations

EXIT_OK, EXIT_FAILED, EXIT_ASKED_WRONGLY = 0, 1, 2


def cause_of(error: BaseException) -> str:
    """The last line of what Beam reports; its message is the traceback of a worker."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no message'}"
