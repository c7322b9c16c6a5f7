"""Beam's workers print the traceback of every failure, beside logging it and handing it back."""

from __future__ import annotations

from apache_beam.runners.worker import sdk_worker


def print_no_tracebacks() -> None:
    """What stops a run is said once, at the end; the log has its traceback where it matters."""
    # The name is looked up in the module before it is in Python's own.
    sdk_worker.print = _nothing


def _nothing(*_: object, **__: object) -> None:
    pass
