"""What somebody is told of a reasoning who shall draw its conclusion: all but the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.rejection import Rejected
from schemas.rollout import Rollout
from schemas.task import CHOICE_KINDS, ONE_CHOICE_KINDS, OPTION_LETTERS, Task
from transforms.annotate.tasks import make_answer
from transforms.verify.steps import sentences

HIDDEN_LETTER = "…"
"""Stands for the letter of the option that was chosen."""

_TOKEN = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?|[^\W\d_]+")
_STATING = frozenset(
    (
        *("so", "therefore", "thus", "hence", "then", "the", "final", "correct", "right", "best"),
        *("answer", "option", "choice", "letter", "number", "count", "total", "order", "span"),
        *("is", "are", "be", "must", "to", "from", "and", "or", "of", "s", "sec", "seconds"),
    )
)
"""Words that state an answer without a reason for it."""
_LETTER = re.compile(r"(?<![\w'’.])([A-J])(?![\w'’])")
_NAMED = re.compile(
    r"(?:\b(?:options?|choices?|answers?|letters?)(?: is| are)?:? ?[(\"'*]{0,3})$", re.I
)
_LISTED = re.compile(r"(?<!\w)[A-J](?:, ?| )(?:and |or |then )?$")
_ACTING = re.compile(
    r" (?:happens|occurs|comes|is|was|must|cannot|fits|matches|says|starts|begins|follows)\b"
)
"""What follows a letter that stands for an option, and not the word `A`."""
_WITHIN = re.compile(r"[\w,;)] $")
_MARKS = (")", ":", ",")
_NAME_CHARS = 24


def told(rollout: Rollout, task: Task) -> str:
    """The reasoning without its last sentence, which states the answer, and without others that
    say nothing but the answer; "" if nothing is left.

    Options come in another order to whoever is told, so their letters are replaced by their words,
    and the letter that was chosen is hidden: it is not a reason.
    """
    said = _tokens(rollout.answer_text)
    chosen = -1
    if task.kind in ONE_CHOICE_KINDS:
        chosen = _chosen(rollout, task)
        said |= _tokens(task.options[chosen]) if chosen >= 0 else set()
    kept = [
        sentence
        for sentence in sentences(rollout.reasoning)[:-1]
        if not _tokens(sentence) <= said | _STATING
    ]
    text = "\n".join(kept)
    return _in_words(text, task.options, chosen) if task.kind in CHOICE_KINDS else text


def _chosen(rollout: Rollout, task: Task) -> int:
    try:
        return make_answer(task.kind, rollout.answer_text, task.options, -1.0).option_index
    except Rejected:
        return -1


def _tokens(text: str) -> set[str]:
    """Words and numbers; `3.20` and `3.2` are the same."""
    found = _TOKEN.findall(text.casefold())
    return {str(float(token)) if token[0].isdecimal() else token for token in found}


def _in_words(text: str, options: Sequence[str], chosen: int) -> str:
    def words(match: re.Match[str]) -> str:
        index = OPTION_LETTERS.index(match[1])
        if index >= len(options) or not _is_letter(match):
            return match[0]
        return HIDDEN_LETTER if index == chosen else f'"{options[index]}"'

    return _LETTER.sub(words, text)


def _is_letter(match: re.Match[str]) -> bool:
    """Whether a capital is the letter of an option. `A` and `I` are words, too: they are letters
    where they are called so, listed with others, or marked (`A:`, `(A)`); and `A` also within a
    sentence, where the word is small, and where it does something (`A happens`)."""
    if match[1] not in "AI":
        return True
    text = match.string
    before = text[max(match.start() - _NAME_CHARS, 0) : match.start()]
    if (
        _NAMED.search(before)
        or _LISTED.search(before)
        or text[match.end() : match.end() + 1] in _MARKS
    ):
        return True
    return match[1] == "A" and bool(_WITHIN.search(before) or _ACTING.match(text, match.end()))
