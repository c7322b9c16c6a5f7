"""How a leg asks a teacher: what it wants to know of a subject, and what it makes of the replies.

An asker is pure: it never meets the teacher. `gather` puts the questions of many subjects together,
so that the teacher has a full batch, and hands every subject its own replies, by id.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from transforms.annotate.teacher import Reply, Request
from transforms.outcome import Outcome, is_fatal

LOG = logging.getLogger(__name__)

MAX_TURNS = 64
"""No asker needs as many; one that never ends is a fault."""

Subject = TypeVar("Subject")
Replies = Mapping[str, Reply]
"""Replies by request id."""


class Asker(Protocol):
    """What a leg asks about its subjects (scenes, videos, cases)."""

    def requests(self, subject: Any, replies: Replies) -> Sequence[Request]:
        """All that must be asked, as far as the replies so far tell; pure and deterministic.

        Called again with more replies until it names no request that is not answered: so a later
        request can depend on an earlier reply.
        """
        ...

    def read(self, subject: Any, replies: Replies) -> Outcome[Any]:
        """What the replies say. May raise Rejected: then all of the subject is rejected."""
        ...


@dataclass(frozen=True)
class Answered(Generic[Subject]):
    """A subject with all its replies."""

    subject: Subject
    replies: dict[str, Reply]
    trouble: str = ""
    """Why the asker itself failed on it, in words."""


def gather(
    asker: Asker,
    subjects: Sequence[Subject],
    ask: Callable[[Sequence[Request]], Replies],
    at: Callable[[Subject], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> list[Answered[Subject]]:
    """Ask about several subjects at once, in as many turns as they need; joined by request id.

    `at`: what is entered while one of them alone is dealt with.
    """
    known: dict[str, Reply] = {}
    troubles: dict[int, str] = {}
    for turn in itertools.count():
        wanted = [
            _wanted(asker, subject, known, place, troubles, at)
            for place, subject in enumerate(subjects)
        ]
        new = {one.id: one for several in wanted for one in several if one.id not in known}
        if not new:
            break
        if turn < MAX_TURNS:
            known |= ask(list(new.values()))
            continue
        for place, several in enumerate(wanted):
            if any(one.id in new for one in several):
                # It costs this subject and no other of its batch.
                troubles[place] = f"after {MAX_TURNS} turns there is still something to ask"
        break
    return [
        Answered(
            subject,
            {one.id: known[one.id] for one in several if one.id in known},
            troubles.get(place, ""),
        )
        for place, (subject, several) in enumerate(zip(subjects, wanted, strict=True))
    ]


def _wanted(
    asker: Asker,
    subject: Any,
    known: Replies,
    place: int,
    troubles: dict[int, str],
    at: Callable[[Any], AbstractContextManager[None]],
) -> Sequence[Request]:
    if place in troubles:
        return ()
    with at(subject):
        try:
            return list(asker.requests(subject, known))
        except Exception as error:
            if is_fatal(error):
                raise
            # It costs this subject and no other of its batch.
            LOG.exception("what to ask can't be told")
            troubles[place] = f"{type(error).__name__}: {error}"
            return ()
