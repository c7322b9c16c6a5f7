"""What the work of a leg gives back: outputs, rejections, and how much came in."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from schemas.rejection import FAILURES, Reason, Rejected, Rejection, Stage
from transforms.machine_paths import without_paths

Subject = tuple[str, str]
"""Id of a subject and of what it was made from."""

FATAL_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE}
)

MAX_FAILURE_CHARS = 500


class StopRunError(Exception):
    """What would hit every element alike: the run ends with it instead of rejecting all."""


def words_of_stop(text: str) -> str:
    """What a StopRunError said, of which a runner has made this text; "" if it tells of none.

    Runners tell of errors by their tracebacks, some with the line breaks written out.
    """
    names = "|".join(sorted(kind.__name__ for kind in _kinds(StopRunError)))
    pattern = rf"\b(?:{names}): (.*?)(?:\\n| \[while running|$)"
    found: list[str] = re.findall(pattern, text, re.MULTILINE)
    return found[-1].strip() if found else ""


def _kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def is_fatal(error: BaseException) -> bool:
    """Whether an error is about the machine or the run, not about one element."""
    full = isinstance(error, OSError) and error.errno in FATAL_ERRNOS
    return full or isinstance(error, StopRunError)


Output = TypeVar("Output", covariant=True)


@dataclass(frozen=True)
class Outcome(Generic[Output]):
    """What became of an element. `entered` is counted apart from what came out, in the stage's
    unit, so that what gets lost in between is noticed."""

    outputs: Sequence[Output]
    rejections: Sequence[Rejection] = ()
    entered: int = 1
    passing: bool = False
    """Some was rejected for what may go right in a moment: the leg tries again before that counts.
    """


class Work(Protocol[Output]):
    """The work of a leg on one element: a frozen dataclass of settings, so that it can travel."""

    def __call__(self, element: Any, /) -> Outcome[Output]: ...


def rejections(
    stage: Stage, subjects: Iterable[Subject], reason: Reason, detail: str
) -> Iterator[Rejection]:
    """One record per subject, all for the same reason.

    The words of machines and of our own code lose what they say about this machine, and their end
    where they are long: they are published.
    """
    if reason in FAILURES:
        # Cut before, too: an error can hold anything, of any length.
        detail = without_paths(detail[: 4 * MAX_FAILURE_CHARS])[:MAX_FAILURE_CHARS]
    for subject, parent in subjects:
        yield Rejection(stage=stage, reason=reason, subject=subject, parent=parent, detail=detail)


def rejection(stage: Stage, subject: Subject, rejected: Rejected) -> Rejection:
    """The record of a rejection that was raised."""
    return next(rejections(stage, [subject], rejected.reason, rejected.detail))
