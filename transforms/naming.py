"""Log messages that name the video or clip they speak of, whoever writes them.

While a leg works on an element, its name stands in a context variable; a record made meanwhile, by
us or by a library, gets it put before its message. That is done where the record is made, so it
holds for every handler: the terminal's, and that of a worker which sends its log to its engine.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from schemas.rejection import Stage
from transforms.outcome import Subject

MAX_NAMED = 2

_at: ContextVar[str] = ContextVar("at", default="")


@contextmanager
def named(stage: Stage, subjects: Sequence[Subject]) -> Iterator[None]:
    """What is logged inside of the block, in this thread, is about these subjects."""
    _name_records()
    token = _at.set(name_of(stage, subjects))
    try:
        yield
    finally:
        _at.reset(token)


def name_of(stage: Stage, subjects: Sequence[Subject]) -> str:
    """A stage and what it is at, such as `cut of c12ab (of v34cd)`."""
    words = [f"{one} (of {parent})" if parent else one for one, parent in subjects[:MAX_NAMED]]
    more = len(subjects) - len(words)
    return f"{stage} of {', '.join(words)}{f' and {more} more' if more else ''}"


@functools.cache
def _name_records() -> None:
    """Once in each process."""
    make = logging.getLogRecordFactory()

    def make_named(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        if at := _at.get():
            # Names come from files: a percent sign in one is no placeholder.
            name = at.replace("%", "%%") if record.args else at
            record.msg = f"{name}: {record.msg}"
        return record

    logging.setLogRecordFactory(make_named)
