"""Whether work was found in the memo store or done: noted by the store, asked for by who counts.

The note stands in a context variable, so it is of this thread and of what is worked on now.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_now: ContextVar[Lookups | None] = ContextVar("lookups", default=None)


@dataclass(frozen=True)
class Lookups:
    """How often what was found in the store, missed there, and put there; by step of the store."""

    found: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)

    @property
    def reused(self) -> bool:
        """All that was looked for had been done before, or was not needed then."""
        return bool(self.found) and not self.made

    @property
    def worked(self) -> bool:
        """Something was done anew, even if it came to nothing."""
        return bool(self.made or self.missed) and not self.reused


@contextmanager
def watching() -> Iterator[Lookups]:
    """What is looked up inside of the block, by this thread."""
    lookups = Lookups()
    token = _now.set(lookups)
    try:
        yield lookups
    finally:
        _now.reset(token)


def note_lookup(step: str, *, found: bool) -> None:
    """The store was asked for a result."""
    if (lookups := _now.get()) is not None:
        _count(lookups.found if found else lookups.missed, step)


def note_made(step: str) -> None:
    """The store was given a result."""
    if (lookups := _now.get()) is not None:
        _count(lookups.made, step)


def _count(counts: dict[str, int], step: str) -> None:
    # Not a `Counter`: every element has its own, and one takes ten times as long to make.
    counts[step] = counts.get(step, 0) + 1
