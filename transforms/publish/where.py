"""Conditions on samples, as a person types them: `pass_rate>=0.5`, `task_kind=mcq,count`.

A small language of its own, read by a regular expression: nothing of it is ever run as code.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from schemas.clip import Measures
from schemas.conditions import ConditionScores
from schemas.sample import Sample
from transforms.publish.check_split import loads
from transforms.publish.licenses import normal_license

_FORM = re.compile(
    r"\s*([a-z][a-z_0-9]*(?:\.[A-Za-z0-9_ -]+)?)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", re.S
)

_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

TEXTS = ("id", "split", "partition", "video_id", "clip_id", "task_id", "task_kind")
NUMBERS = ("pass_rate", "json_bytes", "mp4_bytes")
"""Columns of the index."""
INSIDE = ("scores", "condition_scores", "measures")
"""Columns of the index that hold several values, each with a name: `measures.brightness`."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    "condition_scores": tuple(ConditionScores.model_fields),
    "measures": tuple(Measures.model_fields),
}
"""What they hold, where it is the same in all datasets."""
NOT_KNOWN = -1
"""What stands for a number that was not measured or asked for: neither small nor large."""
BELOW_ZERO = ("measures.loudness_lufs",)
"""Numbers that can be -1 themselves."""
_SAMPLE_TEXTS: Mapping[str, Callable[[Sample], str]] = {
    "license": lambda sample: normal_license(sample.provenance.license),
    "source_url": lambda sample: sample.provenance.source_url,
    "source_uri": lambda sample: sample.media[0].source_uri,
    "teacher": lambda sample: sample.provenance.teacher,
}
_SAMPLE_NUMBERS: Mapping[str, Callable[[Sample], float]] = {
    "duration_s": lambda sample: sample.media[0].duration_s,
}
FIELDS = (*TEXTS, *NUMBERS, *_SAMPLE_TEXTS, *_SAMPLE_NUMBERS)


@dataclass(frozen=True)
class Condition:
    """One condition; `values` are alternatives."""

    text: str
    """As it was typed."""
    field: str
    sign: str
    values: tuple[str, ...]

    @property
    def about_sample(self) -> bool:
        """Whether the sample itself has to be read; otherwise its row of the index is enough."""
        return self.field in _SAMPLE_TEXTS or self.field in _SAMPLE_NUMBERS

    @property
    def column(self) -> str:
        """The column of the index that it looks at."""
        column, inside, _ = self.field.partition(".")
        return f"{column}_json" if inside else column

    def value(self, row: Mapping[str, Any], sample: Sample | None = None) -> Any:
        """What a sample has there; None if nothing."""
        if sample is not None and self.about_sample:
            found = _SAMPLE_TEXTS.get(self.field) or _SAMPLE_NUMBERS[self.field]
            return found(sample)
        _, _, name = self.field.partition(".")
        return (loads(row[self.column]) or {}).get(name) if name else row[self.column]

    def holds(self, value: Any) -> bool:
        """Whether a value fulfils it; what a sample does not have fulfils nothing."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        if self.sign in _ORDER:
            if isinstance(value, str) or (value == NOT_KNOWN and self.field not in BELOW_ZERO):
                return False
            return _ORDER[self.sign](value, float(self.values[0]))
        if self.field == "license":
            alternatives = {normal_license(one) for one in self.values}
            return (value in alternatives) == (self.sign == "=")
        same = any(_same(value, one) for one in self.values)
        return same == (self.sign == "=")


def _same(value: str | int | float, typed: str) -> bool:
    return value == typed if isinstance(value, str) else value == _number(typed)


def parse_condition(text: str) -> Condition:
    """A condition from its text. Raises ValueError, in words for whoever typed it."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no condition; write FIELD, one of = != < <= > >=, and a value, such as "
            "'pass_rate>=0.5' or 'task_kind=mcq,count'"
        )
    field, sign, typed = match[1], match[2], match[3]
    column, _, name = field.partition(".")
    if field not in FIELDS and not (column in INSIDE and name):
        known = ", ".join([*FIELDS, *(f"{one}.NAME" for one in INSIDE)])
        raise ValueError(f"{text!r}: there is no field {field!r}; known are {known}")
    if name and column in _NAMES and name not in _NAMES[column]:
        raise ValueError(f"{text!r}: {_unknown(column, name)}")
    values = (typed,) if sign in _ORDER else tuple(one.strip() for one in typed.split(","))
    counted = field in NUMBERS or field in _SAMPLE_NUMBERS
    if sign in _ORDER and not counted and not name:
        raise ValueError(f"{text!r}: {field} is a text; compare it by = or !=")
    for one in values:
        if (counted or sign in _ORDER) and _number(one) is None:
            raise ValueError(f"{text!r}: {one!r} is no number")
    return Condition(text.strip(), field, sign, values)


def _unknown(column: str, name: str) -> str:
    near = get_close_matches(name, _NAMES[column], 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{column} holds no {name!r}{meant}; it holds {', '.join(_NAMES[column])}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def first_failed(
    conditions: Sequence[Condition], row: Mapping[str, Any], sample: Sample | None = None
) -> str:
    """The first condition that a sample does not fulfil, with what it has; "" if it fulfils all."""
    for one in conditions:
        value = one.value(row, sample)
        if not one.holds(value):
            return f"asked for {one.text}, has {'none' if value is None else value}"
    return ""
