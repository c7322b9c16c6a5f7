"""The steps of a reasoning, and what each is worth as a label of process supervision."""

from __future__ import annotations

import re
from typing import Literal

from schemas.case import Attempt
from schemas.claim import Shown
from schemas.rollout import Rollout

Label = Literal["good", "bad", "unknown"]

_END = re.compile(r"\n|[.!?…][\"')\]”’*]{0,3}(?=\s)|[。！？]")
"""Where a sentence may end; a point within a number has no space after it."""
_ABBREVIATIONS = frozenset(
    ("e.g", "i.e", "vs", "cf", "approx", "ca", "fig", "mr", "mrs", "ms", "dr", "resp")
)
_LONGEST_WORD = 12
"""Characters before a point that are looked at for an abbreviation."""
_NUMBERING = re.compile(r"(?:step )?[(\[]?[0-9]{1,3}[.:)\]]{1,2}|[-*•–]{1,3}", re.IGNORECASE)


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, without the space around them; lines end one, too.

    A point does not end one after an abbreviation or before a small letter (`e.g. at 3 s`,
    `3.2 sec. later`), and a number in front of a sentence belongs to it (`1. The ball falls.`).
    Linear in the length of the text.
    """
    found: list[str] = []
    waiting: list[str] = []
    start = 0
    for end in (*_ends(text), len(text)):
        part = text[start:end].strip()
        start = end
        if _NUMBERING.fullmatch(part):
            waiting.append(part)
        elif part:
            found.append(" ".join((*waiting, part)))
            waiting.clear()
    if waiting:
        found.append(" ".join(waiting))
    return tuple(found)


def _ends(text: str) -> list[int]:
    return [match.end() for match in _END.finditer(text) if _ends_here(text, match)]


def _ends_here(text: str, match: re.Match[str]) -> bool:
    if match[0][0] not in ".…":
        return True
    after = text[match.end() : match.end() + 4].lstrip(" \t")[:1]
    words = text[max(match.start() - _LONGEST_WORD, 0) : match.start()].split()
    last = words[-1].lower().lstrip("([\"'") if words else ""
    return not after.islower() and last not in _ABBREVIATIONS


def reasoning_steps(rollout: Rollout) -> tuple[str, ...]:
    """The texts of a reasoning's steps: as the model gave them, else its sentences."""
    if rollout.steps:
        return tuple(step.text.strip() for step in rollout.steps)
    return sentences(rollout.reasoning)


def step_labels(attempt: Attempt) -> tuple[Label, ...]:
    """A label for each of `reasoning_steps`, from the claims as they were checked.

    `bad`: one of its claims is refuted, or its time or place does not exist. `good`: all of its
    claims hold and at least one was shown. `unknown`: nobody could tell, or it claims nothing that
    can be looked up.
    """
    return tuple(_label(attempt, step) for step in range(len(reasoning_steps(attempt.rollout))))


def has_labels(attempt: Attempt) -> bool:
    """Whether any label is known; faster than to read the steps."""
    return any(
        one.claim.step >= 0 and (not one.holds or one.shown is Shown.YES) for one in attempt.claims
    )


def _label(attempt: Attempt, step: int) -> Label:
    claims = [one for one in attempt.claims if one.claim.step == step]
    if any(not one.holds for one in claims):
        return "bad"
    return "good" if any(one.shown is Shown.YES for one in claims) else "unknown"
