"""What the user points at: a file, with whatever a manifest said of it."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Record


class GivenQuestion(Record):
    """A question that came with the input; spans in seconds of the source video."""

    question: str
    options: tuple[str, ...] = ()
    answer: str = ""
    answer_kind: str = ""
    spans: tuple[tuple[float, float], ...] = ()


class Source(Record):
    """One input file, with all rows that a manifest holds for it."""

    uri: str
    user_id: str = ""
    license: str = ""
    source_url: str = ""
    questions: tuple[GivenQuestion, ...] = Field(default=())
