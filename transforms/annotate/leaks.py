"""Whether a question gives its own answer away."""

from __future__ import annotations

import re

from schemas.rewards import REWARD_FOR_KIND, grade, parse_boxes
from schemas.task import (
    BOX_KINDS,
    ONE_CHOICE_KINDS,
    OPTION_LETTERS,
    SPAN_KINDS,
    Answer,
    TaskKind,
)

_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d[\d.,]*(?!\w)")
_NUMBER_WORDS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
"""Without `one`, which is more often no number."""


def gives_away(question: str, gold: Answer) -> bool:
    """Whether a question holds its answer.

    A text or a number as such; of options the right ones and no other, or all of them in their
    order; a span that overlaps the right one; a box.
    """
    if gold.kind is TaskKind.FREE_TEXT:
        return _place(question, gold.text) >= 0
    if gold.kind in (TaskKind.COUNT, TaskKind.NUMBER):
        return any(_is_right(number, gold) for number in _numbers(question))
    if gold.kind in SPAN_KINDS and grade("segments_iou", question, gold.text) > 0:
        return True
    if gold.kind in BOX_KINDS:
        return bool(parse_boxes(question))
    if not gold.options:
        return False
    places = [_place(question, option) for option in gold.options]
    right = [OPTION_LETTERS.index(letter) for letter in gold.text.split(",")]
    if gold.kind is TaskKind.ORDERING:
        found = [places[number] for number in right]
        return min(found) >= 0 and found == sorted(found)
    held = {number for number, place in enumerate(places) if place >= 0}
    # Who names all options gives none of them away.
    several = gold.kind in ONE_CHOICE_KINDS or len(right) < len(gold.options)
    return several and held == set(right)


def _place(text: str, words: str) -> int:
    """Where a text holds these words as words, not as a part of others; -1 if it does not."""
    wanted = re.escape(words.casefold())
    found = re.search(rf"(?<!\w){wanted}(?!\w)", text.casefold())
    return found.start() if found else -1


def _numbers(text: str) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return [*_NUMBER.findall(text), *(_NUMBER_WORDS[one] for one in words if one in _NUMBER_WORDS)]


def _is_right(number: str, gold: Answer) -> bool:
    spec = {"tolerance": gold.tolerance} if gold.kind is TaskKind.NUMBER else {}
    return grade(REWARD_FOR_KIND[gold.kind], number, gold.text, **spec) == 1.0
