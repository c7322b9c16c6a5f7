"""What came back when a question was asked again under changed evidence."""

from __future__ import annotations

from schemas.base import Record
from schemas.view import Condition, View


class Asked(Record):
    """One row of a task's table: a view, and the answers that it led to."""

    view: View
    answers: tuple[str, ...]
    """As given, in the canonical order of options; "" for a reply that could not be read."""

    @property
    def condition(self) -> Condition:
        return self.view.condition


class Examination(Record):
    """The table of one task: every view under which the verifier's model was asked."""

    model: str = ""
    """Who was asked; "" = nobody."""
    rows: tuple[Asked, ...] = ()

    def row(self, view: View) -> Asked | None:
        return next((one for one in self.rows if one.view == view), None)

    def of(self, condition: Condition) -> tuple[Asked, ...]:
        return tuple(one for one in self.rows if one.condition is condition)
