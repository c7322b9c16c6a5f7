"""What an element stands for, told even where the element is too broken to say so itself.

A rejection needs a subject, and a funnel needs one rejection for each. So where the subjects of an
element can't be had, what can be told of it stands in their place; it costs that element alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from schemas.base import ID_HEX_CHARS, content_hash
from transforms.outcome import Subject, is_fatal

SubjectsOf = Callable[[Any], Sequence[Subject]]
"""Names what an element stands for; may raise for one that is broken."""


@dataclass(frozen=True)
class SubjectsWithin:
    """Names an element that only holds the one it is about, such as a scene with its replies."""

    subjects: SubjectsOf
    get: Callable[[Any], Any]
    """From an element to what it holds."""

    def __call__(self, element: Any) -> Sequence[Subject]:
        return self.subjects(self.get(element))


_NAMES = ("id", "uri")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def subjects_told(subjects: SubjectsOf, element: Any) -> list[Subject]:
    """The subjects of an element; of a group, those of its whole parts, and one per broken part.

    Raises only what is about the machine or the run.
    """
    found = _had(subjects, element)
    if found is not None:
        return found
    if isinstance(subjects, SubjectsWithin):
        return subjects_told(subjects.subjects, subjects.get(element))
    told: list[Subject] = []
    for one, group in _parts(element):
        had = _had(subjects, group)
        told += [_stand_in(one)] if had is None else had
    return told or [_stand_in(element)]


def _had(subjects: SubjectsOf, element: Any) -> list[Subject] | None:
    try:
        found = [(subject, parent) for subject, parent in subjects(element)]
    except Exception as error:
        if is_fatal(error):
            raise
        return None
    whole = all(isinstance(name, str) for names in found for name in names)
    return found if whole else None


def _parts(element: Any) -> list[tuple[Any, Any]]:
    """Each part of a group, alone and as a group of itself; nothing for what is no group."""
    if isinstance(element, list):
        return [(one, [one]) for one in element]
    match element:
        case (str() as key, several) if _is_group(several):
            return [(one, (key, [one])) for one in several]
    return []


def _is_group(value: Any) -> bool:
    """What comes of grouping by a key is of Beam's own kinds; records can be iterated over, too."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | BaseModel)


def _stand_in(element: Any) -> Subject:
    """Its own name, or else its kind with a hash of what it holds."""
    for name in _NAMES:
        with suppress(Exception):
            value = getattr(element, name)
            if value and isinstance(value, str):
                return value, ""
    kind = type(element).__name__
    with suppress(Exception):
        # Where it lies in memory is another place in each run.
        return f"{kind} {content_hash(_ADDRESS.sub('', repr(element)))[:ID_HEX_CHARS]}", ""
    return kind, ""
